//! Flags of an instruction against what it accepts.

use crate::ast::Word;
use crate::suggest;
use crate::syntax::FlagWord;

use super::{InstructionError, Refusal, Written};

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlagKind {
    /// `true` or `false`, or nothing, which is `true`.
    Boolean,
    /// One value.
    One,
    /// A value, any number of times.
    Many,
}

/// The flags of one instruction.
#[derive(Debug, Default)]
pub(crate) struct Flags(Vec<(&'static str, Word)>);

impl Flags {
    /// Checks flags against those that an instruction accepts.
    pub(crate) fn parse(
        flags: &[FlagWord],
        accepted: &[(&'static str, FlagKind)],
        written: &Written<'_>,
    ) -> Result<Self, Refusal> {
        let mut found = Self::default();
        for flag in flags {
            let span = written.span(flag.start, flag.end);
            let value = found.check(flag, accepted).map_err(|error| Refusal::at(error, span))?;
            found.0.extend(value.map(|(name, text)| (name, Word { text, span })));
        }
        Ok(found)
    }

    /// Refuses any flag.
    pub(crate) fn none(written: &Written<'_>) -> Result<(), Refusal> {
        Self::parse(&written.head.flags, &[], written).map(drop)
    }

    fn check(
        &self,
        flag: &FlagWord,
        accepted: &[(&'static str, FlagKind)],
    ) -> Result<Option<(&'static str, String)>, InstructionError> {
        let (name, value) = match flag.text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag.text.as_str(), None),
        };
        let Some((known, kind)) = accepted.iter().find(|(known, _)| *known == name).copied() else {
            let suggestion = suggest::did_you_mean(name, accepted.iter().map(|(known, _)| *known));
            return Err(InstructionError::UnknownFlag { flag: name.to_owned(), suggestion });
        };
        let flag = || name.to_owned();
        if kind != FlagKind::Many && self.0.iter().any(|(earlier, _)| *earlier == known) {
            return Err(InstructionError::DuplicateFlag { flag: flag() });
        }
        match (kind, value) {
            (FlagKind::Boolean, Some("")) | (FlagKind::One | FlagKind::Many, None) => {
                Err(InstructionError::FlagValue { flag: flag() })
            }
            (FlagKind::Boolean, value) => match value.unwrap_or("true").to_lowercase() {
                lower if lower == "true" || lower == "false" => Ok(Some((known, lower))),
                _ => Err(InstructionError::FlagBoolean { flag: flag(), value: value.unwrap_or_default().to_owned() }),
            },
            (FlagKind::One | FlagKind::Many, Some(value)) => Ok(Some((known, value.to_owned()))),
        }
    }

    /// Returns the value of a flag.
    pub(crate) fn take(&mut self, name: &str) -> Option<Word> {
        let place = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.remove(place).1)
    }

    /// Returns the value of a flag where an empty one is as good as none.
    pub(crate) fn take_filled(&mut self, name: &str) -> Option<Word> {
        self.take(name).filter(|value| !value.text.is_empty())
    }

    /// Returns all values of a flag, in order.
    pub(crate) fn take_all(&mut self, name: &str) -> Vec<Word> {
        let all = std::mem::take(&mut self.0);
        let (taken, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|(known, _)| *known == name);
        self.0 = left;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// Returns the truth of a flag, or `None` where it is not given.
    pub(crate) fn truth(&mut self, name: &str) -> Option<bool> {
        self.take(name).map(|value| value.text == "true")
    }
}
