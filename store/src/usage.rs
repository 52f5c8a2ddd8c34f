//! How much room things take on the disk: blocks, as the file system counts them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oci::Digest;

use crate::database::{Table, Writer};
use crate::draft::list;
use crate::{LayerId, Store, StoreError, packed};

/// How many bytes of the disk layers take, by id: they do not change, so they are counted once.
const USAGE: Table = Table(b'U');
/// The unit in which stat(2) counts blocks.
const BLOCK_BYTES: u64 = 512;

/// What takes room beside layers and blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherUsage {
    /// What it is, for people.
    pub name: &'static str,
    /// How many bytes of the disk it takes.
    pub disk_bytes: u64,
}

/// How large the disk is that a store lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// All of it.
    pub total_bytes: u64,
    /// What ordinary users may still write.
    pub free_bytes: u64,
}

impl Store {
    /// Returns how large the disk is.
    pub fn disk_space(&self) -> Result<DiskSpace, StoreError> {
        let space = rustix::fs::statvfs(self.root()).map_err(StoreError::file("look at", self.root()))?;
        Ok(DiskSpace { total_bytes: space.f_blocks * space.f_frsize, free_bytes: space.f_bavail * space.f_frsize })
    }

    /// Returns how many bytes of the disk each of these layers takes; one that is gone takes none.
    pub fn layer_disk_bytes(&self, layers: &BTreeSet<LayerId>) -> Result<BTreeMap<LayerId, u64>, StoreError> {
        let mut counted = self.cache().read(|reader| {
            let mut counted = BTreeMap::new();
            for id in layers {
                if let Some(bytes) = reader.get_record::<u64>(USAGE, id.as_bytes())? {
                    counted.insert(*id, bytes);
                }
            }
            Ok(counted)
        })?;
        let new: Vec<(LayerId, u64)> = layers
            .iter()
            .filter(|id| !counted.contains_key(*id))
            .map(|id| {
                (*id, disk_bytes(&self.layout().layer(id)) - disk_bytes(&packed::packs(&self.layout().layer(id))))
            })
            .collect();
        if !new.is_empty() {
            self.cache().write(|writer| {
                new.iter().try_for_each(|(id, bytes)| writer.put_record(USAGE, id.as_bytes(), bytes))
            })?;
        }
        counted.extend(new);
        // How many layers share a pack changes with every layer that comes or goes.
        for (id, bytes) in &mut counted {
            *bytes += own_share_bytes(&packed::packs(&self.layout().layer(id)));
        }
        Ok(counted)
    }

    /// Returns how many bytes of the disk each blob takes.
    pub fn blob_disk_bytes(&self) -> Result<BTreeMap<Digest, u64>, StoreError> {
        let size = |path: PathBuf| {
            let digest = path.file_name()?.to_str().and_then(Digest::from_hex)?;
            Some((digest, disk_bytes(&path)))
        };
        Ok(list(&self.layout().blobs())?.into_iter().filter_map(size).collect())
    }

    /// Returns what takes room beside layers, blobs, cache mounts, what is remembered of contexts, and containers.
    pub fn other_usage(&self) -> Vec<OtherUsage> {
        let layout = self.layout();
        let small = [layout.meta(), layout.cache(), layout.live(), layout.locks()];
        let directories =
            [layout.root(), &layout.layers(), &layout.blobs(), &layout.cache_mounts(), &layout.contexts()];
        let own = |path: &Path| path.metadata().map_or(0, |metadata| metadata.blocks() * BLOCK_BYTES);
        let databases = small.iter().map(|path| disk_bytes(path)).chain(directories.map(own)).sum();
        let work = [layout.drafts(), layout.trash()].iter().map(|path| disk_bytes(path)).sum();
        vec![
            OtherUsage { name: "databases", disk_bytes: databases },
            OtherUsage { name: "build history", disk_bytes: disk_bytes(&layout.history()) },
            OtherUsage { name: "work in progress", disk_bytes: work },
        ]
    }
}

/// Forgets how much a layer takes, with the layer.
pub(crate) fn forget(writer: &mut Writer<'_, '_>, layer: &[u8]) -> Result<(), StoreError> {
    writer.delete(USAGE, layer).map(|_| ())
}

/// Returns what the files of a directory take of the disk, each divided by the number of its names: what layers share counts once in their sum.
fn own_share_bytes(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|entry| entry.metadata().ok()).map(|file| file.blocks() * BLOCK_BYTES / file.nlink().max(1)).sum()
}

/// Returns how many bytes of the disk a file, or a directory with all that is in it, takes. What cannot be looked at takes none; a file with several names counts once.
pub fn disk_bytes(path: &Path) -> u64 {
    let (mut bytes, mut seen, mut pending) = (0, BTreeSet::new(), vec![path.to_owned()]);
    while let Some(path) = pending.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.nlink() > 1 && !metadata.is_dir() && !seen.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        bytes += metadata.blocks() * BLOCK_BYTES;
        if metadata.is_dir() {
            pending.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    bytes
}
