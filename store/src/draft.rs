//! Work in progress: what a process makes before it counts, and what is cleaned up when the process dies.
//!
//! Each process that writes has a directory under `drafts/` and holds flock(2) on it while it lives. A layer is made at its final place, so that its path never changes
//! while it is mounted, and `drafts/<uuid>/layers/<id>` says that it does not count yet. Whoever opens the store next cleans up after processes that died.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use layer::pack::Packed;
use layer::tree::LostXattrs;
use layer::{Entries, Pack};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::epoch::is_at;
use crate::id::random_bytes;
use crate::layout::Layout;
use crate::{LayerId, PackedRecord, StoreError, fault, packed};

/// This process's directory under `drafts/`; removed with all that is left in it when the last user lets go.
pub(crate) struct Drafts {
    layout: Layout,
    dir: PathBuf,
    counter: AtomicU64,
    _lock: File,
}

impl Drafts {
    /// Makes the directory of this process.
    pub(crate) fn create(layout: &Layout) -> Result<Self, StoreError> {
        loop {
            let dir = layout.drafts().join(format!("{:032x}", u128::from_le_bytes(random_bytes())));
            fs::create_dir(&dir).map_err(StoreError::file("create", &dir))?;
            fault::point("drafts.made").map_err(StoreError::file("create", &dir))?;
            // Before it is locked, somebody may take it for that of a dead process.
            let lock = match File::open(&dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                lock => lock.map_err(StoreError::file("open", &dir))?,
            };
            flock(&lock, FlockOperation::LockExclusive).map_err(StoreError::file("lock", &dir))?;
            if is_at(&lock, &dir)? {
                let layers = dir.join("layers");
                fs::create_dir(&layers).map_err(StoreError::file("create", &layers))?;
                return Ok(Self { layout: layout.clone(), dir, counter: AtomicU64::new(0), _lock: lock });
            }
        }
    }

    /// Makes an empty directory that goes away with this process at the latest.
    pub(crate) fn temporary_dir(&self) -> Result<PathBuf, StoreError> {
        let dir = self.unused_path();
        fs::create_dir(&dir).map_err(StoreError::file("create", &dir))?;
        Ok(dir)
    }

    /// Returns a path at which nothing is.
    pub(crate) fn unused_path(&self) -> PathBuf {
        self.dir.join(self.counter.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Makes an empty pack.
    pub(crate) fn pack(self: &Arc<Self>) -> Result<DraftPack, StoreError> {
        let path = self.unused_path();
        let pack = packed::create_pack_at(&path, &LayerId::random())?;
        Ok(DraftPack { pack, path, _drafts: self.clone() })
    }

    /// Starts a layer with an empty directory for its files.
    pub(crate) fn layer(self: &Arc<Self>, form: &str) -> Result<LayerDraft, StoreError> {
        let id = LayerId::random();
        let (marker, dir) = (self.dir.join("layers").join(id.to_string()), self.layout.layer(&id));
        // The marker first: a layer without one would never be cleaned up.
        File::create(&marker).map_err(StoreError::file("create", &marker))?;
        fault::point("layer.marked").map_err(StoreError::file("create", &marker))?;
        let draft = LayerDraft { id, dir, marker, drafts: Some(self.clone()) };
        for path in [&draft.dir, &draft.dir.join(form)] {
            fs::create_dir(path).map_err(StoreError::file("create", path))?;
        }
        Ok(draft)
    }
}

impl Drop for Drafts {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next process that opens the store.
        let _ = discard(&self.layout, &self.dir);
    }
}

/// A pack that belongs to no layer. Its own name goes away with it; layers that need it have given it others by then.
pub struct DraftPack {
    /// The pack, empty at first.
    pub pack: Pack,
    path: PathBuf,
    /// The name is in their directory.
    _drafts: Arc<Drafts>,
}

impl Drop for DraftPack {
    fn drop(&mut self) {
        // What stays is removed with the drafts of this process.
        let _ = fs::remove_file(&self.path);
    }
}

/// A layer in the making. Dropped without [`LayerDraft::keep`], it is gone.
pub struct LayerDraft {
    id: LayerId,
    dir: PathBuf,
    marker: PathBuf,
    drafts: Option<Arc<Drafts>>,
}

impl LayerDraft {
    /// Returns the layer's id.
    pub fn id(&self) -> LayerId {
        self.id
    }

