//! Whether anybody touched what lies in the store, and what is found then.
//!
//! When something is finished, its seal is recorded: inode, size and times of its files. The kernel changes the time of the last change (`ctime`) with every write, and lets
//! nobody set it. So before something that an earlier process made is read or mounted, a look at its files tells whether they are those that were written. Where they are not, or no
//! seal is known, everything is read and compared with what is recorded, once: if it is the same, it is sealed again (a copy of a store has other inodes); if not, it is
//! damaged, and never used. What a disk loses by itself changes no time: `kiln system check` reads everything.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use layer::audit::{Damage, audit, audit_index, audit_tree};
use layer::tree::{TreeStamp, stamp_tree};
use layer::{Content, FileRange, Tree};
use oci::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use crate::database::{Reader, Table, Writer};
use crate::{LayerId, LayerRecord, Store, StoreError, layer_handle, packed};

/// Seals of layers, by id.
const LAYERS: Table = Table(b'A');
/// Stamps of blobs, by digest.
const BLOBS: Table = Table(b'B');

/// What the files of a layer looked like when they were finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// `entries`; of a layer in packs `extents`, `index` and the packs too, in the order of its record.
    pub files: Vec<FileStamp>,
    /// The directory `fs`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<TreeSeal>,
}

/// What a file looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "[i64; 7]", from = "[i64; 7]")]
pub struct FileStamp {
    inode: i64,
    links: i64,
    size_bytes: i64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// Seconds and nanoseconds.
    changed: (i64, i64),
}

/// What a tree looks like from outside, see [`TreeStamp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeSeal {
    identity: [u8; 16],
    looks: [u8; 16],
}

/// What became of something since it was sealed.
enum Since {
    /// Nothing.
    Same,
    /// It got or lost a name, as packs do that several layers need.
    Linked,
    /// It may have been written to.
    Touched,
}

impl From<FileStamp> for [i64; 7] {
    fn from(stamp: FileStamp) -> Self {
        let FileStamp { inode, links, size_bytes, modified, changed } = stamp;
        [inode, links, size_bytes, modified.0, modified.1, changed.0, changed.1]
    }
}

impl From<[i64; 7]> for FileStamp {
    fn from([inode, links, size_bytes, modified, modified_nanos, changed, changed_nanos]: [i64; 7]) -> Self {
        Self { inode, links, size_bytes, modified: (modified, modified_nanos), changed: (changed, changed_nanos) }
    }
}

impl From<TreeStamp> for TreeSeal {
    fn from(stamp: TreeStamp) -> Self {
        Self { identity: stamp.identity, looks: stamp.looks }
    }
}

impl FileStamp {
    /// Looks at a file.
    pub(crate) fn of(path: &Path) -> Result<Self, StoreError> {
        let status = fs::metadata(path).map_err(StoreError::file("examine", path))?;
        Ok(Self {
            inode: status.ino().cast_signed(),
            links: status.nlink().cast_signed(),
            size_bytes: status.size().cast_signed(),
            modified: (status.mtime(), status.mtime_nsec()),
            changed: (status.ctime(), status.ctime_nsec()),
        })
    }

    fn since(&self, now: &Self) -> Since {
        if self == now {
            return Since::Same;
        }
        // A new name changes the time of the last change too.
        let is_same_file = (self.inode, self.size_bytes, self.modified) == (now.inode, now.size_bytes, now.modified);
        if is_same_file && self.links != now.links { Since::Linked } else { Since::Touched }
    }
}

impl Seal {
    /// Looks at a layer in its directory.
    pub(crate) fn of(dir: &Path, record: &LayerRecord) -> Result<Self, StoreError> {
        let mut files = vec![FileStamp::of(&dir.join("entries"))?];
        if let Some(packed) = &record.packed {
            for path in [packed::extents(dir), packed::index(dir)] {
                files.push(FileStamp::of(&path)?);
            }
            for pack in &packed.packs {
                files.push(FileStamp::of(&packed::pack(dir, &pack.id))?);
            }
        }
        Ok(Self { files, tree: open_tree(dir)?.map(|tree| stamp(record.id, &tree)).transpose()? })
    }

    fn since(&self, now: &Self) -> Since {
        if self.tree != now.tree || self.files.len() != now.files.len() {
            return Since::Touched;
        }
        let mut since = Since::Same;
        for (then, now) in self.files.iter().zip(&now.files) {
            match then.since(now) {
                Since::Same => {}
                Since::Linked => since = Since::Linked,
                Since::Touched => return Since::Touched,
            }
        }
        since
    }
}

