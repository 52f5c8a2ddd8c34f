//! What a tree looks like from outside: whether anybody touched it, found out without reading a file.
//!
//! The kernel sets the time of the last change of a file (`ctime`) whenever its bytes, its owner, its mode or its attributes are written, and lets nobody set it. So a tree
//! in which every file still has its inode, its size and its times has not been written to by any program.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use rustix::fs::{AtFlags, FileType, RawDir, Statx, StatxFlags, statx};

use super::access::Tree;
use super::scan::{ScanError, attributes_error};
use crate::path::{EntryPath, EntryPathBuf};

/// How many bytes of a digest are kept: what is compared are changes that nobody sought.
const STAMP_BYTES: usize = 16;

/// What a tree looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeStamp {
    /// The digest of all that tells whether a file was written to: inodes and times of the last change among it. A copy of the tree has another one.
    pub identity: [u8; STAMP_BYTES],
    /// The digest of names, kinds, owners, modes, and of the sizes and times of files. A faithful copy of the tree has the same one.
    pub looks: [u8; STAMP_BYTES],
}

/// Returns what a tree looks like, found out on all cores. The order in which the file system lists names does not matter.
pub fn stamp_tree(tree: &Tree) -> Result<TreeStamp, ScanError> {
    let mut hashes = Hashes::default();
    let status = statx(tree, ".", AtFlags::empty(), StatxFlags::BASIC_STATS);
    hashes.add(b"", &status.map_err(|errno| attributes_error(EntryPath::ROOT, errno.into()))?);
    // One level of the tree after the other, each in the order of its paths.
    let mut level = vec![EntryPathBuf::default()];
    while !level.is_empty() {
        let stamped = level.par_iter().map(|directory| stamp_directory(tree, directory.as_path()));
        let stamped: Vec<(TreeStamp, Vec<EntryPathBuf>)> = stamped.collect::<Result<_, _>>()?;
        level = Vec::new();
        for (stamp, directories) in stamped {
            hashes.identity.update(&stamp.identity);
            hashes.looks.update(&stamp.looks);
            level.extend(directories);
        }
    }
    Ok(hashes.finish())
}

/// Returns what a directory looks like, and the directories in it.
fn stamp_directory(tree: &Tree, path: EntryPath<'_>) -> Result<(TreeStamp, Vec<EntryPathBuf>), ScanError> {
    let failed = |source| ScanError::List { path: path.to_text(), source };
    let directory = tree.open_directory(path).map_err(failed)?;
    let (mut hashes, mut directories) = (Hashes::default(), Vec::new());
    for name in names(&directory).map_err(|errno| failed(errno.into()))? {
        let child = path.child(&name).map_err(|source| ScanError::Path {
            directory: path.to_text(),
            name: crate::path::text(&name),
            source,
        })?;
        let status = statx(&directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
        let status = status.map_err(|errno| attributes_error(child.as_path(), errno.into()))?;
        hashes.add(child.as_path().as_bytes(), &status);
        if is_directory(&status) {
            directories.push(child);
        }
    }
    Ok((hashes.finish(), directories))
}

/// Returns what is in a directory, sorted.
fn names(directory: &impl AsFd) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut buffer = [const { MaybeUninit::uninit() }; 16 << 10];
    let mut listed = RawDir::new(directory, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = listed.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn is_directory(status: &Statx) -> bool {
    FileType::from_raw_mode(status.stx_mode.into()) == FileType::Directory
}

#[derive(Default)]
struct Hashes {
    identity: blake3::Hasher,
    looks: blake3::Hasher,
}

impl Hashes {
    fn finish(&self) -> TreeStamp {
        let digest = |hasher: &blake3::Hasher| {
            let mut bytes = [0; STAMP_BYTES];
            hasher.finalize_xof().fill(&mut bytes);
            bytes
        };
        TreeStamp { identity: digest(&self.identity), looks: digest(&self.looks) }
    }

    fn add(&mut self, path: &[u8], status: &Statx) {
        let mut bytes = Vec::with_capacity(path.len() + 80);
        bytes.extend_from_slice(&(path.len() as u64).to_le_bytes());
        bytes.extend_from_slice(path);
        bytes.extend_from_slice(&status.stx_mode.to_le_bytes());
        for number in [status.stx_uid, status.stx_gid, status.stx_rdev_major, status.stx_rdev_minor] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        // What a file system says of the size of a directory is its own affair, and hardly any copy keeps the times of directories.
        if !is_directory(status) {
            bytes.extend_from_slice(&status.stx_size.to_le_bytes());
            bytes.extend_from_slice(&status.stx_mtime.tv_sec.to_le_bytes());
            bytes.extend_from_slice(&status.stx_mtime.tv_nsec.to_le_bytes());
        }
        self.looks.update(&bytes);
        bytes.extend_from_slice(&status.stx_ino.to_le_bytes());
        bytes.extend_from_slice(&status.stx_ctime.tv_sec.to_le_bytes());
        bytes.extend_from_slice(&status.stx_ctime.tv_nsec.to_le_bytes());
        self.identity.update(&bytes);
    }
}
