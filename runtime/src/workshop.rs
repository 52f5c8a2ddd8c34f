//! A mount namespace for a moment, for kernels before 6.15: those can do some things only with mounts that are attached somewhere.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use rustix::fs::{CWD, Mode, mkdirat};
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, move_mount, open_tree};
use rustix::process::fchdir;
use rustix::thread::UnshareFlags;

use crate::{memory, syscall};

/// A directory in memory, in a mount namespace that only one thread is in, and the current directory of that thread.
pub(crate) struct Workshop {
    dir: OwnedFd,
}

impl Workshop {
    /// Runs `work` in a new workshop, on a thread of its own. When it returns, all that was attached there is so no more.
    pub(crate) fn run<T: Send>(work: impl FnOnce(&Self) -> T + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("workshop".to_owned());
            let working = thread.spawn_scoped(scope, || Self::open().map(|workshop| work(&workshop)))?;
            working.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn open() -> io::Result<Self> {
        syscall::unshare(UnshareFlags::FS | UnshareFlags::NEWNS)?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        let dir = memory::tmpfs(None, 0o700)?;
        move_mount(&dir, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        fchdir(&dir)?;
        Ok(Self { dir })
    }

    /// Attaches a mount that is attached nowhere to a new directory of that name. Fails with EINVAL for descriptors of other things.
    pub(crate) fn attach(&self, name: &str, mount: impl AsFd) -> rustix::io::Result<()> {
        mkdirat(&self.dir, name, Mode::RWXU)?;
        move_mount(mount, "", &self.dir, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    }

    /// Returns a copy of what is mounted in the directory of that name; it is attached nowhere.
    pub(crate) fn copy(&self, name: &str) -> rustix::io::Result<OwnedFd> {
        open_tree(&self.dir, name, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
    }

    /// The same with all that is mounted in it.
    pub(crate) fn copy_tree(&self, name: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        open_tree(&self.dir, name, flags)
    }

    /// Returns the directory.
    pub(crate) fn dir(&self) -> &OwnedFd {
        &self.dir
    }
}
