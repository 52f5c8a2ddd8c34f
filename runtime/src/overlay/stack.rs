//! What is stacked, and the choice of how to mount it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, openat};

use super::image::{Image, SharedImage};
use super::{by_call, by_descriptor};
use crate::kernel::{Kernel, MountSupport};
use crate::memory;

/// The most layers that the kernel stacks, the upper one not counted.
pub const LAYERS_MAX: usize = 500;

/// The options of every mount. Without `xino`, a stack over several file systems shows several device numbers, and `du -x` and `find -xdev` stop half-way.
/// The others would write what only this one mount understands into the upper directory, which is to become a layer.
pub(super) const OPTIONS: &[(&str, &str)] =
    &[("xino", "on"), ("index", "off"), ("redirect_dir", "off"), ("metacopy", "off")];
/// One more, for the same reason, that only kernels from 6.6 know: no identifier of the mount is written.
pub(super) const OPTION_UUID: (&str, &str) = ("uuid", "null");

/// Layers, and what is written on top of them.
#[derive(Debug)]
pub struct Overlay {
    /// The layers, the base first; none is an empty file system.
    pub lowers: Vec<Layer>,
    /// Where writes go; `None` is a read-only mount.
    pub upper: Option<Upper>,
}

/// A layer that is only read.
#[derive(Debug)]
pub enum Layer {
    /// A directory.
    Path(PathBuf),
    /// A directory by a descriptor, which may be one of `O_PATH`, or the root of a mount that is attached nowhere.
    Fd(OwnedFd),
    /// An image, which is mounted for the stack alone.
    Image(Image),
    /// An image that others have in their stacks, too.
    Shared(SharedImage),
}

impl Layer {
    /// Returns what is to be mounted before the stack is: the image, and how.
    fn to_mount(&self, support: MountSupport) -> Option<(&Image, io::Result<OwnedFd>)> {
        match self {
            Self::Image(image) => Some((image, image.mount())),
            Self::Shared(shared) if support == MountSupport::Detached => Some((shared.image(), shared.mount())),
            Self::Shared(shared) => Some((shared.image(), shared.image().mount())),
            Self::Path(_) | Self::Fd(_) => None,
        }
    }
}

impl From<SharedImage> for Layer {
    fn from(image: SharedImage) -> Self {
        Self::Shared(image)
    }
}

impl From<Image> for Layer {
    fn from(image: Image) -> Self {
        Self::Image(image)
    }
}

impl From<PathBuf> for Layer {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl From<OwnedFd> for Layer {
    fn from(fd: OwnedFd) -> Self {
        Self::Fd(fd)
    }
}

/// Where writes go.
#[derive(Debug)]
pub enum Upper {
    /// Into directories on one file system, which the mount has to itself.
    Dirs {
        /// What is written. The mode and owner of this directory are those of the root that the mount shows.
        upper: PathBuf,
        /// An empty directory for the kernel's own use. What it holds afterwards is of no use to anybody, but a later mount may use it again.
        work: PathBuf,
        /// What holds of the upper directory after a crash of the machine.
        durability: Durability,
    },
    /// Into memory, and away with the mount.
    Memory,
    /// Into memory that somebody holds, who reads it when the mount has ended.
    Scratch(Arc<Scratch>),
}

/// Directories in memory that an overlay writes into, attached nowhere. They are gone when nobody holds them any more.
#[derive(Debug)]
pub struct Scratch(OwnedFd);

impl Scratch {
    /// Makes them, empty. They grow to half of the machine's memory at most, as any tmpfs (tmpfs(5)).
    pub fn new() -> Result<Self, OverlayError> {
        memory::upper().map(Self).map_err(|source| OverlayError::Memory { source })
    }

    /// Opens the directory that is written into. Its mode and owner are those of the root that a mount shows.
    pub fn upper(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(openat(&self.0, "upper", flags, Mode::empty())?)
    }

    pub(super) fn memory(&self) -> &OwnedFd {
        &self.0
    }
}

/// What holds of an upper directory after a crash of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing, unless the caller calls syncfs(2) itself: no call inside the mount waits for the disk, and neither does its end.
    Volatile,
    /// What was synced inside the mount is there, and all of it is after the mount has ended.
    Synced,
}

