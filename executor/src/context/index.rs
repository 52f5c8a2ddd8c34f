//! What is remembered of a directory from build to build: what is in each directory, the hashes of its files, each with what it looked like, and the digests of what
//! steps selected. Where all files of a directory are known, their fingerprint is remembered too: if none has changed, nothing else has to be known of them.
//!
//! ```text
//! magic            24 bytes
//! checksum         32 bytes, BLAKE3 of all behind it
//! counts           4 × 8 bytes: directories, files, selections, bytes of names
//! directories      124 bytes each, sorted by path: device, inode, size, mtime, ctime, place and length of path, attributes and list, first file and number of files, mode,
//!                  fingerprint or zeros
//! files            108 bytes each, those of a directory together, sorted by name: device, inode, size, mtime, ctime, hash, mode, place and length of name and attributes;
//!                  symbolic links are among them, with their target for attributes. The mode has its 12 bits, and further bits for links and for files with several names
//! selections       96 bytes each, the last used first: key, hash of what was selected, digest
//! names            paths, names, attributes and lists; a list has for each name a byte for its kind, the name and a NUL, sorted by name
//! ```
//! Numbers are little endian. A list counts only while the directory has the stamp beside it; it may hold names of which nothing else is known.

mod encode;

use std::ops::Range;

use layer::{ContentHash, EntryPath, EntryPathBuf, KindBuf, Mtime, XattrsBuf};
use oci::Digest;

use super::list::List;
use super::seen::{Seen, Stamp};
pub(super) use encode::{Fresh, Kept};

const MAGIC: &[u8; 24] = b"kiln context index 3\n\0\0\0";
const HEADER_BYTES: usize = 24 + 32 + 4 * 8;
const STAMP_BYTES: usize = 56;
/// Where in the record of a directory its mode is, and its fingerprint.
const DIRECTORY_MODE: usize = STAMP_BYTES + 3 * 8 + 8;
const FINGERPRINT: usize = DIRECTORY_MODE + 4;
const DIRECTORY_BYTES: usize = FINGERPRINT + 32;
/// Where in the record of a file its mode is, its name, and its attributes or target.
const FILE_MODE: usize = STAMP_BYTES + 32;
const FILE_NAME: usize = FILE_MODE + 4;
const FILE_ATTRIBUTES: usize = FILE_NAME + 8;
const FILE_BYTES: usize = FILE_ATTRIBUTES + 8;
const MODE_SYMLINK: u32 = 1 << 16;
const MODE_LINKED: u32 = 1 << 17;
const SELECTION_BYTES: usize = 96;
/// How many files are remembered of one directory; those of more are read each time. About 700 MB of index.
const FILES_MAX: usize = 4_000_000;
/// How many selections are remembered of one directory.
const SELECTIONS_MAX: usize = 512;

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) stamp: Stamp,
    pub(super) mode: u16,
    /// Whether it has other names too.
    pub(super) is_linked: bool,
    pub(super) what: KnownWhat,
}

/// What a file is that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KnownWhat {
    File { content: ContentHash, xattrs: Option<XattrsBuf> },
    Symlink { target: Vec<u8> },
}

/// What is known of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KnownDirectory {
    pub(super) stamp: Stamp,
    pub(super) mode: u16,
    pub(super) xattrs: Option<XattrsBuf>,
    pub(super) list: List<Vec<u8>>,
}

/// An index as it was read. Nothing is decoded before it is asked for.
#[derive(Default)]
pub(super) struct Index {
    bytes: Vec<u8>,
    directories: usize,
    files: usize,
    selections: usize,
}

/// What an index has of a directory.
pub(super) struct IndexedDirectory<'a> {
    index: &'a Index,
    /// Its place among the directories.
    pub(super) place: usize,
    /// The files that were not asked for yet.
    files: Range<usize>,
}

/// Digests of what was selected, the last used first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Selected {
    /// What selects: ignore patterns and selection.
    pub(super) key: Digest,
    /// The files that were in its scope.
    pub(super) scope: ContentHash,
    /// The digest of what was selected of them.
    pub(super) digest: Digest,
}

