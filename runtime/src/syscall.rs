//! System calls that no library has a safe function for, each behind one that is.
//!
//! **Invariant:** nothing here allocates, locks or panics, so that all of it may run in a process that shares its memory with this one.
#![expect(unsafe_code, reason = "system calls that rustix does not have")]

use std::ffi::{CStr, CString, c_char, c_long};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::thread::UnshareFlags;

type Result<T> = std::result::Result<T, Errno>;

/// Highest signal number.
const SIGNAL_MAX: i32 = 64;
/// The size of the kernel's set of signals.
const SIGNAL_SET_BYTES: usize = 8;
/// The kernel's `struct sigaction` for a signal's default effect.
const DEFAULT: [u64; 4] = [0; 4];

fn check(result: c_long) -> Result<c_long> {
    if result == -1 { Err(last_errno()) } else { Ok(result) }
}

/// Returns why the last call of the C library failed, in this thread.
pub(crate) fn last_errno() -> Errno {
    Errno::from_raw_os_error(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// Sets attributes of a mount.
pub(crate) fn set_attributes(mount: impl AsFd, attributes: MountAttrFlags) -> Result<()> {
    mount_setattr(mount.as_fd(), attributes, libc::AT_EMPTY_PATH)
}

/// Sets attributes of a mount and of all that is mounted beneath it.
pub(crate) fn set_attributes_of_tree(mount: impl AsFd, attributes: MountAttrFlags) -> Result<()> {
    mount_setattr(mount.as_fd(), attributes, libc::AT_EMPTY_PATH | libc::AT_RECURSIVE)
}

fn mount_setattr(mount: BorrowedFd<'_>, attributes: MountAttrFlags, flags: i32) -> Result<()> {
    if attributes.is_empty() {
        return Ok(());
    }
    let attr = libc::mount_attr { attr_set: attributes.bits().into(), attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path and the structure live for the call, and the size is the structure's.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

/// Moves the calling thread into new namespaces, or gives it a current directory of its own.
pub(crate) fn unshare(flags: UnshareFlags) -> Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: the danger of the call is a table of descriptors of the thread's own, and nobody here asks for one.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Closes all descriptors of the process from a number on.
///
/// # Safety
///
/// Nobody may use or close any of them afterwards; so this is for a process that was just cloned and owns nothing.
pub(crate) unsafe fn close_range(first: i32, last: i32) -> Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: the call takes only numbers; what follows from it is the caller's promise.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
    Ok(())
}

/// Puts a system call filter on the calling thread, for good.
pub(crate) fn install_filter(instructions: &[libc::sock_filter]) -> Result<()> {
    const NO_FLAGS: u32 = 0;
    let len = u16::try_from(instructions.len()).map_err(|_| Errno::INVAL)?;
    // The kernel only reads the program; that the type says otherwise is history.
    let program = libc::sock_fprog { len, filter: instructions.as_ptr().cast_mut() };
    // SAFETY: the program points to `len` instructions, which live for the call.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, NO_FLAGS, &raw const program) })?;
    Ok(())
}

/// Gives the calling process a key ring of its own, so that it does not have the keys of the session that Kiln was started in.
///
/// A kernel without key rings has none to share, and where calling is forbidden, so it is for what runs inside.
pub(crate) fn join_new_keyring() -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: c_long = 1;
    // SAFETY: the only pointer is null, which stands for a ring without a name.
    match check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<c_char>()) }) {
        Ok(_) | Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS) => Ok(()),
        Err(err) => Err(err),
    }
}

/// Brings up the loopback interface of the calling thread's network namespace.
pub(crate) fn raise_loopback() -> Result<()> {
    // SAFETY: plain numbers; the result is checked before it is used.
    let socket = check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }.into())?;
    let socket = i32::try_from(socket).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just given out this descriptor, and nobody else knows of it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: the structure is plain numbers, for which zeros are a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: this request reads a structure of this type, which lives for the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) }.into())?;
    Ok(())
}

/// Signals that are blocked in the calling thread until this is dropped.
pub(crate) struct SignalsBlocked {
    before: libc::sigset_t,
}

impl SignalsBlocked {
    pub(crate) fn new() -> Self {
        // SAFETY: both sets live for the calls, and the first is filled before it is used. None of the calls can fail with these arguments.
        unsafe {
            let (mut all, mut before) = (zeroed(), zeroed());
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self { before }
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: the set is the one that was read.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut()) };
    }
}

