//! Going through a directory tree on all cores, as far as a scope reaches and an ignore file lets.
//!
//! **Invariant:** never follows a symbolic link on the way, and holds one open directory for each thread, however deep the tree.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use layer::{EntryPath, EntryPathBuf, KindBuf, Mtime, Tree, XattrsBuf};
use llb::pattern::{Ignore, Verdict};
use rustix::fs::{
    AtFlags, FileType, RawDir, Statx, StatxFlags, fgetxattr, flistxattr, flistxattr_query, readlinkat, statx,
};
use rustix::io::Errno;

use super::index::{Index, IndexedDirectory, Known, KnownDirectory, KnownWhat};
use super::list::{List, ListBuilder};
use super::look::{Directory, Files, Look, in_order};
use super::scope::{Place, Reach, Scope};
use super::seen::{Seen, Stamp, kind_of};
use crate::ExecError;

/// The longest list of attribute names, and the longest value, that the kernel gives.
const XATTR_BYTES_MAX: usize = 64 << 10;
/// How much of a directory's list is read at once.
const LIST_BYTES: usize = 32 << 10;

/// File systems that give a directory another time whenever a name in it comes, goes or means another file, by their magic numbers (statfs(2), linux/magic.h). What a network
/// or a program serves may do otherwise.
const KEEPS_TIMES: [u64; 8] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0x0102_1994, // tmpfs
    0xf2f5_2010, // F2FS
    0x2fc1_2fc1, // ZFS
    0xca45_1a4e, // bcachefs
    0x794c_7630, // overlayfs, whose directories have the times of their uppermost ones
];

/// Goes through a directory tree.
#[derive(Clone, Copy)]
pub(super) struct Walker<'a> {
    pub(super) root: &'a Path,
    pub(super) tree: &'a Tree,
    pub(super) ignore: &'a Ignore,
    /// What builds before remembered.
    pub(super) index: &'a Index,
    /// When the build began to look.
    pub(super) began: Mtime,
}

impl Walker<'_> {
    /// Returns what is in the scope, which becomes wider when links lead out of it.
    pub(super) fn walk(&self, scope: &mut Scope) -> Result<Look, ExecError> {
        loop {
            let walk = Walk { walker: *self, scope, found: Mutex::default(), leads: Mutex::default() };
            let start = Pending {
                path: EntryPathBuf::default(),
                reach: scope.root(),
                verdict: Verdict::default(),
                counts: true,
            };
            let failed = Mutex::new(None);
            // The first one here: most contexts have few directories, and starting the other threads takes longer than reading it.
            let below = walk.root(start)?;
            if !below.is_empty() {
                rayon::scope(|threads| {
                    below.into_iter().for_each(|pending| {
                        threads.spawn(|threads| walk.directory(threads, pending, &failed));
                    });
                });
            }
            if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
                return Err(error);
            }
            let mut look = walk.found.into_inner().unwrap_or_else(PoisonError::into_inner);
            let mut leads = walk.leads.into_inner().unwrap_or_else(PoisonError::into_inner);
            leads.sort_by(|one, other| (&one.directory, &one.target).cmp(&(&other.directory, &other.target)));
            let mut follows = false;
            for lead in leads {
                follows |= scope.follow(&lead.reach, lead.directory.as_path().as_bytes(), &lead.target);
            }
            // A link leads to something that was not in the scope before: look again. Links are few, and what was read once is not read again.
            if !follows {
                in_order(&mut look.directories);
                return Ok(look);
            }
        }
    }
}

/// A walk through what is in a scope now.
struct Walk<'a> {
    walker: Walker<'a>,
    scope: &'a Scope,
    /// What was found so far, in any order.
    found: Mutex<Look>,
    /// Symbolic links that may lead to something else in the scope.
    leads: Mutex<Vec<Lead>>,
}

struct Lead {
    reach: Reach,
    directory: EntryPathBuf,
    target: Vec<u8>,
}

/// A directory that is to be read.
struct Pending {
    path: EntryPathBuf,
    reach: Reach,
    verdict: Verdict,
    /// Whether it counts for itself.
    counts: bool,
}