impl Index {
    /// Takes over what was read; what is not whole is as good as nothing.
    pub(super) fn load(bytes: Vec<u8>) -> Self {
        let counts = Self::check(&bytes);
        counts
            .map(|[directories, files, selections]| Self { bytes, directories, files, selections })
            .unwrap_or_default()
    }

    fn check(bytes: &[u8]) -> Option<[usize; 3]> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (checksum, rest) = rest.split_first_chunk::<32>()?;
        if ContentHash::of(rest).0 != *checksum {
            return None;
        }
        let mut numbers = Numbers(rest);
        let counts = [numbers.size()?, numbers.size()?, numbers.size()?];
        let names = numbers.size()?;
        let lengths = counts.iter().zip([DIRECTORY_BYTES, FILE_BYTES, SELECTION_BYTES]);
        let length =
            lengths.map(|(count, each)| count.checked_mul(each)).try_fold(names, |all, one| all.checked_add(one?));
        (length? == numbers.0.len()).then_some(counts)
    }

    /// Returns how many files it knows.
    pub(super) fn len(&self) -> usize {
        self.files
    }

    /// Returns how many directories it knows.
    pub(super) fn directories(&self) -> usize {
        self.directories
    }

    fn directory_record(&self, place: usize) -> &[u8] {
        let start = HEADER_BYTES + place * DIRECTORY_BYTES;
        &self.bytes[start..start + DIRECTORY_BYTES]
    }

    fn record(&self, place: usize) -> &[u8] {
        let start = HEADER_BYTES + self.directories * DIRECTORY_BYTES + place * FILE_BYTES;
        &self.bytes[start..start + FILE_BYTES]
    }

    fn selections_start(&self) -> usize {
        HEADER_BYTES + self.directories * DIRECTORY_BYTES + self.files * FILE_BYTES
    }

    fn names(&self) -> &[u8] {
        self.bytes.get(self.selections_start() + self.selections * SELECTION_BYTES..).unwrap_or_default()
    }

    /// Returns what the place and length at the start of `at` stand for.
    fn name(&self, at: &[u8]) -> &[u8] {
        name_in(self.names(), at)
    }

    fn directory_path(&self, place: usize) -> EntryPath<'_> {
        EntryPath::parse(self.name(&self.directory_record(place)[STAMP_BYTES..])).unwrap_or_default()
    }

    /// Returns the name of a file in its directory.
    pub(super) fn file_name(&self, place: usize) -> &[u8] {
        self.name(&self.record(place)[FILE_NAME..])
    }

    /// Returns the places of the files of a directory.
    pub(super) fn files_of(&self, place: usize) -> Range<usize> {
        let mut numbers = Numbers(&self.directory_record(place)[STAMP_BYTES + 3 * 8..]);
        let (Some(first), Some(count)) = (numbers.u32(), numbers.u32()) else { return 0..0 };
        let first = (first as usize).min(self.files);
        first..first.saturating_add(count as usize).min(self.files)
    }

    /// Returns what is known of a file.
    fn known(&self, place: usize) -> Option<Known> {
        Known::decode(self.record(place), self.names())
    }

    /// Returns the hash of everything in a directory but other directories, if all of it is known.
    pub(super) fn fingerprint(&self, place: usize) -> Option<ContentHash> {
        let hash = *self.directory_record(place)[FINGERPRINT..].first_chunk()?;
        (hash != [0; 32]).then_some(ContentHash(hash))
    }

    /// Returns a file of the directory at `path` as a look would find it if it still is what it was.
    pub(super) fn seen_file(&self, place: usize, path: EntryPath<'_>) -> Option<Seen> {
        let path = path.child(self.file_name(place)).ok()?;
        Some(self.known(place)?.into_seen(path, place))
    }

    /// Returns what is known of the directory at a path.
    pub(super) fn directory(&self, path: EntryPath<'_>) -> Option<IndexedDirectory<'_>> {
        let (mut low, mut high) = (0, self.directories);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.directory_path(middle) < path { low = middle + 1 } else { high = middle }
        }
        let is_it = low < self.directories && self.directory_path(low) == path;
        is_it.then(|| IndexedDirectory { index: self, place: low, files: self.files_of(low) })
    }

    /// Returns the digests of selections.
    pub(super) fn selections(&self) -> Vec<Selected> {
        let start = self.selections_start();
        let end = start + self.selections * SELECTION_BYTES;
        let records = self.bytes.get(start..end).unwrap_or_default().chunks_exact(SELECTION_BYTES);
        let selected = |record: &[u8]| {
            let mut numbers = Numbers(record);
            let (key, scope, digest) = (numbers.hash()?, numbers.hash()?, numbers.hash()?);
            Some(Selected {
                key: Digest::from_bytes(key),
                scope: ContentHash(scope),
                digest: Digest::from_bytes(digest),
            })
        };
        records.filter_map(selected).collect()
    }
}

