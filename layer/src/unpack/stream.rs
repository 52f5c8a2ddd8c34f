//! The first stage: a thread of its own undoes the compression and hashes what comes out.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use oci::{Digest, Hasher};

use crate::compression::{Compression, Decoder};

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

/// Starts the stage. Its thread ends at the end of the stream, on an error, or when the reader is dropped and the next piece is there.
pub(super) fn decompress<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    stream: impl Read + Send + 'scope,
) -> (Chunks, ScopedJoinHandle<'scope, Option<StreamSummary>>) {
    let (full_sender, full) = sync_channel(CHUNKS_MAX);
    let (spare, spare_receiver) = sync_channel(CHUNKS_MAX + 1);
    let thread = scope.spawn(move || {
        let summary = pump(stream, &full_sender, &spare_receiver);
        summary.map_err(|error| full_sender.send(Err(error))).ok()
    });
    (Chunks { full, spare, current: Vec::new(), at: 0 }, thread)
}

fn pump(
    stream: impl Read,
    full: &SyncSender<io::Result<Vec<u8>>>,
    spare: &Receiver<Vec<u8>>,
) -> io::Result<StreamSummary> {
    let mut decoder = Decoder::new(stream)?;
    let mut hasher = Hasher::new();
    let mut size_bytes = 0;
    loop {
        let mut chunk = spare.try_recv().unwrap_or_default();
        chunk.resize(CHUNK_BYTES, 0);
        let count = decoder.read(&mut chunk)?;
        if count == 0 {
            return Ok(StreamSummary { digest: hasher.finish(), size_bytes, compression: decoder.compression() });
        }
        chunk.truncate(count);
        hasher.update(&chunk);
        size_bytes += count as u64;
        if full.send(Ok(chunk)).is_err() {
            return Err(io::Error::other("the reader of the stream is gone"));
        }
    }
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
