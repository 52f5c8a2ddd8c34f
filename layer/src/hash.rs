//! Hashing the content of files, on all cores where a file is long enough for that.

use std::io::{self, Read};

use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};

use crate::buffer;
use crate::content::FileRange;
use crate::entry::ContentHash;

/// From which length on spreading over cores pays.
const PARALLEL_BYTES_MIN: usize = 1 << 20;

/// Up to which length one core hashes a piece of a file: a power of two, as the trees below have (BLAKE3 paper, section 2.1).
const PIECE_BYTES: u64 = 1 << 20;

/// How many bytes are read at once: few enough that they still lie in the cache of the core when they are hashed.
pub(crate) const AT_ONCE_BYTES: usize = 256 << 10;

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

/// Hashes `size_bytes` bytes, which pieces of them give: `hash_piece` is called for each piece, on whichever core is free, with a hasher that knows where the piece starts, and with
/// the positions of its start and its end; it has to give the hasher all bytes between them. Returns the error of the first piece that has one.
///
/// The hash is that of the bytes in their order: BLAKE3 is a tree of hashes, and each piece is a whole tree below (BLAKE3 paper, section 2.1).
pub(crate) fn in_pieces<E: Send>(
    size_bytes: u64,
    hash_piece: &(impl Fn(&mut blake3::Hasher, u64, u64) -> Result<(), E> + Sync),
) -> Result<ContentHash, E> {
    if size_bytes <= PIECE_BYTES {
        let mut hasher = blake3::Hasher::new();
        hash_piece(&mut hasher, 0, size_bytes)?;
        return Ok(finish(&hasher));
    }
    let (left, right) = both_halves(0, size_bytes, hash_piece)?;
    Ok(ContentHash(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()))
}

fn subtree<E: Send>(
    start: u64,
    end: u64,
    hash_piece: &(impl Fn(&mut blake3::Hasher, u64, u64) -> Result<(), E> + Sync),
) -> Result<ChainingValue, E> {
    if end - start > PIECE_BYTES {
        let (left, right) = both_halves(start, end, hash_piece)?;
        return Ok(merge_subtrees_non_root(&left, &right, Mode::Hash));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(start);
    hash_piece(&mut hasher, start, end)?;
    Ok(hasher.finalize_non_root())
}

fn both_halves<E: Send>(
    start: u64,
    end: u64,
    hash_piece: &(impl Fn(&mut blake3::Hasher, u64, u64) -> Result<(), E> + Sync),
) -> Result<(ChainingValue, ChainingValue), E> {
    let middle = start + left_subtree_len(end - start);
    let (left, right) = rayon::join(|| subtree(start, middle, hash_piece), || subtree(middle, end, hash_piece));
    Ok((left?, right?))
}

/// Reads a piece of a file and returns its hash, and how many bytes there were: fewer than announced if the file became shorter.
pub fn hash_range(range: &FileRange) -> io::Result<(u64, ContentHash)> {
    let content = in_pieces(range.size_bytes(), &|hasher, start, end| match hash_part(hasher, range, start, end)? {
        at if at == end => Ok(()),
        _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
    });
    match content {
        Ok(content) => Ok((range.size_bytes(), content)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            let mut hasher = blake3::Hasher::new();
            let end = hash_part(&mut hasher, range, 0, range.size_bytes())?;
            Ok((end, finish(&hasher)))
        }
        Err(error) => Err(error),
    }
}

/// Adds what lies between two positions to a hash; returns where it ended, before `end` if the file became shorter.
fn hash_part(hasher: &mut blake3::Hasher, range: &FileRange, start: u64, end: u64) -> io::Result<u64> {
    let at_once = (end - start).clamp(1, AT_ONCE_BYTES as u64) as usize;
    buffer::with(at_once, |buffer| {
        let mut at = start;
        while at < end {
            let wanted = (end - at).min(at_once as u64) as usize;
            let count = range.read_at(at, &mut buffer[..wanted])?;
            hasher.update(&buffer[..count]);
            at += count as u64;
            if count < wanted {
                break;
            }
        }
        Ok(at)
    })
}

/// Reads a stream to its end and returns how long it was, and its hash.
pub(crate) fn hash_stream(stream: &mut dyn Read) -> io::Result<(u64, ContentHash)> {
    buffer::with(AT_ONCE_BYTES, |buffer| {
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
