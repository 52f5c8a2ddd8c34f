//! Sparse files: which pieces of a file stand in the archive, the rest being zeros.
//!
//! Three forms are in use: a table in GNU's own header, continued in further blocks; lists in PAX headers (0.0 and 0.1); and a list at the start of
//! the file's data (1.0).

use super::BLOCK_BYTES;
use super::header::{Block, number};
use super::pax::decimal;

/// How many pieces a sparse file may have; each takes 16 bytes of memory.
pub(super) const SEGMENTS_MAX: usize = 1 << 20;

/// A piece of a file that stands in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where it is in the file.
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

const TOO_MANY: &str = "a sparse file has too many pieces";
const NOT_A_NUMBER: &str = "a sparse map holds what is no number";

/// Where the table of GNU's own header is, and how many pieces it holds.
const TABLE: (usize, usize) = (386, 4);
/// The same in the blocks that continue it.
const CONTINUED_TABLE: (usize, usize) = (0, 21);

impl Block {
    /// Returns the pieces in GNU's own header, and whether a block follows that continues the table.
    pub(super) fn sparse_table(&self) -> Result<(Vec<Segment>, bool), &'static str> {
        Ok((self.table(TABLE)?, self.0[482] != 0))
    }

    /// Returns the size of the whole sparse file.
    pub(super) fn sparse_size(&self) -> Option<i128> {
        number(&self.0[483..495])
    }

    /// Returns the pieces in a block that continues the table, and whether one more follows.
    pub(super) fn continued_sparse_table(&self) -> Result<(Vec<Segment>, bool), &'static str> {
        Ok((self.table(CONTINUED_TABLE)?, self.0[504] != 0))
    }

    fn table(&self, (start, count): (usize, usize)) -> Result<Vec<Segment>, &'static str> {
        let pairs = self.0[start..start + count * 24].chunks_exact(24);
        let used = pairs.take_while(|pair| pair[0] != 0 && pair[12] != 0);
        let field = |field| number(field).and_then(|value| u64::try_from(value).ok()).ok_or(NOT_A_NUMBER);
        used.map(|pair| Ok(Segment { offset: field(&pair[..12])?, bytes: field(&pair[12..])? })).collect()
    }
}

/// Adds the pieces of a further block.
pub(super) fn extend(segments: &mut Vec<Segment>, more: Vec<Segment>) -> Result<(), &'static str> {
    segments.extend(more);
    if segments.len() > SEGMENTS_MAX { Err(TOO_MANY) } else { Ok(()) }
}

/// Makes pieces of offsets and lengths in turn.
pub(super) fn from_pairs(numbers: &[u64]) -> Result<Vec<Segment>, &'static str> {
    let (pairs, []) = numbers.as_chunks::<2>() else {
        return Err("a sparse map has an offset without a length");
    };
    if pairs.len() > SEGMENTS_MAX {
        return Err(TOO_MANY);
    }
    Ok(pairs.iter().map(|[offset, bytes]| Segment { offset: *offset, bytes: *bytes }).collect())
}

/// The list at the start of the data, as it is read block by block: a count, then offsets and lengths, one decimal number a line.
#[derive(Default)]
pub(super) struct DataMap {
    numbers: Vec<u64>,
    line: Vec<u8>,
}

impl DataMap {
    /// Adds a block; returns the pieces once they are complete. What is behind them in the block is padding.
    pub(super) fn add(&mut self, block: &[u8; BLOCK_BYTES]) -> Result<Option<Vec<Segment>>, &'static str> {
        for byte in block {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > 20 {
                    return Err(NOT_A_NUMBER);
                }
                continue;
            }
            self.numbers.push(decimal(&self.line)?);
            self.line.clear();
            let wanted =
                self.numbers[0].checked_mul(2).filter(|count| *count <= 2 * SEGMENTS_MAX as u64).ok_or(TOO_MANY)?;
            if self.numbers.len() as u64 == wanted + 1 {
                return from_pairs(&self.numbers[1..]).map(Some);
            }
        }
        Ok(None)
    }
}

/// Checks that the pieces are in order, lie in the file, and are what the archive holds; drops the empty ones.
pub(super) fn check(segments: Vec<Segment>, size_bytes: u64, stored_bytes: u64) -> Result<Vec<Segment>, &'static str> {
    let (mut end, mut stored) = (0u64, 0u64);
    for Segment { offset, bytes } in &segments {
        if *offset < end {
            return Err("the pieces of a sparse file overlap");
        }
        end = offset
            .checked_add(*bytes)
            .filter(|end| *end <= size_bytes)
            .ok_or("a sparse file is shorter than its pieces")?;
        stored += bytes;
    }
    if stored > stored_bytes {
        return Err("the archive holds less of a sparse file than its pieces");
    }
    Ok(segments.into_iter().filter(|segment| segment.bytes != 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_must_be_in_order_and_inside() {
        let checked = |pairs: &[u64], size, stored| check(from_pairs(pairs).unwrap(), size, stored).map(|it| it.len());
        assert_eq!(checked(&[0, 5, 10, 5, 20, 0], 20, 10), Ok(2));
        assert_eq!(checked(&[10, 5, 0, 5], 20, 10), Err("the pieces of a sparse file overlap"));
        assert_eq!(checked(&[0, 21], 20, 30), Err("a sparse file is shorter than its pieces"));
        assert_eq!(checked(&[u64::MAX, 2], u64::MAX, 30), Err("a sparse file is shorter than its pieces"));
        assert_eq!(checked(&[0, 5], 20, 4), Err("the archive holds less of a sparse file than its pieces"));
        assert_eq!(from_pairs(&[1]), Err("a sparse map has an offset without a length"));
    }

    #[test]
    fn a_map_in_the_data_may_span_blocks() {
        let mut text = b"200\n".to_vec();
        (0..200).for_each(|at| text.extend_from_slice(format!("{}\n1\n", at * 1000).as_bytes()));
        text.resize(text.len().next_multiple_of(BLOCK_BYTES), 0);
        let mut map = DataMap::default();
        let mut segments = text.as_chunks::<BLOCK_BYTES>().0.iter().filter_map(|block| map.add(block).unwrap());
        let segments = segments.next().unwrap();
        assert_eq!((segments.len(), segments[199]), (200, Segment { offset: 199_000, bytes: 1 }));
        let huge = [b"99999999999\n".as_slice(), &[0; 500]].concat();
        let huge = DataMap::default().add(huge.as_slice().try_into().unwrap());
        assert_eq!(huge, Err(TOO_MANY));
    }
}
