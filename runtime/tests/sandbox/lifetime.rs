//! What is left, and what is not, when a sandbox or the process that started it ends.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio as ProcessStdio};
use std::time::{Duration, Instant};

use runtime::{Access, Identity, Mount, MountSource, Running, Security, Spec, Status, Stdio, Stream};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::world::{World, alone, finish, shell, this_test};

/// How long a test waits for what the kernel does at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts something whose standard output and error are one end of a pipe, and returns the other.
fn start(world: &World, mut spec: Spec) -> (Running, OwnedFd) {
    let (read, write) = std::io::pipe().unwrap();
    let stderr = Stream::Fd(write.try_clone().unwrap().into());
    spec.stdio = Stdio::Streams { stdin: Stream::Pipe, stdout: Stream::Fd(write.into()), stderr };
    (world.launcher.create(spec).unwrap().start().unwrap(), read.into())
}

/// Reads a line.
fn read_line(from: &mut File) -> String {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while from.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

/// Waits until a descriptor is readable; says whether it is.
fn is_ready(descriptor: impl AsFd, patience: Duration) -> bool {
    let descriptor = descriptor.as_fd();
    let mut poll = [PollFd::new(&descriptor, PollFlags::IN)];
    rustix::event::poll(&mut poll, Some(&Timespec::try_from(patience).unwrap())).unwrap() == 1
}

/// Fails when a pipe does not end: somebody still has its other end.
fn expect_end(mut pipe: File) {
    assert!(is_ready(&pipe, PATIENCE), "somebody still has the other end");
    let mut rest = String::new();
    pipe.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn processes_in_the_background_do_not_outlive_the_sandbox() {
    let world = World::new();
    let (running, read) = start(&world, world.spec("setsid sleep 1000 & (sleep 1000 &) ; echo ready; exit 5"));
    let mut pipe = File::from(read);
    assert_eq!(read_line(&mut pipe), "ready");
    assert_eq!(running.wait().unwrap().status, Status::Code(5));
    expect_end(pipe);
}

#[test]
fn a_sandbox_that_is_dropped_or_killed_is_gone() {
    let world = World::new();
    let (running, read) = start(&world, world.spec("sleep 1000 & echo ready; wait"));
    let mut pipe = File::from(read);
    assert_eq!(read_line(&mut pipe), "ready");
    drop(running);
    expect_end(pipe);

    let (running, read) = start(&world, world.spec("sleep 1000 & echo ready; wait"));
    let mut pipe = File::from(read);
    assert_eq!(read_line(&mut pipe), "ready");
    running.kill().unwrap();
    assert_eq!(running.wait().unwrap().status, Status::Signal(9));
    expect_end(pipe);
}

#[test]
fn signals_reach_the_first_process_and_the_descriptor_tells_the_end() {
    let world = World::new();
    let (running, read) =
        start(&world, world.spec("trap 'echo term; exit 9' TERM; echo ready; while :; do read x; done"));
    let mut pipe = File::from(read);
    assert_eq!(read_line(&mut pipe), "ready");
    assert!(!is_ready(&running, Duration::ZERO));
    assert!(fs::metadata(format!("/proc/{}", running.pid().unwrap())).is_ok());
    running.signal(15).unwrap();
    assert_eq!(read_line(&mut pipe), "term");
    assert!(is_ready(&running, PATIENCE));
    running.signal(15).unwrap();
    assert_eq!(running.wait().unwrap().status, Status::Code(9));
}

#[test]
fn what_is_prepared_and_not_started_vanishes() {
    alone("lifetime::what_is_prepared_and_not_started_vanishes", prepare_and_drop);
}

fn prepare_and_drop() {
    let world = World::new();
    let before = mounts_of_this_process();
    let created = world.launcher.create(world.spec("true")).unwrap();
    assert_eq!(format!("{created:?}"), r#"Created { command: "/bin/sh", .. }"#);
    drop(created);
    assert_eq!(mounts_of_this_process(), before);
    assert_eq!(children_of_this_process().len(), 1, "only the process that watches");
}

fn mounts_of_this_process() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// Returns the names of this process' children.
fn children_of_this_process() -> Vec<String> {
    let mut found = Vec::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let children = fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        for pid in children.split_whitespace() {
            found.push(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned());
        }
    }
    found
}

fn descriptors_of_this_process() -> BTreeMap<String, String> {
    let entries = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap());
    let name = |path: std::path::PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let found = entries.map(|entry| (name(entry.path()), fs::read_link(entry.path())));
    // The directory that is being read is among them, and gone by now.
    found.filter_map(|(number, target)| Some((number, target.ok()?.to_string_lossy().into_owned()))).collect()
}

#[test]
fn nothing_is_left_after_a_hundred_sandboxes_at_the_same_time() {
    alone("lifetime::nothing_is_left_after_a_hundred_sandboxes_at_the_same_time", || {
        let world = World::new();
        world.run(world.spec("true"));
        let before = (mounts_of_this_process(), descriptors_of_this_process(), children_of_this_process());
        std::thread::scope(|scope| {
            for number in 0..100 {
                let world = &world;
                scope.spawn(move || {
                    let outcome = world.run(world.spec(&format!("echo {number}; exit {number}")));
                    assert_eq!(outcome.output, format!("{number}\n"));
                    assert_eq!(outcome.exit.status, Status::Code(number));
                });
            }
        });
        let after = (mounts_of_this_process(), descriptors_of_this_process(), children_of_this_process());
        assert_eq!(after, before);
        assert_eq!(after.2, ["kiln-nest"]);
        let mut spec = world.spec("");
        spec.args = vec!["nope".into()];
        assert!(world.try_run(spec).is_err());
        let after = (mounts_of_this_process(), descriptors_of_this_process(), children_of_this_process());
        assert_eq!(after, before);
        drop(world);
        assert_eq!(children_of_this_process(), Vec::<String>::new());
    });
}

#[test]
fn a_thread_that_started_a_sandbox_is_as_before() {
    let world = World::new();
    let state = || {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        // Not `SigQ`: that counts the signals of all processes of the user.
        const KEPT: [&str; 9] = ["SigPnd", "SigBlk", "SigIgn", "SigCgt", "Cap", "Seccomp", "NSpid", "Groups", "Uid"];
        let kept = |line: &&str| KEPT.iter().any(|name| line.starts_with(name));
        let mut state: Vec<_> = status.lines().filter(kept).map(str::to_owned).collect();
        for namespace in ["pid", "pid_for_children", "mnt", "net", "uts", "ipc", "cgroup"] {
            state.push(fs::read_link(format!("/proc/thread-self/ns/{namespace}")).unwrap().display().to_string());
        }
        state.push(std::env::current_dir().unwrap().display().to_string());
        state
    };
    let before = state();
    let mut spec = world.spec("cd /etc; umask 0; true");
    spec.identity = Identity { uid: 1000, gid: 1000, groups: vec![7] };
    world.run(spec);
    assert_eq!(state(), before);
    // Threads can still be started, and so can processes.
    std::thread::spawn(|| ()).join().unwrap();
    assert!(Command::new("/bin/busybox").arg("true").status().unwrap().success());
}

#[test]
fn the_thread_that_started_a_sandbox_may_end() {
    let world = World::new();
    let (running, read) = std::thread::scope(|scope| {
        scope.spawn(|| start(&world, world.spec("echo ready; read line; echo \"$line\""))).join().unwrap()
    });
    let mut running = running;
    let mut pipe = File::from(read);
    assert_eq!(read_line(&mut pipe), "ready");
    File::from(running.stdin.take().unwrap()).write_all(b"alive\n").unwrap();
    let outcome = finish(running, pipe.into());
    assert_eq!((outcome.output.as_str(), outcome.exit.status), ("alive\n", Status::Code(0)));
}

/// With kill -9, and also when the sandbox has become another user and left its session, with which a parent-death signal would be lost.
#[test]
fn nothing_survives_the_death_of_the_launcher() {
    const HOLDER: &str = "RUNTIME_TEST_HOLDER";
    if std::env::var_os(HOLDER).is_some() {
        return hold();
    }
    let (read, write) = std::io::pipe().unwrap();
    // What it makes cannot be removed by itself.
    let dir = tempfile::tempdir().unwrap();
    let mut command = this_test("lifetime::nothing_survives_the_death_of_the_launcher");
    command
        .env(HOLDER, "1")
        .env("TMPDIR", dir.path())
        .stdin(ProcessStdio::piped())
        .stdout(ProcessStdio::null())
        .stderr(write);
    let mut holder = command.spawn().unwrap();
    // It has the other end of the pipe too.
    drop(command);
    let mut pipe = File::from(OwnedFd::from(read));
    while read_line(&mut pipe) != "ready" {}
    holder.kill().unwrap();
    holder.wait().unwrap();
    // The sandbox has the other end, and nobody else any more.
    expect_end(pipe);
}

/// Starts a sandbox that writes to this process' standard error, and waits for ever.
fn hold() {
    let world = World::new();
    let mut spec =
        world.spec("sleep 1000 & setsid sleep 1000 & exec su app -c 'sleep 1000 & echo ready; exec sleep 1000'");
    let own = || Stream::Fd(std::io::stderr().as_fd().try_clone_to_owned().unwrap());
    spec.stdio = Stdio::Streams { stdin: Stream::Null, stdout: own(), stderr: own() };
    let _running = world.launcher.create(spec).unwrap().start().unwrap();
    let _ = std::io::stdin().read(&mut [0]);
    unreachable!("the process is killed while it waits");
}

/// Whoever kills the process that watches kills the sandboxes, and the next sandbox gets another.
#[test]
fn the_watching_process_can_be_replaced() {
    alone("lifetime::the_watching_process_can_be_replaced", || {
        let world = World::new();
        let (running, read) = start(&world, world.spec("echo ready; sleep 1000"));
        let mut pipe = File::from(read);
        assert_eq!(read_line(&mut pipe), "ready");
        let watching =
            fs::read_to_string(format!("/proc/self/task/{}/children", rustix::thread::gettid().as_raw_nonzero()));
        let watching = watching.unwrap();
        let is_watching = |pid: &&str| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() == "kiln-nest\n";
        let pid = watching.split_whitespace().find(is_watching).unwrap().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let watching = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        assert_eq!(running.wait().unwrap().status, Status::Signal(9));
        expect_end(pipe);
        assert!(is_ready(&watching, PATIENCE));
        assert!(world.run(world.spec("true")).exit.status.is_success());
    });
}

/// What the terminal sends to the program's group is not for the process that watches, nor for the sandboxes.
#[test]
fn a_signal_to_the_launchers_group_does_not_reach_sandboxes() {
    let world = World::new();
    let (mut running, read) = start(&world, world.spec("echo ready; read line; echo \"$line\""));
    let mut pipe = File::from(read);
    assert_eq!(read_line(&mut pipe), "ready");
    let group = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').map(str::to_owned).collect();
        (fields[2].clone(), fields[3].clone())
    };
    assert_ne!(group(running.pid().unwrap()), group(std::process::id()));
    File::from(running.stdin.take().unwrap()).write_all(b"alive\n").unwrap();
    assert_eq!(finish(running, pipe.into()).output, "alive\n");
}

