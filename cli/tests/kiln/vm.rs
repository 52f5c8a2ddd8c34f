//! The real binary on kernels that people have: Debian's 6.1 and 6.12 with pure cgroup v2, in a small machine that qemu emulates.
//!
//! A boot costs seconds, so all checks of a kernel share one. The guest's disk has busybox, Kiln, the root file system `busybox.tar` and the
//! script; what the script prints and its exit code come over the serial console.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use expect_test::expect;

use crate::world::{Ended, root_tar};

/// The most seconds that a machine may take from its start to its end: several times what two busy processors need.
const DEADLINE: &str = "240";

/// What stands before the exit code of the script on the serial console, at the start of a line.
const EXIT_MARK: &str = "vm-exit-code:";

/// What stands alone on the line before the first that the script prints.
const START_MARK: &str = "vm-output:";

/// What scripts begin with.
const HELPERS: &str = include_str!("vm_helpers.sh");

/// The script of all checks that need only Kiln. Each prints its name and what it found.
const CHECKS: &str = include_str!("vm_checks.sh");

/// The script of what older control groups do.
const VERSION_1: &str = include_str!("vm_version_1.sh");

/// The script of what needs an emulator.
const FOREIGN: &str = include_str!("vm_foreign.sh");

/// What the script prints on a kernel; `RUNG` is the way in which layers are mounted there.
const EXPECTED: &str = "\
cgroups: cgroup2
layers: RUNG
chain: ran
chain again: 51 cached
run: 7
stdin: from outside
copy: from the first stage
cache mount: 2
secret: hidden
secret in layer: no
layers by loop: from the first stage
layers by trees: from the first stage
memory limit: 1 exit code: 137: cannot allocate memory
process limit: can't fork: Resource temporarily unavailable
own limit: 33554432
devices: common ones only
network of a step: from the machine
left links: 0
left mounts: 0
left cgroups: 0
left processes: 0
";

