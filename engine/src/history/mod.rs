//! The history of builds: what each was asked for, its steps with times, outcomes and reasons, all that its commands wrote, and what came of it.
//!
//! ```text
//! history/<began>-<project>-<id>   one build: JSON, one object a line (`record::Line`): what was asked, events as they happened, facts of the steps, the end
//! history/files/<pin>              what a step saw of a build context, by the digest in its key; see `listing`
//! ```
//! `began` is the time in nanoseconds since 1970 and `project` stands for context and Dockerfile, so that a listing of the directory, sorted, finds the last build of a
//! project. The file of a build that runs is locked by flock(2). Nothing waits for the disk: after a power cut, builds may be missing.
//!
//! **Invariant:** a build never fails for the sake of its history.

mod bound;
mod explain;
mod facts;
pub(crate) mod listing;
mod read;
mod record;
mod write;

pub use read::{BuildDetails, BuildStatus, BuildStep, BuildSummary};
pub use record::BuildEnd;

pub(crate) use explain::Explainer;
pub(crate) use facts::StepFacts;
pub(crate) use read::Former;
pub(crate) use record::project_of;
pub(crate) use write::Recording;
