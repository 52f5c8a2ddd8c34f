//! Whether bytes are a list of entries: everything that [`super::Entries`] relies on, in one pass.

use super::format::{
    CHECKSUM, FLAG_LINKED, FLAG_OPAQUE, HEADER_BYTES, MAGIC, RECORD_BYTES, Record, Tag, VERSION, array_at, checksum,
    u32_at, u64_at,
};
use crate::entry::{Device, MODE_BITS};
use crate::path::EntryPath;
use crate::xattr::Xattrs;

/// Why bytes are not a list of entries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntriesFormatError {
    /// They begin with something else.
    #[error("not a list of entries: expected it to begin with `KILN-ENT`")]
    Magic,
    /// A later version of Kiln wrote them.
    #[error("unsupported version of a list of entries: expected {VERSION}, found {found}; a newer kiln wrote it")]
    Version {
        /// The version that they name.
        found: u32,
    },
    /// There are too few or too many.
    #[error("damaged list of entries: expected {expected_bytes} bytes, found {actual_bytes}")]
    Length {
        /// How many the header announces.
        expected_bytes: u64,
        /// How many there are.
        actual_bytes: u64,
    },
    /// They changed since they were written.
    #[error("damaged list of entries: its checksum does not match")]
    Checksum,
    /// A record breaks a rule.
    #[error("invalid list of entries: record {index} {reason}")]
    Record {
        /// Which record, from 0.
        index: usize,
        /// Which rule.
        reason: &'static str,
    },
}

/// Checks a list and returns how many entries it has.
pub(super) fn check(bytes: &[u8]) -> Result<usize, EntriesFormatError> {
    let (count, heap_at) = check_header(bytes)?;
    if checksum(bytes) != array_at::<32>(bytes, CHECKSUM.start) {
        return Err(EntriesFormatError::Checksum);
    }
    let (records, heap) = bytes[HEADER_BYTES..].split_at(heap_at - HEADER_BYTES);
    let mut walk = Walk { records, heap, open: Vec::new() };
    for index in 0..count {
        walk.step(index).map_err(|reason| EntriesFormatError::Record { index, reason })?;
    }
    walk.close(count, 0).map_err(|reason| EntriesFormatError::Record { index: count, reason })?;
    Ok(count)
}

/// Checks what stands before the records; returns how many they are and where the heap begins.
fn check_header(bytes: &[u8]) -> Result<(usize, usize), EntriesFormatError> {
    if !bytes.starts_with(MAGIC) {
        return Err(EntriesFormatError::Magic);
    }
    let actual_bytes = bytes.len() as u64;
    if bytes.len() < HEADER_BYTES {
        return Err(EntriesFormatError::Length { expected_bytes: HEADER_BYTES as u64, actual_bytes });
    }
    let found = u32_at(bytes, 8);
    if found != VERSION {
        return Err(EntriesFormatError::Version { found });
    }
    let count = u32_at(bytes, 12);
    let heap_at = HEADER_BYTES as u64 + u64::from(count) * RECORD_BYTES as u64;
    let expected_bytes = heap_at.saturating_add(u64_at(bytes, 16));
    if expected_bytes != actual_bytes {
        return Err(EntriesFormatError::Length { expected_bytes, actual_bytes });
    }
    if u64_at(bytes, 24) != 0 || count == 0 {
        return Err(EntriesFormatError::Record {
            index: 0,
            reason: "is missing, or the header holds what this version does not know",
        });
    }
    // The length of the slice is a `usize`, so what is not larger is one too.
    Ok((count as usize, heap_at as usize))
}

/// A directory whose subtree is not at its end.
struct Open<'a> {
    path: EntryPath<'a>,
    index: usize,
    subtree_end: u32,
    /// The name of the entry seen last in it; the next one must be greater.
    last_child: &'a [u8],
}

struct Walk<'a> {
    records: &'a [u8],
    heap: &'a [u8],
    open: Vec<Open<'a>>,
}

