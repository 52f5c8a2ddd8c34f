//! Whether the cache and the layers are on disk.
//!
//! Writing the cache database and layers waits for no disk: after a power cut they may be half there. So the file `cache.state` says either `clean` (all of it was
//! flushed) or names the boot of the machine in which it was last written to. On another boot, a cache that is not clean is thrown away with its layers; those of
//! images are not, since no image is named before they are flushed.
//!
//! The file is read and written only under the exclusive lock of the cache database.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::{StoreError, fault};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// The length of what the file holds: a boot id, or `clean` and blanks. One sector is written as a whole or not at all.
const STATE_BYTES: usize = 36;
const CLEAN: &str = "clean";

/// The file that says whether the cache is on disk.
pub(crate) struct CacheState {
    path: PathBuf,
    file: File,
    boot: String,
}

impl CacheState {
    /// Opens the file, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let boot = fs::read_to_string(BOOT_ID).map_err(StoreError::file("read", Path::new(BOOT_ID)))?;
        let boot = fault::boot_id().unwrap_or_else(|| boot.trim().to_owned());
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(StoreError::file("open", path))?;
        Ok(Self { path: path.to_owned(), file, boot })
    }

    /// Tells whether what the cache says can be believed.
    pub(crate) fn is_trustworthy(&self) -> Result<bool, StoreError> {
        let state = self.read()?;
        Ok(state == CLEAN || state == self.boot)
    }

    /// Says that the cache is about to be written to; on disk before anything else is.
    pub(crate) fn mark_written(&self) -> Result<(), StoreError> {
        if self.read()? == self.boot { Ok(()) } else { self.write(&self.boot) }
    }

    /// Says that everything was flushed.
    pub(crate) fn mark_clean(&self) -> Result<(), StoreError> {
        self.write(CLEAN)
    }

    /// Tells whether everything was flushed.
    pub(crate) fn is_clean(&self) -> Result<bool, StoreError> {
        Ok(self.read()? == CLEAN)
    }

    fn read(&self) -> Result<String, StoreError> {
        let mut bytes = [0; STATE_BYTES];
        match self.file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(String::new()),
            Err(error) => Err(StoreError::file("read", &self.path)(error)),
        }
    }

    fn write(&self, state: &str) -> Result<(), StoreError> {
        let padded = format!("{state:STATE_BYTES$}");
        let written = fault::point("state.write")
            .and_then(|()| self.file.write_all_at(padded.as_bytes(), 0))
            .and_then(|()| self.file.sync_data());
        written.map_err(StoreError::file("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_of_another_boot_is_believed_only_when_it_was_flushed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache.state");
        let state = CacheState::open(&path).unwrap();
        assert!(!state.is_trustworthy().unwrap());
        state.mark_written().unwrap();
        assert!(state.is_trustworthy().unwrap());
        assert!(!state.is_clean().unwrap());

        let later = CacheState { boot: "another".to_owned(), ..CacheState::open(&path).unwrap() };
        assert!(!later.is_trustworthy().unwrap());
        state.mark_clean().unwrap();
        assert!(later.is_trustworthy().unwrap());
        assert!(later.is_clean().unwrap());
    }
}
