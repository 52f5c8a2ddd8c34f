//! Reaching files in a tree, however long their paths are, without ever following a symbolic link.
//!
//! **Invariant:** every path is resolved beneath the root's file descriptor, by `openat2` with `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`. The
//! kernel refuses what a damaged tree, or one that somebody changes meanwhile, would lead out to.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::content::FileRange;
use crate::path::EntryPath;

/// How many bytes of a path one system call gets; those beyond are reached in steps. The kernel takes 4095.
const STEP_BYTES_MAX: usize = 4000;

/// The root of a tree. Cheap to clone; the clones share one file descriptor.
#[derive(Clone, Debug)]
pub struct Tree(Arc<OwnedFd>);

/// The directory of an entry, open, and the name of the entry in it.
pub(crate) struct Parent<'a> {
    directory: Option<OwnedFd>,
    tree: &'a Tree,
    pub(crate) name: &'a [u8],
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_ref().map_or_else(|| self.tree.as_fd(), AsFd::as_fd)
    }
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Tree {
    /// Takes the open root directory of a tree; opened with `O_PATH` is enough.
    pub fn new(root: OwnedFd) -> Self {
        Self(Arc::new(root))
    }

    /// Opens a regular file for reading, as long as it is now; anything else at the path is an error.
    pub fn open_file(&self, path: EntryPath<'_>) -> io::Result<FileRange> {
        let file = self.open_whatever(path)?;
        let metadata = file.metadata()?;
        match metadata.is_file() {
            true => Ok(FileRange::new(file, 0, metadata.len())),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file")),
        }
    }

    /// Opens what was seen to be a regular file of this length, without looking whether it still is. Whoever reads it looks at what it was afterwards.
    pub fn open_seen(&self, path: EntryPath<'_>, size_bytes: u64) -> io::Result<FileRange> {
        Ok(FileRange::new(self.open_whatever(path)?, 0, size_bytes))
    }

    fn open_whatever(&self, path: EntryPath<'_>) -> io::Result<File> {
        // O_NONBLOCK so that a named pipe that took the file's place cannot make us wait; it means nothing for regular files.
        Ok(File::from(self.open(path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?))
    }

    /// Opens a directory for reading its list and changing its attributes.
    pub fn open_directory(&self, path: EntryPath<'_>) -> io::Result<OwnedFd> {
        self.open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    /// Creates a file that does not exist.
    pub(crate) fn create_file(&self, path: EntryPath<'_>, mode: Mode) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        Ok(File::from(self.open(path, flags, mode)?))
    }

    /// Opens the directory of an entry, for calls that take a directory and a name.
    pub(crate) fn parent<'a>(&'a self, path: EntryPath<'a>) -> io::Result<Parent<'a>> {
        let directory = match path.parent() {
            Some(parent) if !parent.is_root() => {
                Some(self.open(parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?)
            }
            _ => None,
        };
        let name = if path.is_root() { b".".as_slice() } else { path.name() };
        Ok(Parent { directory, tree: self, name })
    }

    fn open(&self, path: EntryPath<'_>, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let mut from: Option<OwnedFd> = None;
        let mut rest = path.as_argument();
        while rest.len() > STEP_BYTES_MAX {
            let end =
                rest[..STEP_BYTES_MAX].iter().rposition(|byte| *byte == b'/').ok_or(rustix::io::Errno::NAMETOOLONG)?;
            let directory = from.as_ref().map_or_else(|| self.0.as_fd(), AsFd::as_fd);
            from = Some(open_at(directory, &rest[..end], OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?);
            rest = &rest[end + 1..];
        }
        let directory = from.as_ref().map_or_else(|| self.0.as_fd(), AsFd::as_fd);
        open_at(directory, rest, flags, mode)
    }
}

fn open_at(directory: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    loop {
        match openat2(directory, path, flags, mode, resolve) {
            // The kernel asks to try again when something was renamed while it looked; nobody renames in a tree of ours for long.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            opened => return Ok(opened?),
        }
    }
}
