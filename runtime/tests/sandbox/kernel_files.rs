//! `/proc`, `/sys` and `/dev`, and what else the kernel shows.

use expect_test::expect;
use runtime::cgroup::Hierarchies;
use runtime::{Kernel, Security};

use crate::world::{World, alone, check, check_with};

/// Returns all that is mounted, with its type and options; what differs between machines is left out.
fn mounts(world: &World) -> String {
    let outcome = world.run(world.spec("cat /proc/self/mountinfo"));
    let describe = |line: &str| {
        let (own, file_system) = line.split_once(" - ").unwrap();
        let own: Vec<_> = own.split(' ').collect();
        let kind = file_system.split(' ').next().unwrap();
        format!("{} {kind} {}\n", own[4], own[5])
    };
    let is_mask = |line: &String| line.starts_with("/proc/") || line.starts_with("/sys/");
    let mut found: Vec<_> = outcome.output.lines().map(describe).filter(|line| !is_mask(line)).collect();
    found.sort();
    found.concat()
}

#[test]
fn nothing_is_mounted_but_what_docker_mounts() {
    expect![[r#"
        / overlay rw,relatime
        /dev tmpfs rw,nosuid,relatime
        /dev/mqueue mqueue rw,nosuid,nodev,noexec,relatime
        /dev/pts devpts rw,nosuid,noexec,relatime
        /dev/shm tmpfs rw,nosuid,nodev,noexec,relatime
        /proc proc rw,nosuid,nodev,noexec,relatime
        /sys sysfs ro,nosuid,nodev,noexec,relatime
    "#]]
    .assert_eq(&mounts(&World::new()));
}

#[test]
fn without_control_groups_every_device_is_a_mount() {
    let kernel = Kernel { hierarchies: Hierarchies::None, ..Kernel::probe().unwrap() };
    expect![[r#"
        / overlay rw,nodev,relatime
        /dev tmpfs rw,nosuid,nodev,relatime
        /dev/full tmpfs rw,nosuid,relatime
        /dev/mqueue mqueue rw,nosuid,nodev,noexec,relatime
        /dev/null tmpfs rw,nosuid,relatime
        /dev/pts devpts rw,nosuid,noexec,relatime
        /dev/random tmpfs rw,nosuid,relatime
        /dev/shm tmpfs rw,nosuid,nodev,noexec,relatime
        /dev/tty tmpfs rw,nosuid,relatime
        /dev/urandom tmpfs rw,nosuid,relatime
        /dev/zero tmpfs rw,nosuid,relatime
        /proc proc rw,nosuid,nodev,noexec,relatime
        /sys sysfs ro,nosuid,nodev,noexec,relatime
    "#]]
    .assert_eq(&mounts(&World::with_kernel(kernel)));
}

#[test]
fn devices_are_those_of_every_container() {
    let world = World::new();
    let script = "cd /dev; for name in *; do stat -c '%A %u:%g %t,%T %N' $name; done";
    let outcome = world.run(world.spec(script));
    expect![[r#"
        lrwxrwxrwx 0:0 0,0 'core' -> '/proc/kcore'
        lrwxrwxrwx 0:0 0,0 'fd' -> '/proc/self/fd'
        crw-rw-rw- 0:0 1,7 full
        drwxrwxrwt 0:0 0,0 mqueue
        crw-rw-rw- 0:0 1,3 null
        lrwxrwxrwx 0:0 0,0 'ptmx' -> 'pts/ptmx'
        drwxr-xr-x 0:0 0,0 pts
        crw-rw-rw- 0:0 1,8 random
        drwxrwxrwt 0:0 0,0 shm
        lrwxrwxrwx 0:0 0,0 'stderr' -> '/proc/self/fd/2'
        lrwxrwxrwx 0:0 0,0 'stdin' -> '/proc/self/fd/0'
        lrwxrwxrwx 0:0 0,0 'stdout' -> '/proc/self/fd/1'
        crw-rw-rw- 0:0 5,0 tty
        crw-rw-rw- 0:0 1,9 urandom
        crw-rw-rw- 0:0 1,5 zero
    "#]]
    .assert_eq(&outcome.output);
}

#[test]
fn devices_work_whatever_the_umask_of_the_launcher() {
    alone("kernel_files::devices_work_whatever_the_umask_of_the_launcher", use_devices_with_a_strict_umask);
}

fn use_devices_with_a_strict_umask() {
    let world = World::new();
    let mut spec = world.spec(
        "echo a > /dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; echo a > /dev/full; echo b > /dev/shm/b; \
         stat -c %a /dev /dev/pts /sys /proc /etc",
    );
    spec.mounts = vec![runtime::Mount::text("/new/file", "")];
    spec.args[2].push("; stat -c %a /new /new/file");
    spec.identity = runtime::Identity { uid: 1000, gid: 1000, groups: Vec::new() };
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    crate::world::check_spec(
        &world,
        spec,
        "3\n3\nsh: write error: No space left on device\n755\n755\n555\n555\n755\n755\n644\n",
    );
}

#[test]
fn shared_memory_has_the_size_that_was_asked_for() {
    let script = "df -k /dev/shm | tail -n 1 | tr -s ' ' | sed 's/ /\\n/g' | sed -n 2p";
    let script = script.replace("tail -n 1", "sed -n 2p");
    check(&script, "65536\n");
    check_with(&script, |spec| spec.shm_bytes = 1 << 20, "1024\n");
}

#[test]
fn what_tells_about_the_host_is_masked() {
    // Whether a path exists depends on the kernel; where it does, it is an empty file or an empty directory.
    check(
        "for path in /proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi \
         /proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware; do \
         if [ -d $path ]; then ls -A $path; elif [ -e $path ]; then cat $path; fi; done",
        "",
    );
    let world = World::new();
    let outcome =
        world.run(world.spec("grep -c -E ' /(proc/(keys|timer_list|interrupts)|sys/firmware) ' /proc/self/mountinfo"));
    assert!(outcome.output.trim().parse::<u32>().unwrap() >= 3, "{}", outcome.output);
}

#[test]
fn what_changes_the_host_is_read_only() {
    for path in [
        "/proc/sys/kernel/hostname",
        "/proc/sys/vm/swappiness",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/uevent_seqnum",
    ] {
        check(
            &format!(
                "[ ! -e {path} ] || {{ echo 1 > {path}; }} 2>&1 | grep -c -E 'Read-only file system|Permission denied' >/dev/null && echo refused"
            ),
            "refused\n",
        );
    }
    check("mkdir /proc/bus/x /sys/x 2>/dev/null; ls -d /proc/bus/x /sys/x 2>/dev/null; true", "");
}

#[test]
fn nothing_is_masked_for_the_insecure() {
    assert!(Kernel::probe().unwrap().capabilities.contains(runtime::Capabilities::DOCKER));
    check_with(
        "grep -E ' /(proc|sys)/' /proc/self/mountinfo | grep -v -c ' /sys/fs/cgroup'; grep ' /sys ' /proc/self/mountinfo | sed 's/.* \\(r[ow],[^ ]*\\) .*/\\1/; s/,.*//'; \
         mknod /null c 1 3; echo a > /null && echo opened",
        |spec| spec.security = Security::insecure(),
        "0\nrw\nopened\n",
    );
}

#[test]
fn control_groups_are_shown_read_only_where_there_is_one_hierarchy() {
    let mut kernel = Kernel::probe().unwrap();
    kernel.cgroup2 = true;
    let world = World::with_kernel(kernel);
    let outcome = world.run(world.spec("grep ' /sys/fs/cgroup ' /proc/self/mountinfo | sed 's/.* - //; s/ .*//'; cat /proc/self/cgroup | grep '^0'; mkdir /sys/fs/cgroup/x 2>&1"));
    assert_eq!(
        outcome.output,
        "cgroup2\n0::/\nmkdir: can't create directory '/sys/fs/cgroup/x': Read-only file system\n"
    );
}

#[test]
fn processes_names_and_messages_are_its_own() {
    check_with(
        "echo /proc/[0-9]*; hostname; hostname other 2>&1; cat /proc/sysvipc/shm | wc -l",
        |spec| spec.hostname = Some("buildkitsandbox".into()),
        "/proc/1\nbuildkitsandbox\nhostname: sethostname: Operation not permitted\n1\n",
    );
    let world = World::new();
    let mut spec = world.spec("");
    spec.hostname = Some("x".repeat(65));
    crate::world::check_refused(
        &world,
        spec,
        125,
        &format!(
            "cannot set the host name to `{}` (it can have 64 bytes at most): Invalid argument (os error 22)",
            "x".repeat(65)
        ),
    );
}

#[test]
fn the_kernels_directories_must_be_directories() {
    let world = World::new();
    let layer = world.layer("links", &["proc->/etc"]);
    let (overlay, _) = world.overlay(&[world.base(), layer]);
    let err = world.launcher.create(crate::world::shell(overlay, "")).unwrap_err();
    assert_eq!(
        crate::world::chain(&err),
        "cannot mount on `/proc` in the root: each part of the path has to be a directory, and of `/proc`, `/sys` and `/dev` none may be a link: \
         Too many levels of symbolic links (os error 40)"
    );
}
