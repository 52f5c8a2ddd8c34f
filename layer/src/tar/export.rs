//! From a layer, or from a whole stack, to a tar: some threads make pieces of it, one hashes them and hands them on. Files that lie beside each other in a pack are read at once.
//!
//! Memory is bounded, whatever the number and size of the files: for each thread four pieces with at most 1 MiB of files and their headers, and 1 MiB more that it reads into.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use oci::{Digest, Hasher};

use super::checkpoints::{Checkpoint, Checkpoints};
use super::piece::{Item, Piece};
use super::write::{TarOptions, TarWriteError, Writer};
use crate::content::{ContentError, Layer};
use crate::entries::Entries;
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

/// Returns the digest that the tar of a layer has, without writing it anywhere.
pub fn digest_layer(layer: &Layer) -> Result<Exported, ExportError> {
    Ok(digest_layer_like(layer, None, || true)?.exported)
}

/// The digest of a layer's tar, and what finds that of a similar layer sooner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digested {
    /// The digest.
    pub exported: Exported,
    /// What it came to on the way.
    pub checkpoints: Checkpoints,
}

/// The same as [`digest_layer`]; what the tar has in common, from its beginning on, with that of another layer is not read again. Once `is_wanted` says no, it ends with an error.
pub fn digest_layer_like(
    layer: &Layer,
    like: Option<(&Entries, &Checkpoints)>,
    is_wanted: impl Fn() -> bool,
) -> Result<Digested, ExportError> {
    let begun = like.and_then(|(entries, checkpoints)| {
        let last = checkpoints.last_common(entries, &layer.entries)?;
        Some((Hasher::from_state(&last.state)?, last, checkpoints.up_to(&last)))
    });
    let mut out = Hashed::new(Nowhere(is_wanted));
    let (mut checkpoints, mut entries) = (Checkpoints::default(), 0);
    if let Some((hasher, last, before)) = begun {
        (out.hasher, out.size_bytes) = (hasher, last.tar_bytes);
        (checkpoints, entries) = (before, last.entries);
    }
    let rest = items(layer).skip(usize::try_from(entries).unwrap_or(usize::MAX));
    let exported = export_to(rest, is_little([layer]), TarOptions::LAYER, out, |out, completed| {
        entries += completed as u64;
        if completed > 0 && checkpoints.is_due(out.size_bytes) {
            checkpoints.push(Checkpoint { entries, tar_bytes: out.size_bytes, state: out.hasher.state() });
        }
    })?;
    Ok(Digested { exported, checkpoints })
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

/// What a piece of a tar is made of.
enum Work<'a> {
    /// Entries, one after the other, whose files are small.
    Entries(Vec<Item<'a>>),
    /// Bytes of a long file: with its header if they are the first, with what fills up its last block if they are the last.
    Part(Arc<Item<'a>>, Range<u64>),
}

/// A piece of a tar, and how many entries end with it: none if more of one follows.
type Made = Result<(Piece, usize), ExportError>;

impl Work<'_> {
    /// Returns how many entries end with it.
    fn completed(&self) -> usize {
        match self {
            Self::Entries(items) => items.len(),
            Self::Part(item, part) => usize::from(part.end == item.file_bytes()),
        }
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
    export_to(items, is_little, options, Hashed::new(out), |_, _| {})
}

/// Writes items and the end of the archive behind what was hashed already. `wrote` is told after each piece how many entries end with it.
fn export_to<'a, W: Write>(
    items: impl Iterator<Item = Item<'a>> + Send,
    is_little: bool,
    options: TarOptions,
    out: Hashed<W>,
    mut wrote: impl FnMut(&Hashed<W>, usize),
) -> Result<Exported, ExportError> {
    let mut writer = Writer::new(out, options);
    let mut take = |(piece, completed): (&[u8], usize)| -> Result<(), ExportError> {
        writer.write_encoded(piece)?;
        wrote(writer.out(), completed);
        Ok(())
    };
    if is_little {
        each_work(items, |work| take((make(&work, options, Piece::default())?.0.as_bytes(), work.completed())))?;
    } else {
        export_ahead(items, options, take)?;
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
    mut take: impl FnMut((&[u8], usize)) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let (giver, jobs, results) = ordered::queue::<Work<'a>, Made>(ordered::threads(THREADS_MAX));
    // What was handed on is used again: the kernel takes longer to give a process new memory than to copy into it.
    let spare = Mutex::new(Vec::<Piece>::new());
    let spare = || spare.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..ordered::threads(THREADS_MAX) {
            scope.spawn(|| {
                jobs.work(|work| {
                    let piece = spare().pop();
                    make(&work, options, piece.unwrap_or_default())
                });
            });
        }
        // Should writing fail, nobody takes results any more, and this one ends.
        scope.spawn(move || each_work(items, |work| giver.give(work)));
        for piece in results {
            let (piece, completed) = piece?;
            take((piece.as_bytes(), completed))?;
            spare().push(piece);
        }
        Ok(())
    })
}

/// Makes a piece, in memory that was used before.
fn make(work: &Work<'_>, options: TarOptions, piece: Piece) -> Made {
    let made = match work {
        Work::Entries(items) => piece.of_entries(items, options),
        Work::Part(item, part) => piece.of_part(item, part, options),
    };
    Ok((made?, work.completed()))
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

impl<W> Hashed<W> {
    fn new(out: W) -> Self {
        Self { out, hasher: Hasher::new(), size_bytes: 0 }
    }
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
