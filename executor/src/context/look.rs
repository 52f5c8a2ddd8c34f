//! What a look at a directory tree found, directory by directory: what is as an index has it is not even listed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::convert::Infallible;
use std::iter::Peekable;

use layer::{ContentHash, EntryPath, EntryPathBuf};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::fingerprint::{Fingerprint, What, of_all};
use super::index::{Index, KnownDirectory};
use super::seen::{FileId, Seen};

/// A directory.
pub(super) struct Directory {
    /// What it is itself.
    pub(super) itself: Seen,
    pub(super) files: Files,
}

/// What is in a directory, but for directories.
pub(super) enum Files {
    /// What the index has of the directory at this place, to the last attribute.
    AsIndexed(usize),
    /// Sorted by name.
    Seen(Vec<Seen>),
}

/// Files of a directory, as they were looked at or as an index has them.
type SeenFiles<'a> = Peekable<Box<dyn Iterator<Item = Cow<'a, Seen>> + 'a>>;

/// What a walk found.
#[derive(Default)]
pub(super) struct Look {
    /// What is in the scope, sorted by path.
    pub(super) directories: Vec<Directory>,
    /// The places of the directories in the index that have the names that they had.
    pub(super) known_directories: Vec<usize>,
    /// The others, with the names in them.
    pub(super) fresh_directories: Vec<(EntryPathBuf, KnownDirectory)>,
}

impl Directory {
    fn path(&self) -> EntryPath<'_> {
        self.itself.path.as_path()
    }

    /// Returns the files that were looked at one by one.
    pub(super) fn seen(&self) -> &[Seen] {
        match &self.files {
            Files::AsIndexed(_) => &[],
            Files::Seen(files) => files,
        }
    }

    pub(super) fn seen_mut(&mut self) -> &mut [Seen] {
        match &mut self.files {
            Files::AsIndexed(_) => &mut [],
            Files::Seen(files) => files,
        }
    }

    /// Returns what is in it but for directories, sorted by name.
    fn files<'a>(&'a self, index: &'a Index) -> SeenFiles<'a> {
        let places = match self.files {
            Files::AsIndexed(place) => index.files_of(place),
            Files::Seen(_) => 0..0,
        };
        let indexed = places.filter_map(|place| index.seen_file(place, self.path())).map(Cow::Owned);
        let files: Box<dyn Iterator<Item = Cow<'a, Seen>>> =
            Box::new(indexed.chain(self.seen().iter().map(Cow::Borrowed)));
        files.peekable()
    }

    fn fingerprint(&self, index: &Index, links: &Links<'_>) -> ContentHash {
        match &self.files {
            // One without a fingerprint is looked at file by file.
            Files::AsIndexed(place) => index.fingerprint(*place).expect("only a directory with one is taken as it is"),
            Files::Seen(files) => {
                let mut fingerprint = Fingerprint::new(self.itself.mode, self.itself.xattrs.as_ref());
                for file in files {
                    if let Some(what) = What::of(file, links.first(file)) {
                        fingerprint.add(file.path.as_path().name(), file.mode, what, file.xattrs.as_ref());
                    }
                }
                fingerprint.finish()
            }
        }
    }
}

/// Sorts directories, and takes out those that nothing is in that counts.
pub(super) fn in_order(directories: &mut Vec<Directory>) {
    directories.sort_unstable_by(|one, other| one.path().cmp(&other.path()));
    if directories.iter().all(|directory| directory.itself.counts) {
        return;
    }
    // From the end on: a directory counts if there are files in it, or if what comes behind it and counts is in it.
    let mut next: Option<usize> = None;
    for place in (0..directories.len()).rev() {
        let here = &directories[place];
        let has_files = !matches!(&here.files, Files::Seen(files) if files.is_empty());
        let holds = |next: usize| directories[next].path().is_within(here.path());
        let counts = here.itself.counts || has_files || next.is_some_and(holds);
        directories[place].itself.counts = counts;
        if counts {
            next = Some(place);
        }
    }
    directories.retain(|directory| directory.itself.counts);
}

/// Returns how much was found.
pub(super) fn len(directories: &[Directory], index: &Index) -> usize {
    let files = directories.iter().map(|directory| match &directory.files {
        Files::AsIndexed(place) => index.files_of(*place).len(),
        Files::Seen(files) => files.len(),
    });
    files.sum::<usize>() + directories.len()
}

