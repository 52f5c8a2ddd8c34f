//! Looking up paths inside a root, with links that cannot lead out of it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{Errno, Result};
use rustix::path::Arg;

/// How often a lookup is repeated that something else got in the way of.
const ATTEMPTS_MAX: usize = 10_000;

/// Whether symbolic links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// Inside the root.
    Follow,
    /// Not at all: where there is one, the lookup fails with ELOOP.
    Refuse,
}

/// Opens what a path inside a root refers to, without reading or writing it. An absolute path begins at the root too.
///
/// It neither allocates nor locks when the path is a `CStr`.
pub(crate) fn open(root: impl AsFd, path: impl Arg + Copy, links: Links) -> Result<OwnedFd> {
    open_with(root, path, OFlags::PATH, links)
}

/// The same with flags of open(2).
pub(crate) fn open_with(root: impl AsFd, path: impl Arg + Copy, flags: OFlags, links: Links) -> Result<OwnedFd> {
    let root = root.as_fd();
    let resolve = match links {
        Links::Follow => ResolveFlags::IN_ROOT,
        Links::Refuse => ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS,
    };
    let mut attempts = 1..=ATTEMPTS_MAX;
    loop {
        // When anything on the machine is mounted or renamed while the kernel follows a `..`, it cannot tell whether that led out, and gives up.
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if attempts.next().is_some() => {}
            result => return result,
        }
    }
}
