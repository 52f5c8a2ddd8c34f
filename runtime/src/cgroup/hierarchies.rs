//! Which hierarchies of control groups this machine has, and where in them this process is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The hierarchies that groups are made in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Hierarchies {
    /// None: nothing can be limited.
    #[default]
    None,
    /// One for each controller (version 1).
    V1 {
        /// Where the controllers are that groups are made for.
        places: BTreeMap<Controller, Place>,
        /// All that are mounted, with those that Kiln does not use itself, in the order of mounting.
        mounted: Vec<Place>,
        /// Version 2, where it is mounted beside them. It may have controllers that version 1 does not have.
        beside: Option<Place>,
    },
    /// One for all (version 2).
    V2(Place),
}

/// Where a hierarchy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The directory of the group that this process is in.
    pub own: PathBuf,
}

impl Place {
    /// Returns whether version 2 has a controller.
    pub(super) fn offers(&self, controller: Controller) -> bool {
        let offered = fs::read_to_string(self.mount.join("cgroup.controllers")).unwrap_or_default();
        offered.split_whitespace().any(|name| name == controller.name())
    }
}

/// What limits one kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Processor time.
    Cpu,
    /// Which processors and memory nodes.
    Cpuset,
    /// Which devices can be opened. Version 2 has no controller for it, but programs.
    Devices,
    /// Memory and swap.
    Memory,
    /// The number of processes and threads.
    Pids,
}

impl Controller {
    const ALL: [Self; 5] = [Self::Cpu, Self::Cpuset, Self::Devices, Self::Memory, Self::Pids];

    /// Returns the kernel's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Devices => "devices",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }
}

impl Hierarchies {
    /// Looks at what is mounted. What cannot be read is not there.
    pub fn find() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
    }

    /// Looks only for version 2, which may be mounted beside version 1: for tests of both on one machine.
    pub fn find_v2() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let mounts: String =
            mounts.lines().filter(|line| line.contains(" - cgroup2 ")).map(|line| format!("{line}\n")).collect();
        match Self::parse(&mounts, &fs::read_to_string("/proc/self/cgroup").ok()?) {
            Self::None => None,
            found => Some(found),
        }
    }

    /// The same as [`Hierarchies::find`] from the texts of `/proc/self/mountinfo` and `/proc/self/cgroup` (proc(5), cgroups(7)).
    pub(super) fn parse(mounts: &str, memberships: &str) -> Self {
        let (mut places, mut mounted, mut v2) = (BTreeMap::new(), Vec::new(), None);
        for mount in mounts.lines().filter_map(parse_mount) {
            match mount.kind {
                "cgroup2" => {
                    let own = memberships.lines().find_map(|line| line.strip_prefix("0::"));
                    v2 = v2.or_else(|| own.map(|own| mount.place(own)));
                }
                "cgroup" => {
                    let Some(place) = own_path(memberships, &mount).map(|own| mount.place(own)) else { continue };
                    for controller in Controller::ALL.into_iter().filter(|it| mount.has_option(it.name())) {
                        places.entry(controller).or_insert_with(|| place.clone());
                    }
                    mounted.push(place);
                }
                _ => {}
            }
        }
        match v2 {
            beside if !places.is_empty() => Self::V1 { places, mounted, beside },
            Some(place) => Self::V2(place),
            None => Self::None,
        }
    }
}

/// One line of `/proc/self/mountinfo`.
struct MountLine<'a> {
    kind: &'a str,
    /// The group that is visible at the mount point.
    root: &'a str,
    point: PathBuf,
    options: &'a str,
}

impl MountLine<'_> {
    fn has_option(&self, name: &str) -> bool {
        self.options.split(',').any(|option| option == name)
    }

    /// Returns where the hierarchy is, for a process whose group has this path. In a container, the path may lie outside of what is mounted.
    fn place(&self, own: &str) -> Place {
        let inside = Path::new(own).strip_prefix(self.root).ok();
        let inside = inside.filter(|path| path.components().all(|part| matches!(part, Component::Normal(_))));
        let own = inside.map_or_else(|| self.point.clone(), |path| self.point.join(path));
        Place { mount: self.point.clone(), own }
    }
}

fn parse_mount(line: &str) -> Option<MountLine<'_>> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    let mut fields = file_system.split(' ');
    let (kind, options) = (fields.next()?, fields.nth(1)?);
    // The kernel writes blanks as `\040`; nobody mounts control groups at such a place, and a wrong name is none that exists.
    Some(MountLine { kind, root, point: PathBuf::from(point), options })
}

/// Returns the path of the own group in a hierarchy, which is told by its controllers or its name: `4:cpu,cpuacct:/user.slice`, `1:name=systemd:/`.
fn own_path<'a>(memberships: &'a str, mount: &MountLine<'_>) -> Option<&'a str> {
    memberships.lines().find_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        controllers.split(',').any(|name| !name.is_empty() && mount.has_option(name)).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(mount: &str, own: &str) -> Place {
        Place { mount: mount.into(), own: own.into() }
    }

    #[test]
    fn one_hierarchy_is_version_2() {
        let found = Hierarchies::parse(
            "31 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate",
            "0::/user.slice/session-1.scope\n",
        );
        assert_eq!(found, Hierarchies::V2(place("/sys/fs/cgroup", "/sys/fs/cgroup/user.slice/session-1.scope")));
    }

    #[test]
    fn controllers_of_version_1_have_version_2_beside_them() {
        let found = Hierarchies::parse(
            "40 30 0:31 / /c/unified rw - cgroup2 cgroup rw\n\
             41 30 0:32 / /c/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             42 30 0:33 / /c/devices rw shared:9 - cgroup none rw,devices\n\
             43 30 0:34 / /c/systemd rw - cgroup cgroup rw,xattr,name=systemd",
            "4:name=systemd:/a\n3:devices:/a/b\n2:cpu,cpuacct:/\n0::/c\n",
        );
        let cpu = place("/c/cpu,cpuacct", "/c/cpu,cpuacct");
        let devices = place("/c/devices", "/c/devices/a/b");
        let expected = Hierarchies::V1 {
            places: [(Controller::Cpu, cpu.clone()), (Controller::Devices, devices.clone())].into(),
            mounted: vec![cpu, devices, place("/c/systemd", "/c/systemd/a")],
            beside: Some(place("/c/unified", "/c/unified/c")),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn in_a_container_the_own_group_is_what_is_mounted() {
        let mounted = "9 8 0:5 /docker/7 /c/pids ro - cgroup cgroup rw,pids";
        for own in ["/docker/7", "/", "/../elsewhere"] {
            let found = Hierarchies::parse(mounted, &format!("1:pids:{own}"));
            let Hierarchies::V1 { mounted, .. } = found else { panic!("{found:?}") };
            assert_eq!(mounted, [place("/c/pids", "/c/pids")], "{own}");
        }
        assert_eq!(Hierarchies::parse("", ""), Hierarchies::None);
    }
}
