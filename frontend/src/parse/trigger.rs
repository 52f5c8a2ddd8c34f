//! Triggers: instructions that a base image keeps as text for its children.

use crate::ast::{Instruction, Site};
use crate::instruction::{self, InstructionError, Parsed, Written};
use crate::limits::LINE_BYTES_MAX;
use crate::source::Source;
use crate::syntax::{directives, step};

use super::{FileError, read_heredocs};

/// Why a text is no trigger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TriggerError {
    /// It is more than one instruction.
    #[error("onbuild trigger should be a single expression")]
    NotSingle,
    /// It is no text that instructions can be read from.
    #[error(transparent)]
    File(#[from] FileError),
    /// The instruction is wrong.
    #[error(transparent)]
    Instruction(#[from] InstructionError),
    /// It begins a stage.
    #[error("{keyword} isn't allowed as an ONBUILD trigger")]
    Stage {
        /// The keyword.
        keyword: String,
    },
}

/// Parses a trigger. The instruction stands at `site`, where it is carried out, and so do all its parts: the text is in no file.
pub(crate) fn parse_trigger(text: &str, site: &Site) -> Result<Instruction, TriggerError> {
    if text.split('\n').any(|line| line.len() > LINE_BYTES_MAX) {
        return Err(FileError::LongLine.into());
    }
    let source = Source::new(text.to_owned());
    let found = directives(text, 0);
    let (mut offset, mut trigger) = (found.end, None);
    while offset < text.len() {
        let step = step(text, offset, found.escape);
        offset = step.end;
        let Some(joined) = step.instruction else { continue };
        if trigger.is_some() {
            return Err(TriggerError::NotSingle);
        }
        let mut written = Written::new(&joined, found.escape, &[], &source);
        let (end, heredocs) = read_heredocs(text, &written, offset).map_err(|(_, error)| error)?;
        (written.heredocs, offset) = (heredocs, end);
        let command = match instruction::parse(&written).map_err(|refusal| refusal.error)? {
            Parsed::Command(command) => command,
            Parsed::Stage(_) => return Err(TriggerError::Stage { keyword: written.site().name() }),
        };
        let place = Site { span: site.span, lines: site.lines, hollow_end: None, ..written.site() };
        trigger = Some(Instruction { site: place, command });
    }
    trigger.ok_or_else(|| FileError::NoInstructions.into())
}
