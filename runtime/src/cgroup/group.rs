//! One group: made, joined, asked what happened in it, and removed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::hierarchies::{Controller, Hierarchies, Place};
use super::limits::{Limits, Setting};
use super::{devices, program};

/// What the names of all groups begin with.
const PREFIX: &str = "kiln-";
/// Where groups with limits are in version 2: beneath the root, since only there no process is in the way.
const PARENT_V2: &str = "kiln";
/// How often a group is made again that another process took for one that nobody needs, between its making and its being locked.
const ATTEMPTS_MAX: usize = 5;
/// How often removing is tried while the kernel is still busy with processes that have ended, and how long is waited between.
const REMOVALS_MAX: usize = 200;
const REMOVAL_PAUSE: Duration = Duration::from_millis(1);

/// Why a group cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// This machine cannot limit what is to be limited.
    #[error(
        "cannot limit what a step uses: there is no control group controller `{controller}` (expected it mounted beneath /sys/fs/cgroup)"
    )]
    NoController {
        /// What is missing.
        controller: &'static str,
    },
    /// The parent is not the name of a group.
    #[error("invalid cgroup parent `{parent}`: expected a path without `..`")]
    Parent {
        /// What was given.
        parent: String,
    },
    /// A directory cannot be made.
    #[error("cannot create the control group `{}`", path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A controller cannot be had for groups beneath another.
    #[error(
        "cannot use the controller `{controller}` beneath the control group `{}`: if that group has processes of its own, as in a container, start the container with `--cgroupns=host`",
        path.display()
    )]
    Delegate {
        /// The controller.
        controller: &'static str,
        /// The group.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A control file does not take a value.
    #[error("cannot set `{}` to `{value}`", path.display())]
    Set {
        /// The file.
        path: PathBuf,
        /// The value.
        value: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// Devices cannot be confined.
    #[error("cannot attach the list of devices to the control group `{}`", path.display())]
    Devices {
        /// The group.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
}

/// Where a process joins a group: it writes `0` for itself.
type Entrance = OwnedFd;

/// A group in each hierarchy that is needed. It is removed with this value, which has to live until the last process in it has been waited for.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// One in each hierarchy of version 1.
    directories: Vec<Directory>,
    entrances: Vec<Entrance>,
    unified: Option<Unified>,
    /// Where the kernel says what became of the memory's limit.
    memory: Option<PathBuf>,
    confines_devices: bool,
    /// What is mounted on `/sys/fs/cgroup` for confined sandboxes in it, once it was needed.
    pub(super) view: OnceLock<OwnedFd>,
}

/// The group in version 2.
#[derive(Debug)]
struct Unified {
    directory: Directory,
    entrance: Entrance,
}

/// A directory of a group. As long as it is locked, nobody else removes it.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    lock: File,
    /// The parents that were made for it, the innermost first.
    made_parents: Vec<PathBuf>,
}

impl Group {
    /// Makes a group that only says which devices can be opened. `None` is a machine on which that cannot be said.
    pub(crate) fn for_devices(hierarchies: &Hierarchies) -> Option<Self> {
        match hierarchies {
            Hierarchies::None => None,
            Hierarchies::V1 { places, .. } => places
                .get(&Controller::Devices)
                .and_then(|place| Self::make_v1([(place.own.clone(), vec![])], true).ok()),
            Hierarchies::V2(place) => Self::default().with_v2(&place.own, &place.mount, &[], true).ok(),
        }
    }

