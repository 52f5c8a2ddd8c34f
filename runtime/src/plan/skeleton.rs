//! Mount points that the layers of a root lack, as layers in memory.
//!
//! A sandbox needs `/proc`, `/etc/resolv.conf` and the like to mount on, and many images have none. Made in the root, they would end up in the layer that
//! the step makes. Beneath the layers they show exactly where the layers have nothing; where a layer has removed or replaced something, they must lie on
//! top, and there the directories on the way must look like those they cover.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fgetxattr, flistxattr,
    fsetxattr, openat, statat, utimensat,
};
use rustix::io::Errno;

use super::points::{MountPoint, PointKind};
use super::walk::{Walk, walk};
use crate::memory;

/// The longest value of an extended attribute, by the kernel's limit.
const XATTR_BYTES_MAX: usize = 64 << 10;
const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// Makes a layer that has all points, to lie beneath all others.
pub(super) fn bottom<'a>(points: impl Iterator<Item = &'a MountPoint>) -> io::Result<OwnedFd> {
    let layer = memory::tmpfs(None, DIRECTORY_MODE)?;
    for point in points {
        let made =
            point.parents.iter().try_for_each(|dir| make(&layer, relative(dir.as_bytes()), PointKind::Directory));
        let made = made.and_then(|()| make(&layer, relative(point.path.as_bytes()), point.kind));
        match made {
            // A point inside another that is a file: it is found to be missing when the layers are looked at, and what is wrong is said then.
            Err(err) if err.kind() != io::ErrorKind::NotADirectory => return Err(err),
            _ => {}
        }
    }
    Ok(layer)
}

/// A layer that has the points which `view` lacks, to lie on top of the layers that `view` shows.
pub(super) struct Top<'a> {
    layer: OwnedFd,
    view: &'a OwnedFd,
    /// The directories that cover others.
    copied: Vec<PathBuf>,
}

impl<'a> Top<'a> {
    pub(super) fn new(view: &'a OwnedFd) -> io::Result<Self> {
        Ok(Self { layer: memory::tmpfs(None, DIRECTORY_MODE)?, view, copied: Vec::new() })
    }

    /// Adds a point.
    pub(super) fn add(&mut self, point: &MountPoint) -> io::Result<()> {
        let Walk { existing, missing } = walk(self.view.as_fd(), point.as_path())?;
        let on_the_way: Vec<_> = existing.ancestors().filter(|dir| !dir.as_os_str().is_empty()).collect();
        for dir in on_the_way.into_iter().rev() {
            make(&self.layer, dir, PointKind::Directory)?;
            self.remember(dir);
        }
        self.remember(Path::new(""));
        let mut path = existing;
        for (index, name) in missing.iter().enumerate() {
            path.push(name);
            let kind = if index + 1 == missing.len() { point.kind } else { PointKind::Directory };
            make(&self.layer, &path, kind)?;
        }
        Ok(())
    }

    fn remember(&mut self, dir: &Path) {
        if !self.copied.iter().any(|known| known == dir) {
            self.copied.push(dir.to_owned());
        }
    }

    /// Makes the directories look like those they cover. Last of all, because making things in them has changed their times.
    pub(super) fn finish(self) -> io::Result<OwnedFd> {
        for dir in &self.copied {
            copy_looks(self.view, &self.layer, dir)?;
        }
        Ok(self.layer)
    }
}

fn relative(path: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)))
}

fn make(layer: &OwnedFd, path: &Path, kind: PointKind) -> io::Result<()> {
    let made = match kind {
        PointKind::Directory => memory::make_dir(layer, path, DIRECTORY_MODE),
        PointKind::File => {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::EXCL | OFlags::CLOEXEC;
            openat(layer, path, flags, Mode::from_raw_mode(FILE_MODE)).map(drop).map_err(io::Error::from)
        }
    };
    match made {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Gives a directory the owner, mode, attributes and times of its namesake.
fn copy_looks(from: &OwnedFd, to: &OwnedFd, dir: &Path) -> io::Result<()> {
    let path = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let stat = statat(from, path, AtFlags::SYMLINK_NOFOLLOW)?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(to, path, Some(uid), Some(gid), AtFlags::empty())?;
    chmodat(to, path, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())?;
    copy_attributes(&open_dir(from, path)?, &open_dir(to, path)?)?;
    let time = |seconds, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds.cast_signed() };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(utimensat(to, path, &times, AtFlags::empty())?)
}

fn open_dir(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut names = vec![0; XATTR_BYTES_MAX];
    let length = match flistxattr(from, &mut names) {
        Err(Errno::NOTSUP) => return Ok(()),
        length => length?,
    };
    let mut value = vec![0; XATTR_BYTES_MAX];
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let length = fgetxattr(from, name, &mut value)?;
        match fsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            // Memory has no attributes of users before Linux 6.6. A directory that lacks one is better than a step that cannot run.
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}
