//! What a step can see of a directory, as a file system of one layer.

use std::sync::{Arc, OnceLock};

use layer::{
    Content, ContentHash, Entries, EntriesBuilder, KeptFiles, Kind, Layer, Metadata, Mtime, Stack, Tree, Xattrs,
};
use store::DraftPack;

use super::index::Index;
use super::look::{self, Directory, Links};
use crate::ExecError;

/// What a step can see of a directory.
pub(crate) struct Scan {
    tree: Tree,
    /// Sorted by path.
    pub(super) directories: Vec<Directory>,
    /// What was known of them.
    pub(super) index: Arc<Index>,
    /// The time that all files have, if it is not their own.
    mtime: Option<Mtime>,
    /// Made when it is needed: a step that was done before needs only its digest.
    stack: OnceLock<Stack>,
    kept: Option<Kept>,
}

/// Files that were kept in a pack while they were read.
pub(crate) struct Kept {
    /// The files.
    pub(crate) files: KeptFiles,
    /// The pack has a name for as long as layers can be made of it.
    _draft: DraftPack,
}

impl Kept {
    pub(super) fn new(files: KeptFiles, draft: DraftPack) -> Self {
        Self { files, _draft: draft }
    }
}

impl Scan {
    pub(super) fn new(tree: Tree, directories: Vec<Directory>, index: Arc<Index>, kept: Option<Kept>) -> Self {
        Self { tree, directories, index, mtime: None, stack: OnceLock::new(), kept }
    }

    /// Returns how many files there are.
    pub(crate) fn len(&self) -> usize {
        look::len(&self.directories, &self.index)
    }

    /// Returns the files that were kept while they were read.
    pub(crate) fn kept(&self) -> Option<&KeptFiles> {
        self.kept.as_ref().map(|kept| &kept.files)
    }

    /// Returns the files as a file system. They belong to root.
    pub(crate) fn stack(&self) -> Result<&Stack, ExecError> {
        if let Some(stack) = self.stack.get() {
            return Ok(stack);
        }
        let entries = list(&self.directories, &self.index, self.mtime)?;
        let layer = Layer { entries, content: Content::Tree(self.tree.clone()) };
        Ok(self.stack.get_or_init(|| Stack::new(vec![layer])))
    }

    /// Gives all files the same time.
    pub(crate) fn set_times(&mut self, mtime: Mtime) {
        self.mtime = Some(mtime);
    }

    /// Returns a hash of everything about the files but their times.
    pub(super) fn fingerprint(&self) -> ContentHash {
        look::fingerprint(&self.directories, &self.index)
    }
}

/// Makes the list of what was found.
fn list(directories: &[Directory], index: &Index, mtime: Option<Mtime>) -> Result<Entries, ExecError> {
    let mut builder =
        EntriesBuilder::with_capacity(look::len(directories, index), look::path_bytes(directories, index));
    // What is as indexed has no other names.
    let links = Links::of(directories.iter().flat_map(Directory::seen));
    look::each(directories, index, |file| {
        let metadata = Metadata {
            mode: file.mode,
            uid: 0,
            gid: 0,
            mtime: mtime.unwrap_or(file.stamp.mtime),
            xattrs: file.xattrs.as_ref().map_or(Xattrs::EMPTY, |xattrs| xattrs.as_xattrs()),
        };
        let kind = links.first(file).map_or_else(|| file.kind.as_kind(), |target| Kind::HardLink { target });
        builder.push(&layer::Entry { path: file.path.as_path(), kind, metadata })
    })?;
    Ok(builder.finish()?)
}
