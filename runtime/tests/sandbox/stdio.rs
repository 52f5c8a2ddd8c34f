//! Streams and terminals.

use std::fs::File;
use std::io::{Read, Write};

use runtime::terminal::{WindowSize, set_window_size};
use runtime::{Identity, Running, Stdio, Stream};

use crate::world::{World, finish};

fn start(world: &World, script: &str, stdio: Stdio, identity: Identity) -> Running {
    let mut spec = world.spec(script);
    spec.stdio = stdio;
    spec.identity = identity;
    world.launcher.create(spec).unwrap().start().unwrap()
}

fn pipes() -> Stdio {
    Stdio::Streams { stdin: Stream::Pipe, stdout: Stream::Pipe, stderr: Stream::Pipe }
}

fn somebody() -> Identity {
    Identity { uid: 1000, gid: 1000, groups: Vec::new() }
}

#[test]
fn pipes_carry_all_three_streams() {
    let world = World::new();
    let mut running = start(&world, "cat; echo error >&2; echo end", pipes(), Identity::default());
    let mut stdin = File::from(running.stdin.take().unwrap());
    stdin.write_all(b"input\n").unwrap();
    drop(stdin);
    let (mut output, mut errors) = (String::new(), String::new());
    File::from(running.stdout.take().unwrap()).read_to_string(&mut output).unwrap();
    File::from(running.stderr.take().unwrap()).read_to_string(&mut errors).unwrap();
    assert_eq!((output.as_str(), errors.as_str()), ("input\nend\n", "error\n"));
    assert!(running.wait().unwrap().status.is_success());
}

#[test]
fn streams_can_be_opened_again_by_who_the_process_is() {
    let world = World::new();
    for identity in [Identity::default(), somebody()] {
        let mut running =
            start(&world, "echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/stdin", pipes(), identity);
        drop(running.stdin.take());
        let mut errors = String::new();
        let (stdout, stderr) = (running.stdout.take().unwrap(), running.stderr.take().unwrap());
        File::from(stderr).read_to_string(&mut errors).unwrap();
        assert_eq!(finish(running, stdout).output + &errors, "out\nerr\n");
    }
}

#[test]
fn without_streams_nothing_is_read_and_nothing_is_written() {
    let world = World::new();
    let stdio = Stdio::Streams { stdin: Stream::Null, stdout: Stream::Null, stderr: Stream::Null };
    let running = start(
        &world,
        "cat; echo nowhere; [ -c /dev/stdin ] && readlink /proc/$$/fd/1 | grep -qx /dev/null",
        stdio,
        somebody(),
    );
    assert!(running.wait().unwrap().status.is_success());
}

/// A caller whose own streams are closed gets low numbers for its descriptors.
#[test]
fn low_descriptors_are_not_overwritten() {
    let world = World::new();
    let spare = [0; 3].map(|_| File::open("/dev/null").unwrap());
    let (read, write) = std::io::pipe().unwrap();
    // The same pipe twice, the other way round: neither must take the other's place.
    let stdio = Stdio::Streams {
        stdin: Stream::Fd(spare[0].try_clone().unwrap().into()),
        stdout: Stream::Fd(write.try_clone().unwrap().into()),
        stderr: Stream::Fd(write.into()),
    };
    let running = start(&world, "echo a; echo b >&2", stdio, Identity::default());
    assert_eq!(finish(running, read.into()).output, "a\nb\n");
}

#[test]
fn a_terminal_is_one_by_every_test() {
    let world = World::new();
    let size = WindowSize { rows: 33, columns: 101 };
    for identity in [Identity::default(), somebody()] {
        let script = "tty; stty size; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all; readlink /proc/self/fd/0; echo to > /dev/tty; \
                      echo console > /dev/console; stat -c %u /dev/pts/0; ps -o pid,tty | tr -s ' ' | grep -c 136,0";
        let mut running = start(&world, script, Stdio::Terminal(size), identity.clone());
        let terminal = running.terminal.take().unwrap();
        let output = finish(running, terminal).output;
        let expected = format!("/dev/pts/0\r\n33 101\r\nall\r\n/dev/pts/0\r\nto\r\nconsole\r\n{}\r\n", identity.uid);
        assert!(output.starts_with(&expected), "{output:?} for {expected:?}");
    }
}

#[test]
fn keys_of_the_terminal_become_signals_and_sizes_are_told() {
    let world = World::new();
    let script = "trap 'echo interrupted; exit 7' INT; trap 'stty size' WINCH; echo ready; read line; echo \"got $line\"; while :; do read x; done";
    let mut running = start(&world, script, Stdio::Terminal(WindowSize::default()), Identity::default());
    let mut terminal = File::from(running.terminal.take().unwrap());
    read_until(&mut terminal, "ready");
    terminal.write_all(b"hello\n").unwrap();
    read_until(&mut terminal, "got hello");
    set_window_size(&terminal, WindowSize { rows: 50, columns: 60 }).unwrap();
    terminal.write_all(b"\n").unwrap();
    read_until(&mut terminal, "50 60");
    terminal.write_all(b"\x03").unwrap();
    read_until(&mut terminal, "interrupted");
    assert_eq!(running.wait().unwrap().status.code(), 7);
}

/// Reads until a text has come.
fn read_until(from: &mut File, text: &str) {
    let mut output = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&output).contains(text) {
        assert_ne!(from.read(&mut byte).unwrap(), 0, "{output:?} ended before {text:?}");
        output.push(byte[0]);
    }
}
