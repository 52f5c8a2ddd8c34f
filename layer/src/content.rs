//! Where the bytes of a layer's files are, and reading them.
//!
//! Whoever reads a file gets a [`FileRange`]: a piece of an open file. That is all there is to know, whether the layer is a tree of files or one
//! large file in which they stand one after another.

use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::io::preadv;

use crate::entries::Entries;
use crate::entry::{Entry, Kind};
use crate::pack::Packs;
use crate::tree::Tree;

/// Where the bytes of a layer's files are. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Content {
    /// In a directory tree, at the paths of the entries.
    Tree(Tree),
    /// In packs, at the extents of the entries.
    Packs(Packs),
}

/// A layer that can be read: its entries and their content. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Layer {
    /// What is in it.
    pub entries: Entries,
    /// Where the bytes of its files are.
    pub content: Content,
}

/// Why a file of a layer cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// It cannot be opened.
    #[error("cannot open `{path}` in a layer")]
    Open {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read to its end.
    #[error("cannot read `{path}` in a layer")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It has another size than its entry says.
    #[error("damaged layer: `{path}` should have {expected_bytes} bytes, it has {actual_bytes}")]
    Size {
        /// Which file.
        path: String,
        /// What the entry says.
        expected_bytes: u64,
        /// What is there.
        actual_bytes: u64,
    },
    /// The entry is not a file.
    #[error("cannot read `{path}`: it is a {kind}")]
    NotAFile {
        /// Which entry.
        path: String,
        /// What it is.
        kind: &'static str,
    },
}

impl Layer {
    /// Opens the file with this index in the list of entries, or the one that the hard link with this index leads to.
    pub fn open(&self, index: usize) -> Result<FileRange, ContentError> {
        let range = self.open_as_it_is(index)?;
        let Entry { path, kind, .. } = self.entries.entry(self.entries.target(index));
        match kind {
            Kind::File { size_bytes, .. } if size_bytes != range.size_bytes() => {
                let (path, actual_bytes) = (path.to_text(), range.size_bytes());
                Err(ContentError::Size { path, expected_bytes: size_bytes, actual_bytes })
            }
            _ => Ok(range),
        }
    }

    /// Opens the same, however long it is now.
    pub fn open_as_it_is(&self, index: usize) -> Result<FileRange, ContentError> {
        let Entry { path, kind, .. } = self.entries.entry(self.entries.target(index));
        let Kind::File { size_bytes, .. } = kind else {
            return Err(ContentError::NotAFile { path: path.to_text(), kind: kind.name() });
        };
        let opened = match &self.content {
            Content::Tree(tree) => tree.open_file(path),
            Content::Packs(packs) => {
                let missing = || io::Error::new(io::ErrorKind::UnexpectedEof, "it lies outside of the layer's packs");
                packs.open(self.entries.target(index), size_bytes).ok_or_else(missing)
            }
        };
        opened.map_err(|source| ContentError::Open { path: path.to_text(), source })
    }
}

/// A piece of an open file, read from its start to its end.
#[derive(Debug)]
pub struct FileRange {
    file: Arc<File>,
    offset: u64,
    size_bytes: u64,
    read_bytes: u64,
}

impl FileRange {
    /// Takes `size_bytes` of `file` from `offset` on. The position of the file is neither used nor moved.
    pub fn new(file: impl Into<Arc<File>>, offset: u64, size_bytes: u64) -> Self {
        Self { file: file.into(), offset, size_bytes, read_bytes: 0 }
    }

    /// Takes all of a file, as long as it is now.
    pub fn whole(file: File) -> io::Result<Self> {
        let size_bytes = file.metadata()?.len();
        Ok(Self::new(file, 0, size_bytes))
    }

    /// Returns a piece without bytes, of no file in particular.
    pub(crate) fn nothing() -> io::Result<Self> {
        Ok(Self::new(File::open("/dev/null")?, 0, 0))
    }

    /// Returns how long the piece is.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns where the piece starts in the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns where the piece ends in the file.
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.size_bytes
    }

    /// Returns what pieces are sorted by, so that those that lie beside each other in one file come one after the other.
    pub(crate) fn place(&self) -> (usize, u64) {
        (Arc::as_ptr(&self.file).addr(), self.offset)
    }

    /// Tells whether another piece of the same file begins behind this one, at most `gap_bytes` away.
    pub(crate) fn is_near(&self, next: &Self, gap_bytes: u64) -> bool {
        let gap = next.offset.checked_sub(self.end());
        Arc::ptr_eq(&self.file, &next.file) && gap.is_some_and(|gap| gap <= gap_bytes)
    }

    /// Reads what begins where the piece begins, and may go on behind its end, into buffers one after the other, in a single call; returns how much there was.
    pub(crate) fn read_vectored_at_start(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        Ok(preadv(&*self.file, buffers, self.offset)?)
    }

    /// Reads the bytes at `at` of the piece into `buffer`; fewer than it has room for only at the end of the piece, or of the file.
    pub fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size_bytes.saturating_sub(at).min(buffer.len() as u64) as usize;
        let mut filled = 0;
        while filled < left {
            match self.file.read_at(&mut buffer[filled..left], self.offset + at + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl Read for FileRange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read_at(self.read_bytes, buffer)?;
        self.read_bytes += count as u64;
        Ok(count)
    }
}

impl AsFd for FileRange {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
