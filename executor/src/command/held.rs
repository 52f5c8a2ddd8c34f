//! What a command needs besides its own files: what it is given before it starts, and what is held until it has ended.

use layer::Stack;
use oci::Digest;
use store::{CacheDir, Snapshot};

use crate::network::Entered;
use crate::ssh::Relay;

/// What a mount of a step shows.
pub(crate) enum Bound {
    /// A snapshot, from `subpath` on.
    Snapshot {
        /// The snapshot.
        snapshot: Snapshot,
        /// A path in it.
        subpath: String,
    },
    /// A file that stands in the Dockerfile.
    Inline {
        /// Its content.
        content: String,
        /// Its permission bits.
        mode: u32,
    },
}

/// What a new cache mount is filled with.
#[derive(Clone)]
pub(crate) struct Seed {
    /// Stands for the files; mounts with different seeds are different ones.
    pub(crate) digest: Digest,
    /// Where they are.
    pub(crate) stack: Stack,
    /// The directory in it.
    pub(crate) path: String,
    /// Keeps the layers that nobody else does.
    pub(crate) _held: Snapshot,
}

/// What is let go of when a command has ended.
pub(super) struct Held {
    pub(super) network: Entered,
    /// The directories of cache mounts, by the place of the mount.
    pub(super) caches: Vec<(usize, CacheDir)>,
    pub(super) agents: Vec<Relay>,
}
