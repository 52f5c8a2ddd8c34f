//! Whether the files of a layer are what its entries say, found out by reading them all.

use std::io::{self, Read};

use oci::Digest;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::content::{Content, ContentError, Layer};
use crate::entries::Entries;
use crate::entry::{Entry, Kind, KindBuf, Metadata};
use crate::erofs::{BlockSize, ExtentList, IndexError, write_index};
use crate::hash::hash_range;
use crate::path::EntryPath;
use crate::tree::{ScanError, Scanned, ScannedKind, Tree, survey};

/// How much of a file is compared at once.
const COMPARED_BYTES: usize = 64 << 10;

/// What is wrong with a layer.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// A file has other bytes.
    #[error("`{path}` has another content than it had")]
    Content {
        /// Which file.
        path: String,
    },
    /// Something is not there.
    #[error("`{path}` is gone")]
    Gone {
        /// What it is.
        path: String,
    },
    /// Something became something else.
    #[error("`{path}` is not the {kind} that it was")]
    Kind {
        /// Where.
        path: String,
        /// What it was.
        kind: &'static str,
    },
    /// Something has another owner, mode, time or attribute.
    #[error("`{path}` has another owner, mode, time or attribute than it had")]
    Metadata {
        /// What it is.
        path: String,
    },
    /// There is more or less than there was, or something that the entries do not list looks different.
    #[error("files were added, removed or changed in it")]
    Looks,
    /// A file cannot be read.
    #[error(transparent)]
    Open(#[from] ContentError),
    /// A file cannot be read to its end.
    #[error("cannot read `{path}`")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The tree cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The list of where files are is not one of these entries.
    #[error("it has {entries} entries, and says of {extents} where they are")]
    Extents {
        /// How many entries there are.
        entries: usize,
        /// Of how many it is said where they are.
        extents: usize,
    },
    /// What the kernel mounts is not what would be written for these entries.
    #[error("its index is not the one that was written")]
    Index,
    /// Its tar is another one.
    #[error("its tar is not the one that it was: expected {expected}, got {actual}")]
    Tar {
        /// The digest that it had.
        expected: Digest,
        /// The digest that it has.
        actual: Digest,
    },
}

/// Reads all files of a layer, and fails with the first thing that is not what its entries say.
///
/// Of a tree, this includes what else can be told of its entries, but not what it has besides: an upper directory may have files that are no change.
pub fn audit(layer: &Layer) -> Result<(), Damage> {
    match &layer.content {
        Content::Packs(packs) => {
            let (entries, extents) = (layer.entries.count(), packs.extents().count());
            if entries != extents {
                return Err(Damage::Extents { entries, extents });
            }
            (0..entries).into_par_iter().try_for_each(|index| audit_file(layer, index))
        }
        Content::Tree(tree) => audit_tree(&layer.entries, tree),
    }
}

fn audit_file(layer: &Layer, index: usize) -> Result<(), Damage> {
    let Entry { path, kind, .. } = layer.entries.entry(index);
    let Kind::File { size_bytes, content } = kind else { return Ok(()) };
    let read = hash_range(&layer.open(index)?).map_err(|source| Damage::Read { path: path.to_text(), source })?;
    if read == (size_bytes, content) { Ok(()) } else { Err(Damage::Content { path: path.to_text() }) }
}

/// Compares a tree with entries, whoever made it.
pub fn audit_tree(entries: &Entries, tree: &Tree) -> Result<(), Damage> {
    let found = survey(tree)?;
    (0..entries.count()).try_for_each(|index| audit_scanned(&entries.entry(index), &found))
}

fn audit_scanned(entry: &Entry<'_>, found: &[Scanned]) -> Result<(), Damage> {
    let path = || entry.path.to_text();
    let there = find(found, entry.path);
    if entry.kind == Kind::Whiteout {
        let is_hidden = match there.map(|there| &there.kind) {
            Some(ScannedKind::Entry(KindBuf::Whiteout) | ScannedKind::Socket) => true,
            Some(ScannedKind::Entry(_)) => false,
            None => has_opaque_parent(found, entry.path),
        };
        return if is_hidden { Ok(()) } else { Err(Damage::Kind { path: path(), kind: "whiteout" }) };
    }
    let there = there.ok_or_else(|| Damage::Gone { path: path() })?;
    let ScannedKind::Entry(kind) = &there.kind else {
        return Err(Damage::Kind { path: path(), kind: entry.kind.name() });
    };
    match (&entry.kind, kind.as_kind()) {
        // Whether an upper directory has it hide what lies beneath is listed as whiteouts.
        (Kind::Directory { .. }, Kind::Directory { .. }) => {}
        (Kind::File { .. }, Kind::File { .. }) if entry.kind != kind.as_kind() => {
            return Err(Damage::Content { path: path() });
        }
        (one, other) if *one == other => {}
        _ => return Err(Damage::Kind { path: path(), kind: entry.kind.name() }),
    }
    let is_same = matches!(entry.kind, Kind::HardLink { .. }) || agrees(&entry.metadata, &there.metadata.as_metadata());
    if is_same { Ok(()) } else { Err(Damage::Metadata { path: path() }) }
}

/// Returns whether what is there is as described. Some file systems have no room for attributes, so that those that are missing say nothing.
fn agrees(described: &Metadata<'_>, there: &Metadata<'_>) -> bool {
    let plain = |metadata: &Metadata<'_>| (metadata.mode, metadata.uid, metadata.gid, metadata.mtime);
    plain(described) == plain(there)
        && there.xattrs.iter().all(|(name, value)| described.xattrs.iter().any(|pair| pair == (name, value)))
}

fn find<'a>(found: &'a [Scanned], path: EntryPath<'_>) -> Option<&'a Scanned> {
    let place = found.binary_search_by(|scanned| scanned.path.as_path().cmp(&path)).ok()?;
    found.get(place)
}

fn has_opaque_parent(found: &[Scanned], path: EntryPath<'_>) -> bool {
    std::iter::successors(path.parent(), |path| path.parent()).any(|parent| {
        let kind = find(found, parent).map(|scanned| &scanned.kind);
        matches!(kind, Some(ScannedKind::Entry(KindBuf::Directory { opaque: true })))
    })
}

/// Fails unless an index is the one that is written for these entries.
pub fn audit_index(
    entries: &Entries,
    extents: &ExtentList,
    packs_bytes: &[u64],
    index: impl Read,
) -> Result<(), Damage> {
    let mut compared = Compared { with: index, differs: false };
    match write_index(entries, extents, packs_bytes, BlockSize::Bytes512, &mut compared) {
        Ok(_) => {}
        Err(IndexError::Output { source }) if !compared.differs => {
            return Err(Damage::Read { path: "index".to_owned(), source });
        }
        Err(_) => return Err(Damage::Index),
    }
    match compared.with.read(&mut [0]) {
        Ok(0) => Ok(()),
        _ => Err(Damage::Index),
    }
}

/// A sink that reads along and fails where what it gets is not what it reads.
struct Compared<R> {
    with: R,
    /// Whether it did.
    differs: bool,
}

impl<R: Read> io::Write for Compared<R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut there = [0; COMPARED_BYTES];
        let there = &mut there[..bytes.len().min(COMPARED_BYTES)];
        let is_same = match self.with.read_exact(there) {
            Ok(()) => bytes.starts_with(there),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
            Err(error) => return Err(error),
        };
        if is_same {
            return Ok(there.len());
        }
        self.differs = true;
        Err(io::ErrorKind::InvalidData.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
