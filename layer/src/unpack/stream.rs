//! The first two stages, each a thread of its own: one undoes the compression, the other hashes what comes out, and keeps it if it is to be kept.

use std::fs::File;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use oci::{Digest, Hasher};

use crate::compression::{Compression, Decoder};
use crate::flusher::Flusher;
use crate::holes;

/// How many decompressed bytes are handed over at once, and how many such pieces may wait.
const CHUNK_BYTES: usize = 256 << 10;
const CHUNKS_MAX: usize = 8;

/// What is known of a stream at its end.
pub(super) struct StreamSummary {
    /// The digest of the decompressed bytes.
    pub(super) digest: Digest,
    pub(super) size_bytes: u64,
    pub(super) compression: Compression,
}

/// The decompressed stream.
pub(super) struct Chunks {
    full: Receiver<io::Result<Vec<u8>>>,
    /// Gives pieces back that were read, to be filled again.
    spare: SyncSender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

/// The threads of both stages.
pub(super) struct Stages<'scope> {
    decompress: ScopedJoinHandle<'scope, Option<Compression>>,
    digest: ScopedJoinHandle<'scope, Option<(Digest, u64)>>,
}

impl Stages<'_> {
    /// Waits for the end of both; `None` means that one failed, which the reader of the stream has learnt.
    pub(super) fn join(self) -> Option<StreamSummary> {
        let (compression, digested) = (self.decompress.join(), self.digest.join());
        let compression = compression.expect("the thread does not panic")?;
        let (digest, size_bytes) = digested.expect("the thread does not panic")?;
        Some(StreamSummary { digest, size_bytes, compression })
    }
}

type Piece = io::Result<Vec<u8>>;

/// Starts the stages. Their threads end at the end of the stream, on an error, or when the reader is dropped and the next piece is there. All that comes out is
/// written to `keep` too.
pub(super) fn decompress<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    stream: impl Read + Send + 'scope,
    keep: Option<&'scope File>,
) -> (Chunks, Stages<'scope>) {
    let (raw_sender, raw) = sync_channel(CHUNKS_MAX);
    let (full_sender, full) = sync_channel(CHUNKS_MAX);
    let (spare, spare_receiver) = sync_channel(2 * CHUNKS_MAX + 1);
    let decompress = scope.spawn(move || {
        let compression = pump(stream, &raw_sender, &spare_receiver);
        compression.map_err(|error| raw_sender.send(Err(error))).ok()
    });
    let digest = scope.spawn(move || digest(&raw, &full_sender, keep));
    (Chunks { full, spare, current: Vec::new(), at: 0 }, Stages { decompress, digest })
}

fn pump(stream: impl Read, full: &SyncSender<Piece>, spare: &Receiver<Vec<u8>>) -> io::Result<Compression> {
    let mut decoder = Decoder::new(stream)?;
    loop {
        let mut chunk = spare.try_recv().unwrap_or_default();
        chunk.resize(CHUNK_BYTES, 0);
        let count = fill(&mut decoder, &mut chunk)?;
        if count == 0 {
            return Ok(decoder.compression());
        }
        chunk.truncate(count);
        if full.send(Ok(chunk)).is_err() {
            return Err(io::Error::other("the reader of the stream is gone"));
        }
    }
}

/// Fills a piece, so that what is kept is written in large ones. What came before an error counts as read; the error comes again.
fn fill(decoder: &mut impl Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < chunk.len() {
        match decoder.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn digest(raw: &Receiver<Piece>, full: &SyncSender<Piece>, keep: Option<&File>) -> Option<(Digest, u64)> {
    let (mut hasher, mut size_bytes, mut flusher) = (Hasher::new(), 0, Flusher::default());
    for piece in raw {
        let kept = piece.and_then(|chunk| {
            if let Some(file) = keep {
                holes::write_at(file, &chunk, size_bytes)?;
                flusher.wrote(file, chunk.len() as u64);
            }
            hasher.update(&chunk);
            size_bytes += chunk.len() as u64;
            Ok(chunk)
        });
        let is_whole = kept.is_ok();
        if full.send(kept).is_err() || !is_whole {
            return None;
        }
    }
    Some((hasher.finish(), size_bytes))
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            let Ok(next) = self.full.recv() else {
                return Ok(0);
            };
            let spent = std::mem::replace(&mut self.current, next?);
            self.at = 0;
            // A full channel only means that one piece is not used again.
            let _ = self.spare.try_send(spent);
        }
        let count = buffer.len().min(self.current.len() - self.at);
        buffer[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
