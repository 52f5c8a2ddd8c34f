//! Which steps run: graphs as text, a fake executor and a fake cache. See `testkit::solver` for the notation.

#![cfg(test)]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Mutex;

use expect_test::{Expect, expect};
use solver::{Options, Outcome, SolveError, StepEvent, solve};
use testkit::solver::{FakeCache, FakeError, FakeExecutor, FakeSnapshot, World};
use tokio_util::sync::CancellationToken;

/// An executor and a cache that outlive several builds.
#[derive(Default)]
struct Fixture {
    executor: FakeExecutor,
    cache: FakeCache,
    cancel: CancellationToken,
}

impl Fixture {
    /// Builds one graph and returns its result and all events.
    fn build(&self, text: &str) -> (Result<FakeSnapshot, SolveError<FakeError>>, Vec<String>) {
        let world = World::parse(text);
        self.executor.enter(&world);
        let events = Mutex::new(Vec::new());
        let observe = |event: StepEvent| {
            let line = match event {
                StepEvent::Keyed(..) => return,
                StepEvent::Started(id) => format!("{} started", world.graph[id].hints.name),
                StepEvent::Finished(id, outcome) => format!("{} {outcome:?}", world.graph[id].hints.name),
            };
            events.lock().unwrap().push(line);
        };
        let options = Options { parallel_max: NonZeroUsize::new(4).unwrap(), times: &BTreeMap::new };
        let ports = (&self.executor, &&self.cache);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let targets = [world.target];
        let solved = runtime.block_on(solve(&world.graph, &targets, ports, options, &observe, &self.cancel));
        drop(runtime);
        (solved.map(|mut all| all.remove(0)), events.into_inner().unwrap())
    }

    /// Builds one graph and says which steps ran, which were found, and what came out.
    fn summary(&self, text: &str) -> String {
        let (result, events) = self.build(text);
        let ran = self.executor.take_runs().join(" ");
        let named = |outcome: Outcome| {
            let suffix = format!(" {outcome:?}");
            let mut names: Vec<&str> = events.iter().filter_map(|line| line.strip_suffix(&suffix)).collect();
            names.sort_unstable();
            if names.is_empty() { String::new() } else { format!(" | {outcome:?}: {}", names.join(" ")) }
        };
        let outcomes = [Outcome::Cached, Outcome::Failed, Outcome::Cancelled, Outcome::NotRun].map(named).concat();
        let result = match result {
            Ok(snapshot) => snapshot.made_by,
            Err(SolveError::Step { name, source, .. }) => format!("{name} failed: {source}"),
            Err(error) => error.to_string(),
        };
        format!("ran: {ran}{outcomes} -> {result}\n")
    }
}

/// Builds one graph after the other with one cache.
#[track_caller]
fn check(builds: &[&str], expected: Expect) {
    let fixture = Fixture::default();
    expected.assert_eq(&builds.iter().map(|text| fixture.summary(text)).collect::<String>());
}

