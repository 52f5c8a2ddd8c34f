//! `kiln build --dry-run`: what a build would do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use executor::{Executor, Purpose};
use llb::VertexId;
use oci::Timestamp;
use solver::{Forecast, Options};
use tokio_util::sync::CancellationToken;

use super::lowering::Lowering;
use super::request::BuildRequest;
use super::steps::StepTranslator;
use super::why::Past;
use super::{Definition, open_contexts, solve_error, targets};
use crate::event_sink::EventSink;
use crate::history::project_of;
use crate::{Engine, Error};

/// What a build would do with a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepForecast {
    /// The step's name.
    pub name: String,
    /// What would become of it.
    pub verdict: Verdict,
    /// How long it took when it was run last, as far as the history knows.
    pub last_time: Option<Duration>,
    /// Why it would run; empty where it would not.
    pub reason: String,
}

/// What would become of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its result is in the cache.
    Cached,
    /// It would run.
    Runs,
    /// It would run, unless the steps before it leave the same files as before.
    MayRun,
}

impl Engine {
    /// Finds out what [`Engine::build`] would do. Nothing is executed, no layer is fetched and nothing is recorded; names of bases that the store does not know are asked for
    /// at their registries, and a context that is no directory is fetched for its Dockerfile.
    pub async fn forecast(
        &self,
        request: &BuildRequest,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<Vec<StepForecast>, Error> {
        let _epoch = self.store.hold_epoch()?;
        let sources = self.sources(request, events);
        let project = project_of(request);
        let resolved = self.resolve_context(request, &sources, events, cancel).await?;
        let request = resolved.as_ref().unwrap_or(request);
        let definition = Definition::load(request, events)?;
        let Lowering { plan, images, contexts } = self.lower(&definition, request, &sources, events, cancel).await?;
        let cache = self.build_cache(events);
        let contexts = open_contexts(&plan, &contexts, &self.store)?;
        let executor =
            Executor::new(sources, &plan.graph, images, contexts, Purpose::Forecast, std::sync::Arc::default());
        let translator = StepTranslator::new(&plan.graph, events.clone());
        let observe = |event| translator.translate(event);
        let options = Options { parallel_max: self.parallel_max, times: &BTreeMap::new };
        let ports = (&executor, &cache);
        let found = solver::forecast(&plan.graph, &targets(&plan), ports, options, &observe, cancel).await;
        let found = found.map_err(|error| solve_error(error, &plan, &definition, &translator))?;
        let heard = translator.take_heard();
        let ran: BTreeSet<VertexId> =
            found.iter().filter(|(_, verdict)| **verdict != Forecast::Cached).map(|(id, _)| *id).collect();
        let past = Past::new(self, &plan.graph, &project, Timestamp::now());
        // What cannot be kept is not compared.
        let _ = past.keep_listings(&heard, &executor);
        let (reasons, times) = (past.reasons(&heard, &ran), past.times(&heard));
        let steps = found.iter().filter(|(id, _)| translator.is_shown(**id));
        let step = |(id, verdict): (&VertexId, &Forecast)| StepForecast {
            name: plan.graph[*id].hints.name.clone(),
            verdict: match verdict {
                Forecast::Cached => Verdict::Cached,
                Forecast::Runs => Verdict::Runs,
                Forecast::MayRun => Verdict::MayRun,
            },
            last_time: times.get(id).copied(),
            reason: reasons.get(id).cloned().unwrap_or_default(),
        };
        Ok(steps.map(step).collect())
    }
}
