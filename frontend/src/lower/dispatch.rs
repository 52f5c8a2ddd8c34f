//! Carrying out instructions, stage by stage in the order of the file.

use crate::ast::{Command, Site, Word};
use crate::checks::Rule;
use crate::expand::{Expanded, Style, expand_metered};
use crate::source::Span;
use crate::suggest;

use super::args::NOT_IN_ENVIRONMENT;
use super::error::{Fault, LowerProblem};
use super::node::{NodeId, Step};
use super::pass::Pass;
use super::stage::{Built, Layer};

/// How much longer an entry of the history often is than its instruction.
const HISTORY_BYTES_MORE: usize = 16;

/// Where the instruction stands that is carried out.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'x> {
    pub(super) site: &'x Site,
    /// Whether it is a trigger of the base, whose parts are nowhere in the file.
    pub(super) on_build: bool,
}

impl At<'_> {
    /// Returns where a part of the instruction stands.
    pub(super) fn span(&self, span: Span) -> Span {
        if self.on_build { self.site.span } else { span }
    }

    /// Returns the beginning of an entry of the history, with room for one that is about as long as the instruction.
    pub(super) fn new_history(&self, keyword: &str) -> String {
        let mut history = String::with_capacity(self.site.line.len() + HISTORY_BYTES_MORE);
        history.push_str(keyword);
        history
    }
}

impl<'a> Pass<'_, 'a> {
    /// Carries out all stages that are needed. What is wrong is reported, and the rest is carried out all the same.
    pub(super) fn dispatch(&mut self, reachable: &[bool]) {
        for id in (0..self.nodes.stages).filter(|id| reachable[*id]) {
            if !self.done[id] {
                self.dispatch_stage(id);
                self.done[id] = true;
            }
        }
    }

    fn dispatch_stage(&mut self, id: NodeId) {
        let node = &self.nodes.list[id];
        let mut built = match (node.base, self.built[id].take()) {
            (None, Some(built)) => built,
            (Some(base), _) => match &self.built[base] {
                Some(base) => Built { steps: self.steps_of(id), ..base.child() },
                None => return,
            },
            (None, None) => return,
        };
        if let Err(problem) = self.session.meter.keep(built.size_bytes()) {
            self.node_error(id, LowerProblem::from(problem));
            return;
        }
        self.outline_stage(id, &mut built);
        built.begin();
        let steps = std::mem::take(&mut self.nodes.list[id].steps);
        for step in &steps {
            let at = At { site: &step.instruction.site, on_build: step.on_build };
            if let Err(fault) = self.instruction(id, &mut built, at, step) {
                let span = fault.span.map(|span| at.span(span));
                self.session.reports.error(at.site, Fault { span, ..fault });
            }
        }
        self.nodes.list[id].steps = steps;
        self.built[id] = Some(built);
    }

    fn instruction(&mut self, id: NodeId, built: &mut Built, at: At<'_>, step: &Step<'a>) -> Result<(), Fault> {
        match &step.instruction.command {
            Command::Arg(arguments) => self.arg(built, at, arguments),
            Command::Env(pairs) => self.env(built, at, pairs),
            Command::Label(pairs) => self.label(built, at, pairs),
            Command::Run(run) => self.run_command(built, at, run, &step.sources),
            Command::Copy(copy) => self.copy(id, built, at, copy, &step.sources),
            Command::Add(add) => self.add_files(built, at, add),
            Command::Workdir(path) => self.workdir(built, at, path),
            Command::User(user) => self.user(built, at, user),
            Command::Cmd(line) => self.cmd(built, at, line),
            Command::Entrypoint(line) => self.entrypoint(built, at, line),
            Command::Expose(ports) => self.expose(built, at, ports),
            Command::Volume(volumes) => self.volume(built, at, volumes),
            Command::StopSignal(signal) => self.stop_signal(built, at, signal),
            Command::HealthCheck(check) => self.health_check(built, at, check),
            Command::Shell(shell) => self.shell(built, shell),
            Command::Maintainer(name) => self.maintainer(built, name),
            Command::OnBuild(trigger) => {
                built.config.config.on_build.push(trigger.clone());
                Ok(())
            }
        }
    }

    /// Substitutes the variables of a word.
    pub(super) fn word(&mut self, built: &Built, at: At<'_>, word: &Word) -> Result<String, Fault> {
        self.text(built, at, &word.text, word.span)
    }

    /// Substitutes the variables of a text that stands at `span`.
    pub(super) fn text(&mut self, built: &Built, at: At<'_>, text: &str, span: Span) -> Result<String, Fault> {
        self.styled(built, at, text, span, self.session.style()).map(|expanded| expanded.text)
    }

    /// Substitutes the variables of a text that is read in a way of its own.
    pub(super) fn styled(
        &mut self,
        built: &Built,
        at: At<'_>,
        text: &str,
        span: Span,
        style: Style,
    ) -> Result<Expanded, Fault> {
        let expanded = expand_metered(text, style, &built.environment, &self.session.meter);
        let expanded = expanded.map_err(|error| Fault::at(error, span))?;
        self.report_undefined(built, at, span, &expanded.unset);
        Ok(expanded)
    }

    /// Reports variables that are used and nowhere set.
    fn report_undefined(&mut self, built: &Built, at: At<'_>, span: Span, unset: &[String]) {
        for name in unset {
            let is_known = built.args.has(name) || NOT_IN_ENVIRONMENT.contains(&name.as_str());
            if is_known || !self.session.reports.wants(Rule::UndefinedVar, at.site) {
                continue;
            }
            let meant = suggest::nearest(name, built.environment.keys());
            let suggestion = meant.map(|meant| format!(" (did you mean ${meant}?)")).unwrap_or_default();
            let message = format!("Usage of undefined variable '${name}'{suggestion}");
            self.session.reports.warn(Rule::UndefinedVar, at.site, at.span(span), message);
        }
    }

    /// Adds what was done to the history.
    pub(super) fn record(&mut self, built: &mut Built, created_by: String, layer: Layer) -> Result<(), Fault> {
        built.record(created_by, layer, self.epoch, &self.session.meter).map_err(Fault::from)
    }

    /// Returns the hints of the next step of an instruction; `text` is how it is shown.
    pub(super) fn next_hints(&self, built: &mut Built, at: At<'_>, text: &str) -> llb::Hints {
        let prefix = built.steps.next_prefix(&built.platform, &built.environment, at.on_build);
        built.steps.hints([&prefix, text].concat(), at.site)
    }
}
