//! The program: finding it, running it, how it ends, and what it begins with.

use std::os::unix::fs::PermissionsExt;

use runtime::{Rlimit, Root, Spec, Status};

use crate::world::{World, check, check_refused, check_with};

#[test]
fn arguments_environment_and_directory_arrive_as_they_are() {
    check_with(
        "echo $0 $# \"$1\"; pwd; env | sort",
        |spec| {
            spec.args.extend(["name".into(), " a  b ".into()]);
            spec.env = vec!["PATH=/bin".into(), "B= x ".into(), "A=ä".into()];
            spec.cwd = "/etc".into();
        },
        "name 1  a  b \n/etc\nA=ä\nB= x \nPATH=/bin\nPWD=/etc\nSHLVL=1\n",
    );
}

#[test]
fn a_name_without_a_slash_is_looked_for_in_the_path_of_the_sandbox() {
    check_with("", |spec| spec.args = vec!["echo".into(), "found".into()], "found\n");
    check_with(
        "",
        |spec| {
            spec.env = vec!["PATH=/nowhere:/etc:/bin".into()];
            spec.args = vec!["echo".into(), "found".into()];
        },
        "found\n",
    );
    check_with(
        "",
        |spec| {
            spec.env.clear();
            spec.args = vec!["echo".into(), "by default".into()];
        },
        "by default\n",
    );
    check_with(
        "",
        |spec| {
            spec.cwd = "/bin".into();
            spec.args = vec!["./echo".into(), "here".into()];
        },
        "here\n",
    );
}

#[test]
fn the_exit_code_or_the_signal_is_reported() {
    let status = |script: &str| {
        let world = World::new();
        let exit = world.run(world.spec(script)).exit;
        (exit.status, exit.status.code())
    };
    assert_eq!(status("exit 0"), (Status::Code(0), 0));
    assert_eq!(status("exit 3"), (Status::Code(3), 3));
    assert_eq!(status("exit 255"), (Status::Code(255), 255));
    // The first process of a namespace cannot kill itself, so the shell's child does it.
    assert_eq!(status("sh -c 'kill -9 $$'; exit $?"), (Status::Code(137), 137));
}

#[test]
fn what_a_program_used_is_reported() {
    let world = World::new();
    let script =
        "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null";
    let usage = world.run(world.spec(script)).exit.usage;
    assert!(!(usage.cpu_user + usage.cpu_system).is_zero(), "{usage:?}");
    assert!(usage.memory_peak_bytes.is_some_and(|peak| peak > 200 << 20), "{usage:?}");
    let usage = world.run(world.spec("true")).exit.usage;
    assert_eq!(usage.memory_peak_bytes, None, "less than the test itself has, so unknown");
}

/// Line 85 of what `docker run` exits with: 127, 126, and the words that people search for.
#[test]
fn programs_that_are_not_there_are_reported_as_docker_does() {
    check_missing(&["nope"], 127, "exec: \"nope\": executable file not found in $PATH");
    check_missing(&[""], 127, "exec: \"\": executable file not found in $PATH");
    check_missing(&["/bin/nope"], 127, "exec: \"/bin/nope\": stat /bin/nope: no such file or directory");
    check_missing(&["/etc/passwd"], 126, "exec: \"/etc/passwd\": permission denied");
    check_missing(&["/etc"], 126, "exec: \"/etc\": is a directory");
    check_missing(&["/etc/passwd/x"], 126, "exec /etc/passwd/x: cannot be executed: Not a directory (os error 20)");
}

#[track_caller]
fn check_missing(args: &[&str], code: u8, expected: &str) {
    let world = World::new();
    let mut spec = world.spec("");
    spec.args = args.iter().map(Into::into).collect();
    check_refused(&world, spec, code, expected);
}

