//! Why a file that is well written cannot be lowered, in the words that Docker's users search for.

use llb::GraphError;

use crate::diagnostic::{Note, Place};
use crate::expand::{ExpandError, Problem};
use crate::git_url::GitUrlError;
use crate::instruction::CsvError;
use crate::limits::INSTRUCTIONS_MAX;
use crate::parse::TriggerError;
use crate::source::Span;

use super::ports::PortParseError;

/// Why a file cannot be lowered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LowerProblem {
    /// There is no `FROM`.
    #[error("dockerfile contains no stages to build")]
    NoStages,
    /// A word cannot be substituted.
    #[error(transparent)]
    Expand(#[from] ExpandError),
    /// A limit is exceeded.
    #[error("{0}")]
    Limit(Problem),
    /// The graph cannot take another step.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The options of the build checks are wrong.
    #[error("failed to parse {place}: {source}")]
    CheckOptions {
        /// Where they are from.
        place: &'static str,
        /// What is wrong with them.
        source: crate::checks::CheckOptionsParseError,
    },
    /// A base is an empty name.
    #[error("base name ({base}) should not be blank")]
    BlankBase {
        /// The base as it is written.
        base: String,
    },
    /// A base is no image's name.
    #[error("failed to parse stage name {base}: {source}")]
    BaseReference {
        /// The base, quoted.
        base: String,
        /// What is wrong with it.
        source: oci::ReferenceParseError,
    },
    /// A platform is an empty text.
    #[error("empty platform value from expression {expression}{suggestion}")]
    EmptyPlatform {
        /// The platform as it is written.
        expression: String,
        /// ` (did you mean TARGETPLATFORM?)`, or nothing.
        suggestion: String,
    },
    /// A platform is none.
    #[error("failed to parse platform {expression}: {source}{suggestion}")]
    Platform {
        /// The platform as it is written.
        expression: String,
        /// What is wrong with it.
        source: oci::PlatformParseError,
        /// ` (did you mean TARGETPLATFORM?)`, or nothing.
        suggestion: String,
    },
    /// A platform's variables cannot be substituted.
    #[error("failed to process arguments for platform {expression}: {source}")]
    PlatformWord {
        /// The platform as it is written.
        expression: String,
        /// What is wrong with it.
        source: ExpandError,
    },
    /// There is no such target.
    #[error("target stage {target} could not be found{suggestion}")]
    Target {
        /// The target, quoted.
        target: String,
        /// ` (did you mean build?)`, or nothing.
        suggestion: String,
    },
    /// There is no stage of this number.
    #[error("invalid stage index {index}")]
    StageIndex {
        /// The number.
        index: i64,
    },
    /// `COPY --from` has variables.
    #[error(
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround"
    )]
    FromVariable,
    /// Stages need each other.
    #[error("circular dependency detected on stage: {stage}")]
    Circular {
        /// One of them.
        stage: String,
    },
    /// `COPY --from` names a stage that comes later.
    #[error("cannot copy from stage {from}, it needs to be defined before current stage {stage}")]
    CopyFromLater {
        /// The later stage, quoted.
        from: String,
        /// The stage, quoted.
        stage: String,
    },
    /// `--mount=from=` names a stage that comes later.
    #[error("cannot mount from stage {from} to {target}, stage needs to be defined before current command")]
    MountFromLater {
        /// The later stage, quoted.
        from: String,
        /// The mount's target, quoted.
        target: String,
    },
    /// An image cannot be had.
    #[error("{name}: {problem}{suggestion}")]
    Image {
        /// The image as it is written.
        name: String,
        /// Why.
        problem: String,
        /// ` (did you mean alpine?)`, or nothing.
        suggestion: String,
    },
    /// A trigger of a base is wrong.
    #[error(transparent)]
    Trigger(#[from] TriggerError),
    /// An ignore file is wrong.
    #[error("failed parsing {name}: {source}")]
    Ignore {
        /// The file's name.
        name: String,
        /// What is wrong with it.
        source: llb::pattern::IgnoreError,
    },
    /// An exec form has no program.
    #[error("arguments are required")]
    NoCommand,
    /// A heredoc stands behind a command that is not for the shell.
    #[error("parsing produced an invalid run command: {command}")]
    HeredocCommand {
        /// The command.
        command: String,
    },
    /// A heredoc has a name that no file can have.
    #[error("heredoc name {name} cannot be the name of a file")]
    HeredocName {
        /// The name.
        name: String,
    },
    /// A pattern is wrong.
    #[error("{source}: {pattern}")]
    Pattern {
        /// The pattern, quoted.
        pattern: String,
        /// What is wrong with it.
        source: llb::pattern::BadPattern,
    },
    /// A pattern of `--exclude` is wrong.
    #[error("failed to parse --exclude: {0}")]
    Exclude(llb::pattern::IgnoreError),
    /// What `--chmod` says is not octal.
    #[error("invalid chmod parameter: '{mode}'. it should be octal string and between 0 and 07777")]
    Mode {
        /// What it says.
        mode: String,
    },
    /// What `--chmod` says is neither octal nor symbolic.
    #[error("invalid syntax in chmod parameter: '{mode}'")]
    ModeSyntax {
        /// What it says.
        mode: String,
    },
    /// `--checksum` stands there with several sources.
    #[error("checksum can't be specified for multiple sources")]
    ChecksumSources,
    /// `--checksum` stands there with a local source.
    #[error("checksum requires HTTP(S) or Git sources")]
    ChecksumLocal,
    /// What `--checksum` says is none.
    #[error(transparent)]
    Checksum(#[from] llb::ChecksumParseError),
    /// Address and flag name different checksums.
    #[error("checksum mismatch {flag} != {address}")]
    ChecksumMismatch {
        /// What the flag says, quoted.
        flag: String,
        /// What the address says, quoted.
        address: String,
    },
    /// The checksum of a repository is no hash of a commit, nor the beginning of one.
    #[error("invalid checksum {checksum} for Git source, expected hex commit hash")]
    GitChecksum {
        /// The checksum, quoted.
        checksum: String,
    },
    /// Address and flag disagree about `.git`.
    #[error("inconsistent keep-git-dir configuration")]
    KeepGitDir,
    /// The address of a git repository is wrong.
    #[error(transparent)]
    GitUrl(#[from] GitUrlError),
    /// `COPY` of a git repository.
    #[error("source can't be a git ref for COPY")]
    CopyGit,
    /// `COPY` of a URL.
    #[error("source can't be a URL for COPY")]
    CopyUrl,
    /// `VOLUME` of nothing.
    #[error("VOLUME specified can not be an empty string")]
    VolumeEmpty,
    /// A signal is not known.
    #[error("invalid signal: {signal}")]
    Signal {
        /// The signal.
        signal: String,
    },
    /// A port is wrong.
    #[error("invalid port: {raw}: {source}")]
    Port {
        /// The port, quoted.
        raw: String,
        /// What is wrong with it.
        source: PortParseError,
    },
    /// A mount is no list of fields.
    #[error("failed to parse csv mounts: {0}")]
    MountCsv(CsvError),
    /// A mount is wrong.
    #[error("{message}")]
    Mount {
        /// What is wrong with it.
        message: String,
    },
    /// A named context has a name that none can have.
    #[error("invalid context name {name}: {source}")]
    ContextName {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: oci::ReferenceParseError,
    },
    /// `SOURCE_DATE_EPOCH` is nothing that gives a time.
    #[error("invalid SOURCE_DATE_EPOCH: {value}")]
    Epoch {
        /// Its value.
        value: String,
    },
    /// The stage that `SOURCE_DATE_EPOCH` names is not made of one remote file.
    #[error("{message}")]
    EpochStage {
        /// What is wrong with it.
        message: String,
    },
    /// The value of `BUILDKIT_MULTI_PLATFORM` is wrong.
    #[error("{message}")]
    MultiPlatform {
        /// What is wrong with it.
        message: String,
    },
    /// Warnings were found where none may be.
    #[error("lint violation found for rules: {rules}")]
    Lint {
        /// The checks, sorted.
        rules: String,
    },
    /// Build arguments were given that no `ARG` takes.
    #[error("One or more build-args [{names}] were not consumed")]
    Unconsumed {
        /// The arguments, sorted.
        names: String,
    },
    /// The cache was to be ignored for stages that there are not.
    #[error("No stage is named as in --no-cache-filter [{names}]")]
    UnknownFilter {
        /// The names, in their order.
        names: String,
    },
    /// A stage is there for nothing.
    #[error("stage {stage} is not used by any other stage and is not the target")]
    UnusedStage {
        /// The stage, quoted.
        stage: String,
    },
    /// The base's triggers and the file's instructions are too many.
    #[error("the build has more than {INSTRUCTIONS_MAX} instructions")]
    TooManyInstructions,
}

/// A problem, and the part of the instruction that it is about.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) problem: Box<LowerProblem>,
    /// Where; `None` is the whole instruction.
    pub(super) span: Option<Span>,
    pub(super) hint: Option<String>,
    pub(super) notes: Vec<Note>,
}

impl Fault {
    /// Puts a problem at a part of the instruction.
    pub(super) fn at(problem: impl Into<LowerProblem>, span: Span) -> Self {
        Self { span: Some(span), ..problem.into().into() }
    }

    /// Adds another place that has to do with it.
    pub(super) fn with_note(mut self, message: impl ToString, place: Place) -> Self {
        self.notes.push(Note { message: message.to_string(), place: Some(place) });
        self
    }

    /// Adds what to do.
    pub(super) fn with_hint(mut self, hint: impl ToString) -> Self {
        self.hint = Some(hint.to_string());
        self
    }
}

impl<P: Into<LowerProblem>> From<P> for Fault {
    fn from(problem: P) -> Self {
        Self { problem: Box::new(problem.into()), span: None, hint: None, notes: Vec::new() }
    }
}

impl From<Problem> for LowerProblem {
    fn from(problem: Problem) -> Self {
        Self::Limit(problem)
    }
}
