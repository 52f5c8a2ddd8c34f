//! Makes sure that no sandbox outlives this process, however it ends.
//!
//! A parent-death signal does not do: the kernel forgets it as soon as the process changes its user or runs a set-user-ID program, as the entry points of
//! many images do. Instead, the process namespace of every sandbox lies within another one, whose first process is Kiln's own and waits for the end of a
//! pipe of which only this process has the other end. When it ends, the kernel kills all that is in its namespace, the sandboxes' namespaces included.
//!
//! The process shares this one's memory, runs a dozen instructions and never runs any code of a sandbox; nor can a sandbox see it.
//!
//! **Invariant:** nothing in the sandboxes has to cooperate, and nothing in them can prevent it.
#![expect(unsafe_code, reason = "runs a process that shares this one's memory")]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::clone::{PidfdCell, Stack, clone, clone_into};
use crate::syscall::{self, SignalsBlocked};

/// A process namespace that ends with this value and with this process.
#[derive(Debug)]
pub(crate) struct Nest {
    keeper: OwnedFd,
    /// The end of the pipe whose closing ends the namespace; in an `Option` so that it can be closed before the rest.
    life: Option<OwnedFd>,
    /// What the keeper runs on; in an `Option` so that it can be given away.
    stack: Option<Stack>,
    /// One of the states below.
    state: AtomicU8,
}

/// Sandboxes can be started, as far as is known.
const USABLE: u8 = 0;
/// No more sandboxes can be started: somebody has killed the keeper.
const UNUSABLE: u8 = 1;
/// And something may be left in the namespace that nobody knows of.
const HAUNTED: u8 = 2;

impl Nest {
    pub(crate) fn new() -> io::Result<Self> {
        let (life_read, life) = pipe_with(PipeFlags::CLOEXEC)?;
        let (ready_read, ready) = pipe_with(PipeFlags::CLOEXEC)?;
        let (life_number, ready_number) = (life_read.as_raw_fd(), ready.as_raw_fd());
        let (stack, pidfd) = (Stack::new()?, PidfdCell::new());
        let keep = move || keep(life_number, ready_number);
        // All signals stay blocked in the keeper, so that no handler of this program ever runs there.
        let signals = SignalsBlocked::new();
        // SAFETY: the stack is dropped after the keeper was waited for, and `keep` keeps to what is asked of it. It uses nothing of this function after its
        // byte has arrived, and before that, this function is left only through the drop of the value, which waits for the end of the keeper.
        unsafe { clone(libc::CLONE_NEWPID, &stack, &pidfd, &keep) }?;
        drop(signals);
        drop(ready);
        let keeper = pidfd.take().ok_or(Errno::BADF)?;
        let nest = Self { keeper, life: Some(life), stack: Some(stack), state: AtomicU8::new(USABLE) };
        // From then on, the keeper holds nothing of this process' but the pipe. If it ends without a byte, it has died, and using it will say so.
        rustix::io::retry_on_intr(|| rustix::io::read(&ready_read, &mut [0; 1]))?;
        Ok(nest)
    }

