//! The loop: from the targets down, what is needed is looked up; from the sources up, what is not there is run.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use llb::{Edge, Graph, Selection, VertexId};
use oci::Digest;
use tokio_util::sync::CancellationToken;

use crate::key::{InputKey, definition_key};
use crate::ports::{Cache, Execution, Executor, Outcome, StepError, StepEvent, StepKeys};
use crate::step::{self, Executed, Lookup, Prepared};
use crate::work::{Held, Served, State, Work};

/// How a graph is solved.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// How many steps run at the same time, at most.
    pub parallel_max: NonZeroUsize,
    /// How long steps are expected to take, as far as somebody knows. It is asked once, and only if something has to run; of the steps that are ready, the one that
    /// begins the longest chain is started first.
    pub times: &'a (dyn Fn() -> BTreeMap<VertexId, Duration> + Sync),
}

/// Why a graph could not be solved.
#[derive(Debug, thiserror::Error)]
pub enum SolveError<E: std::error::Error + 'static> {
    /// A step failed; those that were running beside it were stopped.
    #[error("step `{name}` failed")]
    Step {
        /// The step.
        vertex: VertexId,
        /// Its name.
        name: String,
        /// Why it failed.
        source: E,
    },
    /// The build was stopped from outside.
    #[error("the build was cancelled")]
    Cancelled,
    /// A target names an output that its step does not have.
    #[error("{edge:?} does not exist")]
    NoSuchOutput {
        /// The target.
        edge: Edge,
    },
}

/// Makes the targets and returns their snapshots, in order.
///
/// Only what the targets need is touched, and nothing beneath a step whose result is recorded. When a step fails or `cancel` is cancelled, the running steps are
/// stopped and waited for, and what had finished stays recorded. When this returns, nothing that it started still runs.
pub async fn solve<E, C>(
    graph: &Graph,
    targets: &[Edge],
    ports: (&E, &C),
    options: Options<'_>,
    observe: &(dyn Fn(StepEvent) + Sync),
    cancel: &CancellationToken,
) -> Result<Vec<E::Snapshot>, SolveError<E::Error>>
where
    E: Executor,
    C: Cache<Snapshot = E::Snapshot>,
{
    Solver::new(graph, targets, ports, options, observe, cancel).run(targets).await
}

/// Something that was awaited has come.
enum Settled<S, L, F> {
    Pinned(VertexId, Option<Selection>, Result<Digest, StepError<F>>),
    Prepared(VertexId, Result<Prepared<S, L>, StepError<F>>),
    Executed(VertexId, Option<Held<L>>, Result<Execution<S>, StepError<F>>),
    Recorded(VertexId, Result<Vec<S>, StepError<F>>),
}

type Job<'a, E, C> = Pin<
    Box<
        dyn Future<Output = Settled<<E as Executor>::Snapshot, <C as Cache>::Lock, <E as Executor>::Error>> + Send + 'a,
    >,
>;

pub(crate) struct Solver<'a, E: Executor, C: Cache<Snapshot = E::Snapshot>> {
    pub(crate) ports: (&'a E, &'a C),
    options: Options<'a>,
    pub(crate) cancel: CancellationToken,
    pub(crate) work: Work<'a, E::Snapshot, C::Lock>,
    pins: BTreeMap<(VertexId, Option<Selection>), Digest>,
    executing: usize,
    jobs: FuturesUnordered<Job<'a, E, C>>,
    failure: Option<SolveError<E::Error>>,
}

