//! Going through a directory tree on all cores, as far as a scope reaches and an ignore file lets.
//!
//! **Invariant:** never follows a symbolic link on the way, and holds one open directory for each thread, however deep the tree.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use layer::{EntryPathBuf, KindBuf, Mtime, Tree, XattrsBuf};
use llb::pattern::{Ignore, Verdict};
use rustix::fs::{
    AtFlags, FileType, RawDir, Statx, StatxFlags, fgetxattr, flistxattr, flistxattr_query, readlinkat, statx,
};
use rustix::io::Errno;

use super::index::{Index, IndexedDirectory, KnownDirectory};
use super::list::{List, ListBuilder};
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

/// What a walk found.
pub(super) struct Look {
    /// What is in the scope, sorted by path.
    pub(super) seen: Vec<Seen>,
    /// The places of the directories in the index that have the names that they had.
    pub(super) known_directories: Vec<usize>,
    /// The others, with the names in them.
    pub(super) fresh_directories: Vec<(EntryPathBuf, KnownDirectory)>,
}

impl Walker<'_> {
    /// Returns what is in the scope, which becomes wider when links lead out of it.
    pub(super) fn walk(&self, scope: &mut Scope) -> Result<Look, ExecError> {
        loop {
            let walk = Walk { walker: *self, scope, read: Mutex::default(), leads: Mutex::default() };
            let itself = walk.root()?;
            let start = Pending { path: EntryPathBuf::default(), reach: scope.root(), verdict: Verdict::default() };
            let failed = Mutex::new(None);
            // The first one here: most contexts have few directories, and starting the other threads takes longer than reading it.
            let below = walk.read(start)?;
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
            let read = walk.read.into_inner().unwrap_or_else(PoisonError::into_inner);
            let mut leads = walk.leads.into_inner().unwrap_or_else(PoisonError::into_inner);
            leads.sort_by(|one, other| (&one.directory, &one.target).cmp(&(&other.directory, &other.target)));
            let mut follows = false;
            for lead in leads {
                follows |= scope.follow(&lead.reach, lead.directory.as_path().as_bytes(), &lead.target);
            }
            // A link leads to something that was not in the scope before: look again. Links are few, and what was read once is not read again.
            if !follows {
                return Ok(in_order(itself, read));
            }
        }
    }
}

/// A walk through what is in a scope now.
struct Walk<'a> {
    walker: Walker<'a>,
    scope: &'a Scope,
    /// The directories that were read, with what is in them.
    read: Mutex<HashMap<EntryPathBuf, Listed>>,
    /// Symbolic links that may lead to something else in the scope.
    leads: Mutex<Vec<Lead>>,
}

/// What is in a directory, sorted by name.
struct Listed {
    xattrs: Option<XattrsBuf>,
    children: Vec<Seen>,
    /// Its place in the index, if its names are those.
    place: Option<usize>,
    /// What to remember of it.
    fresh: Option<KnownDirectory>,
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
}