/// Returns about how many bytes the paths of all of it have.
pub(super) fn path_bytes(directories: &[Directory], index: &Index) -> usize {
    const NAME_BYTES: usize = 16;
    let bytes = directories.iter().map(|directory| {
        let files = len(std::slice::from_ref(directory), index);
        files * (directory.path().as_bytes().len() + 1 + NAME_BYTES)
    });
    bytes.sum()
}

/// Returns a hash of everything about what was found but its times.
pub(super) fn fingerprint(directories: &[Directory], index: &Index) -> ContentHash {
    let links = Links::of(directories.iter().flat_map(Directory::seen));
    let each: Vec<ContentHash> = directories.par_iter().map(|it| it.fingerprint(index, &links)).collect();
    of_all(directories.iter().map(Directory::path).zip(each))
}

/// Hands everything that was found to `take`, one by one, sorted by path, each directory before what is in it; ends with the first error.
pub(super) fn each<E>(
    directories: &[Directory],
    index: &Index,
    mut take: impl FnMut(&Seen) -> Result<(), E>,
) -> Result<(), E> {
    // The directories that lead to where we are, with the files in them that are still to come.
    let mut open: Vec<(&Directory, SeenFiles<'_>)> = Vec::new();
    for directory in directories {
        while let Some((above, mut files)) = open.pop() {
            if directory.path().is_within(above.path()) {
                let comes_before = |file: &Cow<'_, Seen>| file.path < directory.itself.path;
                std::iter::from_fn(|| files.next_if(comes_before)).try_for_each(|file| take(&file))?;
                open.push((above, files));
                break;
            }
            files.try_for_each(|file| take(&file))?;
        }
        take(&directory.itself)?;
        open.push((directory, directory.files(index)));
    }
    open.into_iter().rev().try_for_each(|(_, mut files)| files.try_for_each(|file| take(&file)))
}

/// Returns everything that was found, in the same order.
pub(super) fn all(directories: &[Directory], index: &Index) -> Vec<Seen> {
    let mut all = Vec::with_capacity(len(directories, index));
    let Ok(()) = each(directories, index, |seen| {
        all.push(seen.clone());
        Ok::<(), Infallible>(())
    });
    all
}

/// Which files are other names of files before them.
pub(super) struct Links<'a>(HashMap<FileId, Vec<&'a Seen>>);

impl<'a> Links<'a> {
    /// Looks at files, which come sorted by directory and name.
    pub(super) fn of(files: impl Iterator<Item = &'a Seen>) -> Self {
        let mut names: HashMap<FileId, Vec<&Seen>> = HashMap::new();
        for file in files.filter(|file| file.is_linked) {
            names.entry(file.stamp.id()).or_default().push(file);
        }
        names.values_mut().for_each(|names| names.sort_unstable_by(|one, other| one.path.cmp(&other.path)));
        Self(names)
    }

    /// Returns the path of the file that this is another name of.
    pub(super) fn first(&self, file: &Seen) -> Option<EntryPath<'a>> {
        if !file.is_linked {
            return None;
        }
        let first = *self.0.get(&file.stamp.id())?.first()?;
        // One that changed while it was read may not be what the first one is.
        (first.path != file.path && first.kind == file.kind).then(|| first.path.as_path())
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::{Fresh, Kept, Known};
    use super::super::list::ListBuilder;
    use super::super::seen::Stamp;
    use super::*;
    use layer::{KindBuf, Mtime};
    use proptest::prelude::*;
    use rustix::fs::FileType;

    fn seen(path: EntryPathBuf, kind: KindBuf, mode: u16, number: u64) -> Seen {
        let size_bytes = if let KindBuf::File { size_bytes, .. } = kind { size_bytes } else { 0 };
        let mtime = Mtime { seconds: number.cast_signed(), nanoseconds: 1 };
        let stamp = Stamp { inode: number, size_bytes, mtime, ctime: mtime, ..Stamp::default() };
        let (is_linked, place, is_socket, is_gone, is_read) = (false, None, false, false, false);
        Seen { path, kind, mode, xattrs: None, stamp, is_linked, place, is_socket, is_gone, is_read, counts: true }
    }

