//! An overlay by fsopen(2): the layers are handed over one by one, by name or descriptor, so neither their number nor the length of their names matters.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::stack::{Durability, Layer, OPTION_UUID, OPTIONS, Overlay, OverlayError, Upper};
use crate::memory;

/// The longest text that fsconfig(2) takes.
pub(super) const VALUE_BYTES_MAX: usize = 255;

/// Mounts layers on top of empty ones.
pub(super) fn mount(overlay: &Overlay, padding: &[OwnedFd]) -> Result<OwnedFd, OverlayError> {
    let context = memory::open_context(c"overlay").map_err(|err| OverlayError::Open { source: err.into() })?;
    for layer in overlay.lowers.iter().rev() {
        set_layer(&context, layer)?;
    }
    for empty in padding {
        fsconfig_set_fd(&context, c"lowerdir+", empty).map_err(|err| OverlayError::Memory { source: err.into() })?;
    }
    // The kernel takes up a mount that is attached nowhere only when the overlay is created: until then, somebody has to hold it.
    let _memory = overlay.upper.as_ref().map(|upper| set_upper(&context, upper)).transpose()?;
    set_options(&context)?;
    fsconfig_create(&context)
        .and_then(|()| fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()))
        .map_err(|err| OverlayError::Mount { layers: overlay.lowers.len() + padding.len(), source: err.into() })
}

/// Returns whether this kernel takes descriptors as layers, and among them mounts that are attached nowhere (it does from 6.15).
pub(crate) fn accepts_detached_layers() -> bool {
    let probe = || -> rustix::io::Result<OwnedFd> {
        let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let layer = || memory::tmpfs(None, 0o755).map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::IO));
        let layers = [layer()?, layer()?];
        for layer in &layers {
            fsconfig_set_fd(&context, c"lowerdir+", layer)?;
        }
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    };
    probe().is_ok()
}

fn set_layer(context: &OwnedFd, layer: &Layer) -> Result<(), OverlayError> {
    match layer {
        Layer::Path(path) => set_directory(context, "lowerdir+", path)
            .map_err(|err| OverlayError::Layer { path: path.clone(), source: refusal(path, err) }),
        Layer::Fd(fd) => fsconfig_set_fd(context, c"lowerdir+", fd)
            .map_err(|err| OverlayError::Layer { path: name_of(fd), source: err.into() }),
        Layer::Image(_) | Layer::Shared(_) => unreachable!("state: {layer:?} is a descriptor by now"),
    }
}

/// Hands over where writes go, and returns the mount that this is, where it is one.
fn set_upper(context: &OwnedFd, upper: &Upper) -> Result<Option<OwnedFd>, OverlayError> {
    let (upper, work, durability) = match upper {
        Upper::Dirs { upper, work, durability } => (upper, work, durability),
        Upper::Memory => {
            let memory = memory::upper().map_err(|source| OverlayError::Memory { source })?;
            set_upper_in_memory(context, &memory)?;
            return Ok(Some(memory));
        }
        Upper::Scratch(scratch) => {
            set_upper_in_memory(context, scratch.memory())?;
            return Ok(None);
        }
    };
    set_directory(context, "upperdir", upper)
        .map_err(|err| OverlayError::Upper { path: upper.clone(), source: refusal(upper, err) })?;
    set_directory(context, "workdir", work)
        .map_err(|err| OverlayError::Work { path: work.clone(), source: refusal(work, err) })?;
    if *durability == Durability::Volatile {
        fsconfig_set_flag(context, c"volatile")
            .map_err(|err| OverlayError::Option { option: "volatile", source: err.into() })?;
    }
    Ok(None)
}

fn set_upper_in_memory(context: &OwnedFd, memory: &OwnedFd) -> Result<(), OverlayError> {
    let failed = |source| OverlayError::Memory { source };
    for (key, name) in [("upperdir", "upper"), ("workdir", "work")] {
        openat(memory, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .and_then(|dir| fsconfig_set_fd(context, key, dir))
            .map_err(|err| failed(err.into()))?;
    }
    fsconfig_set_flag(context, c"volatile").map_err(|err| failed(err.into()))
}

fn set_options(context: &OwnedFd) -> Result<(), OverlayError> {
    for &(option, value) in OPTIONS {
        fsconfig_set_string(context, option, value)
            .map_err(|err| OverlayError::Option { option, source: err.into() })?;
    }
    match fsconfig_set_string(context, OPTION_UUID.0, OPTION_UUID.1) {
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(err) => Err(OverlayError::Option { option: OPTION_UUID.0, source: err.into() }),
    }
}

/// Hands over a directory by name where that is possible, since it saves two calls; the kernel would take a backslash for an escape.
fn set_directory(context: &OwnedFd, key: &str, path: &Path) -> rustix::io::Result<()> {
    let name = path.as_os_str().as_bytes();
    if name.len() <= VALUE_BYTES_MAX && !name.contains(&b'\\') {
        return fsconfig_set_string(context, key, name);
    }
    let dir = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    fsconfig_set_fd(context, key, &dir)
}

/// Returns why the kernel refuses a directory: of what is none, it says only that the argument is invalid.
fn refusal(path: &Path, err: Errno) -> io::Error {
    match path.metadata() {
        Ok(found) if !found.is_dir() => Errno::NOTDIR.into(),
        _ => err.into(),
    }
}

/// Returns what a descriptor refers to, for messages.
pub(super) fn name_of(fd: impl AsFd) -> PathBuf {
    memory::path_of(&fd).unwrap_or_else(|_| PathBuf::from("a descriptor"))
}
