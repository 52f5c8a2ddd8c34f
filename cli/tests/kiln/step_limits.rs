//! `--step-timeout` and `--step-retries`: issue 7, what goes beyond the specification.

use std::io::{BufRead, BufReader};

use rustix::process::{Pid, Signal, kill_process};

use crate::interrupt::is_running;
use crate::world::{Ended, World, filter};

fn build(world: &World, flags: &[&str], lines: &str) -> Ended {
    world.write("ctx/Dockerfile", format!("FROM busybox\n{lines}\n"));
    world.kiln(&[&["build", "--progress", "plain", "-t", "app"], flags, &["ctx"]].concat())
}

/// Counts its runs in a cache mount, and fails before the one of this number.
fn flaky(succeeds_at: usize) -> String {
    format!(
        "RUN --mount=type=cache,target=/c echo >> /c/runs; ls /left 2>&1; touch /left; printf open; test $(wc -l < /c/runs) -ge {succeeds_at}"
    )
}

#[test]
fn a_step_that_takes_too_long_is_killed_with_all_its_processes_and_says_so() {
    let world = World::new();
    let ended = build(&world, &["--step-timeout", "300ms"], "RUN echo out; sleep 85399 & sleep 85398");
    assert_eq!(ended.code, 1);
    assert!(!is_running("85398") && !is_running("85399"));
    let said = filter(&ended.stderr);
    let error = "process \"/bin/sh -c echo out; sleep 85399 & sleep 85398\" did not complete successfully: killed after 300ms, the time limit of a step";
    assert!(said.contains(&format!("ERROR: {error}\n")), "{said}");
    assert!(said.contains("2/2] RUN echo out; sleep 85399 & sleep 85398:\n[TIME] out\n"), "{said}");
    assert!(said.contains("\n   2 | >>> RUN echo out; sleep 85399 & sleep 85398\n"), "{said}");
    assert!(
        said.ends_with("\nhint: give steps more time with `--step-timeout`, or run them again with `--step-retries`\n")
    );
}

#[test]
fn a_step_that_fails_is_run_again_on_a_clean_layer() {
    let world = World::new();
    let ended = build(&world, &["--step-retries", "4"], &flaky(3));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let said = filter(&ended.stderr);
    for attempt in 1..3 {
        let next = attempt + 1;
        let line = format!(
            " open\n#4 [TIME] attempt {attempt} of 5 failed: exit code: 1; attempt {next} begins with a clean layer\n"
        );
        assert!(said.contains(&line), "{said}");
    }
    assert_eq!(said.matches("ls: /left: No such file or directory").count(), 3, "{said}");
    // What it took to get the result does not enter its key.
    assert!(filter(&build(&world, &["--step-timeout", "1h"], &flaky(3)).stderr).contains("#4 CACHED\n"));
    assert!(build(&world, &[], &flaky(3)).stderr.contains(" CACHED\n"));
}

#[test]
fn a_step_is_run_again_no_more_often_than_asked_for_and_a_failure_is_no_result() {
    let world = World::new();
    for flags in [&["--step-retries", "1"][..], &[]] {
        let ended = build(&world, flags, &flaky(4));
        assert_eq!(ended.code, 1);
        assert!(ended.stderr.contains("did not complete successfully: exit code: 1\n"), "{}", ended.stderr);
    }
    let ended = build(&world, &[], &flaky(4));
    assert_eq!(ended.code, 0, "it was run twice, then once: {}", ended.stderr);
}

#[test]
fn a_step_that_took_too_long_is_run_again_and_json_shows_which_attempt_it_is() {
    let world = World::new();
    let lines = "RUN --mount=type=cache,target=/c if ! test -e /c/once; then touch /c/once; sleep 85397; fi";
    world.write("ctx/Dockerfile", format!("FROM busybox\n{lines}\n"));
    let flags = ["--step-timeout", "2s", "--step-retries", "1", "--progress", "rawjson"];
    let ended = world.kiln(&[&["build"], &flags[..], &["ctx"]].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    // `attempt 1 of 2 failed: killed ` in base64.
    assert!(
        ended.stderr.contains("\"stream\":2,\"data\":\"YXR0ZW1wdCAxIG9mIDIgZmFpbGVkOiBraWxsZWQg"),
        "{}",
        ended.stderr
    );
    assert!(!is_running("85397"));
}

#[test]
fn an_interrupted_step_is_not_run_again() {
    let world = World::new();
    world.write("ctx/Dockerfile", "FROM busybox\nRUN echo now; sleep 85396\n");
    let mut child = world.spawn(&["build", "--progress", "plain", "--step-retries", "3", "ctx"]);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.ends_with(" now")));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let rest: Vec<String> = lines.collect();
    assert!(!rest.iter().any(|line| line.contains("attempt")), "{rest:?}");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!is_running("85396"));
}

#[test]
fn limits_that_are_none_are_refused() {
    let world = World::new();
    for text in ["0s", "soon", "5"] {
        let ended = build(&world, &["--step-timeout", text], "RUN true");
        let error = format!("ERROR: invalid step-timeout \"{text}\": expected a span of time such as 90s or 5m\n");
        assert_eq!((ended.code, ended.stderr), (1, error));
    }
}

/// Returns what the history says that the steps used which ran a command: attempts, and whether CPU time, memory and written bytes are known.
fn usages(world: &World) -> Vec<(u64, u64, bool, Option<u64>)> {
    let shown = world.ok(&["builds", "inspect", "--format", "json"]);
    let build: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let steps = build["Steps"].as_array().unwrap().iter();
    let used = steps.map(|step| &step["Usage"]).filter(|usage| !usage.is_null());
    let number = |value: &serde_json::Value| value.as_u64();
    used.map(|usage| {
        let cpu = number(&usage["CPUUser"]).unwrap() + number(&usage["CPUSystem"]).unwrap();
        (number(&usage["Attempts"]).unwrap(), cpu, number(&usage["MemoryPeak"]).is_some(), number(&usage["Written"]))
    })
    .collect()
}

#[test]
fn what_steps_used_is_in_the_history() {
    let world = World::new();
    let lines = "RUN dd if=/dev/zero of=/big bs=1M count=3 && i=0; while test $i -lt 20000; do i=$((i+1)); done\n\
                 RUN dd if=/dev/zero of=/dev/null bs=96M count=1; exit 1";
    let ended = build(&world, &["--debug", "--step-retries", "1"], lines);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains(" user, ") && ended.stderr.contains(", wrote 3.15MB\n"), "{}", ended.stderr);
    let used = usages(&world);
    assert_eq!(used.len(), 2, "{used:?}");
    assert!(used.iter().all(|usage| usage.1 > 0), "{used:?}");
    assert_eq!((used[0].0, used[0].3), (1, Some(3 << 20)));
    // It has more memory than the builder, so that the kernel's figure is its own. What failed leaves no layer.
    assert_eq!((used[1].0, used[1].2, used[1].3), (2, true, None));
    let table = world.ok(&["builds", "inspect"]);
    assert!(table.contains("CPU") && table.contains(" 3.15MB "), "{table}");
    // A step that is found used nothing.
    build(&world, &[], lines.split('\n').next().unwrap());
    assert_eq!(usages(&world), []);
}
