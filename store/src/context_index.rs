//! What builds remember of the directories that they read: one file for each directory, in a form that is the reader's own business.
//!
//! **Invariant:** disposable. A file that is lost, old or damaged costs time and nothing else; whoever reads it checks it.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use oci::{Digest, Timestamp};

use crate::draft::list;
use crate::{Store, StoreError, fault};

/// How many directories are remembered; beyond that, those that were written longest ago are forgotten.
const CONTEXTS_MAX: usize = 256;

impl Store {
    /// Opens what is remembered of a directory, named by its absolute path. `None` means that nothing is, or that it cannot be read.
    pub fn open_context_index(&self, directory: &Path) -> Option<File> {
        File::open(self.context_index(directory)).ok()
    }

    /// Remembers something of a directory, in place of what was remembered before.
    pub fn write_context_index(&self, directory: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.context_index(directory);
        let contexts = self.layout().contexts();
        fs::create_dir_all(&contexts).map_err(StoreError::file("create", &contexts))?;
        // Written where it is cleaned up if we die, and renamed when it is whole.
        let draft = self.drafts()?.unused_path();
        fs::write(&draft, bytes).map_err(StoreError::file("write", &draft))?;
        fault::point("context.rename")
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(StoreError::file("rename", &draft))?;
        forget_oldest(&contexts)
    }

    /// Returns the files that remember directories, each with when it was written.
    pub fn context_indexes(&self) -> Result<Vec<(PathBuf, Timestamp)>, StoreError> {
        let time = |time: SystemTime| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Timestamp::from_unix(since.as_secs().try_into().unwrap_or(0), since.subsec_nanos())
        };
        let written = |path: PathBuf| Some((path.clone(), time(path.metadata().ok()?.modified().ok()?)?));
        Ok(list(&self.layout().contexts())?.into_iter().filter_map(written).collect())
    }

    /// Forgets a directory that [`Store::context_indexes`] returned.
    pub fn remove_context_index(&self, path: &Path) -> Result<(), StoreError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::file("remove", path)(error)),
            _ => Ok(()),
        }
    }

    fn context_index(&self, directory: &Path) -> PathBuf {
        self.layout().contexts().join(Digest::of(directory.as_os_str().as_bytes()).hex())
    }
}

fn forget_oldest(contexts: &Path) -> Result<(), StoreError> {
    let paths = list(contexts)?;
    if paths.len() <= CONTEXTS_MAX {
        return Ok(());
    }
    let written = |path: &PathBuf| path.metadata().and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut paths: Vec<(SystemTime, PathBuf)> = paths.into_iter().map(|path| (written(&path), path)).collect();
    paths.sort_unstable();
    for (_, path) in &paths[..paths.len() - CONTEXTS_MAX] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::file("remove", path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_replaced_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let remembered = || store.open_context_index(Path::new("/a")).map(|file| io::read_to_string(file).unwrap());
        assert_eq!(remembered(), None);
        store.write_context_index(Path::new("/a"), b"one").unwrap();
        store.write_context_index(Path::new("/a"), b"two").unwrap();
        assert_eq!(remembered().as_deref(), Some("two"));
        for number in 0..CONTEXTS_MAX {
            store.write_context_index(Path::new(&format!("/{number}")), b"").unwrap();
        }
        assert_eq!(list(&store.layout().contexts()).unwrap().len(), CONTEXTS_MAX);
    }
}
