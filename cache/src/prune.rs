//! What is in the cache, and taking results out of it.

use std::collections::BTreeSet;

use oci::{Digest, Timestamp};
use store::{LayerId, Reader, StoreError, Writer};

use crate::record::{
    DEFINITIONS, OPS, PRUNED, PRUNED_MAX, RESULTS, ResultRecord, SNAPSHOTS, SnapshotRecord, USED, op_key,
};

/// A result, for those who ask what is in the cache or decide what stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultSummary {
    /// The content key.
    pub key: Digest,
    /// The step's name.
    pub name: String,
    /// The layers of each of its outputs, the lowest first.
    pub outputs: Vec<Vec<LayerId>>,
    /// When it was recorded.
    pub created: Timestamp,
    /// When it was last used, to the hour.
    pub used: Timestamp,
}

impl ResultSummary {
    /// Returns the layers of all outputs.
    pub fn layers(&self) -> impl Iterator<Item = LayerId> + '_ {
        self.outputs.iter().flatten().copied()
    }
}

/// Returns all results, sorted by key.
pub fn results(reader: &Reader<'_>) -> Result<Vec<ResultSummary>, StoreError> {
    let mut results = Vec::new();
    for (key, record) in reader.records::<ResultRecord>(RESULTS)? {
        let Ok(key) = key.try_into().map(Digest::from_bytes) else { continue };
        let used = reader.get_record(USED, key.as_bytes())?.unwrap_or(record.created);
        let outputs = record.outputs.into_iter().map(|output| output.layers).collect();
        results.push(ResultSummary { key, name: record.name, outputs, created: record.created, used });
    }
    Ok(results)
}

/// Removes the results that `is_kept` does not want and returns the layers that the remaining ones need.
pub fn prune(
    writer: &mut Writer<'_, '_>,
    is_kept: impl Fn(&ResultSummary) -> bool,
) -> Result<BTreeSet<LayerId>, StoreError> {
    let (kept, removed): (Vec<_>, Vec<_>) = results(&writer.reader())?.into_iter().partition(is_kept);
    let layers: BTreeSet<LayerId> = kept.iter().flat_map(ResultSummary::layers).collect();
    let removed: BTreeSet<Digest> = removed.into_iter().map(|result| result.key).collect();
    for key in &removed {
        if let Some(record) = writer.reader().get_record::<ResultRecord>(RESULTS, key.as_bytes())? {
            writer.delete(OPS, &op_key(&record.op, key))?;
        }
        writer.delete(RESULTS, key.as_bytes())?;
        writer.delete(USED, key.as_bytes())?;
    }
    let now = Timestamp::now();
    for (definition, content) in writer.reader().entries(DEFINITIONS)? {
        if content.try_into().map(Digest::from_bytes).is_ok_and(|content| removed.contains(&content)) {
            writer.delete(DEFINITIONS, &definition)?;
            writer.put_record(PRUNED, &definition, &now)?;
        }
    }
    forget_pruned(writer)?;
    for (digest, snapshot) in writer.reader().records::<SnapshotRecord>(SNAPSHOTS)? {
        if !snapshot.layers.iter().all(|layer| layers.contains(layer)) {
            writer.delete(SNAPSHOTS, &digest)?;
        }
    }
    Ok(layers)
}

/// Returns when the result under a definition key was pruned; `Ok(None)` where none was, or it is too long ago.
pub fn pruned_at(reader: &Reader<'_>, definition: &Digest) -> Result<Option<Timestamp>, StoreError> {
    reader.get_record(PRUNED, definition.as_bytes())
}

/// Forgets the oldest of too many keys of pruned results.
fn forget_pruned(writer: &mut Writer<'_, '_>) -> Result<(), StoreError> {
    let mut pruned = writer.reader().records::<Timestamp>(PRUNED)?;
    let Some(excess) = pruned.len().checked_sub(PRUNED_MAX).filter(|excess| *excess > 0) else { return Ok(()) };
    pruned.sort_by_key(|(_, at)| *at);
    pruned[..excess].iter().try_for_each(|(key, _)| writer.delete(PRUNED, key).map(|_| ()))
}