/// The files of a directory as they come.
enum Taken<'a> {
    /// Until now, those that the index has of it.
    AsIndexed(IndexedDirectory<'a>),
    /// Something else, among it what the index may have of it.
    Seen(Vec<Seen>, Option<IndexedDirectory<'a>>),
}

impl Walk<'_> {
    /// Reads the directory that everything is in: it has to be there.
    fn root(&self, start: Pending) -> Result<Vec<Pending>, ExecError> {
        self.stat(self.walker.tree, c"", &start.path)?;
        self.read(start)
    }

    /// Reads a directory, and those in it on whatever thread has time.
    fn directory<'s>(&'s self, threads: &rayon::Scope<'s>, pending: Pending, failed: &'s Mutex<Option<ExecError>>) {
        if failed.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        match self.read(pending) {
            Ok(below) => {
                for pending in below {
                    threads.spawn(move |threads| self.directory(threads, pending, failed));
                }
            }
            Err(error) => {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    }

    fn read(&self, pending: Pending) -> Result<Vec<Pending>, ExecError> {
        let directory = match self.walker.tree.open_directory(pending.path.as_path()) {
            Ok(directory) => directory,
            // Somebody removed it, or put something else in its place.
            Err(error) if is_gone(&error) => return Ok(Vec::new()),
            Err(error) => return Err(self.error("open", &pending.path)(error)),
        };
        let stat = self.stat(&directory, c"", &pending.path)?;
        let kind = KindBuf::Directory { opaque: false };
        let mut itself = Seen::new(pending.path.clone(), kind, &stat, pending.counts);
        let indexed = self.walker.index.directory(pending.path.as_path());
        let place = indexed.as_ref().map(|it| it.place);
        let mut below = Vec::new();
        let (files, fresh) = if let Some((list, xattrs)) = indexed.as_ref().and_then(|it| it.list(&itself.stamp)) {
            itself.xattrs = xattrs;
            (self.files(&directory, &pending, list, indexed, &mut below)?, None)
        } else {
            let list = self.list(&directory, &pending.path)?;
            itself.xattrs = xattrs(&directory);
            let mut taken = Taken::Seen(Vec::with_capacity(list.iter().count()), indexed);
            for name in list.iter() {
                self.visit(&directory, &pending, name, &mut taken, &mut below)?;
            }
            let is_kept = itself.stamp.is_settled(self.walker.began) && keeps_times(&directory);
            let (stamp, mode, xattrs) = (itself.stamp, itself.mode, itself.xattrs.clone());
            let fresh = is_kept.then_some(KnownDirectory { stamp, mode, xattrs, list });
            (taken.end(), Some(fresh))
        };
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match fresh {
            None => found.known_directories.extend(place),
            Some(fresh) => found.fresh_directories.extend(fresh.map(|known| (pending.path, known))),
        }
        found.directories.push(Directory { itself, files });
        Ok(below)
    }

    /// Looks at the names that a directory had before and still has.
    fn files(
        &self,
        directory: &OwnedFd,
        pending: &Pending,
        list: List<&[u8]>,
        indexed: Option<IndexedDirectory<'_>>,
        below: &mut Vec<Pending>,
    ) -> Result<Files, ExecError> {
        let may_pass = self.scope.has_all(&pending.reach) && !pending.verdict.is_ignored();
        let mut taken = match indexed {
            Some(indexed) if may_pass && indexed.has_all_files() => Taken::AsIndexed(indexed),
            indexed => Taken::Seen(Vec::with_capacity(list.iter().count()), indexed),
        };
        let mut path = pending.path.as_path().as_bytes().to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        let directory_bytes = path.len();
        for (name, kind) in list.iter() {
            if let Taken::AsIndexed(indexed) = &mut taken {
                path.truncate(directory_bytes);
                path.extend_from_slice(name.to_bytes());
                if self.passes(directory, pending, (name, kind), &path, indexed, below)? {
                    continue;
                }
                taken.look_closer(pending.path.as_path());
            }
            self.visit(directory, pending, (name, kind), &mut taken, below)?;
        }
        Ok(taken.end())
    }

    /// Tells whether a name in a directory is let in and is what the index has of it, and if so passes it over: it has nothing to say that is not known.
    fn passes(
        &self,
        directory: &OwnedFd,
        above: &Pending,
        (name, listed): (&CStr, FileType),
        path: &[u8],
        indexed: &mut IndexedDirectory<'_>,
        below: &mut Vec<Pending>,
    ) -> Result<bool, ExecError> {
        let ignore = self.walker.ignore;
        let verdict = match ignore.is_empty() {
            true => above.verdict,
            false => ignore.below(above.verdict, &String::from_utf8_lossy(path)),
        };
        if verdict.is_ignored() {
            return Ok(false);
        }
        match listed {
            FileType::Directory => {
                let Ok(path) = EntryPathBuf::parse(path.to_vec()) else { return Ok(false) };
                let Place::Inside(reach) = self.scope.place(&above.reach, name.to_bytes()) else { return Ok(false) };
                below.push(Pending { path, reach, verdict, counts: true });
                Ok(true)
            }
            FileType::RegularFile | FileType::Symlink => match stat_in(directory, name) {
                Ok(stat) => Ok(indexed.passes(name.to_bytes(), &Stamp::of(&stat))),
                // What is wrong with it is found out by a closer look.
                Err(_) => Ok(false),
            },
            _ => Ok(false),
        }
    }

    /// Looks at one name in a directory: takes it, passes it over, or has it read if it is a directory.
    fn visit(
        &self,
        directory: &OwnedFd,
        above: &Pending,
        (name, listed): (&CStr, FileType),
        taken: &mut Taken<'_>,
        below: &mut Vec<Pending>,
    ) -> Result<(), ExecError> {
        let (reach, is_named) = match self.scope.place(&above.reach, name.to_bytes()) {
            Place::Outside => return Ok(()),
            Place::Above(reach) | Place::Inside(reach) => (reach, false),
            Place::Named(reach) => (reach, true),
        };
        // A name that the list cannot hold is too long for any layer.
        let Ok(path) = above.path.as_path().child(name.to_bytes()) else { return Ok(()) };
        let verdict = self.walker.ignore.below(above.verdict, &String::from_utf8_lossy(path.as_path().as_bytes()));
        // Nothing more is asked about what is left out anyway.
        if verdict.is_ignored() && !matches!(listed, FileType::Directory | FileType::Unknown) {
            return Ok(());
        }
        let counts = reach.whole && !verdict.is_ignored();
        if listed == FileType::Directory {
            if !self.is_left_out(verdict, &path) {
                below.push(Pending { path, reach, verdict, counts });
            }
            return Ok(());
        }
        let stat = match self.stat(directory, name, &path) {
            Ok(stat) => stat,
            // It was there a moment ago: somebody removed it, so it is not part of the context.
            Err(ExecError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::Directory if self.is_left_out(verdict, &path) => {}
            FileType::Directory => below.push(Pending { path, reach, verdict, counts }),
            _ if verdict.is_ignored() => {}
            FileType::Symlink => {
                let mut seen = Seen::new(path, KindBuf::Symlink { target: Vec::new() }, &stat, true);
                let target = match taken.known(name, &seen.stamp) {
                    Some((place, Known { what: KnownWhat::Symlink { target }, .. })) => {
                        seen.place = u32::try_from(place).ok();
                        target
                    }
                    _ => match readlinkat(directory, name, Vec::new()) {
                        Ok(target) => target.into_bytes(),
                        // It was another file a moment ago.
                        Err(Errno::NOENT | Errno::INVAL) => return Ok(()),
                        Err(errno) => return Err(self.error("read", &seen.path)(errno.into())),
                    },
                };
                if is_named || !reach.whole {
                    let lead = Lead { reach, directory: above.path.clone(), target: target.clone() };
                    self.leads.lock().unwrap_or_else(PoisonError::into_inner).push(lead);
                }
                seen.kind = KindBuf::Symlink { target };
                taken.push(seen);
            }
            _ if !reach.whole => {}
            _ => {
                let Some(kind) = kind_of(&stat) else { return Ok(()) };
                let mut seen = Seen::new(path, kind, &stat, true);
                if let KindBuf::File { content, .. } = &mut seen.kind
                    && let Some((place, known)) = taken.known(name, &seen.stamp)
                    && let KnownWhat::File { content: known, xattrs } = known.what
                {
                    (*content, seen.xattrs, seen.place) = (known, xattrs, u32::try_from(place).ok());
                }
                taken.push(seen);
            }
        }
        Ok(())
    }

    /// Tells whether neither a directory nor anything in it is part of the context.
    fn is_left_out(&self, verdict: Verdict, path: &EntryPathBuf) -> bool {
        let text = || String::from_utf8_lossy(path.as_path().as_bytes()).into_owned();
        verdict.is_ignored() && !self.walker.ignore.can_match_below(verdict, &text())
    }

    /// Returns the names in a directory.
    fn list(&self, directory: &OwnedFd, path: &EntryPathBuf) -> Result<List<Vec<u8>>, ExecError> {
        let mut names = ListBuilder::default();
        let mut buffer = vec![MaybeUninit::uninit(); LIST_BYTES];
        let mut list = RawDir::new(directory, &mut buffer);
        while let Some(entry) = list.next() {
            let entry = match entry {
                Ok(entry) => entry,
                // The directory itself was removed meanwhile.
                Err(Errno::NOENT) => break,
                Err(errno) => return Err(self.error("read", path)(errno.into())),
            };
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_type(), entry.file_name());
            }
        }
        Ok(names.finish())
    }

    fn stat(&self, directory: impl AsFd, name: &CStr, path: &EntryPathBuf) -> Result<Statx, ExecError> {
        stat_in(directory, name).map_err(|errno| self.error("look at", path)(errno.into()))
    }

    fn error<'e>(
        &'e self,
        action: &'static str,
        path: &'e EntryPathBuf,
    ) -> impl FnOnce(io::Error) -> ExecError + use<'e> {
        let path = self.walker.root.join(path.to_string().trim_start_matches('/'));
        move |source| ExecError::File { action, path, source }
    }
}

