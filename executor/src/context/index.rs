//! What is remembered of a directory from build to build: the hashes of its files, each with what the file looked like, and the digests of what steps selected.
//!
//! ```text
//! magic            24 bytes
//! checksum         32 bytes, BLAKE3 of all behind it
//! counts           3 × 8 bytes: files, selections, bytes of names
//! files            104 bytes each, sorted by path: device, inode, size, mtime, ctime, hash, place and length of path and attributes
//! selections       96 bytes each, the last used first: key, hash of what was selected, digest
//! names            paths and attributes
//! ```
//! Numbers are little endian.

use std::collections::BTreeMap;
use std::ops::Range;

use layer::{ContentHash, EntryPath, EntryPathBuf, Mtime, XattrsBuf};
use oci::Digest;

use super::seen::Stamp;

const MAGIC: &[u8; 24] = b"kiln context index 1\n\0\0\0";
const HEADER_BYTES: usize = 24 + 32 + 3 * 8;
const FILE_BYTES: usize = 104;
const SELECTION_BYTES: usize = 96;
/// How many files are remembered of one directory; those of more are read each time. About 700 MB of index.
const FILES_MAX: usize = 4_000_000;
/// How many selections are remembered of one directory.
const SELECTIONS_MAX: usize = 512;

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) stamp: Stamp,
    pub(super) content: ContentHash,
    pub(super) xattrs: Option<XattrsBuf>,
}