impl<'a> IndexedDirectory<'a> {
    /// Returns the names in it and its attributes, if it still looks as it did then.
    pub(super) fn list(&self, stamp: &Stamp) -> Option<(List<&'a [u8]>, Option<XattrsBuf>)> {
        let record = self.index.directory_record(self.place);
        if stamp.inode == 0 || Numbers(record).stamp()? != *stamp {
            return None;
        }
        let list = List::new(self.index.name(&record[STAMP_BYTES + 2 * 8..]));
        Some((list, decode_xattrs(self.index.name(&record[STAMP_BYTES + 8..]))?))
    }

    /// Tells whether all of its files are known, so that they may turn out to be what they were.
    pub(super) fn has_all_files(&self) -> bool {
        self.index.fingerprint(self.place).is_some()
    }

    /// Tells whether the next file is this one and still looks as it did then, and passes it over if so.
    pub(super) fn passes(&mut self, name: &[u8], stamp: &Stamp) -> bool {
        let place = self.files.start;
        let is_same = !self.files.is_empty()
            && self.index.file_name(place) == name
            && self.index.record(place)[..STAMP_BYTES] == stamp.bytes();
        self.files.start += usize::from(is_same);
        is_same
    }

    /// Returns the files that were passed over, as a look finds them.
    pub(super) fn passed(&self, path: EntryPath<'_>) -> Vec<Seen> {
        let first = self.index.files_of(self.place).start;
        (first..self.files.start).filter_map(|place| self.index.seen_file(place, path)).collect()
    }

    /// Returns the place of a file in it, if it still looks as it did then, and what is known of it. Names are asked for in order.
    pub(super) fn file(&mut self, name: &[u8], stamp: &Stamp) -> Option<(usize, Known)> {
        while !self.files.is_empty() && self.index.file_name(self.files.start) < name {
            self.files.start += 1;
        }
        let place = self.files.clone().next().filter(|place| self.index.file_name(*place) == name)?;
        let known = self.index.known(place).filter(|known| known.stamp == *stamp)?;
        Some((place, known))
    }
}

impl Known {
    /// Returns what is remembered of a file that was looked at; `None` of what is neither file nor link.
    pub(super) fn of(seen: &Seen) -> Option<Self> {
        let what = match &seen.kind {
            KindBuf::File { content, .. } => KnownWhat::File { content: *content, xattrs: seen.xattrs.clone() },
            KindBuf::Symlink { target } => KnownWhat::Symlink { target: target.clone() },
            _ => return None,
        };
        Some(Self { stamp: seen.stamp, mode: seen.mode, is_linked: seen.is_linked, what })
    }

    /// Returns what a look finds that finds it unchanged.
    fn into_seen(self, path: EntryPathBuf, place: usize) -> Seen {
        let (kind, xattrs) = match self.what {
            KnownWhat::File { content, xattrs } => {
                (KindBuf::File { size_bytes: self.stamp.size_bytes, content }, xattrs)
            }
            KnownWhat::Symlink { target } => (KindBuf::Symlink { target }, None),
        };
        Seen {
            path,
            kind,
            mode: self.mode,
            xattrs,
            stamp: self.stamp,
            is_linked: self.is_linked,
            place: u32::try_from(place).ok(),
            is_socket: false,
            is_gone: false,
            is_read: false,
            counts: true,
        }
    }

