//! New processes that share this one's memory until they run a program of their own.
//!
//! A process with a large heap takes tens of milliseconds to copy; one that shares memory takes none of it. The price: the new process runs on memory
//! that this one uses, so what it may do is narrow, and `unsafe` promises it.
#![expect(unsafe_code, reason = "clone(2)")]

use std::arch::asm;
use std::ffi::{c_int, c_void};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
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

    fn bottom(&self) -> *mut c_void {
        // SAFETY: what lies below is within the mapping.
        unsafe { self.base.byte_add(GUARD_BYTES) }
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

/// Does as [`clone`] with `CLONE_VFORK` and `CLONE_PARENT`, and the new process is in a control group of version 2 from the beginning.
///
/// One that joins it afterwards waits until no process of the machine is forking, which takes the kernel 5 to 25 ms.
///
/// # Safety
///
/// As [`clone`].
pub(crate) unsafe fn clone_into<F: Fn() -> c_int>(
    group: BorrowedFd<'_>,
    flags: c_int,
    stack: &Stack,
    pidfd: &PidfdCell,
    body: &F,
) -> Result<(), Errno> {
    extern "C" fn enter<F: Fn() -> c_int>(body: *const c_void) -> c_int {
        // SAFETY: below, a reference to an `F` is passed, which lives as long as the caller promises.
        let body = unsafe { &*body.cast::<F>() };
        body()
    }
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let flags = flags | libc::CLONE_VM | libc::CLONE_PIDFD | libc::CLONE_VFORK | libc::CLONE_PARENT;
    // The signal of its end, which older calls have among the flags, is that of the calling process.
    let flags = u64::from((flags & !libc::SIGCHLD).cast_unsigned()) | INTO_CGROUP;
    let arguments = CloneArguments {
        flags,
        pidfd: pidfd.0.as_ptr() as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: 0,
        stack: stack.bottom() as u64,
        stack_bytes: STACK_BYTES as u64,
        tls: 0,
        set_tid: 0,
        set_tid_count: 0,
        group: u64::from(group.as_raw_fd().cast_unsigned()),
    };
    // SAFETY: the structure is the kernel's and lives for the call, the stack is mapped and large enough, the place for the descriptor may be written to through
    // a shared reference, the function fits its argument, and the rest is the caller's promise.
    let result = unsafe { clone3(&arguments, enter::<F>, ptr::from_ref(body).cast()) };
    match c_int::try_from(-result).ok().filter(|number| *number > 0) {
        Some(number) => {
            pidfd.0.store(PidfdCell::EMPTY, Ordering::Release);
            Err(Errno::from_raw_os_error(number))
        }
        None => Ok(()),
    }
}

/// The kernel's `struct clone_args`.
#[repr(C)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_bytes: u64,
    tls: u64,
    set_tid: u64,
    set_tid_count: u64,
    group: u64,
}

/// Calls clone3(2), and `body` with its argument in the new process, which ends with what that returns.
///
/// WHY: the new process comes back from the call on a stack that has no frames, so what it does then cannot be Rust; and the C library has no function for it.
///
/// # Safety
///
/// The stack that the arguments name must be the new process' alone; the rest is as with [`clone`].
#[cfg(target_arch = "x86_64")]
unsafe fn clone3(
    arguments: &CloneArguments,
    body: extern "C" fn(*const c_void) -> c_int,
    argument: *const c_void,
) -> i64 {
    let result: i64;
    // SAFETY: in this process, only registers change that are said to; the new one never comes to what is behind.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "mov edi, eax",
            "mov eax, {exit}",
            "syscall",
            "ud2",
            "2:",
            exit = const libc::SYS_exit,
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") ptr::from_ref(arguments),
            in("rsi") size_of::<CloneArguments>(),
            in("r12") body,
            in("r13") argument,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// The same on other machines.
#[cfg(target_arch = "aarch64")]
unsafe fn clone3(
    arguments: &CloneArguments,
    body: extern "C" fn(*const c_void) -> c_int,
    argument: *const c_void,
) -> i64 {
    let result: i64;
    // SAFETY: as above.
    unsafe {
        asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x10",
            "blr x9",
            "mov x8, {exit}",
            "svc 0",
            "brk 1",
            "2:",
            exit = const libc::SYS_exit,
            inlateout("x0") ptr::from_ref(arguments) => result,
            in("x1") size_of::<CloneArguments>(),
            in("x8") libc::SYS_clone3,
            in("x9") body,
            in("x10") argument,
        );
    }
    result
}

/// There, processes join groups.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn clone3(_: &CloneArguments, _: extern "C" fn(*const c_void) -> c_int, _: *const c_void) -> i64 {
    -i64::from(libc::ENOSYS)
}
