//! How much a sandbox may use, and what is left of its control group.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use runtime::cgroup::{Hierarchies, Limits, Place};
use runtime::{Kernel, Security, Status};

use crate::world::{World, chain};

fn places() -> Vec<Place> {
    match Hierarchies::find() {
        Hierarchies::None => Vec::new(),
        Hierarchies::V1 { places, beside, .. } => places.into_values().chain(beside).collect(),
        Hierarchies::V2(place) => vec![place],
    }
}

/// Returns the groups of Kiln that this process may have made, wherever they are.
fn groups() -> Vec<PathBuf> {
    let in_dir = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| path.is_dir()).collect()
    };
    places()
        .iter()
        .flat_map(|place| [in_dir(&place.own.join(PARENT)), in_dir(&place.mount.join(PARENT))].concat())
        .collect()
}

/// A group of this test's own, so that those of others do not matter.
const PARENT: &str = "kiln-test-limits";

#[test]
fn memory_over_the_limit_is_not_had_and_said() {
    let world = World::new();
    let mut spec = world.spec("dd if=/dev/zero of=/dev/null bs=128M count=1; echo survived");
    spec.args = ["dd", "if=/dev/zero", "of=/dev/null", "bs=128M", "count=1"].map(Into::into).into();
    spec.limits.memory_bytes = Some(16 << 20);
    spec.limits.memory_and_swap_bytes = spec.limits.memory_bytes;
    let outcome = world.run(spec);
    assert_eq!(outcome.exit.status, Status::Signal(9));
    assert!(outcome.exit.usage.memory_kills >= 1, "{:?}", outcome.exit);
    assert!(outcome.exit.usage.memory_peak_bytes.is_some_and(|peak| peak <= 16 << 20), "{:?}", outcome.exit);
}

#[test]
fn a_fork_bomb_ends_at_the_limit_of_processes() {
    let world = World::new();
    let mut spec = world.spec("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 100 & done; echo not reached");
    spec.limits.pids = Some(6);
    let outcome = world.run(spec);
    assert_eq!(outcome.output, "/bin/sh: can't fork: Resource temporarily unavailable\n");
    assert_eq!(outcome.exit.status, Status::Code(2));
}

#[test]
fn processors_are_limited_in_number_and_time() {
    let world = World::new();
    let mut spec = world
        .spec("sed -n 's/Cpus_allowed_list:.//p' /proc/self/status; i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done");
    spec.limits.cpuset_cpus = Some("0".into());
    spec.limits.cpu_quota_microseconds = Some(10_000);
    let began = Instant::now();
    let outcome = world.run(spec);
    assert_eq!(outcome.output, "0\n");
    let used = outcome.exit.usage.cpu_user + outcome.exit.usage.cpu_system;
    assert!(began.elapsed() > used * 3, "{used:?} of processor time took {:?}", began.elapsed());
}

#[test]
fn a_group_beneath_a_parent_goes_away_with_the_sandbox() {
    let world = World::new();
    let mut spec = world.spec("cat /proc/self/cgroup | grep -c :/$");
    spec.cgroup_parent = Some(format!("/{PARENT}/inner"));
    let outcome = world.run(spec);
    assert_eq!(outcome.exit.status, Status::Code(0), "{}", outcome.output);
    assert_eq!(groups(), Vec::<PathBuf>::new());
}

#[test]
fn a_parent_goes_away_with_the_last_of_several_sandboxes() {
    let world = World::new();
    let [first, second] = [(); 2].map(|()| {
        let mut spec = world.spec("true");
        spec.cgroup_parent = Some(format!("/{PARENT}-shared"));
        world.launcher.create(spec).unwrap()
    });
    let there = || places().iter().filter(|place| place.mount.join(format!("{PARENT}-shared")).exists()).count();
    // The one that has made the parent ends first.
    drop(first);
    assert!(there() > 0);
    drop(second);
    assert_eq!(there(), 0);
}

#[test]
fn limits_that_cannot_be_had_are_refused() {
    let world = World::with_kernel(Kernel { hierarchies: Hierarchies::None, ..Kernel::probe().unwrap() });
    let refused = |change: fn(&mut runtime::Spec)| {
        let mut spec = world.spec("true");
        change(&mut spec);
        chain(&world.launcher.create(spec).err().unwrap())
    };
    assert_eq!(
        refused(|spec| spec.limits = Limits { memory_bytes: Some(1 << 30), ..Limits::default() }),
        "cannot limit what a step uses: there is no control group controller `memory` (expected it mounted beneath /sys/fs/cgroup)"
    );
    assert_eq!(
        refused(|spec| spec.cgroup_parent = Some("../up".into())),
        "invalid cgroup parent `../up`: expected a path without `..`"
    );
}

/// `docker run` on version 1 shows each hierarchy's group of the container; what is not limited, Kiln leaves out.
#[test]
fn a_sandbox_sees_its_own_groups_and_cannot_change_them() {
    for world in World::on_every_kernel() {
        if !matches!(world.launcher.kernel().hierarchies, Hierarchies::V1 { .. }) {
            continue;
        }
        let script = "cd /sys/fs/cgroup; for c in memory pids; do ls $c > /dev/null && echo $c; done 2> /dev/null; cat */memory.limit_in_bytes */pids.max; \
                      head -n 1 devices/devices.list; mkdir pids/x memory/x 2>&1 | wc -l; touch x 2>&1 | grep -o 'Read-only.*'";
        let mut spec = world.spec(script);
        spec.limits.memory_bytes = Some(32 << 20);
        spec.limits.pids = Some(7);
        assert_eq!(world.run(spec).output, "memory\npids\n33554432\n7\nc *:* m\n2\nRead-only file system\n");
        // The groups of everything else on the machine are in no view.
        let outcome =
            world.run(world.spec("cd /sys/fs/cgroup && ls -d */release_agent; find . -type d -name 'kiln-*'"));
        assert_eq!(outcome.output, "ls: */release_agent: No such file or directory\n");
        let mut open = world.spec("cd /sys/fs/cgroup/pids && mkdir kiln-test-mine && rmdir kiln-test-mine && ls ..");
        open.security = Security::insecure();
        let expected: Vec<String> = std::fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .lines()
            .filter_map(|line| {
                let (mount, kind) = line.split_once(" - ")?;
                kind.starts_with("cgroup ")
                    .then(|| mount.split(' ').nth(4)?.rsplit('/').next().map(|name| format!("{name}\n")))?
            })
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        assert_eq!(world.run(open).output, expected.concat());
    }
}
