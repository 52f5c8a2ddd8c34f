//! What a build would do, found out without running anything.

use std::collections::BTreeMap;

use llb::{Edge, Graph, VertexId};
use tokio_util::sync::CancellationToken;

use crate::key::content_key;
use crate::ports::{Cache, Executor, StepError, StepEvent};
use crate::solve::{Options, SolveError, Solver};
use crate::step::contents;
use crate::work::State;

/// What a build would do with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Forecast {
    /// Its result is there, or that of a step that needs it.
    Cached,
    /// It would be run.
    Runs,
    /// It would be run, unless what runs before it leaves the same files as before.
    MayRun,
}

/// Finds out what [`crate::solve`] would do with each step that the targets need. Sources are pinned, which reads the build context, and nothing is executed.
pub async fn forecast<E, C>(
    graph: &Graph,
    targets: &[Edge],
    ports: (&E, &C),
    options: Options<'_>,
    observe: &(dyn Fn(StepEvent) + Sync),
    cancel: &CancellationToken,
) -> Result<BTreeMap<VertexId, Forecast>, SolveError<E::Error>>
where
    E: Executor,
    C: Cache<Snapshot = E::Snapshot>,
{
    let mut solver = Solver::new(graph, targets, ports, options, observe, cancel);
    solver.look_up(targets).await?;
    for id in solver.work.shape.needed().iter().copied() {
        if !matches!(solver.work.state(id), State::Waiting) {
            continue;
        }
        if let Some(outputs) = solver.find_by_content(id).await? {
            solver.work.set(id, State::Done(outputs.into()));
        }
    }
    Ok(solver.verdicts())
}

impl<E, C> Solver<'_, E, C>
where
    E: Executor,
    C: Cache<Snapshot = E::Snapshot>,
{
    /// Looks a step up by its content, if everything that it needs is there.
    async fn find_by_content(&self, id: VertexId) -> Result<Option<Vec<E::Snapshot>>, SolveError<E::Error>> {
        let vertex = &self.work.graph[id];
        if vertex.hints.ignore_cache || !self.work.step(id).known {
            return Ok(None);
        }
        let Some(seen) = self.work.seen(id, |place| self.pin(id, place).copied()) else { return Ok(None) };
        let contents = contents(self.ports.0, vertex, &seen, &self.cancel).await.map_err(|error| match error {
            StepError::Cancelled => SolveError::Cancelled,
            StepError::Failed(source) => SolveError::Step { vertex: id, name: vertex.hints.name.clone(), source },
        })?;
        Ok(self.ports.1.find(&content_key(vertex, &contents)).map(|found| found.outputs))
    }

    fn verdicts(&self) -> BTreeMap<VertexId, Forecast> {
        let mut verdicts = BTreeMap::new();
        let needed = self.work.shape.needed();
        for id in needed.iter().copied().filter(|id| !self.work.is_source(*id)) {
            let is_waiting = |input: VertexId| matches!(self.work.state(input), State::Waiting);
            let verdict = match self.work.state(id) {
                State::Waiting if self.work.inputs(id, false).any(is_waiting) => {
                    let may_hit = self.work.step(id).known && !self.work.graph[id].hints.ignore_cache;
                    if may_hit { Forecast::MayRun } else { Forecast::Runs }
                }
                State::Waiting => Forecast::Runs,
                _ => Forecast::Cached,
            };
            verdicts.insert(id, verdict);
        }
        for id in needed.iter().copied().filter(|id| self.work.is_source(*id)) {
            let dependents = self.work.shape.dependents(id);
            let readers = dependents.iter().filter_map(|dependent| verdicts.get(dependent).copied());
            let is_target_itself = dependents.is_empty();
            let verdict = match readers.filter(|verdict| *verdict != Forecast::Cached).min() {
                Some(verdict) => verdict,
                None if is_target_itself => Forecast::Runs,
                None => Forecast::Cached,
            };
            verdicts.insert(id, verdict);
        }
        verdicts
    }
}
