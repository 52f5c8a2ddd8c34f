//! From a layer, or from a whole stack, to a tar: small files are read ahead on all cores, what is written is hashed on the way. Files that lie beside each other in a
//! pack are read at once.
//!
//! Memory is bounded, whatever the number and size of the files: one round of small files (8 MiB, and as much again of what lies between them in packs) is written while the
//! next is read, and a third may wait in between.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use oci::{Digest, Hasher};
use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};

use super::write::{TarOptions, TarWriteError, Writer};
use crate::content::{ContentError, FileRange, Layer};
use crate::entry::{Entry, Kind};
use crate::path::{EntryPath, EntryPathBuf};
use crate::stack::{Links, Placed, Stack};

/// Files up to this length are read ahead; longer ones are read while they are written.
const SMALL_BYTES_MAX: u64 = 256 << 10;

/// How many bytes the caller's stream gets at once.
const BUFFER_BYTES: usize = 256 << 10;

/// How many bytes of files are read ahead at once.
const ROUND_BYTES_MAX: u64 = 8 << 20;

/// How many entries are read ahead at once.
const ROUND_ENTRIES_MAX: usize = 2048;

/// How many bytes are read at once of files that lie beside each other, and how far apart they are at most: to read a little that nobody needs costs less than another call.
const JOINED_BYTES_MAX: u64 = 1 << 20;
const JOINED_GAP_BYTES_MAX: u64 = 4 << 10;

/// With fewer entries than this, threads cost more than they gain.
const PARALLEL_ENTRIES_MIN: usize = 64;

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
    export(items(layer), layer.entries.count(), options, io::BufWriter::with_capacity(BUFFER_BYTES, out))
}

/// Returns the digest that the tar of a layer has, without writing it anywhere. Once `is_wanted` says no, it ends with an error.
pub fn digest_layer(layer: &Layer, is_wanted: impl Fn() -> bool) -> Result<Exported, ExportError> {
    export(items(layer), layer.entries.count(), TarOptions::LAYER, Nowhere(is_wanted))
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
    let count = stack.layers().iter().map(|layer| layer.entries.count()).sum();
    export(items, count, options, io::BufWriter::with_capacity(BUFFER_BYTES, out))
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
    let count = stacks.iter().flat_map(|(_, stack)| stack.layers()).map(|layer| layer.entries.count()).sum();
    export(items, count, options, io::BufWriter::with_capacity(BUFFER_BYTES, out))
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

/// An item and, for a small file, its bytes.
struct Loaded<'a> {
    item: Item<'a>,
    bytes: Option<Part>,
}

/// A piece of bytes that others may have pieces of too.
struct Part {
    bytes: Arc<Vec<u8>>,
    start: usize,
    length: usize,
}

impl Part {
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }
}

type Round<'a> = Vec<Result<Loaded<'a>, ContentError>>;

fn export<'a>(
    items: impl Iterator<Item = Item<'a>> + Send,
    count: usize,
    options: TarOptions,
    out: impl Write,
) -> Result<Exported, ExportError> {
    let mut writer = Writer::new(Hashed { out, hasher: Hasher::new(), size_bytes: 0 }, options);
    if count < PARALLEL_ENTRIES_MIN {
        for item in items {
            write(&mut writer, load_one(item)?)?;
        }
    } else {
        export_ahead(items, &mut writer)?;
    }
    let out = writer.finish()?;
    Ok(Exported { digest: out.hasher.finish(), size_bytes: out.size_bytes })
}

/// Writes on this thread what another one reads ahead. Only that one uses the thread pool, so a slow stream never blocks the pool.
fn export_ahead<'a>(
    items: impl Iterator<Item = Item<'a>> + Send,
    writer: &mut Writer<impl Write>,
) -> Result<(), ExportError> {
    let (sender, receiver) = sync_channel::<Round<'a>>(1);
    std::thread::scope(|scope| {
        scope.spawn(move || read_ahead(items, &sender));
        // Should writing fail, the receiver is dropped, the sender notices and its thread ends.
        let receiver = receiver;
        for round in receiver.iter() {
            for loaded in round {
                write(writer, loaded?)?;
            }
        }
        Ok(())
    })
}

fn read_ahead<'a>(items: impl Iterator<Item = Item<'a>>, sender: &SyncSender<Round<'a>>) {
    let mut round = Vec::new();
    let mut round_bytes = 0;
    for item in items {
        round_bytes += small_size(&item).unwrap_or(0);
        round.push(item);
        if round_bytes >= ROUND_BYTES_MAX || round.len() >= ROUND_ENTRIES_MAX {
            let full = std::mem::take(&mut round);
            round_bytes = 0;
            if sender.send(load(full)).is_err() {
                return;
            }
        }
    }
    // Nobody listens any more only if writing has failed already.
    let _ = sender.send(load(round));
}

fn small_size(item: &Item<'_>) -> Option<u64> {
    match item.entry.kind {
        Kind::File { size_bytes, .. } if size_bytes <= SMALL_BYTES_MAX && item.file.is_some() => Some(size_bytes),
        _ => None,
    }
}