impl Taken<'_> {
    /// Begins to take files one by one, those that were passed over first.
    fn look_closer(&mut self, path: EntryPath<'_>) {
        if let Self::AsIndexed(indexed) = std::mem::replace(self, Self::Seen(Vec::new(), None)) {
            *self = Self::Seen(indexed.passed(path), Some(indexed));
        }
    }

    /// Returns what is known of a file that looks like this. Names are asked for in order.
    fn known(&mut self, name: &CStr, stamp: &Stamp) -> Option<(usize, Known)> {
        match self {
            Self::Seen(_, Some(indexed)) => indexed.file(name.to_bytes(), stamp),
            Self::Seen(_, None) | Self::AsIndexed(_) => None,
        }
    }

    fn push(&mut self, file: Seen) {
        if let Self::Seen(files, _) = self {
            files.push(file);
        }
    }

    fn end(self) -> Files {
        match self {
            Self::AsIndexed(indexed) => Files::AsIndexed(indexed.place),
            Self::Seen(files, _) => Files::Seen(files),
        }
    }
}

fn stat_in(directory: impl AsFd, name: &CStr) -> rustix::io::Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    statx(directory, name, flags, StatxFlags::BASIC_STATS)
}

/// Tells whether the time of a directory says whether there are other names in it.
fn keeps_times(directory: impl AsFd) -> bool {
    rustix::fs::fstatfs(directory).is_ok_and(|it| KEEPS_TIMES.contains(&(it.f_type as u64)))
}

/// Tells whether an error says that a file is not there any more, or is not what it was.
pub(super) fn is_gone(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE | Errno::NXIO))
}

/// Returns the attributes of an open file or directory that layers keep.
pub(super) fn xattrs(file: impl AsFd) -> Option<XattrsBuf> {
    // Hardly any file has some.
    let length = flistxattr_query(&file).ok().filter(|length| *length > 0)?;
    let mut names = vec![0; XATTR_BYTES_MAX.max(length)];
    let length = flistxattr(&file, &mut names[..]).ok()?;
    let mut value = vec![0; XATTR_BYTES_MAX];
    let pairs = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).filter_map(|name| {
        let length = fgetxattr(&file, name, &mut value[..]).ok()?;
        Some((name.to_vec(), value[..length].to_vec()))
    });
    let kept: XattrsBuf = pairs.collect();
    (!kept.as_xattrs().is_empty()).then_some(kept)
}