    /// Makes a group with limits, beneath `parent` or where Kiln's own are.
    pub(crate) fn limited(
        hierarchies: &Hierarchies,
        parent: Option<&str>,
        limits: &Limits,
        confine_devices: bool,
    ) -> Result<Self, GroupError> {
        let parent = parent.map(relative).transpose()?;
        match hierarchies {
            Hierarchies::None => {
                let first = limits.v1().first().map_or(Controller::Devices, |setting| setting.controller);
                Err(GroupError::NoController { controller: first.name() })
            }
            Hierarchies::V2(place) => Self::default().with_v2(
                &parent_v2(place, parent.as_deref()),
                &place.mount,
                &limits.v2(),
                confine_devices,
            ),
            Hierarchies::V1 { places, beside, .. } => {
                let mut settings = limits.v1();
                // What only version 2 has, it limits.
                let missing: BTreeSet<Controller> =
                    settings.iter().map(|it| it.controller).filter(|it| !places.contains_key(it)).collect();
                settings.retain(|setting| !missing.contains(&setting.controller));
                let mut needed: BTreeSet<Controller> = settings.iter().map(|setting| setting.controller).collect();
                needed.extend(confine_devices.then_some(Controller::Devices).filter(|it| places.contains_key(it)));
                if parent.is_some() {
                    needed.extend(places.keys());
                }
                let mut groups: Vec<(PathBuf, Vec<Setting>)> = Vec::new();
                for (controller, place) in places.iter().filter(|(controller, _)| needed.contains(controller)) {
                    let base = parent.as_ref().map_or_else(|| place.own.clone(), |parent| place.mount.join(parent));
                    let own: Vec<Setting> =
                        settings.iter().filter(|it| it.controller == *controller).cloned().collect();
                    // Some controllers share a hierarchy: `cpu,cpuacct`.
                    match groups.iter_mut().find(|(path, _)| *path == base) {
                        Some((_, settings)) => settings.extend(own),
                        None => groups.push((base, own)),
                    }
                }
                let group = Self::make_v1(groups, confine_devices)?;
                let Some(first) = missing.first() else { return Ok(group) };
                let absent = GroupError::NoController { controller: first.name() };
                let place = beside.as_ref().filter(|place| missing.iter().all(|it| place.offers(*it))).ok_or(absent)?;
                let settings: Vec<_> = limits.v2().into_iter().filter(|it| missing.contains(&it.controller)).collect();
                group.with_v2(&parent_v2(place, parent.as_deref()), &place.mount, &settings, false)
            }
        }
    }

    /// Makes a group beneath each of these, with settings.
    fn make_v1(
        groups: impl IntoIterator<Item = (PathBuf, Vec<Setting>)>,
        confine_devices: bool,
    ) -> Result<Self, GroupError> {
        let mut made = Self::default();
        for (base, settings) in groups {
            let directory = Directory::make(&base)?;
            let path = directory.path.clone();
            let new = directory.made_parents.iter().rev().chain([&path]);
            let inherited = new.map(PathBuf::as_path).try_for_each(inherit_cpuset);
            made.directories.push(directory);
            inherited?;
            settings.iter().try_for_each(|setting| apply(&path, setting))?;
            if confine_devices && path.join("devices.deny").exists() {
                devices::v1().iter().try_for_each(|(file, line)| set(&path.join(file), line))?;
                made.confines_devices = true;
            }
            if settings.iter().any(|setting| setting.controller == Controller::Memory) {
                made.memory = Some(path.clone());
            }
            // A thread that moves itself alone does not wait for all other processes to stop forking, as one that moves its process does.
            made.entrances.push(open_entrance(&path.join("tasks"))?);
        }
        Ok(made)
    }

    /// Makes a group of version 2 beneath `base`, with settings.
    fn with_v2(
        self,
        base: &Path,
        mount: &Path,
        settings: &[Setting],
        confine_devices: bool,
    ) -> Result<Self, GroupError> {
        let directory = Directory::make(base)?;
        let path = directory.path.clone();
        let entrance = open_entrance(&path.join("cgroup.procs"))?;
        let mut made = Self { unified: Some(Unified { directory, entrance }), ..self };
        let controllers: BTreeSet<Controller> = settings.iter().map(|setting| setting.controller).collect();
        for controller in controllers {
            delegate(mount, base, controller)?;
        }
        settings.iter().try_for_each(|setting| apply(&path, setting))?;
        if confine_devices {
            let attached = File::open(&path).and_then(|group| program::attach(group, &devices::ALLOWED));
            attached.map_err(|source| GroupError::Devices { path: path.clone(), source })?;
            made.confines_devices = true;
        }
        if settings.iter().any(|it| it.controller == Controller::Memory) {
            made.memory = Some(path);
        }
        Ok(made)
    }

