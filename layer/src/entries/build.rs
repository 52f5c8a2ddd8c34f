//! Making a list: entries come in any order, hard links are grouped under their first path, the result is sorted.

use std::collections::BTreeMap;

use super::format::{
    CHECKSUM, FLAG_LINKED, FLAG_OPAQUE, HEADER_BYTES, MAGIC, RECORD_BYTES, Record, Span, Tag, VERSION, checksum,
};
use super::table::Entries;
use crate::entry::{ContentHash, Device, Entry, Kind, MODE_BITS, Metadata};
use crate::path::{EntryPath, PathError};

/// Why entries do not make a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntriesError {
    /// A path is too long.
    #[error("cannot put `{path}` into a layer")]
    Path {
        /// Which path.
        path: String,
        /// What is wrong with it.
        source: PathError,
    },
    /// Two entries have one path.
    #[error("bug: `{path}` is twice in a layer")]
    Duplicate {
        /// Which path.
        path: String,
    },
    /// What an entry is in is not an entry, or not a directory.
    #[error("bug: `{path}` is in a layer without the directory that it is in")]
    Parent {
        /// Which path.
        path: String,
    },
    /// A hard link leads to what cannot be linked, or to nothing.
    #[error("bug: the hard link `{path}` leads to `{target}`, which is not a file of the same layer")]
    Target {
        /// The path of the link.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// Numbers are out of range, or a link has no target.
    #[error("bug: the entry `{path}` cannot be kept: {reason}")]
    Value {
        /// Which path.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There are too many entries, or their names are too long in all.
    #[error("too many files in one layer: the list of entries holds at most 4 GiB of names")]
    TooLarge,
}

/// A list in the making.
#[derive(Default)]
pub struct EntriesBuilder {
    records: Vec<Record>,
    /// Where the hard links among the records lead, by the index of the record.
    links: BTreeMap<usize, Span>,
    heap: Vec<u8>,
    /// The directories that the last record is in, and itself if it is one, for as long as all come in the order of the list.
    open: Vec<u32>,
    /// Whether some did not.
    is_unsorted: bool,
}

impl EntriesBuilder {
    /// Starts without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts without entries, with room for so many, and for so many bytes of paths.
    pub fn with_capacity(entries: usize, path_bytes: usize) -> Self {
        let (records, heap) = (Vec::with_capacity(entries), Vec::with_capacity(path_bytes));
        Self { records, heap, ..Self::default() }
    }

    /// Adds an entry. The directory that it is in, and the target of a hard link, may come later.
    pub fn push(&mut self, entry: &Entry<'_>) -> Result<(), EntriesError> {
        let Entry { path, kind, metadata } = entry;
        let parent = self.nest_next(entry.path, kind.is_directory());
        if parent.is_none() && !self.is_beside_last(entry.path) {
            let checked = EntryPath::parse(entry.path.as_bytes());
            checked.map_err(|source| EntriesError::Path { path: entry.path.to_text(), source })?;
        }
        check_values(entry)?;
        let none = ContentHash([0; 32]);
        let (tag, flags, number, content) = match *kind {
            Kind::Directory { opaque } => (Tag::Directory, if opaque { FLAG_OPAQUE } else { 0 }, 0, none),
            Kind::File { size_bytes, content } => (Tag::File, 0, size_bytes, content),
            Kind::HardLink { .. } => (Tag::HardLink, 0, 0, none),
            Kind::Symlink { .. } => (Tag::Symlink, 0, 0, none),
            Kind::CharDevice(device) => (Tag::CharDevice, 0, Record::device_number(device), none),
            Kind::BlockDevice(device) => (Tag::BlockDevice, 0, Record::device_number(device), none),
            Kind::Fifo => (Tag::Fifo, 0, 0, none),
            Kind::Whiteout => (Tag::Whiteout, 0, 0, none),
        };
        let path = self.keep(path.as_bytes())?;
        let mut target = Span::default();
        match kind {
            Kind::Symlink { target: leads_to } => target = self.keep(leads_to)?,
            Kind::HardLink { target: leads_to } => {
                let leads_to = self.keep(leads_to.as_bytes())?;
                self.links.insert(self.records.len(), leads_to);
            }
            _ => {}
        }
        let metadata = match kind {
            // Archives and file systems disagree about the mode of a symbolic link, which means nothing.
            Kind::Symlink { .. } => Metadata { mode: 0o777, ..*metadata },
            Kind::Whiteout => Metadata::default(),
            _ => *metadata,
        };
        let xattrs = self.keep(metadata.xattrs.encoded())?;
        let (mode, uid, gid, mtime) = (metadata.mode, metadata.uid, metadata.gid, metadata.mtime);
        let (parent, subtree_end) = (parent.unwrap_or(0), self.records.len() as u32 + 1);
        self.records.push(Record {
            path,
            parent,
            subtree_end,
            tag,
            flags,
            mode,
            uid,
            gid,
            mtime,
            number,
            target,
            xattrs,
            content,
        });
        Ok(())
    }

    /// Finds the parent of what comes next, as long as all come in order; then its path is that of a child, and only its name had to be checked.
    fn nest_next(&mut self, path: EntryPath<'_>, is_directory: bool) -> Option<u32> {
        if self.is_unsorted {
            return None;
        }
        let place = u32::try_from(self.records.len()).ok();
        let parent = place.and_then(|place| self.close_beside(path, place));
        match place.zip(parent) {
            Some((place, _)) if is_directory => self.open.push(place),
            Some(_) => {}
            None => self.is_unsorted = true,
        }
        parent
    }

    /// Ends the directories that `path`, which comes next, is not in; returns the one that it is in.
    fn close_beside(&mut self, path: EntryPath<'_>, place: u32) -> Option<u32> {
        let Some(last) = self.records.len().checked_sub(1) else { return path.is_root().then_some(0) };
        if path <= self.path(last) {
            return None;
        }
        while let Some(directory) = self.open.last().copied() {
            let above = self.path(directory as usize);
            if path.is_within(above) {
                return EntryPath::parse_child(path.as_bytes(), above).map(|_| directory);
            }
            self.records[directory as usize].subtree_end = place;
            self.open.pop();
        }
        None
    }

    /// Tells whether a path is one that lies beside the one that came last, or in it: as entries mostly do, and then only its name has to be checked.
    fn is_beside_last(&self, path: EntryPath<'_>) -> bool {
        let Some(last) = self.records.len().checked_sub(1).map(|last| self.path(last)) else { return false };
        let is_in = |parent: EntryPath<'_>| EntryPath::parse_child(path.as_bytes(), parent).is_some();
        last.parent().is_some_and(is_in) || is_in(last)
    }

    /// Sorts, groups and checks the entries.
    pub fn finish(mut self) -> Result<Entries, EntriesError> {
        if self.links.is_empty() && !self.is_unsorted {
            let count = self.records.len() as u32;
            self.open.iter().for_each(|directory| self.records[*directory as usize].subtree_end = count);
            // What the records name stands in their order already.
            let heap = std::mem::take(&mut self.heap);
            return write(self.records.iter().copied(), &heap);
        }
        let mut order: Vec<usize> = (0..self.records.len()).collect();
        order.sort_by_key(|index| self.path(*index));
        for pair in order.windows(2) {
            if self.path(pair[0]) == self.path(pair[1]) {
                return Err(EntriesError::Duplicate { path: self.path(pair[0]).to_text() });
            }
        }
        let links = std::mem::take(&mut self.links);
        self.group_links(&order, &links)?;
        let places = Self::places(&order);
        self.nest(&order)?;
        self.write(&order, &places)
    }

    fn path(&self, index: usize) -> EntryPath<'_> {
        EntryPath::parse_checked(self.span(self.records[index].path))
    }

    fn span(&self, span: Span) -> &[u8] {
        span.of(&self.heap).expect("the builder keeps what its records name")
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<Span, EntriesError> {
        append(&mut self.heap, bytes)
    }

    /// Returns where each record comes in the order.
    fn places(order: &[usize]) -> Vec<usize> {
        let mut places = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, index)| places[*index] = place);
        places
    }

    /// Makes the first path of each group the file and the others links to it, all with the owner, mode and times of the file.
    fn group_links(&mut self, order: &[usize], links: &BTreeMap<usize, Span>) -> Result<(), EntriesError> {
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (link, leads_to) in links {
            let path = EntryPath::parse_checked(self.span(*leads_to));
            let target = order.binary_search_by_key(&path, |index| self.path(*index)).ok().map(|at| order[at]);
            let target = target
                .filter(|target| !matches!(self.records[*target].tag, Tag::Directory | Tag::HardLink | Tag::Whiteout));
            let target = target
                .ok_or_else(|| EntriesError::Target { path: self.path(*link).to_text(), target: path.to_text() })?;
            groups.entry(target).or_insert_with(|| vec![target]).push(*link);
        }
        for (target, mut members) in groups {
            members.sort_by_key(|index| self.path(*index));
            let file = Record { flags: FLAG_LINKED, ..self.records[target] };
            let first = members[0];
            for member in members {
                let path = self.records[member].path;
                let link =
                    Record { tag: Tag::HardLink, flags: 0, number: first as u64, target: Span::default(), ..file };
                self.records[member] = Record { path, ..if member == first { file } else { link } };
            }
        }
        Ok(())
    }

    /// Finds the parent and the end of the subtree of each record, as places in the order.
    fn nest(&mut self, order: &[usize]) -> Result<(), EntriesError> {
        let mut open: Vec<usize> = Vec::new();
        for (place, index) in order.iter().enumerate() {
            let path = self.path(*index);
            let above = |open: &Vec<usize>| open.last().map(|place| self.path(order[*place]));
            let mut closed = Vec::new();
            while above(&open).is_some_and(|directory| !path.is_within(directory)) {
                closed.extend(open.pop());
            }
            if above(&open) != path.parent() {
                return Err(EntriesError::Parent { path: path.to_text() });
            }
            closed.into_iter().for_each(|directory| self.records[order[directory]].subtree_end = place as u32);
            let record = &mut self.records[*index];
            record.parent = open.last().map_or(0, |place| *place as u32);
            record.subtree_end = place as u32 + 1;
            if record.tag == Tag::Directory {
                open.push(place);
            }
        }
        let count = order.len() as u32;
        open.into_iter().for_each(|directory| self.records[order[directory]].subtree_end = count);
        Ok(())
    }

    fn write(&self, order: &[usize], places: &[usize]) -> Result<Entries, EntriesError> {
        let mut heap = Vec::with_capacity(self.heap.len());
        let mut records = Vec::with_capacity(order.len());
        for index in order {
            let mut record = self.records[*index];
            record.path = append(&mut heap, self.span(record.path))?;
            record.target = append(&mut heap, self.span(record.target))?;
            record.xattrs = append(&mut heap, self.span(record.xattrs))?;
            if record.tag == Tag::HardLink {
                record.number = places[record.number as usize] as u64;
            }
            records.push(record);
        }
        write(records.into_iter(), &heap)
    }
}

