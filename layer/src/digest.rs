//! Digests of content: equal where a step that sees the files could not tell them apart, but for their times.
//!
//! What enters for each path, in the order of paths:
//!
//! | field | of which kinds |
//! |---|---|
//! | path | all |
//! | kind, one byte: `d` directory, `o` opaque directory, `f` file, `h` hard link, `l` symbolic link, `c` and `b` devices, `p` fifo, `w` whiteout | all |
//! | mode | all but symbolic links (theirs means nothing), hard links and whiteouts |
//! | uid, gid, extended attributes that are exported | all but hard links and whiteouts |
//! | size and BLAKE3 of the bytes | files |
//! | target | symbolic links, and hard links: the first path of the group |
//! | major and minor number | devices |
//!
//! Never: times. Every variable field has its length in front, and the whole begins with the version of this table.

use oci::{Digest, Hasher};

use crate::entries::Entries;
use crate::entry::{Entry, Kind};
use crate::path::EntryPath;
use crate::stack::{Found, Links, Placed, Stack};

/// The version of the table above. It changes with everything that changes a digest.
pub const VERSION: &[u8] = b"kiln layer content 1";

/// A content digest in the making.
pub struct ContentDigest {
    hasher: Hasher,
    fields: Vec<u8>,
}

/// Returns the content digest of a whole layer.
pub fn of_layer(entries: &Entries) -> Digest {
    let mut digest = ContentDigest::new();
    entries.iter().for_each(|entry| digest.add(&entry));
    digest.finish()
}

/// Returns the digest of chosen files of a stack, each with the path that counts for it; they come in the order of these paths.
///
/// This is what a step depends on that copies them: a `COPY --from` has its key from it.
pub fn of_selection<'a, 'p>(
    stack: &'a Stack,
    selection: impl IntoIterator<Item = (EntryPath<'p>, Found<'a>)>,
) -> Digest {
    let mut digest = ContentDigest::new();
    let mut links = Links::new(stack);
    for (path, found) in selection {
        let (kind, metadata) = match links.place(&found, path) {
            Placed::File(file) => (file.entry.kind, file.entry.metadata),
            Placed::LinkTo(target) => (Kind::HardLink { target }, found.entry.metadata),
        };
        digest.add(&Entry { path, kind, metadata });
    }
    digest.finish()
}

impl Default for ContentDigest {
    fn default() -> Self {
        Self::new()
    }
}

impl ContentDigest {
    /// Starts without entries.
    pub fn new() -> Self {
        let mut hasher = Hasher::new();
        hasher.field(VERSION);
        Self { hasher, fields: Vec::new() }
    }

    /// Adds an entry; they come in the order of their paths.
    pub fn add(&mut self, entry: &Entry<'_>) {
        self.fields.clear();
        self.field(entry.path.as_bytes());
        self.fields.push(kind_byte(&entry.kind));
        match entry.kind {
            Kind::Whiteout => {}
            Kind::HardLink { target } => self.field(target.as_bytes()),
            Kind::Symlink { target } => {
                self.owner(entry);
                self.field(target);
            }
            Kind::Directory { .. } | Kind::Fifo => {
                self.mode(entry);
                self.owner(entry);
            }
            Kind::File { size_bytes, content } => {
                self.mode(entry);
                self.owner(entry);
                self.fields.extend_from_slice(&size_bytes.to_le_bytes());
                self.fields.extend_from_slice(&content.0);
            }
            Kind::CharDevice(device) | Kind::BlockDevice(device) => {
                self.mode(entry);
                self.owner(entry);
                self.fields.extend_from_slice(&device.major.to_le_bytes());
                self.fields.extend_from_slice(&device.minor.to_le_bytes());
            }
        }
        self.hasher.field(&self.fields);
    }

    /// Returns the digest of all that was added.
    pub fn finish(self) -> Digest {
        self.hasher.finish()
    }

    fn mode(&mut self, entry: &Entry<'_>) {
        self.fields.extend_from_slice(&entry.metadata.mode.to_le_bytes());
    }

    fn owner(&mut self, entry: &Entry<'_>) {
        self.fields.extend_from_slice(&entry.metadata.uid.to_le_bytes());
        self.fields.extend_from_slice(&entry.metadata.gid.to_le_bytes());
        let count = entry.metadata.xattrs.exported().count() as u64;
        self.fields.extend_from_slice(&count.to_le_bytes());
        for (name, value) in entry.metadata.xattrs.exported() {
            self.field(name);
            self.field(value);
        }
    }

    fn field(&mut self, bytes: &[u8]) {
        self.fields.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.fields.extend_from_slice(bytes);
    }
}

fn kind_byte(kind: &Kind<'_>) -> u8 {
    match kind {
        Kind::Directory { opaque: false } => b'd',
        Kind::Directory { opaque: true } => b'o',
        Kind::File { .. } => b'f',
        Kind::HardLink { .. } => b'h',
        Kind::Symlink { .. } => b'l',
        Kind::CharDevice(_) => b'c',
        Kind::BlockDevice(_) => b'b',
        Kind::Fifo => b'p',
        Kind::Whiteout => b'w',
    }
}
