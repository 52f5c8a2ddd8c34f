//! The content of a directory: sorted names, block by block; in each block the fixed parts of all names come first.

use super::format::FileType;

/// The fixed part of a name.
const NAME_BYTES: usize = 12;

/// A name in a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a> {
    pub(super) name: &'a [u8],
    pub(super) node: u64,
    pub(super) file_type: FileType,
}

/// Returns how many bytes names of these lengths take, in this order.
pub(super) fn size_bytes(names: impl Iterator<Item = usize>, block_bytes: usize) -> u64 {
    let (mut full, mut block) = (0, 0);
    for length in names {
        let added = NAME_BYTES + length;
        if block + added > block_bytes {
            full += block_bytes as u64;
            block = 0;
        }
        block += added;
    }
    full + block as u64
}

/// Writes names, which are sorted, into `out`, which is cleared.
pub(super) fn encode(names: &[Name<'_>], block_bytes: usize, out: &mut Vec<u8>) {
    out.clear();
    let mut rest = names;
    while !rest.is_empty() {
        let mut used = 0;
        let fits = rest.iter().take_while(|name| {
            used += NAME_BYTES + name.name.len();
            used <= block_bytes
        });
        let (block, after) = rest.split_at(fits.count());
        encode_block(block, out);
        rest = after;
        if !rest.is_empty() {
            out.resize(out.len().next_multiple_of(block_bytes), 0);
        }
    }
}

fn encode_block(names: &[Name<'_>], out: &mut Vec<u8>) {
    let mut offset = names.len() * NAME_BYTES;
    for Name { name, node, file_type } in names {
        out.extend_from_slice(&node.to_le_bytes());
        out.extend_from_slice(&(offset as u16).to_le_bytes());
        out.extend_from_slice(&[*file_type as u8, 0]);
        offset += name.len();
    }
    names.iter().for_each(|name| out.extend_from_slice(name.name));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_known_before_the_content() {
        for lengths in [vec![1, 2], vec![255; 9], vec![1, 255, 255, 1, 2, 200, 40], (1..256).collect()] {
            let texts: Vec<Vec<u8>> = lengths.iter().map(|length| vec![b'x'; *length]).collect();
            let named = |name| Name { name, node: 7, file_type: FileType::Fifo };
            let names: Vec<Name<'_>> = texts.iter().map(|name| named(name)).collect();
            for block_bytes in [512, 4096] {
                let mut out = Vec::new();
                encode(&names, block_bytes, &mut out);
                assert_eq!(out.len() as u64, size_bytes(lengths.iter().copied(), block_bytes), "{lengths:?}");
            }
        }
    }
}