impl<'a, E, C> Solver<'a, E, C>
where
    E: Executor,
    C: Cache<Snapshot = E::Snapshot>,
{
    pub(crate) fn new(
        graph: &'a Graph,
        targets: &[Edge],
        ports: (&'a E, &'a C),
        options: Options<'a>,
        observe: &'a (dyn Fn(StepEvent) + Sync),
        cancel: &CancellationToken,
    ) -> Self {
        Self {
            ports,
            options,
            // A child, so that a failing step stops its siblings without stopping what the caller does next.
            cancel: cancel.child_token(),
            work: Work::new(graph, targets, observe),
            pins: BTreeMap::new(),
            executing: 0,
            jobs: FuturesUnordered::new(),
            failure: None,
        }
    }

    async fn run(&mut self, targets: &[Edge]) -> Result<Vec<E::Snapshot>, SolveError<E::Error>> {
        self.look_up(targets).await?;
        self.report_hits();
        self.estimate_chains();
        self.start_waiting();
        self.drain().await?;
        self.report_unfetched();
        targets.iter().map(|edge| self.target(*edge)).collect()
    }

    /// Finds out the keys of all steps, and wants the targets.
    pub(crate) async fn look_up(&mut self, targets: &[Edge]) -> Result<(), SolveError<E::Error>> {
        self.start_pins();
        self.drain().await?;
        self.compute_keys();
        targets.iter().for_each(|edge| self.want(edge.vertex));
        Ok(())
    }

    /// Runs until nothing is left to be awaited. After a failure nothing new is started, and what runs is waited for.
    async fn drain(&mut self) -> Result<(), SolveError<E::Error>> {
        self.start_ready();
        while let Some(settled) = self.jobs.next().await {
            self.settle(settled);
            // All that has come by now, so that the best of the ready steps starts and not the first that was heard of.
            while let Some(Some(settled)) = self.jobs.next().now_or_never() {
                self.settle(settled);
            }
            if !self.cancel.is_cancelled() {
                self.start_ready();
            }
        }
        match self.failure.take() {
            Some(failure) => {
                self.work.end_all();
                Err(failure)
            }
            None if self.cancel.is_cancelled() => {
                self.work.end_all();
                Err(SolveError::Cancelled)
            }
            None => Ok(()),
        }
    }

    fn settle(&mut self, settled: Settled<E::Snapshot, C::Lock, E::Error>) {
        match settled {
            Settled::Pinned(id, selection, Ok(pin)) => {
                self.pins.insert((id, selection), pin);
            }
            Settled::Prepared(id, Ok(Prepared::Hit(outputs))) => {
                self.finish(id, outputs, Outcome::Cached, Served::Nobody);
            }
            Settled::Prepared(id, Ok(Prepared::Miss { locks, content })) => {
                self.fetch_sources(id, Held { locks, content });
            }
            Settled::Executed(id, held, Ok(execution)) => {
                self.executing -= 1;
                self.executed(id, held, execution);
            }
            Settled::Recorded(id, Ok(outputs)) => self.finish(id, outputs, Outcome::Ran, Served::Unknown),
            Settled::Executed(id, _, Err(error)) => {
                self.executing -= 1;
                self.fail(id, error);
            }
            Settled::Pinned(id, selection, Err(error)) => {
                let reader = self.reader(id, selection.as_ref());
                self.fail(reader, error);
            }
            Settled::Prepared(id, Err(error)) | Settled::Recorded(id, Err(error)) => self.fail(id, error),
        }
    }

    /// Keeps the first failure and stops everything else.
    fn fail(&mut self, id: VertexId, error: StepError<E::Error>) {
        if let StepError::Failed(source) = error {
            self.work.set(id, State::Ended);
            self.work.report(id, Outcome::Failed);
            let name = self.work.graph[id].hints.name.clone();
            self.failure.get_or_insert(SolveError::Step { vertex: id, name, source });
        }
        self.cancel.cancel();
    }

    // Pins and keys.

    fn start_pins(&mut self) {
        let mut edges = BTreeSet::new();
        for id in self.work.shape.needed().iter().copied().filter(|id| self.work.inputs(*id, true).next().is_some()) {
            let inputs = self.work.graph[id].inputs.iter();
            let sources = inputs.filter(|input| self.work.is_source(input.edge.vertex));
            edges.extend(sources.map(|input| (input.edge.vertex, input.selection.clone())));
        }
        for (id, selection) in edges {
            let (executor, vertex, cancel) = (self.ports.0, &self.work.graph[id], self.cancel.clone());
            self.jobs.push(Box::pin(async move {
                let pin = executor.pin(vertex, selection.as_ref(), &cancel).await;
                Settled::Pinned(id, selection, pin)
            }));
        }
    }

    /// Returns the first step that reads a source through `selection`: the one that fails when the source cannot be read.
    fn reader(&self, source: VertexId, selection: Option<&Selection>) -> VertexId {
        let reads = |id: &&VertexId| {
            let inputs = &self.work.graph[**id].inputs;
            inputs.iter().any(|input| input.edge.vertex == source && input.selection.as_ref() == selection)
        };
        self.work.shape.needed().iter().find(reads).copied().unwrap_or(source)
    }

    pub(crate) fn pin(&self, id: VertexId, place: usize) -> Option<&Digest> {
        let input = &self.work.graph[id].inputs[place];
        if !self.work.is_source(input.edge.vertex) {
            return None;
        }
        self.pins.get(&(input.edge.vertex, input.selection.clone()))
    }

    fn compute_keys(&mut self) {
        for id in self.work.shape.needed().iter().copied() {
            let definition = self.definition(id, &BTreeMap::new());
            let vertex = &self.work.graph[id];
            let above_fresh = vertex.inputs.iter().any(|input| self.work.step(input.edge.vertex).fresh);
            let step = self.work.step_mut(id);
            step.definition = definition;
            step.fresh = vertex.hints.ignore_cache || above_fresh;
            self.report_keys(id, &BTreeMap::new());
        }
    }

    fn report_keys(&self, id: VertexId, read: &BTreeMap<usize, Digest>) {
        let places = 0..self.work.graph[id].inputs.len();
        let pins = places.map(|place| read.get(&place).or_else(|| self.pin(id, place)).copied());
        self.work.report_keys(id, StepKeys { definition: self.work.step(id).definition, pins: pins.collect() });
    }

    /// Returns the definition key of a step; `read` has the pins of inputs that execution knows better.
    fn definition(&self, id: VertexId, read: &BTreeMap<usize, Digest>) -> Digest {
        let vertex = &self.work.graph[id];
        let keys = vertex.inputs.iter().enumerate().map(|(place, input)| {
            match read.get(&place).or_else(|| self.pin(id, place)) {
                Some(pin) => InputKey::Pin(pin),
                None => InputKey::Definition(&self.work.step(input.edge.vertex).definition),
            }
        });
        definition_key(vertex, keys)
    }

    // From the targets down.

    /// Looks a step up, and where there is no result, wants the steps that it needs. Sources are only wanted once there is no way around them.
    fn want(&mut self, target: VertexId) {
        let mut pending = vec![target];
        while let Some(id) = pending.pop() {
            if !matches!(self.work.state(id), State::Idle) {
                continue;
            }
            if self.work.is_source(id) {
                self.work.set(id, State::Ready(None));
                continue;
            }
            let step = self.work.step(id);
            let found = if step.fresh { None } else { self.ports.1.find(&step.definition) };
            if let Some(found) = found {
                self.work.set(id, State::Done(found.outputs.into()));
                continue;
            }
            self.work.step_mut(id).known = self.ports.1.knows(&self.work.graph[id].key_digest);
            self.work.set(id, State::Waiting);
            pending.extend(self.work.inputs(id, false));
        }
    }

    /// Reports, in the order of the Dockerfile, every step that was found and every step beneath one that was.
    fn report_hits(&mut self) {
        let needed = self.work.shape.needed();
        let hits = needed.iter().copied().filter(|id| matches!(self.work.state(*id), State::Done(_)));
        for id in self.work.shape.beneath(hits) {
            if matches!(self.work.state(id), State::Done(_)) || self.is_beneath_hits_only(id) {
                self.work.report(id, Outcome::Cached);
            }
        }
    }

    fn is_beneath_hits_only(&self, id: VertexId) -> bool {
        let read_by_waiting = |dependent: &VertexId| matches!(self.work.state(*dependent), State::Waiting);
        matches!(self.work.state(id), State::Idle)
            && !(self.work.is_source(id) && self.work.shape.dependents(id).iter().any(read_by_waiting))
    }

    /// Reports the sources that were never fetched, since everything that reads them was found by its content.
    fn report_unfetched(&mut self) {
        for id in self.work.shape.needed().iter().copied() {
            if matches!(self.work.state(id), State::Idle) {
                self.work.report(id, Outcome::Cached);
            }
        }
    }

    fn target(&self, edge: Edge) -> Result<E::Snapshot, SolveError<E::Error>> {
        let outputs = self.work.outputs(edge.vertex).unwrap_or_default();
        outputs.get(edge.output as usize).cloned().ok_or(SolveError::NoSuchOutput { edge })
    }

    // From the sources up.

    /// Finds out for each step that has to be made how long the longest chain of steps is that it begins.
    fn estimate_chains(&mut self) {
        let is_wanted = |id: &VertexId| matches!(self.work.state(*id), State::Waiting);
        let needed = self.work.shape.needed();
        if !needed.iter().any(is_wanted) {
            return;
        }
        let times = (self.options.times)();
        if times.is_empty() {
            return;
        }
        // From the targets down: a step comes after all that need it.
        for id in needed.iter().rev().copied() {
            let own = times.get(&id).copied().unwrap_or_default();
            let above = self.work.shape.dependents(id).iter().map(|dependent| self.work.step(*dependent).chain);
            let chain = own + above.max().unwrap_or_default();
            self.work.step_mut(id).chain = chain;
        }
    }

    /// Counts what each wanted step waits for, and prepares those that wait for nothing.
    fn start_waiting(&mut self) {
        let needed = self.work.shape.needed();
        let waiting: Vec<VertexId> =
            needed.iter().copied().filter(|id| matches!(self.work.state(*id), State::Waiting)).collect();
        for id in waiting {
            self.work.count_missing(id);
            if self.work.step(id).missing == 0 {
                self.prepare(id);
            }
        }
    }

    fn prepare(&mut self, id: VertexId) {
        let graph = self.work.graph;
        let Some(seen) = self.work.seen(id, |place| self.pin(id, place).copied()) else {
            return self.fail_bug(id);
        };
        self.work.set(id, State::Preparing);
        let step = self.work.step(id);
        let lookup = Lookup {
            definition: step.definition,
            by_definition: !step.fresh,
            ignore_cache: graph[id].hints.ignore_cache,
            known: step.known,
        };
        let (ports, cancel) = (self.ports, self.cancel.clone());
        self.jobs.push(Box::pin(async move {
            Settled::Prepared(id, step::prepare(ports, &graph[id], &seen, lookup, &cancel).await)
        }));
    }

    /// An input has fewer outputs than the graph says; the executor broke its word.
    fn fail_bug(&mut self, id: VertexId) {
        let missing = self.work.graph[id].inputs.iter().find(|input| match self.work.outputs(input.edge.vertex) {
            Some(outputs) => outputs.get(input.edge.output as usize).is_none(),
            None => false,
        });
        let edge = missing.map_or(Edge::from(id), |input| input.edge);
        self.failure.get_or_insert(SolveError::NoSuchOutput { edge });
        self.cancel.cancel();
    }

    /// Wants the sources of a step that has to run.
    fn fetch_sources(&mut self, id: VertexId, held: Held<C::Lock>) {
        let sources = self.work.inputs(id, true);
        let missing: Vec<VertexId> = sources.filter(|source| self.work.outputs(*source).is_none()).collect();
        if missing.is_empty() {
            self.work.set(id, State::Ready(Some(held)));
            return;
        }
        self.work.set(id, State::Fetching(held));
        self.work.step_mut(id).missing = missing.len();
        missing.into_iter().for_each(|source| self.want(source));
    }

    fn start_ready(&mut self) {
        while self.executing < self.options.parallel_max.get() {
            let Some(id) = self.work.next_ready() else { return };
            let State::Ready(held) = self.work.set(id, State::Executing) else { return };
            self.execute(id, held);
        }
    }

    fn execute(&mut self, id: VertexId, held: Option<Held<C::Lock>>) {
        let vertex = &self.work.graph[id];
        let inputs: Option<Vec<E::Snapshot>> =
            (0..vertex.inputs.len()).map(|place| self.work.input_snapshot(id, place)).collect();
        let Some(inputs) = inputs else { return self.fail_bug(id) };
        self.executing += 1;
        let (executor, cancel) = (self.ports.0, self.cancel.clone());
        self.jobs.push(Box::pin(async move {
            let execution = executor.execute(vertex, inputs, &cancel).await;
            Settled::Executed(id, held, execution)
        }));
    }

    fn executed(&mut self, id: VertexId, held: Option<Held<C::Lock>>, execution: Execution<E::Snapshot>) {
        // Sources are not recorded: what they bring in is named by their pins.
        let Some(Held { locks, content }) = held else {
            return self.finish(id, execution.outputs, Outcome::Ran, Served::Nobody);
        };
        let Execution { outputs, pins } = execution;
        let as_looked_up = pins.iter().all(|(place, pin)| self.pin(id, *place) == Some(pin));
        let pinned = |place| pins.get(&place).or_else(|| self.pin(id, place)).copied();
        let Some(seen) = self.work.seen(id, pinned) else { return self.fail_bug(id) };
        if !as_looked_up {
            self.work.step_mut(id).definition = self.definition(id, &pins);
            self.report_keys(id, &pins);
            self.recompute_above(id);
        }
        let definition = self.work.step(id).definition;
        let executed =
            Executed { seen, definition, content: content.filter(|_| as_looked_up), outputs: outputs.clone(), locks };
        self.work.set(id, State::Recording(outputs.into()));
        let (ports, graph) = (self.ports, self.work.graph);
        self.jobs.push(Box::pin(async move {
            // What has run is recorded even if the build is being stopped, so that the next one need not run it again.
            Settled::Recorded(id, step::record(ports, &graph[id], executed, &CancellationToken::new()).await)
        }));
        self.serve_dependents(id, Served::Nobody);
    }

    /// A file changed between look-up and execution, so the definition keys above it name what was never built.
    fn recompute_above(&mut self, id: VertexId) {
        let needed = self.work.shape.needed();
        for id in needed[needed.partition_point(|it| *it <= id)..].iter().copied() {
            if matches!(self.work.state(id), State::Idle | State::Waiting) {
                let definition = self.definition(id, &BTreeMap::new());
                self.work.step_mut(id).definition = definition;
            }
        }
    }

    fn finish(&mut self, id: VertexId, outputs: Vec<E::Snapshot>, outcome: Outcome, served: Served) {
        self.work.set(id, State::Done(outputs.into()));
        self.work.report(id, outcome);
        self.serve_dependents(id, served);
    }

    fn serve_dependents(&mut self, id: VertexId, before: Served) {
        if self.cancel.is_cancelled() {
            return;
        }
        for dependent in self.work.served(id, before) {
            match self.work.state(dependent) {
                State::Fetching(_) => self.work.make_ready(dependent),
                _ => self.prepare(dependent),
            }
        }
    }
}
