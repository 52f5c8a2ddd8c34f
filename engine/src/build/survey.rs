//! `kiln build --call context`: which files of directories each step takes, and which line of an ignore file hides the others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use executor::{Context, HiddenFile, TakenFile};
use frontend::MAIN_CONTEXT_NAME;
use llb::pattern::numbered_patterns;
use llb::{LineRange, Source, Vertex};
use tokio_util::sync::CancellationToken;

use super::lowering::Lowering;
use super::request::BuildRequest;
use super::{Definition, open_contexts};
use crate::event_sink::EventSink;
use crate::{Engine, Error, chain};

/// What the steps of a build take of directories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The steps that read a directory, in the order of the graph.
    pub steps: Vec<StepFiles>,
    /// What ignore files hide, sorted by directory and path.
    pub hidden: Vec<Hidden>,
}

/// What a step takes of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFiles {
    /// The step's name.
    pub step: String,
    /// Where its instruction stands.
    pub lines: Option<LineRange>,
    /// The directory: `context`, or the name of a named context.
    pub context: String,
    /// The files, sorted; or why the step would fail.
    pub files: Result<Vec<TakenFile>, String>,
}

/// Something that no step can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// The directory: `context`, or the name of a named context.
    pub context: String,
    /// The ignore file.
    pub ignore_file: String,
    /// The number of the line that hides it, counted from 1.
    pub line: usize,
    /// The pattern in that line.
    pub pattern: String,
    /// What is hidden.
    pub what: HiddenFile,
}

impl Engine {
    /// Finds out which files the steps of a build take of directories, and what ignore files hide. Nothing is executed, and no file of a directory is read.
    pub async fn survey(
        &self,
        request: &BuildRequest,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<Survey, Error> {
        let _epoch = self.store.hold_epoch()?;
        let sources = self.sources(request, events);
        let resolved = self.resolve_context(request, &sources, events, cancel).await?;
        let request = resolved.as_ref().unwrap_or(request);
        let definition = Definition::load(request, events)?;
        let Lowering { plan, contexts: directories, .. } =
            self.lower(&definition, request, &sources, events, cancel).await?;
        let contexts = open_contexts(&plan, &directories, &self.store)?;
        let looked = tokio::task::spawn_blocking(move || {
            let mut survey = Survey { hidden: hidden(&definition, &directories, &contexts)?, ..Survey::default() };
            for (_, vertex) in plan.graph.vertices() {
                let from = |input: &llb::Input| plan.graph[input.edge.vertex].op.as_source().cloned();
                survey.steps.extend(taken(vertex, from, &contexts));
            }
            Ok(survey)
        });
        looked.await.map_err(|error| Error::Bug(error.to_string()))?
    }
}

/// Returns what a step takes of each directory that it reads; what several inputs of it name in one directory comes together.
fn taken(
    vertex: &Vertex,
    from: impl Fn(&llb::Input) -> Option<Source>,
    contexts: &BTreeMap<String, Arc<Context>>,
) -> Vec<StepFiles> {
    let mut by_context: BTreeMap<String, Result<BTreeSet<TakenFile>, String>> = BTreeMap::new();
    for input in &vertex.inputs {
        let Some(Source::Local(local)) = from(input) else { continue };
        let Some(context) = contexts.get(&local.name) else { continue };
        let found = context.taken(input.selection.as_ref()).map_err(|error| chain(&error));
        let files = by_context.entry(local.name).or_insert_with(|| Ok(BTreeSet::new()));
        match (files, found) {
            (Ok(files), Ok(found)) => files.extend(found),
            (files @ Ok(_), Err(error)) => *files = Err(error),
            (Err(_), _) => {}
        }
    }
    let step = |(context, files): (String, Result<BTreeSet<TakenFile>, String>)| StepFiles {
        step: vertex.hints.name.clone(),
        lines: vertex.hints.lines,
        context,
        files: files.map(|files| files.into_iter().collect()),
    };
    by_context.into_iter().map(step).collect()
}

/// Returns what ignore files hide in the directories that a build reads.
fn hidden(
    definition: &Definition,
    directories: &BTreeMap<String, PathBuf>,
    contexts: &BTreeMap<String, Arc<Context>>,
) -> Result<Vec<Hidden>, Error> {
    let mut all = Vec::new();
    for (name, context) in contexts {
        let Some(directory) = directories.get(name) else { continue };
        let Some(file) = definition.ignore_file(directory, name == MAIN_CONTEXT_NAME)? else { continue };
        let patterns: Vec<(usize, String)> = numbered_patterns(&file.text).collect();
        for what in context.hidden()? {
            let Some((line, pattern)) = patterns.get(what.pattern).cloned() else { continue };
            let (context, ignore_file) = (name.clone(), file.name.clone());
            all.push(Hidden { context, ignore_file, line, pattern, what });
        }
    }
    Ok(all)
}
