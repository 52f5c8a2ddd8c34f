//! Which nodes the steps of a node need: what `COPY --from` and `RUN --mount` name.

use crate::ast::{Command, Run, Site, Word};
use crate::expand::{Environment, Style, expand};
use crate::instruction::csv_fields;
use crate::source::Span;

use super::error::{Fault, LowerProblem};
use super::node::NodeId;
use super::pass::Pass;
use super::session::Stopped;

/// The node behind each of an instruction's sources.
pub(super) type Sources = Vec<Option<NodeId>>;

impl<'a> Pass<'_, 'a> {
    /// Finds out which nodes each stage needs.
    pub(super) fn find_needs(&mut self) -> Result<(), Stopped> {
        let mut outcome = Ok(());
        for id in 0..self.nodes.stages {
            let mut steps = std::mem::take(&mut self.nodes.list[id].steps);
            for step in &mut steps {
                let site = step.site;
                match self.sources_of(id, &step.instruction.command, site) {
                    Ok(sources) => step.sources = sources,
                    Err(fault) => outcome = Err(self.session.stop(site, fault)),
                }
            }
            self.nodes.list[id].steps = steps;
        }
        outcome?;
        if let Some((start, spans)) = self.nodes.circle() {
            return Err(self.circle_error(start, &spans));
        }
        if self.nodes.is_single() {
            self.nodes.list[0].name.clear();
        }
        Ok(())
    }

    fn circle_error(&mut self, start: NodeId, spans: &[Span]) -> Stopped {
        let (first, others) =
            spans.split_first().map_or((self.nodes.list[start].site.span, spans), |(first, others)| (*first, others));
        let mut fault = Fault::at(LowerProblem::Circular { stage: self.nodes.list[start].name.clone() }, first);
        for span in others {
            fault = fault.with_note("and the circle goes on here", self.session.reports.place(*span));
        }
        self.session.reports.error_at(self.session.file.source.lines_of(first), fault);
        Stopped
    }

    /// Finds the nodes that an instruction of a node needs, and notes that it needs them.
    pub(super) fn sources_of(&mut self, id: NodeId, command: &Command, site: &'a Site) -> Result<Sources, Fault> {
        let sources = match command {
            Command::Copy(copy) => match &copy.from {
                Some(from) => vec![Some((self.copy_source(from, site)?, from.span))],
                None => Vec::new(),
            },
            Command::Run(run) => self.mount_sources(run, site),
            _ => Vec::new(),
        };
        let needs = &mut self.nodes.list[id].needs;
        for (node, span) in sources.iter().flatten() {
            needs.entry(*node).or_insert(*span);
        }
        Ok(sources.into_iter().map(|source| source.map(|(node, _)| node)).collect())
    }

    fn copy_source(&mut self, from: &Word, site: &'a Site) -> Result<NodeId, Fault> {
        let style = Style { escape: self.session.file.escape, ..Style::default() };
        let expanded = expand(&from.text, style, &Environment::new()).map_err(|error| Fault::at(error, from.span))?;
        if expanded.text != from.text {
            return Err(Fault::at(LowerProblem::FromVariable, from.span));
        }
        self.nodes.find_or_add(&from.text, site).map_err(|problem| Fault::at(problem, from.span))
    }

    fn mount_sources(&mut self, run: &Run, site: &'a Site) -> Vec<Option<(NodeId, Span)>> {
        let mut sources = Vec::with_capacity(run.mounts.len());
        for mount in &run.mounts {
            let from = mount_from(&mount.text);
            self.nodes.has_mounts = true;
            sources.push(from.map(|from| (self.nodes.find_or_add_named(&from, site), mount.span)));
        }
        sources
    }
}

/// Returns what a mount says that it is from; the last time counts.
pub(super) fn mount_from(mount: &str) -> Option<String> {
    let fields = csv_fields(mount).unwrap_or_default();
    let values = fields.iter().rev().filter_map(|field| field.split_once('='));
    values
        .into_iter()
        .find(|(key, _)| key.eq_ignore_ascii_case("from"))
        .map(|(_, value)| value.to_owned())
        .filter(|from| !from.is_empty())
}