/// Why layers could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// There are more layers than the kernel stacks.
    #[error("cannot mount {count} layers: the kernel stacks at most {max}")]
    TooManyLayers {
        /// How many there are.
        count: usize,
        /// How many there can be.
        max: usize,
    },
    /// An image cannot be mounted.
    #[error("cannot mount the layer image `{}`", path.display())]
    Image {
        /// The image.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A layer cannot be used.
    #[error("cannot use `{}` as a layer", path.display())]
    Layer {
        /// The directory, or what the descriptor refers to.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The upper directory cannot be used.
    #[error("cannot use `{}` as the upper directory of an overlay", path.display())]
    Upper {
        /// The directory.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The work directory cannot be used.
    #[error("cannot use `{}` as the work directory of an overlay", path.display())]
    Work {
        /// The directory.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A directory in memory cannot be made.
    #[error("cannot make a file system in memory for an overlay")]
    Memory {
        /// What the kernel says.
        source: io::Error,
    },
    /// The kernel has no overlayfs.
    #[error("cannot open the file system type `overlay`; is the kernel module `overlay` there?")]
    Open {
        /// What the kernel says.
        source: io::Error,
    },
    /// The kernel does not take an option.
    #[error("cannot set the option `{option}` of an overlay")]
    Option {
        /// The option.
        option: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// No namespace to mount in can be had.
    #[error("cannot make a mount namespace to mount an overlay in")]
    Namespace {
        /// What the kernel says.
        source: io::Error,
    },
    /// The kernel does not mount what it was given.
    #[error(
        "cannot mount an overlay of {layers} layers (the upper and the work directory have to be on one file system, which is not an overlay itself; the kernel's log may say more)"
    )]
    Mount {
        /// How many layers there are, those of mount points in memory included.
        layers: usize,
        /// What the kernel says.
        source: io::Error,
    },
}

impl Overlay {
    /// Mounts the layers and returns the mount, which is attached nowhere and ends with the last use of the descriptor.
    ///
    /// The layers can be mounted again; descriptors among them stay what they were.
    pub fn mount(&mut self, kernel: &Kernel) -> Result<OwnedFd, OverlayError> {
        if self.lowers.len() > LAYERS_MAX {
            return Err(OverlayError::TooManyLayers { count: self.lowers.len(), max: LAYERS_MAX });
        }
        if let Some(Upper::Dirs { work, .. }) = &self.upper {
            forget_volatile(work)?;
        }
        self.mount_images(kernel.mounts)?;
        let padding = self.padding()?;
        match kernel.mounts {
            MountSupport::Detached => by_descriptor::mount(self, &padding),
            MountSupport::Attached => by_call::mount(self, padding),
        }
    }

    /// Mounts those layers that are images. Their descriptors take their places, so that they are mounted once.
    fn mount_images(&mut self, support: MountSupport) -> Result<(), OverlayError> {
        for layer in &mut self.lowers {
            if let Some((image, mounted)) = layer.to_mount(support) {
                let failed = |source| OverlayError::Image { path: image.index.clone(), source };
                *layer = Layer::Fd(mounted.map_err(failed)?);
            }
        }
        Ok(())
    }

    /// Returns the empty layers that must be put below: an overlay needs one layer beneath an upper directory, and two without one.
    fn padding(&self) -> Result<Vec<OwnedFd>, OverlayError> {
        let needed = if self.upper.is_some() { 1 } else { 2 };
        let missing = needed - self.lowers.len().min(needed);
        let empty = |_| memory::tmpfs(None, 0o755).map_err(|source| OverlayError::Memory { source });
        (0..missing).map(empty).collect()
    }
}

/// Removes the mark that a volatile mount leaves, because of which the kernel would refuse the directory.
///
/// The mark says that the upper directory may be incomplete after a crash. Whether there was one is known to who keeps the directory, not to a mark that
/// is there after every end.
fn forget_volatile(work: &Path) -> Result<(), OverlayError> {
    match fs::remove_dir_all(work.join("work/incompat")) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(OverlayError::Work { path: work.to_owned(), source })
        }
        _ => Ok(()),
    }
}
