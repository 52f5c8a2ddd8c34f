//! What all platforms of one lowering share: what is asked, what is known, the graph in the making, and what is still to be learnt.

use std::collections::{BTreeMap, BTreeSet};

use llb::{Edge, Graph, Hints, Input, Op, Source};

use crate::ast::{Dockerfile, Site};
use crate::checks::CheckOptions;
use crate::expand::{Meter, Required, Style};
use crate::known::{ImageQuery, Known, KnownImage, Need};
use crate::request::LowerRequest;
use crate::syntax::find_check_options;
use llb::pattern::{Ignore, read_patterns};

use super::error::{Fault, LowerProblem};
use super::report::Reports;

const CHECK_ARG: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What the file is lowered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be built.
    Build,
    /// To see what the target takes from outside.
    Outline,
    /// To see what is wrong: all stages, unless a target is named.
    Check,
}

/// Lowering cannot go on: there are errors, or something must be learnt first. Which of them is in the session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopped;

/// What all platforms of one lowering share.
pub(super) struct Session<'a> {
    pub(super) file: &'a Dockerfile,
    pub(super) request: &'a LowerRequest,
    pub(super) known: &'a Known,
    pub(super) purpose: Purpose,
    pub(super) meter: Meter,
    pub(super) graph: Graph,
    pub(super) needs: BTreeSet<Need>,
    pub(super) reports: Reports<'a>,
    /// The arguments that triggers of bases declare.
    pub(super) triggered_args: BTreeSet<String>,
    /// How many instructions triggers have added.
    pub(super) triggers: usize,
    /// The files of the main context, once something needs them.
    pub(super) main_context: Option<Edge>,
    /// The rules of local sources, by the sources' names.
    ignores: BTreeMap<String, LocalIgnore>,
}

/// The ignore rules of a local source.
#[derive(Clone, Debug, Default)]
pub(super) struct LocalIgnore {
    /// The patterns as they stand in the file.
    pub(super) patterns: Vec<String>,
    /// The same, compiled.
    pub(super) rules: Ignore,
}

impl<'a> Session<'a> {
    pub(super) fn new(file: &'a Dockerfile, request: &'a LowerRequest, known: &'a Known, purpose: Purpose) -> Self {
        let required = if purpose == Purpose::Outline { Required::Noted } else { Required::Enforced };
        let (options, problem) = check_options(file, request);
        let mut reports = Reports::new(file, options, request.strictness);
        if let Some(problem) = problem {
            reports.error_of_file(problem.into());
        }
        Self {
            file,
            request,
            known,
            purpose,
            meter: Meter::new(required),
            graph: Graph::new(),
            needs: BTreeSet::new(),
            reports,
            triggered_args: BTreeSet::new(),
            triggers: 0,
            main_context: None,
            ignores: BTreeMap::new(),
        }
    }

    /// Returns how words of the file are read.
    pub(super) fn style(&self) -> Style {
        Style { escape: self.file.escape, ..Style::default() }
    }

    /// Reports an error about an instruction that nothing can go on behind.
    pub(super) fn stop(&mut self, site: &Site, fault: impl Into<Fault>) -> Stopped {
        self.reports.error(site, fault.into());
        Stopped
    }

    /// Asks for something.
    pub(super) fn ask(&mut self, need: Need) {
        self.needs.insert(need);
    }

    /// Adds a step and returns its first output.
    pub(super) fn add(&mut self, op: Op, inputs: Vec<Input>, hints: Hints) -> Result<Edge, LowerProblem> {
        Ok(self.graph.add(op, inputs, hints)?.into())
    }

    /// Returns an edge as one that an operation can name: the empty file system is a step too.
    pub(super) fn edge(&mut self, edge: Option<Edge>) -> Result<Edge, LowerProblem> {
        match edge {
            Some(edge) => Ok(edge),
            None => self.add(Op::Source(Source::Scratch), Vec::new(), Hints::default()),
        }
    }

    /// Returns what is known of an image, or why it cannot be had; `None` means that it is asked for.
    pub(super) fn image(&mut self, query: &ImageQuery) -> Option<Result<&'a KnownImage, &'a str>> {
        let answer = self.known.images.get(query);
        if answer.is_none() {
            self.ask(Need::Image(query.clone()));
        }
        answer.map(|answer| answer.as_ref().map_err(String::as_str))
    }

    /// Returns the ignore rules of a local source; asks for its ignore file where that is not known, and has none then.
    pub(super) fn local_ignore(&mut self, name: &str) -> Result<&LocalIgnore, LowerProblem> {
        if !self.ignores.contains_key(name) {
            let rules = match self.known.ignore_files.get(name) {
                Some(Some(file)) => {
                    let patterns = read_patterns(&file.text);
                    let rules = Ignore::new(patterns.iter().map(String::as_str));
                    let rules = rules.map_err(|source| LowerProblem::Ignore { name: file.name.clone(), source })?;
                    LocalIgnore { patterns, rules }
                }
                Some(None) => LocalIgnore::default(),
                None => {
                    self.ask(Need::IgnoreFile(name.to_owned()));
                    LocalIgnore::default()
                }
            };
            self.ignores.insert(name.to_owned(), rules);
        }
        Ok(&self.ignores[name])
    }
}

/// Returns how the checks run: as the request says, else a build argument, else the file.
fn check_options(file: &Dockerfile, request: &LowerRequest) -> (CheckOptions, Option<LowerProblem>) {
    if let Some(options) = &request.checks {
        return (options.clone(), None);
    }
    let argument = request.build_args.get(CHECK_ARG).map(|text| (text.as_str(), "build-arg BUILDKIT_DOCKERFILE_CHECK"));
    let directive = find_check_options(file.source.text());
    let directive = directive.as_deref().map(|options| (options, "check options"));
    let Some((text, place)) = argument.or(directive) else { return (CheckOptions::default(), None) };
    match text.parse() {
        Ok(options) => (options, None),
        Err(source) => (CheckOptions::default(), Some(LowerProblem::CheckOptions { place, source })),
    }
}
