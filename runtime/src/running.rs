//! A sandbox that runs, and how it ended.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::cgroup::Group;
use crate::later::{Later, Ticket};
use crate::nest::Nest;
use crate::plan::Ends;
use crate::syscall::{self, Ended};

/// What a shell adds to a signal's number to make an exit code of it.
const SIGNAL_EXIT_BASE: i32 = 128;

/// A sandbox that runs. Dropped, it is killed, with all of its processes, and waited for.
///
/// The descriptor of [`AsFd`] is that of its first process, and becomes readable when that has ended: it is for an asynchronous wait, after which
/// [`Running::wait`] returns at once.
#[derive(Debug)]
pub struct Running {
    /// Where to write what the process reads, when it was asked for.
    pub stdin: Option<OwnedFd>,
    /// Where to read what the process writes, when it was asked for.
    pub stdout: Option<OwnedFd>,
    /// Where to read what the process writes about errors, when it was asked for.
    pub stderr: Option<OwnedFd>,
    /// The other end of the process' terminal, when it was asked for. Reading fails with EIO once nobody has the terminal open any more.
    pub terminal: Option<OwnedFd>,
    process: Process,
    // After the process, which has to have ended before the group can be removed.
    group: Option<Arc<Group>>,
    /// Keeps what is mounted in the sandbox, where the kernel gives out such a descriptor (Linux 6.11): otherwise the end of the process takes as long as
    /// unmounting does.
    mounts: Option<OwnedFd>,
    remains: Arc<Remains>,
    /// How much memory this process had when it started the sandbox, which the kernel counts for the sandbox too.
    memory_floor_bytes: u64,
}

/// The first process of a sandbox. The kernel kills the others when it ends, and it has not ended before they have.
#[derive(Debug)]
struct Process {
    pidfd: OwnedFd,
    reaped: bool,
    // Holds the namespace that the process lives in.
    _nest: Arc<Nest>,
}

/// How a sandbox ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// How its first process ended.
    pub status: Status,
    /// What it and all of its descendants used.
    pub usage: Usage,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// By itself, with this code.
    Code(i32),
    /// By the signal of this number.
    Signal(i32),
}

impl Status {
    /// Returns the exit code as a shell gives it: 128 and the signal's number, if it was a signal.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => SIGNAL_EXIT_BASE + signal,
        }
    }

    /// Returns whether all went well.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

/// What processes used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Time that programs took.
    pub cpu_user: Duration,
    /// Time that the kernel took for them.
    pub cpu_system: Duration,
    /// The most memory that all processes had together, where memory was limited; else the most that any one of them had. `None` where that is not known, because it was less than what Kiln itself has: up to the start of its
    /// program, a process has the memory of the one that starts it.
    pub memory_peak_bytes: Option<u64>,
    /// How many of them the kernel has killed because the limit of memory was reached.
    pub memory_kills: u64,
}

impl Running {
    pub(crate) fn new(
        pidfd: OwnedFd,
        nest: Arc<Nest>,
        group: Option<Arc<Group>>,
        ends: Ends,
        remains: Arc<Remains>,
    ) -> Self {
        let Ends { stdin, stdout, stderr, terminal } = ends;
        let mounts = syscall::mount_namespace(&pidfd).ok();
        let process = Process { pidfd, reaped: false, _nest: nest };
        let memory_floor_bytes = syscall::own_memory_peak_bytes();
        Self { stdin, stdout, stderr, terminal, process, group, mounts, remains, memory_floor_bytes }
    }

    /// Reads the number that the first process has for the caller; inside, it is 1.
    pub fn pid(&self) -> io::Result<u32> {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.as_fd().as_raw_fd()))?;
        let number = info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
        number.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Sends a signal, by its number, to the first process. As the first of its namespace, it gets only those that it has a handler for, and SIGKILL and
    /// SIGSTOP. That it has ended already is no error.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        self.process.signal(number)
    }

    /// Kills all processes of the sandbox, at once.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(libc::SIGKILL)
    }

    /// Waits until the sandbox has ended. Then none of its processes is left, and nothing is mounted any more.
    ///
    /// The call blocks. The streams that were not taken out before are closed first, so that nobody waits for somebody to read them.
    pub fn wait(mut self) -> io::Result<Exit> {
        drop(self.mounts.take());
        let remains = Arc::clone(&self.remains);
        let exit = self.wait_for_processes();
        remains.wait_for_mounts();
        exit
    }

    /// Waits until none of the sandbox's processes is left. What was mounted may stay so for a moment, though not longer than until the next
    /// [`crate::Launcher::create`] or the drop of the launcher.
    pub fn wait_for_processes(mut self) -> io::Result<Exit> {
        drop((self.stdin.take(), self.stdout.take(), self.stderr.take(), self.terminal.take()));
        let ended = self.process.wait();
        if let Some(mounts) = self.mounts.take() {
            self.remains.add(mounts);
        }
        let Ended { reason, status, usage } = ended?;
        let status = if reason == libc::CLD_EXITED { Status::Code(status) } else { Status::Signal(status) };
        let group = self.group.as_deref();
        let peak = u64::try_from(usage.ru_maxrss).unwrap_or_default() * 1024;
        let usage = Usage {
            cpu_user: to_duration(usage.ru_utime),
            cpu_system: to_duration(usage.ru_stime),
            memory_peak_bytes: group
                .and_then(Group::memory_peak_bytes)
                .or_else(|| Some(peak).filter(|peak| *peak > self.memory_floor_bytes)),
            memory_kills: group.map(Group::memory_kills).unwrap_or_default(),
        };
        Ok(Exit { status, usage })
    }
}

/// What is left of starting sandboxes and of those that have ended, for a moment.
#[derive(Debug)]
pub(crate) struct Remains {
    later: Later,
    /// Stands for the last mounts of which something was left.
    last: Mutex<Ticket>,
}

impl Remains {
    pub(crate) fn new() -> Self {
        Self { later: Later::new(), last: Mutex::default() }
    }

    pub(crate) fn later(&self) -> &Later {
        &self.later
    }

    /// Lets go of mounts, soon.
    pub(crate) fn add(&self, mounts: impl Send + 'static) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = self.later.release_first(mounts).max(*last);
    }

    /// Waits until nothing is mounted any more in sandboxes that have ended.
    pub(crate) fn wait_for_mounts(&self) {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        self.later.wait(last);
    }
}

impl AsFd for Running {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.pidfd.as_fd()
    }
}

impl Process {
    fn signal(&self, number: i32) -> io::Result<()> {
        match syscall::send_signal(&self.pidfd, number) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(err) => Err(err.into()),
        }
    }

    fn wait(&mut self) -> io::Result<Ended> {
        let ended = syscall::wait_for(&self.pidfd)?;
        self.reaped = true;
        Ok(ended)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            // Neither can fail for a child that was not waited for: it exists, and it is ours.
            let _ = self.signal(libc::SIGKILL);
            let _ = self.wait();
        }
    }
}

fn to_duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or_default())
}
