//! What a sandbox sees of control groups of version 1 beneath `/sys/fs/cgroup`: in each hierarchy the group that it is in, as runc mounts them.
//!
//! **Invariant:** a confined sandbox sees no group but its own. In a hierarchy where none was made for it, nothing is limited for it alone, and beside it are the groups
//! of others: so that is left out.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, symlinkat};
use rustix::mount::{MountAttrFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::group::Group;
use super::hierarchies::{Hierarchies, Place};
use crate::kernel::{Kernel, MountSupport};
use crate::memory;
use crate::spec::SystemPaths;
use crate::syscall::set_attributes_of_tree;
use crate::workshop::Workshop;

/// Where the view is put together, on older kernels.
const VIEW: &str = "view";

/// Returns what is mounted on `/sys/fs/cgroup`; `None` is where there is no version 1.
pub(crate) fn mount(kernel: &Kernel, group: Option<&Group>, paths: SystemPaths) -> io::Result<Option<OwnedFd>> {
    // Where version 2 is all that is mounted there, it is mounted in the sandbox, too.
    let Hierarchies::V1 { mounted, beside, .. } = &kernel.hierarchies else { return Ok(None) };
    if kernel.cgroup2 {
        return Ok(None);
    }
    // Version 2 beside it is shown where something is limited there.
    let beside = beside.as_ref().filter(|_| group.is_some_and(|group| group.birthplace().is_some()));
    let places: Vec<&Place> = mounted.iter().chain(beside).collect();
    // Many sandboxes share a group, and so a view, where the kernel copies what is attached nowhere.
    let shared = group.filter(|_| paths == SystemPaths::Masked && kernel.mounts == MountSupport::Detached);
    let Some(group) = shared else { return make(kernel, &places, group, paths).map(Some) };
    let view = match group.view.get() {
        Some(view) => view,
        None => {
            let view = make(kernel, &places, Some(group), paths)?;
            group.view.get_or_init(|| view)
        }
    };
    Ok(Some(memory::clone_tree(view)?))
}

fn make(kernel: &Kernel, places: &[&Place], group: Option<&Group>, paths: SystemPaths) -> io::Result<OwnedFd> {
    let joined = |mount: &Path| group.and_then(|group| group.directory_in(mount)).map(Path::to_owned);
    let part = |place: &&Place| {
        let dir = joined(&place.mount).or_else(|| (paths == SystemPaths::Open).then(|| place.own.clone()))?;
        Some(Part { name: place.mount.file_name().map(PathBuf::from).unwrap_or_default(), dir })
    };
    let parts: Vec<Part> = places.iter().filter_map(part).collect();
    let view = make_points(&parts)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    let tree = match kernel.mounts {
        MountSupport::Detached => {
            for part in &parts {
                move_mount(part.mount()?, "", &view, &part.name, flags)?;
            }
            view
        }
        // There, mounts can be attached only to what is attached somewhere.
        MountSupport::Attached => Workshop::run(|workshop| {
            workshop.attach(VIEW, &view)?;
            for part in &parts {
                move_mount(part.mount()?, "", workshop.dir(), Path::new(VIEW).join(&part.name), flags)?;
            }
            Ok::<_, io::Error>(workshop.copy_tree(VIEW)?)
        })??,
    };
    let common =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let attributes = match paths {
        SystemPaths::Masked => common | MountAttrFlags::MOUNT_ATTR_RDONLY,
        SystemPaths::Open => common,
    };
    set_attributes_of_tree(&tree, attributes)?;
    Ok(tree)
}

/// A hierarchy in the view.
struct Part {
    name: PathBuf,
    /// The group that is shown.
    dir: PathBuf,
}

impl Part {
    fn mount(&self) -> io::Result<OwnedFd> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        Ok(open_tree(CWD, &self.dir, flags)?)
    }
}

/// Makes a directory with one for each hierarchy.
fn make_points(parts: &[Part]) -> io::Result<OwnedFd> {
    let view = memory::tmpfs(None, 0o755)?;
    for part in parts {
        memory::make_dir(&view, &part.name, 0o755)?;
        // Of `cpu,cpuacct` there is `cpu`, too.
        let name = part.name.to_string_lossy();
        let aliases = name.split(',').filter(|alias| *alias != name && !alias.is_empty());
        aliases.into_iter().try_for_each(|alias| symlinkat(&part.name, &view, alias))?;
    }
    Ok(view)
}