/// An index as it was read. Nothing is decoded before it is asked for.
#[derive(Default)]
pub(super) struct Index {
    bytes: Vec<u8>,
    files: usize,
    selections: usize,
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
        Self::check(&bytes).map(|(files, selections)| Self { bytes, files, selections }).unwrap_or_default()
    }

    fn check(bytes: &[u8]) -> Option<(usize, usize)> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (checksum, rest) = rest.split_first_chunk::<32>()?;
        if ContentHash::of(rest).0 != *checksum {
            return None;
        }
        let mut numbers = Numbers(rest);
        let (files, selections, names) = (numbers.size()?, numbers.size()?, numbers.size()?);
        let length = files.checked_mul(FILE_BYTES)?.checked_add(selections.checked_mul(SELECTION_BYTES)?)?;
        (length.checked_add(names)? == numbers.0.len()).then_some((files, selections))
    }

    /// Returns how many files it knows.
    pub(super) fn len(&self) -> usize {
        self.files
    }

    fn record(&self, place: usize) -> &[u8] {
        let start = HEADER_BYTES + place * FILE_BYTES;
        &self.bytes[start..start + FILE_BYTES]
    }

    fn name(&self, at: &[u8]) -> &[u8] {
        let mut numbers = Numbers(at);
        let heap = HEADER_BYTES + self.files * FILE_BYTES + self.selections * SELECTION_BYTES;
        let (Some(start), Some(length)) = (numbers.u32(), numbers.u32()) else { return &[] };
        self.bytes.get(heap + start as usize..).and_then(|rest| rest.get(..length as usize)).unwrap_or_default()
    }

    /// Returns the path of a file.
    pub(super) fn path(&self, place: usize) -> EntryPath<'_> {
        EntryPath::parse(self.name(&self.record(place)[88..96])).unwrap_or_default()
    }

    /// Compares without decoding.
    fn is_at(&self, place: usize, path: EntryPath<'_>) -> bool {
        self.name(&self.record(place)[88..96]) == path.as_bytes()
    }

    /// Returns what is known of a file.
    pub(super) fn known(&self, place: usize) -> Option<Known> {
        let record = self.record(place);
        let mut numbers = Numbers(record);
        let stamp = numbers.stamp()?;
        let content = ContentHash(*numbers.0.first_chunk()?);
        let mut rest = Numbers(self.name(&record[96..104]));
        let mut pairs = Vec::new();
        while !rest.0.is_empty() {
            let (name, value) = (rest.u32()? as usize, rest.u32()? as usize);
            let (pair, behind) = rest.0.split_at_checked(name.checked_add(value)?)?;
            pairs.push((pair[..name].to_vec(), pair[name..].to_vec()));
            rest.0 = behind;
        }
        let xattrs = (!pairs.is_empty()).then(|| pairs.into_iter().collect());
        Some(Known { stamp, content, xattrs })
    }

    /// Returns the place of a file at or behind `from`: that of the one asked for before, when paths come in order.
    pub(super) fn find(&self, from: usize, path: EntryPath<'_>) -> Result<usize, usize> {
        if from < self.files && self.is_at(from, path) {
            return Ok(from);
        }
        let (mut low, mut high) = (from.min(self.files), self.files);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.path(middle) < path { low = middle + 1 } else { high = middle }
        }
        if low < self.files && self.is_at(low, path) { Ok(low) } else { Err(low) }
    }

    /// Returns the digests of selections.
    pub(super) fn selections(&self) -> Vec<Selected> {
        let start = HEADER_BYTES + self.files * FILE_BYTES;
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

    /// Returns the bytes of an index of the files of `self` that are kept, by their places, and of `fresh`, which win. `None` means that there is too much for one.
    pub(super) fn encode(
        &self,
        keeps: impl Fn(usize) -> bool,
        fresh: &BTreeMap<EntryPathBuf, Known>,
        selections: &[Selected],
    ) -> Option<Vec<u8>> {
        let selections = &selections[..selections.len().min(SELECTIONS_MAX)];
        let mut out =
            Encoder { records: Vec::with_capacity((self.files + fresh.len()) * FILE_BYTES), ..Encoder::default() };
        let mut place = 0;
        for (path, known) in fresh {
            let until = self.find(place, path.as_path());
            self.copy(place..until.unwrap_or_else(|place| place), &keeps, &mut out)?;
            place = until.map_or_else(|place| place, |place| place + 1);
            out.put(path.as_path(), known)?;
        }
        self.copy(place..self.files, &keeps, &mut out)?;
        let files = out.records.len() / FILE_BYTES;
        if files > FILES_MAX {
            return None;
        }
        let mut bytes = [MAGIC.as_slice(), &[0; 32]].concat();
        for count in [files, selections.len(), out.names.len()] {
            bytes.extend_from_slice(&(count as u64).to_le_bytes());
        }
        bytes.extend_from_slice(&out.records);
        for Selected { key, scope, digest } in selections {
            bytes.extend_from_slice(key.as_bytes());
            bytes.extend_from_slice(&scope.0);
            bytes.extend_from_slice(digest.as_bytes());
        }
        bytes.extend_from_slice(&out.names);
        let checksum = ContentHash::of(&bytes[MAGIC.len() + 32..]);
        bytes[MAGIC.len()..MAGIC.len() + 32].copy_from_slice(&checksum.0);
        Some(bytes)
    }

    /// Takes files over as they are.
    fn copy(&self, places: Range<usize>, keeps: impl Fn(usize) -> bool, out: &mut Encoder) -> Option<()> {
        for place in places.filter(|place| keeps(*place)) {
            let record = self.record(place);
            out.records.extend_from_slice(&record[..88]);
            out.name(|names| names.extend_from_slice(self.name(&record[88..96])))?;
            out.name(|names| names.extend_from_slice(self.name(&record[96..104])))?;
        }
        Some(())
    }
}

/// Files and names of an index in the making.
#[derive(Default)]
struct Encoder {
    records: Vec<u8>,
    names: Vec<u8>,
}

