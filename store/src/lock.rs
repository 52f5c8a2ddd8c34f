//! One process executes a step: locks by key, on byte ranges of one file.
//!
//! The locks are those of open file descriptions (`F_OFD_SETLK` of fcntl(2)): they do not depend on process ids and are let go when a process dies. The file is never
//! unlinked and never written; a key's range is its first 62 bits, so that two keys practically never share one. Within a process, whose ranges all belong to
//! one open file, a set keeps tasks apart.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use oci::Digest;

use crate::StoreError;

/// The locks of a store's steps.
#[derive(Clone)]
pub struct StepLocks(Arc<Inner>);

struct Inner {
    file: File,
    path: PathBuf,
    held: Mutex<HashSet<i64>>,
}

/// Holds a key until it is dropped.
pub struct StepLock {
    locks: StepLocks,
    place: i64,
}

impl StepLocks {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(StoreError::file("open", path))?;
        Ok(Self(Arc::new(Inner { file, path: path.to_owned(), held: Mutex::default() })))
    }

    /// Holds `key`, unless another task of any process does: then the answer is `Ok(None)`.
    pub fn try_lock(&self, key: &Digest) -> Result<Option<StepLock>, StoreError> {
        let mut first = [0; 8];
        first.copy_from_slice(&key.as_bytes()[..8]);
        // Two bits fewer, so that neither the place nor the end of the range overflows an offset.
        let place = (u64::from_le_bytes(first) >> 2) as i64;
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains(&place) {
            return Ok(None);
        }
        match fcntl(&self.0.file, FcntlArg::F_OFD_SETLK(&range(libc::F_WRLCK, place))) {
            Ok(_) => {
                held.insert(place);
                Ok(Some(StepLock { locks: self.clone(), place }))
            }
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(error) => Err(StoreError::file("lock", &self.0.path)(error)),
        }
    }
}

impl Drop for StepLock {
    fn drop(&mut self) {
        let inner = &self.locks.0;
        let mut held = inner.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Unlocking a range of an open file cannot fail; were it to, the process's end would unlock it.
        let _ = fcntl(&inner.file, FcntlArg::F_OFD_SETLK(&range(libc::F_UNLCK, self.place)));
        held.remove(&self.place);
    }
}

fn range(kind: libc::c_int, place: i64) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: place, l_len: 1, l_pid: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_held_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("steps");
        let (ours, theirs) = (StepLocks::open(&path).unwrap(), StepLocks::open(&path).unwrap());
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let held = ours.try_lock(&a).unwrap();
        assert!(held.is_some());
        assert!(ours.try_lock(&a).unwrap().is_none());
        assert!(theirs.try_lock(&a).unwrap().is_none());
        assert!(theirs.try_lock(&b).unwrap().is_some());
        drop(held);
        assert!(theirs.try_lock(&a).unwrap().is_some());
    }
}
