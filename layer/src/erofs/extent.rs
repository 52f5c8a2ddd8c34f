//! Where the bytes of each file of a layer are: in which pack, and from where on.

/// Where the bytes of a file are. Files without bytes, and all that is no file, have the default one, which means nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Which of the layer's packs, counted from 0.
    pub pack: u16,
    /// Where it starts, in bytes: a multiple of 512, below 2^57.
    pub offset: u64,
}

impl Extent {
    /// Extents start at multiples of this.
    pub const ALIGN_BYTES: u64 = 512;
}

/// The extents of a layer, one for each of its entries. Cheap to look up, eight bytes each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtentList(Vec<u64>);

/// Why bytes are no list of extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged layer: the list of where its files are is not valid")]
pub struct ExtentsError;

const MAGIC: &[u8; 8] = b"kilnext1";
const OFFSET_BITS: u32 = 48;

impl ExtentList {
    /// Takes the extents of all entries, in their order.
    pub fn new(extents: impl IntoIterator<Item = Extent>) -> Self {
        let pack = |extent: Extent| {
            debug_assert!(extent.offset.is_multiple_of(Extent::ALIGN_BYTES) && extent.offset >> 57 == 0);
            (u64::from(extent.pack) << OFFSET_BITS) | (extent.offset / Extent::ALIGN_BYTES)
        };
        Self(extents.into_iter().map(pack).collect())
    }

    /// Returns the extent of an entry; `None` if there are not as many.
    pub fn get(&self, index: usize) -> Option<Extent> {
        let packed = *self.0.get(index)?;
        let offset = (packed & ((1 << OFFSET_BITS) - 1)) * Extent::ALIGN_BYTES;
        Some(Extent { pack: (packed >> OFFSET_BITS) as u16, offset })
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the list as it is kept on disk: a magic number, the checksum (BLAKE3, 16 bytes), eight bytes for each.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(24 + self.0.len() * 8);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[0; 16]);
        self.0.iter().for_each(|packed| bytes.extend_from_slice(&packed.to_le_bytes()));
        let sum = blake3::hash(&bytes[24..]);
        bytes[8..24].copy_from_slice(&sum.as_bytes()[..16]);
        bytes
    }

    /// Takes over a list that [`ExtentList::to_bytes`] gave. Whether it fits to a list of entries is for the caller to see.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ExtentsError> {
        let (head, body) = bytes.split_at_checked(24).ok_or(ExtentsError)?;
        let (chunks, rest) = body.as_chunks::<8>();
        let is_whole = rest.is_empty() && &head[..8] == MAGIC;
        if !is_whole || head[8..] != blake3::hash(body).as_bytes()[..16] {
            return Err(ExtentsError);
        }
        Ok(Self(chunks.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_what_its_bytes_say_and_damage_is_noticed() {
        let extents = [Extent::default(), Extent { pack: 3, offset: 1 << 40 }, Extent { pack: u16::MAX, offset: 512 }];
        let list = ExtentList::new(extents);
        let bytes = list.to_bytes();
        let read = ExtentList::from_bytes(&bytes).unwrap();
        assert_eq!(
            (0..4).map(|index| read.get(index)).collect::<Vec<_>>(),
            [extents.map(Some).as_slice(), &[None]].concat()
        );
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(ExtentList::from_bytes(&damaged), Err(ExtentsError), "{at}");
            assert_eq!(ExtentList::from_bytes(&bytes[..at]), Err(ExtentsError), "{at}");
        }
    }
}
