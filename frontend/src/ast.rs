//! The tree that a Dockerfile is parsed into: stages, instructions, and what each instruction says.
//!
//! Words that lowering substitutes are kept as they are written, with their quotes. What a word means is not decided here.

use llb::LineRange;
use oci::HealthCheck;
use serde::Serialize;

use crate::source::{Source, Span};
use crate::syntax::{Directive, Escape, Heredoc};

/// A Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dockerfile {
    /// The text, without the mark of its encoding.
    pub source: Source,
    /// The escape character.
    pub escape: Escape,
    /// The directives at the top.
    pub directives: Vec<Directive>,
    /// The `ARG` instructions in front of the first stage.
    pub global_args: Vec<GlobalArg>,
    /// The stages, in order.
    pub stages: Vec<Stage>,
    /// What each byte of the text belongs to: the pieces follow each other without gaps and are the whole text.
    pub pieces: Vec<Piece>,
}

/// A part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// What it is.
    pub kind: PieceKind,
    /// Where it is.
    pub span: Span,
}

/// What a part of the text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PieceKind {
    /// A directive's line.
    Directive,
    /// A comment's line.
    Comment,
    /// A line without anything.
    Blank,
    /// The lines of an instruction, with its heredocs.
    Instruction,
    /// What was not read, because a limit was exceeded in front of it.
    Unread,
}

/// An `ARG` instruction in front of the first stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalArg {
    /// Where it stands.
    pub site: Site,
    /// The arguments that it declares.
    pub args: Vec<Argument>,
}

/// A stage: a base and the instructions on top of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Where its `FROM` stands.
    pub site: Site,
    /// The base, with its variables: `golang:${VERSION}`, or the name of an earlier stage.
    pub base: Word,
    /// The value of `--platform`.
    pub platform: Option<Word>,
    /// The name, in lower case.
    pub name: Option<String>,
    /// The name as it is written, and the `AS` in front of it.
    pub written_name: Option<(String, String)>,
    /// What the comment above says of the stage.
    pub description: Option<String>,
    /// The instructions, in order.
    pub instructions: Vec<Instruction>,
}

/// An instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Where it stands.
    pub site: Site,
    /// What it says.
    pub command: Command,
}

/// Where an instruction stands, and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The keyword as it is written.
    pub keyword: String,
    /// The instruction as one line: its lines joined, without comments and without heredocs.
    pub line: String,
    /// Its lines in the file, with its heredocs.
    pub span: Span,
    /// The numbers of these lines.
    pub lines: LineRange,
    /// The comments above it, each without its `#`; an empty comment forgets those above.
    pub comments: Vec<String>,
    /// The last line of the instruction without its heredocs, where an empty line stands between its lines.
    pub hollow_end: Option<u32>,
}

/// A part of an instruction and where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// The text, with its variables and quotes.
    pub text: String,
    /// Where it stands in the file.
    pub span: Span,
}

/// What an instruction says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `ARG`.
    Arg(Vec<Argument>),
    /// `ENV`.
    Env(Vec<Pair>),
    /// `LABEL`.
    Label(Vec<Pair>),
    /// `RUN`.
    Run(Box<Run>),
    /// `CMD`.
    Cmd(CommandLine),
    /// `ENTRYPOINT`.
    Entrypoint(CommandLine),
    /// `COPY`.
    Copy(Box<Copy>),
    /// `ADD`.
    Add(Box<Add>),
    /// `WORKDIR`.
    Workdir(Word),
    /// `USER`.
    User(Word),
    /// `EXPOSE`; the ports are sorted.
    Expose(Vec<Word>),
    /// `VOLUME`.
    Volume(Vec<Word>),
    /// `STOPSIGNAL`.
    StopSignal(Word),
    /// `HEALTHCHECK`.
    HealthCheck(HealthCheck),
    /// `SHELL`.
    Shell(Vec<String>),
    /// `ONBUILD`: the instruction as text, with its heredocs.
    OnBuild(String),
    /// `MAINTAINER`.
    Maintainer(String),
}

/// `NAME` or `NAME=default`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// The name.
    pub name: String,
    /// The default, with its variables.
    pub default: Option<String>,
    /// What a comment above says of it.
    pub description: Option<String>,
    /// Where it stands.
    pub span: Span,
}

/// A key and a value, both with their variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// Whether a blank stands between them instead of `=`.
    pub legacy: bool,
    /// Where the pair stands.
    pub span: Span,
}

/// A command in one of its two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// A line for the shell.
    Shell(String),
    /// A program and its arguments; may be empty.
    Exec(Vec<String>),
}

/// What `RUN` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The command.
    pub command: CommandLine,
    /// The heredocs, in order.
    pub heredocs: Vec<Heredoc>,
    /// The values of `--mount`.
    pub mounts: Vec<Word>,
    /// The value of `--network`.
    pub network: Option<NetworkFlag>,
    /// Whether `--security=insecure` is set.
    pub insecure: bool,
    /// The devices by name, with whether each is required.
    pub devices: Vec<(String, bool)>,
}

/// The value of `--network`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkFlag {
    /// The request's network.
    Default,
    /// Only the loopback interface.
    None,
    /// The host's own.
    Host,
}

/// What `COPY` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// What it shares with `ADD`.
    pub transfer: Transfer,
    /// The value of `--from`.
    pub from: Option<Word>,
    /// Whether `--parents` is set.
    pub parents: bool,
}

/// What `ADD` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// What it shares with `COPY`.
    pub transfer: Transfer,
    /// The value of `--keep-git-dir`, which also says that the source is a git repository.
    pub keep_git_dir: Option<bool>,
    /// The value of `--checksum`.
    pub checksum: Option<Word>,
    /// The value of `--unpack`.
    pub unpack: Option<bool>,
}

/// What `COPY` and `ADD` have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The sources that are no heredocs.
    pub sources: Vec<Word>,
    /// The sources that are heredocs.
    pub heredocs: Vec<Heredoc>,
    /// Where they go.
    pub destination: Word,
    /// The value of `--chown`.
    pub chown: Option<Word>,
    /// The value of `--chmod`.
    pub chmod: Option<Word>,
    /// Whether `--link` is set.
    pub link: bool,
    /// The values of `--exclude`.
    pub exclude: Vec<String>,
}

impl Dockerfile {
    /// Returns the names of the stages that have one, in order.
    pub fn stage_names(&self) -> impl Iterator<Item = &str> {
        self.stages.iter().filter_map(|stage| stage.name.as_deref())
    }
}

impl Site {
    /// Returns the keyword in upper case.
    pub fn name(&self) -> String {
        self.keyword.to_uppercase()
    }

    /// Returns the instruction as one line without blanks around it.
    pub fn code(&self) -> &str {
        self.line.trim()
    }
}

impl Instruction {
    /// Returns the heredocs that stand behind the instruction.
    pub fn heredocs(&self) -> &[Heredoc] {
        match &self.command {
            Command::Run(run) => &run.heredocs,
            Command::Copy(copy) => &copy.transfer.heredocs,
            Command::Add(add) => &add.transfer.heredocs,
            _ => &[],
        }
    }
}
