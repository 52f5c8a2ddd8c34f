//! Going through a directory tree, as far as a scope reaches and an ignore file lets.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use layer::{ContentHash, Device, EntryPathBuf, KindBuf, Mtime, Tree, XattrsBuf};
use llb::pattern::{Ignore, Verdict};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Statx, StatxFlags, fgetxattr, flistxattr, openat, readlinkat, statx,
};
use rustix::io::Errno;

use super::scope::{Place, Reach, Scope};
use crate::ExecError;

/// The longest list of attribute names, and the longest value, that the kernel gives.
const XATTR_BYTES_MAX: usize = 64 << 10;

/// A file as it was seen; the hash of its content is still to be found out.
pub(super) struct Seen {
    pub(super) path: EntryPathBuf,
    pub(super) kind: KindBuf,
    pub(super) mode: u16,
    pub(super) xattrs: Option<XattrsBuf>,
    pub(super) stamp: Stamp,
}

/// By what a file is recognised as unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    device: (u32, u32),
    inode: u64,
    size_bytes: u64,
    pub(super) mtime: Mtime,
    ctime: Mtime,
}

/// A directory that is to be read.
struct Pending {
    parent: Option<Arc<OwnedFd>>,
    path: EntryPathBuf,
    reach: Reach,
    verdict: Verdict,
    /// The directory itself, where it counts only if something in it does.
    itself: Option<Seen>,
}

/// Returns what is in the scope, sorted by path.
pub(super) fn walk(root: &Path, tree: &Tree, ignore: &Ignore, scope: &mut Scope) -> Result<Vec<Seen>, ExecError> {
    loop {
        let mut walker = Walker { root, ignore, scope, seen: Vec::new(), above: Vec::new(), follows: false };
        walker.run(tree)?;
        // A link leads to something that was not in the scope before: look again. Links are few, and what was read once is not read again.
        if !walker.follows {
            let mut seen = walker.seen;
            // Directories are read after the files beside them.
            seen.sort_by(|one, other| one.path.cmp(&other.path));
            return Ok(seen);
        }
    }
}

struct Walker<'a> {
    root: &'a Path,
    ignore: &'a Ignore,
    scope: &'a mut Scope,
    seen: Vec<Seen>,
    /// Directories above the current one that count only if something beneath does.
    above: Vec<Seen>,
    follows: bool,
}

