//! What a build knows of a directory: what the builds before remembered, and what it read itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use layer::{ContentHash, EntryPathBuf, KindBuf};
use oci::Digest;
use store::{Store, StoreError};

use super::index::{Index, Known, Selected};
use super::seen::Seen;

/// As many files, and bytes of them, are read again sooner than an index is written.
const REREAD_FILES_MAX: usize = 64;
const REREAD_BYTES_MAX: u64 = 16 << 20;

/// What is known of a directory.
pub(super) struct Memory {
    directory: PathBuf,
    /// Read when it is needed first.
    index: Option<Index>,
    selections: Vec<Selected>,
    /// Files that were read by this build.
    fresh: BTreeMap<EntryPathBuf, Known>,
    /// Those of them that may change without a trace.
    racy: BTreeSet<EntryPathBuf>,
    /// Which files of the index were seen.
    used: Vec<bool>,
    saw_all: bool,
    has_new_selections: bool,
}

impl Memory {
    /// Starts without knowing anything of a directory, named by its absolute path.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            index: None,
            selections: Vec::new(),
            fresh: BTreeMap::new(),
            racy: BTreeSet::new(),
            used: Vec::new(),
            saw_all: false,
            has_new_selections: false,
        }
    }

    /// Fills in the hashes of files that are known, and returns the others. `seen` is sorted.
    pub(super) fn recall<'s>(&mut self, store: &Store, seen: &'s mut [Seen]) -> Vec<&'s mut Seen> {
        let index = self.index.get_or_insert_with(|| {
            let index = Index::load(store.read_context_index(&self.directory).unwrap_or_default());
            (self.selections, self.used) = (index.selections(), vec![false; index.len()]);
            index
        });
        let (mut unknown, mut place) = (Vec::new(), 0);
        for file in seen {
            let KindBuf::File { content, .. } = &mut file.kind else { continue };
            if file.is_socket {
                continue;
            }
            let found = index.find(place, file.path.as_path());
            place = found.map_or_else(|place| place, |place| place + 1);
            if let Ok(place) = found {
                self.used[place] = true;
            }
            let fresh = self.fresh.get(&file.path).cloned();
            let known = fresh.or_else(|| index.known(found.ok()?)).filter(|known| known.stamp == file.stamp);
            match known {
                Some(known) => (*content, file.xattrs) = (known.content, known.xattrs),
                None => unknown.push(file),
            }
        }
        unknown
    }

    /// Notes what a file was like when it was read.
    pub(super) fn read(&mut self, path: EntryPathBuf, known: Known, is_settled: bool) {
        if is_settled {
            self.racy.remove(&path);
        } else {
            self.racy.insert(path.clone());
        }
        self.fresh.insert(path, known);
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
        self.has_new_selections = true;
    }

    /// Forgets everything; it is all read again.
    pub(super) fn forget(&mut self) {
        let directory = std::mem::take(&mut self.directory);
        // An index that is empty is not read again from the store.
        *self = Self { index: Some(Index::default()), ..Self::new(directory) };
    }

    /// Returns the files that were read, and not known before.
    #[cfg(test)]
    pub(super) fn were_read(&self) -> String {
        self.fresh.keys().map(|path| path.to_string().trim_start_matches('/').to_owned()).collect::<Vec<_>>().join(" ")
    }

    /// Writes it down, unless that costs more than it saves.
    pub(super) fn save(&mut self, store: &Store) -> Result<(), StoreError> {
        let Some(index) = &self.index else { return Ok(()) };
        self.fresh.retain(|path, known| !self.racy.contains(path) && known.stamp.inode != 0);
        let bytes: u64 = self.fresh.values().map(|known| known.stamp.size_bytes).sum();
        let is_little = self.fresh.len() <= REREAD_FILES_MAX && bytes <= REREAD_BYTES_MAX;
        // A first index is always worth it if it holds anything.
        if !self.has_new_selections && (is_little && index.len() > 0 || self.fresh.is_empty()) {
            return Ok(());
        }
        let keeps = |place: usize| !self.saw_all || self.used.get(place) == Some(&true);
        match index.encode(keeps, &self.fresh, &self.selections) {
            Some(bytes) => store.write_context_index(&self.directory, &bytes),
            None => Ok(()),
        }
    }
}
