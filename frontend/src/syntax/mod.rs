//! From text to the parts of instructions: lines, directives, keywords, flags, words, heredocs.
//!
//! **Invariant:** knows how instructions are written and nothing of what they mean.

mod arguments;
mod directives;
pub(crate) mod grammar;
mod heredoc;
mod lines;

pub use directives::{Directive, DirectiveError, DirectiveName, Syntax, detect_syntax};
pub use heredoc::Heredoc;

use serde::Serialize;

pub(crate) use arguments::{FlagWord, Head, Json, Located, fields, head, json, words};
pub(crate) use directives::{directives, find_check_options};
pub(crate) use heredoc::{HeredocMark, marks_of_line, parse_mark};
pub(crate) use lines::{Joined, step};

/// The character that joins lines and takes the meaning from the one behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Escape {
    /// `\`.
    #[default]
    Backslash,
    /// `` ` ``, which leaves backslashes to Windows paths.
    Backtick,
}

impl Escape {
    /// Returns the character itself.
    pub fn char(self) -> char {
        match self {
            Self::Backslash => '\\',
            Self::Backtick => '`',
        }
    }
}
