//! What can be asked of a Dockerfile besides building it, as data: `--call outline`, `--call targets`, `--call check`.
//!
//! The JSON is that of BuildKit's subrequests, so that what reads the one reads the other; lines are counted from 1.

mod check;
mod location;
mod outline;
mod targets;

pub use check::{BuildError, CheckReport, CheckSource, CheckWarning};
pub use location::{Location, Point, Range};
pub use outline::{Outline, OutlineAgent, OutlineArgument, OutlineSecret};
pub use targets::{Target, Targets, targets};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serializer;

/// Writes text as base64, as Go writes bytes in JSON.
fn as_base64<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(text))
}

/// Writes texts as base64.
fn all_as_base64<S: Serializer>(texts: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(texts.iter().map(|text| STANDARD.encode(text)))
}
