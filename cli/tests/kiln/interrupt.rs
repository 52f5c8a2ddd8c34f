//! Ctrl-C: whatever runs is stopped, and nothing is left.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::world::World;

/// Returns whether any process of the machine has `marker` on its command line.
pub(crate) fn is_running(marker: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok()).any(|line| {
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains(marker) && !line.contains("kiln")
    })
}

/// Starts a build, waits until it prints `until`, sends a signal, and returns the exit code.
fn interrupt(world: &World, until: &str, signal: Signal) -> Option<i32> {
    interrupt_with(world, &["-t", "app"], until, signal)
}

fn interrupt_with(world: &World, options: &[&str], until: &str, signal: Signal) -> Option<i32> {
    let mut child = world.spawn(&[&["build", "--progress", "plain"], options, &["ctx"]].concat());
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(until)), "the build never printed `{until}`");
    kill_process(Pid::from_child(&child), signal).unwrap();
    lines.for_each(drop);
    child.wait().unwrap().code()
}

#[test]
fn an_interrupted_build_stops_its_steps_and_keeps_what_had_finished() {
    let world = World::new();
    let dockerfile = "FROM busybox\nRUN echo first > /f\nRUN echo now; sleep 86399 & sleep 86398\n";
    world.write("ctx/Dockerfile", dockerfile);
    assert_eq!(interrupt(&world, " now", Signal::INT), Some(130));
    assert!(!is_running("86398") && !is_running("86399"));
    world.write("ctx/Dockerfile", dockerfile.replace("RUN echo now; sleep 86399 & sleep 86398", "RUN true"));
    let summary = world.build_summary(&["-t", "app", "ctx"]);
    assert_eq!(summary, "ran: RUN true\ncached: RUN echo first > /f\n");
}

#[test]
fn a_killed_build_leaves_no_process_and_the_next_one_tidies_up() {
    let world = World::new();
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=4 2>&1; echo now; sleep 86397\n",
    );
    interrupt(&world, " now", Signal::KILL);
    // The kernel kills the sandbox with its builder, but not before it says that the builder is gone.
    while is_running("86397") {
        std::thread::yield_now();
    }
    assert!(std::fs::read_dir(world.store().join("drafts")).unwrap().next().is_some());
    world.write("ctx/Dockerfile", "FROM busybox\nRUN true\n");
    world.build(&["-t", "app", "ctx"]);
    let named = world.ok(&["inspect", "-f", "{{len .RootFS.Layers}}", "app"]);
    let layers = std::fs::read_dir(world.store().join("layers")).unwrap().count();
    assert_eq!(format!("{layers}\n"), named);
}

#[test]
fn an_interrupted_tar_of_files_and_an_interrupted_loading_end_at_once() {
    let world = World::new();
    world.write("ctx/large", vec![7; 8 << 20]);
    world.write("ctx/Dockerfile", "FROM scratch\nCOPY large /\n");
    world.build(&["-t", "app", "ctx"]);
    // Nobody reads more than the beginning of it, so that it is still being written.
    let mut child =
        world.command(&["build", "-q", "-o", "type=tar,dest=-", "ctx"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 512]).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    std::io::copy(&mut out, &mut std::io::sink()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    // Nor is more than the beginning of the bundle written.
    world.ok(&["save", "-o", "app.tar", "app"]);
    let bundle = std::fs::read(world.path("app.tar")).unwrap();
    let drafts = || std::fs::read_dir(world.store().join("drafts")).unwrap().count();
    let before = drafts();
    let mut child = world.command(&["load"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&bundle[..bundle.len() / 2]).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    // What is written from now on wakes the one who reads, and may find nobody.
    while input.write_all(&[0; 512]).is_ok() {}
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(drafts(), before);
}

#[test]
fn an_interrupted_export_ends_at_once_and_leaves_nothing() {
    let world = World::new();
    // It takes a compressor some seconds that tries hard.
    let text: Vec<u8> =
        (0..50_000_000u32).map(|number| b'a' + (number.wrapping_mul(2_654_435_761) >> 28) as u8).collect();
    world.write("ctx/text", &text);
    world.write("ctx/Dockerfile", "FROM scratch\nCOPY text /\n");
    world.build(&["-t", "app", "ctx"]);
    let names = || std::fs::read_dir(world.path("")).unwrap().count();
    let before = names();
    let output = "type=oci,dest=out.tar,compression=gzip,compression-level=9";
    let code = interrupt_with(&world, &["-o", output], "exporting to oci image format", Signal::INT);
    assert_eq!((code, names()), (Some(130), before));
}
