//! Pieces of zeros, which are left out of what is written: the file system gives them back as zeros, and keeps none.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Pieces of this length that are all zero become holes.
pub(crate) const HOLE_BYTES: usize = 64 << 10;

pub(crate) static ZEROS: [u8; HOLE_BYTES] = [0; HOLE_BYTES];

/// Splits off what comes before the first piece of zeros, and says how long that piece is.
pub(crate) fn split_at_zeros(bytes: &[u8]) -> (&[u8], usize) {
    let mut end = 0;
    for piece in bytes.chunks(HOLE_BYTES) {
        if piece.len() == HOLE_BYTES && piece == ZEROS {
            return (&bytes[..end], HOLE_BYTES);
        }
        end += piece.len();
    }
    (bytes, 0)
}

/// Writes bytes where nothing is yet, but for pieces of zeros; returns where the last byte that was written ends. The caller sees to the length of the file.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<Option<u64>> {
    let (mut rest, mut at, mut written_to) = (bytes, offset, None);
    while !rest.is_empty() {
        let (run, zeros) = split_at_zeros(rest);
        if !run.is_empty() {
            file.write_all_at(run, at)?;
            written_to = Some(at + run.len() as u64);
        }
        at += (run.len() + zeros) as u64;
        rest = &rest[run.len() + zeros..];
    }
    Ok(written_to)
}
