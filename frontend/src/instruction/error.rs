//! Why an instruction is refused, in the words that Docker's users search for.

use crate::expand::Problem;
use crate::go::DurationParseError;
use crate::source::Span;

use super::CsvError;

/// Why an instruction is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstructionError {
    /// There is no such instruction.
    #[error("unknown instruction: {keyword}{suggestion}")]
    Unknown {
        /// The keyword as it is written.
        keyword: String,
        /// ` (did you mean RUN?)`, or nothing.
        suggestion: String,
    },
    /// There are no arguments.
    #[error("{instruction} requires at least one argument")]
    AtLeastOneArgument {
        /// The keyword.
        instruction: &'static str,
    },
    /// There is no argument where one must be.
    #[error("{instruction} requires exactly one argument")]
    ExactlyOneArgument {
        /// The keyword.
        instruction: &'static str,
    },
    /// `COPY` or `ADD` has only one argument.
    #[error(
        "{instruction} requires at least two arguments, but only one was provided. Destination could not be determined"
    )]
    NoDestination {
        /// The keyword.
        instruction: &'static str,
    },
    /// The destination of `COPY` or `ADD` is a heredoc.
    #[error("{instruction} cannot accept a heredoc as a destination")]
    HeredocDestination {
        /// The keyword.
        instruction: &'static str,
    },
    /// A name is empty.
    #[error("{instruction} names can not be blank")]
    BlankName {
        /// The keyword.
        instruction: &'static str,
    },
    /// `ENV` or `LABEL` has a key alone.
    #[error("{instruction} must have two arguments")]
    TwoArguments {
        /// The keyword.
        instruction: &'static str,
    },
    /// A word behind a pair is no pair.
    #[error("Syntax error - can't find = in {word}. Must be of the form: name=value")]
    NoEquals {
        /// The word, quoted.
        word: String,
    },
    /// A JSON array has something else than strings in it.
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    NotStrings,
    /// `FROM` has the wrong number of arguments.
    #[error("FROM requires either one or three arguments")]
    FromArguments,
    /// A stage's name has characters that no name has.
    #[error("invalid name for build stage: {name}, name can't start with a number or contain symbols")]
    StageName {
        /// The name, quoted.
        name: String,
    },
    /// There is no such flag.
    #[error("unknown flag: --{flag}{suggestion}")]
    UnknownFlag {
        /// The flag's name.
        flag: String,
        /// ` (did you mean chown?)`, or nothing.
        suggestion: String,
    },
    /// A flag that may be given once is given twice.
    #[error("duplicate flag specified: --{flag}")]
    DuplicateFlag {
        /// The flag's name.
        flag: String,
    },
    /// A flag has no value.
    #[error("missing a value on flag: --{flag}")]
    FlagValue {
        /// The flag's name.
        flag: String,
    },
    /// A flag's value is neither `true` nor `false`.
    #[error("expecting boolean value for flag --{flag}, not: {value}")]
    FlagBoolean {
        /// The flag's name.
        flag: String,
        /// Its value.
        value: String,
    },
    /// `ONBUILD` of `ONBUILD`.
    #[error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")]
    OnBuildChain,
    /// `ONBUILD` of an instruction that cannot be one.
    #[error("{instruction} isn't allowed as an ONBUILD trigger")]
    OnBuildTrigger {
        /// The instruction.
        instruction: String,
    },
    /// `HEALTHCHECK NONE` has arguments.
    #[error("HEALTHCHECK NONE takes no arguments")]
    HealthNoneArguments,
    /// `HEALTHCHECK CMD` has no command.
    #[error("Missing command after HEALTHCHECK CMD")]
    HealthCommand,
    /// The word behind `HEALTHCHECK` is neither `CMD` nor `NONE`.
    #[error("Unknown type {kind} in HEALTHCHECK (try CMD)")]
    HealthType {
        /// The word, quoted.
        kind: String,
    },
    /// A duration is none.
    #[error(transparent)]
    Duration(#[from] DurationParseError),
    /// A duration of `HEALTHCHECK` is too short.
    #[error("Interval \"{flag}\" cannot be less than 1ms")]
    ShortInterval {
        /// The flag's name.
        flag: &'static str,
    },
    /// The number of retries is none.
    #[error("strconv.ParseInt: parsing {value}: {problem}")]
    Number {
        /// The value, quoted.
        value: String,
        /// `invalid syntax` or `value out of range`.
        problem: &'static str,
    },
    /// The number of retries is below zero.
    #[error("--retries cannot be negative ({retries})")]
    NegativeRetries {
        /// The number.
        retries: i64,
    },
    /// A volume has no path.
    #[error("VOLUME specified can not be an empty string")]
    VolumeEmpty,
    /// `SHELL` has text that is not JSON.
    #[error("SHELL requires the arguments to be in JSON form")]
    ShellNotJson,
    /// `--network` has an unknown value.
    #[error("invalid network mode {mode}")]
    Network {
        /// The value, quoted.
        mode: String,
    },
    /// `--security` has an unknown value.
    #[error("security {mode} is not valid")]
    Security {
        /// The value, quoted.
        mode: String,
    },
    /// The source of a mount has variables.
    #[error("'from' doesn't support variable expansion, define alias stage instead")]
    MountFromVariable,
    /// A flag's value is no list of fields.
    #[error("failed to parse csv {what}: {source}")]
    Csv {
        /// `mounts` or `devices`.
        what: &'static str,
        /// What is wrong with it.
        source: CsvError,
    },
    /// A device has two names.
    #[error("device name already set to {name}")]
    DeviceName {
        /// The first one.
        name: String,
    },
    /// A field of a device has no value.
    #[error("invalid field '{field}' must be a key=value pair")]
    DeviceField {
        /// The field.
        field: String,
    },
    /// A field of a device has a wrong value.
    #[error("invalid value for {key}: {value}")]
    DeviceValue {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A field of a device is not known.
    #[error("unexpected key '{key}' in '{field}'{suggestion}")]
    DeviceKey {
        /// The key.
        key: String,
        /// The field.
        field: String,
        /// ` (did you mean required?)`, or nothing.
        suggestion: String,
    },
    /// The end of a heredoc is missing.
    #[error("unterminated heredoc")]
    UnterminatedHeredoc,
    /// The word that announces a heredoc has quotes that do not match.
    #[error("{0}")]
    HeredocName(Problem),
    /// An instruction other than `ARG` stands in front of the first stage.
    #[error("no build stage in current context")]
    NoStage,
}

impl InstructionError {
    /// Returns the message; where Docker names the line in the text itself, so does this.
    pub fn message(&self, line: u32) -> String {
        if self.is_of_text() || matches!(self, Self::NoStage) {
            self.to_string()
        } else {
            format!("dockerfile parse error on line {line}: {self}")
        }
    }

    /// Tells whether it is about how the text is written rather than about what the instruction says: it is found before instructions are told apart.
    pub(crate) fn is_of_text(&self) -> bool {
        matches!(
            self,
            Self::NotStrings
                | Self::TwoArguments { .. }
                | Self::NoEquals { .. }
                | Self::UnterminatedHeredoc
                | Self::HeredocName(_)
        )
    }

    /// Returns what to do, where that is not plain.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoStage => "begin the file with FROM; only ARG may stand in front of it",
            Self::UnterminatedHeredoc => {
                "end the heredoc with a line that has only its name, without blanks before or behind it"
            }
            Self::FromArguments => "write `FROM image` or `FROM image AS name`",
            Self::FlagValue { .. } => "write the value behind `=`, without blanks",
            Self::NotStrings => "quote every element: `[\"sleep\", \"1\"]`",
            _ => return None,
        })
    }
}

/// An error and the part of the instruction that it is about.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What is wrong.
    pub(crate) error: InstructionError,
    /// Where; `None` is the whole instruction.
    pub(crate) span: Option<Span>,
    /// What to do.
    pub(crate) hint: Option<String>,
}

impl Refusal {
    /// Returns the refusal of a part of an instruction.
    pub(crate) fn at(error: InstructionError, span: Span) -> Self {
        Self { span: Some(span), ..error.into() }
    }

    /// Adds what to do.
    pub(crate) fn with_hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }
}

impl From<InstructionError> for Refusal {
    fn from(error: InstructionError) -> Self {
        let hint = error.hint().map(str::to_owned);
        Self { error, span: None, hint }
    }
}
