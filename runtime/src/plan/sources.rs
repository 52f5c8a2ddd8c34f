//! The mounts that a caller asks for, made of files, directories, layers and memory.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid, fchown, fstat, openat};
use rustix::mount::MountAttrFlags;

use super::devices;
use super::mounts::{MountPlan, MountSourcePlan};
use super::points::{MountPoint, PointKind};
use crate::error::CreateError;
use crate::kernel::{Kernel, MountSupport};
use crate::lookup::{self, Links};
use crate::memory::{self, clone_tree};
use crate::spec::{Access, Mount, MountSource};
use crate::syscall::set_attributes_of_tree;
use crate::workshop::Workshop;

/// Prepares the mounts that a caller asks for; they are ready when all are there.
pub(super) struct Planner<'a> {
    kernel: &'a Kernel,
    /// What every mount gets.
    attributes: MountAttrFlags,
    planned: Vec<Planned>,
    /// Where files in memory are, once there is one.
    files: Option<OwnedFd>,
    /// Mounts that are attached nowhere and of which only parts are wanted.
    wholes: Vec<OwnedFd>,
}

/// A mount on the way.
struct Planned {
    target: PathBuf,
    attributes: MountAttrFlags,
    source: Source,
}

enum Source {
    Mount(OwnedFd),
    /// A file or directory of one of the wholes.
    Part(OwnedFd),
}

impl<'a> Planner<'a> {
    pub(super) fn new(kernel: &'a Kernel, attributes: MountAttrFlags) -> Self {
        Self { kernel, attributes, planned: Vec::new(), files: None, wholes: Vec::new() }
    }

    /// Prepares one mount.
    pub(super) fn add(&mut self, mount: Mount) -> Result<(), CreateError> {
        let Mount { target, source, subpath, access } = mount;
        let mut attributes = self.attributes;
        if access == Access::ReadOnly {
            attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
        }
        let source = match source {
            MountSource::Path(path) => {
                let whole = openat(CWD, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
                let bound = whole.map_err(io::Error::from).and_then(|whole| bind(&whole, &subpath));
                bound.map_err(|source| CreateError::Source { path, target: target.clone(), source })?
            }
            MountSource::Fd(fd) => bind(&fd, &subpath).map_err(|source| {
                let path = memory::path_of(&fd).unwrap_or_default();
                CreateError::Source { path, target: target.clone(), source }
            })?,
            MountSource::Detached(whole) => self.take(whole, &subpath, &target)?,
            MountSource::Overlay(mut overlay) => {
                let whole = overlay.mount(self.kernel);
                let whole = whole.map_err(|source| CreateError::Layers { target: target.clone(), source })?;
                self.take(whole, &subpath, &target)?
            }
            MountSource::Tmpfs { size_bytes, mode } => {
                attributes |= MountAttrFlags::MOUNT_ATTR_NOSUID;
                let whole = memory::tmpfs(size_bytes, mode);
                let whole = whole.map_err(|source| CreateError::Memory { target: target.clone(), source })?;
                self.take(whole, &subpath, &target)?
            }
            MountSource::File { contents, mode, uid, gid } => {
                attributes |= MountAttrFlags::MOUNT_ATTR_NOSUID;
                let file = self.make_file(&contents, mode, uid, gid);
                file.map_err(|source| CreateError::Memory { target: target.clone(), source })?
            }
        };
        self.planned.push(Planned { target, attributes, source });
        Ok(())
    }

    /// Takes a mount that is attached nowhere, or a part of it.
    fn take(&mut self, whole: OwnedFd, subpath: &Path, target: &Path) -> Result<Source, CreateError> {
        if subpath.as_os_str().is_empty() {
            return Ok(Source::Mount(whole));
        }
        let part = lookup::open(&whole, subpath, Links::Follow).map_err(|err| CreateError::Subpath {
            subpath: subpath.to_owned(),
            target: target.to_owned(),
            source: err.into(),
        })?;
        self.wholes.push(whole);
        Ok(Source::Part(part))
    }

    fn make_file(&mut self, contents: &[u8], mode: u32, uid: u32, gid: u32) -> io::Result<Source> {
        let name = self.planned.len().to_string();
        let dir = match &mut self.files {
            Some(dir) => dir,
            none => none.insert(memory::tmpfs(None, 0o700)?),
        };
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut file = File::from(openat(&*dir, name.as_str(), flags, Mode::RUSR)?);
        file.write_all(contents)?;
        // The mode last, since a change of the owner takes set-user-ID bits away.
        fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        file.set_permissions(Permissions::from_mode(mode))?;
        Ok(Source::Part(openat(&*dir, name.as_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Returns all mounts, in the order in which they were added, and those of which they are parts, which nobody needs any more.
    pub(super) fn finish(mut self) -> Result<(Vec<MountPlan>, Vec<OwnedFd>), CreateError> {
        self.wholes.extend(self.files.take());
        let (planned, wholes) = (self.planned, self.wholes);
        let finish = || planned.into_iter().map(Planned::finish).collect::<Result<Vec<_>, _>>();
        if wholes.is_empty() || self.kernel.mounts == MountSupport::Detached {
            return Ok((finish()?, wholes));
        }
        let finished = Workshop::run(|workshop| {
            let attach = |(index, whole): (usize, &OwnedFd)| workshop.attach(&index.to_string(), whole);
            wholes.iter().enumerate().try_for_each(attach)?;
            Ok(finish())
        });
        let mounts =
            finished.and_then(|finished| finished).map_err(|source: io::Error| CreateError::Parts { source })??;
        Ok((mounts, wholes))
    }
}

impl Planned {
    fn finish(self) -> Result<MountPlan, CreateError> {
        let Self { target, attributes, source } = self;
        match make_mount(source, attributes) {
            Ok((mount, kind)) => {
                Ok(MountPlan { point: MountPoint::parse(&target, kind)?, source: MountSourcePlan::Detached(mount) })
            }
            Err(source) => Err(CreateError::Attributes { target, source }),
        }
    }
}

/// Makes the mount, and says what it can be mounted on.
fn make_mount(source: Source, attributes: MountAttrFlags) -> io::Result<(OwnedFd, PointKind)> {
    let mount = match source {
        Source::Mount(mount) => mount,
        Source::Part(inside) => clone_tree(inside)?,
    };
    let stat = fstat(&mount)?;
    let file_type = FileType::from_raw_mode(stat.st_mode);
    let mut attributes = attributes;
    // `-v /dev/null:/file` is how people hide a file, and Docker lets every container open that device.
    if file_type == FileType::CharacterDevice && devices::is_common(stat.st_rdev) {
        attributes -= MountAttrFlags::MOUNT_ATTR_NODEV;
    }
    set_attributes_of_tree(&mount, attributes)?;
    let kind = if file_type == FileType::Directory { PointKind::Directory } else { PointKind::File };
    Ok((mount, kind))
}

/// Clones a tree of mounts of the caller's, or a part of it.
fn bind(whole: &OwnedFd, subpath: &Path) -> io::Result<Source> {
    let cloned = if subpath.as_os_str().is_empty() {
        clone_tree(whole)
    } else {
        lookup::open(whole, subpath, Links::Follow).and_then(clone_tree)
    };
    Ok(Source::Mount(cloned?))
}
