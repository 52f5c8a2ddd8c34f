//! Builds of contexts whose files change all the time.

use std::fs;

use crate::copy::{build, world};
use crate::world::World;

/// Does something while a file of the context changes all the time, and another one comes and goes.
fn while_files_change(world: &World, act: impl Fn()) {
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, Ordering};
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_over = AtomicBool::new(false);
    let mut log = fs::File::options().append(true).open(world.path("ctx/log")).unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                log.write_all(b"x").unwrap();
                fs::write(world.path("ctx/temporary"), "").unwrap();
                fs::remove_file(world.path("ctx/temporary")).unwrap();
            }
        });
        let _over = Over(&is_over);
        act();
    });
}

#[test]
fn a_file_that_never_stands_still_is_taken_as_it_was_read() {
    let world = world(&[("log", ""), ("other", "")]);
    world.write("Dockerfile", "FROM busybox\nCOPY . /x/\n");
    while_files_change(&world, || {
        for _ in 0..5 {
            let ended = world.kiln(&["build", "--progress", "plain", "-t", "app", "-f", "Dockerfile", "ctx"]);
            assert_eq!(ended.code, 0, "{}", ended.stderr);
        }
    });
    assert_eq!(world.in_image("app", "tr -d x < /x/log; ls /x/other"), "/x/other\n");
    // What was taken then is no result for what is there now.
    build(&world, "COPY . /x/");
    assert_eq!(world.in_image("app", "cat /x/log"), world.read("ctx/log"));
    assert_eq!(world.build_summary(&["-f", "Dockerfile", "ctx"]), "ran: \ncached: COPY . /x/\n");
}

#[test]
fn a_mounted_file_that_never_stands_still_is_seen_as_it_was_read() {
    let world = world(&[("log", ""), ("other", "")]);
    let run = "RUN --mount=target=/m --mount=type=cache,from=ctx,target=/c cat /m/log /m/other >/seen && ls /c/other";
    world.write("Dockerfile", format!("FROM scratch AS ctx\nCOPY other /\nFROM busybox\n{run}\n"));
    while_files_change(&world, || {
        for _ in 0..5 {
            let ended = world.kiln(&["build", "--progress", "plain", "-t", "app", "-f", "Dockerfile", "ctx"]);
            assert_eq!(ended.code, 0, "{}", ended.stderr);
        }
    });
    assert_eq!(world.in_image("app", "tr -d x < /seen"), "");
    // What was seen then is no result for what is there now.
    world.ok(&["build", "-q", "-t", "app", "-f", "Dockerfile", "ctx"]);
    assert_eq!(world.in_image("app", "cat /seen"), world.read("ctx/log"));
    assert_eq!(world.build_summary(&["-f", "Dockerfile", "ctx"]), format!("ran: \ncached: COPY other /; {run}\n"));
}