#[test]
fn programs_that_cannot_run_say_why() {
    let world = World::new();
    let mut foreign = vec![0; 128];
    foreign[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    foreign[16] = 2;
    foreign[18..20].copy_from_slice(&(if cfg!(target_arch = "x86_64") { 183_u16 } else { 62 }).to_le_bytes());
    let layer = world.program("programs", "foreign", &foreign);
    world.program("programs", "text", b"echo hello\n");
    world.program("programs", "script", b"#!/usr/bin/python3 -u\n");
    world.program("programs", "foreign-script", b"#!/foreign\n");
    let refused = |name: &str, code, expected: &str| {
        let (overlay, _) = world.overlay(&[world.base(), layer.clone()]);
        check_refused(&world, Spec::new(Root::Overlay(overlay), [name]), code, expected);
    };
    let (here, there) = if cfg!(target_arch = "x86_64") { ("amd64", "arm64") } else { ("arm64", "amd64") };
    refused(
        "/foreign",
        126,
        &format!("exec /foreign: exec format error (the program is for {there}, and this machine is {here})"),
    );
    refused(
        "/foreign-script",
        126,
        &format!("exec /foreign: exec format error (the program is for {there}, and this machine is {here})"),
    );
    refused(
        "/text",
        126,
        "exec /text: exec format error (the file is neither a program nor a script that begins with #!)",
    );
    refused(
        "./text",
        126,
        "exec /./text: exec format error (the file is neither a program nor a script that begins with #!)",
    );
    refused(
        "/script",
        127,
        "exec /script: no such file or directory (the file is there, but not `/usr/bin/python3`, which is to run it)",
    );
}

#[test]
fn a_program_that_only_others_may_run_is_refused() {
    let world = World::new();
    let layer = world.program("programs", "private", b"#!/bin/sh\n");
    std::fs::set_permissions(layer.join("private"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let (overlay, _) = world.overlay(&[world.base(), layer]);
    let mut spec = Spec::new(Root::Overlay(overlay), ["/private"]);
    spec.identity.uid = 1000;
    check_refused(&world, spec, 126, "exec: \"/private\": permission denied");
}

/// Up to the start of its program, the process has the memory, the program and the descriptors of the one that starts it.
#[test]
fn nothing_of_the_launcher_can_be_named() {
    let world = World::new();
    let mut spec = world.spec("");
    spec.args = vec!["/proc/self/exe".into()];
    check_refused(
        &world,
        spec,
        126,
        "exec /proc/self/exe: cannot be executed: Too many levels of symbolic links (os error 40)",
    );
    let host = std::fs::File::open("/").unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&host);
    let mut spec = world.spec("");
    spec.cwd = format!("/proc/self/fd/{fd}").into();
    check_refused(
        &world,
        spec,
        125,
        &format!(
            "cannot change to the working directory `/proc/self/fd/{fd}` in the root file system: No such file or directory (os error 2)"
        ),
    );
}

#[test]
fn a_working_directory_has_to_be_there() {
    let world = World::new();
    let refused = |cwd: &str, expected: &str| {
        let mut spec = world.spec("");
        spec.cwd = cwd.into();
        check_refused(&world, spec, 125, expected);
    };
    refused(
        "/nope",
        "cannot change to the working directory `/nope` in the root file system: No such file or directory (os error 2)",
    );
    refused(
        "/etc/passwd",
        "cannot change to the working directory `/etc/passwd` in the root file system: Not a directory (os error 20)",
    );
    let mut spec = world.spec("");
    spec.cwd = "etc".into();
    let err = world.launcher.create(spec).unwrap_err();
    assert_eq!(err.to_string(), "the working directory `etc` is invalid: it has to be an absolute path");
}

#[test]
fn a_command_there_must_be() {
    let world = World::new();
    let mut spec = world.spec("");
    spec.args.clear();
    assert_eq!(world.launcher.create(spec).unwrap_err().to_string(), "no command specified");
}

#[test]
fn a_process_begins_with_what_a_new_program_expects() {
    check("umask; echo $$; cat /proc/self/oom_score_adj", "0022\n1\n0\n");
    // Not a shell, which ignores signals of its own accord.
    check_with(
        "",
        |spec| spec.args = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"].map(Into::into).to_vec(),
        "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n",
    );
    check("ls /proc/self/fd | tr '\\n' ' '", "0 1 2 3 ");
    check("ps -o pid,ppid,pgid,sid,comm | head -n 2 | tr -s ' '", "PID PPID PGID SID COMMAND\n 1 0 1 1 sh\n");
}

#[test]
fn limits_apply() {
    let limit = |name: &str, soft, hard| Rlimit { resource: name.parse().unwrap(), soft, hard };
    check_with(
        "ulimit -Sn; ulimit -Hn; ulimit -Sc",
        |spec| spec.rlimits = vec![limit("nofile", Some(100), Some(200)), limit("core", Some(0), Some(0))],
        "100\n200\n0\n",
    );
    let world = World::new();
    let mut spec = world.spec("");
    spec.rlimits = vec![limit("nofile", Some(3), Some(2))];
    let err = world.launcher.create(spec).unwrap_err();
    assert_eq!(err.to_string(), "ulimit soft limit must be less than or equal to hard limit: `nofile`");
}

#[test]
fn limits_that_may_not_be_raised_are_lowered_with_a_warning() {
    let mut kernel = runtime::Kernel::probe().unwrap();
    kernel.capabilities = runtime::Capabilities::DOCKER;
    let world = World::with_kernel(kernel);
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap();
    let mut spec = world.spec("ulimit -Hn; ulimit -Sn");
    let resource = "nofile".parse().unwrap();
    spec.rlimits = vec![Rlimit { resource, soft: Some(own + 1), hard: None }];
    let (read, write) = std::io::pipe().unwrap();
    let stdout = runtime::Stream::Fd(write.into());
    spec.stdio = runtime::Stdio::Streams { stdin: runtime::Stream::Null, stdout, stderr: runtime::Stream::Null };
    let created = world.launcher.create(spec).unwrap();
    let warnings: Vec<_> = created.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [format!(
            "the hard limit `nofile` is {own} and not unlimited: the process may not raise its own (it lacks CAP_SYS_RESOURCE)"
        )]
    );
    let outcome = crate::world::finish(created.start().unwrap(), read.into());
    assert_eq!(outcome.output, format!("{own}\n{own}\n"));
}