/// Gives every signal its default effect and lets all of them through, as a new program expects it.
///
/// # Safety
///
/// Only for a process that was just cloned: in this one it would take away the handlers of the whole program.
pub(crate) unsafe fn reset_signals() {
    for signal in 1..=SIGNAL_MAX {
        // SAFETY: zeros are `SIG_DFL`, no flags and an empty mask, in a block that is as large as the kernel's structure on every architecture. SIGKILL
        // and SIGSTOP have no handlers: they fail, as they may. The function of the C library would leave out two signals that it keeps to itself.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), ptr::null::<u64>(), SIGNAL_SET_BYTES);
        }
    }
    // SAFETY: the set lives for the call and is emptied before it is used.
    unsafe {
        let mut none = zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Strings as execve(2) takes them: pointers to each, and a null pointer behind the last.
pub(crate) struct StringArray {
    _strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

// SAFETY: the pointers are to the heap blocks of the strings, which move with the array and are never changed.
unsafe impl Send for StringArray {}
// SAFETY: as above; shared, they are only read.
unsafe impl Sync for StringArray {}

impl StringArray {
    pub(crate) fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Self { _strings: strings, pointers }
    }
}

/// Replaces the program of the calling process; returns only when that fails.
pub(crate) fn execve(path: &CStr, args: &StringArray, env: &StringArray) -> Errno {
    // SAFETY: the path ends with a zero byte, and both arrays hold such strings and end with a null pointer.
    unsafe { libc::execve(path.as_ptr(), args.pointers.as_ptr(), env.pointers.as_ptr()) };
    last_errno()
}

/// How a process ended, and what it and its descendants used.
pub(crate) struct Ended {
    /// `CLD_EXITED`, `CLD_KILLED` or `CLD_DUMPED`.
    pub(crate) reason: i32,
    /// The exit code or the signal.
    pub(crate) status: i32,
    pub(crate) usage: libc::rusage,
}

/// Waits until a child has ended and reaps it.
pub(crate) fn wait_for(pidfd: impl AsFd) -> Result<Ended> {
    loop {
        // SAFETY: both structures are plain numbers, for which zeros are a value.
        let (mut info, mut usage): (libc::siginfo_t, libc::rusage) = unsafe { (zeroed(), zeroed()) };
        // SAFETY: both structures live for the call. The system call, unlike the function of the C library, also fills in the usage.
        let waited = check(unsafe {
            libc::syscall(
                libc::SYS_waitid,
                libc::P_PIDFD,
                pidfd.as_fd().as_raw_fd(),
                &raw mut info,
                libc::WEXITED | libc::__WALL,
                &raw mut usage,
            )
        });
        match waited {
            // SAFETY: waitid(2) fills in the variant of the structure that has the status.
            Ok(_) => return Ok(Ended { reason: info.si_code, status: unsafe { info.si_status() }, usage }),
            Err(Errno::INTR) => {}
            Err(err) => return Err(err),
        }
    }
}

/// Sends a signal by its number, also one that has no name.
pub(crate) fn send_signal(pidfd: impl AsFd, number: i32) -> Result<()> {
    const NO_FLAGS: u32 = 0;
    let pidfd = pidfd.as_fd().as_raw_fd();
    // SAFETY: the only pointer is null, which stands for the information that kill(2) sends.
    check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd, number, ptr::null::<libc::siginfo_t>(), NO_FLAGS)
    })?;
    Ok(())
}

/// Returns a descriptor of the mount namespace of a process that has not ended; kernels before 6.11 have none.
pub(crate) fn mount_namespace(pidfd: impl AsFd) -> Result<OwnedFd> {
    const PIDFD_GET_MNT_NAMESPACE: libc::Ioctl = 0xff03;
    const NO_ARGUMENT: c_long = 0;
    // SAFETY: the call takes only numbers.
    let fd = check(unsafe { libc::ioctl(pidfd.as_fd().as_raw_fd(), PIDFD_GET_MNT_NAMESPACE, NO_ARGUMENT) }.into())?;
    let fd = i32::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just given out this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Returns whether others of the same user may look into this process.
pub(crate) fn is_dumpable() -> bool {
    // SAFETY: the call takes only numbers.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE) == 1 }
}

/// Lets others of the same user look into this process.
pub(crate) fn set_dumpable() {
    const YES: libc::c_ulong = 1;
    // SAFETY: the call takes only numbers, and with this one it cannot fail.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, YES) };
}

/// Returns the most memory that this process has had.
pub(crate) fn own_memory_peak_bytes() -> u64 {
    // SAFETY: the structure is plain numbers, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { zeroed() };
    // SAFETY: the structure lives for the call, which cannot fail with these arguments.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    u64::try_from(usage.ru_maxrss).unwrap_or_default() * 1024
}
