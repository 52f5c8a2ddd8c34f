//! What was fetched from elsewhere and can be used again: files behind URLs and commits of git repositories, each with the layer that holds its files.
//!
//! They lie in the cache's database: what is forgotten is fetched again.

use oci::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

use crate::database::{Reader, Table, Writer};
use crate::{Layer, LayerId, LayerRecord, Store, StoreError, layer_table};

/// Fetched files by a digest of what they are.
const REMOTES: Table = Table(b'R');

/// Something that was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteRecord {
    /// The layer that holds it.
    pub layer: LayerId,
    /// By what its server tells versions of it apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// When it was changed last, as its server says; of a commit, when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<Timestamp>,
    /// Of a commit: the repository, and what was asked for of it behind `#`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// When it was fetched.
    pub fetched: Timestamp,
}

impl Store {
    /// Returns what was fetched under `key`, with its layer. `Ok(None)` means that nothing was, or that the layer is gone.
    pub fn remote(&self, key: &Digest) -> Result<Option<(RemoteRecord, Layer)>, StoreError> {
        let found = self.cache().read(|reader| {
            let Some(record) = reader.get_record::<RemoteRecord>(REMOTES, key.as_bytes())? else { return Ok(None) };
            Ok(layer_table::get(reader, &record.layer)?.map(|layer| (record, layer)))
        })?;
        found.map(|(record, layer)| Ok((record, self.layer(layer)?))).transpose()
    }

    /// Returns all that was fetched and is known.
    pub fn remotes(&self) -> Result<Vec<RemoteRecord>, StoreError> {
        let records = self.cache().read(|reader| reader.records::<RemoteRecord>(REMOTES))?;
        Ok(records.into_iter().map(|(_, record)| record).collect())
    }

    /// Records a layer, and that it is what was fetched under `key`.
    pub fn put_remote(
        &self,
        key: &Digest,
        remote: &RemoteRecord,
        layer: (Layer, LayerRecord),
    ) -> Result<(), StoreError> {
        self.put_layers(&[layer], |writer| writer.put_record(REMOTES, key.as_bytes(), remote))
    }
}

/// Forgets what was fetched and whose layer has no record any more.
pub(crate) fn forget_missing(writer: &mut Writer<'_, '_>) -> Result<(), StoreError> {
    let missing = |reader: &Reader<'_>, record: &RemoteRecord| Ok(layer_table::get(reader, &record.layer)?.is_none());
    for (key, record) in writer.reader().records::<RemoteRecord>(REMOTES)? {
        if missing(&writer.reader(), &record)? {
            writer.delete(REMOTES, &key)?;
        }
    }
    Ok(())
}
