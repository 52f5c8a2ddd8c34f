//! How progress is shown: the mode that the user asks for, and what the environment adds in the variables that BuildKit reads.

use std::borrow::Cow;

use clap::ValueEnum;

use crate::format::text::printable;
use crate::progress::colours::{Colours, parse_colours};
use crate::progress::log_limit::{DEFAULT_LOG_LIMIT, LogLimit};
use crate::progress::warnings::Detail;

/// How many lines of output a running step shows on a terminal.
const OUTPUT_LINES: usize = 6;

/// The most of these that the environment can ask for.
const OUTPUT_LINES_MAX: usize = 500;

/// How long names are in plain text when the environment asks for short ones.
const SHORT_NAME_CHARACTERS: usize = 72;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// `tty` on a terminal, else `plain`.
    Auto,
    /// Nothing.
    None,
    /// Line by line, with all output of the steps.
    Plain,
    /// Nothing but the end of the output of steps that failed.
    Quiet,
    /// JSON, one object a line.
    #[value(name = "rawjson")]
    RawJson,
    /// A live tree of the steps.
    Tty,
}

/// Why progress cannot be shown as asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModeError {
    /// A tree was asked for where there is no terminal.
    #[error("cannot show progress as `tty`: the output is not a terminal; use `--progress plain`")]
    NotATerminal,
    /// The environment names no mode.
    #[error("invalid progress mode `{mode}` in BUILDKIT_PROGRESS: expected auto, none, plain, quiet, rawjson or tty")]
    UnknownMode {
        /// What it says.
        mode: String,
    },
}

/// Looks a variable up in the environment.
pub(crate) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// What the environment says about progress.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    /// What the tree says is going on.
    pub(super) title: &'static str,
    pub(super) colours: Colours,
    /// How many lines of output a running step shows on a terminal.
    pub(super) output_lines: usize,
    /// Whether plain text cuts long names.
    pub(super) names: Names,
    pub(super) log_limit: LogLimit,
    /// Whether plain text says what steps used.
    pub(super) detail: Detail,
}

/// How plain text shows the names of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    Whole,
    Short,
}

impl Mode {
    /// Returns the mode that holds when the user asked for `self`: what is `auto` is decided by BUILDKIT_PROGRESS.
    pub(super) fn with_environment(self, environment: Environment<'_>) -> Result<Self, ModeError> {
        match (self, environment("BUILDKIT_PROGRESS")) {
            (Self::Auto, Some(mode)) if !mode.is_empty() => {
                Self::from_str(&mode, true).map_err(|_| ModeError::UnknownMode { mode })
            }
            _ => Ok(self),
        }
    }
}

impl Settings {
    /// Reads the environment. What it says wrong is ignored, and a sentence about it is added to `complaints`.
    pub(super) fn from_environment(environment: Environment<'_>, complaints: &mut Vec<String>) -> Self {
        let mut number = |variable: &str| {
            let text = environment(variable).filter(|text| !text.is_empty())?;
            let number = text.parse::<i64>();
            if number.is_err() {
                complaints.push(format!("cannot use {variable}: expected a whole number, got `{text}`"));
            }
            number.ok()
        };
        let lines = number("BUILDKIT_TTY_LOG_LINES").and_then(|lines| usize::try_from(lines).ok());
        let size = number("BUILDKIT_STEP_LOG_MAX_SIZE");
        let speed = number("BUILDKIT_STEP_LOG_MAX_SPEED");
        // Zero and less mean unlimited.
        let limit = |number: i64| u64::try_from(number).ok().filter(|limit| *limit > 0);
        let log_limit = LogLimit {
            bytes_max: size.map_or(DEFAULT_LOG_LIMIT.bytes_max, limit),
            bytes_per_second_max: speed.map_or(DEFAULT_LOG_LIMIT.bytes_per_second_max, limit),
        };
        let names = if environment("PROGRESS_NO_TRUNC").as_deref() == Some("0") { Names::Short } else { Names::Whole };
        let colours = match environment("NO_COLOR").filter(|value| !value.is_empty()) {
            Some(_) => Colours::NONE,
            None => parse_colours(&environment("BUILDKIT_COLORS").unwrap_or_default(), complaints),
        };
        let output_lines = lines.filter(|lines| *lines > 0).unwrap_or(OUTPUT_LINES).min(OUTPUT_LINES_MAX);
        Self { title: "Building", colours, output_lines, names, log_limit, detail: Detail::Brief }
    }

    /// A step's name as plain text shows it.
    pub(super) fn plain_name<'n>(&self, name: &'n str) -> Cow<'n, str> {
        let name = printable(name);
        match name.char_indices().nth(SHORT_NAME_CHARACTERS) {
            Some((at, _)) if self.names == Names::Short => Cow::Owned(format!("{}...", &name[..at])),
            _ => name,
        }
    }
}
