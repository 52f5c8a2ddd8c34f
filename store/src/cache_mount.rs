//! What is known of cache mounts, and giving back their room; how steps use their directories, `cache_dir` says.

use std::fs::File;
use std::path::{Path, PathBuf};

use oci::{Digest, Timestamp};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::database::Table;
use crate::draft::{bury, empty_trash, list};
use crate::epoch::is_at;
use crate::{Store, StoreError};

/// Cache mounts by the digest of their id.
const MOUNTS: Table = Table(b'M');
/// How far the time of last use may be off, so that a use hardly ever writes.
const USED_PRECISION_SECONDS: i64 = 3600;

/// What is known of a cache mount beside its files. It lies in the cache's database: what is lost is not missed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct MountRecord {
    /// The id that steps call it by.
    id: String,
    created: Timestamp,
    /// To the hour.
    used: Timestamp,
}

/// A cache mount, for those who ask what takes room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMountSummary {
    /// Names it in the store.
    pub key: Digest,
    /// The id that steps call it by; `None` where that was lost.
    pub id: Option<String>,
    /// Its directory.
    pub dir: PathBuf,
    /// When it was made; `None` where that was lost.
    pub created: Option<Timestamp>,
    /// When it was last used, to the hour; `None` where that was lost.
    pub used: Option<Timestamp>,
    /// Whether a build uses it.
    pub is_used: bool,
}

impl Store {
    /// Writes down that a cache mount is used, as far as that was not known yet.
    pub(crate) fn note_cache_use(&self, id: &str) -> Result<(), StoreError> {
        let (now, key) = (Timestamp::now(), Digest::of(id.as_bytes()));
        let known = self.cache().read(|reader| reader.get_record::<MountRecord>(MOUNTS, key.as_bytes()))?;
        let is_recent = |it: &MountRecord| now.unix_seconds() - it.used.unix_seconds() < USED_PRECISION_SECONDS;
        if known.as_ref().is_some_and(is_recent) {
            return Ok(());
        }
        let created = known.map_or(now, |known| known.created);
        let record = MountRecord { id: id.to_owned(), created, used: now };
        self.cache().write(|writer| writer.put_record(MOUNTS, key.as_bytes(), &record))
    }

    /// Returns all cache mounts.
    pub fn cache_mounts(&self) -> Result<Vec<CacheMountSummary>, StoreError> {
        let mut mounts = Vec::new();
        for dir in list(&self.layout().cache_mounts())? {
            let Some(key) = dir.file_name().and_then(|name| name.to_str()).and_then(Digest::from_hex) else { continue };
            let known = self.cache().read(|reader| reader.get_record::<MountRecord>(MOUNTS, key.as_bytes()))?;
            let (created, used) = (known.as_ref().map(|it| it.created), known.as_ref().map(|it| it.used));
            let is_used = try_hold_alone(&dir)?.is_none();
            mounts.push(CacheMountSummary { key, id: known.map(|it| it.id), dir, created, used, is_used });
        }
        Ok(mounts)
    }

    /// Removes a cache mount, unless a build uses it; tells whether it did.
    pub fn remove_cache_mount(&self, key: &Digest) -> Result<bool, StoreError> {
        let dir = self.layout().cache_mount(key);
        let Some(_lock) = try_hold_alone(&dir)? else { return Ok(false) };
        self.cache().write(|writer| writer.delete(MOUNTS, key.as_bytes()))?;
        bury(self.layout(), &dir)?;
        empty_trash(self.layout())?;
        Ok(true)
    }
}

/// Holds a directory alone; `Ok(None)` means that somebody uses it or that it is gone.
fn try_hold_alone(dir: &Path) -> Result<Option<File>, StoreError> {
    let Ok(file) = File::open(dir) else { return Ok(None) };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(is_at(&file, dir)?.then_some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(StoreError::file("lock", dir)(error)),
    }
}
