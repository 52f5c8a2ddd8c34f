//! New processes that share this one's memory until they run a program of their own.
//!
//! A process with a large heap takes tens of milliseconds to copy; one that shares memory takes none of it. The price: the new process runs on memory
//! that this one uses, so what it may do is narrow, and `unsafe` promises it.
#![expect(unsafe_code, reason = "clone(2)")]

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use crate::syscall::last_errno;

/// Enough for calls that are a few levels deep, without optimisation too.
const STACK_BYTES: usize = 128 << 10;
/// What lies below the stack and is never mapped: at least a page, on kernels with pages of 64 KiB too.
const GUARD_BYTES: usize = 64 << 10;

/// Memory for the stack of a new process; running over its end is a fault and not damage.
#[derive(Debug)]
pub(crate) struct Stack {
    base: *mut c_void,
}

// SAFETY: the mapping belongs to nobody else.
unsafe impl Send for Stack {}
// SAFETY: nothing is done with a shared stack.
unsafe impl Sync for Stack {}

impl Stack {
    const LENGTH: usize = STACK_BYTES + GUARD_BYTES;

    pub(crate) fn new() -> io::Result<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::STACK | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address that the kernel chooses takes the place of none.
        let base = unsafe { mmap_anonymous(ptr::null_mut(), Self::LENGTH, ProtFlags::empty(), flags)? };
        let stack = Self { base };
        // SAFETY: the range lies within the mapping, which nobody uses yet.
        unsafe { mprotect(base.byte_add(GUARD_BYTES), STACK_BYTES, MprotectFlags::READ | MprotectFlags::WRITE)? };
        Ok(stack)
    }

    fn top(&self) -> *mut c_void {
        // SAFETY: the end of the mapping, which the pointer may be at. The length is a multiple of 16, as the stack's alignment has to be.
        unsafe { self.base.byte_add(Self::LENGTH) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's, and whoever ran on it has ended: the promise of who called `clone`.
        let _ = unsafe { munmap(self.base, Self::LENGTH) };
    }
}

/// A place for the descriptor of a new process. The kernel itself writes to it, before the process runs.
#[derive(Debug)]
pub(crate) struct PidfdCell(AtomicI32);

impl PidfdCell {
    const EMPTY: c_int = -1;

    pub(crate) const fn new() -> Self {
        Self(AtomicI32::new(Self::EMPTY))
    }

    /// Takes the descriptor out, if there is one.
    pub(crate) fn take(&self) -> Option<OwnedFd> {
        let pidfd = self.0.swap(Self::EMPTY, Ordering::AcqRel);
        // SAFETY: the kernel has given out this descriptor for this place, and nobody else takes it from there.
        (pidfd != Self::EMPTY).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) })
    }
}

/// Starts a process that runs `body` on `stack`, and returns at once, or with `CLONE_VFORK` when the process has ended or runs a program of its own. What
/// `body` returns is its exit code.
///
/// # Safety
///
/// `stack`, `body` and what it refers to must live until the process has ended or runs a program of its own. `body` must not allocate, lock, panic or
/// unwind, nor end threads; and while it runs beside the calling thread (without `CLONE_VFORK`), it must not use thread-local memory, `errno` included,
/// since it has that of the calling thread.
pub(crate) unsafe fn clone<F: Fn() -> c_int>(
    flags: c_int,
    stack: &Stack,
    pidfd: &PidfdCell,
    body: &F,
) -> Result<(), Errno> {
    extern "C" fn enter<F: Fn() -> c_int>(body: *mut c_void) -> c_int {
        // SAFETY: `clone` below passes a reference to an `F`, which lives as long as its caller promises.
        let body = unsafe { &*body.cast::<F>() };
        body()
    }
    let flags = flags | libc::CLONE_VM | libc::CLONE_PIDFD;
    let body = ptr::from_ref(body).cast_mut().cast::<c_void>();
    // SAFETY: the stack is mapped and large enough, the function fits its argument, the place for the descriptor may be written to through a shared reference
    // and lives for the call, and the rest is the caller's promise.
    let pid = unsafe { libc::clone(enter::<F>, stack.top(), flags, body, pidfd.0.as_ptr()) };
    if pid == -1 {
        // What the kernel wrote there before it failed is no descriptor any more.
        pidfd.0.store(PidfdCell::EMPTY, Ordering::Release);
        return Err(last_errno());
    }
    Ok(())
}
