//! Deleted layers and blobs whose files are still there, because somebody may be reading them.
//!
//! They lie in the cache's database, each with the epoch in which it was deleted (see `epoch`).

use crate::StoreError;
use crate::database::{Reader, Table, Writer};
use crate::epoch::Epoch;

/// Deleted layers, by id.
pub(crate) const LAYERS: Condemned = Condemned(Table(b'Y'));
/// Deleted blobs, by digest.
pub(crate) const BLOBS: Condemned = Condemned(Table(b'Z'));

/// The number of the last epoch that ended.
const EPOCHS: Table = Table(b'E');
const LAST: &[u8] = b"last";

/// Returns the number of the epoch that ends now, a greater one than `highest`: whoever died before its transaction was written has used a number already.
pub(crate) fn next_epoch(writer: &mut Writer<'_, '_>, highest: Epoch) -> Result<Epoch, StoreError> {
    let last = writer.reader().get_record::<Epoch>(EPOCHS, LAST)?;
    let next = Epoch(last.unwrap_or(Epoch(0)).max(highest).0 + 1);
    writer.put_record(EPOCHS, LAST, &next)?;
    Ok(next)
}

/// A list of what was deleted.
#[derive(Clone, Copy)]
pub(crate) struct Condemned(Table);

impl Condemned {
    /// Puts something on the list.
    pub(crate) fn condemn(self, writer: &mut Writer<'_, '_>, key: &[u8], epoch: Epoch) -> Result<(), StoreError> {
        writer.put_record(self.0, key, &epoch)
    }

    /// Takes something off the list, because it is needed again.
    pub(crate) fn pardon(self, writer: &mut Writer<'_, '_>, key: &[u8]) -> Result<(), StoreError> {
        writer.delete(self.0, key).map(|_| ())
    }

    /// Tells whether something is on the list.
    pub(crate) fn has(self, reader: &Reader<'_>, key: &[u8]) -> Result<bool, StoreError> {
        Ok(reader.get(self.0, key)?.is_some())
    }

    /// Returns the keys of all that is on the list.
    pub(crate) fn keys(self, reader: &Reader<'_>) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(reader.entries(self.0)?.into_iter().map(|(key, _)| key).collect())
    }

    /// Returns the keys of what nobody can be reading any more; `oldest_held` is the first epoch that somebody holds.
    pub(crate) fn unread(self, reader: &Reader<'_>, oldest_held: Option<Epoch>) -> Result<Vec<Vec<u8>>, StoreError> {
        let is_over = |epoch: Epoch| oldest_held.is_none_or(|oldest| epoch < oldest);
        let records = reader.records::<Epoch>(self.0)?.into_iter();
        Ok(records.filter(|(_, epoch)| is_over(*epoch)).map(|(key, _)| key).collect())
    }

    /// Takes something off the list and tells whether it still was there in an epoch that is over: whoever gets `true` removes its files.
    pub(crate) fn take(
        self,
        writer: &mut Writer<'_, '_>,
        key: &[u8],
        oldest_held: Option<Epoch>,
    ) -> Result<bool, StoreError> {
        // It may have been needed again and deleted again since it was looked at.
        match writer.reader().get_record::<Epoch>(self.0, key)? {
            Some(epoch) if oldest_held.is_none_or(|oldest| epoch < oldest) => writer.delete(self.0, key),
            _ => Ok(false),
        }
    }
}
