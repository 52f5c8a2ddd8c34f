//! What is to run in a sandbox: plain data and file descriptors, with Docker's defaults.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::str::FromStr;

use crate::capabilities::Capabilities;
use crate::cgroup::Limits;
use crate::overlay::Overlay;
use crate::terminal::WindowSize;

/// The size of `/dev/shm` where nothing else is asked for.
pub const SHM_BYTES_DEFAULT: u64 = 64 << 20;

/// What is to run, on which root, seen by whom, and how far it is confined.
#[derive(Debug)]
pub struct Spec {
    /// The file system that the process sees as `/`.
    pub root: Root,
    /// Whether the root can be written to.
    pub root_access: Access,
    /// The program and its arguments. A name without a slash is looked for in the `PATH` of `env`, inside the root.
    pub args: Vec<OsString>,
    /// The whole environment, in the form `KEY=value`; nothing is added to it.
    pub env: Vec<OsString>,
    /// The absolute directory that the process starts in; it has to exist.
    pub cwd: PathBuf,
    /// The host name; `None` leaves the one of the caller.
    pub hostname: Option<String>,
    /// What is mounted beside `/proc`, `/sys` and `/dev`. A mount over one of those, or over what is in them, hides it.
    ///
    /// Outer ones are mounted before those inside them; otherwise the order is kept.
    pub mounts: Vec<Mount>,
    /// Who the process is.
    pub identity: Identity,
    /// How far the process is confined.
    pub security: Security,
    /// Which network it sees.
    pub network: Network,
    /// Where its input comes from and its output goes.
    pub stdio: Stdio,
    /// Limits of setrlimit(2); those that are not named are the caller's.
    pub rlimits: Vec<Rlimit>,
    /// The size of `/dev/shm`.
    pub shm_bytes: u64,
    /// How much its processes may use together.
    pub limits: Limits,
    /// The control group that its own is made beneath, as a path from the root of the hierarchy; `None` is Kiln's choice.
    pub cgroup_parent: Option<String>,
}

impl Spec {
    /// Returns the specification that Docker's defaults give for a program: root's rights as far as Docker leaves them, the host's network, no input,
    /// and no output.
    pub fn new(root: Root, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            root,
            root_access: Access::ReadWrite,
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            hostname: None,
            mounts: Vec::new(),
            identity: Identity::default(),
            security: Security::default(),
            network: Network::Host,
            stdio: Stdio::Streams { stdin: Stream::Null, stdout: Stream::Null, stderr: Stream::Null },
            rlimits: Vec::new(),
            shm_bytes: SHM_BYTES_DEFAULT,
            limits: Limits::default(),
            cgroup_parent: None,
        }
    }
}

/// The file system that the process sees as `/`.
#[derive(Debug)]
pub enum Root {
    /// Layers and what is written on top of them. Mount points that the layers lack are supplied from memory and appear in no layer.
    Overlay(Overlay),
    /// A directory as it is. Mount points that it lacks are created in it and stay.
    Directory(PathBuf),
}

/// Whether something can be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Writing fails with EROFS, also in what is mounted beneath.
    ReadOnly,
    /// Writing is allowed.
    ReadWrite,
}

/// Something that is mounted in the root.
#[derive(Debug)]
pub struct Mount {
    /// The absolute path that it is mounted on; symbolic links in it are followed inside the root. It is made where it is missing.
    pub target: PathBuf,
    /// What is mounted.
    pub source: MountSource,
    /// The part of the source that is mounted, itself resolved inside the source; empty is the whole.
    pub subpath: PathBuf,
    /// Whether it can be written to.
    pub access: Access,
}

impl Mount {
    /// Returns a mount of a whole source.
    pub fn new(target: impl Into<PathBuf>, source: MountSource, access: Access) -> Self {
        Self { target: target.into(), source, subpath: PathBuf::new(), access }
    }

    /// Returns a read-only mount of a file that root owns and everybody can read, such as `/etc/hosts`.
    pub fn text(target: impl Into<PathBuf>, contents: impl Into<Vec<u8>>) -> Self {
        Self::new(
            target,
            MountSource::File { contents: contents.into(), mode: 0o644, uid: 0, gid: 0 },
            Access::ReadOnly,
        )
    }
}

/// What is mounted.
#[derive(Debug)]
pub enum MountSource {
    /// A file or directory of the caller's mount namespace, with all that is mounted beneath.
    Path(PathBuf),
    /// The same by a descriptor, which may be one of `O_PATH`.
    Fd(OwnedFd),
    /// A mount that is attached nowhere, as fsmount(2), open_tree(2) and [`Overlay::mount`] make them.
    Detached(OwnedFd),
    /// A mount of layers. With an upper directory in memory, it can be written to and what is written vanishes.
    Overlay(Overlay),
    /// An empty directory in memory. Programs in it can be run, but set-user-ID bits have no effect.
    Tmpfs {
        /// The most that it holds; `None` is the kernel's default, half of the machine's memory.
        size_bytes: Option<u64>,
        /// The permission bits of the directory.
        mode: u32,
    },
    /// A file in memory, for what must be on no disk.
    File {
        /// What is in it.
        contents: Vec<u8>,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// Who a process is, by numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
}

/// How far a process is confined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// What root may do inside; those that the caller itself lacks are left out. Users other than root have none of them, but can get them through
    /// set-user-ID programs.
    pub capabilities: Capabilities,
    /// Which system calls there are.
    pub seccomp: Seccomp,
    /// What of `/proc`, `/sys` and devices there is.
    pub system_paths: SystemPaths,
    /// Whether set-user-ID programs and file capabilities have no effect.
    pub no_new_privileges: bool,
}