/// In a container that may do everything, Kiln runs as it does outside.
#[test]
fn sandboxes_run_inside_a_privileged_sandbox() {
    const INSIDE: &str = "RUNTIME_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        let world = World::new();
        let outcome = world.run(world.spec("echo inside; exit 3"));
        assert_eq!((outcome.output.as_str(), outcome.exit.status), ("inside\n", Status::Code(3)));
        return;
    }
    let world = World::new();
    let mut spec = world.spec("");
    let test = "lifetime::sandboxes_run_inside_a_privileged_sandbox";
    spec.args = ["/test", "--exact", test, "--nocapture", "--test-threads", "1"].map(Into::into).to_vec();
    spec.env = vec![format!("{INSIDE}=1").into(), "TMPDIR=/work".into()];
    spec.security = Security::insecure();
    let tmpfs = MountSource::Tmpfs { size_bytes: None, mode: 0o755 };
    spec.mounts = vec![
        Mount::new("/test", MountSource::Path(std::env::current_exe().unwrap()), Access::ReadOnly),
        Mount::new("/work", tmpfs, Access::ReadWrite),
    ];
    let outcome = world.run(spec);
    assert!(outcome.exit.status.is_success(), "{}", outcome.output);
}

/// Returns the shortest time that a launch took, of several.
fn shortest_launch(world: &World) -> Duration {
    let launch = || {
        let (overlay, _) = world.overlay(&[world.base()]);
        let spec = shell(overlay, "true");
        let began = Instant::now();
        let running = world.launcher.create(spec).unwrap().start().unwrap();
        assert!(running.wait().unwrap().status.is_success());
        began.elapsed()
    };
    (0..20).map(|_| launch()).min().unwrap()
}

#[test]
fn a_launch_from_a_process_with_much_memory_takes_no_longer() {
    let world = World::new();
    let before = shortest_launch(&world);
    let memory = vec![1u8; 1 << 30];
    let after = shortest_launch(&world);
    assert_eq!(memory[memory.len() - 1], 1);
    // Copying the tables of its pages would take 35 ms.
    assert!(after < before * 2 + Duration::from_millis(10), "{before:?} and then {after:?}");
}
