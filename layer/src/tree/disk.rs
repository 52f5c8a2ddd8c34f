//! The system calls of a layer that is written as a directory tree.
//!
//! They run one at a time, under the writer's lock: each method is one or two system calls.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, linkat, makedev, mkdirat, mknodat, symlinkat, unlinkat};

use super::access::{Parent, Tree};
use super::attributes::Attributes;
use super::error::TreeError;
use super::writer::Special;
use crate::entry::Metadata;
use crate::path::EntryPath;

/// A directory tree that is being written.
pub(super) struct Disk {
    pub(super) tree: Tree,
    pub(super) attributes: Attributes,
}

impl Disk {
    /// Takes an empty directory.
    pub(super) fn new(root: OwnedFd) -> Result<Self, TreeError> {
        let tree = Tree::new(root);
        let attributes = Attributes::prepare(&tree).map_err(|source| TreeError::Root { source })?;
        Ok(Self { tree, attributes })
    }

    pub(super) fn create_directory(&self, path: EntryPath<'_>) -> Result<(), TreeError> {
        let failed = |source| TreeError::CreateDirectory { path: path.to_text(), source };
        let parent = self.tree.parent(path).map_err(failed)?;
        mkdirat(&parent, parent.name, Mode::RWXU).map_err(|errno| failed(errno.into()))
    }

    pub(super) fn create_symlink(
        &self,
        path: EntryPath<'_>,
        target: &[u8],
        metadata: &Metadata<'_>,
    ) -> Result<(), TreeError> {
        let failed = |source| TreeError::CreateSymlink { path: path.to_text(), source };
        let parent = self.tree.parent(path).map_err(failed)?;
        symlinkat(target, &parent, parent.name).map_err(|errno| failed(errno.into()))?;
        unlink_unless(&parent, self.attributes.finish_special(&parent, path, metadata, None))
    }

    pub(super) fn create_hard_link(&self, path: EntryPath<'_>, target: EntryPath<'_>) -> Result<(), TreeError> {
        let failed = |source| TreeError::CreateHardLink { path: path.to_text(), target: target.to_text(), source };
        let from = self.tree.parent(target).map_err(failed)?;
        let to = self.tree.parent(path).map_err(failed)?;
        linkat(&from, from.name, &to, to.name, AtFlags::empty()).map_err(|errno| failed(errno.into()))
    }

    pub(super) fn create_special(
        &self,
        path: EntryPath<'_>,
        special: Special,
        metadata: &Metadata<'_>,
    ) -> Result<(), TreeError> {
        let (file_type, device) = match special {
            Special::CharDevice(device) => (FileType::CharacterDevice, makedev(device.major, device.minor)),
            Special::BlockDevice(device) => (FileType::BlockDevice, makedev(device.major, device.minor)),
            Special::Fifo => (FileType::Fifo, 0),
        };
        let failed = |source| TreeError::CreateSpecial { kind: special.kind().name(), path: path.to_text(), source };
        let parent = self.tree.parent(path).map_err(failed)?;
        let mode = Mode::from_raw_mode(metadata.mode.into());
        mknodat(&parent, parent.name, file_type, mode, device).map_err(|errno| failed(errno.into()))?;
        unlink_unless(&parent, self.attributes.finish_special(&parent, path, metadata, Some(mode)))
    }

    pub(super) fn create_whiteout(&self, path: EntryPath<'_>) -> Result<(), TreeError> {
        let failed = |source| TreeError::CreateSpecial { kind: "whiteout", path: path.to_text(), source };
        let parent = self.tree.parent(path).map_err(failed)?;
        let made = mknodat(&parent, parent.name, FileType::CharacterDevice, Mode::empty(), 0);
        made.map_err(|errno| failed(errno.into()))
    }

    pub(super) fn remove(&self, path: EntryPath<'_>, is_directory: bool) -> Result<(), TreeError> {
        let failed = |source| TreeError::Remove { path: path.to_text(), source };
        let parent = self.tree.parent(path).map_err(failed)?;
        let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        unlinkat(&parent, parent.name, flags).map_err(|errno| failed(errno.into()))
    }
}

/// Removes what was made but could not be finished. If that fails too, the first error is the one to report.
fn unlink_unless(made: &Parent<'_>, finished: Result<(), TreeError>) -> Result<(), TreeError> {
    if finished.is_err() {
        let _ = unlinkat(made, made.name, AtFlags::empty());
    }
    finished
}
