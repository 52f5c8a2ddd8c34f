//! Looking up single paths and directories.

use std::collections::BTreeMap;

use crate::content::{ContentError, FileRange, Layer};
use crate::entries::Place;
use crate::entry::{Entry, Kind};
use crate::path::EntryPath;

/// Layers, the lowest first. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    layers: Vec<Layer>,
}

/// An entry that is visible in a stack, and which layer it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// The entry; never a whiteout, and a directory is never opaque.
    pub entry: Entry<'a>,
    /// Which layer it is in, counted from the lowest.
    pub layer: usize,
    /// Its index in that layer's list.
    pub index: usize,
}

/// What one layer has to say about a path.
pub(super) enum Verdict<'a> {
    /// It is there.
    Here(Found<'a>),
    /// It is not there, and nothing beneath can be seen.
    Hidden,
    /// The layer says nothing: what is beneath decides.
    Below,
}

impl Stack {
    /// Puts layers on top of each other, the lowest first.
    pub fn new(layers: Vec<Layer>) -> Self {
        Self { layers }
    }

    /// Returns the layers, the lowest first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Returns what is at a path; no symbolic link is followed. In a stack without layers there is nothing, not even a root.
    pub fn lookup(&self, path: EntryPath<'_>) -> Option<Found<'_>> {
        for layer in (0..self.layers.len()).rev() {
            match self.look_into(layer, path) {
                Verdict::Here(found) => return Some(found),
                Verdict::Hidden => return None,
                Verdict::Below => {}
            }
        }
        None
    }

    fn look_into(&self, layer: usize, path: EntryPath<'_>) -> Verdict<'_> {
        let entries = &self.layers[layer].entries;
        match entries.find(path) {
            Place::At(index) => match self.found(layer, index) {
                Found { entry: Entry { kind: Kind::Whiteout, .. }, .. } => Verdict::Hidden,
                found => Verdict::Here(found),
            },
            Place::Missing { nearest } => {
                let shines_through = entries.is_directory(nearest) && !entries.is_in_opaque(nearest);
                if shines_through { Verdict::Below } else { Verdict::Hidden }
            }
        }
    }

    /// Returns what is in a directory, sorted by name. What is no directory, or is not there, has nothing in it.
    pub fn read_dir(&self, path: EntryPath<'_>) -> Vec<Found<'_>> {
        // The topmost layer that knows a name decides about it; `None` remembers that it was deleted.
        let mut names: BTreeMap<&[u8], Option<Found<'_>>> = BTreeMap::new();
        for layer in (0..self.layers.len()).rev() {
            let entries = &self.layers[layer].entries;
            match entries.find(path) {
                Place::At(directory) if entries.is_directory(directory) => {
                    for index in entries.children(directory) {
                        let found = self.found(layer, index);
                        let visible = (found.entry.kind != Kind::Whiteout).then_some(found);
                        names.entry(found.entry.path.name()).or_insert(visible);
                    }
                    if entries.is_in_opaque(directory) {
                        break;
                    }
                }
                Place::At(_) => break,
                Place::Missing { nearest } => {
                    if !entries.is_directory(nearest) || entries.is_in_opaque(nearest) {
                        break;
                    }
                }
            }
        }
        names.into_values().flatten().collect()
    }

    /// Returns the file that a hard link leads to, which need not be visible at its own path; anything else is its own target.
    pub fn target<'a>(&'a self, found: &Found<'a>) -> Found<'a> {
        let index = self.layers[found.layer].entries.target(found.index);
        if index == found.index { *found } else { self.found(found.layer, index) }
    }

    /// Opens the bytes of a file, through a hard link too.
    pub fn open(&self, found: &Found<'_>) -> Result<FileRange, ContentError> {
        self.layers[found.layer].open(found.index)
    }

    /// Opens what is at the place of a file now, however long it is: of layers that somebody else writes to, which only directories of this machine are.
    pub fn open_as_it_is(&self, found: &Found<'_>) -> Result<FileRange, ContentError> {
        self.layers[found.layer].open_as_it_is(found.index)
    }

    /// Returns an entry as it is seen from above: that a directory hides something is no longer to be seen in it.
    pub(super) fn found(&self, layer: usize, index: usize) -> Found<'_> {
        let mut entry = self.layers[layer].entries.entry(index);
        if entry.kind.is_directory() {
            entry.kind = Kind::Directory { opaque: false };
        }
        Found { entry, layer, index }
    }
}
