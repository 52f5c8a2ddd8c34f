//! The standard streams: their ends inside, and their ends outside.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, Uid, fchown, openat};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};

use super::devices::Devices;
use crate::error::CreateError;
use crate::spec::{Stdio, Stream};
use crate::terminal::{WindowSize, set_window_size};

/// The first descriptor that is not a standard stream.
const FIRST_OTHER: i32 = 3;

/// The ends that the process gets.
pub(crate) struct Streams {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) is_terminal: bool,
}

/// The ends that the caller gets.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
    pub(crate) terminal: Option<OwnedFd>,
}

/// Opens the streams of a process that is `owner`: it may open `/dev/stdout` again, so what is made here has to be its own.
pub(super) fn open(
    stdio: Stdio,
    devices: &Devices,
    terminals: &OwnedFd,
    owner: Uid,
) -> Result<(Streams, Ends), CreateError> {
    match stdio {
        Stdio::Terminal(size) => {
            open_terminal(terminals, size, owner).map_err(|source| CreateError::Terminal { source })
        }
        Stdio::Streams { stdin, stdout, stderr } => {
            let (stdin, stdin_end) = open_stream(stdin, Direction::In, devices, owner)?;
            let (stdout, stdout_end) = open_stream(stdout, Direction::Out, devices, owner)?;
            let (stderr, stderr_end) = open_stream(stderr, Direction::Out, devices, owner)?;
            let ends = Ends { stdin: stdin_end, stdout: stdout_end, stderr: stderr_end, terminal: None };
            Ok((Streams { stdin, stdout, stderr, is_terminal: false }, ends))
        }
    }
}

#[derive(Clone, Copy)]
enum Direction {
    In,
    Out,
}

fn open_stream(
    stream: Stream,
    direction: Direction,
    devices: &Devices,
    owner: Uid,
) -> Result<(OwnedFd, Option<OwnedFd>), CreateError> {
    let failed = |source| CreateError::Stream { source };
    let (inside, outside) = match stream {
        Stream::Null => (devices.open_null()?, None),
        Stream::Fd(fd) => (fd, None),
        Stream::Pipe => {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|err| failed(err.into()))?;
            let (inside, outside) = match direction {
                Direction::In => (read, write),
                Direction::Out => (write, read),
            };
            fchown(&inside, Some(owner), None).map_err(|err| failed(err.into()))?;
            (inside, Some(outside))
        }
    };
    Ok((lift(inside).map_err(failed)?, outside))
}

/// Opens a terminal in the sandbox's own file system of terminals: one of the host's would have no name inside.
fn open_terminal(terminals: &OwnedFd, size: WindowSize, owner: Uid) -> io::Result<(Streams, Ends)> {
    let master = openat(terminals, "ptmx", OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    unlockpt(&master)?;
    let terminal = lift(ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?)?;
    fchown(&terminal, Some(owner), None)?;
    set_window_size(&master, size)?;
    let copy = || fcntl_dupfd_cloexec(&terminal, FIRST_OTHER);
    let streams = Streams { stdin: copy()?, stdout: copy()?, stderr: terminal, is_terminal: true };
    Ok((streams, Ends { terminal: Some(lift(master)?), ..Ends::default() }))
}

/// Moves a descriptor out of the places of the standard streams, where it would be overwritten before it is used.
///
/// It is there when the caller itself was started without streams.
fn lift(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= FIRST_OTHER {
        return Ok(fd);
    }
    Ok(fcntl_dupfd_cloexec(fd.as_fd(), FIRST_OTHER)?)
}
