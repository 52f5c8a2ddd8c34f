//! Directories that outlive builds, and who uses them: `RUN --mount=type=cache`.
//!
//! Who uses one holds its lock: flock(2) on the directory itself, which ends with its holder and keeps tasks of one process apart as well as processes.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::Digest;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use crate::{Store, StoreError, fault};

/// How often a directory is looked up again that was taken away between the look and the lock.
const ATTEMPTS_MAX: usize = 16;

/// A directory that nobody removes as long as a value of this is held.
#[derive(Clone, Debug)]
pub struct CacheDir {
    path: PathBuf,
    _lock: Arc<File>,
}

/// Who may use a directory at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheUse {
    /// All who share it.
    Shared,
    /// One.
    Alone,
}

impl CacheDir {
    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Store {
    /// Returns the directory of an id, unless it is in use by somebody with whom it cannot be shared: then the answer is `Ok(None)`.
    ///
    /// If it does not exist yet, it is made and handed to `fill` before anybody else sees it.
    pub fn cache_dir(
        &self,
        id: &str,
        wanted: CacheUse,
        mut fill: impl FnMut(&Path) -> std::io::Result<()>,
    ) -> Result<Option<CacheDir>, StoreError> {
        let path = self.layout().cache_mount(&Digest::of(id.as_bytes()));
        let operation = match wanted {
            CacheUse::Shared => FlockOperation::NonBlockingLockShared,
            CacheUse::Alone => FlockOperation::NonBlockingLockExclusive,
        };
        for _ in 0..ATTEMPTS_MAX {
            if !path.is_dir() {
                self.create_cache_dir(&path, &mut fill)?;
            }
            fault::point("cache-mount.open").map_err(StoreError::file("open", &path))?;
            let file = match File::open(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                file => file.map_err(StoreError::file("open", &path))?,
            };
            match flock(&file, operation) {
                Err(Errno::WOULDBLOCK) => return Ok(None),
                locked => locked.map_err(StoreError::file("lock", &path))?,
            }
            let held = file.metadata().map_err(StoreError::file("examine", &path))?;
            // Whoever removes it takes it away under the lock.
            if std::fs::metadata(&path).is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino())) {
                self.note_cache_use(id)?;
                return Ok(Some(CacheDir { path, _lock: Arc::new(file) }));
            }
        }
        Ok(None)
    }

    fn create_cache_dir(
        &self,
        path: &Path,
        fill: &mut impl FnMut(&Path) -> std::io::Result<()>,
    ) -> Result<(), StoreError> {
        let draft = self.temporary_dir()?;
        fill(&draft).map_err(StoreError::file("fill", &draft))?;
        fault::point("cache-mount.fill").map_err(StoreError::file("create", path))?;
        // A plain rename would put it in the place of an empty directory, which somebody may be using already.
        match renameat_with(CWD, &draft, CWD, path, RenameFlags::NOREPLACE) {
            // Another step or process was faster.
            Err(Errno::EXIST) => Ok(()),
            renamed => renamed.map_err(StoreError::file("create", path)),
        }
    }
}
