//! Writing an index: what is kept of the one before, and what is new, in one pass over both.

use std::collections::BTreeMap;

use layer::{ContentHash, EntryPath, EntryPathBuf, XattrsBuf};
use rustix::fs::FileType;

use super::{
    DIRECTORY_BYTES, DIRECTORY_MODE, FILE_ATTRIBUTES, FILE_BYTES, FILE_NAME, FILES_MAX, Index, Known, KnownDirectory,
    KnownWhat, MAGIC, MODE_LINKED, MODE_SYMLINK, Numbers, SELECTIONS_MAX, STAMP_BYTES, Selected, decode_xattrs,
    name_in,
};
use crate::context::fingerprint::{Fingerprint, What};
use crate::context::list::List;
use crate::context::seen::Stamp;

/// Which places of an index are kept.
pub(in crate::context) struct Kept<'a> {
    pub(in crate::context) directory: &'a dyn Fn(usize) -> bool,
    pub(in crate::context) file: &'a dyn Fn(usize) -> bool,
}

/// What an index does not have yet.
#[derive(Default)]
pub(in crate::context) struct Fresh {
    pub(in crate::context) directories: BTreeMap<EntryPathBuf, KnownDirectory>,
    pub(in crate::context) files: BTreeMap<EntryPathBuf, Known>,
}

/// What is new of one directory.
#[derive(Default)]
struct News<'a> {
    directory: Option<&'a KnownDirectory>,
    files: Vec<(&'a [u8], &'a Known)>,
}

impl News<'_> {
    fn is_nothing(&self) -> bool {
        self.directory.is_none() && self.files.is_empty()
    }
}

impl Fresh {
    /// Returns how much there is.
    pub(in crate::context) fn len(&self) -> usize {
        self.directories.len() + self.files.len()
    }

    fn by_directory(&self) -> BTreeMap<EntryPath<'_>, News<'_>> {
        let mut all: BTreeMap<EntryPath<'_>, News<'_>> = BTreeMap::new();
        for (path, directory) in &self.directories {
            all.entry(path.as_path()).or_default().directory = Some(directory);
        }
        for (path, known) in &self.files {
            let directory = path.as_path().parent().unwrap_or_default();
            all.entry(directory).or_default().files.push((path.as_path().name(), known));
        }
        all
    }
}

/// Directories, files and names of an index in the making.
#[derive(Default)]
struct Encoder {
    directories: Vec<u8>,
    files: Vec<u8>,
    names: Vec<u8>,
}

impl Encoder {
    fn file(&mut self, name: &[u8], known: &Known) -> Option<()> {
        self.files.extend_from_slice(&known.stamp.bytes());
        let linked = if known.is_linked { MODE_LINKED } else { 0 };
        let name = self.name(name)?;
        let (content, kind, attributes) = match &known.what {
            KnownWhat::File { content, xattrs } => (content.0, 0, self.xattrs(xattrs.as_ref())?),
            KnownWhat::Symlink { target } => ([0; 32], MODE_SYMLINK, self.name(target)?),
        };
        self.files.extend_from_slice(&content);
        self.files.extend_from_slice(&(u32::from(known.mode) | kind | linked).to_le_bytes());
        self.files.extend_from_slice(&[name, attributes].concat());
        Some(())
    }

    /// Returns the fingerprint of the directory whose record begins at `start`, if its list is known and all that is in it but directories, from the file `first` on: files
    /// and links without other names.
    fn fingerprint(&self, start: usize, first: usize, mode: u16) -> Option<ContentHash> {
        let record = &self.directories[start..];
        if Numbers(record).stamp()? == Stamp::default() {
            return None;
        }
        let attributes = decode_xattrs(name_in(&self.names, &record[STAMP_BYTES + 8..]))?;
        let mut fingerprint = Fingerprint::new(mode, attributes.as_ref());
        let mut files = self.files[first * FILE_BYTES..].chunks_exact(FILE_BYTES);
        for (name, kind) in List::new(name_in(&self.names, &record[STAMP_BYTES + 2 * 8..])).iter() {
            if kind == FileType::Directory {
                continue;
            }
            let file = files.next().filter(|file| name_in(&self.names, &file[FILE_NAME..]) == name.to_bytes())?;
            let known = Known::decode(file, &self.names).filter(|known| !known.is_linked)?;
            let (what, xattrs, is_listed_so) = match &known.what {
                KnownWhat::File { content, xattrs } => {
                    let what = What::File { size_bytes: known.stamp.size_bytes, content: *content };
                    (what, xattrs.as_ref(), kind == FileType::RegularFile)
                }
                KnownWhat::Symlink { target } => (What::Symlink(target), None, kind == FileType::Symlink),
            };
            if !is_listed_so {
                return None;
            }
            fingerprint.add(name.to_bytes(), known.mode, what, xattrs);
        }
        files.next().is_none().then(|| fingerprint.finish())
    }

