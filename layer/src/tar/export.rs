//! From a layer, or from a whole stack, to a tar: some threads make pieces of it, one hashes them and hands them on. Files that lie beside each other in a pack are read at once.
//!
//! Memory is bounded, whatever the number and size of the files: for each thread four pieces with at most 1 MiB of files and their headers, and 1 MiB more that it reads into.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use oci::{Digest, Hasher};

use super::BLOCK_BYTES;
use super::write::{TarOptions, TarWriteError, Writer};
use crate::buffer;
use crate::content::{ContentError, FileRange, Layer};
use crate::entry::{Entry, Kind};
use crate::ordered;
use crate::path::{EntryPath, EntryPathBuf};
use crate::stack::{Links, Placed, Stack};

/// Files up to this length are put together into pieces; longer ones are cut.
const SMALL_BYTES_MAX: u64 = 256 << 10;

/// How many bytes of small files a piece has, and how many entries.
const PIECE_BYTES_MAX: u64 = 512 << 10;
const PIECE_ENTRIES_MAX: usize = 128;

/// How long the pieces of a long file are.
const PART_BYTES: u64 = 1 << 20;

/// How many threads make pieces.
const THREADS_MAX: usize = 8;

/// How many bytes the caller's stream gets at once.
const BUFFER_BYTES: usize = 256 << 10;

/// How far apart files are at most that are read at once: to read a little that nobody needs costs less than another call.
const JOINED_GAP_BYTES_MAX: u64 = 4 << 10;

/// Into how many bytes the files of a piece are read, with what is between them.
const READ_BYTES_MAX: usize = PIECE_BYTES_MAX as usize + PIECE_ENTRIES_MAX * JOINED_GAP_BYTES_MAX as usize;

/// With fewer entries, and fewer bytes, than this, threads cost more than they gain.
const PARALLEL_ENTRIES_MIN: usize = 64;
const PARALLEL_BYTES_MIN: u64 = 4 << 20;

/// A tar that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The digest of the tar: for a layer its diffID.
    pub digest: Digest,
    /// How long it is.
    pub size_bytes: u64,
}

/// Why a layer cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file of it cannot be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The tar cannot be written.
    #[error(transparent)]
    Write(#[from] TarWriteError),
}

/// Writes a layer as a tar. The caller's stream gets large pieces.
pub fn export_layer(layer: &Layer, options: TarOptions, out: impl Write) -> Result<Exported, ExportError> {
    export(items(layer), is_little([layer]), options, io::BufWriter::with_capacity(BUFFER_BYTES, out))
}

/// Returns the digest that the tar of a layer has, without writing it anywhere. Once `is_wanted` says no, it ends with an error.
pub fn digest_layer(layer: &Layer, is_wanted: impl Fn() -> bool) -> Result<Exported, ExportError> {
    export(items(layer), is_little([layer]), TarOptions::LAYER, Nowhere(is_wanted))
}

fn items(layer: &Layer) -> impl Iterator<Item = Item<'_>> {
    layer.entries.iter().enumerate().map(move |(index, entry)| Item {
        path: None,
        entry,
        link: None,
        file: matches!(entry.kind, Kind::File { .. }).then_some((layer, index)),
    })
}

/// Writes everything visible beneath a path of a stack as a tar, with that path as its root.
pub fn export_stack(
    stack: &Stack,
    root: EntryPath<'_>,
    options: TarOptions,
    out: impl Write,
) -> Result<Exported, ExportError> {
    let mut links = Links::new(stack);
    let items = stack.walk(root).map(|found| {
        let path = found.entry.path.relative_to(root).expect("a walk stays beneath its root");
        let (file, link) = match links.place(&found, path) {
            Placed::File(file) => (file, None),
            Placed::LinkTo(first) => (found, Some(first.to_owned())),
        };
        let is_file = link.is_none() && matches!(file.entry.kind, Kind::File { .. });
        let content = is_file.then(|| (&stack.layers()[file.layer], file.index));
        Item { path: None, entry: Entry { path, ..file.entry }, link, file: content }
    });
    export(items, is_little(stack.layers()), options, io::BufWriter::with_capacity(BUFFER_BYTES, out))
}

/// Writes several stacks into one tar, each beneath a directory of its own, which has the attributes of the stack's root.
pub fn export_stacks(
    stacks: &[(EntryPathBuf, &Stack)],
    options: TarOptions,
    out: impl Write,
) -> Result<Exported, ExportError> {
    let items = stacks.iter().flat_map(|(directory, stack)| {
        let mut links = Links::new(stack);
        stack.walk(EntryPath::ROOT).map(move |found| {
            let (file, link) = match links.place(&found, found.entry.path) {
                Placed::File(file) => (file, None),
                Placed::LinkTo(first) => (found, Some(directory.as_path().join(first))),
            };
            let is_file = link.is_none() && matches!(file.entry.kind, Kind::File { .. });
            let content = is_file.then(|| (&stack.layers()[file.layer], file.index));
            Item { path: Some(directory.as_path().join(found.entry.path)), entry: file.entry, link, file: content }
        })
    });
    let is_little = is_little(stacks.iter().flat_map(|(_, stack)| stack.layers()));
    export(items, is_little, options, io::BufWriter::with_capacity(BUFFER_BYTES, out))
}

