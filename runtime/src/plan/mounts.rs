//! What is mounted in the root, and in which order.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::mount::MountAttrFlags;

use super::points::MountPoint;

/// Something that is mounted in the root.
pub(crate) struct MountPlan {
    pub(crate) point: MountPoint,
    pub(crate) source: MountSourcePlan,
}

/// What is mounted.
pub(crate) enum MountSourcePlan {
    /// A mount that is attached nowhere yet.
    Detached(OwnedFd),
    /// What a descriptor refers to, on a mount that is attached in the sandbox by then.
    Attached(OwnedFd),
    /// A file system that shows the namespaces of who mounts it.
    FileSystem { kind: &'static CStr, attributes: MountAttrFlags },
}

/// Puts outer mounts before those inside them, and keeps the order otherwise.
pub(super) fn sort(mounts: &mut [MountPlan]) {
    mounts.sort_by_key(|mount| mount.point.depth());
}

/// Returns the points that are in the root itself and not in something that is mounted there.
pub(super) fn points_in_root(mounts: &[MountPlan]) -> Vec<&MountPoint> {
    let mut outer: Vec<PathBuf> = Vec::new();
    let mut points = Vec::new();
    for MountPlan { point, .. } in mounts {
        let path = point.as_path();
        if !outer.iter().any(|dir| path.starts_with(dir)) {
            points.push(point);
            outer.push(path.to_owned());
        }
    }
    points
}
