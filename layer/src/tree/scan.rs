//! Reading a tree: what is in it, first the names and attributes, then the hashes of the files.
//!
//! Directories are read level by level and never recursively, so that neither depth nor width is a question of stack or open files.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};
use rustix::fs::{AtFlags, FileType, RawDir, Statx, StatxFlags, readlinkat, statx};

use super::access::Tree;
use super::attributes::{OPAQUE_VALUE, OPAQUE_XATTRS};
use super::xattrs;
use crate::entries::{Entries, EntriesBuilder, EntriesError};
use crate::entry::{ContentHash, Device, Entry, KindBuf, MODE_BITS, MetadataBuf, Mtime};
use crate::hash;
use crate::path::{EntryPath, EntryPathBuf, PathError, text};
use crate::xattr::XattrsBuf;

/// Why a tree cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A directory cannot be listed.
    #[error("cannot list the directory `{path}` of a layer")]
    List {
        /// Which directory.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Something cannot be looked at.
    #[error("cannot read the attributes of `{path}` in a layer")]
    Attributes {
        /// What it is.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read `{path}` in a layer")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file changed while it was read.
    #[error("`{path}` changed while it was read: expected {expected_bytes} bytes, got {actual_bytes}")]
    Changed {
        /// Which file.
        path: String,
        /// How long it was.
        expected_bytes: u64,
        /// How much could be read.
        actual_bytes: u64,
    },
    /// A path is too long.
    #[error("cannot keep `{name}` of the directory `{directory}` in a layer")]
    Path {
        /// In which directory.
        directory: String,
        /// Which name.
        name: String,
        /// Why.
        source: PathError,
    },
    /// The overlay was mounted with an option that puts more into its upper directory than files.
    #[error(
        "cannot read `{path}` of an overlay's upper directory: it has the attribute `{attribute}`; mount with redirect_dir=off,metacopy=off"
    )]
    Overlay {
        /// Which file.
        path: String,
        /// Which attribute.
        attribute: String,
    },
    /// The list of entries cannot be made.
    #[error(transparent)]
    Entries(#[from] EntriesError),
}

/// Something in a tree.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) path: EntryPathBuf,
    pub(crate) kind: ScannedKind,
    pub(crate) metadata: MetadataBuf,
}

#[derive(Debug)]
pub(crate) enum ScannedKind {
    /// What entries have too. Files have their hash only after [`hash_files`].
    Entry(KindBuf),
    /// A socket, which no layer has.
    Socket,
}

/// Where a file is, whatever its path: device and inode.
type Identity = (u32, u32, u64);

/// With fewer of them than this, threads cost more than they gain.
const PARALLEL_DIRECTORIES_MIN: usize = 16;
const PARALLEL_FILES_MIN: usize = 32;

/// From this length on a file is hashed on all cores, instead of several files side by side.
const LARGE_BYTES_MIN: u64 = 4 << 20;

/// Returns the entries of a tree as they are, with its whiteouts and opaque directories; for a tree that [`super::TreeWriter`] wrote these are the
/// entries that it returned.
pub fn scan_tree(tree: &Tree) -> Result<Entries, ScanError> {
    let mut builder = EntriesBuilder::new();
    for Scanned { path, kind, metadata } in &survey(tree)? {
        if let ScannedKind::Entry(kind) = kind {
            builder.push(&Entry { path: path.as_path(), kind: kind.as_kind(), metadata: metadata.as_metadata() })?;
        }
    }
    Ok(builder.finish()?)
}

/// Returns everything in a tree, sorted, with hashes, and with hard links grouped.
pub(crate) fn survey(tree: &Tree) -> Result<Vec<Scanned>, ScanError> {
    let mut found = list_levels(tree)?;
    found.sort_by(|(left, _), (right, _)| left.path.cmp(&right.path));
    let mut first_paths: BTreeMap<Identity, EntryPathBuf> = BTreeMap::new();
    let mut files = Vec::with_capacity(found.len());
    for (mut scanned, identity) in found {
        if let (Some(identity), ScannedKind::Entry(kind)) = (identity, &mut scanned.kind) {
            match first_paths.get(&identity) {
                Some(first) => *kind = KindBuf::HardLink { target: first.clone() },
                None => drop(first_paths.insert(identity, scanned.path.clone())),
            }
        }
        files.push(scanned);
    }
    hash_files(tree, &mut files)?;
    Ok(files)
}

