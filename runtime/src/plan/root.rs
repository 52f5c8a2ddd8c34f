//! The root of a sandbox: its layers, with the mount points that they lack.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::points::MountPoint;
use super::skeleton::{self, Top};
use crate::error::CreateError;
use crate::kernel::Kernel;
use crate::lookup;
use crate::overlay::{LAYERS_MAX, Layer, Overlay, OverlayError};
use crate::spec::Root;

/// How many layers of mount points there can be.
const SKELETON_LAYERS: usize = 2;

/// Mounts a root nowhere; as far as it is made of layers, it has all points. What it is made of and nobody needs any more is added to `leftovers`.
pub(super) fn mount(
    kernel: &Kernel,
    root: Root,
    points: &[&MountPoint],
    leftovers: &mut Vec<OwnedFd>,
) -> Result<OwnedFd, CreateError> {
    match root {
        Root::Directory(path) => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
            let tree = open_tree(CWD, &path, flags);
            tree.map_err(|err| CreateError::RootDirectory { path, source: err.into() })
        }
        Root::Overlay(mut overlay) => {
            let mounted = mount_layers(kernel, &mut overlay, points);
            leftovers.extend(overlay.lowers.into_iter().filter_map(|layer| match layer {
                Layer::Fd(fd) => Some(fd),
                _ => None,
            }));
            mounted
        }
    }
}

fn mount_layers(kernel: &Kernel, overlay: &mut Overlay, points: &[&MountPoint]) -> Result<OwnedFd, CreateError> {
    let max = LAYERS_MAX - SKELETON_LAYERS;
    if overlay.lowers.len() > max {
        let source = OverlayError::TooManyLayers { count: overlay.lowers.len(), max };
        return Err(CreateError::Root { source });
    }
    let in_memory = |source| CreateError::MountPoints { source };
    let failed = |source| CreateError::Root { source };
    let bottom = skeleton::bottom(points.iter().copied()).map_err(in_memory)?;
    overlay.lowers.insert(0, bottom.into());
    let view = overlay.mount(kernel).map_err(failed)?;
    let missing = find_missing(&view, points)?;
    if missing.is_empty() {
        return Ok(view);
    }
    let mut top = Top::new(&view).map_err(in_memory)?;
    for point in missing {
        top.add(point).map_err(|source| point_error(point, source))?;
    }
    let top = top.finish().map_err(in_memory)?;
    overlay.lowers.push(top.into());
    // Before the next mount: one upper directory must not be in two at a time.
    drop(view);
    overlay.mount(kernel).map_err(failed)
}

/// Returns the points that are hidden from the layer beneath, because another has removed or replaced what is on the way.
fn find_missing<'a>(view: &OwnedFd, points: &[&'a MountPoint]) -> Result<Vec<&'a MountPoint>, CreateError> {
    let mut missing = Vec::new();
    for point in points {
        match lookup::open(view, point.path.as_c_str(), point.links) {
            Ok(_) => {}
            Err(Errno::NOENT) => missing.push(*point),
            Err(err) => return Err(point_error(point, err.into())),
        }
    }
    Ok(missing)
}

fn point_error(point: &MountPoint, source: io::Error) -> CreateError {
    CreateError::MountPoint { target: point.as_path().to_owned(), source }
}
