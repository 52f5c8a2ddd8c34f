//! Which paths stay hard links of each other when some of a stack's files are copied, digested or exported.
//!
//! The first path of a group may be hidden, or not among the files that were selected. So the first path that is met becomes the file, and each
//! further one a link to it.

use std::collections::BTreeMap;

use super::lookup::{Found, Stack};
use crate::path::{EntryPath, EntryPathBuf};

/// The groups met so far. Memory grows with the groups of more than one path, not with the files.
pub struct Links<'a> {
    stack: &'a Stack,
    first_paths: BTreeMap<(usize, usize), EntryPathBuf>,
}

/// What a path becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed<'a, 'p> {
    /// This file. For a hard link it is what the link leads to.
    File(Found<'a>),
    /// A hard link to a path that was placed before.
    LinkTo(EntryPath<'p>),
}

impl<'a> Links<'a> {
    /// Starts with no group.
    pub fn new(stack: &'a Stack) -> Self {
        Self { stack, first_paths: BTreeMap::new() }
    }

    /// Says what `found` becomes at `path`, the path that it gets; asked once for each path, in the order of the new list.
    pub fn place(&mut self, found: &Found<'a>, path: EntryPath<'_>) -> Placed<'a, '_> {
        let target = self.stack.target(found);
        if !self.stack.layers()[target.layer].entries.is_linked(target.index) {
            return Placed::File(target);
        }
        let mut is_first = false;
        let first = self.first_paths.entry((target.layer, target.index)).or_insert_with(|| {
            is_first = true;
            path.to_owned()
        });
        if is_first { Placed::File(target) } else { Placed::LinkTo(first.as_path()) }
    }
}
