//! The program: where it is, and running it.

use std::ffi::CStr;

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, accessat, fstat, openat2};
use rustix::io::Errno;

use super::report::{Failure, Step};
use crate::plan::CommandPlan;
use crate::syscall;

/// Runs the first candidate that can be; returns only on failure.
pub(super) fn execute(command: &CommandPlan) -> Failure {
    let mut missing = Errno::NOENT;
    for (index, candidate) in command.candidates.iter().enumerate() {
        match look_at(candidate) {
            Ok(()) => return Failure { step: Step::Execute, index, errno: run(candidate, command) },
            Err(errno) => missing = errno,
        }
    }
    // Of a name that was looked for in several places, there is no saying which was meant.
    let errno = if command.searched { Errno::NOENT } else { missing };
    Failure { step: Step::FindProgram, index: 0, errno }
}

fn run(program: &CStr, command: &CommandPlan) -> Errno {
    #[expect(unsafe_code, reason = "the handlers are this process' own copy")]
    // SAFETY: this process was just cloned, and has handlers that it must not run and no use for any.
    unsafe {
        syscall::reset_signals();
    }
    syscall::execve(program, &command.args, &command.env)
}

/// Returns why a file cannot be run, as who the process is by now.
fn look_at(path: &CStr) -> Result<(), Errno> {
    // `/proc/self/exe` is still Kiln's own program, on the host: no magic links.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}
