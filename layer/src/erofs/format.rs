//! The structures of an EROFS image, as bytes.

use crate::entry::{Device, Mtime};

/// Where the superblock is.
pub(super) const SUPERBLOCK_OFFSET: u64 = 1024;
/// How long the superblock is, and how long the slot of a device.
pub(super) const SLOT_BYTES: u64 = 128;
/// Inodes stand at multiples of this; a node id is such a multiple.
pub(super) const INODE_ALIGN: u64 = 32;
/// An inode of the long form, which alone has room for a time and for owners of 32 bits.
pub(super) const INODE_BYTES: u64 = 64;
/// One piece of a file: which device, which block.
pub(super) const CHUNK_BYTES: u64 = 8;
/// A chunk holds at most two to the power of this many blocks.
const CHUNK_BITS_MAX: u32 = 31;

const MAGIC: u32 = 0xe0f5_e1e2;
/// The times of inodes are those of the last modification.
const COMPATIBLE_MTIME: u32 = 0x2;
const INCOMPATIBLE_CHUNKED_FILE: u32 = 0x4;
const INCOMPATIBLE_DEVICE_TABLE: u32 = 0x8;
const CHUNK_HAS_DEVICE: u32 = 0x20;

/// How the bytes of an inode are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataLayout {
    /// In blocks one after another.
    Plain = 0,
    /// In such blocks, but what does not fill one stands behind the inode.
    Inline = 2,
    /// In chunks on other devices.
    Chunks = 4,
}

/// What the names of directories say their files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileType {
    Regular = 1,
    Directory = 2,
    CharDevice = 3,
    BlockDevice = 4,
    Fifo = 5,
    Symlink = 7,
}

impl FileType {
    /// Returns the bits of `st_mode` that say the same.
    fn mode_bits(self) -> u16 {
        match self {
            Self::Regular => 0o100_000,
            Self::Directory => 0o040_000,
            Self::CharDevice => 0o020_000,
            Self::BlockDevice => 0o060_000,
            Self::Fifo => 0o010_000,
            Self::Symlink => 0o120_000,
        }
    }
}

/// What the superblock says.
pub(super) struct Superblock {
    pub(super) block_bits: u8,
    pub(super) inodes: u64,
    pub(super) blocks: u32,
    pub(super) root: u16,
    pub(super) devices: u16,
}

impl Superblock {
    pub(super) fn encode(&self) -> [u8; SLOT_BYTES as usize] {
        let mut bytes = [0; SLOT_BYTES as usize];
        let has_devices = self.devices > 0;
        put(&mut bytes, 0, MAGIC.to_le_bytes());
        put(&mut bytes, 8, COMPATIBLE_MTIME.to_le_bytes());
        put(&mut bytes, 12, [self.block_bits]);
        put(&mut bytes, 14, self.root.to_le_bytes());
        put(&mut bytes, 16, self.inodes.to_le_bytes());
        put(&mut bytes, 36, self.blocks.to_le_bytes());
        // The blocks of inodes and of shared attributes (there are none) are counted from the start: both addresses stay 0.
        let incompatible = if has_devices { INCOMPATIBLE_CHUNKED_FILE | INCOMPATIBLE_DEVICE_TABLE } else { 0 };
        put(&mut bytes, 80, incompatible.to_le_bytes());
        put(&mut bytes, 86, self.devices.to_le_bytes());
        let slot = if has_devices { (SUPERBLOCK_OFFSET + SLOT_BYTES) / SLOT_BYTES } else { 0 };
        put(&mut bytes, 88, (slot as u16).to_le_bytes());
        bytes
    }
}

/// Returns the slot of a device with that many blocks.
pub(super) fn encode_device(blocks: u32) -> [u8; SLOT_BYTES as usize] {
    let mut bytes = [0; SLOT_BYTES as usize];
    put(&mut bytes, 64, blocks.to_le_bytes());
    bytes
}

