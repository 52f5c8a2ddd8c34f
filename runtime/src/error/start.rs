//! Why a sandbox that was prepared did not start.

use std::io;
use std::path::{Path, PathBuf};

use crate::elf::host_architecture;
use crate::spec::Resource;

/// Exit codes of `docker run` for what never ran.
const EXIT_NOT_STARTED: u8 = 125;
const EXIT_NOT_EXECUTABLE: u8 = 126;
const EXIT_NOT_FOUND: u8 = 127;

/// Why a sandbox that was prepared did not start. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The process cannot be watched over.
    #[error("cannot start a process in the namespace that ends together with Kiln")]
    Nest {
        /// What the kernel says.
        source: io::Error,
    },
    /// There is no new process or namespace.
    #[error("cannot clone the first process of the sandbox with namespaces of its own")]
    Clone {
        /// What the kernel says.
        source: io::Error,
    },
    /// The control group cannot be joined.
    #[error("cannot move the sandbox into its control group")]
    JoinGroup {
        /// What the kernel says.
        source: io::Error,
    },
    /// The groups above cannot be hidden.
    #[error("cannot give the sandbox a control group namespace of its own")]
    GroupNamespace {
        /// What the kernel says.
        source: io::Error,
    },
    /// No key ring can be had.
    #[error("cannot give the sandbox a key ring of its own")]
    Keyring {
        /// What the kernel says.
        source: io::Error,
    },
    /// The network namespace cannot be entered.
    #[error("cannot join the network namespace of the sandbox")]
    JoinNetwork {
        /// What the kernel says.
        source: io::Error,
    },
    /// The loopback interface stays down.
    #[error("cannot bring up the loopback interface of the sandbox")]
    Loopback {
        /// What the kernel says.
        source: io::Error,
    },
    /// The mounts of the host cannot be cut off.
    #[error("cannot make the mounts of the sandbox private")]
    PrivateMounts {
        /// What the kernel says.
        source: io::Error,
    },
    /// The root cannot be attached.
    #[error("cannot attach the root file system of the sandbox")]
    AttachRoot {
        /// What the kernel says.
        source: io::Error,
    },
    /// The root cannot be entered.
    #[error("cannot enter the root file system of the sandbox")]
    EnterRoot {
        /// What the kernel says.
        source: io::Error,
    },
    /// The root cannot become the root.
    #[error(
        "cannot exchange the root of the sandbox for the host's by pivot_root (Kiln itself must not run in a chroot, nor from an initial ram disk)"
    )]
    PivotRoot {
        /// What the kernel says.
        source: io::Error,
    },
    /// The host's file systems cannot be taken away.
    #[error("cannot detach the host's file systems from the sandbox")]
    DetachHost {
        /// What the kernel says.
        source: io::Error,
    },
    /// A mount point cannot be made.
    #[error("cannot create the mount point `{}` in the root file system", target.display())]
    CreateMountPoint {
        /// The path.
        target: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A mount point cannot be opened.
    #[error("cannot open the mount point `{}` in the root file system", target.display())]
    OpenMountPoint {
        /// The path.
        target: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A file system of the kernel cannot be mounted.
    #[error("cannot mount the kernel's file system for `{}`", target.display())]
    FileSystem {
        /// The path.
        target: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The terminal cannot be cloned for its other name.
    #[error("cannot clone what is to be mounted on `{}`", target.display())]
    ClonePart {
        /// The path.
        target: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// Something cannot be mounted.
    #[error("cannot mount on `{}`: a directory goes only on a directory, and a file only on a file", target.display())]
    Mount {
        /// The path.
        target: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A device cannot be mounted.
    #[error("cannot mount the devices of the sandbox")]
    Device {
        /// What the kernel says.
        source: io::Error,
    },
    /// A path cannot be masked.
    #[error("cannot mask `{}` in the sandbox", path.display())]
    Mask {
        /// The path.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A path cannot be made read-only.
    #[error("cannot make `{}` read-only in the sandbox", path.display())]
    ReadOnlyPath {
        /// The path.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// Devices that the sandbox makes itself cannot be forbidden.
    #[error("cannot forbid other devices in the sandbox")]
    SealDevices {
        /// What the kernel says.
        source: io::Error,
    },
    /// The root cannot be made read-only.
    #[error("cannot make the root file system of the sandbox read-only")]
    SealRoot {
        /// What the kernel says.
        source: io::Error,
    },
    /// The host name cannot be set.
    #[error("cannot set the host name to `{name}` (it can have 64 bytes at most)")]
    Hostname {
        /// The name.
        name: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// No session can be had.
    #[error("cannot give the sandbox a session of its own")]
    Session {
        /// What the kernel says.
        source: io::Error,
    },
    /// A stream cannot be put in its place.
    #[error("cannot put the standard streams of the sandbox in their places")]
    Streams {
        /// What the kernel says.
        source: io::Error,
    },
    /// The terminal cannot be the controlling one.
    #[error("cannot make the terminal the controlling one of the sandbox")]
    Terminal {
        /// What the kernel says.
        source: io::Error,
    },
    /// The descriptors of the caller cannot be closed.
    #[error("cannot close the descriptors that are not for the sandbox")]
    Descriptors {
        /// What the kernel says.
        source: io::Error,
    },
    /// There is no such working directory.
    #[error("cannot change to the working directory `{}` in the root file system", path.display())]
    WorkingDirectory {
        /// The directory.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A limit cannot be set.
    #[error("cannot set the limit `{resource}` (the limit of `nofile` is at most that of /proc/sys/fs/nr_open)")]
    Rlimit {
        /// What is limited.
        resource: Resource,
        /// What the kernel says.
        source: io::Error,
    },
    /// Privileges can still be gained.
    #[error("cannot set no_new_privs")]
    NoNewPrivileges {
        /// What the kernel says.
        source: io::Error,
    },
    /// Capabilities cannot be dropped.
    #[error("cannot drop capabilities from the bounding set (is CAP_SETPCAP there?)")]
    BoundingSet {
        /// What the kernel says.
        source: io::Error,
    },
    /// The filter is not taken.
    #[error("cannot install the system call filter (was the kernel built with CONFIG_SECCOMP_FILTER?)")]
    Filter {
        /// What the kernel says.
        source: io::Error,
    },
    /// The groups cannot be set.
    #[error("cannot set the supplementary groups")]
    Groups {
        /// What the kernel says.
        source: io::Error,
    },
    /// The group cannot be set.
    #[error("cannot become the group {gid}")]
    Group {
        /// The group.
        gid: u32,
        /// What the kernel says.
        source: io::Error,
    },
    /// The user cannot be set.
    #[error("cannot become the user {uid}")]
    User {
        /// The user.
        uid: u32,
        /// What the kernel says.
        source: io::Error,
    },
    /// The capabilities cannot be set.
    #[error("cannot set the capabilities of the sandbox")]
    Capabilities {
        /// What the kernel says.
        source: io::Error,
    },
    /// No directory of `PATH` has the program.
    #[error("exec: \"{name}\": executable file not found in $PATH")]
    NotInPath {
        /// The program.
        name: String,
    },
    /// The program is not there.
    #[error("exec: \"{name}\": stat {name}: no such file or directory")]
    NotFound {
        /// The program.
        name: String,
    },
    /// The program may not be executed.
    #[error("exec: \"{name}\": permission denied")]
    PermissionDenied {
        /// The program.
        name: String,
    },
    /// The program is a directory.
    #[error("exec: \"{name}\": is a directory")]
    IsDirectory {
        /// The program.
        name: String,
    },
    /// The program is for another machine, or no program.
    #[error("exec {}: exec format error{}", path.display(), mismatch(*architecture))]
    ExecFormat {
        /// The file.
        path: PathBuf,
        /// The machine that it is for, where that can be told.
        architecture: Option<&'static str>,
    },
    /// The program is for another machine, and the emulator that is registered for those is not where it was looked for.
    #[error("exec {}: no such file or directory (the program is for {architecture}, and its emulator is not in the root file system)", path.display())]
    NoEmulator {
        /// The file.
        path: PathBuf,
        /// The machine that it is for.
        architecture: &'static str,
    },
    /// The program is there, but what is to run it is not.
    #[error("exec {}: no such file or directory{}", path.display(), missing(interpreter.as_deref()))]
    NoInterpreter {
        /// The file.
        path: PathBuf,
        /// The loader or interpreter that it names, where that can be told.
        interpreter: Option<PathBuf>,
    },
    /// The program cannot be executed.
    #[error("exec {}: cannot be executed", path.display())]
    Execute {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
}

impl StartError {
    /// Returns whether the program is what is wrong, not the sandbox.
    pub fn is_about_the_program(&self) -> bool {
        self.exit_code() != EXIT_NOT_STARTED
    }

    /// Returns the architecture that the program is for, if that is why it cannot be run.
    pub fn foreign_architecture(&self) -> Option<&'static str> {
        match self {
            Self::ExecFormat { architecture, .. } => architecture.filter(|other| *other != host_architecture()),
            _ => None,
        }
    }

    /// Returns what `docker run` exits with: 127 when there is no program, 126 when it cannot be executed, and 125 for the rest.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotInPath { .. } | Self::NotFound { .. } | Self::NoEmulator { .. } | Self::NoInterpreter { .. } => {
                EXIT_NOT_FOUND
            }
            Self::PermissionDenied { .. }
            | Self::IsDirectory { .. }
            | Self::ExecFormat { .. }
            | Self::Execute { .. } => EXIT_NOT_EXECUTABLE,
            _ => EXIT_NOT_STARTED,
        }
    }
}

fn mismatch(architecture: Option<&str>) -> String {
    match architecture {
        Some(other) if other != host_architecture() => {
            format!(" (the program is for {other}, and this machine is {})", host_architecture())
        }
        Some(_) => String::new(),
        None => " (the file is neither a program nor a script that begins with #!)".to_owned(),
    }
}

fn missing(interpreter: Option<&Path>) -> String {
    interpreter.map_or_else(
        || " (the file is there, but what is to run it is not)".to_owned(),
        |path| format!(" (the file is there, but not `{}`, which is to run it)", path.display()),
    )
}
