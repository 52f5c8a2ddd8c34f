//! Triggers: the `ONBUILD` instructions of a base, which its direct children carry out before their own.

use std::borrow::Cow;

use crate::ast::{Command, Instruction};
use crate::limits::INSTRUCTIONS_MAX;
use crate::parse::parse_trigger;

use super::error::{Fault, LowerProblem};
use super::node::{NodeId, Step};
use super::pass::Pass;
use super::session::Stopped;

impl Pass<'_, '_> {
    /// Adds the triggers of the bases of all nodes that are needed; tells whether other nodes are needed now.
    pub(super) fn add_triggers(&mut self, reachable: &[bool]) -> Result<bool, Stopped> {
        let mut outcome = Ok(false);
        for id in (0..self.nodes.stages).filter(|id| reachable[*id]) {
            if std::mem::replace(&mut self.nodes.list[id].triggered, true) {
                continue;
            }
            let texts = self.triggers_of(id);
            if texts.is_empty() || self.nodes.list[id].context.is_some() {
                continue;
            }
            match (self.trigger(id, &texts), &mut outcome) {
                (Ok(needs_more), Ok(before)) => *before |= needs_more,
                (Ok(_), Err(Stopped)) => {}
                (Err(fault), _) => {
                    self.node_error(id, fault);
                    outcome = Err(Stopped);
                }
            }
        }
        outcome
    }

    /// Returns the triggers of a node's base, and forgets them where they are in the config that it starts with.
    fn triggers_of(&mut self, id: NodeId) -> Vec<String> {
        let own = |step: &Step<'_>| match &step.instruction.command {
            Command::OnBuild(text) => Some(text.clone()),
            _ => None,
        };
        match (self.nodes.list[id].base, &mut self.built[id]) {
            (Some(base), _) => self.nodes.list[base].steps.iter().filter_map(own).collect(),
            (None, Some(built)) => std::mem::take(&mut built.config.config.on_build),
            (None, None) => Vec::new(),
        }
    }

    /// Puts triggers in front of a node's steps; tells whether they need other nodes.
    fn trigger(&mut self, id: NodeId, texts: &[String]) -> Result<bool, Fault> {
        self.session.triggers += texts.len();
        if self.session.triggers > INSTRUCTIONS_MAX {
            return Err(LowerProblem::TooManyInstructions.into());
        }
        let site = self.nodes.list[id].site;
        let mut steps = Vec::with_capacity(texts.len());
        let mut needs_more = false;
        for text in texts {
            self.session.meter.keep(text.len())?;
            let instruction = parse_trigger(text, site).map_err(LowerProblem::from)?;
            let sources = self.sources_of(id, &instruction.command, site)?;
            needs_more |= !sources.is_empty();
            self.note_arguments(&instruction);
            steps.push(Step { instruction: Cow::Owned(instruction), site, sources, on_build: true });
        }
        let node = &mut self.nodes.list[id];
        node.total += steps.len();
        if let Some(built) = &mut self.built[id] {
            built.steps.grow(steps.len());
        }
        node.steps.splice(0..0, steps);
        Ok(needs_more)
    }

    fn note_arguments(&mut self, instruction: &Instruction) {
        if let Command::Arg(arguments) = &instruction.command {
            self.session.triggered_args.extend(arguments.iter().map(|argument| argument.name.clone()));
        }
    }
}
