//! One entry of a layer: a path, what is there, and to whom it belongs.
//!
//! [`Entry`] is a borrowed view, since a layer's list of them is one block of bytes in memory and on disk (see [`crate::Entries`]); whoever makes
//! an entry borrows from what it has at hand, and the list copies it. [`EntryBuf`] is for the few that have to live longer.

use std::fmt;

use crate::path::{EntryPath, EntryPathBuf, text};
use crate::xattr::{Xattrs, XattrsBuf};

/// The permission bits, set-user-id, set-group-id and sticky bit: all that `chmod` sets.
pub const MODE_BITS: u16 = 0o7777;

/// One entry of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where it is.
    pub path: EntryPath<'a>,
    /// What is there.
    pub kind: Kind<'a>,
    /// Owner, mode, time and extended attributes; without meaning for a whiteout, and for a hard link those of its target.
    pub metadata: Metadata<'a>,
}

/// What is at the path of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A directory. It merges with a directory beneath, except where it is opaque.
    Directory {
        /// Whether it hides all that lies beneath. Layers that Kiln makes have no opaque directories, they list what is hidden as whiteouts.
        opaque: bool,
    },
    /// A regular file; the first path of its group if there are hard links to it.
    File {
        /// How long it is.
        size_bytes: u64,
        /// The hash of its bytes.
        content: ContentHash,
    },
    /// A further path of a file (of any kind but a directory) of this layer.
    HardLink {
        /// The first path of the group, which is before this one.
        target: EntryPath<'a>,
    },
    /// A symbolic link.
    Symlink {
        /// Where it leads; any bytes but NUL, never empty.
        target: &'a [u8],
    },
    /// A character device. The one with the numbers 0 and 0 is not among them: overlay file systems have it for whiteouts.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
    /// Nothing: what lies beneath at this path is deleted.
    Whiteout,
}

/// The numbers of a device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

impl Device {
    /// The largest major number that Linux knows; it silently drops the bits above.
    pub const MAJOR_MAX: u32 = (1 << 12) - 1;
    /// The largest minor number that Linux knows.
    pub const MINOR_MAX: u32 = (1 << 20) - 1;
}

/// To whom a file belongs, what may be done with it, and when it changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// The bits of [`MODE_BITS`].
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When the content changed last.
    pub mtime: Mtime,
    /// Extended attributes, capabilities and access control lists among them.
    pub xattrs: Xattrs<'a>,
}

impl Metadata<'static> {
    /// What a directory gets that nobody described: root's, mode 0755, from 1970.
    ///
    /// The time is not the current one, so that equal input gives equal layers.
    pub const IMPLIED_DIRECTORY: Metadata<'static> =
        Metadata { mode: 0o755, uid: 0, gid: 0, mtime: Mtime::EPOCH, xattrs: Xattrs::EMPTY };
}

impl Metadata<'_> {
    /// Returns whether both are the same but for the time.
    pub fn equal_but_for_time(&self, other: &Metadata<'_>) -> bool {
        (self.mode, self.uid, self.gid, self.xattrs) == (other.mode, other.uid, other.gid, other.xattrs)
    }
}

/// What is at a path, owned: [`Kind`] without borrowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KindBuf {
    /// See [`Kind::Directory`].
    Directory {
        /// Whether it hides all that lies beneath.
        opaque: bool,
    },
    /// See [`Kind::File`].
    File {
        /// How long it is.
        size_bytes: u64,
        /// The hash of its bytes.
        content: ContentHash,
    },
    /// See [`Kind::HardLink`].
    HardLink {
        /// The path that it leads to.
        target: EntryPathBuf,
    },
    /// See [`Kind::Symlink`].
    Symlink {
        /// Where it leads.
        target: Vec<u8>,
    },
    /// See [`Kind::CharDevice`].
    CharDevice(Device),
    /// See [`Kind::BlockDevice`].
    BlockDevice(Device),
    /// See [`Kind::Fifo`].
    Fifo,
    /// See [`Kind::Whiteout`].
    Whiteout,
}

impl KindBuf {
    /// Borrows it.
    pub fn as_kind(&self) -> Kind<'_> {
        match self {
            Self::Directory { opaque } => Kind::Directory { opaque: *opaque },
            Self::File { size_bytes, content } => Kind::File { size_bytes: *size_bytes, content: *content },
            Self::HardLink { target } => Kind::HardLink { target: target.as_path() },
            Self::Symlink { target } => Kind::Symlink { target },
            Self::CharDevice(device) => Kind::CharDevice(*device),
            Self::BlockDevice(device) => Kind::BlockDevice(*device),
            Self::Fifo => Kind::Fifo,
            Self::Whiteout => Kind::Whiteout,
        }
    }
}

