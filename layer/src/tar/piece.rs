//! Pieces of a tar in memory: headers, and between them the bytes of files, which are read to where they belong.

use std::io::{self, IoSliceMut, Write};
use std::ops::Range;

use super::BLOCK_BYTES;
use super::export::ExportError;
use super::write::{TarOptions, Writer};
use crate::buffer;
use crate::content::{ContentError, FileRange, Layer};
use crate::entry::{Entry, Kind};
use crate::path::EntryPathBuf;

/// How far apart files are at most that are read at once: to read a little that nobody needs costs less than another call.
const JOINED_GAP_BYTES_MAX: u64 = 4 << 10;

/// An entry that is to be written.
pub(super) struct Item<'a> {
    /// Where it goes, if that is not what the entry says.
    pub(super) path: Option<EntryPathBuf>,
    pub(super) entry: Entry<'a>,
    /// Where a hard link leads in the new archive, if that is not what the entry says.
    pub(super) link: Option<EntryPathBuf>,
    /// Where the bytes of a file are.
    pub(super) file: Option<(&'a Layer, usize)>,
}

impl Item<'_> {
    fn entry(&self) -> Entry<'_> {
        let mut entry = self.entry;
        if let Some(path) = &self.path {
            entry.path = path.as_path();
        }
        if let Some(link) = &self.link {
            entry.kind = Kind::HardLink { target: link.as_path() };
        }
        entry
    }

    /// Returns how many bytes of a file belong to the item.
    pub(super) fn file_bytes(&self) -> u64 {
        match self.entry.kind {
            Kind::File { size_bytes, .. } if self.file.is_some() => size_bytes,
            _ => 0,
        }
    }

    fn open(&self) -> Result<Option<FileRange>, ContentError> {
        self.file.map(|(layer, index)| layer.open(index)).transpose()
    }
}

/// Bytes of a tar, in memory that is used again.
#[derive(Default)]
pub(super) struct Piece {
    /// Never shortened, since what is new would have to be filled with zeros each time.
    bytes: Vec<u8>,
    /// Where the piece ends in them.
    end: usize,
}

impl Piece {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.end]
    }

    /// Makes it a piece of entries whose files are small.
    pub(super) fn of_entries(mut self, items: &[Item<'_>], options: TarOptions) -> Result<Self, ExportError> {
        self.end = 0;
        let mut writer = Writer::new(self, options);
        let mut files = Vec::with_capacity(items.len());
        for item in items {
            match item.open()? {
                Some(range) => {
                    let (expected_bytes, actual_bytes) = (item.file_bytes(), range.size_bytes());
                    if actual_bytes != expected_bytes {
                        let path = item.entry().path.to_text();
                        return Err(ContentError::Size { path, expected_bytes, actual_bytes }.into());
                    }
                    writer.append_header_only(&item.entry())?;
                    files.push((item, range, writer.out_mut().leave_room(item.file_bytes())));
                }
                None => writer.append(&item.entry(), &mut io::empty())?,
            }
        }
        let mut piece = writer.into_inner();
        let (mut rest, mut at) = (piece.bytes.as_mut_slice(), 0);
        let holes = files.iter().map(|(item, range, room)| {
            let _ = rest.split_off_mut(..room.start - at);
            at = room.end;
            Hole { item, range, at: 0, bytes: rest.split_off_mut(..room.len()).unwrap_or_default() }
        });
        let mut holes: Vec<Hole<'_, '_>> = holes.collect();
        holes.sort_by_key(|hole| hole.range.place());
        holes.chunk_by_mut(|one, other| one.range.is_near(other.range, JOINED_GAP_BYTES_MAX)).try_for_each(fill_row)?;
        Ok(piece)
    }

    /// Makes it a part of a long file: with its header if it is the first, with what fills up its last block if it is the last.
    pub(super) fn of_part(
        mut self,
        item: &Item<'_>,
        part: &Range<u64>,
        options: TarOptions,
    ) -> Result<Self, ExportError> {
        self.end = 0;
        let mut writer = Writer::new(self, options);
        if part.start == 0 {
            writer.append_header_only(&item.entry())?;
        }
        let mut piece = writer.into_inner();
        let Some(range) = item.open()? else { return Ok(piece) };
        let room = piece.reserve((part.end - part.start) as usize);
        Hole { item, range: &range, at: part.start, bytes: &mut piece.bytes[room] }.fill()?;
        if part.end == item.file_bytes() {
            piece.pad(part.end);
        }
        Ok(piece)
    }

    /// Adds room for the bytes of a file, and what fills up its last block; returns where the bytes go.
    fn leave_room(&mut self, file_bytes: u64) -> Range<usize> {
        let room = self.reserve(file_bytes as usize);
        self.pad(file_bytes);
        room
    }

    fn pad(&mut self, file_bytes: u64) {
        let padding = self.reserve((file_bytes.next_multiple_of(BLOCK_BYTES as u64) - file_bytes) as usize);
        self.bytes[padding].fill(0);
    }

    /// Adds so many bytes, whatever is in them.
    fn reserve(&mut self, count: usize) -> Range<usize> {
        let start = self.end;
        self.end += count;
        if self.bytes.len() < self.end {
            self.bytes.resize(self.end, 0);
        }
        start..self.end
    }
}

impl Write for Piece {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let place = self.reserve(bytes.len());
        self.bytes[place].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where the bytes of a file belong.
struct Hole<'a, 'p> {
    item: &'a Item<'a>,
    range: &'a FileRange,
    /// Where in the file they begin.
    at: u64,
    bytes: &'p mut [u8],
}

impl Hole<'_, '_> {
    fn fill(&mut self) -> Result<(), ContentError> {
        let path = || self.item.entry().path.to_text();
        let read = self.range.read_at(self.at, self.bytes);
        let count = read.map_err(|source| ContentError::Read { path: path(), source })?;
        if count < self.bytes.len() {
            let actual_bytes = self.at + count as u64;
            return Err(ContentError::Size { path: path(), expected_bytes: self.item.file_bytes(), actual_bytes });
        }
        Ok(())
    }
}

/// Reads files that lie beside each other.
fn fill_row(row: &mut [Hole<'_, '_>]) -> Result<(), ContentError> {
    let [first, .., last] = row else { return row.iter_mut().try_for_each(Hole::fill) };
    let (joined, expected_bytes) = (first.range, last.range.end() - first.range.offset());
    let files_bytes: usize = row.iter().map(|hole| hole.bytes.len()).sum();
    let count = buffer::with((expected_bytes as usize).saturating_sub(files_bytes), |mut gaps| {
        let (mut parts, mut end) = (Vec::with_capacity(2 * row.len()), joined.offset());
        for hole in row.iter_mut() {
            let gap = gaps.split_off_mut(..(hole.range.offset() - end) as usize).unwrap_or_default();
            if !gap.is_empty() {
                parts.push(IoSliceMut::new(gap));
            }
            parts.push(IoSliceMut::new(hole.bytes));
            end = hole.range.end();
        }
        joined.read_vectored_at_start(&mut parts)
    });
    // Which of them it is that cannot be read, each says for itself.
    if count.is_ok_and(|count| count as u64 == expected_bytes) {
        Ok(())
    } else {
        row.iter_mut().try_for_each(Hole::fill)
    }
}