    fn decode(record: &[u8], names: &[u8]) -> Option<Self> {
        let mut numbers = Numbers(record);
        let (stamp, content) = (numbers.stamp()?, ContentHash(numbers.hash()?));
        let mode = numbers.u32()?;
        let attributes = name_in(names, record.get(FILE_ATTRIBUTES..)?);
        let what = if mode & MODE_SYMLINK != 0 {
            KnownWhat::Symlink { target: attributes.to_vec() }
        } else {
            KnownWhat::File { content, xattrs: decode_xattrs(attributes)? }
        };
        let is_linked = mode & MODE_LINKED != 0;
        Some(Self { stamp, mode: mode as u16 & layer::entry::MODE_BITS, is_linked, what })
    }
}

/// Returns what the place and length at the start of `at` stand for.
fn name_in<'a>(names: &'a [u8], at: &[u8]) -> &'a [u8] {
    let mut numbers = Numbers(at);
    let (Some(start), Some(length)) = (numbers.u32(), numbers.u32()) else { return &[] };
    names.get(start as usize..).and_then(|rest| rest.get(..length as usize)).unwrap_or_default()
}

fn decode_xattrs(bytes: &[u8]) -> Option<Option<XattrsBuf>> {
    let mut rest = Numbers(bytes);
    let mut pairs = Vec::new();
    while !rest.0.is_empty() {
        let (name, value) = (rest.u32()? as usize, rest.u32()? as usize);
        let (pair, behind) = rest.0.split_at_checked(name.checked_add(value)?)?;
        pairs.push((pair[..name].to_vec(), pair[name..].to_vec()));
        rest.0 = behind;
    }
    Some((!pairs.is_empty()).then(|| pairs.into_iter().collect()))
}

impl Stamp {
    fn bytes(&self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        let mut rest = bytes.as_mut_slice();
        let mut put = |number: &[u8]| {
            if let Some((place, behind)) = std::mem::take(&mut rest).split_at_mut_checked(number.len()) {
                place.copy_from_slice(number);
                rest = behind;
            }
        };
        put(&self.device.0.to_le_bytes());
        put(&self.device.1.to_le_bytes());
        put(&self.inode.to_le_bytes());
        put(&self.size_bytes.to_le_bytes());
        for time in [self.mtime, self.ctime] {
            put(&time.seconds.to_le_bytes());
            put(&u64::from(time.nanoseconds).to_le_bytes());
        }
        bytes
    }
}