impl From<Kind<'_>> for KindBuf {
    fn from(kind: Kind<'_>) -> Self {
        match kind {
            Kind::Directory { opaque } => Self::Directory { opaque },
            Kind::File { size_bytes, content } => Self::File { size_bytes, content },
            Kind::HardLink { target } => Self::HardLink { target: target.to_owned() },
            Kind::Symlink { target } => Self::Symlink { target: target.to_vec() },
            Kind::CharDevice(device) => Self::CharDevice(device),
            Kind::BlockDevice(device) => Self::BlockDevice(device),
            Kind::Fifo => Self::Fifo,
            Kind::Whiteout => Self::Whiteout,
        }
    }
}

/// Owner, mode, time and attributes, owned: [`Metadata`] without borrowing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataBuf {
    /// The bits of [`MODE_BITS`].
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When the content changed last.
    pub mtime: Mtime,
    /// Extended attributes.
    pub xattrs: XattrsBuf,
}

impl MetadataBuf {
    /// Borrows it.
    pub fn as_metadata(&self) -> Metadata<'_> {
        let Self { mode, uid, gid, mtime, xattrs } = self;
        Metadata { mode: *mode, uid: *uid, gid: *gid, mtime: *mtime, xattrs: xattrs.as_xattrs() }
    }
}

impl From<&Metadata<'_>> for MetadataBuf {
    fn from(metadata: &Metadata<'_>) -> Self {
        let Metadata { mode, uid, gid, mtime, xattrs } = *metadata;
        Self { mode, uid, gid, mtime, xattrs: xattrs.to_owned() }
    }
}

/// An entry that is owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryBuf {
    /// Where it is.
    pub path: EntryPathBuf,
    /// What is there.
    pub kind: KindBuf,
    /// Owner, mode, time and attributes.
    pub metadata: MetadataBuf,
}

impl EntryBuf {
    /// Borrows it.
    pub fn as_entry(&self) -> Entry<'_> {
        Entry { path: self.path.as_path(), kind: self.kind.as_kind(), metadata: self.metadata.as_metadata() }
    }
}

impl From<Entry<'_>> for EntryBuf {
    fn from(entry: Entry<'_>) -> Self {
        Self { path: entry.path.to_owned(), kind: entry.kind.into(), metadata: (&entry.metadata).into() }
    }
}

/// A point in time, as file systems keep it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtime {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// 0 to 999,999,999, forward from `seconds`.
    pub nanoseconds: u32,
}

impl Mtime {
    /// The start of 1970.
    pub const EPOCH: Self = Self { seconds: 0, nanoseconds: 0 };

    /// Returns the start of a second.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }
}

/// The BLAKE3 hash of a file's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// Returns the hash of `bytes`, computed on all cores if they are many.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        crate::hash::update(&mut hasher, bytes);
        crate::hash::finish(&hasher)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // All at once: listings of layers have one for each file.
        let mut text = String::with_capacity(2 * self.0.len());
        for byte in self.0 {
            text.extend([byte >> 4, byte & 15].map(|digit| char::from(DIGITS[usize::from(digit)])));
        }
        out.write_str(&text)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// One line, in the shape of `ls -l`, for goldens and for people.
impl fmt::Display for Entry<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Metadata { mode, uid, gid, mtime, xattrs } = self.metadata;
        if self.kind == Kind::Whiteout {
            return write!(out, "whiteout {}", self.path);
        }
        write!(out, "{} {mode:04o} {uid}:{gid} {}", self.kind.name(), self.path)?;
        match self.kind {
            Kind::File { size_bytes, content } => {
                write!(
                    out,
                    " {size_bytes} B {:02x}{:02x}{:02x}{:02x}",
                    content.0[0], content.0[1], content.0[2], content.0[3]
                )?;
            }
            Kind::HardLink { target } => write!(out, " = {target}")?,
            Kind::Symlink { target } => write!(out, " -> {}", text(target))?,
            Kind::CharDevice(device) | Kind::BlockDevice(device) => write!(out, " {}:{}", device.major, device.minor)?,
            Kind::Directory { .. } | Kind::Fifo | Kind::Whiteout => {}
        }
        write!(out, " @{}", mtime.seconds)?;
        if mtime.nanoseconds != 0 {
            write!(out, ".{:09}", mtime.nanoseconds)?;
        }
        xattrs.iter().try_for_each(|(name, value)| write!(out, " {}={}", text(name), text(value)))
    }
}

impl Kind<'_> {
    /// Returns what users call it.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Directory { opaque: false } => "directory",
            Kind::Directory { opaque: true } => "opaque directory",
            Kind::File { .. } => "file",
            Kind::HardLink { .. } => "hard link",
            Kind::Symlink { .. } => "symlink",
            Kind::CharDevice(_) => "character device",
            Kind::BlockDevice(_) => "block device",
            Kind::Fifo => "fifo",
            Kind::Whiteout => "whiteout",
        }
    }

    /// Returns whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self, Kind::Directory { .. })
    }
}