    /// Returns the directory of the group in a hierarchy; `None` is one that it has nothing in.
    pub(super) fn directory_in(&self, mount: &Path) -> Option<&Path> {
        let unified = self.unified.as_ref().map(|unified| &unified.directory);
        self.directories
            .iter()
            .chain(unified)
            .map(|directory| directory.path.as_path())
            .find(|path| path.starts_with(mount))
    }

    /// Where the first process of a sandbox joins the group, once in each hierarchy of version 1.
    pub(crate) fn entrances(&self) -> &[Entrance] {
        &self.entrances
    }

    /// The same in version 2.
    pub(crate) fn unified_entrance(&self) -> Option<&Entrance> {
        self.unified.as_ref().map(|unified| &unified.entrance)
    }

    /// The group of version 2, which a process can be born in.
    pub(crate) fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(|unified| unified.directory.lock.as_fd())
    }

    /// Returns whether only the devices can be opened that Docker lets every container open.
    pub(crate) fn confines_devices(&self) -> bool {
        self.confines_devices
    }

    /// Reads how many processes the kernel has killed because the limit of memory was reached.
    pub(crate) fn memory_kills(&self) -> u64 {
        let Some(memory) = &self.memory else { return 0 };
        let read = |file: &str| fs::read_to_string(memory.join(file)).unwrap_or_default();
        let texts = [read("memory.events"), read("memory.oom_control")];
        let counts = texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.strip_prefix("oom_kill "));
        counts.filter_map(|count| count.trim().parse::<u64>().ok()).max().unwrap_or_default()
    }

    /// Reads the most memory that all processes had together, in bytes, where memory is limited.
    pub(crate) fn memory_peak_bytes(&self) -> Option<u64> {
        let memory = self.memory.as_ref()?;
        let read = |file: &str| fs::read_to_string(memory.join(file)).ok()?.trim().parse().ok();
        read("memory.peak").or_else(|| read("memory.max_usage_in_bytes"))
    }
}

impl Directory {
    /// Makes a directory beneath `base`, and that where it is missing. What killed processes have left there is removed.
    fn make(base: &Path) -> Result<Self, GroupError> {
        sweep(base);
        let mut attempt = 1;
        loop {
            let mut name = [0; 8];
            let random = rustix::rand::getrandom(&mut name, rustix::rand::GetRandomFlags::empty());
            let path = base.join(format!("{PREFIX}{:016x}", u64::from_ne_bytes(name)));
            let made = random.map_err(io::Error::from).and_then(|_| Self::try_make(&path, base));
            match made {
                // Between the making and the locking, somebody may have taken it, or its parent, for one that nobody needs.
                Err(err) if err.kind() == ErrorKind::NotFound && attempt < ATTEMPTS_MAX => attempt += 1,
                made => return made.map_err(|source| GroupError::Create { path, source }),
            }
        }
    }

