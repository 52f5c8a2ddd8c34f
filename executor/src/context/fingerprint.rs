//! Hashes of everything that steps can see of a directory's files but their times: equal where what a step selects of them is equal.
//!
//! That of a directory covers itself and what is in it but for other directories, which have their own. What an index has of a directory gives the same one as a look at it.

use layer::{ContentHash, Device, EntryPath, KindBuf, Xattrs, XattrsBuf};

use super::seen::Seen;

/// Stands for the content of what has none.
const NO_CONTENT: ContentHash = ContentHash([0; 32]);

/// The fingerprint of a directory in the making.
pub(super) struct Fingerprint(Vec<u8>);

/// What a file is.
#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    /// Another name of a file that comes before it, at this path.
    Link(EntryPath<'a>),
    File {
        size_bytes: u64,
        content: ContentHash,
    },
    Symlink(&'a [u8]),
    /// A device, by the letter that ls(1) has for its kind.
    Device(u8, Device),
    Fifo,
}

impl<'a> What<'a> {
    /// Returns what was seen; `first` is the path of the file that it is another name of. A directory is nothing that is in another one.
    pub(super) fn of(seen: &'a Seen, first: Option<EntryPath<'a>>) -> Option<Self> {
        Some(match (first, &seen.kind) {
            (Some(first), _) => Self::Link(first),
            (None, KindBuf::File { size_bytes, content }) => Self::File { size_bytes: *size_bytes, content: *content },
            (None, KindBuf::Symlink { target }) => Self::Symlink(target),
            (None, KindBuf::CharDevice(at)) => Self::Device(b'c', *at),
            (None, KindBuf::BlockDevice(at)) => Self::Device(b'b', *at),
            (None, KindBuf::Fifo) => Self::Fifo,
            (None, KindBuf::Directory { .. } | KindBuf::HardLink { .. } | KindBuf::Whiteout) => return None,
        })
    }
}

impl Fingerprint {
    /// Starts with the directory itself.
    pub(super) fn new(mode: u16, xattrs: Option<&XattrsBuf>) -> Self {
        let mut fingerprint = Self(Vec::with_capacity(4096));
        fingerprint.0.extend_from_slice(&mode.to_le_bytes());
        fingerprint.xattrs(xattrs);
        fingerprint
    }

    /// Adds a file in it; they come sorted by name.
    pub(super) fn add(&mut self, name: &[u8], mode: u16, what: What<'_>, xattrs: Option<&XattrsBuf>) {
        self.field(name);
        self.0.extend_from_slice(&mode.to_le_bytes());
        let device = |device: Device| (u64::from(device.major) << 32) | u64::from(device.minor);
        let (tag, number, content) = match what {
            What::Link(first) => (b'h', 0, ContentHash::of(first.as_bytes())),
            What::File { size_bytes, content } => (b'f', size_bytes, content),
            What::Symlink(target) => (b'l', 0, ContentHash::of(target)),
            What::Device(tag, at) => (tag, device(at), NO_CONTENT),
            What::Fifo => (b'p', 0, NO_CONTENT),
        };
        self.0.push(tag);
        self.0.extend_from_slice(&u64::to_le_bytes(number));
        self.0.extend_from_slice(&content.0);
        self.xattrs(xattrs);
    }

    pub(super) fn finish(self) -> ContentHash {
        ContentHash::of(&self.0)
    }

    fn xattrs(&mut self, xattrs: Option<&XattrsBuf>) {
        let xattrs = xattrs.map_or(Xattrs::EMPTY, |xattrs| xattrs.as_xattrs());
        self.0.extend_from_slice(&(xattrs.iter().count() as u64).to_le_bytes());
        for text in xattrs.iter().flat_map(|(name, value)| [name, value]) {
            self.field(text);
        }
    }

    fn field(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
    }
}

/// Returns the fingerprint of several directories, each with its path and its own one, in their order.
pub(super) fn of_all<'a>(directories: impl Iterator<Item = (EntryPath<'a>, ContentHash)>) -> ContentHash {
    let mut all = Fingerprint(Vec::new());
    for (path, fingerprint) in directories {
        all.field(path.as_bytes());
        all.0.extend_from_slice(&fingerprint.0);
    }
    all.finish()
}
