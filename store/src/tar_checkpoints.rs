//! How far the digests of the tars of layers had come at some of their entries, in a form that is the reader's own business: the next layer of the same step may begin alike.
//!
//! The records lie in the cache's database: what is forgotten is hashed again.

use crate::database::{Table, Writer};
use crate::{LayerId, Store, StoreError};

/// Checkpoints by the id of the layer.
const CHECKPOINTS: Table = Table(b'T');

impl Store {
    /// Returns what was kept of the digest of a layer's tar; `Ok(None)` means that nothing was. Whoever reads it checks it.
    pub fn tar_checkpoints(&self, layer: &LayerId) -> Result<Option<Vec<u8>>, StoreError> {
        self.cache().read(|reader| Ok(reader.get(CHECKPOINTS, layer.as_bytes())?.map(<[u8]>::to_vec)))
    }

    /// Keeps something of the digest of a layer's tar for as long as the layer has a record, which it has or is about to get.
    pub fn put_tar_checkpoints(&self, layer: &LayerId, checkpoints: &[u8]) -> Result<(), StoreError> {
        self.cache().write(|writer| writer.put(CHECKPOINTS, layer.as_bytes(), checkpoints))
    }
}

/// Forgets what was kept of a layer.
pub(crate) fn forget(writer: &mut Writer<'_, '_>, layer: &[u8]) -> Result<(), StoreError> {
    writer.delete(CHECKPOINTS, layer).map(drop)
}
