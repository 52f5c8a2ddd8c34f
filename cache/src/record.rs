//! The records of the cache, and the tables of the store's cache database that hold them.

use oci::{Digest, Timestamp};
use serde::{Deserialize, Serialize};
use store::{LayerId, Store, Table};

/// Results by content key.
pub(crate) const RESULTS: Table = Table(Store::CACHE_TABLES);
/// Content keys by definition key.
pub(crate) const DEFINITIONS: Table = Table(Store::CACHE_TABLES + 1);
/// Nothing, by the digest of an operation and the content key of a result of it: tells that an operation has results.
pub(crate) const OPS: Table = Table(Store::CACHE_TABLES + 2);
/// Snapshots by the digest of their whole content: the first one that had it.
pub(crate) const SNAPSHOTS: Table = Table(Store::CACHE_TABLES + 3);
/// When a result was last used, by content key; written at most once in [`USED_PRECISION_SECONDS`].
pub(crate) const USED: Table = Table(Store::CACHE_TABLES + 4);

/// When a result was pruned, by the definition key that found it.
pub(crate) const PRUNED: Table = Table(Store::CACHE_TABLES + 5);

/// How many definition keys of pruned results are remembered; with more, those that were pruned first are forgotten.
pub(crate) const PRUNED_MAX: usize = 20_000;

/// How far the time of last use may be off, so that finding a result hardly ever writes.
pub(crate) const USED_PRECISION_SECONDS: i64 = 3600;

/// What a step made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResultRecord {
    /// The step's name.
    pub(crate) name: String,
    /// The digest of the operation.
    pub(crate) op: Digest,
    /// The snapshots, by output.
    pub(crate) outputs: Vec<SnapshotRecord>,
    /// When it was recorded.
    pub(crate) created: Timestamp,
}

/// A file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotRecord {
    /// Its layers, the lowest first.
    pub(crate) layers: Vec<LayerId>,
}

/// The key in [`OPS`].
pub(crate) fn op_key(op: &Digest, content: &Digest) -> [u8; 64] {
    let mut key = [0; 64];
    key[..32].copy_from_slice(op.as_bytes());
    key[32..].copy_from_slice(content.as_bytes());
    key
}