impl Default for Security {
    /// Returns what Docker and BuildKit give.
    fn default() -> Self {
        Self {
            capabilities: Capabilities::DOCKER,
            seccomp: Seccomp::Docker,
            system_paths: SystemPaths::Masked,
            no_new_privileges: false,
        }
    }
}

impl Security {
    /// Returns what `--privileged` and `--security=insecure` give: everything that the caller may do.
    pub fn insecure() -> Self {
        Self {
            capabilities: Capabilities::ALL,
            seccomp: Seccomp::Unconfined,
            system_paths: SystemPaths::Open,
            no_new_privileges: false,
        }
    }
}

/// Which system calls there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seccomp {
    /// Those of Docker's list for the capabilities in question.
    Docker,
    /// All.
    Unconfined,
}

/// What of the kernel's own files and of devices there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemPaths {
    /// Files that tell about the host or change it are masked or read-only, and of all devices only those can be opened that Docker lets every container
    /// open, whoever made the node.
    ///
    /// A control group sees to that. Where none can be made, as in a container that may not, every mount is `nodev` instead: then only the nodes of
    /// `/dev` itself can be opened.
    Masked,
    /// All of it, with `/sys` writable.
    Open,
}

/// Which network a process sees.
#[derive(Debug)]
pub enum Network {
    /// The caller's own.
    Host,
    /// That of a network namespace.
    Namespace(OwnedFd),
    /// Only a loopback interface.
    None,
}

/// Where input comes from and output goes.
#[derive(Debug)]
pub enum Stdio {
    /// Three streams.
    Streams {
        /// What is read.
        stdin: Stream,
        /// What is written.
        stdout: Stream,
        /// What is written about errors.
        stderr: Stream,
    },
    /// A terminal of this size, which is the process' controlling one; [`crate::Running::terminal`] is its other end.
    Terminal(WindowSize),
}

/// One stream.
#[derive(Debug)]
pub enum Stream {
    /// The sandbox's own `/dev/null`.
    Null,
    /// A pipe; [`crate::Running`] has its other end.
    Pipe,
    /// A descriptor of the caller's.
    Fd(OwnedFd),
}

/// A limit of setrlimit(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// What is limited.
    pub resource: Resource,
    /// The limit that applies; `None` is unlimited.
    pub soft: Option<u64>,
    /// The limit up to which the process may raise the soft one; `None` is unlimited.
    pub hard: Option<u64>,
}

/// Something that setrlimit(2) limits, by the names that Docker gives it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Resource(pub(crate) rustix::process::Resource);

/// A name that is none of a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid ulimit type: `{name}` (expected one of {})", resource_names())]
pub struct ResourceParseError {
    /// What was to be parsed.
    pub name: String,
}

const RESOURCES: &[(&str, rustix::process::Resource)] = {
    use rustix::process::Resource as R;
    &[
        ("as", R::As),
        ("core", R::Core),
        ("cpu", R::Cpu),
        ("data", R::Data),
        ("fsize", R::Fsize),
        ("locks", R::Locks),
        ("memlock", R::Memlock),
        ("msgqueue", R::Msgqueue),
        ("nice", R::Nice),
        ("nofile", R::Nofile),
        ("nproc", R::Nproc),
        ("rss", R::Rss),
        ("rtprio", R::Rtprio),
        ("rttime", R::Rttime),
        ("sigpending", R::Sigpending),
        ("stack", R::Stack),
    ]
};

fn resource_names() -> String {
    RESOURCES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

impl FromStr for Resource {
    type Err = ResourceParseError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = RESOURCES.iter().find(|(known, _)| *known == name);
        found.map(|(_, resource)| Self(*resource)).ok_or_else(|| ResourceParseError { name: name.to_owned() })
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = RESOURCES.iter().find(|(_, resource)| *resource == self.0);
        f.write_str(found.map_or("rlimit", |(name, _)| name))
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &str) {
        let parsed = name.parse::<Resource>();
        assert_eq!(parsed.map(|it| it.to_string()).unwrap_or_else(|err| err.to_string()), expected);
    }

    #[test]
    fn resources_have_the_names_that_docker_gives_them() {
        check("nofile", "nofile");
        check("as", "as");
        check(
            "files",
            "invalid ulimit type: `files` (expected one of as, core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, nproc, rss, rtprio, \
             rttime, sigpending, stack)",
        );
    }
}