/// Opens the tree of a layer, if it has one.
fn open_tree(dir: &Path) -> Result<Option<Tree>, StoreError> {
    let path = dir.join("fs");
    match File::open(&path) {
        Ok(root) => Ok(Some(Tree::new(root.into()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::file("open", &path)(error)),
    }
}

fn stamp(id: LayerId, tree: &Tree) -> Result<TreeSeal, StoreError> {
    let stamped = stamp_tree(tree).map_err(|source| StoreError::LayerDamaged { id, source: source.into() })?;
    Ok(stamped.into())
}

pub(crate) fn put(writer: &mut Writer<'_, '_>, id: &LayerId, seal: &Seal) -> Result<(), StoreError> {
    writer.put_record(LAYERS, id.as_bytes(), seal)
}

pub(crate) fn forget(writer: &mut Writer<'_, '_>, layer: &[u8]) -> Result<(), StoreError> {
    writer.delete(LAYERS, layer).map(|_| ())
}

pub(crate) fn blob(reader: &Reader<'_>, digest: &Digest) -> Result<Option<FileStamp>, StoreError> {
    reader.get_record(BLOBS, digest.as_bytes())
}

pub(crate) fn put_blob(writer: &mut Writer<'_, '_>, digest: &Digest, stamp: &FileStamp) -> Result<(), StoreError> {
    writer.put_record(BLOBS, digest.as_bytes(), stamp)
}

pub(crate) fn forget_blob(writer: &mut Writer<'_, '_>, digest: &[u8]) -> Result<(), StoreError> {
    writer.delete(BLOBS, digest).map(|_| ())
}

impl Store {
    /// Makes sure that a layer that is recorded is what was recorded: by a look at its files where nobody touched them, else by reading them.
    pub(crate) fn verify(&self, dir: &Path, record: &LayerRecord) -> Result<(), StoreError> {
        if self.is_verified(&record.id) {
            return Ok(());
        }
        let then = self.cache().read(|reader| reader.get_record::<Seal>(LAYERS, record.id.as_bytes()))?;
        let now = Seal::of(dir, record).map_err(|error| error.of_layer(record.id))?;
        match then.as_ref().map_or(Since::Touched, |then| then.since(&now)) {
            Since::Same => {}
            Since::Linked => self.seal(record, &now)?,
            Since::Touched => {
                self.audit(dir, record, then.as_ref())?;
                self.seal(record, &now)?;
            }
        }
        self.set_verified(record.id);
        Ok(())
    }

    /// Reads all files of a layer and compares them with what is recorded.
    pub fn audit_layer(&self, record: &LayerRecord) -> Result<(), StoreError> {
        let dir = self.layer_dir(record)?;
        let then = self.cache().read(|reader| reader.get_record::<Seal>(LAYERS, record.id.as_bytes()))?;
        self.audit(&dir, record, then.as_ref())
    }

    fn audit(&self, dir: &Path, record: &LayerRecord, then: Option<&Seal>) -> Result<(), StoreError> {
        let id = record.id;
        let damaged = |source: Damage| StoreError::LayerDamaged { id, source };
        let opened = layer_handle::open_files(dir, record).map_err(|error| error.of_layer(id))?;
        audit(&opened).map_err(damaged)?;
        let tree = open_tree(dir).map_err(|error| error.of_layer(id))?;
        if let (Some(tree), Some(then)) = (&tree, then.and_then(|seal| seal.tree))
            && stamp(id, tree)?.looks != then.looks
        {
            return Err(damaged(Damage::Looks));
        }
        let (Some(packed), Content::Packs(packs)) = (&record.packed, &opened.content) else { return Ok(()) };
        let path = packed::index(dir);
        let index = File::open(&path).map_err(|error| StoreError::file("open", &path)(error).of_layer(id))?;
        let sizes: Vec<u64> = packed.packs.iter().map(|pack| pack.size_bytes).collect();
        audit_index(&opened.entries, packs.extents(), &sizes, BufReader::new(index)).map_err(damaged)?;
        if let Some(tree) = &tree {
            audit_tree(&opened.entries, tree).map_err(damaged)?;
        }
        match (packed::open_tar(dir, record)?, record.diff_id) {
            (Some(tar), Some(expected)) => audit_tar(tar, expected).map_err(damaged),
            _ => Ok(()),
        }
    }

    fn seal(&self, record: &LayerRecord, seal: &Seal) -> Result<(), StoreError> {
        self.cache().write(|writer| put(writer, &record.id, seal))
    }
}

fn audit_tar(tar: FileRange, expected: Digest) -> Result<(), Damage> {
    let actual = digest_of(tar).map_err(|source| Damage::Read { path: "tar".to_owned(), source })?;
    if actual == expected { Ok(()) } else { Err(Damage::Tar { expected, actual }) }
}

/// Reads a stream to its end and returns the digest of its bytes.
pub(crate) fn digest_of(mut stream: impl io::Read) -> io::Result<Digest> {
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; READ_BYTES]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// How much of a file is read at once.
const READ_BYTES: usize = 1 << 20;
