//! Who may still be reading a layer that was deleted.
//!
//! A process that reads layers without naming them durably (a build) holds `live/epoch` shared. A collection removes records first, then gives that file a number, so
//! that later readers hold a new one, and unlinks the layers when nobody holds that number *or a smaller one* any more: a reader from long ago may have recorded a
//! layer again that an earlier collection had deleted. So a build that found a layer keeps it, a build writes nothing to say so, and no collection waits for one.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::draft::list;
use crate::{StoreError, fault};

const CURRENT: &str = "epoch";

/// The number of an epoch that ended; each has a greater one than those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Epoch(pub(crate) u64);

impl fmt::Display for Epoch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// Keeps deleted layers in place while it lives, as far as they were there when it was taken.
#[derive(Debug)]
pub struct EpochGuard {
    _file: File,
}

impl EpochGuard {
    pub(crate) fn take(live: &Path) -> Result<Self, StoreError> {
        let path = live.join(CURRENT);
        loop {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let file = file.map_err(StoreError::file("open", &path))?;
            flock(&file, FlockOperation::LockShared).map_err(StoreError::file("lock", &path))?;
            // Between the two calls a collection may have renamed the file, and be sure by now that nobody holds it.
            if is_at(&file, &path)? {
                return Ok(Self { _file: file });
            }
        }
    }
}

/// Tells whether `path` still names the open `file`.
pub(crate) fn is_at(file: &File, path: &Path) -> Result<bool, StoreError> {
    let held = file.metadata().map_err(StoreError::file("look at", path))?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::file("look at", path)(error)),
    }
}

/// Ends the current epoch: whoever comes now holds another one than `ended`.
pub(crate) fn rotate(live: &Path, ended: Epoch) -> Result<(), StoreError> {
    let renamed = fault::point("epoch.end").and_then(|()| fs::rename(live.join(CURRENT), live.join(ended.to_string())));
    match renamed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::file("rename", &live.join(CURRENT))(error))
        }
        _ => Ok(()),
    }
}

/// Returns the last epoch that ended and whose file is there, or 0.
pub(crate) fn highest(live: &Path) -> Result<Epoch, StoreError> {
    Ok(ended(live)?.into_iter().map(|(epoch, _)| epoch).max().unwrap_or(Epoch(0)))
}

/// Returns the first of the epochs that ended and that somebody still holds; what was deleted in an earlier one has no readers. The files of the others are removed.
pub(crate) fn oldest_held(live: &Path) -> Result<Option<Epoch>, StoreError> {
    let mut oldest: Option<Epoch> = None;
    for (epoch, path) in ended(live)? {
        if is_held(&path)? {
            oldest = Some(oldest.map_or(epoch, |oldest| oldest.min(epoch)));
        }
    }
    Ok(oldest)
}

/// Returns the epochs that ended and whose files are there.
fn ended(live: &Path) -> Result<Vec<(Epoch, PathBuf)>, StoreError> {
    let number = |path: &Path| path.file_name()?.to_str()?.parse().ok().map(Epoch);
    Ok(list(live)?.into_iter().filter_map(|path| Some((number(&path)?, path))).collect())
}

/// Tells whether anybody holds the file of an epoch that ended; else it is removed.
fn is_held(path: &Path) -> Result<bool, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(StoreError::file("open", path)(error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(true),
        Err(error) => return Err(StoreError::file("lock", path)(error)),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::file("remove", path)(error)),
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_held_while_anybody_who_was_there_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let early = EpochGuard::take(dir.path()).unwrap();
        rotate(dir.path(), Epoch(9)).unwrap();
        let late = EpochGuard::take(dir.path()).unwrap();
        rotate(dir.path(), Epoch(10)).unwrap();
        assert_eq!(oldest_held(dir.path()).unwrap(), Some(Epoch(9)));
        assert_eq!(highest(dir.path()).unwrap(), Epoch(10));
        drop(early);
        assert_eq!(oldest_held(dir.path()).unwrap(), Some(Epoch(10)));
        drop(late);
        assert_eq!(oldest_held(dir.path()).unwrap(), None);
        assert!(list(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn an_epoch_that_nobody_held_is_over() {
        let dir = tempfile::tempdir().unwrap();
        rotate(dir.path(), Epoch(1)).unwrap();
        let _now = EpochGuard::take(dir.path()).unwrap();
        assert_eq!(oldest_held(dir.path()).unwrap(), None);
    }
}