/// Writes records that are sorted, and what they name in the order in which they name it.
fn write(records: impl ExactSizeIterator<Item = Record>, heap: &[u8]) -> Result<Entries, EntriesError> {
    let entries = records.len();
    let count = u32::try_from(entries).map_err(|_| EntriesError::TooLarge)?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + entries * RECORD_BYTES + heap.len());
    bytes.resize(HEADER_BYTES, 0);
    records.for_each(|record| record.encode(&mut bytes));
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&count.to_le_bytes());
    bytes[16..24].copy_from_slice(&(heap.len() as u64).to_le_bytes());
    bytes.extend_from_slice(heap);
    let sum = checksum(&bytes);
    bytes[CHECKSUM].copy_from_slice(&sum);
    Ok(Entries::from_builder(bytes, entries))
}

fn append(heap: &mut Vec<u8>, bytes: &[u8]) -> Result<Span, EntriesError> {
    if bytes.is_empty() {
        return Ok(Span::default());
    }
    let end = heap.len().checked_add(bytes.len()).filter(|end| u32::try_from(*end).is_ok());
    end.ok_or(EntriesError::TooLarge)?;
    let span = Span { offset: heap.len() as u32, bytes: bytes.len() as u32 };
    heap.extend_from_slice(bytes);
    Ok(span)
}

fn check_values(entry: &Entry<'_>) -> Result<(), EntriesError> {
    let path = || entry.path.to_text();
    let reason = match entry.kind {
        Kind::Symlink { target } if target.is_empty() || target.contains(&0) => "a symbolic link leads nowhere",
        Kind::CharDevice(device) | Kind::BlockDevice(device)
            if device.major > Device::MAJOR_MAX || device.minor > Device::MINOR_MAX =>
        {
            "a device number is larger than Linux knows"
        }
        Kind::CharDevice(device) if Record::device_number(device) == 0 => "the device 0:0 stands for a deleted file",
        _ if entry.metadata.mode & !MODE_BITS != 0 => "the mode has more than twelve bits",
        _ if entry.metadata.mtime.nanoseconds > 999_999_999 => "the time has more nanoseconds than a second",
        _ if entry.path.is_root() && !entry.kind.is_directory() => "the root is a directory",
        _ => return Ok(()),
    };
    Err(EntriesError::Value { path: path(), reason })
}
