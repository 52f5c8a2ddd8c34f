//! The list itself: looking up, going through, skipping.
//!
//! **Invariant:** the bytes were checked (or made by the builder), so that nothing in here can fail or panic.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::check::{self, EntriesFormatError};
use super::format::{FLAG_LINKED, FLAG_OPAQUE, HEADER_BYTES, RECORD_BYTES, Record, Span, Tag, u32_at};
use crate::entry::{Entry, Kind, Metadata};
use crate::path::EntryPath;
use crate::xattr::Xattrs;

/// The entries of one layer, sorted by path; the first is the root. Cheap to clone.
#[derive(Clone)]
pub struct Entries {
    bytes: Arc<Vec<u8>>,
    count: usize,
}

/// Where a path is in a list, or where it would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The entry with this index.
    At(usize),
    /// There is no such entry.
    Missing {
        /// The nearest entry above: a directory, or what stands in the way of there being one.
        nearest: usize,
    },
}

impl Entries {
    /// Takes over a list that [`Entries::as_bytes`] gave, from a file usually.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, EntriesFormatError> {
        let count = check::check(&bytes)?;
        Ok(Self { bytes: Arc::new(bytes), count })
    }

    /// Takes over a list that the builder made.
    pub(super) fn from_builder(bytes: Vec<u8>, count: usize) -> Self {
        debug_assert_eq!(check::check(&bytes), Ok(count), "the builder makes valid lists");
        Self { bytes: Arc::new(bytes), count }
    }

    /// Returns the list as it is kept on disk: equal entries are equal bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns how many entries there are; the root is always one.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the entry at a path.
    pub fn get(&self, path: EntryPath<'_>) -> Option<Entry<'_>> {
        match self.find(path) {
            Place::At(index) => Some(self.entry(index)),
            Place::Missing { .. } => None,
        }
    }

    /// Returns where a path is, or what is nearest above it.
    pub fn find(&self, path: EntryPath<'_>) -> Place {
        let at = self.lower_bound(path);
        if at < self.count && self.path(at) == path {
            return Place::At(at);
        }
        // All entries above `path` stand before it, and whatever stands between them and `path` is beneath the nearest of them.
        let mut nearest = at - 1;
        while !path.is_within(self.path(nearest)) {
            nearest = self.parent(nearest);
        }
        Place::Missing { nearest }
    }

    /// Returns the index of the first entry that is not before `path`.
    fn lower_bound(&self, path: EntryPath<'_>) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.path(middle) < path {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Returns the entry with this index.
    ///
    /// # Panics
    /// If there are not as many entries.
    pub fn entry(&self, index: usize) -> Entry<'_> {
        let record = self.record(index);
        let kind = self.kind_of(&record);
        let xattrs = Xattrs::parse(self.span(record.xattrs)).expect("a checked list has only well-formed attributes");
        let Record { mode, uid, gid, mtime, .. } = record;
        Entry { path: self.path(index), kind, metadata: Metadata { mode, uid, gid, mtime, xattrs } }
    }

    /// Returns what the entry with this index is, which costs less than all of it.
    pub(crate) fn kind(&self, index: usize) -> Kind<'_> {
        self.kind_of(&self.record(index))
    }

    fn kind_of(&self, record: &Record) -> Kind<'_> {
        match record.tag {
            Tag::Directory => Kind::Directory { opaque: record.flags & FLAG_OPAQUE != 0 },
            Tag::File => Kind::File { size_bytes: record.number, content: record.content },
            Tag::HardLink => Kind::HardLink { target: self.path(record.number as usize) },
            Tag::Symlink => Kind::Symlink { target: self.span(record.target) },
            Tag::CharDevice => Kind::CharDevice(record.device()),
            Tag::BlockDevice => Kind::BlockDevice(record.device()),
            Tag::Fifo => Kind::Fifo,
            Tag::Whiteout => Kind::Whiteout,
        }
    }

    /// Tells whether an entry is a directory.
    pub(crate) fn is_directory(&self, index: usize) -> bool {
        self.is_tagged(index, Tag::Directory)
    }

    /// Tells whether an entry stands for a deletion.
    pub(crate) fn is_whiteout(&self, index: usize) -> bool {
        self.is_tagged(index, Tag::Whiteout)
    }

    fn is_tagged(&self, index: usize, tag: Tag) -> bool {
        self.record_bytes(index)[16] == tag as u8
    }

    /// Returns the path of the entry with this index.
    pub fn path(&self, index: usize) -> EntryPath<'_> {
        let record = self.record_bytes(index);
        let bytes = self.span(Span { offset: u32_at(record, 0), bytes: u32_at(record, 4) });
        EntryPath::parse_checked(bytes)
    }

    /// Returns the directory that an entry is in; the root is its own.
    pub fn parent(&self, index: usize) -> usize {
        u32_at(self.record_bytes(index), 8) as usize
    }

    /// Returns an entry and all that is beneath it.
    pub fn subtree(&self, index: usize) -> Range<usize> {
        index..u32_at(self.record_bytes(index), 12) as usize
    }

    /// Returns what is directly in a directory, sorted; other entries have nothing in them.
    pub fn children(&self, index: usize) -> impl Iterator<Item = usize> {
        let Range { start, end } = self.subtree(index);
        let mut next = start + 1;
        std::iter::from_fn(move || {
            let child = (next < end).then_some(next)?;
            next = self.subtree(child).end;
            Some(child)
        })
    }

    /// Returns whether other entries are hard links to this one.
    pub fn is_linked(&self, index: usize) -> bool {
        self.record_bytes(index)[17] & FLAG_LINKED != 0
    }

    /// Returns the index of what a hard link leads to; any other entry is its own target.
    pub fn target(&self, index: usize) -> usize {
        if self.is_tagged(index, Tag::HardLink) { self.record(index).number as usize } else { index }
    }

    /// Returns whether a directory above this entry, or the entry itself, is opaque: whether it hides what lies beneath.
    pub fn is_in_opaque(&self, index: usize) -> bool {
        let mut index = index;
        loop {
            if self.record_bytes(index)[17] & FLAG_OPAQUE != 0 {
                return true;
            }
            if index == 0 {
                return false;
            }
            index = self.parent(index);
        }
    }

    /// Returns all entries, sorted by path.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Entry<'_>> + DoubleEndedIterator {
        (0..self.count).map(|index| self.entry(index))
    }

    /// Returns how many bytes the files have in all, each group of hard links counted once.
    pub fn size_bytes(&self) -> u64 {
        let files = (0..self.count).filter(|index| self.is_tagged(*index, Tag::File));
        files.fold(0, |sum, index| sum.saturating_add(self.record(index).number))
    }

    fn record(&self, index: usize) -> Record {
        Record::decode(self.record_bytes(index)).expect("a checked list has only known kinds")
    }

    fn record_bytes(&self, index: usize) -> &[u8; RECORD_BYTES] {
        assert!(index < self.count, "entry {index} of {}", self.count);
        let at = HEADER_BYTES + index * RECORD_BYTES;
        self.bytes[at..at + RECORD_BYTES].try_into().expect("the range has the length of a record")
    }

    fn span(&self, span: Span) -> &[u8] {
        let heap = HEADER_BYTES + self.count * RECORD_BYTES;
        span.of(&self.bytes[heap..]).expect("a checked list points only into its heap")
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Entries {}

/// One line an entry, for goldens and for people.
impl fmt::Display for Entries {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|entry| writeln!(out, "{entry}"))
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}