#[test]
fn a_second_build_runs_nothing() {
    check(
        &["src@1\na: src\nb: a\nc: b"; 2],
        expect![[r#"
            ran: a b c -> c#3
            ran:  | Cached: a b c src -> c#3
        "#]],
    );
}

#[test]
fn only_what_the_target_needs_runs() {
    check(
        &["a=x\nunused=%never: a\nb: a"],
        expect![[r#"
            ran: a b -> b#1
        "#]],
    );
}

#[test]
fn a_changed_step_runs_again_with_all_that_depends_on_it() {
    check(
        &["a=1\nb: a\nc=3\nd: b c", "a!v2=2\nb: a\nc=3\nd: b c"],
        expect![[r#"
            ran: a b c d -> d#3
            ran: a b d | Cached: c -> d#6
        "#]],
    );
}

#[test]
fn same_content_from_a_changed_step_stops_the_rebuild() {
    check(
        &["a=x\nb: a\nc: b", "a!v2=x\nb: a\nc: b", "a!v2=x\nb: a\nc: b"],
        expect![[r#"
            ran: a b c -> c#2
            ran: a | Cached: b c -> c#2
            ran:  | Cached: a b c -> c#2
        "#]],
    );
}

#[test]
fn same_content_stops_the_rebuild_through_chains() {
    check(
        &["s@1\na=x: s\nb=y: a\nc: b", "s@2\na=x: s\nb!v2=y: a\nc: b"],
        expect![[r#"
            ran: a b c -> c#3
            ran: a b | Cached: c -> c#3
        "#]],
    );
}

// Spec 97: a step that copies one file does not depend on the others.
#[test]
fn a_step_depends_only_on_the_files_that_it_selects() {
    check(
        &["s@a=1,b=1\nx: s{a}", "s@a=1,b=2\nx: s{a}", "s@a=2,b=2\nx: s{a}"],
        expect![[r#"
            ran: x -> x#1
            ran:  | Cached: s x -> x#1
            ran: x -> x#3
        "#]],
    );
    check(
        &["m=a=1,b=1\nx: m{a}\ny: x", "m!2=a=1,b=2\nx: m{a}\ny: x"],
        expect![[r#"
            ran: m x y -> y#2
            ran: m | Cached: x y -> y#2
        "#]],
    );
}

#[test]
fn an_equal_result_is_the_older_snapshot_whoever_made_it() {
    check(
        &["a=x", "b=x\nc: b", "d=x\nc: d"],
        expect![[r#"
            ran: a -> a#0
            ran: b c -> c#2
            ran: d | Cached: c -> c#2
        "#]],
    );
}

// Spec 101: a step that ignores the cache runs again; what needs it hits by content.
#[test]
fn a_step_that_ignores_the_cache_runs_and_its_dependents_hit_by_content() {
    check(
        &["a=x\nb: a\nc: b", "a*=x\nb: a\nc: b", "a*=x\nb*: a\nc: b", "a=x\nb: a\nc: b"],
        expect![[r#"
            ran: a b c -> c#2
            ran: a | Cached: b c -> c#2
            ran: a b | Cached: c -> c#2
            ran:  | Cached: a b c -> c#2
        "#]],
    );
}

// Spec 103.
#[test]
fn equal_steps_of_two_stages_run_once() {
    check(
        &["a=x\nb: a\nc: a\nd: b c"],
        expect![[r#"
            ran: a b c d -> d#3
        "#]],
    );
    check(
        &["base=x\none=1: base\ntwo: base one\nend: two one base"],
        expect![[r#"
            ran: base end one two -> end#3
        "#]],
    );
}

// Spec 104.
#[test]
fn a_failed_step_is_not_recorded_and_what_had_finished_is() {
    check(
        &["a=x\nb=%boom: a\nc: b", "a=x\nb=%boom: a\nc: b", "a=x\nb=y: a\nc: b"],
        expect![[r#"
            ran: a b | Failed: b | NotRun: c -> b failed: boom
            ran: b | Cached: a | Failed: b | NotRun: c -> b failed: boom
            ran: b c | Cached: a -> c#4
        "#]],
    );
}

#[test]
fn a_failure_stops_the_running_siblings() {
    check(
        &["a=x\nlong=~: a\nbad=%boom: a\nend: long bad"],
        expect![[r#"
            ran: a bad long | Failed: bad | Cancelled: long | NotRun: end -> bad failed: boom
        "#]],
    );
}

#[test]
fn a_source_that_cannot_be_pinned_fails_its_reader_before_anything_runs() {
    check(
        &["a=x\ns@%not found\nb: a s"],
        expect![[r#"
            ran:  | Failed: b -> b failed: not found
        "#]],
    );
}

#[test]
fn independent_steps_run_at_the_same_time() {
    check(
        &["a=&4\nb=&4\nc=&4\nd=&4\ne: a b c d"],
        expect![[r#"
            ran: a b c d e -> e#4
        "#]],
    );
}

#[test]
fn a_source_that_comes_early_does_not_hurry_a_step_that_waits_for_another() {
    check(
        &["s@1\na: s\nb: a\nc: b s"],
        expect![[r#"
            ran: a b c -> c#3
        "#]],
    );
}

#[test]
fn a_source_that_changes_while_it_is_read_is_recorded_as_it_was_read() {
    let fixture = Fixture::default();
    fixture.executor.changes.lock().unwrap().insert("s".into(), "2".into());
    let changing = fixture.summary("s@1\na: s\nb: a");
    fixture.executor.changes.lock().unwrap().clear();
    let as_read = fixture.summary("s@2\na: s\nb: a");
    let as_pinned = fixture.summary("s@1\na: s\nb: a");
    expect![[r#"
        ran: a b -> b#2
        ran:  | Cached: a b s -> b#2
        ran: a b -> b#5
    "#]]
    .assert_eq(&[changing, as_read, as_pinned].concat());
}

#[test]
fn a_stopped_build_says_so() {
    let fixture = Fixture::default();
    fixture.cancel.cancel();
    expect![[r#"
        ran:  -> the build was cancelled
    "#]]
    .assert_eq(&fixture.summary("a=x\nb: a"));
}

#[test]
fn every_step_is_started_once_and_ends_once() {
    let fixture = Fixture::default();
    let graph = "s@1\na: s\nb: a\nc: a\nd: b c";
    expect![[r#"
        [
            "s started",
            "s Ran",
            "a started",
            "a Ran",
            "b started",
            "c started",
            "b Ran",
            "c Ran",
            "d started",
            "d Ran",
        ]
    "#]]
    .assert_debug_eq(&fixture.build(graph).1);
    expect![[r#"
        [
            "s started",
            "s Cached",
            "a started",
            "a Cached",
            "b started",
            "b Cached",
            "c started",
            "c Cached",
            "d started",
            "d Cached",
        ]
    "#]]
    .assert_debug_eq(&fixture.build(graph).1);
}

#[test]
fn two_builds_at_once_run_each_step_once() {
    let fixture = Fixture::default();
    let world = World::parse("s@1\na: s\nb: a\nc: b");
    fixture.executor.enter(&world);
    let options = Options { parallel_max: NonZeroUsize::new(2).unwrap(), times: &BTreeMap::new };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let cache = &fixture.cache;
    let observe = |_| {};
    let (targets, ports) = ([world.target], (&fixture.executor, &cache));
    let build = || solve(&world.graph, &targets, ports, options, &observe, &fixture.cancel);
    let (first, second) = runtime.block_on(async { tokio::join!(build(), build()) });
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(fixture.executor.take_runs(), ["a", "b", "c"]);
}

#[test]
fn builds_that_knew_of_results_and_builds_that_did_not_run_a_step_once() {
    let fixture = Fixture::default();
    // The first build begins before any result of `b` is recorded, and waits in `gate` for the second, which begins after.
    let (other, world) = (World::parse("x=9\nb: x"), World::parse("x=9\ngate*=&2\nb: gate"));
    fixture.executor.enter(&world);
    let options = Options { parallel_max: NonZeroUsize::new(2).unwrap(), times: &BTreeMap::new };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let cache = &fixture.cache;
    let observe = |_| {};
    let ports = (&fixture.executor, &cache);
    let (others, targets) = ([other.target], [world.target]);
    let early = solve(&world.graph, &targets, ports, options, &observe, &fixture.cancel);
    let late = async {
        solve(&other.graph, &others, ports, options, &observe, &fixture.cancel).await.unwrap();
        solve(&world.graph, &targets, ports, options, &observe, &fixture.cancel).await
    };
    let (early, late) = runtime.block_on(async { tokio::join!(early, late) });
    assert_eq!(early.unwrap(), late.unwrap());
    assert_eq!(fixture.executor.take_runs(), ["b", "b", "gate", "gate", "x"]);
}

#[test]
fn whoever_waited_for_a_build_that_failed_runs_the_step_itself() {
    let fixture = Fixture::default();
    let (failing, world) = (World::parse("a=1\nb=~: a"), World::parse("a=1\nb: a"));
    fixture.executor.enter(&failing);
    let options = Options { parallel_max: NonZeroUsize::new(2).unwrap(), times: &BTreeMap::new };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let cache = &fixture.cache;
    let observe = |_| {};
    let (stop, ports, targets) = (CancellationToken::new(), (&fixture.executor, &cache), [world.target]);
    let first = solve(&failing.graph, &targets, ports, options, &observe, &stop);
    let second = solve(&world.graph, &targets, ports, options, &observe, &fixture.cancel);
    let stopping = async {
        // By now the first runs `b`, and the second waits for it.
        tokio::task::yield_now().await;
        fixture.executor.enter(&world);
        stop.cancel();
    };
    let (first, second, ()) = runtime.block_on(async { tokio::join!(first, second, stopping) });
    assert_eq!(first.unwrap_err().to_string(), "the build was cancelled");
    assert_eq!(second.unwrap()[0].content, "b(1)");
    assert_eq!(fixture.executor.take_runs(), ["a", "b", "b"]);
}