impl<'a> Walk<'a> {
    fn record(&self, index: usize) -> Option<Record> {
        Record::decode(self.records[index * RECORD_BYTES..].first_chunk().expect("as many records as the header says"))
    }

    fn step(&mut self, index: usize) -> Result<(), &'static str> {
        let record = self.record(index).ok_or("is of an unknown kind")?;
        let bytes = record.path.of(self.heap).ok_or("has a path outside of the heap")?;
        let path = if index == 0 { check_root(bytes, &record)? } else { self.check_place(index, bytes, &record)? };
        self.check_fields(&record)?;
        if record.tag == Tag::HardLink {
            self.check_link(index, &record)?;
        }
        if record.tag == Tag::Directory {
            self.open.push(Open { path, index, subtree_end: record.subtree_end, last_child: b"" });
        } else if record.subtree_end as usize != index + 1 {
            return Err("is no directory and has entries beneath it");
        }
        Ok(())
    }

    /// Checks that an entry stands directly in the innermost directory that is not at its end, and behind its siblings.
    fn check_place(&mut self, index: usize, bytes: &'a [u8], record: &Record) -> Result<EntryPath<'a>, &'static str> {
        let parent = record.parent as usize;
        let depth = self.open.iter().rposition(|open| open.index == parent).ok_or("is in no directory")?;
        self.close(index, depth + 1)?;
        let open = self.open.last_mut().ok_or("is in no directory")?;
        let path = EntryPath::parse_child(bytes, open.path).ok_or("has a path that is not in its directory")?;
        let start = if open.path.is_root() { 0 } else { open.path.as_bytes().len() + 1 };
        let name = &bytes[start..];
        if open.last_child >= name {
            return Err("is not in order");
        }
        open.last_child = name;
        Ok(path)
    }

    /// Ends all directories but the outer `depth` ones, before the record `index`.
    fn close(&mut self, index: usize, depth: usize) -> Result<(), &'static str> {
        match self.open.drain(depth..).all(|open| open.subtree_end as usize == index) {
            true => Ok(()),
            false => Err("does not stand where the directory before it ends"),
        }
    }

    fn check_fields(&self, record: &Record) -> Result<(), &'static str> {
        let target = record.target.of(self.heap).ok_or("has a target outside of the heap")?;
        if (record.tag == Tag::Symlink) == target.is_empty() || target.contains(&0) {
            return Err("has a wrong target");
        }
        let xattrs = record.xattrs.of(self.heap).ok_or("has attributes outside of the heap")?;
        Xattrs::parse(xattrs).ok_or("has malformed attributes")?;
        let allowed = match record.tag {
            Tag::Directory => FLAG_OPAQUE,
            Tag::HardLink | Tag::Whiteout => 0,
            _ => FLAG_LINKED,
        };
        if record.mode & !MODE_BITS != 0 || record.mtime.nanoseconds > 999_999_999 || record.flags & !allowed != 0 {
            return Err("has a mode, time or flag out of range");
        }
        let Device { major, minor } = record.device();
        match record.tag {
            Tag::CharDevice if record.number == 0 => Err("is a whiteout in the form of a device"),
            Tag::CharDevice | Tag::BlockDevice if major > Device::MAJOR_MAX || minor > Device::MINOR_MAX => {
                Err("has a device number out of range")
            }
            _ => Ok(()),
        }
    }

    fn check_link(&self, index: usize, record: &Record) -> Result<(), &'static str> {
        let target = usize::try_from(record.number).ok().filter(|target| *target < index);
        let target = target.and_then(|target| self.record(target)).ok_or("is a hard link to no earlier entry")?;
        match target.flags & FLAG_LINKED != 0 && !matches!(target.tag, Tag::Directory) {
            true => Ok(()),
            false => Err("is a hard link to what cannot be linked"),
        }
    }
}

fn check_root<'a>(bytes: &[u8], record: &Record) -> Result<EntryPath<'a>, &'static str> {
    match bytes.is_empty() && record.tag == Tag::Directory && record.parent == 0 {
        true => Ok(EntryPath::ROOT),
        false => Err("is not the root directory"),
    }
}
