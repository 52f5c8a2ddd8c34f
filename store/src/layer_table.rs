//! The records of layers: what is known of each without reading its files.
//!
//! They lie in the cache's database, since they are there to be found by; an image's record repeats those of its own layers.

use std::path::Path;
use std::sync::Arc;

use oci::{Descriptor, Digest, Reference, Timestamp};
use serde::{Deserialize, Serialize};

use crate::database::{Reader, Table, Writer};
use crate::epoch::Epoch;
use crate::{LayerId, PackedRecord, Seal, StoreError, condemned, last_layer, remote, seal, tar_checkpoints, usage};

/// Layers by id.
const LAYERS: Table = Table(b'L');
/// Ids of layers by the digest of their tar.
const DIFFS: Table = Table(b'D');

/// What is known of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The layer.
    pub id: LayerId,
    /// The digest of its content without times; that of a pulled layer is its `diff_id`.
    pub content: Digest,
    /// The digest of its tar, once somebody needed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff_id: Option<Digest>,
    /// The length of its tar, known together with `diff_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tar_bytes: Option<u64>,
    /// Where its tar is to be had, for layers that were not made here: their tars cannot be made again to the byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<LayerOrigin>,
    /// Where its files are, if they are in packs; else they are a tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<PackedRecord>,
    /// The sum of the sizes of its files.
    pub size_bytes: u64,
    /// When the step that made it ended; for pulled layers, when they were pulled.
    pub created: Timestamp,
    /// What its files looked like when they were finished, on its way into a table of its own. A record that was read has none.
    #[serde(skip)]
    pub seal: Option<Arc<Seal>>,
}

impl LayerRecord {
    /// Takes what the files of the layer look like now, in its directory, for what they look like.
    pub fn sealed(self, dir: &Path) -> Result<Self, StoreError> {
        let seal = Some(Arc::new(Seal::of(dir, &self)?));
        Ok(Self { seal, ..self })
    }
}

/// Where a layer came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerOrigin {
    /// The blob that unpacks to the layer's tar; as long as nobody needed the room, it lies in the store.
    pub blob: Descriptor,
    /// An image at whose registry the blob is; loaded layers have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
}

pub(crate) fn get(reader: &Reader<'_>, id: &LayerId) -> Result<Option<LayerRecord>, StoreError> {
    reader.get_record(LAYERS, id.as_bytes())
}

pub(crate) fn find_by_diff_id(reader: &Reader<'_>, diff_id: &Digest) -> Result<Option<LayerRecord>, StoreError> {
    let id = reader.get(DIFFS, diff_id.as_bytes())?.and_then(LayerId::from_bytes);
    match id {
        Some(id) => get(reader, &id),
        None => Ok(None),
    }
}

pub(crate) fn all(reader: &Reader<'_>) -> Result<Vec<LayerRecord>, StoreError> {
    Ok(reader.records(LAYERS)?.into_iter().map(|(_, record)| record).collect())
}

pub(crate) fn ids(reader: &Reader<'_>) -> Result<Vec<LayerId>, StoreError> {
    Ok(reader.entries(LAYERS)?.into_iter().filter_map(|(key, _)| LayerId::from_bytes(&key)).collect())
}

/// Puts a record, in place of an older one, and takes the layer off the list of deleted ones.
///
/// Of two layers with one tar, the first one stays the one that is found by it.
pub(crate) fn put(writer: &mut Writer<'_, '_>, record: &LayerRecord) -> Result<(), StoreError> {
    writer.put_record(LAYERS, record.id.as_bytes(), record)?;
    condemned::LAYERS.pardon(writer, record.id.as_bytes())?;
    if let Some(seal) = &record.seal {
        seal::put(writer, &record.id, seal)?;
    }
    let Some(diff_id) = &record.diff_id else { return Ok(()) };
    if writer.reader().get(DIFFS, diff_id.as_bytes())?.is_none() {
        writer.put(DIFFS, diff_id.as_bytes(), record.id.as_bytes())?;
    }
    Ok(())
}

/// Removes the records of all layers that `is_kept` does not know, and returns those records. Their files stay until `epoch` is over.
pub(crate) fn condemn(
    writer: &mut Writer<'_, '_>,
    epoch: Epoch,
    is_kept: impl Fn(&LayerId) -> bool,
) -> Result<Vec<LayerRecord>, StoreError> {
    let mut condemned = Vec::new();
    for (key, record) in writer.reader().records::<LayerRecord>(LAYERS)? {
        if is_kept(&record.id) {
            continue;
        }
        forget(writer, &key, &record)?;
        condemned::LAYERS.condemn(writer, &key, epoch)?;
        condemned.push(record);
    }
    remote::forget_missing(writer)?;
    last_layer::forget_missing(writer)?;
    Ok(condemned)
}

/// Forgets the record of a layer, whoever needs it.
pub(crate) fn remove(writer: &mut Writer<'_, '_>, id: &LayerId) -> Result<(), StoreError> {
    match get(&writer.reader(), id)? {
        Some(record) => forget(writer, id.as_bytes(), &record),
        None => Ok(()),
    }
}

fn forget(writer: &mut Writer<'_, '_>, key: &[u8], record: &LayerRecord) -> Result<(), StoreError> {
    writer.delete(LAYERS, key)?;
    usage::forget(writer, key)?;
    seal::forget(writer, key)?;
    tar_checkpoints::forget(writer, key)?;
    if let Some(diff_id) = &record.diff_id
        && writer.reader().get(DIFFS, diff_id.as_bytes())? == Some(key)
    {
        writer.delete(DIFFS, diff_id.as_bytes())?;
    }
    Ok(())
}
