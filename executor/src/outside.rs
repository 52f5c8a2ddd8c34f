//! Where commands write if the file system of the store cannot be written to by an overlay: into memory, or beneath the work root.
//!
//! Beneath the work root each process has a directory of its own and holds flock(2) on it while it lives; who makes one next removes those of processes that died.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use runtime::overlay::{Durability, OverlayError, Scratch, Upper};
use rustix::fs::{FlockOperation, flock};
use store::LayerId;

/// What the names of all directories in a work root begin with that are Kiln's.
const PREFIX: &str = "kiln-work-";

/// What one command writes into. Dropped by the last who holds it, it is gone. Cheap to clone.
#[derive(Clone)]
pub enum Outside {
    /// Memory.
    Memory(Arc<Scratch>),
    /// A directory beneath the work root.
    WorkRoot(Arc<WorkDir>),
}

/// A directory beneath the work root, with one that is written into and one for the kernel's own use.
pub struct WorkDir {
    dir: PathBuf,
    _own: Arc<OwnDir>,
}

/// The directory that users named for this.
pub(crate) struct WorkRoot {
    root: PathBuf,
    own: Mutex<Option<Arc<OwnDir>>>,
}

/// The directory of this process.
struct OwnDir {
    dir: PathBuf,
    counter: AtomicU64,
    _lock: File,
}

impl Outside {
    pub(crate) fn in_memory() -> Result<Self, OverlayError> {
        Ok(Self::Memory(Arc::new(Scratch::new()?)))
    }

    /// Opens what is written into.
    pub fn open(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Memory(scratch) => scratch.upper(),
            Self::WorkRoot(dir) => Ok(File::open(dir.upper())?.into()),
        }
    }

    /// Returns what an overlay writes into.
    pub fn upper(&self) -> Upper {
        match self {
            Self::Memory(scratch) => Upper::Scratch(scratch.clone()),
            Self::WorkRoot(dir) => {
                Upper::Dirs { upper: dir.upper(), work: dir.dir.join("work"), durability: Durability::Volatile }
            }
        }
    }
}

impl WorkDir {
    fn upper(&self) -> PathBuf {
        self.dir.join("upper")
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What cannot be removed goes with this process.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl WorkRoot {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, own: Mutex::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    /// Makes what one command writes into.
    pub(crate) fn dir(&self) -> io::Result<WorkDir> {
        let own = {
            let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
            match own.as_ref() {
                Some(own) => own.clone(),
                None => own.insert(Arc::new(OwnDir::create(&self.root)?)).clone(),
            }
        };
        let dir = own.dir.join(own.counter.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&dir)?;
        let made = WorkDir { dir, _own: own };
        fs::create_dir(made.upper())?;
        // Whatever the mask of the process is: this is the mode of a root that nothing lies beneath.
        fs::set_permissions(made.upper(), fs::Permissions::from_mode(0o755))?;
        fs::create_dir(made.dir.join("work"))?;
        Ok(made)
    }
}

impl OwnDir {
    fn create(root: &Path) -> io::Result<Self> {
        match fs::create_dir_all(root) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            made => made?,
        }
        remove_dead(root)?;
        loop {
            let dir = root.join(format!("{PREFIX}{}", LayerId::random()));
            fs::create_dir(&dir)?;
            // Before it is locked, somebody may take it for that of a dead process.
            let lock = match File::open(&dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                lock => lock?,
            };
            flock(&lock, FlockOperation::LockExclusive)?;
            let held = lock.metadata()?;
            if fs::metadata(&dir).is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())) {
                return Ok(Self { dir, counter: AtomicU64::new(0), _lock: lock });
            }
        }
    }
}

impl Drop for OwnDir {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next process that needs the work root.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn remove_dead(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        let is_ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        let Some(lock) = is_ours.then(|| File::open(&path).ok()).flatten() else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // Somebody else may be removing it too.
            let _ = fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_is_removed_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let names = || {
            let names = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name());
            names.map(|name| name.into_string().unwrap()).filter(|name| name != "mine").collect::<Vec<_>>()
        };
        fs::create_dir(root.path().join("mine")).unwrap();
        let dead = root.path().join(format!("{PREFIX}dead"));
        fs::create_dir_all(dead.join("0/upper")).unwrap();
        let (first, second) = (WorkRoot::new(root.path().to_owned()), WorkRoot::new(root.path().to_owned()));
        let (one, other) = (first.dir().unwrap(), second.dir().unwrap());
        assert!(!dead.exists() && one.upper().is_dir() && other.upper().is_dir());
        drop((one, first));
        assert_eq!(names().len(), 1, "{:?}", names());
        drop((second, other));
        assert_eq!(names(), [""; 0]);
        assert!(root.path().join("mine").is_dir());
    }

    #[test]
    fn a_file_is_no_work_root() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = WorkRoot::new(file.path().to_owned()).dir();
        assert_eq!(refused.err().map(|error| error.kind()), Some(io::ErrorKind::NotADirectory));
    }
}
