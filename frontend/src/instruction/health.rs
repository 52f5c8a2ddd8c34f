//! `HEALTHCHECK`.

use oci::HealthCheck;

use crate::ast::{CommandLine, Word};
use crate::go;

use super::flags::{FlagKind, Flags};
use super::{InstructionError, Refusal, Written, command_line};

const FLAGS: [(&str, FlagKind); 5] = [
    ("interval", FlagKind::One),
    ("timeout", FlagKind::One),
    ("start-period", FlagKind::One),
    ("start-interval", FlagKind::One),
    ("retries", FlagKind::One),
];
const INTERVAL_NANOSECONDS_MIN: i64 = 1_000_000;

pub(crate) fn parse_health_check(written: &Written<'_>) -> Result<HealthCheck, Refusal> {
    let arguments = written.arguments();
    if arguments.text.is_empty() {
        return Err(InstructionError::AtLeastOneArgument { instruction: "HEALTHCHECK" }.into());
    }
    let (kind, command) = arguments.text.split_once(char::is_whitespace).unwrap_or((&arguments.text, ""));
    let command = command.trim_start();
    let line = command_line(command, arguments.span)?;
    let kind = kind.to_uppercase();
    if kind == "NONE" {
        if !command.is_empty() {
            return Err(Refusal::at(InstructionError::HealthNoneArguments, arguments.span));
        }
        // Docker does not read the flags in this case, and does not mind them.
        return Ok(HealthCheck { test: vec![kind], ..HealthCheck::default() });
    }
    let mut flags = Flags::parse(&written.head.flags, &FLAGS, written)?;
    if kind != "CMD" {
        return Err(Refusal::at(InstructionError::HealthType { kind: go::quote(&kind) }, arguments.span));
    }
    let test = match line {
        CommandLine::Shell(text) if !text.is_empty() => vec!["CMD-SHELL".to_owned(), text],
        CommandLine::Exec(list) if !list.is_empty() => std::iter::once(kind).chain(list).collect(),
        _ => return Err(InstructionError::HealthCommand.into()),
    };
    Ok(HealthCheck {
        test,
        interval_nanoseconds: interval("interval", flags.take_filled("interval"))?,
        timeout_nanoseconds: interval("timeout", flags.take_filled("timeout"))?,
        start_period_nanoseconds: interval("start-period", flags.take_filled("start-period"))?,
        start_interval_nanoseconds: interval("start-interval", flags.take_filled("start-interval"))?,
        retries: flags.take_filled("retries").map(retries).transpose()?.unwrap_or(0),
    })
}

fn interval(flag: &'static str, value: Option<Word>) -> Result<i64, Refusal> {
    let Some(value) = value else { return Ok(0) };
    match go::parse_duration(&value.text) {
        Ok(nanoseconds) if nanoseconds != 0 && nanoseconds < INTERVAL_NANOSECONDS_MIN => {
            Err(Refusal::at(InstructionError::ShortInterval { flag }, value.span))
        }
        Ok(nanoseconds) => Ok(nanoseconds),
        Err(error) => Err(Refusal::at(error.into(), value.span)),
    }
}

fn retries(value: Word) -> Result<i64, Refusal> {
    let digits = value.text.strip_prefix(['+', '-']).unwrap_or(&value.text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let problem = if is_number { "value out of range" } else { "invalid syntax" };
    match value.text.parse::<i32>() {
        Ok(retries) if retries < 0 => {
            Err(Refusal::at(InstructionError::NegativeRetries { retries: retries.into() }, value.span))
        }
        Ok(retries) => Ok(retries.into()),
        Err(_) => Err(Refusal::at(InstructionError::Number { value: go::quote(&value.text), problem }, value.span)),
    }
}