    proptest! {
        /// What an index gives of directories is what was found, and its fingerprint is the same.
        #[test]
        fn an_index_gives_what_was_found(
            tree in prop::collection::btree_map("[a-c.-]{1,2}(/[a-c.-]{1,2}){0,2}", (0..3u8, 0..0o7777u16), 1..30)
        ) {
            let mut directories: Vec<Directory> = Vec::new();
            let mut number = 1;
            let mut add = |directories: &mut Vec<Directory>, path: EntryPath<'_>, mode: u16| {
                if directories.iter().all(|it| it.path() != path) {
                    number += 1;
                    let itself = seen(path.to_owned(), KindBuf::Directory { opaque: false }, mode, number);
                    directories.push(Directory { itself, files: Files::Seen(Vec::new()) });
                }
                number
            };
            for (text, (kind, mode)) in &tree {
                let Ok(path) = EntryPathBuf::parse(text.clone().into_bytes()) else { continue };
                let path = path.as_path();
                path.ancestors().for_each(|above| { add(&mut directories, above, 0o755); });
                if *kind == 0 {
                    add(&mut directories, path, *mode);
                    continue;
                }
                // What has become a directory is none of the files.
                let is_above = |other: &String| other.starts_with(&format!("{text}/"));
                if tree.keys().any(is_above) {
                    continue;
                }
                let what = match kind {
                    1 => KindBuf::File { size_bytes: u64::from(*mode), content: ContentHash::of(text.as_bytes()) },
                    _ => KindBuf::Symlink { target: text.clone().into_bytes() },
                };
                let number = add(&mut directories, EntryPath::ROOT, 0o755) + 1000 + text.len() as u64;
                let parent = directories.iter_mut().find(|it| Some(it.path()) == path.parent()).unwrap();
                let Files::Seen(files) = &mut parent.files else { unreachable!() };
                files.push(seen(path.to_owned(), what, *mode, number));
            }
            in_order(&mut directories);
            let mut fresh = Fresh::default();
            let paths: Vec<EntryPathBuf> = directories.iter().map(|it| it.itself.path.clone()).collect();
            for directory in &mut directories {
                let Files::Seen(files) = &mut directory.files else { unreachable!() };
                files.sort_by(|one, other| one.path.cmp(&other.path));
                let mut list = ListBuilder::default();
                let below = paths.iter().filter(|it| it.as_path().parent() == Some(directory.itself.path.as_path()));
                let name = |path: &EntryPathBuf| std::ffi::CString::new(path.as_path().name()).unwrap();
                below.for_each(|it| list.push(FileType::Directory, &name(it)));
                for file in files.iter() {
                    let is_link = matches!(file.kind, KindBuf::Symlink { .. });
                    list.push(if is_link { FileType::Symlink } else { FileType::RegularFile }, &name(&file.path));
                    fresh.files.insert(file.path.clone(), Known::of(file).unwrap());
                }
                let Seen { stamp, mode, .. } = directory.itself;
                let known = KnownDirectory { stamp, mode, xattrs: None, list: list.finish() };
                fresh.directories.insert(directory.itself.path.clone(), known);
            }
            let kept = Kept { directory: &|_| true, file: &|_| true };
            let index = Index::load(Index::default().encode(&kept, &fresh, &[]).unwrap());
            let indexed: Vec<Directory> = directories.iter().map(|directory| {
                let place = index.directory(directory.path()).unwrap().place;
                Directory { itself: directory.itself.clone(), files: Files::AsIndexed(place) }
            }).collect();
            prop_assert_eq!(fingerprint(&indexed, &index), fingerprint(&directories, &index));
            prop_assert_eq!(len(&indexed, &index), len(&directories, &index));
            let found = |directories: &[Directory]| {
                all(directories, &index).into_iter().map(|seen| Seen { place: None, ..seen }).collect::<Vec<_>>()
            };
            let text = |directories: &[Directory]| found(directories).iter().map(|it| format!("{it:?}\n")).collect::<String>();
            prop_assert_eq!(text(&indexed), text(&directories));
            prop_assert!(found(&indexed).is_sorted_by(|one, other| one.path < other.path));
        }
    }
}
