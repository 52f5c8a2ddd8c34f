//! Owner, mode, times and extended attributes of files in a tree.
//!
//! The order matters: changing the owner clears set-user-id bits and capabilities, so it comes first; an access control list sets the bits of the
//! group, so the mode comes after the attributes.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Mutex;

use rustix::fs::{
    AtFlags, Gid, Mode, RawDir, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat, chownat, fchmod, fchown,
    fremovexattr, fsetxattr, futimens, lsetxattr, utimensat,
};
use rustix::io::Errno;

use super::access::{Parent, Tree};
use super::error::TreeError;
use crate::entry::{Metadata, Mtime};
use crate::path::{EntryPath, text};

/// The attribute that makes a directory opaque, in privileged and in unprivileged overlay mounts.
pub(crate) const OPAQUE_XATTRS: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];
/// The value it has then.
pub(crate) const OPAQUE_VALUE: &[u8] = b"y";

/// How files get their attributes, and what could not be given.
pub(crate) struct Attributes {
    uid: u32,
    gid: u32,
    /// Permission bits that new files do not get by themselves.
    masked: u16,
    lost: Mutex<LostXattrs>,
}

/// Extended attributes that the file system, or the rights of this process, do not allow.
///
/// The layer's entries have them, so its digests and exports are right; but steps that see the tree do not see them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LostXattrs {
    /// How many.
    pub count: u64,
    /// The path and the name of the first.
    pub first: Option<(String, String)>,
}

impl Attributes {
    /// Looks at what new files of this process get by themselves, and makes sure that the root passes on nothing else.
    pub(crate) fn prepare(tree: &Tree) -> io::Result<Self> {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let root = tree.open_directory(EntryPath::ROOT)?;
        refuse_files(&root)?;
        fchown(&root, Some(uid), Some(gid))?;
        // A directory passes its group on if it has the set-group-id bit, and access control lists if it has default ones.
        fchmod(&root, Mode::RWXU)?;
        match fremovexattr(&root, "system.posix_acl_default") {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
        let lost = Mutex::new(LostXattrs::default());
        Ok(Self { uid: uid.as_raw(), gid: gid.as_raw(), masked: umask() | 0o7000, lost })
    }

    pub(super) fn into_lost(self) -> LostXattrs {
        self.lost.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Finishes a file that was created with the permission bits of `metadata`.
    pub(super) fn finish_file(
        &self,
        file: impl AsFd,
        path: EntryPath<'_>,
        metadata: &Metadata<'_>,
    ) -> Result<(), TreeError> {
        self.apply(&file, path, metadata, metadata.mode & self.masked != 0)
    }

    /// Finishes a directory, when nothing more will be created in it.
    pub(crate) fn finish_directory(
        &self,
        tree: &Tree,
        path: EntryPath<'_>,
        metadata: &Metadata<'_>,
        opaque: bool,
    ) -> Result<(), TreeError> {
        let opened = tree.open_directory(path);
        let directory =
            opened.map_err(|source| TreeError::SetAttribute { attribute: "mode", path: path.to_text(), source })?;
        if opaque {
            set_opaque(&directory, path)?;
        }
        self.apply(&directory, path, metadata, true)
    }

    fn apply(
        &self,
        file: &impl AsFd,
        path: EntryPath<'_>,
        metadata: &Metadata<'_>,
        set_mode: bool,
    ) -> Result<(), TreeError> {
        let failed = |attribute| {
            move |errno: Errno| TreeError::SetAttribute { attribute, path: path.to_text(), source: errno.into() }
        };
        if self.is_foreign(metadata) {
            let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
            fchown(file, Some(uid), Some(gid)).map_err(failed("owner"))?;
        }
        for (name, value) in metadata.xattrs.iter() {
            self.check_xattr(path, name, fsetxattr(file, name, value, XattrFlags::empty()))?;
        }
        if set_mode || self.is_foreign(metadata) {
            fchmod(file, Mode::from_raw_mode(metadata.mode.into())).map_err(failed("mode"))?;
        }
        futimens(file, &timestamps(metadata.mtime)).map_err(failed("time"))
    }

    /// Finishes what cannot be opened: a symbolic link, a device node or a fifo. `mode` is for those that have one.
    pub(super) fn finish_special(
        &self,
        parent: &Parent<'_>,
        path: EntryPath<'_>,
        metadata: &Metadata<'_>,
        mode: Option<Mode>,
    ) -> Result<(), TreeError> {
        let failed = |attribute| {
            move |errno: Errno| TreeError::SetAttribute { attribute, path: path.to_text(), source: errno.into() }
        };
        if self.is_foreign(metadata) {
            let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
            chownat(parent, parent.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(failed("owner"))?;
        }
        for (name, value) in metadata.xattrs.iter() {
            // There is no call that takes a directory and a name before Linux 6.13.
            let argument = proc_path(parent, parent.name);
            self.check_xattr(path, name, lsetxattr(argument.as_slice(), name, value, XattrFlags::empty()))?;
        }
        if let Some(mode) = mode {
            chmodat(parent, parent.name, mode, AtFlags::empty()).map_err(failed("mode"))?;
        }
        utimensat(parent, parent.name, &timestamps(metadata.mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(failed("time"))
    }

    fn is_foreign(&self, metadata: &Metadata<'_>) -> bool {
        (metadata.uid, metadata.gid) != (self.uid, self.gid)
    }

    /// Notes an attribute that is not allowed here; any other failure is one.
    fn check_xattr(&self, path: EntryPath<'_>, name: &[u8], set: rustix::io::Result<()>) -> Result<(), TreeError> {
        match set {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::PERM) => {
                let mut lost = self.lost.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                lost.count += 1;
                lost.first.get_or_insert_with(|| (path.to_text(), text(name)));
                Ok(())
            }
            Err(errno) => Err(TreeError::SetXattr { name: text(name), path: path.to_text(), source: errno.into() }),
        }
    }
}

/// Refuses a directory that is not empty: what is in it would be in the layer, but not in its list.
fn refuse_files(directory: impl AsFd) -> io::Result<()> {
    let mut buffer = [const { MaybeUninit::uninit() }; 1024];
    let mut names = RawDir::new(directory, &mut buffer);
    while let Some(entry) = names.next() {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Err(Errno::NOTEMPTY.into());
        }
    }
    Ok(())
}

/// Marks a directory as opaque. Without the mark deleted files would come back, so here it is an error if that cannot be done.
fn set_opaque(directory: impl AsFd, path: EntryPath<'_>) -> Result<(), TreeError> {
    let set = |name| fsetxattr(&directory, name, OPAQUE_VALUE, XattrFlags::empty());
    let [privileged, unprivileged] = OPAQUE_XATTRS;
    let set = match set(privileged) {
        // In a user namespace, where overlays are mounted with `userxattr` and look for the other one.
        Err(Errno::PERM) => set(unprivileged),
        set => set,
    };
    let name = privileged.to_owned();
    set.map_err(|errno| TreeError::SetXattr { name, path: path.to_text(), source: errno.into() })
}

/// Returns a path for calls that cannot take a directory and a name.
pub(crate) fn proc_path(directory: impl AsFd, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// Leaves the time of the last access at the moment of creation, else the first reading of each file would write to its inode.
fn timestamps(mtime: Mtime) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() },
    }
}

/// Returns the file mode creation mask of this process; all bits where it cannot be found out, so that every mode is set explicitly.
fn umask() -> u16 {
    // Asking the kernel for the mask means setting it, which other threads would notice.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|mask| u16::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o777)
}
