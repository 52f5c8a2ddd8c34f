//! Writing a new layer, as a directory tree or into a pack.
//!
//! The writer sees the layer on top of those beneath: what it is asked about is the merged view, and directories that only exist beneath are
//! brought up with their owner, mode and time when something is put into them.
//!
//! **Invariant:** all methods may be called from several threads at once. Paths are taken as they stand: no symbolic link is followed, that is
//! the business of [`TreeWriter::resolve`].

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::attributes::LostXattrs;
use super::disk::Disk;
use super::error::TreeError;
use super::nodes::{Node, Nodes, State};
use super::slot::{FileSlot, WrittenFile};
use super::source::FileSource;
use crate::entries::{Entries, EntriesBuilder};
use crate::entry::{Device, Entry, EntryBuf, KindBuf, Metadata, MetadataBuf};
use crate::erofs::Extent;
use crate::pack::{Lender, PackWriter, Packed};
use crate::path::{EntryPath, EntryPathBuf};
use crate::stack::{Follow, ResolveError, Seen, Stack, resolve};

/// A layer that is being written.
pub struct TreeWriter {
    pub(super) form: Form,
    pub(super) below: Stack,
    pub(super) nodes: Mutex<Nodes>,
    /// Told each time that a file was written or given up.
    settled: Condvar,
}

/// What a layer is written as.
pub(super) enum Form {
    Tree(Disk),
    Pack(PackWriter),
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

/// The bytes of a file that are in a pack already.
#[derive(Clone, Copy, Debug)]
pub struct LentFile {
    written: WrittenFile,
    extent: Extent,
}

/// A layer that is written.
#[derive(Debug)]
pub struct FinishedTree {
    /// What is in it.
    pub entries: Entries,
    /// What the file system would not take.
    pub lost_xattrs: LostXattrs,
    /// Where the bytes of its files are, if it was written into a pack.
    pub packed: Option<Packed>,
}

impl TreeWriter {
    /// Starts a layer in an empty directory, on top of the layers `below`. Its root is as the one beneath, else root's with mode 0755.
    pub fn new(root: OwnedFd, below: Stack) -> Result<Self, TreeError> {
        Ok(Self::with_form(Form::Tree(Disk::new(root)?), below))
    }

    /// Starts a layer whose files go into `pack`, which is empty, unless `lender` has them already.
    pub fn packed(pack: impl Into<Arc<File>>, lender: Lender, below: Stack) -> Self {
        Self::with_form(Form::Pack(PackWriter::new(pack.into(), 0, lender)), below)
    }

    fn with_form(form: Form, below: Stack) -> Self {
        let mut nodes = Nodes::default();
        let beneath = below.lookup(EntryPath::ROOT).map(|found| found.entry.metadata);
        let state = State::Directory { opaque: false, merges: beneath.is_some() };
        let metadata = (&beneath.unwrap_or(Metadata::IMPLIED_DIRECTORY)).into();
        nodes.insert(EntryPathBuf::default(), Node::new(state, metadata));
        Self { form, below, nodes: Mutex::new(nodes), settled: Condvar::new() }
    }

    /// Does what only a directory tree needs.
    pub(super) fn on_disk(&self, act: impl FnOnce(&Disk) -> Result<(), TreeError>) -> Result<(), TreeError> {
        match &self.form {
            Form::Tree(disk) => act(disk),
            Form::Pack(_) => Ok(()),
        }
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
        nodes.insert(path.to_owned(), Node::new(State::Pending, metadata.into()));
        Ok(FileSlot::new(self, path.to_owned(), metadata.into()))
    }

    /// Returns a file of this content that is there already, in a pack that the writer may use.
    pub fn find_lent(&self, written: WrittenFile) -> Option<LentFile> {
        let Form::Pack(pack) = &self.form else { return None };
        let extent = pack.borrow(written.content, written.size_bytes)?;
        Some(LentFile { written, extent })
    }

    /// Makes a file that is nothing but a further use of one that [`TreeWriter::find_lent`] returned. What is there already is replaced, except for a directory.
    pub fn make_lent_file(&self, path: EntryPathBuf, metadata: MetadataBuf, file: LentFile) -> Result<(), TreeError> {
        let LentFile { written: WrittenFile { size_bytes, content }, extent } = file;
        let state = State::Leaf(KindBuf::File { size_bytes, content });
        let node = Node { extent, ..Node::new(state, metadata) };
        let mut nodes = self.lock();
        // Most come sorted, into directories that have nothing else: then there is nothing to ask about.
        if nodes.has_room(path.as_path()) {
            nodes.push(path, node);
            return Ok(());
        }
        drop(nodes);
        let mut nodes = self.lock_settled(&[path.as_path()]);
        self.vacate(&mut nodes, path.as_path(), "file")?;
        nodes.insert(path, node);
        Ok(())
    }

    /// Notes what became of a file that was being written.
    pub(super) fn settle(&self, path: EntryPath<'_>, written: Option<(WrittenFile, Extent)>) {
        let mut nodes = self.lock();
        match (written, nodes.get_mut(path)) {
            (Some((WrittenFile { size_bytes, content }, extent)), Some(node)) => {
                node.state = State::Leaf(KindBuf::File { size_bytes, content });
                node.extent = extent;
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

    /// Completes what was written, and returns the list of it.
    pub fn finish(self) -> Result<FinishedTree, TreeError> {
        let nodes = self.nodes.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (lost_xattrs, packed) = match self.form {
            Form::Tree(disk) => (finish_directories(disk, &nodes)?, None),
            Form::Pack(pack) => {
                let packed = pack.finish(nodes.extents());
                (LostXattrs::default(), Some(packed.map_err(|source| TreeError::Root { source })?))
            }
        };
        let (entries, path_bytes) = nodes.size();
        let mut builder = EntriesBuilder::with_capacity(entries, path_bytes);
        // Each node is freed as soon as its entry is made.
        for (path, node) in nodes.into_nodes() {
            let kind = node.state.kind().expect("a slot borrows the writer, so none outlives it");
            builder.push(&Entry {
                path: path.as_path(),
                kind: kind.as_kind(),
                metadata: node.metadata.as_metadata(),
            })?;
        }
        Ok(FinishedTree { entries: builder.finish()?, lost_xattrs, packed })
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

/// Gives all directories their owners, modes and times.
fn finish_directories(disk: Disk, nodes: &Nodes) -> Result<LostXattrs, TreeError> {
    let directories: Vec<_> = nodes.iter().filter(|(_, node)| node.state.is_directory()).collect();
    directories.par_iter().try_for_each(|(path, node)| {
        let opaque = matches!(node.state, State::Directory { opaque: true, .. });
        let metadata = node.metadata.as_metadata();
        disk.attributes.finish_directory(&disk.tree, path.as_path(), &metadata, opaque)
    })?;
    Ok(disk.attributes.into_lost())
}
