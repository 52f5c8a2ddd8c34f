//! What a build knows of a directory: what the builds before remembered, and what it read itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use layer::{ContentHash, EntryPathBuf, KindBuf, Mtime};
use oci::Digest;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;
use store::{Store, StoreError};

use super::index::{Fresh, Index, Kept, Known, KnownWhat, Selected};
use super::look::{Directory, Files, Look};
use super::seen::{Seen, Stamp};

/// As many files and directories, and bytes of files, are read again sooner than an index is written.
const REREAD_FILES_MAX: usize = 64;
const REREAD_BYTES_MAX: u64 = 16 << 20;
/// How much of an index is read by one thread.
const READ_AT_ONCE_BYTES: usize = 1 << 20;

/// What is known of a directory.
pub(super) struct Memory {
    directory: PathBuf,
    /// Read when it is needed first.
    index: Option<Arc<Index>>,
    selections: Vec<Selected>,
    /// Files and directories that were read by this build.
    fresh: Fresh,
    /// The files among them that may change without a trace.
    racy: BTreeSet<EntryPathBuf>,
    /// Which files of the index are as they were.
    used: Vec<bool>,
    /// The same for directories.
    used_directories: Vec<bool>,
    saw_all: bool,
    has_new_selections: bool,
    /// Whether all that is known was written down.
    is_saved: bool,
}