    /// Starts a process in a process namespace of its own, inside this one, and returns its descriptor when it has ended or runs a program of its own. It is
    /// a child of the calling process.
    ///
    /// The kernel lets only those make a namespace inside this one who are in it. So there is a process in between, which does that and ends.
    ///
    /// It is born in `group` where there is one and the kernel can do that; `body` is told.
    ///
    /// # Safety
    ///
    /// `body` must keep to what [`clone`] asks of it. It is dropped when the process is done with it.
    pub(crate) unsafe fn spawn<F>(
        &self,
        flags: c_int,
        group: Option<BorrowedFd<'_>>,
        body: F,
    ) -> Result<OwnedFd, SpawnError>
    where
        F: Fn(Birth) -> c_int + Send + 'static,
    {
        let is_in_group = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_in_group);
        let body = Box::new(move || body(if told.load(Ordering::Acquire) { Birth::InGroup } else { Birth::Outside }));
        let (between_stack, stack) = (Stack::new()?, Stack::new()?);
        let (between_pidfd, pidfd, failure) = (PidfdCell::new(), PidfdCell::new(), AtomicI32::new(0));
        let flags = flags | libc::CLONE_NEWPID | libc::CLONE_VFORK | libc::CLONE_PARENT | libc::SIGCHLD;
        let between = || {
            if let Some(group) = group {
                is_in_group.store(true, Ordering::Release);
                // SAFETY: the caller's promise; the stack and `body` are freed only when the process has let go of them.
                let born = unsafe { clone_into(group, flags, &stack, &pidfd, &*body) };
                if born.is_ok() {
                    return 0;
                }
                is_in_group.store(false, Ordering::Release);
            }
            // Where that is not possible it joins the group, and if that is not possible either, that is what is said.
            // SAFETY: as above.
            if let Err(err) = unsafe { clone(flags, &stack, &pidfd, &*body) } {
                failure.store(err.raw_os_error(), Ordering::Release);
            }
            0
        };
        // With the table of descriptors shared, the descriptor that the process in between gets is this process'.
        let between_flags = libc::CLONE_FILES | libc::CLONE_VFORK | libc::SIGCHLD;
        let own = pidfd_open(getpid(), PidfdFlags::empty())?;
        // A handler of this program that ran in a new process would change the memory of this one.
        let signals = SignalsBlocked::new();
        // The namespace counts for this thread's next children only, and is left again at once: otherwise the thread could not start other threads.
        enter(self.keeper.as_fd()).inspect_err(|_| self.become_at_least(UNUSABLE))?;
        // SAFETY: this returns when the process in between has ended.
        let cloned = unsafe { clone(between_flags, &between_stack, &between_pidfd, &between) };
        let left = enter(own.as_fd());
        drop(signals);
        cloned.inspect_err(|_| self.become_at_least(UNUSABLE))?;
        let ended = syscall::wait_for(between_pidfd.take().ok_or(Errno::BADF)?)?;
        if ended.reason != libc::CLD_EXITED {
            // Somebody has killed the process in between, most likely together with the namespace. If it had started the other one, that may still be using
            // what it was given, and there is no telling: so this is given away for good.
            std::mem::forget((stack, body));
            self.become_at_least(HAUNTED);
            return Err(Errno::CANCELED.into());
        }
        match (pidfd.take(), left) {
            (Some(spawned), Ok(())) => Ok(spawned),
            (Some(spawned), Err(err)) => {
                // This thread can start no others any more, so what it has started is of no use to anybody.
                let _ = syscall::send_signal(&spawned, libc::SIGKILL);
                let _ = syscall::wait_for(&spawned);
                Err(err.into())
            }
            (None, _) => Err(SpawnError::Clone(io::Error::from_raw_os_error(failure.into_inner()))),
        }
    }

    /// Returns whether sandboxes can be started. If somebody has killed the keeper, and so all of them, they cannot.
    pub(crate) fn is_alive(&self) -> bool {
        const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        if self.state.load(Ordering::Relaxed) != USABLE {
            return false;
        }
        let mut ended = [PollFd::new(&self.keeper, PollFlags::IN)];
        matches!(poll(&mut ended, Some(&AT_ONCE)), Ok(0))
    }

    fn become_at_least(&self, state: u8) {
        self.state.fetch_max(state, Ordering::Relaxed);
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        drop(self.life.take());
        if *self.state.get_mut() == HAUNTED {
            // Before what nobody knows of has been waited for, the keeper does not end, and so not before this process does. Until then, its stack stays.
            std::mem::forget(self.stack.take());
            return;
        }
        // The stack must not go before it is unused. That a child of ours cannot be waited for is possible only when somebody else has done it.
        let _ = syscall::wait_for(&self.keeper);
    }
}

/// Where a process began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Birth {
    /// In the control group that it is to be in.
    InGroup,
    /// In that of this process.
    Outside,
}

/// Why there is no process.
pub(crate) enum SpawnError {
    /// The namespace cannot be used.
    Nest(io::Error),
    /// The process or its own namespaces cannot be made.
    Clone(io::Error),
}

impl<E: Into<io::Error>> From<E> for SpawnError {
    fn from(source: E) -> Self {
        Self::Nest(source.into())
    }
}

fn enter(process: BorrowedFd<'_>) -> rustix::io::Result<()> {
    move_into_thread_name_spaces(process, ThreadNameSpaceType::PROCESS_ID)
}

/// What the keeper does: lets go of everything, says so, and waits for the end of the pipe.
fn keep(life: RawFd, ready: RawFd) -> c_int {
    // SAFETY: the keeper's table of descriptors is its own, and all that it uses are the two that are left out.
    let closed = unsafe { close_all_but(life.min(ready), life.max(ready)) };
    // SAFETY: both are open: they are the two that were left out, and this process is the only one that can close them.
    let (life, ready) = unsafe { (BorrowedFd::borrow_raw(life), BorrowedFd::borrow_raw(ready)) };
    // A session of its own: what a terminal sends to the program is not for it. Its current directory is nobody's concern.
    let set_up = closed.and_then(|()| rustix::process::setsid()).and_then(|_| rustix::process::chdir(c"/"));
    let _ = rustix::thread::set_name(c"kiln-nest");
    if set_up.is_err() || rustix::io::write(ready, b".").is_err() {
        return 1;
    }
    // From here on, the thread that started this process runs beside it; rustix calls the kernel without touching thread-local memory.
    while matches!(rustix::io::read(life, &mut [0; 1]), Err(Errno::INTR)) {}
    0
}

/// Closes all descriptors but two.
///
/// # Safety
///
/// As [`syscall::close_range`].
unsafe fn close_all_but(first: RawFd, second: RawFd) -> Result<(), Errno> {
    for (from, to) in [(0, first - 1), (first + 1, second - 1), (second + 1, RawFd::MAX)] {
        // SAFETY: the caller's promise.
        unsafe { syscall::close_range(from, to)? };
    }
    Ok(())
}
