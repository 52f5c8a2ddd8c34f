//! Substitution of variables in words: `$name`, `${name:-word}`, `${name/pattern/replacement}` and their kin, with quotes and escapes as Docker reads them.
//!
//! **Invariant:** knows no instruction and no scope: what a name means is asked of an [`Environment`].

mod direct;
mod environment;
mod evaluate;
mod meter;
mod pattern;

pub use environment::Environment;
pub use evaluate::{ExpandError, Expanded, Problem};

pub(crate) use evaluate::{expand_metered, split_metered};
pub(crate) use meter::{Meter, Required};

use crate::syntax::Escape;

/// How a word is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// The escape character.
    pub escape: Escape,
    /// What quotes do.
    pub quotes: Quotes,
    /// What becomes of escape characters.
    pub escapes: Escapes,
    /// What becomes of variables that are not set.
    pub unset: Unset,
}

/// What quotes do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quotes {
    /// They protect what they enclose, and are removed.
    #[default]
    Remove,
    /// They protect what they enclose, and stay.
    Keep,
    /// They are characters like others: the body of a heredoc. The escape character is `\` then.
    Plain,
}

/// What becomes of escape characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escapes {
    /// They are removed, and what they protect stays.
    #[default]
    Remove,
    /// They stay.
    Keep,
}

/// What becomes of variables that are not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unset {
    /// They are empty.
    #[default]
    Empty,
    /// The substitution stays as it is written.
    Keep,
}

/// Substitutes the variables of a word.
pub fn expand(word: &str, style: Style, environment: &Environment) -> Result<Expanded, ExpandError> {
    expand_metered(word, style, environment, &Meter::default())
}

/// Substitutes the variables of a text and splits the result at blanks; what quotes protect is not split.
pub fn split(text: &str, style: Style, environment: &Environment) -> Result<Vec<String>, ExpandError> {
    split_metered(text, style, environment, &Meter::default())
}

#[cfg(test)]
mod tests;