impl Encoder {
    fn put(&mut self, path: EntryPath<'_>, known: &Known) -> Option<()> {
        let Stamp { device, inode, size_bytes, mtime, ctime } = known.stamp;
        self.records.extend_from_slice(&device.0.to_le_bytes());
        self.records.extend_from_slice(&device.1.to_le_bytes());
        self.records.extend_from_slice(&inode.to_le_bytes());
        self.records.extend_from_slice(&size_bytes.to_le_bytes());
        for time in [mtime, ctime] {
            self.records.extend_from_slice(&time.seconds.to_le_bytes());
            self.records.extend_from_slice(&u64::from(time.nanoseconds).to_le_bytes());
        }
        self.records.extend_from_slice(&known.content.0);
        self.name(|names| names.extend_from_slice(path.as_bytes()))?;
        self.name(|names| {
            for (name, value) in known.xattrs.iter().flat_map(|xattrs| xattrs.as_xattrs().iter()) {
                names.extend_from_slice(&(name.len() as u32).to_le_bytes());
                names.extend_from_slice(&(value.len() as u32).to_le_bytes());
                names.extend_from_slice(name);
                names.extend_from_slice(value);
            }
        })
    }

    fn name(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> Option<()> {
        let start = self.names.len();
        put(&mut self.names);
        self.records.extend_from_slice(&u32::try_from(start).ok()?.to_le_bytes());
        self.records.extend_from_slice(&u32::try_from(self.names.len() - start).ok()?.to_le_bytes());
        Some(())
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
    use super::*;

    fn sample() -> (BTreeMap<EntryPathBuf, Known>, Vec<Selected>) {
        let known = |inode, xattrs| Known {
            stamp: Stamp { inode, mtime: Mtime { seconds: -1, nanoseconds: 7 }, ..Stamp::default() },
            content: ContentHash::of(&[inode as u8]),
            xattrs,
        };
        let path = |text: &str| EntryPathBuf::parse(text.as_bytes().to_vec()).unwrap();
        let xattrs = XattrsBuf::from_iter([("user.a", "1"), ("user.b", "")]);
        let files = [(path("a"), known(1, None)), (path("a-b"), known(2, Some(xattrs))), (path("a/c"), known(3, None))];
        let selected =
            Selected { key: Digest::of(b"key"), scope: ContentHash::of(b"scope"), digest: Digest::of(b"digest") };
        (files.into(), vec![selected])
    }

    #[test]
    fn what_is_written_is_read() {
        let (files, selections) = sample();
        let index = Index::load(Index::default().encode(|_| true, &files, &selections).unwrap());
        assert_eq!((index.len(), index.selections()), (3, selections));
        let mut next = 0;
        for (path, known) in &files {
            let place = index.find(next, path.as_path()).unwrap();
            assert_eq!(index.known(place).as_ref(), Some(known));
            assert_eq!(index.find(0, path.as_path()), Ok(place));
            next = place + 1;
        }
        let other = EntryPathBuf::parse(b"a/b".to_vec()).unwrap();
        assert_eq!(index.find(0, other.as_path()), Err(1));
    }

    #[test]
    fn what_is_new_comes_among_what_is_kept() {
        let (mut files, selections) = sample();
        let index = Index::load(Index::default().encode(|_| true, &files, &selections).unwrap());
        let path = |text: &str| EntryPathBuf::parse(text.as_bytes().to_vec()).unwrap();
        let known = Known { content: ContentHash::of(b"new"), ..files[&path("a")].clone() };
        let fresh = [(path("a"), known.clone()), (path("a/b"), known.clone()), (path("z"), known)];
        // The last one, `a-b`, is gone.
        let merged = index.encode(|place| place != 2, &fresh.clone().into(), &[]).unwrap();
        files.remove(&path("a-b"));
        files.extend(fresh);
        assert_eq!(merged, Index::default().encode(|_| true, &files, &[]).unwrap());
    }

    #[test]
    fn what_is_damaged_is_nothing() {
        let (files, selections) = sample();
        let bytes = Index::default().encode(|_| true, &files, &selections).unwrap();
        for place in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert_eq!(Index::load(damaged).len(), 0, "{place}");
            assert_eq!(Index::load(bytes[..place].to_vec()).len(), 0, "{place}");
        }
    }
}
