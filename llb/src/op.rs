//! One operation: what a vertex does with its inputs.

use oci::Digest;
use serde::Serialize;

use crate::{Exec, FileAction, Source};

/// The most memory that is kept for the JSON of operations: more than all have but those with whole files in them.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// What a vertex does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Brings files in from outside; has no inputs and one output.
    Source(Source),
    /// Runs a command on top of input 0; output 0 is the changed root.
    Exec(Box<Exec>),
    /// Carries out actions, in order, on top of input 0; output 0 is the changed root.
    File(Vec<FileAction>),
    /// Stacks the layers that each further input adds to its own base on top of input 0 (`COPY --link`).
    Merge,
}

impl Op {
    /// Returns the digest of the whole operation: two with the same one are the same step of a graph.
    pub fn digest(&self) -> Digest {
        self.digest_by(&mut Vec::new())
    }

    /// Returns the digest of the whole operation. Its JSON is written to `json`, which keeps its memory for the next one unless that is much.
    pub(crate) fn digest_by(&self, json: &mut Vec<u8>) -> Digest {
        json.clear();
        json.shrink_to(KEPT_BYTES_MAX);
        serde_json::to_writer(&mut *json, self)
            .expect("operations have string keys and no floats, so JSON cannot fail");
        Digest::of(json)
    }

    /// Returns the digest of what the keys of the cache see of the operation; see [`Exec::keyed`] for what they do not.
    ///
    /// Which files of an input the operation sees is part of the input (see [`crate::Selection`]), so two copies of equal content from differently named
    /// directories have the same key digest.
    pub fn key_digest(&self) -> Digest {
        match self {
            Self::Exec(exec) => Self::Exec(Box::new(exec.keyed())).digest(),
            Self::Source(_) | Self::File(_) | Self::Merge => self.digest(),
        }
    }

    /// Tells whether keys see all of the operation, so that the two digests are one.
    pub(crate) fn is_keyed(&self) -> bool {
        !matches!(self, Self::Exec(exec) if !exec.is_keyed())
    }

    /// Returns the source where this is one.
    pub fn as_source(&self) -> Option<&Source> {
        match self {
            Self::Source(source) => Some(source),
            _ => None,
        }
    }
}
