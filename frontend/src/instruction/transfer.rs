//! `COPY` and `ADD`.

use crate::ast::{Add, Copy, Transfer, Word};
use crate::syntax::parse_mark;

use super::flags::{FlagKind, Flags};
use super::{InstructionError, Refusal, Written};

const COMMON_FLAGS: [(&str, FlagKind); 4] =
    [("chown", FlagKind::One), ("chmod", FlagKind::One), ("link", FlagKind::Boolean), ("exclude", FlagKind::Many)];

pub(crate) fn parse_copy(written: &Written<'_>) -> Result<Copy, Refusal> {
    let accepted = [COMMON_FLAGS.as_slice(), &[("from", FlagKind::One), ("parents", FlagKind::Boolean)]].concat();
    let (transfer, mut flags) = parse_transfer(written, "COPY", &accepted)?;
    Ok(Copy { transfer, from: flags.take_filled("from"), parents: flags.truth("parents").unwrap_or(false) })
}

pub(crate) fn parse_add(written: &Written<'_>) -> Result<Add, Refusal> {
    let own = [("keep-git-dir", FlagKind::Boolean), ("checksum", FlagKind::One), ("unpack", FlagKind::Boolean)];
    let accepted = [COMMON_FLAGS.as_slice(), &own].concat();
    let (transfer, mut flags) = parse_transfer(written, "ADD", &accepted)?;
    let (keep_git_dir, checksum, unpack) =
        (flags.truth("keep-git-dir"), flags.take_filled("checksum"), flags.truth("unpack"));
    Ok(Add { transfer, keep_git_dir, checksum, unpack })
}

fn parse_transfer(
    written: &Written<'_>,
    instruction: &'static str,
    accepted: &[(&'static str, FlagKind)],
) -> Result<(Transfer, Flags), Refusal> {
    let list = written.list()?;
    let mut words = list.words;
    if words.len() < 2 {
        return Err(InstructionError::NoDestination { instruction }.into());
    }
    let mut flags = Flags::parse(&written.head.flags, accepted, written)?;
    let is_mark = |word: &Word| !list.is_json && matches!(parse_mark(&word.text), Ok(Some(_)));
    let destination = words.pop().unwrap_or_default();
    if is_mark(&destination) {
        return Err(Refusal::at(InstructionError::HeredocDestination { instruction }, destination.span));
    }
    let transfer = Transfer {
        sources: words.into_iter().filter(|word| !is_mark(word)).collect(),
        heredocs: written.heredocs.clone(),
        destination,
        chown: flags.take_filled("chown"),
        chmod: flags.take_filled("chmod"),
        link: flags.truth("link").unwrap_or(false),
        exclude: flags.take_all("exclude").into_iter().map(|word| word.text).collect(),
    };
    Ok((transfer, flags))
}