/// What is found, and its identity where it has several paths.
type Found = (Scanned, Option<Identity>);

fn list_levels(tree: &Tree) -> Result<Vec<Found>, ScanError> {
    let status = statx(tree, ".", AtFlags::empty(), StatxFlags::BASIC_STATS);
    let status = status.map_err(|errno| attributes_error(EntryPath::ROOT, errno.into()))?;
    let root = Scanned {
        path: EntryPathBuf::default(),
        kind: ScannedKind::Entry(KindBuf::Directory { opaque: false }),
        metadata: metadata(&status),
    };
    let mut found = vec![(root, None)];
    let mut level = vec![0];
    while !level.is_empty() {
        let list = |index: &usize| list(tree, &found[*index].0);
        let lists: Vec<Listing> = if level.len() < PARALLEL_DIRECTORIES_MIN {
            level.iter().map(list).collect::<Result<_, _>>()?
        } else {
            level.par_iter().map(list).collect::<Result<_, _>>()?
        };
        let mut next = Vec::new();
        for (directory, listing) in level.into_iter().zip(lists) {
            let Listing { xattrs, opaque, children } = listing;
            found[directory].0.metadata.xattrs = xattrs;
            found[directory].0.kind = ScannedKind::Entry(KindBuf::Directory { opaque });
            for child in children {
                if matches!(child.0.kind, ScannedKind::Entry(KindBuf::Directory { .. })) {
                    next.push(found.len());
                }
                found.push(child);
            }
        }
        level = next;
    }
    Ok(found)
}

/// What is directly in a directory, and what only the open directory tells about itself.
struct Listing {
    xattrs: XattrsBuf,
    opaque: bool,
    children: Vec<Found>,
}

fn list(tree: &Tree, scanned: &Scanned) -> Result<Listing, ScanError> {
    let path = scanned.path.as_path();
    let failed = |source| ScanError::List { path: path.to_text(), source };
    let directory = tree.open_directory(path).map_err(failed)?;
    let pairs = xattrs::read(&directory).map_err(|source| attributes_error(path, source))?;
    refuse(path, &pairs, "overlay.redirect")?;
    let is_opaque = |(name, value): &(Vec<u8>, Vec<u8>)| {
        OPAQUE_XATTRS.iter().any(|opaque| opaque.as_bytes() == name) && value == OPAQUE_VALUE
    };
    let opaque = pairs.iter().any(is_opaque);
    let mut children = Vec::new();
    let mut buffer = [const { MaybeUninit::uninit() }; 16 << 10];
    let mut names = RawDir::new(&directory, &mut buffer);
    while let Some(entry) = names.next() {
        let entry = entry.map_err(|errno| failed(errno.into()))?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            children.push(look(&directory, path, name)?);
        }
    }
    Ok(Listing { xattrs: XattrsBuf::from_iter(pairs), opaque, children })
}