/// Boots the kernel of a Debian release and runs a script there, as root in `/`, which has the directory `foreign` of the fixtures, too.
fn boot(release: &str, script: &str) -> Ended {
    testkit::require_root();
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    make_disk(&dir.path().join("tree"), &disk, script);
    // `timeout` ends the machine even when the guest hangs; in the foreground it stays in the group that a runner of tests kills.
    let output = Command::new("timeout")
        .args(["--foreground", "--kill-after=5", DEADLINE, "qemu-system-x86_64"])
        .args(["-accel", "tcg", "-cpu", "max", "-smp", "2"])
        .args(["-m", "1024", "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"])
        .arg("-kernel")
        .arg(root_tar(&format!("vm-{release}/vmlinuz")))
        .arg("-initrd")
        .arg(root_tar(&format!("vm-{release}/initrd")))
        // The kernel's tests of its ciphers can take a minute when they are emulated.
        .args(["-append", "console=ttyS0 quiet loglevel=1 panic=-1 cryptomgr.notests mitigations=off"])
        .arg("-drive")
        .arg(format!("file={},format=raw,if=virtio,cache=unsafe", disk.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let console = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let started = console.split_once(&format!("{START_MARK}\n")).map(|(_, rest)| rest);
    let ended = started.and_then(|rest| rest.rsplit_once(EXIT_MARK));
    let Some((printed, code)) = ended else {
        panic!("{release}: the machine ended ({}) before its script\n{console}{errors}", output.status);
    };
    // Behind it the kernel says that it powers down.
    let code = code.lines().next().unwrap_or_default();
    Ended { code: code.parse().unwrap(), stdout: printed.to_owned(), stderr: errors }
}

/// Makes the guest's disk, an ext4 file system.
fn make_disk(tree: &Path, disk: &Path, script: &str) {
    for name in ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "store"] {
        fs::create_dir_all(tree.join(name)).unwrap();
    }
    fs::copy("/bin/busybox", tree.join("bin/busybox")).unwrap();
    fs::copy(root_tar("busybox.tar"), tree.join("busybox.tar")).unwrap();
    fs::create_dir(tree.join("foreign")).unwrap();
    for name in ["busybox", "qemu"] {
        fs::copy(root_tar(&format!("foreign/{name}")), tree.join("foreign").join(name)).unwrap();
    }
    // Without what a debugger reads the binary is a tenth of its size.
    succeed(Command::new("strip").arg("-o").arg(tree.join("bin/kiln")).arg(env!("CARGO_BIN_EXE_kiln")));
    let init = format!(
        "#!/bin/busybox sh\n\
         export PATH=/bin HOME=/root KILN_ROOT=/store/kiln\n\
         /bin/busybox --install -s /bin\n\
         mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t cgroup2 cgroup /sys/fs/cgroup\n\
         mount -t tmpfs tmp /tmp; mount -t tmpfs run /run\n\
         ip link set lo up\n\
         exec > /dev/ttyS0 2>&1\n\
         echo {START_MARK}\n\
         sh /script < /dev/null\n\
         echo {EXIT_MARK}$?\n\
         sync; poweroff -f\n"
    );
    fs::write(tree.join("script"), [HELPERS, script].concat()).unwrap();
    fs::write(tree.join("init"), init).unwrap();
    fs::set_permissions(tree.join("init"), fs::Permissions::from_mode(0o755)).unwrap();
    succeed(Command::new("mke2fs").args(["-q", "-t", "ext4", "-d"]).arg(tree).arg(disk).arg("512M"));
}

#[track_caller]
fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
fn check(release: &str, version: &str, rung: &str) {
    let ended = boot(release, CHECKS);
    let (kernel, found) = ended.stdout.split_once('\n').unwrap();
    assert!(kernel.starts_with(version), "{kernel}");
    assert_eq!(found, EXPECTED.replace("RUNG", rung));
    assert_eq!(ended.code, 0);
}

/// No `lowerdir+` (6.5), no `uuid=null` (6.6), no images mounted from files (6.12), no detached layers (6.15).
#[test]
fn builds_and_runs_on_linux_6_1_with_cgroup_v2() {
    check("bookworm", "6.1.", "loop");
}

/// No detached layers (6.15).
#[test]
fn builds_and_runs_on_linux_6_12_with_cgroup_v2() {
    check("trixie", "6.12.", "attached");
}

#[test]
fn programs_for_another_machine_run_where_an_emulator_is_registered() {
    let ended = boot("bookworm", FOREIGN);
    expect![[r#"
        none: 1
        exit code: 126: exec /bin/busybox: exec format error (the program is for arm64, and this machine is amd64)
        hint: programs for arm64 need an emulator that is registered with binfmt_misc: install `qemu-user-static`, or build for this machine with `--platform local`
        not fixed: 1
        exit code: 127: exec /bin/busybox: no such file or directory (the program is for arm64, and its emulator is not in the root file system)
        hint: register the emulator for arm64 with the flag `F`, as `qemu-user-static` does, so that it is opened once and for all images
        fixed: built
        in a container: WARNING: The requested image's platform (linux/arm64) does not match the detected host platform (linux/amd64) and no specific platform was requested
        aarch64 arm64 0
        platform: linux/arm64
    "#]].assert_eq(&ended.stdout);
}

#[test]
fn control_groups_of_version_1_limit_and_are_seen_alone_and_beside_version_2() {
    let ended = boot("bookworm", VERSION_1);
    expect![[r#"
        alone memory: 1 exit code: 137: cannot allocate memory
        alone processes: can't fork: Resource temporarily unavailable
        alone both: devices memory pids 9 33554432 
        alone members: :/ cpu,cpuacct:/ cpuset:/ devices:/ freezer:/ memory:/ pids:/ 
        alone a step sees: devices 
        alone left: 0
        hybrid memory: 1 exit code: 137: cannot allocate memory
        hybrid processes: can't fork: Resource temporarily unavailable
        hybrid both: devices pids unified 9 33554432 
        hybrid members: :/ cpu,cpuacct:/ cpuset:/ devices:/ freezer:/ pids:/ 
        hybrid a step sees: devices 
        hybrid left: 0
    "#]]
    .assert_eq(&ended.stdout);
}
