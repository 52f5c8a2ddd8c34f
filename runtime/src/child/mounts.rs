//! The file systems of a sandbox: its root, what is mounted in it, and what is masked.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, mkdir, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsmount, mount_change, move_mount, open_tree, unmount,
};
use rustix::process::{fchdir, pivot_root};

use super::report::{During, Result, Step};
use crate::lookup;
use crate::memory::{clone_tree, open_context};
use crate::plan::{MountPoint, MountSourcePlan, Plan, PointKind, SealedDevices, SealedPaths};
use crate::syscall::{set_attributes, set_attributes_of_tree};

const ROOT: &CStr = c"/";
const HERE: &CStr = c".";
const SELF: &CStr = c"";

/// Makes the root of the plan the root of this process, and leaves nothing of the host's.
///
/// Nothing of the root is looked up before it is entered, so no symbolic link in it can lead to the host.
pub(super) fn enter_root(plan: &Plan) -> Result<()> {
    // First of all: else what is mounted here would appear in the host's namespace, where that is shared.
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(ROOT, private).during(Step::PrivateMounts)?;
    // pivot_root(2) wants a mount point. On top of the root itself, none has to be found that exists on every host.
    attach(&plan.root, CWD, ROOT).during(Step::AttachRoot)?;
    fchdir(&plan.root).during(Step::EnterRoot)?;
    // With both arguments the same, the old root ends up on top of the new one, from where it is taken off.
    pivot_root(HERE, HERE).during(Step::PivotRoot)?;
    unmount(HERE, UnmountFlags::DETACH).during(Step::DetachHost)
}

/// Attaches all mounts of the plan.
pub(super) fn attach_all(plan: &Plan) -> Result<()> {
    for (index, mount) in plan.mounts.iter().enumerate() {
        let point = open_point(&mount.point, index)?;
        let fresh;
        let mount = match &mount.source {
            MountSourcePlan::Detached(fd) => fd,
            MountSourcePlan::Attached(inside) => {
                fresh = clone_tree(inside).during_each(Step::ClonePart, index)?;
                &fresh
            }
            MountSourcePlan::FileSystem { kind, attributes } => {
                fresh = make_file_system(kind, *attributes).during_each(Step::MountFileSystem, index)?;
                &fresh
            }
        };
        attach(mount, &point, SELF).during_each(Step::Attach, index)?;
    }
    Ok(())
}

/// Takes away what the process is not to see or to change.
pub(super) fn seal(plan: &Plan) -> Result<()> {
    if let Some(sealed) = &plan.sealed {
        for (index, path) in sealed.masked.iter().enumerate() {
            mask(sealed, path).during_each(Step::Mask, index)?;
        }
        for (index, path) in sealed.read_only.iter().enumerate() {
            make_read_only(path).during_each(Step::ReadOnlyPath, index)?;
        }
        if let Some(devices) = &sealed.devices {
            seal_devices(devices)?;
        }
    }
    if plan.root_read_only {
        set_attributes(&plan.root, MountAttrFlags::MOUNT_ATTR_RDONLY).during(Step::SealRoot)?;
    }
    Ok(())
}

/// Makes every node of `/dev` a mount of its own, on itself, so that the directory around it can be `nodev`.
fn seal_devices(devices: &SealedDevices) -> Result<()> {
    for (index, node) in devices.nodes.iter().enumerate() {
        let mount = clone_tree(node).during_each(Step::Device, index)?;
        attach(&mount, node, SELF).during_each(Step::Device, index)?;
    }
    set_attributes(&devices.mount, MountAttrFlags::MOUNT_ATTR_NODEV).during(Step::SealDevices)
}

/// Mounts nothing over files and directories: `/dev/null` over the first, an empty directory over the second.
fn mask(sealed: &SealedPaths, path: &CStr) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let there = match openat(CWD, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        there => there?,
    };
    let nothing = if FileType::from_raw_mode(fstat(&there)?.st_mode) == FileType::Directory {
        make_file_system(c"tmpfs", MountAttrFlags::MOUNT_ATTR_RDONLY)?
    } else {
        clone_tree(&sealed.null)?
    };
    attach(&nothing, &there, SELF)
}

fn make_read_only(path: &CStr) -> rustix::io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = match open_tree(CWD, path, flags) {
        Err(Errno::NOENT) => return Ok(()),
        tree => tree?,
    };
    set_attributes_of_tree(&tree, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    attach(&tree, CWD, path)
}

/// Opens where something is to be mounted, and makes it first where it is missing.
fn open_point(point: &MountPoint, index: usize) -> Result<OwnedFd> {
    match find_point(point) {
        Err(Errno::NOENT) => {}
        found => return found.during_each(Step::OpenPoint, index),
    }
    create_point(point).during_each(Step::CreatePoint, index)?;
    find_point(point).during_each(Step::OpenPoint, index)
}

fn find_point(point: &MountPoint) -> rustix::io::Result<OwnedFd> {
    lookup::open(CWD, point.path.as_c_str(), point.links)
}

fn create_point(point: &MountPoint) -> rustix::io::Result<()> {
    let is_dir = point.kind == PointKind::Directory;
    let dirs = point.parents.iter().chain(is_dir.then_some(&point.path));
    for dir in dirs {
        match mkdir(dir.as_c_str(), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(err) => return Err(err),
        }
    }
    if !is_dir {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(CWD, point.path.as_c_str(), flags, Mode::from_raw_mode(0o644))?;
    }
    Ok(())
}

fn make_file_system(kind: &CStr, attributes: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    let context = open_context(kind)?;
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Attaches a mount to a path; the empty path is the descriptor itself.
fn attach(mount: impl AsFd, dir: impl AsFd, path: &CStr) -> rustix::io::Result<()> {
    let mut flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    if path.is_empty() {
        flags |= MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    }
    move_mount(mount, SELF, dir, path, flags)
}
