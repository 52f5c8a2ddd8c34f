//! `kiln run`: streams, terminals, signals, exit codes.

use std::io::{Read, Write};
use std::process::Stdio;

use expect_test::expect;

use crate::world::World;

#[test]
fn exit_codes_are_dockers() {
    let world = World::new();
    let code = |args: &[&str]| world.kiln(&[&["run", "--rm"], args].concat()).code;
    assert_eq!(code(&["busybox", "true"]), 0);
    assert_eq!(code(&["busybox", "sh", "-c", "exit 7"]), 7);
    assert_eq!(code(&["busybox", "sh", "-c", "kill -TERM $$; sleep 1; exit 9"]), 9);
    assert_eq!(code(&["busybox", "sh", "-c", "sleep 1000 & kill -KILL $!; wait $!"]), 137);
    assert_eq!(code(&["busybox", "/etc/passwd"]), 126);
    assert_eq!(code(&["busybox", "nope"]), 127);
    assert_eq!(code(&["busybox"]), 125);
    assert_eq!(code(&["-u", "nope", "busybox", "true"]), 125);
    assert_eq!(code(&["-v", "a", "busybox", "true"]), 125);
    assert_eq!(code(&["--no-such-flag", "busybox"]), 125);
}

#[test]
fn what_cannot_be_run_says_why() {
    let world = World::new();
    let said = |args: &[&str]| world.kiln(&[&["run", "--rm"], args].concat()).stderr;
    expect![[r#"
        kiln: exec: "nope": executable file not found in $PATH
    "#]]
    .assert_eq(&said(&["busybox", "nope"]));
    expect![[r#"
        kiln: exec: "/etc/passwd": permission denied
    "#]]
    .assert_eq(&said(&["busybox", "/etc/passwd"]));
    expect![[r#"
        kiln: unable to find user nope: no matching entries in passwd file
    "#]]
    .assert_eq(&said(&["-u", "nope", "busybox", "true"]));
    expect![[r#"
        kiln: the input device is not a TTY
    "#]]
    .assert_eq(&said(&["-it", "busybox", "true"]));
}

#[test]
fn streams_are_apart_and_whole() {
    let world = World::new();
    let ended = world.kiln_reading(&["run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo err >&2; exit 3"], b"in\n");
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (3, "in\n", "err\n"));
    let ended = world.kiln_reading(&["run", "--rm", "busybox", "cat"], b"not passed on");
    assert_eq!((ended.code, ended.stdout.as_str()), (0, ""));
    let big =
        world.ok(&["run", "--rm", "busybox", "sh", "-c", "dd if=/dev/zero bs=1M count=32 2>/dev/null | tr '\\0' x"]);
    assert_eq!(big.len(), 32 << 20);
}

#[test]
fn options_reach_the_container() {
    let world = World::new();
    world.write("vol/file", "shared\n");
    let volume = format!("{}:/v:ro", world.path("vol").display());
    let args = ["run", "--rm", "-e", "A=1", "-e", "FROM_OUTSIDE", "-w", "/tmp/new", "-u", "33", "-v", &volume];
    let command = "echo $A $FROM_OUTSIDE; pwd; id -u; cat /v/file; touch /v/x 2>&1; hostname | wc -c";
    let mut kiln = world.command(&args);
    let output = kiln.args(["busybox", "sh", "-c", command]).env("FROM_OUTSIDE", "2").output().unwrap();
    expect![[r#"
        1 2
        /tmp/new
        33
        shared
        touch: /v/x: Read-only file system
        13
    "#]]
    .assert_eq(&String::from_utf8(output.stdout).unwrap());
    assert!(!world.path("vol/x").exists());
}

#[test]
fn entry_points_and_commands_combine() {
    let world = World::new();
    world.write("ctx/Dockerfile", "FROM busybox\nENTRYPOINT [\"echo\", \"entry\"]\nCMD [\"cmd\"]\n");
    world.build(&["-t", "app", "ctx"]);
    assert_eq!(world.ok(&["run", "--rm", "app"]), "entry cmd\n");
    assert_eq!(world.ok(&["run", "--rm", "app", "other", "--flag"]), "entry other --flag\n");
    assert_eq!(world.ok(&["run", "--rm", "--entrypoint", "echo", "app", "alone"]), "alone\n");
    assert_eq!(world.ok(&["run", "--rm", "--entrypoint", "", "app", "echo", "none"]), "none\n");
}

#[test]
fn a_signal_is_passed_on_and_the_container_answers_it() {
    let world = World::new();
    let script = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = world.spawn(&["run", "--rm", "busybox", "sh", "-c", script]);
    let mut stdout = child.stdout.take().unwrap();
    let mut said = [0; 6];
    stdout.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"ready\n");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!((rest.as_str(), child.wait().unwrap().code()), ("caught\n", Some(5)));
}

#[test]
fn a_container_without_rm_stays_until_it_is_pruned() {
    let world = World::new();
    world.ok(&["run", "busybox", "touch", "/x"]);
    assert!(world.ok(&["system", "df", "--format", "{{.Type}} {{.TotalCount}}"]).contains("Containers 1"));
    let ended = world.kiln(&["rmi", "busybox"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.stderr.contains("conflict: unable to remove repository reference \"busybox\" (must force)"),
        "{}",
        ended.stderr
    );
    let pruned = world.ok(&["system", "prune", "-f"]);
    assert!(pruned.starts_with("Deleted Containers:\n"), "{pruned}");
}

/// A terminal made with script(1), which passes the exit code on.
#[test]
fn a_terminal_is_a_terminal_inside() {
    let world = World::new();
    let kiln = env!("CARGO_BIN_EXE_kiln");
    let inner = format!("{kiln} run --rm -it busybox sh -c 'tty; stty size; read line; echo got:$line; exit 6'");
    let mut script = std::process::Command::new("script");
    script.args(["--quiet", "--return", "--command", &inner, "/dev/null"]);
    script.env("KILN_ROOT", world.store()).env("TERM", "xterm");
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"typed\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert!(shown.contains("/dev/pts/0\n"), "{shown}");
    assert!(shown.contains("got:typed\n"), "{shown}");
    assert_eq!(output.status.code(), Some(6), "{shown}");
}
