//! What a reader gives: members as they stand in the archive, their names not yet cleaned; and what it may be given.

use crate::entry::{Device, MetadataBuf};

/// What a caller allows an archive to be. The default is for archives of unknown origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many members it has.
    pub entries_max: u64,
    /// How many bytes its files have in all, holes included.
    pub content_bytes_max: u64,
    /// How many bytes it has itself, with its compression undone.
    pub stream_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries_max: 2_000_000, content_bytes_max: 1 << 40, stream_bytes_max: 1 << 40 }
    }
}

/// A member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name as it stands in the archive.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: MemberKind,
    /// Owner, mode, time and attributes.
    pub metadata: MetadataBuf,
}

/// What a member of an archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// A directory.
    Directory,
    /// A regular file; its bytes are the member's content.
    File {
        /// How long it is, holes included.
        size_bytes: u64,
    },
    /// A further path of a member before it.
    HardLink {
        /// The name of that member.
        target: Vec<u8>,
    },
    /// A symbolic link.
    Symlink {
        /// Where it leads.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}
