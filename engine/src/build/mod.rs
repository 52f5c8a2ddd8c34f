//! `kiln build`: from a Dockerfile and a context to images and outputs.
//!
//! The order is: read the Dockerfile → lower it, fetching what lowering asks for → solve the graph → complete the images' configs → export.

mod calls;
mod definition;
mod entitlement;
mod forecast;
mod lowering;
mod metadata;
mod remote;
mod request;
mod result;
pub(crate) mod steps;
mod survey;
mod why;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use executor::{Context, ExecError, Executor, Purpose, Sources, TarDigests};
use frontend::plan::Plan;
use llb::{Edge, Source};
use oci::Digest;
use solver::{Options, SolveError};
use store::{ImageRecord, Store};
use tokio_util::sync::CancellationToken;

pub use calls::{CheckReport, CheckWarning, Checked, GraphFormat, Outline, OutlineArgument, Target, Targets};
pub use entitlement::{Entitlement, EntitlementParseError};
pub use executor::HOST_GATEWAY;
pub use executor::{HiddenFile, TakenFile};
pub use forecast::{StepForecast, Verdict};
pub use frontend::csv_fields;
pub use frontend::git_url::parse_git_context;
pub use metadata::Metadata;
pub use remote::{Received, Upload};
pub use request::{
    BuildRequest, ContextSource, DockerfileSource, ExtraHost, Limits, NetworkMode, SshAgent, StepLimits, Strictness,
    Ulimit,
};
pub use runtime::cgroup::MEMORY_BYTES_MIN;
pub use survey::{Hidden, StepFiles, Survey};

use crate::check::{DAMAGES_MAX, Damaged, damaged};
use crate::event_sink::EventSink;
use crate::export::{self, ExportRequest};
use crate::history::Recording;
use crate::{Engine, Error, Finding};
use definition::Definition;
use lowering::Lowering;
use result::BuiltImage;
use steps::StepTranslator;
use why::Past;

/// What a build came to.
#[derive(Clone, Debug)]
pub struct BuildOutcome {
    /// The images, one for each platform, in the order of the request.
    pub images: Vec<Digest>,
    /// What `--metadata-file` says of them.
    pub metadata: Metadata,
    /// What the build checks found.
    pub findings: Vec<Finding>,
}

