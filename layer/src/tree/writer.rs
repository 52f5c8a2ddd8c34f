//! Writing a new layer as a directory tree.
//!
//! The writer sees the layer on top of those beneath: what it is asked about is the merged view, and directories that only exist beneath are
//! brought up with their owner, mode and time when something is put into them.
//!
//! **Invariant:** all methods may be called from several threads at once. Paths are taken as they stand: no symbolic link is followed, that is
//! the business of [`TreeWriter::resolve`].

use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::access::Tree;
use super::attributes::{Attributes, LostXattrs};
use super::error::TreeError;
use super::nodes::{Node, Nodes, State};
use super::slot::{FileSlot, WrittenFile};
use super::source::FileSource;
use crate::entries::{Entries, EntriesBuilder};
use crate::entry::{Device, Entry, EntryBuf, KindBuf, Metadata};
use crate::path::{EntryPath, EntryPathBuf};
use crate::stack::{Follow, ResolveError, Seen, Stack, resolve};

/// A layer that is being written.
pub struct TreeWriter {
    pub(super) tree: Tree,
    pub(super) below: Stack,
    pub(super) attributes: Attributes,
    pub(super) nodes: Mutex<Nodes>,
    /// Told each time that a file was written or given up.
    settled: Condvar,
}

/// What is neither file, directory nor link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

/// What a layer itself has at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Here {
    Directory,
    Whiteout,
    /// A file whose bytes are being written.
    Pending,
    Other,
}

/// A layer that is written.
#[derive(Debug)]
pub struct FinishedTree {
    /// What is in it.
    pub entries: Entries,
    /// What the file system would not take.
    pub lost_xattrs: LostXattrs,
}

impl TreeWriter {
    /// Starts a layer in an empty directory, on top of the layers `below`. Its root is as the one beneath, else root's with mode 0755.
    pub fn new(root: OwnedFd, below: Stack) -> Result<Self, TreeError> {
        let tree = Tree::new(root);
        let attributes = Attributes::prepare(&tree).map_err(|source| TreeError::Root { source })?;
        let mut nodes = Nodes::default();
        let beneath = below.lookup(EntryPath::ROOT).map(|found| found.entry.metadata);
        let state = State::Directory { opaque: false, merges: beneath.is_some() };
        let metadata = (&beneath.unwrap_or(Metadata::IMPLIED_DIRECTORY)).into();
        nodes.insert(EntryPathBuf::default(), Node { state, metadata });
        Ok(Self { tree, below, attributes, nodes: Mutex::new(nodes), settled: Condvar::new() })
    }

    /// Returns the layers beneath.
    pub fn below(&self) -> &Stack {
        &self.below
    }

    /// Returns what is at a path now, in this layer or beneath; for a hard link, what it leads to.
    pub fn lookup(&self, path: EntryPath<'_>) -> Option<EntryBuf> {
        let nodes = self.lock_settled(&[path]);
        match nodes.get(path) {
            Some(node) => {
                let kind = nodes.target_kind(node).filter(|kind| *kind != KindBuf::Whiteout)?;
                Some(EntryBuf { path: path.to_owned(), kind, metadata: node.metadata.clone() })
            }
            None => {
                let found = self.beneath(&nodes, path)?;
                Some(Entry { path, ..self.below.target(&found).entry }.into())
            }
        }
    }

    /// Returns where a path leads in the merged view, as written by a user; see [`Stack::resolve`].
    pub fn resolve(&self, written: &[u8], follow: Follow) -> Result<EntryPathBuf, ResolveError> {
        self.resolve_within(EntryPath::ROOT, written, follow)
    }

    /// Returns where a path leads for a process whose root directory is `root`.
    pub fn resolve_within(
        &self,
        root: EntryPath<'_>,
        written: &[u8],
        follow: Follow,
    ) -> Result<EntryPathBuf, ResolveError> {
        resolve(root, written, follow, |path| {
            let nodes = self.lock();
            match nodes.get(path) {
                // A file that is being written is no directory and no link, which is all that matters here.
                Some(node) => nodes.target_kind(node).map_or(Seen::Other, |kind| Seen::of(Some(kind.as_kind()))),
                None => Seen::of(self.beneath(&nodes, path).map(|found| self.below.target(&found).entry.kind)),
            }
        })
    }

