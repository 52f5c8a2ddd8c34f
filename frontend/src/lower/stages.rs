//! From `FROM` instructions to nodes: bases and platforms with their variables substituted.

use std::collections::BTreeSet;

use oci::Platform;

use crate::ast::{Dockerfile, Site, Stage, Word};
use crate::checks::Rule;
use crate::expand::Expanded;
use crate::go;
use crate::request::{NoCache, Strictness};
use crate::suggest;

use super::error::{Fault, LowerProblem};
use super::node::{Node, NodeId, SCRATCH, takes_number};
use super::pass::Pass;
use super::report::Reports;
use super::session::Stopped;

const TARGET_PLATFORM: &str = "TARGETPLATFORM";

impl<'a> Pass<'_, 'a> {
    /// Adds all stages of the file.
    pub(super) fn add_stages(&mut self) -> Result<(), Stopped> {
        let mut outcome = Ok(());
        for (index, stage) in self.session.file.stages.iter().enumerate() {
            match self.stage_node(index, stage) {
                Ok(node) => self.add_stage(node),
                Err(fault) => outcome = Err(self.session.stop(&stage.site, fault)),
            }
        }
        outcome
    }

    fn add_stage(&mut self, node: Node<'a>) {
        let id = self.nodes.add_stage(node);
        let node = &mut self.nodes.list[id];
        if node.context.is_none() && node.base.is_none() && node.base_name != SCRATCH {
            node.total += 1;
        }
    }

    fn stage_node(&mut self, index: usize, stage: &'a Stage) -> Result<Node<'a>, Fault> {
        let base = self.expand_global(&stage.base.text).map_err(|error| Fault::at(error, stage.base.span))?;
        self.report_undeclared(&stage.site, &stage.base, &base);
        if base.text.is_empty() {
            return Err(Fault::at(LowerProblem::BlankBase { base: stage.base.text.clone() }, stage.base.span));
        }
        let mut node = Node::stage(stage, base.text);
        node.used_args = base.used;
        if let Some(word) = &stage.platform {
            let (platform, expanded) = self.stage_platform(stage, word)?;
            node.platform = Some(platform);
            node.used_args.extend(expanded.used);
        }
        node.name = stage.name.clone().unwrap_or_else(|| format!("stage-{index}"));
        node.ignore_cache = match &self.session.request.no_cache {
            NoCache::Nothing => false,
            NoCache::Everything => true,
            NoCache::Stages(names) => {
                stage.name.as_ref().is_some_and(|name| names.iter().any(|it| it.eq_ignore_ascii_case(name)))
            }
        };
        if let Some(name) = &stage.name {
            let platform = node.platform.clone().unwrap_or_else(|| self.target.platform.clone());
            node.context = self.find_context(name, &platform)?;
        }
        if node.context.is_some() {
            // The stage is replaced as a whole: nothing of it is carried out.
            (node.steps, node.used_args) = (Vec::new(), Vec::new());
        }
        node.total = node.steps.iter().filter(|step| takes_number(&step.instruction.command)).count();
        Ok(node)
    }

    fn stage_platform(&mut self, stage: &Stage, word: &Word) -> Result<(Platform, Expanded), Fault> {
        let expression = word.text.clone();
        let expanded = self.expand_global(&word.text).map_err(|source| {
            let problem = LowerProblem::PlatformWord { expression: expression.clone(), source };
            Fault::at(problem, word.span)
        })?;
        self.report_undeclared(&stage.site, word, &expanded);
        self.report_platform(stage, word, &expanded);
        let keys = || self.globals.environment.keys();
        let suggestion = || {
            expanded
                .unset
                .iter()
                .map(|name| suggest::did_you_mean(name, keys()))
                .find(|text| !text.is_empty())
                .unwrap_or_default()
        };
        if expanded.text.is_empty() {
            return Err(Fault::at(LowerProblem::EmptyPlatform { expression, suggestion: suggestion() }, word.span));
        }
        match expanded.text.parse() {
            Ok(platform) => Ok((platform, expanded)),
            Err(source) => {
                Err(Fault::at(LowerProblem::Platform { expression, source, suggestion: suggestion() }, word.span))
            }
        }
    }

    /// Reports arguments that `FROM` names and that nothing declares.
    fn report_undeclared(&mut self, site: &Site, word: &Word, expanded: &Expanded) {
        for name in &expanded.unset {
            if self.globals.records.contains_key(name) {
                continue;
            }
            let declared = self.globals.environment.keys().chain(self.globals.records.keys().map(String::as_str));
            let suggestion = suggest::did_you_mean(name, declared);
            let message = format!("FROM argument '{name}' is not declared{suggestion}");
            self.session.reports.warn(Rule::UndefinedArgInFrom, site, word.span, message);
        }
    }

    fn report_platform(&mut self, stage: &Stage, word: &Word, expanded: &Expanded) {
        let reports = &mut self.session.reports;
        let target = self.globals.environment.get(TARGET_PLATFORM);
        if expanded.used == [TARGET_PLATFORM] && expanded.unset.is_empty() && target == Some(expanded.text.as_str()) {
            let message = format!(
                "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
                word.text
            );
            reports.warn(Rule::RedundantTargetPlatform, &stage.site, word.span, message);
        }
        let is_constant = expanded.used.is_empty() && expanded.unset.is_empty();
        if let (true, Ok(platform)) = (is_constant, expanded.text.parse::<Platform>()) {
            let name = stage.name.as_deref().unwrap_or_default();
            if !name.contains(&platform.os) && !name.contains(&platform.architecture) {
                let message =
                    format!("FROM --platform flag should not use constant value {}", go::quote(&expanded.text));
                reports.warn(Rule::FromPlatformFlagConstDisallowed, &stage.site, word.span, message);
            }
        }
    }

    /// Reports stages that are there for nothing, where the file is read strictly.
    pub(super) fn report_unused(&mut self, target: NodeId) {
        if self.session.request.strictness != Strictness::Strict {
            return;
        }
        let needed = |node: &Node<'a>| node.base.into_iter().chain(node.needs.keys().copied()).collect::<Vec<_>>();
        let used: BTreeSet<NodeId> = self.nodes.list.iter().flat_map(needed).collect();
        for id in 0..self.nodes.stages {
            if id != target && id + 1 != self.nodes.stages && !used.contains(&id) {
                let stage = go::quote(&self.nodes.list[id].name);
                let fault = Fault::from(LowerProblem::UnusedStage { stage });
                let fault = fault.with_hint("remove the stage, or name it in a `COPY --from`");
                self.session.reports.error_of_strictness(self.nodes.list[id].site, fault);
            }
        }
    }
}

/// Warns of names in `--no-cache-filter` that no stage has: the cache is used although somebody meant it not to be.
pub(super) fn report_unknown_filter(file: &Dockerfile, no_cache: &NoCache, reports: &mut Reports<'_>) {
    let NoCache::Stages(names) = no_cache else { return };
    let stages: Vec<&str> = file.stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
    let is_known = |name: &str| stages.iter().any(|stage| stage.eq_ignore_ascii_case(name));
    let unknown: Vec<&str> = names.iter().map(String::as_str).filter(|name| !is_known(name)).collect();
    if unknown.is_empty() {
        return;
    }
    let meant = unknown.iter().filter_map(|name| {
        suggest::nearest(name, stages.iter().copied())
            .map(|meant| format!("did you mean `{meant}` instead of `{name}`?"))
    });
    let hint = meant.collect::<Vec<_>>().join(" ");
    let problem = LowerProblem::UnknownFilter { names: unknown.join(" ") };
    reports.warn_build(problem, (!hint.is_empty()).then_some(hint));
}