/// What an inode says. What stands behind it is not part of it.
pub(super) struct Inode {
    pub(super) layout: DataLayout,
    pub(super) file_type: FileType,
    /// The permission bits and those beside them.
    pub(super) mode: u16,
    pub(super) size_bytes: u64,
    /// The first block, the device number, or the form of the chunks.
    pub(super) start: u32,
    pub(super) number: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Mtime,
    pub(super) links: u32,
    /// How long the attributes behind it are: nothing, or 12 bytes and a multiple of 4.
    pub(super) xattr_bytes: u64,
}

impl Inode {
    pub(super) fn encode(&self) -> [u8; INODE_BYTES as usize] {
        const LONG_FORM: u16 = 1;
        let mut bytes = [0; INODE_BYTES as usize];
        let xattr_count = if self.xattr_bytes == 0 { 0 } else { (self.xattr_bytes - 12) / 4 + 1 };
        put(&mut bytes, 0, (LONG_FORM | (self.layout as u16) << 1).to_le_bytes());
        put(&mut bytes, 2, (xattr_count as u16).to_le_bytes());
        put(&mut bytes, 4, (self.file_type.mode_bits() | self.mode).to_le_bytes());
        put(&mut bytes, 8, self.size_bytes.to_le_bytes());
        put(&mut bytes, 16, self.start.to_le_bytes());
        put(&mut bytes, 20, self.number.to_le_bytes());
        put(&mut bytes, 24, self.uid.to_le_bytes());
        put(&mut bytes, 28, self.gid.to_le_bytes());
        put(&mut bytes, 32, self.mtime.seconds.to_le_bytes());
        put(&mut bytes, 40, self.mtime.nanoseconds.to_le_bytes());
        put(&mut bytes, 44, self.links.to_le_bytes());
        bytes
    }
}

/// How a file is cut into chunks: one, as far as the format goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    bits: u32,
    /// How many there are.
    pub(super) count: u64,
    /// How many blocks each but the last has.
    pub(super) blocks_each: u64,
}

impl Chunks {
    /// Returns the chunks of a file of so many blocks; not 0.
    pub(super) fn of(blocks: u64) -> Self {
        let bits = blocks.next_power_of_two().trailing_zeros().min(CHUNK_BITS_MAX);
        let blocks_each = 1 << bits;
        Self { bits, count: blocks.div_ceil(blocks_each), blocks_each }
    }

    /// Returns what the inode says of them.
    pub(super) fn format(self) -> u32 {
        self.bits | CHUNK_HAS_DEVICE
    }
}

/// Returns where a chunk is; `device` counts from 1.
pub(super) fn encode_chunk(device: u16, block: u32) -> [u8; CHUNK_BYTES as usize] {
    let mut bytes = [0; CHUNK_BYTES as usize];
    put(&mut bytes, 2, device.to_le_bytes());
    put(&mut bytes, 4, block.to_le_bytes());
    bytes
}

/// Returns a device's numbers as the kernel encodes them.
pub(super) fn device_number(device: Device) -> u32 {
    (device.minor & 0xff) | (device.major << 8) | ((device.minor & !0xff) << 12)
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_one_chunk_up_to_a_tebibyte_and_several_beyond() {
        let chunks = |blocks| (Chunks::of(blocks).format() - CHUNK_HAS_DEVICE, Chunks::of(blocks).count);
        assert_eq!(chunks(1), (0, 1));
        assert_eq!(chunks(3), (2, 1));
        assert_eq!(chunks(1 << 31), (31, 1));
        assert_eq!(chunks((1 << 31) + 1), (31, 2));
    }

    #[test]
    fn device_numbers_are_split_as_the_kernel_splits_them() {
        assert_eq!(device_number(Device { major: 8, minor: 1 }), 0x801);
        assert_eq!(device_number(Device { major: 0xfff, minor: 0xfffff }), 0xffff_ffff);
        assert_eq!(device_number(Device { major: 1, minor: 0x12345 }), 0x1230_0145);
    }
}
