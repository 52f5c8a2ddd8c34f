//! How the new process says what failed: by memory that it shares with the process that waits for it.

use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};

use rustix::io::Errno;

/// The kernel calls that can fail, in the order in which they come. Where there are several of one kind, an index tells which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Step {
    JoinGroup = 1,
    GroupNamespace,
    Keyring,
    JoinNetwork,
    Loopback,
    PrivateMounts,
    AttachRoot,
    EnterRoot,
    PivotRoot,
    DetachHost,
    CreatePoint,
    OpenPoint,
    MountFileSystem,
    ClonePart,
    Attach,
    Device,
    Mask,
    ReadOnlyPath,
    SealDevices,
    SealRoot,
    HostName,
    Session,
    Streams,
    Terminal,
    Descriptors,
    WorkingDirectory,
    Rlimit,
    NoNewPrivileges,
    BoundingSet,
    Filter,
    Groups,
    Group,
    User,
    Capabilities,
    FindProgram,
    Execute,
}

impl Step {
    const ALL: [Self; 36] = [
        Self::JoinGroup,
        Self::GroupNamespace,
        Self::Keyring,
        Self::JoinNetwork,
        Self::Loopback,
        Self::PrivateMounts,
        Self::AttachRoot,
        Self::EnterRoot,
        Self::PivotRoot,
        Self::DetachHost,
        Self::CreatePoint,
        Self::OpenPoint,
        Self::MountFileSystem,
        Self::ClonePart,
        Self::Attach,
        Self::Device,
        Self::Mask,
        Self::ReadOnlyPath,
        Self::SealDevices,
        Self::SealRoot,
        Self::HostName,
        Self::Session,
        Self::Streams,
        Self::Terminal,
        Self::Descriptors,
        Self::WorkingDirectory,
        Self::Rlimit,
        Self::NoNewPrivileges,
        Self::BoundingSet,
        Self::Filter,
        Self::Groups,
        Self::Group,
        Self::User,
        Self::Capabilities,
        Self::FindProgram,
        Self::Execute,
    ];
}

/// A kernel call that failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) index: usize,
    pub(crate) errno: Errno,
}

pub(super) type Result<T> = std::result::Result<T, Failure>;

/// Says which step a call belongs to.
pub(super) trait During<T> {
    fn during(self, step: Step) -> Result<T>;
    fn during_each(self, step: Step, index: usize) -> Result<T>;
}

impl<T> During<T> for rustix::io::Result<T> {
    fn during(self, step: Step) -> Result<T> {
        self.during_each(step, 0)
    }

    fn during_each(self, step: Step, index: usize) -> Result<T> {
        self.map_err(|errno| Failure { step, index, errno })
    }
}

/// The memory that a failure is written to; empty means that the program runs.
#[derive(Debug, Default)]
pub(crate) struct Report {
    step: AtomicU32,
    index: AtomicUsize,
    errno: AtomicI32,
}

impl Report {
    pub(super) fn set(&self, failure: Failure) {
        self.index.store(failure.index, Ordering::Relaxed);
        self.errno.store(failure.errno.raw_os_error(), Ordering::Relaxed);
        self.step.store(failure.step as u32, Ordering::Release);
    }

    pub(crate) fn failure(&self) -> Option<Failure> {
        let number = self.step.load(Ordering::Acquire);
        let step = Step::ALL.into_iter().find(|step| *step as u32 == number)?;
        let errno = Errno::from_raw_os_error(self.errno.load(Ordering::Relaxed));
        Some(Failure { step, index: self.index.load(Ordering::Relaxed), errno })
    }
}
