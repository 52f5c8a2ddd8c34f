//! What a step can see of a directory, as a file system of one layer.

use std::collections::HashMap;
use std::sync::OnceLock;

use layer::{
    Content, ContentHash, Device, Entries, EntriesBuilder, EntryPath, KeptFiles, Kind, KindBuf, Layer, Metadata, Mtime,
    Stack, Tree, Xattrs,
};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSlice;
use store::DraftPack;

use super::seen::Seen;
use crate::ExecError;

/// Stands for the content of what has none.
const NO_CONTENT: ContentHash = ContentHash([0; 32]);
/// How many files a core takes at once for the fingerprint, which is one of such parts.
const FINGERPRINT_FILES: usize = 4096;

/// What a step can see of a directory.
pub(crate) struct Scan {
    tree: Tree,
    /// Sorted by path; each directory before what is in it.
    seen: Vec<Seen>,
    /// Made when it is needed: a step that was done before needs only its digest.
    stack: OnceLock<Stack>,
    kept: Option<Kept>,
}

/// Files that were kept in a pack while they were read.
pub(crate) struct Kept {
    /// The files.
    pub(crate) files: KeptFiles,
    /// The pack has a name for as long as layers can be made of it.
    _draft: DraftPack,
}

impl Kept {
    pub(super) fn new(files: KeptFiles, draft: DraftPack) -> Self {
        Self { files, _draft: draft }
    }
}

impl Scan {
    pub(super) fn new(tree: Tree, seen: Vec<Seen>, kept: Option<Kept>) -> Self {
        Self { tree, seen, stack: OnceLock::new(), kept }
    }

    /// Returns how many files there are.
    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    /// Returns the files that were kept while they were read.
    pub(crate) fn kept(&self) -> Option<&KeptFiles> {
        self.kept.as_ref().map(|kept| &kept.files)
    }

    /// Returns the files as a file system. They belong to root.
    pub(crate) fn stack(&self) -> Result<&Stack, ExecError> {
        if let Some(stack) = self.stack.get() {
            return Ok(stack);
        }
        let layer = Layer { entries: list(&self.seen)?, content: Content::Tree(self.tree.clone()) };
        Ok(self.stack.get_or_init(|| Stack::new(vec![layer])))
    }

    /// Gives all files the same time.
    pub(crate) fn set_times(&mut self, mtime: Mtime) {
        self.seen.iter_mut().for_each(|file| file.stamp.mtime = mtime);
    }

    /// Returns a hash of everything about the files but their times.
    pub(super) fn fingerprint(&self) -> ContentHash {
        let links = Links::of(&self.seen);
        let hash =
            |(part, files): (usize, &[Seen])| ContentHash::of(&encode(part * FINGERPRINT_FILES, files, &links)).0;
        let parts: Vec<[u8; 32]> = self.seen.par_chunks(FINGERPRINT_FILES).enumerate().map(hash).collect();
        ContentHash::of(parts.as_flattened())
    }
}

/// Returns everything about files but their times; the first of them is at `start` among all.
fn encode(start: usize, files: &[Seen], links: &Links) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(files.len() * 96);
    for (place, file) in files.iter().enumerate() {
        let path = file.path.as_path().as_bytes();
        bytes.extend_from_slice(&(path.len() as u64).to_le_bytes());
        bytes.extend_from_slice(path);
        bytes.extend_from_slice(&file.mode.to_le_bytes());
        let device = |device: Device| (u64::from(device.major) << 32) | u64::from(device.minor);
        let (tag, number, content) = match (links.first(start + place), &file.kind) {
            (Some(first), _) => (1, first as u64, NO_CONTENT),
            (None, KindBuf::File { size_bytes, content }) => (2, *size_bytes, *content),
            (None, KindBuf::Symlink { target }) => (3, target.len() as u64, ContentHash::of(target)),
            (None, KindBuf::CharDevice(at)) => (4, device(*at), NO_CONTENT),
            (None, KindBuf::BlockDevice(at)) => (5, device(*at), NO_CONTENT),
            (None, KindBuf::Fifo) => (6, 0, NO_CONTENT),
            (None, _) => (7, 0, NO_CONTENT),
        };
        bytes.push(tag);
        bytes.extend_from_slice(&u64::to_le_bytes(number));
        bytes.extend_from_slice(&content.0);
        let xattrs = file.xattrs.as_ref().map_or(Xattrs::EMPTY, |xattrs| xattrs.as_xattrs());
        bytes.extend_from_slice(&(xattrs.iter().count() as u64).to_le_bytes());
        for text in xattrs.iter().flat_map(|(name, value)| [name, value]) {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text);
        }
    }
    bytes
}

fn list(seen: &[Seen]) -> Result<Entries, ExecError> {
    let mut builder = EntriesBuilder::new();
    let links = Links::of(seen);
    for (place, file) in seen.iter().enumerate() {
        let metadata = Metadata {
            mode: file.mode,
            uid: 0,
            gid: 0,
            mtime: file.stamp.mtime,
            xattrs: file.xattrs.as_ref().map_or(Xattrs::EMPTY, |xattrs| xattrs.as_xattrs()),
        };
        let kind = match links.first(place) {
            Some(first) => Kind::HardLink { target: seen[first].path.as_path() },
            None => file.kind.as_kind(),
        };
        let path: EntryPath<'_> = file.path.as_path();
        builder.push(&layer::Entry { path, kind, metadata })?;
    }
    Ok(builder.finish()?)
}

/// Which files are other names of files before them.
struct Links(HashMap<usize, usize>);

impl Links {
    fn of(seen: &[Seen]) -> Self {
        let (mut firsts, mut links) = (HashMap::new(), HashMap::new());
        for (place, file) in seen.iter().enumerate().filter(|(_, file)| file.is_linked) {
            let first = *firsts.entry((file.stamp.device, file.stamp.inode)).or_insert(place);
            // One that changed while it was read may not be what the first one is.
            if first != place && seen[first].kind == file.kind {
                links.insert(place, first);
            }
        }
        Self(links)
    }

    fn first(&self, place: usize) -> Option<usize> {
        self.0.get(&place).copied()
    }
}
