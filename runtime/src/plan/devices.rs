//! `/dev`: a directory in memory with the six devices that every container has, and its terminals. Who is not confined has a few more.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, chmodat, makedev, mknodat, openat, symlinkat};
use rustix::mount::MountAttrFlags;

use crate::error::CreateError;
use crate::memory;
use crate::spec::SystemPaths;

/// The devices, with their numbers: those that Docker lets every container open.
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
/// What BuildKit adds for who is not confined: for the log, for file systems and disks made of files, for virtual machines and networks.
const OPEN_NODES: [(&str, u32, u32); 6] = [
    ("kmsg", 1, 11),
    ("cuse", 10, 203),
    ("fuse", 10, 229),
    ("kvm", 10, 232),
    ("net/tun", 10, 200),
    ("loop-control", 10, 237),
];
const LOOP_MAJOR: u32 = 7;
/// How many disks made of files there are nodes for beyond those that the machine has.
const LOOPS_FREE: usize = 10;
const BLOCK_DEVICES: &str = "/sys/block";
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];
/// The size that runc gives it. It holds no more than what somebody puts there by mistake.
const SIZE_BYTES: u64 = 64 << 20;
/// The group of terminals, in every distribution.
const TTY_GROUP: &str = "5";

/// `/dev`, mounted nowhere yet.
pub(super) struct Devices {
    pub(super) mount: OwnedFd,
    /// The devices in it, `null` first.
    pub(super) nodes: Vec<OwnedFd>,
}

/// Makes `/dev`.
pub(super) fn make(paths: SystemPaths) -> Result<Devices, CreateError> {
    let failed = |name: &'static str| move |source: io::Error| CreateError::Device { name, source };
    let mount =
        memory::tmpfs_with(Some(SIZE_BYTES), 0o755, MountAttrFlags::MOUNT_ATTR_NOSUID).map_err(failed("/dev"))?;
    let mut nodes = Vec::new();
    for (name, major, minor) in NODES {
        let made = make_node(&mount, name, FileType::CharacterDevice, makedev(major, minor));
        nodes.push(made.map_err(failed(name))?);
    }
    if paths == SystemPaths::Open {
        add_open_nodes(&mount)?;
    }
    for (name, target) in LINKS {
        symlinkat(target, &mount, name).map_err(|err| failed(name)(err.into()))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        memory::make_dir(&mount, name, 0o755).map_err(failed(name))?;
    }
    Ok(Devices { mount, nodes })
}

fn add_open_nodes(dev: &OwnedFd) -> Result<(), CreateError> {
    let failed = |name: &'static str| move |source: io::Error| CreateError::Device { name, source };
    memory::make_dir(dev, "net", 0o755).map_err(failed("net"))?;
    for (name, major, minor) in OPEN_NODES {
        make_node(dev, name, FileType::CharacterDevice, makedev(major, minor)).map_err(failed(name))?;
    }
    let is_loop = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("loop");
    let loops = fs::read_dir(BLOCK_DEVICES).map_or(0, |dir| dir.flatten().filter(is_loop).count());
    for number in 0..loops + LOOPS_FREE {
        let device = makedev(LOOP_MAJOR, number as u32);
        make_node(dev, &format!("loop{number}"), FileType::BlockDevice, device).map_err(failed("loop"))?;
    }
    Ok(())
}

fn make_node(dir: &OwnedFd, name: &str, kind: FileType, device: u64) -> io::Result<OwnedFd> {
    let mode = Mode::from_raw_mode(0o666);
    mknodat(dir, name, kind, mode, device)?;
    // The process' umask has had its way with the mode.
    chmodat(dir, name, mode, AtFlags::empty())?;
    Ok(openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

impl Devices {
    /// Returns a descriptor of the node `null` that nothing can be read from or written to: for mounting.
    pub(super) fn null(&self) -> Result<OwnedFd, CreateError> {
        let null = self.nodes.first().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        null.and_then(OwnedFd::try_clone).map_err(|source| CreateError::Device { name: "null", source })
    }

    /// Opens `null`, to read nothing and to write nowhere.
    pub(super) fn open_null(&self) -> Result<OwnedFd, CreateError> {
        openat(&self.mount, "null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|err| CreateError::Device { name: "null", source: err.into() })
    }
}

/// Returns whether Docker lets a container open a device with this number without being asked.
pub(super) fn is_common(device: u64) -> bool {
    NODES.iter().any(|(_, major, minor)| makedev(*major, *minor) == device)
}

/// Makes `/dev/shm`.
pub(super) fn make_shared_memory(size_bytes: u64) -> Result<OwnedFd, CreateError> {
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    memory::tmpfs_with(Some(size_bytes), 0o1777, attributes)
        .map_err(|source| CreateError::Device { name: "/dev/shm", source })
}

/// Makes the file system of the sandbox's own terminals.
pub(super) fn make_terminals() -> Result<OwnedFd, CreateError> {
    let options = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", TTY_GROUP)];
    let options = options.map(|(key, value)| (key, value.to_owned()));
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    memory::file_system(c"devpts", &options, attributes)
        .map_err(|source| CreateError::Device { name: "/dev/pts", source })
}