fn look(directory: &impl AsFd, parent: EntryPath<'_>, name: &[u8]) -> Result<Found, ScanError> {
    let path = parent.child(name).map_err(|source| ScanError::Path {
        directory: parent.to_text(),
        name: text(name),
        source,
    })?;
    let failed = |source| attributes_error(path.as_path(), source);
    let status = statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
    let status = status.map_err(|errno| failed(errno.into()))?;
    let device = Device { major: status.stx_rdev_major, minor: status.stx_rdev_minor };
    let kind = match FileType::from_raw_mode(status.stx_mode.into()) {
        FileType::Directory => KindBuf::Directory { opaque: false },
        FileType::RegularFile => KindBuf::File { size_bytes: status.stx_size, content: ContentHash([0; 32]) },
        FileType::Symlink => {
            let target = readlinkat(directory, name, Vec::new()).map_err(|errno| failed(errno.into()))?;
            KindBuf::Symlink { target: target.into_bytes() }
        }
        FileType::CharacterDevice if device == (Device { major: 0, minor: 0 }) => KindBuf::Whiteout,
        FileType::CharacterDevice => KindBuf::CharDevice(device),
        FileType::BlockDevice => KindBuf::BlockDevice(device),
        FileType::Fifo => KindBuf::Fifo,
        FileType::Socket | FileType::Unknown => {
            let scanned = Scanned { path, kind: ScannedKind::Socket, metadata: MetadataBuf::default() };
            return Ok((scanned, None));
        }
    };
    let mut metadata = metadata(&status);
    if matches!(kind, KindBuf::Symlink { .. } | KindBuf::CharDevice(_) | KindBuf::BlockDevice(_) | KindBuf::Fifo) {
        metadata.xattrs = XattrsBuf::from_iter(xattrs::read_at(directory, name).map_err(failed)?);
    }
    let is_single = status.stx_nlink < 2 || matches!(kind, KindBuf::Directory { .. } | KindBuf::Whiteout);
    let identity = (!is_single).then_some((status.stx_dev_major, status.stx_dev_minor, status.stx_ino));
    Ok((Scanned { path, kind: ScannedKind::Entry(kind), metadata }, identity))
}

fn metadata(status: &Statx) -> MetadataBuf {
    MetadataBuf {
        mode: status.stx_mode & MODE_BITS,
        uid: status.stx_uid,
        gid: status.stx_gid,
        mtime: Mtime { seconds: status.stx_mtime.tv_sec, nanoseconds: status.stx_mtime.tv_nsec },
        xattrs: XattrsBuf::default(),
    }
}

/// Gives all regular files their hashes and attributes. Small files side by side; large ones one after another, each on all cores.
fn hash_files(tree: &Tree, files: &mut [Scanned]) -> Result<(), ScanError> {
    let size = |file: &Scanned| match file.kind {
        ScannedKind::Entry(KindBuf::File { size_bytes, .. }) => Some(size_bytes),
        _ => None,
    };
    let (small, large): (Vec<&mut Scanned>, Vec<&mut Scanned>) = files
        .iter_mut()
        .filter(|file| size(file).is_some())
        .partition(|file| size(file).is_some_and(|size| size < LARGE_BYTES_MIN));
    large.into_iter().try_for_each(|file| hash_file(tree, file))?;
    if small.len() < PARALLEL_FILES_MIN {
        return small.into_iter().try_for_each(|file| hash_file(tree, file));
    }
    small.into_par_iter().try_for_each(|file| hash_file(tree, file))
}

fn hash_file(tree: &Tree, scanned: &mut Scanned) -> Result<(), ScanError> {
    let path = scanned.path.as_path();
    let ScannedKind::Entry(KindBuf::File { size_bytes, content }) = &mut scanned.kind else {
        return Ok(());
    };
    let failed = |source| ScanError::Read { path: path.to_text(), source };
    let range = tree.open_file(path).map_err(failed)?;
    let pairs = xattrs::read(&range).map_err(|source| attributes_error(path, source))?;
    refuse(path, &pairs, "overlay.metacopy")?;
    let (actual_bytes, hash) = hash::hash_range(&range).map_err(failed)?;
    if actual_bytes != *size_bytes {
        let (path, expected_bytes) = (path.to_text(), *size_bytes);
        return Err(ScanError::Changed { path, expected_bytes, actual_bytes });
    }
    *content = hash;
    scanned.metadata.xattrs = XattrsBuf::from_iter(pairs);
    Ok(())
}

/// Refuses what only an overlay file system can make sense of.
fn refuse(path: EntryPath<'_>, pairs: &[(Vec<u8>, Vec<u8>)], suffix: &str) -> Result<(), ScanError> {
    let overlay =
        |name: &[u8]| ["trusted.", "user."].iter().any(|space| [space.as_bytes(), suffix.as_bytes()].concat() == name);
    match pairs.iter().find(|(name, _)| overlay(name)) {
        Some((name, _)) => Err(ScanError::Overlay { path: path.to_text(), attribute: text(name) }),
        None => Ok(()),
    }
}

pub(super) fn attributes_error(path: EntryPath<'_>, source: io::Error) -> ScanError {
    ScanError::Attributes { path: path.to_text(), source }
}