/// Reads the small files of a round.
fn load(items: Vec<Item<'_>>) -> Round<'_> {
    let opened: Vec<Result<Option<FileRange>, ContentError>> = items.par_iter().map(open_small).collect();
    let mut ranges: Vec<(usize, &FileRange)> =
        opened.iter().enumerate().filter_map(|(at, it)| Some((at, it.as_ref().ok()?.as_ref()?))).collect();
    ranges.sort_by_key(|(_, range)| range.place());
    let joins =
        |(_, one): &(usize, &FileRange), (_, other): &(usize, &FileRange)| one.is_near(other, JOINED_GAP_BYTES_MAX);
    let near: Vec<&[(usize, &FileRange)]> = ranges.chunk_by(joins).flat_map(split).collect();
    let read: Vec<(usize, io::Result<Part>)> = near.into_par_iter().flat_map_iter(read_joined).collect();
    let mut parts: Vec<Option<io::Result<Part>>> = items.iter().map(|_| None).collect();
    read.into_iter().for_each(|(at, part)| parts[at] = Some(part));
    let loaded = items.into_iter().zip(opened).zip(parts).map(|((item, opened), part)| {
        opened?;
        finish_loading(item, part)
    });
    loaded.collect()
}

/// Cuts a row of files that lie beside each other into rows that are read at once.
fn split<'s, 'r>(row: &'s [(usize, &'r FileRange)]) -> Vec<&'s [(usize, &'r FileRange)]> {
    let mut rows = Vec::new();
    let mut rest = row;
    while let Some((_, first)) = rest.first() {
        let fits = |(_, range): &&(usize, &FileRange)| range.end() - first.offset() <= JOINED_BYTES_MAX;
        let count = rest.iter().take_while(fits).count().max(1);
        let (row, behind) = rest.split_at(count);
        rows.push(row);
        rest = behind;
    }
    rows
}

/// Reads files that lie beside each other.
fn read_joined(row: &[(usize, &FileRange)]) -> Vec<(usize, io::Result<Part>)> {
    let (Some((_, first)), Some((_, last))) = (row.first(), row.last()) else { return Vec::new() };
    let joined = first.up_to(last.end());
    let mut bytes = vec![0; joined.size_bytes() as usize];
    let is_whole = joined.read_at(0, &mut bytes).is_ok_and(|count| count == bytes.len());
    if !is_whole {
        // Which of them it is that cannot be read, each says for itself.
        return row.iter().map(|(at, range)| (*at, read_alone(range))).collect();
    }
    let bytes = Arc::new(bytes);
    let part = |range: &FileRange| Part {
        bytes: Arc::clone(&bytes),
        start: (range.offset() - first.offset()) as usize,
        length: range.size_bytes() as usize,
    };
    row.iter().map(|(at, range)| (*at, Ok(part(range)))).collect()
}

fn read_alone(range: &FileRange) -> io::Result<Part> {
    let mut bytes = vec![0; range.size_bytes() as usize];
    let length = range.read_at(0, &mut bytes)?;
    Ok(Part { bytes: Arc::new(bytes), start: 0, length })
}

fn open_small(item: &Item<'_>) -> Result<Option<FileRange>, ContentError> {
    match (small_size(item), item.file) {
        (Some(_), Some((layer, index))) => layer.open(index).map(Some),
        _ => Ok(None),
    }
}

fn load_one(item: Item<'_>) -> Result<Loaded<'_>, ContentError> {
    let read = open_small(&item)?.map(|range| read_alone(&range));
    finish_loading(item, read)
}

fn finish_loading<'a>(item: Item<'a>, read: Option<io::Result<Part>>) -> Result<Loaded<'a>, ContentError> {
    let (Some(expected_bytes), Some(read)) = (small_size(&item), read) else { return Ok(Loaded { item, bytes: None }) };
    let path = || item.entry.path.to_text();
    let part = read.map_err(|source| ContentError::Read { path: path(), source })?;
    if part.length as u64 != expected_bytes {
        return Err(ContentError::Size { path: path(), expected_bytes, actual_bytes: part.length as u64 });
    }
    Ok(Loaded { item, bytes: Some(part) })
}

fn write(writer: &mut Writer<impl Write>, loaded: Loaded<'_>) -> Result<(), ExportError> {
    let Loaded { item: Item { path, mut entry, link, file }, bytes } = loaded;
    if let Some(path) = &path {
        entry.path = path.as_path();
    }
    if let Some(link) = &link {
        entry.kind = Kind::HardLink { target: link.as_path() };
    }
    match (bytes, file) {
        (Some(part), _) => writer.append_bytes(&entry, part.as_bytes())?,
        (None, Some((layer, index))) => writer.append(&entry, &mut layer.open(index)?)?,
        (None, None) => writer.append(&entry, &mut io::empty())?,
    }
    Ok(())
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
