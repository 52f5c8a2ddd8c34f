//! File systems in memory, and copies of mounts, that are attached nowhere.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, chmodat, mkdirat, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    open_tree,
};

/// Makes an empty directory in memory with these permission bits.
pub(crate) fn tmpfs(size_bytes: Option<u64>, mode: u32) -> io::Result<OwnedFd> {
    tmpfs_with(size_bytes, mode, MountAttrFlags::empty())
}

/// The same with attributes of the mount.
pub(crate) fn tmpfs_with(size_bytes: Option<u64>, mode: u32, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let size = size_bytes.map(|size| size.to_string());
    let mut options = vec![("mode", format!("{mode:o}"))];
    options.extend(size.map(|size| ("size", size)));
    file_system(c"tmpfs", &options, attributes)
}

/// Makes a mount of a file system type with these options and attributes.
pub(crate) fn file_system(kind: &CStr, options: &[(&str, String)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = open_context(kind)?;
    for (key, value) in options {
        fsconfig_set_string(&context, *key, value.as_str())?;
    }
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Opens a file system that is to be made. `mount` and `df` show its type as its source, as they do in other runtimes: without one, they show `none`.
///
/// Allocates nothing, so that the child of a launch may call it.
pub(crate) fn open_context(kind: &CStr) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, c"source", kind)?;
    Ok(context)
}

/// Makes the two directories that an overlay writes into: `upper` and `work`.
pub(crate) fn upper() -> io::Result<OwnedFd> {
    let dir = tmpfs(None, 0o700)?;
    make_dir(&dir, "upper", 0o755)?;
    make_dir(&dir, "work", 0o700)?;
    Ok(dir)
}

/// Makes a directory with exactly these permission bits, whatever the umask.
pub(crate) fn make_dir(parent: impl AsFd, name: impl AsRef<Path>, mode: u32) -> io::Result<()> {
    let (parent, name, mode) = (parent.as_fd(), name.as_ref(), Mode::from_raw_mode(mode));
    mkdirat(parent, name, mode)?;
    Ok(chmodat(parent, name, mode, AtFlags::empty())?)
}

/// Returns what a descriptor refers to.
pub(crate) fn path_of(fd: impl AsFd) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// Clones a tree of mounts from what a descriptor refers to on; the copy is attached nowhere.
pub(crate) fn clone_tree(fd: impl AsFd) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(fd, c"", flags)
}

/// Returns whether this kernel clones parts of mounts that are attached nowhere (it does from 6.15).
pub(crate) fn clones_detached_parts() -> bool {
    tmpfs(None, 0o700).is_ok_and(|mount| {
        make_dir(&mount, "part", 0o700).is_ok()
            && openat(&mount, "part", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).and_then(clone_tree).is_ok()
    })
}
