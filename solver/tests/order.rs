//! Which step starts first, and what a forecast says.

#![cfg(test)]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::Duration;

use expect_test::{Expect, expect};
use llb::VertexId;
use solver::{Options, Outcome, StepEvent, forecast, solve};
use testkit::solver::{FakeCache, FakeExecutor, World};
use tokio_util::sync::CancellationToken;

/// Builds with one step at a time, and says in which order they ran when each takes as many seconds as `seconds` says.
#[track_caller]
fn check_order(text: &str, seconds: &[(&str, u64)], expected: Expect) {
    let (world, executor, cache) = (World::parse(text), FakeExecutor::default(), FakeCache::default());
    executor.enter(&world);
    let times = || -> BTreeMap<VertexId, Duration> {
        seconds.iter().map(|(name, seconds)| (world.steps[*name], Duration::from_secs(*seconds))).collect()
    };
    let order = Mutex::new(Vec::new());
    let observe = |event: StepEvent| {
        if let StepEvent::Finished(id, Outcome::Ran) = event {
            order.lock().unwrap().push(world.graph[id].hints.name.clone());
        }
    };
    let options = Options { parallel_max: NonZeroUsize::MIN, times: &times };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (ports, cancel) = ((&executor, &&cache), CancellationToken::new());
    runtime.block_on(solve(&world.graph, &[world.target], ports, options, &observe, &cancel)).unwrap();
    expected.assert_eq(&(order.into_inner().unwrap().join(" ") + "\n"));
}

#[test]
fn the_longest_chain_starts_first_where_times_are_known() {
    let graph = "a=1\nb=2\nc=3\nd: c\ne: a b d";
    check_order(
        graph,
        &[],
        expect![[r#"
        a b c d e
    "#]],
    );
    check_order(
        graph,
        &[("b", 5), ("c", 3), ("d", 3)],
        expect![[r#"
        c b d a e
    "#]],
    );
}

/// Builds the first graph, and says what a build of the second would do.
#[track_caller]
fn check_forecast(built: &str, asked: &str, expected: Expect) {
    let (executor, cache, cancel) = (FakeExecutor::default(), FakeCache::default(), CancellationToken::new());
    let options = Options { parallel_max: NonZeroUsize::MIN, times: &BTreeMap::new };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ports = (&executor, &&cache);
    let world = World::parse(built);
    executor.enter(&world);
    runtime.block_on(solve(&world.graph, &[world.target], ports, options, &|_| {}, &cancel)).unwrap();
    executor.take_runs();
    let world = World::parse(asked);
    executor.enter(&world);
    let found = runtime.block_on(forecast(&world.graph, &[world.target], ports, options, &|_| {}, &cancel)).unwrap();
    assert!(executor.take_runs().is_empty());
    let line = |(id, forecast): (&VertexId, &_)| format!("{} {forecast:?}\n", world.graph[*id].hints.name);
    expected.assert_eq(&found.iter().map(line).collect::<String>());
}

#[test]
fn a_forecast_says_what_is_cached_and_what_runs() {
    let graph = "s@1\na: s\nb: a\nc: b";
    check_forecast(
        graph,
        graph,
        expect![[r#"
        s Cached
        a Cached
        b Cached
        c Cached
    "#]],
    );
    check_forecast(
        graph,
        "s@2\na: s\nb: a\nc!new: b",
        expect![[r#"
        s Runs
        a Runs
        b MayRun
        c Runs
    "#]],
    );
}

#[test]
fn a_forecast_finds_results_by_content_too() {
    check_forecast(
        "a=x\nb: a\nc: b",
        "other=1\na=x\nb: a\nc: b other",
        expect![[r#"
        other Runs
        a Cached
        b Cached
        c MayRun
    "#]],
    );
}