/// Numbers that stand one behind the other.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn u32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*bytes))
    }

    fn u64(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*bytes))
    }

    fn size(&mut self) -> Option<usize> {
        self.u64().and_then(|size| usize::try_from(size).ok())
    }

    fn hash(&mut self) -> Option<[u8; 32]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn time(&mut self) -> Option<Mtime> {
        Some(Mtime { seconds: self.u64()?.cast_signed(), nanoseconds: u32::try_from(self.u64()?).ok()? })
    }

    fn stamp(&mut self) -> Option<Stamp> {
        Some(Stamp {
            device: (self.u32()?, self.u32()?),
            inode: self.u64()?,
            size_bytes: self.u64()?,
            mtime: self.time()?,
            ctime: self.time()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::FileType;

    use super::super::list::ListBuilder;
    use super::*;

    fn path(text: &str) -> EntryPathBuf {
        EntryPathBuf::parse(text.as_bytes().to_vec()).unwrap()
    }

    fn stamp(inode: u64) -> Stamp {
        Stamp { inode, mtime: Mtime { seconds: -1, nanoseconds: 7 }, ..Stamp::default() }
    }

    fn sample() -> (Fresh, Vec<Selected>) {
        let known = |inode, xattrs| {
            let what = KnownWhat::File { content: ContentHash::of(&[inode as u8]), xattrs };
            Known { stamp: stamp(inode), mode: 0o640, is_linked: inode == 3, what }
        };
        let xattrs = XattrsBuf::from_iter([("user.a", "1"), ("user.b", "")]);
        let files = [
            (path("a"), known(1, None)),
            (path("d"), known(2, Some(xattrs.clone()))),
            (path("d-e/b"), known(3, None)),
            (path("d-e/c"), Known { what: KnownWhat::Symlink { target: b"b".to_vec() }, ..known(4, None) }),
        ];
        let mut list = ListBuilder::default();
        list.push(FileType::RegularFile, c"b");
        list.push(FileType::Unknown, c"c");
        let directory = KnownDirectory { stamp: stamp(9), mode: 0o755, xattrs: Some(xattrs), list: list.finish() };
        let selected =
            Selected { key: Digest::of(b"key"), scope: ContentHash::of(b"scope"), digest: Digest::of(b"digest") };
        let fresh = Fresh { directories: [(path("d-e"), directory)].into(), files: files.into() };
        (fresh, vec![selected])
    }

    const ALL: Kept<'static> = Kept { directory: &|_| true, file: &|_| true };

    fn find(index: &Index, path: EntryPath<'_>, stamp: &Stamp) -> Option<(usize, Known)> {
        index.directory(path.parent().unwrap())?.file(path.name(), stamp)
    }

    #[test]
    fn what_is_written_is_read() {
        let (fresh, selections) = sample();
        let index = Index::load(Index::default().encode(&ALL, &fresh, &selections).unwrap());
        assert_eq!((index.directories(), index.len(), index.selections()), (2, 4, selections));
        for (path, known) in &fresh.files {
            assert_eq!(find(&index, path.as_path(), &known.stamp).map(|found| found.1).as_ref(), Some(known));
            assert_eq!(find(&index, path.as_path(), &stamp(77)), None);
        }
        assert_eq!(find(&index, path("d-e/bb").as_path(), &stamp(3)), None);
        assert!(index.directory(path("d").as_path()).is_none());
        let directory = &fresh.directories[&path("d-e")];
        let (list, xattrs) = index.directory(path("d-e").as_path()).unwrap().list(&directory.stamp).unwrap();
        assert_eq!((list.as_bytes(), &xattrs), (directory.list.as_bytes(), &directory.xattrs));
        assert!(index.directory(path("d-e").as_path()).unwrap().list(&stamp(1)).is_none());
        // Its list is not known, whatever it looks like.
        assert!(index.directory(EntryPath::ROOT).unwrap().list(&stamp(0)).is_none());
    }

    #[test]
    fn what_is_new_comes_among_what_is_kept() {
        let (mut fresh, selections) = sample();
        let index = Index::load(Index::default().encode(&ALL, &fresh, &selections).unwrap());
        let what = KnownWhat::File { content: ContentHash::of(b"new"), xattrs: None };
        let known = Known { what, ..fresh.files[&path("a")].clone() };
        let directory = KnownDirectory { stamp: stamp(10), ..fresh.directories[&path("d-e")].clone() };
        let news = Fresh {
            directories: [(path("b"), directory.clone()), (path("d-e"), directory)].into(),
            files: [(path("a"), known.clone()), (path("d-e/bb"), known.clone()), (path("z/z"), known)].into(),
        };
        // The second one, `d`, is gone.
        let merged = index.encode(&Kept { file: &|place| place != 1, ..ALL }, &news, &[]).unwrap();
        fresh.files.remove(&path("d"));
        fresh.files.extend(news.files);
        fresh.directories.extend(news.directories);
        assert_eq!(merged, Index::default().encode(&ALL, &fresh, &[]).unwrap());
        // Nothing is left of a directory that is gone.
        let nothing = Kept { directory: &|_| false, file: &|_| false };
        let empty = Index::load(index.encode(&nothing, &Fresh::default(), &[]).unwrap());
        assert_eq!((empty.directories(), empty.len()), (0, 0));
    }

    #[test]
    fn what_is_damaged_is_nothing() {
        let (fresh, selections) = sample();
        let bytes = Index::default().encode(&ALL, &fresh, &selections).unwrap();
        for place in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert_eq!(Index::load(damaged).len(), 0, "{place}");
            assert_eq!(Index::load(bytes[..place].to_vec()).len(), 0, "{place}");
        }
    }
}
