//! From a task that receives to code that blocks.

use std::io::{self, Read};

use tokio::sync::mpsc;

/// How many received chunks may wait to be read.
pub(crate) const CHUNKS_MAX: usize = 64;

/// Chunks from a task, read by code that blocks. `None` is the end; without it the stream was given up, and reading fails.
pub(crate) struct ChunkReader<B> {
    chunks: mpsc::Receiver<Option<B>>,
    current: Option<B>,
    offset: usize,
    is_at_end: bool,
}

impl<B> ChunkReader<B> {
    pub(crate) fn new(chunks: mpsc::Receiver<Option<B>>) -> Self {
        Self { chunks, current: None, offset: 0, is_at_end: false }
    }
}

impl<B: AsRef<[u8]>> Read for ChunkReader<B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let rest = self.current.as_ref().map_or(&[][..], |chunk| &chunk.as_ref()[self.offset..]);
            if !rest.is_empty() || self.is_at_end || buffer.is_empty() {
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                self.offset += count;
                return Ok(count);
            }
            self.current = self.chunks.blocking_recv().ok_or(io::ErrorKind::UnexpectedEof)?;
            self.is_at_end = self.current.is_none();
            self.offset = 0;
        }
    }
}
