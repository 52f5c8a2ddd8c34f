//! `ARG`, `ENV` and `LABEL`: names and values.

use crate::ast::{Argument, Pair};
use crate::go;
use crate::syntax::words;

use super::flags::Flags;
use super::{InstructionError, Refusal, Written};

/// `ARG NAME`, `ARG NAME=default`, any number of them. Docker reads no flags here, and does not mind them.
pub(crate) fn parse_arguments(written: &Written<'_>) -> Result<Vec<Argument>, Refusal> {
    let found = words(written.arguments_text(), written.escape);
    if found.is_empty() {
        return Err(InstructionError::AtLeastOneArgument { instruction: "ARG" }.into());
    }
    let argument = |part| {
        let word = written.word(part);
        let (name, default) = match word.text.split_once('=') {
            Some((name, default)) => (name.to_owned(), Some(default.to_owned())),
            None => (word.text.clone(), None),
        };
        if name.is_empty() {
            return Err(Refusal::at(InstructionError::BlankName { instruction: "ARG" }, word.span));
        }
        let description = written.description(&name);
        Ok(Argument { name, default, description, span: word.span })
    };
    found.into_iter().map(argument).collect()
}

/// `KEY=value`, any number of them, or the old form `KEY rest of the line`.
pub(crate) fn parse_pairs(written: &Written<'_>, instruction: &'static str) -> Result<Vec<Pair>, Refusal> {
    let found = words(written.arguments_text(), written.escape);
    let Some(first) = found.first() else {
        Flags::none(written)?;
        return Err(InstructionError::AtLeastOneArgument { instruction }.into());
    };
    if !first.text.contains('=') {
        return parse_legacy_pair(written, instruction).map(|pair| vec![pair]);
    }
    let mut pairs = Vec::with_capacity(found.len());
    for part in found {
        let word = written.word(part);
        let Some((key, value)) = word.text.split_once('=') else {
            return Err(Refusal::at(InstructionError::NoEquals { word: go::quote(&word.text) }, word.span));
        };
        pairs.push(Pair { key: key.to_owned(), value: value.to_owned(), legacy: false, span: word.span });
    }
    checked(written, instruction, pairs)
}

fn parse_legacy_pair(written: &Written<'_>, instruction: &'static str) -> Result<Pair, Refusal> {
    let arguments = written.arguments();
    let is_blank = |c| matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ');
    let Some((key, value)) = arguments.text.split_once(is_blank) else {
        return Err(Refusal::at(InstructionError::TwoArguments { instruction }, arguments.span));
    };
    let value = value.trim_start_matches(is_blank).to_owned();
    let pair = Pair { key: key.to_owned(), value, legacy: true, span: arguments.span };
    checked(written, instruction, vec![pair]).map(|mut pairs| pairs.remove(0))
}

fn checked(written: &Written<'_>, instruction: &'static str, pairs: Vec<Pair>) -> Result<Vec<Pair>, Refusal> {
    Flags::none(written)?;
    match pairs.iter().find(|pair| pair.key.is_empty()) {
        Some(blank) => Err(Refusal::at(InstructionError::BlankName { instruction }, blank.span)),
        None => Ok(pairs),
    }
}
