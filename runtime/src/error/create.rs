//! Why a sandbox could not be prepared.

use std::io;
use std::path::PathBuf;

use crate::overlay::OverlayError;
use crate::seccomp::FilterError;
use crate::spec::Resource;

/// Why a sandbox could not be prepared. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is nothing to run.
    #[error("no command specified")]
    NoCommand,
    /// A text has a zero byte, where the kernel would end it.
    #[error("cannot pass {what} with a zero byte: `{}`", text.escape_debug())]
    ZeroByte {
        /// What the text was to be.
        what: &'static str,
        /// The text.
        text: String,
    },
    /// The working directory is relative.
    #[error("the working directory `{}` is invalid: it has to be an absolute path", path.display())]
    WorkingDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// Something is to be mounted where nothing can be.
    #[error("invalid mount target {target:?}")]
    Target {
        /// The path.
        target: PathBuf,
    },
    /// A user or group has the number that stands for none.
    #[error("invalid user or group: {} is the number of nobody", u32::MAX)]
    Identity,
    /// A limit's parts contradict each other; the text is Docker's.
    #[error("ulimit soft limit must be less than or equal to hard limit: `{resource}`")]
    Rlimit {
        /// What is limited.
        resource: Resource,
    },
    /// What the sandbox may use cannot be limited.
    #[error(transparent)]
    Group(#[from] crate::cgroup::GroupError),
    /// There is no list of system calls for this machine.
    #[error(
        "there is no system call filter for the architecture `{architecture}`; without one, only `--security=insecure` runs"
    )]
    Architecture {
        /// The machine.
        architecture: &'static str,
    },
    /// The list of system calls makes no filter.
    #[error("cannot make the system call filter")]
    Filter {
        /// Why.
        source: FilterError,
    },
    /// The root's layers cannot be mounted.
    #[error("cannot mount the root file system")]
    Root {
        /// Why.
        source: OverlayError,
    },
    /// The root is not a directory that can be used.
    #[error("cannot use `{}` as the root file system", path.display())]
    RootDirectory {
        /// The directory.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The root's mount cannot be changed.
    #[error("cannot set the attributes of the root's mount")]
    RootAttributes {
        /// What the kernel says.
        source: io::Error,
    },
    /// There are no mount points.
    #[error("cannot make mount points in memory")]
    MountPoints {
        /// What the kernel says.
        source: io::Error,
    },
    /// A mount point is in the way of itself: on the way to it is a file, or a circle of links.
    #[error("cannot mount on `{}` in the root: each part of the path has to be a directory, and of `/proc`, `/sys` and `/dev` none may be a link", target.display())]
    MountPoint {
        /// The path.
        target: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// What is to be mounted is not there.
    #[error("cannot mount `{}` on `{}`: bind source path does not exist or cannot be opened", path.display(), target.display())]
    Source {
        /// What was to be mounted.
        path: PathBuf,
        /// Where.
        target: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The layers that are to be mounted cannot be.
    #[error("cannot mount layers on `{}`", target.display())]
    Layers {
        /// Where.
        target: PathBuf,
        /// Why.
        source: OverlayError,
    },
    /// The part that is to be mounted is not there.
    #[error("cannot mount on `{}`: `{}` is not in the source", target.display(), subpath.display())]
    Subpath {
        /// The part.
        subpath: PathBuf,
        /// Where it was to be mounted.
        target: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A file or directory in memory cannot be made.
    #[error("cannot make what is to be mounted on `{}` in memory", target.display())]
    Memory {
        /// Where.
        target: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// Parts of sources cannot be had.
    #[error("cannot make a mount namespace to take parts of mounts from")]
    Parts {
        /// What the kernel says.
        source: io::Error,
    },
    /// A mount cannot be made read-only, or what else it is to be.
    #[error("cannot set the attributes of the mount on `{}`", target.display())]
    Attributes {
        /// Where.
        target: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// What shows control groups of version 1 cannot be made.
    #[error("cannot make the mounts of control groups for `/sys/fs/cgroup` of the sandbox")]
    GroupView {
        /// What the kernel says.
        source: io::Error,
    },
    /// Something in `/dev` cannot be made.
    #[error("cannot make the device or directory `{name}` of the sandbox")]
    Device {
        /// Its name.
        name: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// There is no terminal.
    #[error("cannot open a terminal for the sandbox")]
    Terminal {
        /// What the kernel says.
        source: io::Error,
    },
    /// There is no stream.
    #[error("cannot open the standard streams of the sandbox")]
    Stream {
        /// What the kernel says.
        source: io::Error,
    },
    /// The process that watches over sandboxes cannot be started.
    #[error("cannot start the process that ends sandboxes together with Kiln")]
    Nest {
        /// What the kernel says.
        source: io::Error,
    },
}
