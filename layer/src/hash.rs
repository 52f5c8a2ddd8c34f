//! Hashing the content of files, on all cores where a file is long enough for that.

use std::io::{self, Read};

use crate::buffer;
use crate::content::FileRange;
use crate::entry::ContentHash;

/// From which length on spreading over cores pays.
const PARALLEL_BYTES_MIN: usize = 1 << 20;

/// How many bytes of a stream are read at once.
const STREAM_BYTES: usize = 256 << 10;

/// Adds bytes to a hash.
pub(crate) fn update(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    if bytes.len() >= PARALLEL_BYTES_MIN {
        hasher.update_rayon(bytes);
    } else {
        hasher.update(bytes);
    }
}

/// Returns the hash that was computed.
pub(crate) fn finish(hasher: &blake3::Hasher) -> ContentHash {
    ContentHash(*hasher.finalize().as_bytes())
}

/// Reads a piece of a file and returns its hash, and how many bytes there were: fewer than announced if the file became shorter.
pub fn hash_range(range: &FileRange) -> io::Result<(u64, ContentHash)> {
    let at_once = range.size_bytes().clamp(1, buffer::BUFFER_BYTES as u64) as usize;
    buffer::with(at_once, |buffer| {
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        while at < range.size_bytes() {
            let count = range.read_at(at, buffer)?;
            update(&mut hasher, &buffer[..count]);
            at += count as u64;
            if count < buffer.len() {
                break;
            }
        }
        Ok((at, finish(&hasher)))
    })
}

/// Reads a stream to its end and returns how long it was, and its hash.
pub(crate) fn hash_stream(stream: &mut dyn Read) -> io::Result<(u64, ContentHash)> {
    buffer::with(STREAM_BYTES, |buffer| {
        let (mut hasher, mut size_bytes) = (blake3::Hasher::new(), 0);
        loop {
            match stream.read(buffer) {
                Ok(0) => return Ok((size_bytes, finish(&hasher))),
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    size_bytes += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    })
}
