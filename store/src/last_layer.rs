//! The layer that an operation made last: most of its files are those of the next one, which then need not be written again.
//!
//! The records lie in the cache's database: without them, layers are written anew.

use oci::Digest;

use crate::database::{Reader, Table, Writer};
use crate::{Layer, LayerId, Store, StoreError, layer_table};

/// Ids of layers by the digest of what stands for the operation.
const LAST: Table = Table(b'V');

impl Store {
    /// Returns the layer that was made last under `key`; `Ok(None)` means that none was, or that it is gone.
    pub fn last_layer(&self, key: &Digest) -> Result<Option<Layer>, StoreError> {
        let record = self.cache().read(|reader| {
            let id = reader.get_record::<LayerId>(LAST, key.as_bytes())?;
            id.map_or(Ok(None), |id| layer_table::get(reader, &id))
        })?;
        // It may be deleted by now.
        Ok(record.and_then(|record| self.layer(record).ok()))
    }

    /// Says that a layer was made under `key`; it may have no record yet, or never get one.
    pub fn put_last_layer(&self, key: &Digest, layer: &LayerId) -> Result<(), StoreError> {
        self.cache().write(|writer| writer.put_record(LAST, key.as_bytes(), layer))
    }
}

/// Forgets the layers that have no record any more.
pub(crate) fn forget_missing(writer: &mut Writer<'_, '_>) -> Result<(), StoreError> {
    let is_missing = |reader: &Reader<'_>, id: &LayerId| Ok(layer_table::get(reader, id)?.is_none());
    for (key, id) in writer.reader().records::<LayerId>(LAST)? {
        if is_missing(&writer.reader(), &id)? {
            writer.delete(LAST, &key)?;
        }
    }
    Ok(())
}