impl Walk<'_> {
    fn root(&self) -> Result<Seen, ExecError> {
        let path = EntryPathBuf::default();
        let stat = self.stat(self.walker.tree, c"", &path)?;
        Ok(Seen::new(path, KindBuf::Directory { opaque: false }, &stat, true))
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
        let stamp = Stamp::of(&self.stat(&directory, c"", &pending.path)?);
        let mut indexed = self.walker.index.directory(pending.path.as_path());
        let mut below = Vec::new();
        let listed = if let Some((list, xattrs)) = indexed.as_ref().and_then(|it| it.list(&stamp)) {
            let place = indexed.as_ref().map(|it| it.place);
            let mut children = Vec::with_capacity(list.iter().count());
            for name in list.iter() {
                self.visit(&directory, &pending, name, &mut indexed, &mut children, &mut below)?;
            }
            Listed { xattrs, children, place, fresh: None }
        } else {
            let list = self.list(&directory, &pending.path)?;
            let mut children = Vec::with_capacity(list.iter().count());
            for name in list.iter() {
                self.visit(&directory, &pending, name, &mut indexed, &mut children, &mut below)?;
            }
            let xattrs = xattrs(&directory);
            let is_kept = stamp.is_settled(self.walker.began) && keeps_times(&directory);
            let fresh = is_kept.then(|| KnownDirectory { stamp, xattrs: xattrs.clone(), list });
            Listed { xattrs, children, place: None, fresh }
        };
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(pending.path, listed);
        Ok(below)
    }

    /// Looks at one name in a directory: takes it, passes it over, or has it read if it is a directory.
    fn visit(
        &self,
        directory: &OwnedFd,
        above: &Pending,
        (name, listed): (&CStr, FileType),
        indexed: &mut Option<IndexedDirectory<'_>>,
        children: &mut Vec<Seen>,
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
        if listed == FileType::Directory && self.is_left_out(verdict, &path) {
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
            FileType::Directory => {
                let counts = reach.whole && !verdict.is_ignored();
                children.push(Seen::new(path.clone(), KindBuf::Directory { opaque: false }, &stat, counts));
                below.push(Pending { path, reach, verdict });
            }
            _ if verdict.is_ignored() => {}
            FileType::Symlink => {
                let target = match readlinkat(directory, name, Vec::new()) {
                    Ok(target) => target.into_bytes(),
                    // It was another file a moment ago.
                    Err(Errno::NOENT | Errno::INVAL) => return Ok(()),
                    Err(errno) => return Err(self.error("read", &path)(errno.into())),
                };
                if is_named || !reach.whole {
                    let lead = Lead { reach, directory: above.path.clone(), target: target.clone() };
                    self.leads.lock().unwrap_or_else(PoisonError::into_inner).push(lead);
                }
                children.push(Seen::new(path, KindBuf::Symlink { target }, &stat, true));
            }
            _ if !reach.whole => {}
            _ => {
                let Some(kind) = kind_of(&stat) else { return Ok(()) };
                let mut seen = Seen::new(path, kind, &stat, true);
                if let KindBuf::File { content, .. } = &mut seen.kind
                    && let Some((place, known)) = indexed.as_mut().and_then(|it| it.file(name.to_bytes(), &seen.stamp))
                {
                    (*content, seen.xattrs, seen.place) = (known.content, known.xattrs, u32::try_from(place).ok());
                }
                children.push(seen);
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
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = statx(directory, name, flags, StatxFlags::BASIC_STATS);
        stat.map_err(|errno| self.error("look at", path)(errno.into()))
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

/// Puts directories that were read in any order one behind the other, each before what is in it, without those that nothing is in that counts.
fn in_order(itself: Seen, mut read: HashMap<EntryPathBuf, Listed>) -> Look {
    let (mut known_directories, mut fresh_directories) = (Vec::new(), Vec::new());
    let mut all = Vec::with_capacity(read.values().map(|listed| listed.children.len()).sum::<usize>() + 1);
    let mut open = vec![vec![itself].into_iter()];
    let mut all_count = true;
    while let Some(last) = open.last_mut() {
        let Some(mut seen) = last.next() else {
            open.pop();
            continue;
        };
        all_count &= seen.counts;
        if matches!(seen.kind, KindBuf::Directory { .. })
            && let Some(listed) = read.remove(&seen.path)
        {
            seen.xattrs = listed.xattrs;
            known_directories.extend(listed.place);
            fresh_directories.extend(listed.fresh.map(|known| (seen.path.clone(), known)));
            open.push(listed.children.into_iter());
        }
        all.push(seen);
    }
    if all_count {
        return Look { seen: all, known_directories, fresh_directories };
    }
    // From the end on: a directory counts if what comes behind it and counts is in it.
    let mut next: Option<usize> = None;
    for place in (0..all.len()).rev() {
        let holds = |next: usize| all[next].path.as_path().is_within(all[place].path.as_path());
        let counts = all[place].counts || next.is_some_and(holds);
        all[place].counts = counts;
        if counts {
            next = Some(place);
        }
    }
    all.retain(|seen| seen.counts);
    Look { seen: all, known_directories, fresh_directories }
}