    /// Writes a file. What is there already is replaced, except for a directory.
    pub fn make_file(
        &self,
        path: EntryPath<'_>,
        metadata: &Metadata<'_>,
        source: FileSource<'_>,
    ) -> Result<WrittenFile, TreeError> {
        self.file_slot(path, metadata)?.write(source)
    }

    /// Takes the place of a file, to write it later or on another thread. What is there already is replaced, except for a directory.
    pub fn file_slot(&self, path: EntryPath<'_>, metadata: &Metadata<'_>) -> Result<FileSlot<'_>, TreeError> {
        let mut nodes = self.lock_settled(&[path]);
        self.vacate(&mut nodes, path, "file")?;
        nodes.insert(path.to_owned(), Node { state: State::Pending, metadata: metadata.into() });
        Ok(FileSlot::new(self, path.to_owned(), metadata.into()))
    }

    /// Notes what became of a file that was being written.
    pub(super) fn settle(&self, path: EntryPath<'_>, written: Option<WrittenFile>) {
        let mut nodes = self.lock();
        match (written, nodes.get_mut(path)) {
            (Some(WrittenFile { size_bytes, content }), Some(node)) => {
                node.state = State::Leaf(KindBuf::File { size_bytes, content });
            }
            _ => {
                nodes.remove(path);
            }
        }
        drop(nodes);
        self.settled.notify_all();
    }

    /// Returns whether a file at this path is being written.
    pub(crate) fn is_pending(&self, path: EntryPath<'_>) -> bool {
        self.lock().is_pending(path)
    }

    /// Returns what this layer itself has at a path, whatever is beneath.
    pub(crate) fn here(&self, path: EntryPath<'_>) -> Option<Here> {
        let nodes = self.lock();
        let state = &nodes.get(path)?.state;
        Some(match state {
            State::Directory { .. } => Here::Directory,
            State::Pending => Here::Pending,
            State::Leaf(KindBuf::Whiteout) => Here::Whiteout,
            State::Leaf(_) => Here::Other,
        })
    }

    /// Gives all directories their owners, modes and times, and returns the list of what was written.
    pub fn finish(self) -> Result<FinishedTree, TreeError> {
        let nodes = self.nodes.into_inner().unwrap_or_else(PoisonError::into_inner);
        let directories: Vec<_> = nodes.iter().filter(|(_, node)| node.state.is_directory()).collect();
        directories.par_iter().try_for_each(|(path, node)| {
            let opaque = matches!(node.state, State::Directory { opaque: true, .. });
            let metadata = node.metadata.as_metadata();
            self.attributes.finish_directory(&self.tree, path.as_path(), &metadata, opaque)
        })?;
        let mut builder = EntriesBuilder::new();
        // Each node is freed as soon as its entry is made.
        for (path, node) in nodes.into_nodes() {
            let kind = node.state.kind().expect("a slot borrows the writer, so none outlives it");
            builder.push(&Entry {
                path: path.as_path(),
                kind: kind.as_kind(),
                metadata: node.metadata.as_metadata(),
            })?;
        }
        Ok(FinishedTree { entries: builder.finish()?, lost_xattrs: self.attributes.into_lost() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks, once no file at one of these paths is being written.
    pub(super) fn lock_settled(&self, paths: &[EntryPath<'_>]) -> MutexGuard<'_, Nodes> {
        self.lock_unless(|nodes| paths.iter().any(|path| nodes.is_pending(*path)))
    }

    /// Locks, once `busy` is no longer so.
    pub(super) fn lock_unless(&self, busy: impl Fn(&Nodes) -> bool) -> MutexGuard<'_, Nodes> {
        let mut nodes = self.lock();
        while busy(&nodes) {
            nodes = self.settled.wait(nodes).unwrap_or_else(PoisonError::into_inner);
        }
        nodes
    }
}
