//! From a layer, or from a whole stack, to a tar: small files are read ahead on all cores, what is written is hashed on the way.
//!
//! Memory is bounded, whatever the number and size of the files: one round of small files (8 MiB) is written while the next is read, and a third may
//! wait in between.

use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};

use oci::{Digest, Hasher};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::write::{TarOptions, TarWriteError, Writer};
use crate::content::{ContentError, Layer};
use crate::entry::{Entry, Kind};
use crate::path::{EntryPath, EntryPathBuf};
use crate::stack::{Links, Placed, Stack};

/// Files up to this length are read ahead; longer ones are read while they are written.
const SMALL_BYTES_MAX: u64 = 256 << 10;

/// How many bytes of files are read ahead at once.
const ROUND_BYTES_MAX: u64 = 8 << 20;

/// How many entries are read ahead at once.
const ROUND_ENTRIES_MAX: usize = 2048;

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

/// Writes a layer as a tar. The caller's stream gets large pieces; to learn only the digest, hand over [`io::sink`].
pub fn export_layer(layer: &Layer, options: TarOptions, out: impl Write) -> Result<Exported, ExportError> {
    let entries = layer.entries.iter().enumerate().map(|(index, entry)| Item {
        path: None,
        entry,
        link: None,
        file: matches!(entry.kind, Kind::File { .. }).then_some((layer, index)),
    });
    export(entries, layer.entries.count(), options, out)
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
    export(items, count, options, out)
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
    export(items, count, options, out)
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
    bytes: Option<Vec<u8>>,
}

type Round<'a> = Vec<Result<Loaded<'a>, ContentError>>;

fn export<'a>(
    items: impl Iterator<Item = Item<'a>> + Send,
    count: usize,
    options: TarOptions,
    out: impl Write,
) -> Result<Exported, ExportError> {
    let out = Hashed { out, hasher: Hasher::new(), size_bytes: 0 };
    let mut writer = Writer::new(io::BufWriter::with_capacity(256 << 10, out), options);
    if count < PARALLEL_ENTRIES_MIN {
        for item in items {
            write(&mut writer, load(item)?)?;
        }
    } else {
        export_ahead(items, &mut writer)?;
    }
    let out = writer.finish()?.into_inner().map_err(|error| TarWriteError::Output { source: error.into_error() })?;
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
            if sender.send(full.into_par_iter().map(load).collect()).is_err() {
                return;
            }
        }
    }
    // Nobody listens any more only if writing has failed already.
    let _ = sender.send(round.into_par_iter().map(load).collect());
}

fn small_size(item: &Item<'_>) -> Option<u64> {
    match item.entry.kind {
        Kind::File { size_bytes, .. } if size_bytes <= SMALL_BYTES_MAX && item.file.is_some() => Some(size_bytes),
        _ => None,
    }
}

fn load(item: Item<'_>) -> Result<Loaded<'_>, ContentError> {
    let (Some(size_bytes), Some((layer, index))) = (small_size(&item), item.file) else {
        return Ok(Loaded { item, bytes: None });
    };
    let range = layer.open(index)?;
    let mut bytes = vec![0; size_bytes as usize];
    let read = range.read_at(0, &mut bytes);
    let path = || item.entry.path.to_text();
    let actual_bytes = read.map_err(|source| ContentError::Read { path: path(), source })? as u64;
    if actual_bytes != size_bytes {
        return Err(ContentError::Size { path: path(), expected_bytes: size_bytes, actual_bytes });
    }
    Ok(Loaded { item, bytes: Some(bytes) })
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
        (Some(bytes), _) => writer.append(&entry, &mut bytes.as_slice())?,
        (None, Some((layer, index))) => writer.append(&entry, &mut layer.open(index)?)?,
        (None, None) => writer.append(&entry, &mut io::empty())?,
    }
    Ok(())
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
