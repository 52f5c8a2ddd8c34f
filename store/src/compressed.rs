//! What layers became when they were compressed: whoever has the blob already need not be given it, and then it need not be made.
//!
//! The records lie in the cache's database: what is forgotten is compressed again.

use oci::{Descriptor, Digest};

use crate::database::Table;
use crate::{Store, StoreError};

/// Descriptors of blobs by a digest of the layer's diffID, of how it was compressed and of the version of what did it.
const BLOBS: Table = Table(b'P');
/// How many are remembered; one more, and all others are forgotten.
const BLOBS_MAX: usize = 4096;

impl Store {
    /// Returns the blob that was made under `key`, wherever it is now; `Ok(None)` means that none was.
    pub fn compressed(&self, key: &Digest) -> Result<Option<Descriptor>, StoreError> {
        self.cache().read(|reader| reader.get_record(BLOBS, key.as_bytes()))
    }

    /// Remembers the blob that was made under `key`, which must say all that decides about its bytes.
    pub fn put_compressed(&self, key: &Digest, blob: &Descriptor) -> Result<(), StoreError> {
        self.cache().write(|writer| writer.put_bounded(BLOBS, key.as_bytes(), blob, BLOBS_MAX))
    }
}
