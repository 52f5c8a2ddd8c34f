//! From the parts of an instruction to what it says.
//!
//! **Invariant:** looks at one instruction at a time; what instructions mean together is lowering's business.

mod csv;
mod error;
mod flags;
mod health;
mod pairs;
mod run;
mod transfer;
mod written;

pub use error::InstructionError;

pub use csv::{CsvError, csv_fields};
pub(crate) use error::Refusal;
pub(crate) use written::Written;

use crate::ast::{Command, CommandLine, Stage, Word};
use crate::go;
use crate::source::Span;
use crate::suggest;
use crate::syntax::{Json, json};
use flags::{FlagKind, Flags};

/// The keywords, in upper case.
pub(crate) const KEYWORDS: &[&str] = &[
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What an instruction is in the tree.
pub(crate) enum Parsed {
    /// The beginning of a stage, without instructions.
    Stage(Box<Stage>),
    /// An instruction within a stage.
    Command(Command),
}

/// Reads an instruction.
pub(crate) fn parse(written: &Written<'_>) -> Result<Parsed, Refusal> {
    let keyword = written.head.keyword;
    let command = match keyword.to_ascii_uppercase().as_str() {
        "FROM" => return parse_from(written).map(|stage| Parsed::Stage(Box::new(stage))),
        "ARG" => Command::Arg(pairs::parse_arguments(written)?),
        "ENV" => Command::Env(pairs::parse_pairs(written, "ENV")?),
        "LABEL" => Command::Label(pairs::parse_pairs(written, "LABEL")?),
        "RUN" => Command::Run(Box::new(run::parse_run(written)?)),
        "CMD" => Command::Cmd(parse_command_line(written)?),
        "ENTRYPOINT" => Command::Entrypoint(parse_command_line(written)?),
        "COPY" => Command::Copy(Box::new(transfer::parse_copy(written)?)),
        "ADD" => Command::Add(Box::new(transfer::parse_add(written)?)),
        "WORKDIR" => Command::Workdir(parse_one(written, "WORKDIR")?),
        "USER" => Command::User(parse_one(written, "USER")?),
        // Docker reads no flags here, and does not mind them.
        "STOPSIGNAL" => Command::StopSignal(one_argument(written, "STOPSIGNAL")?),
        "MAINTAINER" => Command::Maintainer(parse_one(written, "MAINTAINER")?.text),
        "EXPOSE" => Command::Expose(parse_expose(written)?),
        "VOLUME" => Command::Volume(parse_volume(written)?),
        "HEALTHCHECK" => Command::HealthCheck(health::parse_health_check(written)?),
        "SHELL" => Command::Shell(parse_shell(written)?),
        "ONBUILD" => Command::OnBuild(parse_on_build(written)?),
        upper => {
            let suggestion = unknown_suggestion(keyword, upper);
            let error = InstructionError::Unknown { keyword: keyword.to_owned(), suggestion };
            return Err(Refusal::at(error, written.keyword_span()));
        }
    };
    Ok(Parsed::Command(command))
}

/// Returns the keyword that is meant, in the case in which the wrong one is written.
fn unknown_suggestion(keyword: &str, upper: &str) -> String {
    let lower = keyword == keyword.to_lowercase();
    match suggest::nearest(upper, KEYWORDS.iter().copied()) {
        Some(meant) if lower => format!(" (did you mean {}?)", meant.to_lowercase()),
        Some(meant) => format!(" (did you mean {meant}?)"),
        None => String::new(),
    }
}

fn parse_from(written: &Written<'_>) -> Result<Stage, Refusal> {
    let arguments = written.fields();
    let (base, name) = match arguments.as_slice() {
        [base] => (base, None),
        [base, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => (base, Some((keyword, name))),
        _ => return Err(InstructionError::FromArguments.into()),
    };
    let lower = name.map(|(_, name)| name.text.to_lowercase());
    if let (Some((_, written_name)), Some(lower)) = (name, &lower)
        && !is_stage_name(lower)
    {
        let error = InstructionError::StageName { name: go::quote(&written_name.text) };
        return Err(Refusal::at(error, written_name.span));
    }
    let mut flags = Flags::parse(&written.head.flags, &[("platform", FlagKind::One)], written)?;
    Ok(Stage {
        site: written.site(),
        base: base.clone(),
        platform: flags.take_filled("platform"),
        description: lower.as_deref().and_then(|name| written.description(name)),
        written_name: name.map(|(keyword, name)| (keyword.text.clone(), name.text.clone())),
        name: lower,
        instructions: Vec::new(),
    })
}

/// Accepts what `^[a-z][a-z0-9-_.]*$` matches.
fn is_stage_name(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase()) && name.bytes().all(rest)
}

/// `CMD` and `ENTRYPOINT`.
fn parse_command_line(written: &Written<'_>) -> Result<CommandLine, Refusal> {
    let line = command_line(written.arguments().text.as_str(), written.arguments().span)?;
    Flags::none(written)?;
    Ok(line)
}

/// Reads a command in one of its two forms.
pub(crate) fn command_line(text: &str, span: Span) -> Result<CommandLine, Refusal> {
    match json(text) {
        Json::Strings(list) => Ok(CommandLine::Exec(list)),
        Json::NotStrings => Err(Refusal::at(InstructionError::NotStrings, span)),
        Json::Not => Ok(CommandLine::Shell(text.to_owned())),
    }
}

/// Reads all that stands behind the keyword as one argument.
fn one_argument(written: &Written<'_>, instruction: &'static str) -> Result<Word, Refusal> {
    let argument = written.arguments();
    if argument.text.is_empty() {
        Err(InstructionError::ExactlyOneArgument { instruction }.into())
    } else {
        Ok(argument)
    }
}

fn parse_one(written: &Written<'_>, instruction: &'static str) -> Result<Word, Refusal> {
    let argument = one_argument(written, instruction)?;
    Flags::none(written)?;
    Ok(argument)
}

fn parse_expose(written: &Written<'_>) -> Result<Vec<Word>, Refusal> {
    let mut ports = written.fields();
    if ports.is_empty() {
        return Err(InstructionError::AtLeastOneArgument { instruction: "EXPOSE" }.into());
    }
    Flags::none(written)?;
    ports.sort_by(|a, b| a.text.cmp(&b.text));
    Ok(ports)
}

fn parse_volume(written: &Written<'_>) -> Result<Vec<Word>, Refusal> {
    let mut volumes = written.list()?.words;
    if volumes.is_empty() {
        return Err(InstructionError::AtLeastOneArgument { instruction: "VOLUME" }.into());
    }
    Flags::none(written)?;
    for volume in &mut volumes {
        volume.text = volume.text.trim().to_owned();
        if volume.text.is_empty() {
            return Err(Refusal::at(InstructionError::VolumeEmpty, volume.span));
        }
    }
    Ok(volumes)
}

fn parse_shell(written: &Written<'_>) -> Result<Vec<String>, Refusal> {
    let arguments = written.arguments();
    let line = command_line(&arguments.text, arguments.span)?;
    Flags::none(written)?;
    match line {
        CommandLine::Exec(list) if !list.is_empty() => Ok(list),
        CommandLine::Shell(text) if !text.is_empty() => {
            let refusal = Refusal::at(InstructionError::ShellNotJson, arguments.span);
            // A path such as `"c:\windows"` is the usual reason why what looks like JSON is none.
            let backslashes = text.contains('[') && text.contains(":\\") && !text.contains("\\\\");
            Err(if backslashes {
                refusal.with_hint("JSON requires back-slashes to be escaped: `[\"c:\\\\path\\\\to\\\\file.exe\"]`")
            } else {
                refusal
            })
        }
        _ => Err(InstructionError::AtLeastOneArgument { instruction: "SHELL" }.into()),
    }
}

fn parse_on_build(written: &Written<'_>) -> Result<String, Refusal> {
    let trigger = written.arguments();
    if trigger.text.is_empty() {
        return Err(InstructionError::AtLeastOneArgument { instruction: "ONBUILD" }.into());
    }
    Flags::none(written)?;
    let inner = written.inner();
    let keyword = inner.head.keyword.to_ascii_uppercase();
    match keyword.as_str() {
        "ONBUILD" => return Err(Refusal::at(InstructionError::OnBuildChain, inner.keyword_span())),
        "MAINTAINER" | "FROM" => {
            return Err(Refusal::at(InstructionError::OnBuildTrigger { instruction: keyword }, inner.keyword_span()));
        }
        _ => inner.check_words()?,
    }
    // The text is kept as it is written, blanks at its end included, and each heredoc behind it.
    let mut text = written.line[written.head.keyword.len()..].trim_start().to_owned();
    for heredoc in &written.heredocs {
        text.push('\n');
        text.push_str(&heredoc.content);
        text.push_str(&heredoc.name);
    }
    Ok(text)
}