impl Walker<'_> {
    fn run(&mut self, tree: &Tree) -> Result<(), ExecError> {
        let (path, reach) = (EntryPathBuf::default(), self.scope.root());
        let stat = self.stat(tree.as_fd(), c"", &path)?;
        self.seen.push(seen(path.clone(), KindBuf::Directory { opaque: false }, &stat, None));
        let mut pending = vec![Pending { parent: None, path, reach, verdict: Verdict::default(), itself: None }];
        while let Some(next) = pending.pop() {
            let children = self.read(tree, next)?;
            pending.extend(children.into_iter().rev());
        }
        Ok(())
    }

    /// Reads a directory and returns those in it that are to be read too.
    fn read(&mut self, tree: &Tree, mut pending: Pending) -> Result<Vec<Pending>, ExecError> {
        self.above.retain(|above| pending.path.as_path().is_within(above.path.as_path()));
        let Some(directory) = self.open(tree, &pending)? else { return Ok(Vec::new()) };
        if let Some(itself) = pending.itself.take() {
            self.above.push(itself);
        }
        let directory = Arc::new(directory);
        let mut directories = Vec::new();
        for name in self.names(&directory, &pending.path)? {
            let child = self.visit(&directory, &pending, &name)?;
            directories.extend(child);
        }
        Ok(directories)
    }

    /// Looks at one name in a directory: takes it, passes it over, or returns it as a directory to be read.
    fn visit(&mut self, directory: &Arc<OwnedFd>, above: &Pending, name: &CStr) -> Result<Option<Pending>, ExecError> {
        let (reach, is_named) = match self.scope.place(&above.reach, name.to_bytes()) {
            Place::Outside => return Ok(None),
            Place::Above(reach) | Place::Inside(reach) => (reach, false),
            Place::Named(reach) => (reach, true),
        };
        // A name that the list cannot hold is too long for any layer.
        let Ok(path) = above.path.as_path().child(name.to_bytes()) else { return Ok(None) };
        let verdict = self.ignore.below(above.verdict, &String::from_utf8_lossy(path.as_path().as_bytes()));
        let stat = match self.stat(directory.as_fd(), name, &path) {
            Ok(stat) => stat,
            // It was there a moment ago: somebody removed it, so it is not part of the context.
            Err(ExecError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let kind = FileType::from_raw_mode(stat.stx_mode.into());
        if kind == FileType::Directory {
            let text = String::from_utf8_lossy(path.as_path().as_bytes());
            if verdict.is_ignored() && !self.ignore.can_match_below(verdict, &text) {
                return Ok(None);
            }
            let itself = seen(path.clone(), KindBuf::Directory { opaque: false }, &stat, None);
            let counts = reach.whole && !verdict.is_ignored();
            let itself = if counts { self.take(itself) } else { Some(itself) };
            return Ok(Some(Pending { parent: Some(directory.clone()), path, reach, verdict, itself }));
        }
        if verdict.is_ignored() {
            return Ok(None);
        }
        if kind == FileType::Symlink {
            let target = readlinkat(&**directory, name, Vec::new()).map_err(self.error("read", &path))?.into_bytes();
            if is_named || !reach.whole {
                self.follows |= self.scope.follow(&reach, above.path.as_path().as_bytes(), &target);
            }
            self.take(seen(path, KindBuf::Symlink { target }, &stat, None));
        } else if reach.whole
            && let Some(kind) = special(kind, &stat)
        {
            let xattrs = self.xattrs(directory, name, &kind);
            self.take(seen(path, kind, &stat, xattrs));
        }
        Ok(None)
    }

    /// Takes a file, with the directories above it that were not taken yet; nothing is left to be taken later.
    fn take(&mut self, seen: Seen) -> Option<Seen> {
        self.seen.append(&mut self.above);
        self.seen.push(seen);
        None
    }

    fn open(&self, tree: &Tree, pending: &Pending) -> Result<Option<OwnedFd>, ExecError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match &pending.parent {
            Some(parent) => {
                let name = CString::new(pending.path.as_path().name()).unwrap_or_default();
                openat(&**parent, &name, flags, Mode::empty())
            }
            None => openat(tree, c".", flags, Mode::empty()),
        };
        match opened {
            Ok(directory) => Ok(Some(directory)),
            // Somebody removed it, or put something else in its place.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(self.error("open", &pending.path)(errno)),
        }
    }

    fn names(&self, directory: &OwnedFd, path: &EntryPathBuf) -> Result<Vec<CString>, ExecError> {
        let mut names = Vec::new();
        for entry in Dir::read_from(directory).map_err(self.error("read", path))? {
            let entry = entry.map_err(self.error("read", path))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn stat(&self, directory: impl AsFd, name: &CStr, path: &EntryPathBuf) -> Result<Statx, ExecError> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        statx(directory, name, flags, StatxFlags::BASIC_STATS).map_err(self.error("look at", path))
    }

    /// Returns the attributes that layers keep. A file that cannot be opened fails later, when its content is read.
    fn xattrs(&self, directory: &OwnedFd, name: &CStr, kind: &KindBuf) -> Option<XattrsBuf> {
        if !matches!(kind, KindBuf::File { .. }) {
            return None;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(directory, name, flags, Mode::empty()).ok()?;
        let mut names = [0; XATTR_BYTES_MAX];
        let length = flistxattr(&file, &mut names[..]).ok().filter(|length| *length > 0)?;
        let mut value = vec![0; XATTR_BYTES_MAX];
        let pairs = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).filter_map(|name| {
            let length = fgetxattr(&file, name, &mut value[..]).ok()?;
            Some((name.to_vec(), value[..length].to_vec()))
        });
        Some(pairs.collect())
    }

    fn error<'e>(&'e self, action: &'static str, path: &'e EntryPathBuf) -> impl FnOnce(Errno) -> ExecError + use<'e> {
        let path = self.root.join(path.to_string().trim_start_matches('/'));
        move |errno| ExecError::File { action, path, source: errno.into() }
    }
}

fn special(kind: FileType, stat: &Statx) -> Option<KindBuf> {
    let device = Device { major: stat.stx_rdev_major, minor: stat.stx_rdev_minor };
    match kind {
        FileType::RegularFile => Some(KindBuf::File { size_bytes: stat.stx_size, content: ContentHash([0; 32]) }),
        FileType::Fifo => Some(KindBuf::Fifo),
        FileType::CharacterDevice => Some(KindBuf::CharDevice(device)),
        FileType::BlockDevice => Some(KindBuf::BlockDevice(device)),
        // Sockets are no part of a layer.
        _ => None,
    }
}

fn seen(path: EntryPathBuf, kind: KindBuf, stat: &Statx, xattrs: Option<XattrsBuf>) -> Seen {
    let time = |time: &rustix::fs::StatxTimestamp| Mtime { seconds: time.tv_sec, nanoseconds: time.tv_nsec };
    let stamp = Stamp {
        device: (stat.stx_dev_major, stat.stx_dev_minor),
        inode: stat.stx_ino,
        size_bytes: stat.stx_size,
        mtime: time(&stat.stx_mtime),
        ctime: time(&stat.stx_ctime),
    };
    Seen { path, kind, mode: stat.stx_mode & layer::entry::MODE_BITS, xattrs, stamp }
}
