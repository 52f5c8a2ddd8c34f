//! How a list of entries lies in bytes. All numbers are little endian.
//!
//! ```text
//! header    64 bytes   magic `KILN-ENT`, version (4), number of records (4), length of the heap (8), zeros (8),
//!                      BLAKE3 of all other bytes (32)
//! records   96 bytes each, in the order of their paths; the first is the root
//! heap      paths, targets of symbolic links, extended attributes
//! ```
//!
//! A record knows its parent and where its subtree ends, so that going up, going down and skipping are steps of constant cost.

use std::ops::Range;

use crate::entry::{ContentHash, Device, Mtime};

pub(super) const MAGIC: &[u8; 8] = b"KILN-ENT";
pub(super) const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 64;
pub(super) const RECORD_BYTES: usize = 96;
pub(super) const CHECKSUM: Range<usize> = 32..64;

/// A directory hides what lies beneath.
pub(super) const FLAG_OPAQUE: u8 = 1;
/// Other entries are hard links to this one.
pub(super) const FLAG_LINKED: u8 = 2;

/// What kind of entry a record is: the byte on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    Directory = 0,
    File = 1,
    HardLink = 2,
    Symlink = 3,
    CharDevice = 4,
    BlockDevice = 5,
    Fifo = 6,
    Whiteout = 7,
}

impl Tag {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        const TAGS: [Tag; 8] = [
            Tag::Directory,
            Tag::File,
            Tag::HardLink,
            Tag::Symlink,
            Tag::CharDevice,
            Tag::BlockDevice,
            Tag::Fifo,
            Tag::Whiteout,
        ];
        TAGS.get(usize::from(byte)).copied()
    }
}

/// A piece of the heap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) offset: u32,
    pub(super) bytes: u32,
}

impl Span {
    /// Returns the piece; `None` if the heap is too short for it.
    pub(super) fn of(self, heap: &[u8]) -> Option<&[u8]> {
        heap.get(self.offset as usize..)?.get(..self.bytes as usize)
    }
}

/// One entry with fixed size; what has no fixed size is in the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) path: Span,
    /// The directory that the entry is in; the root is its own.
    pub(super) parent: u32,
    /// The first record behind this one that is not beneath it.
    pub(super) subtree_end: u32,
    pub(super) tag: Tag,
    pub(super) flags: u8,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Mtime,
    /// The size of a file, the numbers of a device, the record that a hard link leads to.
    pub(super) number: u64,
    /// Where a symbolic link leads.
    pub(super) target: Span,
    pub(super) xattrs: Span,
    pub(super) content: ContentHash,
}

impl Record {
    pub(super) fn device(&self) -> Device {
        Device { major: self.number as u32, minor: (self.number >> 32) as u32 }
    }

    pub(super) fn device_number(device: Device) -> u64 {
        u64::from(device.major) | u64::from(device.minor) << 32
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let words = [self.path.offset, self.path.bytes, self.parent, self.subtree_end];
        words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        out.extend_from_slice(&[self.tag as u8, self.flags]);
        out.extend_from_slice(&self.mode.to_le_bytes());
        let words = [self.uid, self.gid, self.mtime.nanoseconds];
        words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        out.extend_from_slice(&self.mtime.seconds.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        let words = [self.target.offset, self.target.bytes, self.xattrs.offset, self.xattrs.bytes];
        words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        out.extend_from_slice(&self.content.0);
    }

    /// Returns the record in these bytes; `None` if its kind is unknown.
    pub(super) fn decode(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let span = |at| Span { offset: u32_at(bytes, at), bytes: u32_at(bytes, at + 4) };
        Some(Self {
            path: span(0),
            parent: u32_at(bytes, 8),
            subtree_end: u32_at(bytes, 12),
            tag: Tag::from_byte(bytes[16])?,
            flags: bytes[17],
            mode: u16::from_le_bytes([bytes[18], bytes[19]]),
            uid: u32_at(bytes, 20),
            gid: u32_at(bytes, 24),
            mtime: Mtime { seconds: u64_at(bytes, 32) as i64, nanoseconds: u32_at(bytes, 28) },
            number: u64_at(bytes, 40),
            target: span(48),
            xattrs: span(56),
            content: ContentHash(array_at(bytes, 64)),
        })
    }
}

/// Returns the bytes at `at`, which the caller knows to be there.
pub(super) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes is an array of N bytes")
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// Returns the checksum of a whole list: of everything but the place where the checksum stands.
pub(super) fn checksum(bytes: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..CHECKSUM.start]);
    hasher.update(&bytes[CHECKSUM.end..]);
    *hasher.finalize().as_bytes()
}