    /// Returns the layer's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the directory that holds the files of a layer that is a tree; it exists and belongs to root with mode 0755.
    pub fn tree(&self) -> PathBuf {
        self.dir.join("fs")
    }

    /// Makes the pack for the files of a layer that is none.
    pub fn create_pack(&self) -> Result<Pack, StoreError> {
        packed::create_pack(&self.dir, &self.id)
    }

    /// Makes a further pack.
    pub fn create_second_pack(&self) -> Result<(LayerId, Pack), StoreError> {
        let id = LayerId::random();
        Ok((id, packed::create_pack(&self.dir, &id)?))
    }

    /// Writes everything that a layer in packs needs besides them; `own` is the pack that was written for it. Attributes that there is no room for come back.
    pub fn complete_packed(
        &self,
        entries: &Entries,
        packed: &Packed,
        own: &LayerId,
    ) -> Result<(PackedRecord, LostXattrs), StoreError> {
        packed::complete(&self.dir, entries, packed, own)
    }

    /// Returns where the list of the layer's entries is to be written.
    pub fn entries_path(&self) -> PathBuf {
        self.dir.join("entries")
    }

    /// Says that a record names the layer now.
    pub(crate) fn keep(mut self) -> Result<(), StoreError> {
        self.drafts = None;
        fault::point("layer.keep").map_err(StoreError::file("remove", &self.marker))?;
        match fs::remove_file(&self.marker) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::file("remove", &self.marker)(error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for LayerDraft {
    fn drop(&mut self) {
        let Some(drafts) = self.drafts.take() else { return };
        // The marker last: it is what the next process cleans up by, should this not succeed.
        if discard(&drafts.layout, &self.dir).is_ok() {
            let _ = fs::remove_file(&self.marker);
        }
    }
}

/// Moves a directory to the trash and removes it there. What is not there is no error.
pub(crate) fn discard(layout: &Layout, path: &Path) -> Result<(), StoreError> {
    match bury(layout, path)? {
        Some(trash) => unlink(&trash),
        None => Ok(()),
    }
}

/// Unlinks what lies in the trash. That another process unlinks it too is no error.
fn unlink(path: &Path) -> Result<(), StoreError> {
    fault::point("trash.unlink").map_err(StoreError::file("remove", path))?;
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::file("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Moves a file or directory to the trash and returns where it lies now, or `None` where nothing was.
pub(crate) fn bury(layout: &Layout, path: &Path) -> Result<Option<PathBuf>, StoreError> {
    let trash = layout.trash().join(format!("{:032x}", u128::from_le_bytes(random_bytes())));
    match fault::point("trash.bury").and_then(|()| fs::rename(path, &trash)) {
        Ok(()) => Ok(Some(trash)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::file("rename", path)(error)),
    }
}

/// Unlinks everything in the trash, unless another process is at it.
pub(crate) fn empty_trash(layout: &Layout) -> Result<(), StoreError> {
    let dir = layout.trash();
    let lock = File::open(&dir).map_err(StoreError::file("open", &dir))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => list(&dir)?.iter().try_for_each(|path| unlink(path)),
        Err(Errno::WOULDBLOCK) => Ok(()),
        Err(error) => Err(StoreError::file("lock", &dir)(error)),
    }
}

/// Cleans up after processes that died: their temporary files, and those of their layers that `is_named` does not know.
pub(crate) fn sweep(
    layout: &Layout,
    is_named: impl Fn(&LayerId) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    for dir in list(&layout.drafts())? {
        let lock = match File::open(&dir) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StoreError::file("open", &dir)(error)),
        };
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => continue,
            Err(error) => return Err(StoreError::file("lock", &dir)(error)),
        }
        fault::point("drafts.sweep").map_err(StoreError::file("remove", &dir))?;
        for marker in list(&dir.join("layers"))? {
            let id = marker.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            if let Some(id) = id
                && !is_named(&id)?
            {
                discard(layout, &layout.layer(&id))?;
            }
        }
        discard(layout, &dir)?;
    }
    // What a process that died had moved there.
    empty_trash(layout)
}

/// Returns what is in a directory, sorted; one that is not there is empty.
pub(crate) fn list(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::file("read", dir)(error)),
    };
    let paths: Result<Vec<PathBuf>, io::Error> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(StoreError::file("read", dir))?;
    paths.sort_unstable();
    Ok(paths)
}
