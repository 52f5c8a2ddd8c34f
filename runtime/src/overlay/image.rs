//! Layers that are EROFS images, mounted from files: nothing is unpacked, and nothing of them is ever mounted where another process sees it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use super::by_descriptor::VALUE_BYTES_MAX;
use super::loop_device::LoopDevice;

/// A layer whose names and attributes are in an EROFS image and whose bytes are in further files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The image.
    pub index: PathBuf,
    /// The files that it points into, in the order in which it counts them.
    pub packs: Vec<PathBuf>,
    /// How the kernel gets at the files.
    pub access: ImageAccess,
}

/// How the kernel gets at the files of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageAccess {
    /// It reads them itself (Linux 6.12, on file systems other than overlayfs and tmpfs).
    Files,
    /// Through loop devices, which end with the mount.
    LoopDevices,
}

impl Image {
    /// Mounts it and returns the mount, which is attached nowhere and ends with the last use of the descriptor.
    pub(super) fn mount(&self) -> io::Result<OwnedFd> {
        let files = [&self.index].into_iter().chain(&self.packs);
        match self.access {
            ImageAccess::Files => mount_sources(files.map(|path| Source::of_file(path))),
            ImageAccess::LoopDevices => mount_sources(files.map(|path| Ok(Source::Loop(LoopDevice::attach(path)?)))),
        }
    }
}

/// An image that is in many stacks and is mounted once for all of them, when the first of them is.
///
/// What one sandbox has read of it, the next ones find in memory: pages belong to a mounted file system, not to the file that it is read from.
#[derive(Clone, Debug)]
pub struct SharedImage(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    image: Image,
    mounted: OnceLock<OwnedFd>,
}

impl SharedImage {
    /// Prepares; nothing is mounted yet. What is mounted ends with the last copy of this value.
    pub fn new(image: Image) -> Self {
        Self(Arc::new(Shared { image, mounted: OnceLock::new() }))
    }

    /// Returns the image.
    pub(super) fn image(&self) -> &Image {
        &self.0.image
    }

    /// Returns the one mount, which only kernels take several times that take mounts for layers that are attached nowhere.
    pub(super) fn mount(&self) -> io::Result<OwnedFd> {
        let mounted = match self.0.mounted.get() {
            Some(mounted) => mounted,
            None => {
                let mounted = self.0.image.mount()?;
                self.0.mounted.get_or_init(|| mounted)
            }
        };
        mounted.try_clone()
    }
}

/// Where the kernel finds one of the files, for as long as this is held.
enum Source {
    Path(PathBuf),
    /// What has no name that is short enough.
    Open(File),
    Loop(LoopDevice),
}

impl Source {
    fn of_file(path: &Path) -> io::Result<Self> {
        let is_short = path.as_os_str().len() <= VALUE_BYTES_MAX;
        if is_short { Ok(Self::Path(path.to_owned())) } else { File::open(path).map(Self::Open) }
    }

    fn name(&self) -> PathBuf {
        match self {
            Self::Path(path) => path.clone(),
            Self::Open(file) => PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())),
            Self::Loop(device) => device.path().to_owned(),
        }
    }
}

/// Mounts an image; the first source is the image itself.
fn mount_sources(sources: impl Iterator<Item = io::Result<Source>>) -> io::Result<OwnedFd> {
    let sources = sources.collect::<io::Result<Vec<Source>>>()?;
    let context = fsopen(c"erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (place, source) in sources.iter().enumerate() {
        let key = if place == 0 { "source" } else { "device" };
        fsconfig_set_string(&context, key, source.name().as_os_str().as_bytes())?;
    }
    // A loop device that only reads refuses a mount that might write.
    fsconfig_set_flag(&context, c"ro")?;
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}