/// An entry that is to be written.
struct Item<'a> {
    /// Where it goes, if that is not what the entry says.
    path: Option<EntryPathBuf>,
    entry: Entry<'a>,
    /// Where a hard link leads in the new archive, if that is not what the entry says.
    link: Option<EntryPathBuf>,
    /// Where the bytes of a file are.
    file: Option<(&'a Layer, usize)>,
}

/// What a piece of a tar is made of.
enum Work<'a> {
    /// Entries, one after the other, whose files are small.
    Entries(Vec<Item<'a>>),
    /// Bytes of a long file: with its header if they are the first, with what fills up its last block if they are the last.
    Part(Arc<Item<'a>>, Range<u64>),
}

type Piece = Result<Vec<u8>, ExportError>;

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
    fn file_bytes(&self) -> u64 {
        match self.entry.kind {
            Kind::File { size_bytes, .. } if self.file.is_some() => size_bytes,
            _ => 0,
        }
    }

    fn open(&self) -> Result<Option<FileRange>, ContentError> {
        self.file.map(|(layer, index)| layer.open(index)).transpose()
    }
}

/// Tells whether layers have so little in them that one thread does it all.
fn is_little<'a>(layers: impl IntoIterator<Item = &'a Layer>) -> bool {
    let (mut entries, mut bytes) = (0, 0);
    layers.into_iter().all(|layer| {
        entries += layer.entries.count();
        entries < PARALLEL_ENTRIES_MIN && {
            bytes += layer.entries.size_bytes();
            bytes < PARALLEL_BYTES_MIN
        }
    })
}

fn export<'a>(
    items: impl Iterator<Item = Item<'a>> + Send,
    is_little: bool,
    options: TarOptions,
    out: impl Write,
) -> Result<Exported, ExportError> {
    let mut writer = Writer::new(Hashed { out, hasher: Hasher::new(), size_bytes: 0 }, options);
    if is_little {
        each_work(items, |work| writer.write_encoded(&make(&work, options, Vec::new())?).map_err(ExportError::from))?;
    } else {
        export_ahead(items, options, &mut writer)?;
    }
    let out = writer.finish()?;
    Ok(Exported { digest: out.hasher.finish(), size_bytes: out.size_bytes })
}

/// Cuts items into what pieces are made of, in their order.
fn each_work<'a, E>(
    items: impl Iterator<Item = Item<'a>>,
    mut take: impl FnMut(Work<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let (mut gathered, mut gathered_bytes) = (Vec::new(), 0);
    for item in items {
        let bytes = item.file_bytes();
        let is_long = bytes > SMALL_BYTES_MAX;
        let is_full = gathered_bytes + bytes > PIECE_BYTES_MAX || gathered.len() >= PIECE_ENTRIES_MAX;
        if (is_long || is_full) && !gathered.is_empty() {
            take(Work::Entries(std::mem::take(&mut gathered)))?;
            gathered_bytes = 0;
        }
        if !is_long {
            gathered_bytes += bytes;
            gathered.push(item);
            continue;
        }
        let item = Arc::new(item);
        for start in (0..bytes).step_by(PART_BYTES as usize) {
            take(Work::Part(Arc::clone(&item), start..bytes.min(start + PART_BYTES)))?;
        }
    }
    if gathered.is_empty() { Ok(()) } else { take(Work::Entries(gathered)) }
}

/// Hashes and hands on, on this thread, what others make. They are none of the thread pool's: a slow stream must not block that, nor may the pool, when it has other work, keep a hash
/// waiting that takes longer than everything else.
fn export_ahead<'a>(
    items: impl Iterator<Item = Item<'a>> + Send,
    options: TarOptions,
    writer: &mut Writer<impl Write>,
) -> Result<(), ExportError> {
    let (giver, jobs, results) = ordered::queue::<Work<'a>, Piece>(ordered::threads(THREADS_MAX));
    // What was handed on is used again: the kernel takes longer to give a process new memory than to copy into it.
    let spare = Mutex::new(Vec::new());
    let spare = || spare.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..ordered::threads(THREADS_MAX) {
            scope.spawn(|| {
                jobs.work(|work| {
                    let out = spare().pop();
                    make(&work, options, out.unwrap_or_default())
                });
            });
        }
        // Should writing fail, nobody takes results any more, and this one ends.
        scope.spawn(move || each_work(items, |work| giver.give(work)));
        for piece in results {
            let piece = piece?;
            writer.write_encoded(&piece)?;
            spare().push(piece);
        }
        Ok(())
    })
}

