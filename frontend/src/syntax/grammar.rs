//! The parser that pest makes of `dockerfile.pest`, and how the rest of the crate starts it.

use pest::Parser as _;
use pest::iterators::Pair;

use super::Escape;

// What pest derives is public and without documentation; nothing outside of this module sees it under these names.
#[expect(unreachable_pub, reason = "pest derives public items without documentation")]
mod derived {
    #[derive(pest_derive::Parser)]
    #[grammar = "syntax/dockerfile.pest"]
    pub struct Dockerfile;
}

pub(crate) use derived::Rule;
pub(crate) type Token<'i> = Pair<'i, Rule>;

/// Returns the token of a rule that matches any text.
pub(crate) fn token(rule: Rule, text: &str) -> Token<'_> {
    try_token(rule, text).unwrap_or_else(|| unreachable!("rule {rule:?} matches any text, but not {text:?}"))
}

/// Returns the token of a rule at the start of `text`, or `None` where it does not match.
pub(crate) fn try_token(rule: Rule, text: &str) -> Option<Token<'_>> {
    derived::Dockerfile::parse(rule, text).ok()?.next()
}

/// Returns the variant of a rule for an escape character.
pub(crate) fn by_escape(escape: Escape, backslash: Rule, backtick: Rule) -> Rule {
    match escape {
        Escape::Backslash => backslash,
        Escape::Backtick => backtick,
    }
}
