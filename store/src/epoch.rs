//! Who may still be reading a layer that was deleted.
//!
//! A process that reads layers without naming them durably (a build) holds `live/epoch` shared. A collection removes records first, then renames that file, so that
//! later readers hold a new one, and unlinks the layers when nobody holds the old one any more. So a build that found a layer keeps it, a build writes nothing to say
//! so, and no collection waits for one.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::StoreError;
use crate::id::random_bytes;

const CURRENT: &str = "epoch";

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

/// Starts a new epoch and returns the name of the one that ended. One that nobody ever held is over at once.
pub(crate) fn rotate(live: &Path) -> Result<String, StoreError> {
    let name = format!("{:032x}", u128::from_le_bytes(random_bytes()));
    match fs::rename(live.join(CURRENT), live.join(&name)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::file("rename", &live.join(CURRENT))(error))
        }
        _ => Ok(name),
    }
}

/// Tells whether everybody who held the epoch `name` has let go of it; then its file is removed.
pub(crate) fn is_over(live: &Path, name: &str) -> Result<bool, StoreError> {
    let path = live.join(name);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(StoreError::file("open", &path)(error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(false),
        Err(error) => return Err(StoreError::file("lock", &path)(error)),
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::file("remove", &path)(error)),
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_over_when_nobody_who_was_there_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let early = EpochGuard::take(dir.path()).unwrap();
        let ended = rotate(dir.path()).unwrap();
        let late = EpochGuard::take(dir.path()).unwrap();
        assert!(!is_over(dir.path(), &ended).unwrap());
        drop(early);
        assert!(is_over(dir.path(), &ended).unwrap());
        assert!(is_over(dir.path(), &ended).unwrap());
        drop(late);
    }

    #[test]
    fn an_epoch_that_nobody_held_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let ended = rotate(dir.path()).unwrap();
        assert!(is_over(dir.path(), &ended).unwrap());
    }
}