/// Makes a piece, in memory that was used before.
fn make(work: &Work<'_>, options: TarOptions, mut out: Vec<u8>) -> Piece {
    out.clear();
    match work {
        Work::Entries(items) => make_entries(items, options, out),
        Work::Part(item, part) => make_part(item, part, options, out),
    }
}

fn make_entries(items: &[Item<'_>], options: TarOptions, out: Vec<u8>) -> Piece {
    let bytes = if items.iter().all(|item| item.file_bytes() == 0) { 0 } else { READ_BYTES_MAX };
    buffer::with(bytes, |buffer| {
        let mut writer = Writer::new(out, options);
        for (item, read) in items.iter().zip(read_all(items, buffer)) {
            match read? {
                Some(place) => writer.append_bytes(&item.entry(), &buffer[place])?,
                None => writer.append(&item.entry(), &mut io::empty())?,
            }
        }
        Ok(writer.into_inner())
    })
}

fn make_part(item: &Item<'_>, part: &Range<u64>, options: TarOptions, out: Vec<u8>) -> Piece {
    let mut writer = Writer::new(out, options);
    if part.start == 0 {
        writer.append_header_only(&item.entry())?;
    }
    let mut out = writer.into_inner();
    let Some(range) = item.open()? else { return Ok(out) };
    let (start, length) = (out.len(), (part.end - part.start) as usize);
    out.resize(start + length, 0);
    let read = range.read_at(part.start, &mut out[start..]);
    let count = read.map_err(|source| ContentError::Read { path: item.entry().path.to_text(), source })?;
    if count < length {
        let (expected_bytes, actual_bytes) = (item.file_bytes(), part.start + count as u64);
        return Err(ContentError::Size { path: item.entry().path.to_text(), expected_bytes, actual_bytes }.into());
    }
    if part.end == item.file_bytes() {
        let padding = part.end.next_multiple_of(BLOCK_BYTES as u64) - part.end;
        out.resize(out.len() + padding as usize, 0);
    }
    Ok(out)
}

/// Reads the files of a piece; returns for each item where the bytes of its file are.
fn read_all(items: &[Item<'_>], buffer: &mut [u8]) -> Vec<Result<Option<Range<usize>>, ContentError>> {
    let opened: Vec<Result<Option<FileRange>, ContentError>> = items.iter().map(Item::open).collect();
    let mut ranges: Vec<(usize, &FileRange)> =
        opened.iter().enumerate().filter_map(|(at, it)| Some((at, it.as_ref().ok()?.as_ref()?))).collect();
    ranges.sort_by_key(|(_, range)| range.place());
    let mut places: Vec<Option<io::Result<Range<usize>>>> = items.iter().map(|_| None).collect();
    let joins =
        |(_, one): &(usize, &FileRange), (_, other): &(usize, &FileRange)| one.is_near(other, JOINED_GAP_BYTES_MAX);
    let mut start = 0;
    for row in ranges.chunk_by(joins) {
        start = read_row(row, buffer, start, &mut places);
    }
    let placed = opened.into_iter().zip(places).zip(items).map(|((opened, place), item)| {
        opened?;
        let (path, expected_bytes) = (|| item.entry().path.to_text(), item.file_bytes());
        match place.transpose().map_err(|source| ContentError::Read { path: path(), source })? {
            Some(place) if place.len() as u64 != expected_bytes => {
                let actual_bytes = place.len() as u64;
                Err(ContentError::Size { path: path(), expected_bytes, actual_bytes })
            }
            place => Ok(place),
        }
    });
    placed.collect()
}

/// Reads files that lie beside each other to where `start` is in the buffer; returns where they end there.
fn read_row(
    row: &[(usize, &FileRange)],
    buffer: &mut [u8],
    start: usize,
    places: &mut [Option<io::Result<Range<usize>>>],
) -> usize {
    let (Some((_, first)), Some((_, last))) = (row.first(), row.last()) else { return start };
    let joined = first.up_to(last.end());
    let end = start + joined.size_bytes() as usize;
    let is_whole = joined.read_at(0, &mut buffer[start..end]).is_ok_and(|count| count == end - start);
    for (at, range) in row {
        let start = start + (range.offset() - first.offset()) as usize;
        let length = range.size_bytes() as usize;
        // Which of them it is that cannot be read, each says for itself.
        let count = if is_whole { Ok(length) } else { range.read_at(0, &mut buffer[start..start + length]) };
        places[*at] = Some(count.map(|count| start..start + count));
    }
    end
}

/// Takes everything, for as long as somebody wants it.
struct Nowhere<F>(F);

impl<F: Fn() -> bool> Write for Nowhere<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.0)() { Ok(bytes.len()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hashes and counts what is written.
struct Hashed<W> {
    out: W,
    hasher: Hasher,
    size_bytes: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size_bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