    fn try_make(path: &Path, base: &Path) -> io::Result<Self> {
        let made_parents: Vec<PathBuf> =
            base.ancestors().take_while(|parent| !parent.exists()).map(Path::to_owned).collect();
        for parent in made_parents.iter().rev() {
            match fs::create_dir(parent) {
                Err(err) if err.kind() == ErrorKind::AlreadyExists => {}
                made => {
                    made?;
                    parents_of_this_process().insert(parent.clone());
                }
            }
        }
        fs::create_dir(path)?;
        let lock = File::open(path)?;
        flock(&lock, FlockOperation::NonBlockingLockShared).map_err(|_| io::Error::from(ErrorKind::NotFound))?;
        Ok(Self { path: path.to_owned(), lock, made_parents })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        for _ in 0..REMOVALS_MAX {
            match fs::remove_dir(&self.path) {
                Err(err) if err.kind() == ErrorKind::ResourceBusy => std::thread::sleep(REMOVAL_PAUSE),
                // What cannot be removed now, the next process removes: the lock goes with this one.
                _ => break,
            }
        }
        let _ = flock(&self.lock, FlockOperation::Unlock);
        let mut made = parents_of_this_process();
        // The last group in a parent takes it along, whichever was the first.
        let is_ours = |parent: &&Path| made.contains(*parent) || parent.ends_with(PARENT_V2);
        let parents: Vec<&Path> = self.path.ancestors().skip(1).take_while(is_ours).collect();
        for parent in parents {
            // Others may have groups in it.
            if fs::remove_dir(parent).is_err() {
                break;
            }
            made.remove(parent);
        }
    }
}

/// Returns the groups that this process has made for its groups to be in, and has not removed.
fn parents_of_this_process() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    static PARENTS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    PARENTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the groups of processes that were killed.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(group) = File::open(entry.path()) else { continue };
        if flock(&group, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // A group with processes in it stays.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn parent_v2(place: &Place, parent: Option<&Path>) -> PathBuf {
    place.mount.join(parent.unwrap_or(Path::new(PARENT_V2)))
}

/// Returns the path of a group beneath the root of a hierarchy.
fn relative(parent: &str) -> Result<PathBuf, GroupError> {
    let mut path = PathBuf::new();
    for part in Path::new(parent).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(GroupError::Parent { parent: parent.to_owned() });
            }
        }
    }
    if path.as_os_str().is_empty() { Err(GroupError::Parent { parent: parent.to_owned() }) } else { Ok(path) }
}

/// Makes a controller available in `base`, by saying so in each group from the root of the hierarchy on.
fn delegate(mount: &Path, base: &Path, controller: Controller) -> Result<(), GroupError> {
    let mut groups: Vec<&Path> = base.ancestors().take_while(|group| group.starts_with(mount)).collect();
    groups.reverse();
    for group in groups {
        let file = group.join("cgroup.subtree_control");
        let has = fs::read_to_string(&file).unwrap_or_default();
        if has.split_whitespace().any(|name| name == controller.name()) {
            continue;
        }
        write(&file, &format!("+{}", controller.name())).map_err(|source| GroupError::Delegate {
            controller: controller.name(),
            path: group.to_owned(),
            source,
        })?;
    }
    Ok(())
}

/// A new group of version 1 has no processors and no memory nodes, and takes no process before it has.
fn inherit_cpuset(path: &Path) -> Result<(), GroupError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = path.join(file);
        if fs::read_to_string(&own).is_ok_and(|text| text.trim().is_empty()) {
            let above = path.parent().unwrap_or(path).join(file);
            let text = fs::read_to_string(&above).unwrap_or_default();
            set(&own, text.trim())?;
        }
    }
    Ok(())
}

fn apply(group: &Path, setting: &Setting) -> Result<(), GroupError> {
    let path = group.join(setting.file);
    if setting.is_optional && !path.exists() {
        return Ok(());
    }
    set(&path, &setting.value)
}

fn set(path: &Path, value: &str) -> Result<(), GroupError> {
    write(path, value).map_err(|source| GroupError::Set { path: path.to_owned(), value: value.to_owned(), source })
}

/// Writes to a control file; the kernel creates none.
fn write(path: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

fn open_entrance(path: &Path) -> Result<Entrance, GroupError> {
    let opened = OpenOptions::new().write(true).custom_flags(libc::O_CLOEXEC).open(path);
    opened.map(Into::into).map_err(|source| {
        let group = path.parent().unwrap_or(Path::new(OsStr::new("")));
        GroupError::Create { path: group.to_owned(), source }
    })
}
