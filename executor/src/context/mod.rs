//! A directory of this machine as a source: scanned in place, as far as a step can see it, and read as if it were a layer.
//!
//! **Invariant:** nothing is copied and nothing is read that no step selects; what an ignore file leaves out is not there.

mod scope;
mod walk;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use layer::hash::hash_range;
use layer::{Content, ContentHash, Entries, EntriesBuilder, EntryPathBuf, KindBuf, Layer, Stack, Tree, Xattrs};
use llb::Selection;
use llb::pattern::Ignore;
use rayon::iter::{IntoParallelRefMutIterator, ParallelIterator};

use crate::ExecError;
use scope::Scope;
use walk::{Seen, Stamp, walk};

/// A directory of this machine that steps read files from.
pub struct Context {
    root: PathBuf,
    tree: Tree,
    ignore: Ignore,
    /// The hashes of files that were read, with what the files looked like then.
    read: Mutex<HashMap<EntryPathBuf, (Stamp, ContentHash)>>,
}

impl Context {
    /// Opens a directory; `ignore` says which of its files do not exist for the build.
    pub fn open(root: &Path, ignore: Ignore) -> Result<Self, ExecError> {
        let directory = File::open(root).map_err(ExecError::file("open", root))?;
        Ok(Self { root: root.to_owned(), tree: Tree::new(directory.into()), ignore, read: Mutex::default() })
    }

    /// Returns the files that `selection` can name, with the directories above them, as a file system of one layer. They belong to root.
    ///
    /// It reads every file that it has not read yet.
    pub(crate) fn scan(&self, selection: Option<&Selection>) -> Result<Stack, ExecError> {
        let mut scope = Scope::of(selection);
        let mut seen = walk(&self.root, &self.tree, &self.ignore, &mut scope)?;
        self.hash(&mut seen)?;
        let entries = list(&seen)?;
        Ok(Stack::new(vec![Layer { entries, content: Content::Tree(self.tree.clone()) }]))
    }

    /// Forgets what was read, since it turned out to have changed.
    pub(crate) fn forget(&self) {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Tells whether an ignore file hides what would be at a path.
    pub(crate) fn hides(&self, path: &str) -> bool {
        let path = path.trim_start_matches('/');
        self.ignore.is_ignored(path) && self.root.join(path).symlink_metadata().is_ok()
    }

    fn hash(&self, seen: &mut [Seen]) -> Result<(), ExecError> {
        let known = |path: &EntryPathBuf, stamp: &Stamp| {
            let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            read.get(path).filter(|(then, _)| then == stamp).map(|(_, content)| *content)
        };
        seen.par_iter_mut().try_for_each(|file| {
            let KindBuf::File { size_bytes, content } = &mut file.kind else { return Ok(()) };
            if let Some(hash) = known(&file.path, &file.stamp) {
                *content = hash;
                return Ok(());
            }
            let path = || self.root.join(file.path.to_string().trim_start_matches('/'));
            let opened = self.tree.open_file(file.path.as_path());
            let range = opened.map_err(|source| ExecError::file::<std::io::Error>("read", &path())(source))?;
            let hashed =
                hash_range(&range).map_err(|source| ExecError::file::<std::io::Error>("read", &path())(source))?;
            (*size_bytes, *content) = hashed;
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            read.insert(file.path.clone(), (file.stamp, hashed.1));
            Ok(())
        })
    }
}

fn list(seen: &[Seen]) -> Result<Entries, ExecError> {
    let mut builder = EntriesBuilder::new();
    for file in seen {
        let metadata = layer::Metadata {
            mode: file.mode,
            uid: 0,
            gid: 0,
            mtime: file.stamp.mtime,
            xattrs: file.xattrs.as_ref().map_or(Xattrs::EMPTY, |xattrs| xattrs.as_xattrs()),
        };
        builder.push(&layer::Entry { path: file.path.as_path(), kind: file.kind.as_kind(), metadata })?;
    }
    Ok(builder.finish()?)
}
