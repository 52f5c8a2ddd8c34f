//! Going through everything that is visible beneath a path: one cursor a layer, merged by path.
//!
//! Memory is a cursor for each layer, whatever the number of files.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::Range;

use super::lookup::{Found, Stack};
use crate::entries::Place;
use crate::entry::Kind;
use crate::path::EntryPath;

/// The visible entries beneath a path, itself first, sorted by path.
pub struct Walk<'a> {
    stack: &'a Stack,
    cursors: BinaryHeap<Cursor<'a>>,
    /// Scratch: the layers that have an entry at the current path, the topmost first.
    same: Vec<(usize, usize)>,
}

/// Where one layer stands. The greatest cursor of the heap is the one with the least path, of those the topmost layer.
struct Cursor<'a> {
    path: EntryPath<'a>,
    layer: usize,
    rest: Range<usize>,
}

impl Ord for Cursor<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.path.cmp(&self.path).then(self.layer.cmp(&other.layer))
    }
}

impl PartialOrd for Cursor<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Cursor<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Cursor<'_> {}

impl Stack {
    /// Returns everything visible at and beneath a path, sorted by path; nothing if there is nothing.
    pub fn walk(&self, path: EntryPath<'_>) -> Walk<'_> {
        let mut cursors = BinaryHeap::new();
        for (layer, above) in self.layers().iter().enumerate().rev() {
            let entries = &above.entries;
            let (nearest, found) = match entries.find(path) {
                Place::At(index) => (index, true),
                Place::Missing { nearest } => (nearest, false),
            };
            if found {
                cursors.push(Cursor { path: entries.path(nearest), layer, rest: entries.subtree(nearest) });
            }
            if !entries.is_directory(nearest) || entries.is_in_opaque(nearest) {
                break;
            }
        }
        Walk { stack: self, cursors, same: Vec::new() }
    }
}

impl<'a> Walk<'a> {
    /// Takes the cursors at the least path into `same`, the topmost first, and moves each to its next entry.
    fn step(&mut self) -> Option<()> {
        self.same.clear();
        let path = self.cursors.peek()?.path;
        while let Some(mut cursor) = self.cursors.peek_mut().filter(|cursor| cursor.path == path) {
            let (layer, index) = (cursor.layer, cursor.rest.start);
            self.same.push((layer, index));
            cursor.rest.start += 1;
            self.stack.settle(cursor);
        }
        Some(())
    }

    /// Goes on in the only layer that is left.
    fn next_of_last(&mut self) -> Option<Found<'a>> {
        let mut cursor = self.cursors.peek_mut()?;
        loop {
            let index = cursor.rest.next();
            let Some(index) = index else {
                PeekMut::pop(cursor);
                return None;
            };
            let found = self.stack.found(cursor.layer, index);
            if found.entry.kind != Kind::Whiteout {
                return Some(found);
            }
        }
    }

    /// Skips what the layers beneath have in the subtree of an entry that hides it.
    fn skip(&mut self, hidden: &[(usize, usize)]) {
        for (layer, index) in hidden {
            let entries = &self.stack.layers()[*layer].entries;
            let end = entries.subtree(*index).end;
            // Most of what is hidden is a single file, which the cursor is past already.
            if end == *index + 1 {
                continue;
            }
            let mut cursors = std::mem::take(&mut self.cursors).into_vec();
            cursors.retain_mut(|cursor| {
                if cursor.layer == *layer {
                    cursor.rest.start = end;
                    if cursor.rest.is_empty() {
                        return false;
                    }
                    cursor.path = entries.path(end);
                }
                true
            });
            self.cursors = cursors.into();
        }
    }
}

impl Stack {
    /// Gives a cursor that was moved its new path, or takes it away at its end.
    fn settle<'a>(&'a self, mut cursor: PeekMut<'_, Cursor<'a>>) {
        if cursor.rest.is_empty() {
            PeekMut::pop(cursor);
        } else {
            cursor.path = self.layers()[cursor.layer].entries.path(cursor.rest.start);
        }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        loop {
            // One layer alone hides nothing of others.
            if self.cursors.len() == 1 {
                return self.next_of_last();
            }
            self.step()?;
            let same = std::mem::take(&mut self.same);
            // The first entry that is not a directory, or is an opaque one, hides what all layers beneath it have here.
            let last = same.iter().position(|(layer, index)| {
                self.stack.layers()[*layer].entries.kind(*index) != (Kind::Directory { opaque: false })
            });
            if let Some(last) = last {
                self.skip(&same[last + 1..]);
            }
            let (layer, index) = same[0];
            self.same = same;
            let found = self.stack.found(layer, index);
            if found.entry.kind != Kind::Whiteout {
                return Some(found);
            }
        }
    }
}