impl Engine {
    /// Builds, and exports to every output of the request.
    ///
    /// When it fails or `cancel` is cancelled, nothing that it started still runs, and what had finished stays cached. What happened is kept in the history.
    pub async fn build(
        &self,
        request: &BuildRequest,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<BuildOutcome, Error> {
        let recording = Recording::begin(&self.store.history_dir(), request);
        let recorded = recording.record(events);
        let mut result = self.build_recorded(request, &recorded, &recording, cancel).await;
        for _ in 0..DAMAGES_MAX {
            let Err(error) = &result else { break };
            let Some(damaged) = damaged(error) else { break };
            steps::damage_trouble(&recorded, error);
            if let Damaged::Layer(layer) = damaged {
                self.forget_layers(&BTreeSet::from([layer]))?;
            }
            result = self.build_recorded(request, &recorded, &recording, cancel).await;
        }
        if let Ok(outcome) = &mut result {
            outcome.metadata.build_ref = recording.build_ref();
        }
        if let Some(error) = recording.end(&result) {
            steps::history_trouble(events, &error);
        }
        result
    }

    async fn build_recorded(
        &self,
        request: &BuildRequest,
        events: &EventSink,
        recording: &Recording,
        cancel: &CancellationToken,
    ) -> Result<BuildOutcome, Error> {
        // Taken before anything is looked up, so that no collection removes what this build finds.
        let _epoch = self.store.hold_epoch()?;
        let sources = self.sources(request, events);
        let resolved = self.resolve_context(request, &sources, events, cancel).await?;
        let request = resolved.as_ref().unwrap_or(request);
        let definition = Definition::load(request, events)?;
        let Lowering { plan, images, contexts } = self.lower(&definition, request, &sources, events, cancel).await?;
        for warning in &plan.warnings {
            events.send(definition.warning_event(warning));
        }
        entitlement::check(&plan, request, &definition)?;
        let cache = self.build_cache(events);
        let told = (&definition, &cache, events, recording);
        let networks = sources.networks.clone();
        let tars = Arc::new(TarDigests::new(&plan.graph, targets(&plan)));
        let export = async |snapshots: Result<Vec<store::Snapshot>, Error>| {
            // Also after a failure: what was found was used.
            cache.finish();
            // The kernel takes some 20 ms to forget a link. Meanwhile, there is something else to do.
            let closing = networks.is_used().then(|| tokio::task::spawn_blocking(move || networks.close()));
            let exported = match snapshots {
                Ok(snapshots) => self.export(&plan, (snapshots, &tars), request, events, cancel).await,
                Err(error) => Err(error),
            };
            if let Some(closing) = closing {
                let troubles = closing.await.map_err(|error| Error::Bug(error.to_string()))?;
                troubles.iter().for_each(|trouble| steps::network_trouble(events, trouble));
            }
            exported
        };
        let (images, metadata) = self.solve(&plan, (images, &contexts, &tars), sources, told, cancel, export).await?;
        let findings = plan.warnings.into_iter().map(|warning| definition.finding(warning)).collect();
        Ok(BuildOutcome { images, metadata, findings })
    }

    /// Opens the cache for a build that tells what is wrong with it.
    fn build_cache(&self, events: &EventSink) -> cache::Cache {
        let events = events.clone();
        cache::Cache::new(self.store.clone(), move |trouble| steps::cache_trouble(&events, &trouble))
    }

    async fn export(
        &self,
        plan: &Plan,
        (snapshots, tars): (Vec<store::Snapshot>, &Arc<TarDigests>),
        request: &BuildRequest,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<(Vec<Digest>, Metadata), Error> {
        let results = plan.results.iter().zip(snapshots);
        let built = results.map(|(result, snapshot)| BuiltImage { result, snapshot, tars: tars.clone() });
        let built: Vec<_> = built.collect();
        let step = events.step(export::step_name(&request.outputs));
        let exported = self.export_step(&built, request, &step, cancel).await;
        step.end(exported)
    }

    async fn export_step(
        &self,
        built: &[BuiltImage<'_>],
        request: &BuildRequest,
        step: &crate::event_sink::OwnStep,
        cancel: &CancellationToken,
    ) -> Result<(Vec<Digest>, Metadata), Error> {
        let images = {
            let _part = step.part("exporting layers");
            self.complete_images(built).await?
        };
        let snapshots = built.iter().map(|built| built.snapshot.clone()).collect();
        let epoch = built.iter().find_map(|built| built.result.epoch);
        let export =
            ExportRequest { images: &images, snapshots, tags: &request.tags, epoch, outputs: &request.outputs };
        let metadata = self.export_all(&export, step, cancel).await?;
        Ok((images.iter().map(|image| image.id).collect(), metadata))
    }

    /// Carries out the steps and gives what they came to to `then`. While that waits for others, what was read is remembered, and it is found out why steps ran.
    async fn solve<T>(
        &self,
        plan: &Plan,
        (images, contexts, tars): (BTreeMap<Digest, ImageRecord>, &BTreeMap<String, PathBuf>, &Arc<TarDigests>),
        sources: Arc<Sources>,
        (definition, cache, events, recording): (&Definition, &cache::Cache, &EventSink, &Recording),
        cancel: &CancellationToken,
        then: impl AsyncFnOnce(Result<Vec<store::Snapshot>, Error>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let contexts = open_contexts(plan, contexts, &self.store)?;
        let executor = Executor::new(sources, &plan.graph, images, contexts, Purpose::Build, tars.clone());
        let translator = StepTranslator::new(&plan.graph, events.clone());
        let past = Past::new(self, &plan.graph, recording.project(), recording.began());
        let times = || translator.with_heard(|heard| past.times(heard));
        let options = Options { parallel_max: self.parallel_max, times: &times };
        let observe = |event| translator.translate(event);
        let ports = (&executor, cache);
        let solved = solver::solve(&plan.graph, &targets(plan), ports, options, &observe, cancel).await;
        let solved = solved.map_err(|error| solve_error(error, plan, definition, &translator));
        let conclude = async {
            // Also after a failure: what was read was read.
            if let Err(trouble) = executor.remember() {
                steps::cache_trouble(events, &trouble);
            }
            past.conclude(&translator.take_heard(), &executor, recording, events);
        };
        tokio::join!(then(solved), conclude).0
    }
}

fn targets(plan: &Plan) -> Vec<Edge> {
    plan.results.iter().map(|result| result.edge).collect()
}

/// Says of which step an error is, and where that stands in the Dockerfile.
fn solve_error(
    error: SolveError<ExecError>,
    plan: &Plan,
    definition: &Definition,
    translator: &StepTranslator<'_>,
) -> Error {
    match error {
        SolveError::Cancelled => Error::Cancelled,
        SolveError::Step { vertex, name, source } => {
            translator.failed(vertex, &source);
            let excerpt = plan.graph[vertex].hints.lines.and_then(|lines| definition.excerpt_of(lines));
            Error::Step { name, excerpt: excerpt.map(Box::new), source: Box::new(source) }
        }
        error @ SolveError::NoSuchOutput { .. } => Error::Bug(error.to_string()),
    }
}

/// Opens the directories that the graph reads, each with the ignore patterns that the graph has for it.
fn open_contexts(
    plan: &Plan,
    paths: &BTreeMap<String, PathBuf>,
    store: &Store,
) -> Result<BTreeMap<String, Arc<Context>>, Error> {
    let mut contexts = BTreeMap::new();
    for (_, vertex) in plan.graph.vertices() {
        let Some(Source::Local(local)) = vertex.op.as_source() else { continue };
        let unknown = || Error::Bug(format!("the build reads the context `{}`, which has no directory", local.name));
        let path = paths.get(&local.name).ok_or_else(unknown)?;
        let context = Context::open(path, &local.ignore, store.clone())?;
        contexts.insert(local.name.clone(), Arc::new(context));
    }
    Ok(contexts)
}