    fn xattrs(&mut self, xattrs: Option<&XattrsBuf>) -> Option<[u8; 8]> {
        let mut bytes = Vec::new();
        for (name, value) in xattrs.iter().flat_map(|xattrs| xattrs.as_xattrs().iter()) {
            bytes.extend_from_slice(&(name.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(value);
        }
        self.name(&bytes)
    }

    /// Adds to the names, and returns place and length.
    fn name(&mut self, name: &[u8]) -> Option<[u8; 8]> {
        let at = [u32::try_from(self.names.len()).ok()?, u32::try_from(name.len()).ok()?];
        self.names.extend_from_slice(name);
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&at[0].to_le_bytes());
        bytes[4..].copy_from_slice(&at[1].to_le_bytes());
        Some(bytes)
    }
}

impl Index {
    /// Returns the bytes of an index of the directories and files of `self` that are kept, and of what is `fresh`, which wins. `None` means that there is too much for one.
    pub(in crate::context) fn encode(
        &self,
        keeps: &Kept<'_>,
        fresh: &Fresh,
        selections: &[Selected],
    ) -> Option<Vec<u8>> {
        let selections = &selections[..selections.len().min(SELECTIONS_MAX)];
        let mut out = Encoder::default();
        out.files.reserve((self.files + fresh.files.len()) * FILE_BYTES);
        let mut place = 0;
        for (path, news) in fresh.by_directory() {
            while place < self.directories && self.directory_path(place) < path {
                self.merge(Some(place), self.directory_path(place), &News::default(), keeps, &mut out)?;
                place += 1;
            }
            let old = (place < self.directories && self.directory_path(place) == path).then_some(place);
            self.merge(old, path, &news, keeps, &mut out)?;
            place += usize::from(old.is_some());
        }
        for place in place..self.directories {
            self.merge(Some(place), self.directory_path(place), &News::default(), keeps, &mut out)?;
        }
        let counts =
            [out.directories.len() / DIRECTORY_BYTES, out.files.len() / FILE_BYTES, selections.len(), out.names.len()];
        if counts[1] > FILES_MAX {
            return None;
        }
        let mut bytes = [MAGIC.as_slice(), &[0; 32]].concat();
        counts.iter().for_each(|count| bytes.extend_from_slice(&(*count as u64).to_le_bytes()));
        bytes.extend_from_slice(&out.directories);
        bytes.extend_from_slice(&out.files);
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

    /// Writes one directory: what is new of it, and what is kept.
    fn merge(
        &self,
        old: Option<usize>,
        path: EntryPath<'_>,
        news: &News<'_>,
        keeps: &Kept<'_>,
        out: &mut Encoder,
    ) -> Option<()> {
        let first = out.files.len() / FILE_BYTES;
        let mut kept = old.map_or(0..0, |place| self.files_of(place)).filter(|place| (keeps.file)(*place)).peekable();
        for (name, known) in &news.files {
            while let Some(place) = kept.next_if(|place| self.file_name(*place) < *name) {
                self.copy_file(place, out)?;
            }
            kept.next_if(|place| self.file_name(*place) == *name);
            out.file(name, known)?;
        }
        for place in kept {
            self.copy_file(place, out)?;
        }
        let files = out.files.len() / FILE_BYTES - first;
        let (start, old) = (out.directories.len(), old.filter(|place| (keeps.directory)(*place)));
        let mode;
        match (news.directory, old) {
            (Some(known), _) => {
                out.directories.extend_from_slice(&known.stamp.bytes());
                let (path, list) = (out.name(path.as_bytes())?, out.name(known.list.as_bytes())?);
                let xattrs = out.xattrs(known.xattrs.as_ref())?;
                out.directories.extend_from_slice(&[path, xattrs, list].concat());
                mode = known.mode;
            }
            (None, Some(old)) => {
                let record = self.directory_record(old);
                mode = Numbers(&record[DIRECTORY_MODE..]).u32()? as u16;
                out.directories.extend_from_slice(&record[..STAMP_BYTES]);
                for at in (STAMP_BYTES..STAMP_BYTES + 3 * 8).step_by(8) {
                    let name = out.name(self.name(&record[at..]))?;
                    out.directories.extend_from_slice(&name);
                }
            }
            (None, None) if files == 0 => return Some(()),
            // A stamp that no directory has: its list is not known.
            (None, None) => {
                out.directories.extend_from_slice(&Stamp::default().bytes());
                let (path, nothing) = (out.name(path.as_bytes())?, out.name(b"")?);
                out.directories.extend_from_slice(&[path, nothing, nothing].concat());
                mode = 0;
            }
        }
        out.directories.extend_from_slice(&u32::try_from(first).ok()?.to_le_bytes());
        out.directories.extend_from_slice(&u32::try_from(files).ok()?.to_le_bytes());
        out.directories.extend_from_slice(&u32::from(mode).to_le_bytes());
        // What is taken over whole is what it was.
        let whole = old.filter(|_| news.is_nothing()).filter(|place| self.files_of(*place).len() == files);
        let known = whole.map(|place| self.fingerprint(place));
        let fingerprint = known.unwrap_or_else(|| out.fingerprint(start, first, mode));
        out.directories.extend_from_slice(&fingerprint.map_or([0; 32], |hash| hash.0));
        debug_assert_eq!(out.directories.len(), start + DIRECTORY_BYTES);
        Some(())
    }

    /// Takes a file over as it is.
    fn copy_file(&self, place: usize, out: &mut Encoder) -> Option<()> {
        let record = self.record(place);
        out.files.extend_from_slice(&record[..FILE_NAME]);
        for at in [FILE_NAME, FILE_ATTRIBUTES] {
            let name = out.name(self.name(&record[at..]))?;
            out.files.extend_from_slice(&name);
        }
        Some(())
    }
}
