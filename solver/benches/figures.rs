//! What the solver itself costs: graphs of steps that do nothing, and a cache in memory. Ends with 1 if a figure is over its budget, see `docs/budgets.md`.
//!
//! `cargo bench -p solver`

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use llb::{Edge, Graph, Hints, HttpSource, Input, Op, Selection, Source, Vertex, VertexId};
use oci::Digest;
use solver::{Cache, Execution, Executor, Found, Options, Record, StepError, solve};
use tokio_util::sync::CancellationToken;

/// How many steps lie beside each other; each needs two of those beneath.
const WIDTH: usize = 100;
const WARM_UP: usize = 1_000;
const USUAL: usize = 10_000;
const LARGE: usize = 50_000;
const RUNS: usize = 7;

const VERTEX_MAX: Duration = Duration::from_micros(20);
const VERTEX_BYTES_MAX: u64 = 1024;
/// How much dearer a vertex of the large graph may be than one of the usual one. It is dearer since less of what is asked for lies in the processor's cache.
const GROWTH_MAX: f64 = 1.5;

#[derive(Debug, thiserror::Error)]
#[error("steps that do nothing do not fail")]
struct Never;

/// Steps that make the digest of what they are.
struct Nothing;

impl Executor for Nothing {
    type Snapshot = Digest;
    type Error = Never;

    async fn pin(&self, it: &Vertex, _: Option<&Selection>, _: &CancellationToken) -> Result<Digest, StepError<Never>> {
        Ok(it.digest)
    }

    async fn content_digest(
        &self,
        snapshot: &Digest,
        _: Option<&Selection>,
        _: &CancellationToken,
    ) -> Result<Digest, StepError<Never>> {
        Ok(*snapshot)
    }

    async fn execute(
        &self,
        vertex: &Vertex,
        _: Vec<Digest>,
        _: &CancellationToken,
    ) -> Result<Execution<Digest>, StepError<Never>> {
        Ok(Execution { outputs: vec![vertex.digest], pins: BTreeMap::new() })
    }
}

/// Results by key, and the operations that have any.
#[derive(Default)]
struct Known {
    results: HashMap<Digest, Vec<Digest>>,
    ops: BTreeSet<Digest>,
}

#[derive(Default)]
struct Memory(Mutex<Known>);

impl Cache for Memory {
    type Snapshot = Digest;
    type Lock = ();

    fn find(&self, key: &Digest) -> Option<Found<Digest>> {
        self.0.lock().ok()?.results.get(key).cloned().map(|outputs| Found { outputs })
    }

    fn knows(&self, op: &Digest) -> bool {
        self.0.lock().is_ok_and(|known| known.ops.contains(op))
    }

    async fn lock(&self, _: &Digest, _: &CancellationToken) -> Option<()> {
        Some(())
    }

    fn alias(&self, _: &Digest, _: &Digest) {}

    async fn record(&self, record: Record<Digest>) -> Vec<Digest> {
        let outputs: Vec<Digest> = record.outputs.into_iter().map(|(output, _)| output).collect();
        if let Ok(mut known) = self.0.lock() {
            known.results.insert(record.definition, outputs.clone());
            known.ops.insert(record.op);
        }
        outputs
    }
}

fn graph(vertices: usize) -> (Graph, Edge) {
    let mut graph = Graph::new();
    let source = HttpSource { url: "http://nowhere".to_owned(), checksum: None, filename: None, mode: 0o600 };
    let mut below = vec![graph.add(Op::Source(Source::Http(source)), Vec::new(), Hints::default()).expect("a source")];
    let mut top = below[0];
    for layer in 0..vertices / WIDTH {
        let step = |graph: &mut Graph, place: usize| {
            let input = |place: usize| Input { edge: below[place % below.len()].into(), selection: None };
            let action =
                llb::FileAction::MakeDir(llb::MakeDir { path: format!("/{layer}/{place}"), mode: 0o755, owner: None });
            graph.add(Op::File(vec![action]), vec![input(place), input(place + 1)], Hints::default()).expect("a step")
        };
        let row: Vec<VertexId> = (0..WIDTH).map(|place| step(&mut graph, place)).collect();
        top = row[0];
        below = row;
    }
    let inputs = below.iter().map(|id| Input { edge: (*id).into(), selection: None }).collect();
    let last = graph.add(Op::Merge, inputs, Hints::default()).unwrap_or(top);
    (graph, last.into())
}

/// Returns how long this thread has run. On a machine that does other things too, clocks say little: the longer a run, the more of them it meets.
fn thread_time() -> Duration {
    // Without a switch, the kernel has counted only up to its last tick.
    std::thread::yield_now();
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(times.split(' ').next().and_then(|time| time.parse().ok()).expect("the kernel counts"))
}

/// Solves a graph with nothing cached and then with everything, and returns what each took of a processor.
fn solve_twice(graph: &Graph, target: Edge) -> [Duration; 2] {
    let options = Options { parallel_max: NonZeroUsize::new(16).unwrap_or(NonZeroUsize::MIN), times: &BTreeMap::new };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made");
    let (cache, cancel) = (Memory::default(), CancellationToken::new());
    [(); 2].map(|()| {
        let began = thread_time();
        let solved = runtime.block_on(solve(graph, &[target], (&Nothing, &cache), options, &|_| {}, &cancel));
        assert!(solved.is_ok(), "steps that do nothing do not fail");
        thread_time() - began
    })
}

/// Returns the least of several runs, a vertex.
fn least(vertices: usize) -> [Duration; 2] {
    let (graph, target) = graph(vertices);
    let runs: Vec<[Duration; 2]> = (0..RUNS).map(|_| solve_twice(&graph, target)).collect();
    [0, 1].map(|which| runs.iter().map(|run| run[which]).min().unwrap_or_default() / vertices as u32)
}

/// Returns how much memory this process has had at most.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) << 10
}

fn main() -> ExitCode {
    let (warm_up, target) = graph(WARM_UP);
    solve_twice(&warm_up, target);
    let (measured, target) = graph(USUAL);
    let before = peak_bytes();
    solve_twice(&measured, target);
    let bytes = (peak_bytes() - before) / USUAL as u64;
    let (usual, large) = (least(USUAL), least(LARGE));
    let growth = large[0].as_secs_f64() / usual[0].as_secs_f64();
    let (mut is_over, mut out) = (false, std::io::stdout());
    let mut row = |name: &str, figure: String, is_within: bool| {
        is_over |= !is_within;
        let verdict = if is_within { "within" } else { "OVER" };
        writeln!(out, "{name:<56} {figure:>10}  {verdict}").expect("somebody reads it");
    };
    row("nothing cached, a vertex of 10,000", format!("{:.1?}", usual[0]), usual[0] < VERTEX_MAX);
    row("all cached, a vertex of 10,000", format!("{:.1?}", usual[1]), usual[1] < VERTEX_MAX);
    row("a vertex of 50,000 against one of 10,000, times", format!("{growth:.2}"), growth < GROWTH_MAX);
    row("memory beside the graph, results included, a vertex", format!("{bytes} B"), bytes < VERTEX_BYTES_MAX);
    if is_over { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
