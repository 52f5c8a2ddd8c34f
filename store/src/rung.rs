//! How layers can be mounted from this store: found out once for a kernel and the rights of a process, since trying it out takes longer than most builds.
//!
//! The records lie in the cache's database: they can be found out again.

use oci::Digest;
use serde::{Deserialize, Serialize};

use crate::database::Table;
use crate::{Store, StoreError};

/// Rungs by the digest of what they depend on.
const RUNGS: Table = Table(b'K');

/// How layers can be mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RungRecord {
    /// The name of the rung.
    pub rung: String,
    /// Why it is none of those above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Why an overlay cannot write into the store, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<String>,
}

impl Store {
    /// Returns what was found out; `key` stands for all that it depends on besides the store.
    pub fn rung(&self, key: &Digest) -> Result<Option<RungRecord>, StoreError> {
        self.cache().read(|reader| reader.get_record(RUNGS, key.as_bytes()))
    }

    /// Keeps what was found out.
    pub fn put_rung(&self, key: &Digest, rung: &RungRecord) -> Result<(), StoreError> {
        self.cache().write(|writer| writer.put_record(RUNGS, key.as_bytes(), rung))
    }
}
