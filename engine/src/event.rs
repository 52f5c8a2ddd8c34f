//! What happens during a build, as one stream of a closed enum. Terminal, plain and JSON progress, the build history and later protocols are renderings of it.

use std::time::Duration;

use frontend::diagnostic::Diagnostic;
use oci::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

/// One thing that happened.
///
/// For each step: [`Event::Started`] comes first and once, [`Event::Finished`] comes last and once, and everything between names a step that is running.
/// A step that nothing came of because another failed is only finished, with [`Outcome::Cancelled`] or [`Outcome::NotRun`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// A step began: it is looked up or run.
    Started(StepStarted),
    /// A step's command wrote something.
    Output(StepOutput),
    /// A part of a step made progress: a download, an export.
    Progress(StepProgress),
    /// A step ended.
    Finished(StepFinished),
    /// Something the user should know; the build goes on.
    Warning(Warning),
    /// What a step's command used; comes before its end.
    Usage(StepUsage),
    /// Why a step ran; comes after all steps have ended.
    Reason(StepReason),
}

/// A step began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepStarted {
    /// Names the step in this build: its vertex's digest, or the digest of its name for the builder's own steps.
    pub step: Digest,
    /// `[build 2/4] RUN make`, or `[internal] load build context`.
    pub name: String,
    /// The steps that it needs.
    pub inputs: Vec<Digest>,
    /// When it began.
    pub at: Timestamp,
}

/// A step's command wrote something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepOutput {
    /// The step.
    pub step: Digest,
    /// Where it wrote to.
    pub stream: Stream,
    /// What it wrote: any bytes, not cut at line ends.
    #[serde(with = "text_or_bytes")]
    pub bytes: Vec<u8>,
    /// When.
    pub at: Timestamp,
}

/// Where a command wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A part of a step made progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepProgress {
    /// The step.
    pub step: Digest,
    /// Names the part within the step, in the words that are shown: `sha256:4abc…`, `exporting layers`.
    pub id: String,
    /// How much is done, in bytes; 0 where the part has no size.
    pub current_bytes: u64,
    /// How much there is, in bytes; `None` where that is unknown or the part has no size.
    pub total_bytes: Option<u64>,
    /// When the part began.
    pub started: Timestamp,
    /// When the part ended; `None` while it goes on.
    pub completed: Option<Timestamp>,
    /// When this was reported.
    pub at: Timestamp,
}

/// A step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFinished {
    /// The step.
    pub step: Digest,
    /// Its name, since a step that was never started is named only here.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was run.
    Done,
    /// A result from before was used.
    Cached,
    /// It was run and failed; the text says why.
    Failed(String),
    /// It was running when another step failed or the user stopped the build.
    Cancelled,
    /// It was never run, because a step that it needs failed or the build was stopped.
    NotRun,
}

/// Something the user should know; the build goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// The step that it is about: for build checks, the loading of the Dockerfile.
    pub step: Digest,
    /// The whole message in one line: `MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)`.
    pub short: String,
    /// What the rule is about, in one sentence; may be empty.
    pub detail: String,
    /// Where to read more; may be empty.
    pub url: String,
    /// The place in a file.
    pub excerpt: Option<Excerpt>,
    /// What was found in the Dockerfile, where that is what it is about; the history of builds does not keep it.
    #[serde(skip)]
    pub diagnostic: Option<Box<Diagnostic>>,
}

/// What a step's command used, in all of its attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepUsage {
    /// The step.
    pub step: Digest,
    /// Time that programs took, in millionths of a second.
    pub cpu_user_micros: u64,
    /// Time that the kernel took for them, in millionths of a second.
    pub cpu_system_micros: u64,
    /// The most memory that was in use; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// The size of the files of the layer that it left; `None` where it left none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
    /// How often it was run.
    pub attempts: u32,
}

impl StepUsage {
    /// Returns the time that programs took.
    pub fn cpu_user(&self) -> Duration {
        Duration::from_micros(self.cpu_user_micros)
    }

    /// Returns the time that the kernel took for them.
    pub fn cpu_system(&self) -> Duration {
        Duration::from_micros(self.cpu_system_micros)
    }

    /// Returns both together.
    pub fn cpu(&self) -> Duration {
        self.cpu_user().saturating_add(self.cpu_system())
    }
}

/// Why a step ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReason {
    /// The step.
    pub step: Digest,
    /// Its name.
    pub name: String,
    /// The first difference that made it run, in one line: `context file src/a.c: content changed`.
    pub reason: String,
}

/// Lines of a Dockerfile to be shown with a warning or an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    /// The file's name as the user gave it.
    pub file: String,
    /// The number of the first line in `lines`, from 1.
    pub first_line: u32,
    /// The lines, some before and after those that are meant.
    pub lines: Vec<String>,
    /// The first line that is meant, by its number in the file.
    pub marked_start: u32,
    /// The last line that is meant, by its number in the file.
    pub marked_end: u32,
    /// Where only a part of one line is meant: its line, its first character and the one behind its last, all counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<ExcerptPart>,
}

/// A part of one line of an excerpt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExcerptPart {
    /// The line, by its number in the file.
    pub line: u32,
    /// The first character of the part, counted from 1.
    pub start: u32,
    /// The character behind its last one.
    pub end: u32,
}

/// Bytes as a text where they are one, so that logs can be read and searched, and else as numbers.
mod text_or_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum TextOrBytes<'a> {
        Text(std::borrow::Cow<'a, str>),
        Bytes(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => TextOrBytes::Text(text.into()),
            Err(_) => TextOrBytes::Bytes(bytes.to_vec()),
        }
        .serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        Ok(match TextOrBytes::deserialize(from)? {
            TextOrBytes::Text(text) => text.into_owned().into_bytes(),
            TextOrBytes::Bytes(bytes) => bytes,
        })
    }
}