impl Memory {
    /// Starts without knowing anything of a directory, named by its absolute path.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            index: None,
            selections: Vec::new(),
            fresh: Fresh::default(),
            racy: BTreeSet::new(),
            used: Vec::new(),
            used_directories: Vec::new(),
            saw_all: false,
            has_new_selections: false,
            is_saved: false,
        }
    }

    /// Returns what the builds before remembered.
    pub(super) fn index(&mut self, store: &Store) -> Arc<Index> {
        let index = self.index.get_or_insert_with(|| {
            let bytes = store.open_context_index(&self.directory).and_then(|file| read(&file).ok());
            let index = Index::load(bytes.unwrap_or_default());
            self.selections = index.selections();
            (self.used, self.used_directories) = (vec![false; index.len()], vec![false; index.directories()]);
            Arc::new(index)
        });
        index.clone()
    }

    /// Notes what a look at the directory found of directories and links, and of files that are what they were.
    pub(super) fn saw(&mut self, look: &mut Look, began: Mtime) {
        for directory in &look.directories {
            match &directory.files {
                Files::AsIndexed(place) => {
                    let files = self.index.as_ref().map_or(0..0, |index| index.files_of(*place));
                    self.used.get_mut(files).into_iter().flatten().for_each(|used| *used = true);
                }
                Files::Seen(files) => {
                    let is_link = |file: &&Seen| matches!(file.kind, KindBuf::Symlink { .. });
                    files.iter().filter(is_link).for_each(|link| self.saw_link(link, began));
                }
            }
        }
        for place in look.known_directories.drain(..) {
            if let Some(used) = self.used_directories.get_mut(place) {
                *used = true;
            }
        }
        self.is_saved &= look.fresh_directories.is_empty();
        self.fresh.directories.extend(look.fresh_directories.drain(..));
    }

    fn saw_link(&mut self, link: &Seen, began: Mtime) {
        match link.place.and_then(|place| self.used.get_mut(place as usize)) {
            Some(used) => *used = true,
            None => self.keep(link, began),
        }
    }

    /// Returns the files whose hashes are not known, and fills in those that this build read before.
    pub(super) fn recall<'s>(&mut self, found: &'s mut [Directory]) -> Vec<&'s mut Seen> {
        let mut unknown = Vec::new();
        for file in found.iter_mut().flat_map(Directory::seen_mut) {
            let KindBuf::File { content, .. } = &mut file.kind else { continue };
            if let Some(used) = file.place.and_then(|place| self.used.get_mut(place as usize)) {
                *used = true;
                continue;
            }
            if file.is_socket {
                continue;
            }
            let known = self.fresh.files.get(&file.path).filter(|known| known.stamp == file.stamp);
            match known.map(|known| &known.what) {
                Some(KnownWhat::File { content: known, xattrs }) => (*content, file.xattrs) = (*known, xattrs.clone()),
                _ => unknown.push(file),
            }
        }
        unknown
    }

    /// Tells whether no build before read anything of the directory, as far as is remembered.
    pub(super) fn knows_nothing(&self) -> bool {
        self.index.as_ref().is_none_or(|index| index.len() == 0)
    }

    /// Notes what a file was like when it was read.
    pub(super) fn keep(&mut self, file: &Seen, began: Mtime) {
        let Some(known) = Known::of(file) else { return };
        self.is_saved = false;
        self.note_settled(&file.path, &file.stamp, began);
        self.fresh.files.insert(file.path.clone(), known);
    }

    /// Notes the same of many files, in the form that [`known_of`] gives them.
    pub(super) fn keep_all(&mut self, mut files: BTreeMap<EntryPathBuf, Known>, began: Mtime) {
        self.is_saved &= files.is_empty();
        for (path, known) in &files {
            self.note_settled(path, &known.stamp, began);
        }
        self.fresh.files.append(&mut files);
    }

    /// Notes whether a file may change without a trace.
    fn note_settled(&mut self, path: &EntryPathBuf, stamp: &Stamp, began: Mtime) {
        if stamp.is_settled(began) {
            self.racy.remove(path);
        } else {
            self.racy.insert(path.clone());
        }
    }

    /// Notes that all there is was looked at: what was not seen is gone.
    pub(super) fn saw_all(&mut self) {
        self.saw_all = true;
    }

    /// Returns the digest that a selection had of the same files.
    pub(super) fn selected(&mut self, key: Digest, scope: ContentHash) -> Option<Digest> {
        let place = self.selections.iter().position(|it| it.key == key && it.scope == scope)?;
        Some(self.selections[place].digest)
    }

    /// Notes the digest that a selection has.
    pub(super) fn remember_selected(&mut self, key: Digest, scope: ContentHash, digest: Digest) {
        self.selections.insert(0, Selected { key, scope, digest });
        (self.has_new_selections, self.is_saved) = (true, false);
    }

    /// Hands all of it to whoever lets it go; nobody asks any more.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(PathBuf::new()))
    }

    /// Forgets everything; it is all read again.
    pub(super) fn forget(&mut self) {
        let directory = std::mem::take(&mut self.directory);
        // An index that is empty is not read again from the store.
        *self = Self { index: Some(Arc::default()), ..Self::new(directory) };
    }

    /// Returns the files that were read, and not known before.
    #[cfg(test)]
    pub(super) fn were_read(&self) -> String {
        self.fresh
            .files
            .iter()
            .filter(|(_, known)| matches!(known.what, KnownWhat::File { .. }))
            .map(|(path, _)| path.to_string().trim_start_matches('/').to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Makes it worth being written down.
    #[cfg(test)]
    pub(super) fn has_news(&mut self) {
        self.has_new_selections = true;
    }

    /// Returns how many directories had the names that they had before.
    #[cfg(test)]
    pub(super) fn known_directories(&self) -> usize {
        self.used_directories.iter().filter(|is_used| **is_used).count()
    }

    /// Tells whether steps selected what was not selected before: then it will be written down, whatever else comes.
    pub(super) fn has_new_selections(&self) -> bool {
        self.has_new_selections && !self.is_saved
    }

    /// Writes it down, unless that costs more than it saves, or was done.
    pub(super) fn save(&mut self, store: &Store) -> Result<(), StoreError> {
        let Some(index) = self.index.as_ref().filter(|_| !self.is_saved) else { return Ok(()) };
        self.is_saved = true;
        self.fresh.files.retain(|path, known| !self.racy.contains(path) && known.stamp.inode != 0);
        let bytes: u64 = self.fresh.files.values().map(|known| known.stamp.size_bytes).sum();
        let is_little = self.fresh.len() <= REREAD_FILES_MAX && bytes <= REREAD_BYTES_MAX;
        // A first index is always worth it if it holds anything.
        let is_first = index.len() == 0 && index.directories() == 0;
        if !self.has_new_selections && (is_little && !is_first || self.fresh.len() == 0) {
            return Ok(());
        }
        let is_used = |used: &[bool], place: usize| !self.saw_all || used.get(place) == Some(&true);
        let keeps = Kept {
            directory: &|place| is_used(&self.used_directories, place),
            file: &|place| is_used(&self.used, place),
        };
        match index.encode(&keeps, &self.fresh, &self.selections) {
            Some(bytes) => store.write_context_index(&self.directory, &bytes),
            None => Ok(()),
        }
    }
}

/// Returns what is remembered of the files that a look read, on all cores. The memory must not be locked meanwhile: a thread that waits for others does their work.
pub(super) fn known_of(found: &[Directory]) -> BTreeMap<EntryPathBuf, Known> {
    let known = |file: &Seen| Some((file.path.clone(), Known::of(file)?));
    let of_each = |directory: &Directory| {
        directory.seen().iter().filter(|file| file.is_read).filter_map(known).collect::<Vec<_>>()
    };
    found.par_iter().map(of_each).collect::<Vec<_>>().into_iter().flatten().collect()
}

/// Reads a file on all cores: that of a large directory has some megabytes, and every build waits for it.
pub(super) fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?];
    if bytes.len() <= READ_AT_ONCE_BYTES {
        file.read_exact_at(&mut bytes, 0)?;
        return Ok(bytes);
    }
    let parts = bytes.par_chunks_mut(READ_AT_ONCE_BYTES).enumerate();
    parts.try_for_each(|(place, part)| file.read_exact_at(part, (place * READ_AT_ONCE_BYTES) as u64))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_any_length_is_read_whole() {
        for length in [0, 1, READ_AT_ONCE_BYTES, READ_AT_ONCE_BYTES + 1, 3 * READ_AT_ONCE_BYTES] {
            let expected: Vec<u8> = (0..length).map(|at| (at / 1000) as u8).collect();
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&expected, 0).unwrap();
            assert!(read(&file).unwrap() == expected, "{length}");
        }
    }
}
