//! Layers of which no file was created: packs, an index that the kernel mounts, and the list of extents that Kiln reads them by.
//!
//! ```text
//! layers/<id>/index           the EROFS image (layer/src/erofs)
//! layers/<id>/extents         where each entry's bytes are (layer/src/erofs/extent.rs)
//! layers/<id>/packs/<id>      the packs; a pack that several layers need has a name (a hard link) in each of their directories
//! ```
//! So every layer has all that it needs in its own directory, and a pack goes when the last layer goes that needs it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use layer::erofs::{BlockSize, ExtentList, write_index};
use layer::pack::{Packed, UsedPack};
use layer::tree::LostXattrs;
use layer::{Entries, FileRange, Pack, PackId, Packs};
use rustix::fs::{AtFlags, CWD, linkat};
use serde::{Deserialize, Serialize};

use crate::{LayerId, LayerRecord, StoreError};

/// How much of an index is written at once.
const INDEX_BUFFER_BYTES: usize = 256 << 10;

/// Where the bytes of a layer's files are that has no tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedRecord {
    /// The packs, in the order in which the extents and the index count them.
    pub packs: Vec<PackRecord>,
    /// The pack that begins with the layer's tar, to the byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tar: Option<LayerId>,
}

/// A pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackRecord {
    /// What it goes by, in every layer that needs it.
    pub id: LayerId,
    /// How long it is.
    pub size_bytes: u64,
}

impl PackedRecord {
    /// Returns the sum of the lengths of the packs, holes included.
    pub fn size_bytes(&self) -> u64 {
        self.packs.iter().map(|pack| pack.size_bytes).sum()
    }
}

pub(crate) fn index(dir: &Path) -> PathBuf {
    dir.join("index")
}

pub(crate) fn extents(dir: &Path) -> PathBuf {
    dir.join("extents")
}

pub(crate) fn packs(dir: &Path) -> PathBuf {
    dir.join("packs")
}

pub(crate) fn pack(dir: &Path, id: &LayerId) -> PathBuf {
    packs(dir).join(id.to_string())
}

/// Makes an empty pack in the directory of a layer.
pub(crate) fn create_pack(dir: &Path, id: &LayerId) -> Result<Pack, StoreError> {
    create_pack_at(&pack(dir, id), id)
}

/// Makes an empty pack at a path at which nothing is.
pub(crate) fn create_pack_at(path: &Path, id: &LayerId) -> Result<Pack, StoreError> {
    let file = File::options().read(true).write(true).create_new(true).open(path);
    let file = file.map_err(StoreError::file("create", path))?;
    Ok(Pack { id: pack_id(id), file: Arc::new(file), size_bytes: 0 })
}

fn pack_id(id: &LayerId) -> PackId {
    PackId((*id).into())
}

/// Completes a layer that was written into packs: `own` is the one that was made for it.
pub(crate) fn complete(
    dir: &Path,
    entries: &Entries,
    packed: &Packed,
    own: &LayerId,
) -> Result<(PackedRecord, LostXattrs), StoreError> {
    let mut records = Vec::with_capacity(packed.packs.len());
    for used in &packed.packs {
        let id = match used {
            UsedPack::Own { .. } => *own,
            UsedPack::Lent(lent) => {
                let id = LayerId::from(lent.id.0);
                link(lent, &pack(dir, &id))?;
                id
            }
        };
        records.push(PackRecord { id, size_bytes: used.size_bytes() });
    }
    if !records.iter().any(|record| record.id == *own) {
        remove_unused(&pack(dir, own))?;
    }
    let path = extents(dir);
    fs::write(&path, packed.extents.to_bytes()).map_err(StoreError::file("write", &path))?;
    let path = index(dir);
    let file = File::create(&path).map_err(StoreError::file("create", &path))?;
    let mut file = BufWriter::with_capacity(INDEX_BUFFER_BYTES, file);
    let sizes: Vec<u64> = records.iter().map(|record| record.size_bytes).collect();
    let written = write_index(entries, &packed.extents, &sizes, BlockSize::Bytes512, &mut file);
    let written = written.map_err(|source| StoreError::Index { path: path.clone(), source })?;
    file.flush().map_err(StoreError::file("write", &path))?;
    Ok((PackedRecord { packs: records, tar: None }, written.lost_xattrs))
}

/// Gives a pack one more name. It may have lost the one that it was opened by, as long as it has another.
fn link(pack: &Pack, path: &Path) -> Result<(), StoreError> {
    let opened = format!("/proc/self/fd/{}", pack.file.as_raw_fd());
    match linkat(CWD, opened.as_str(), CWD, path, AtFlags::SYMLINK_FOLLOW) {
        // It was made in this layer's own directory.
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(errno) => Err(StoreError::file("link", path)(io::Error::from(errno))),
    }
}

fn remove_unused(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::file("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Opens the packs of a layer, to read files out of them.
pub(crate) fn open(dir: &Path, record: &PackedRecord, id: LayerId) -> Result<Packs, StoreError> {
    let path = extents(dir);
    let bytes = fs::read(&path).map_err(StoreError::file("read", &path))?;
    let extents = ExtentList::from_bytes(&bytes).map_err(|source| StoreError::Extents { id, source })?;
    let open = |record: &PackRecord| {
        let path = pack(dir, &record.id);
        let file = File::open(&path).map_err(StoreError::file("open", &path))?;
        Ok(Pack { id: pack_id(&record.id), file: Arc::new(file), size_bytes: record.size_bytes })
    };
    Ok(Packs::new(record.packs.iter().map(open).collect::<Result<_, StoreError>>()?, extents))
}

/// Opens the tar of a layer as it came from elsewhere, if it was kept.
pub(crate) fn open_tar(dir: &Path, record: &LayerRecord) -> Result<Option<FileRange>, StoreError> {
    let (Some(packed), Some(tar_bytes)) = (&record.packed, record.tar_bytes) else { return Ok(None) };
    let Some(tar) = packed.tar else { return Ok(None) };
    let path = pack(dir, &tar);
    let file = File::open(&path).map_err(StoreError::file("open", &path))?;
    Ok(Some(FileRange::new(file, 0, tar_bytes)))
}
