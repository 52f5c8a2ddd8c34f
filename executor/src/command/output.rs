//! What a command writes, handed on while it runs.

use std::io::{self, PipeReader, Read};
use std::os::fd::OwnedFd;

use oci::Digest;
use runtime::Running;
use rustix::event::{PollFd, PollFlags, poll};

use crate::report::{Report, Reporter, Stream};

/// How much output is read at once.
const OUTPUT_BYTES: usize = 64 << 10;

/// How a command ended.
pub(super) struct Pumped {
    pub(super) exit: runtime::Exit,
    /// Whether the last line that it wrote has no end.
    pub(super) is_line_open: bool,
}

/// Hands on what a command writes until nobody can write any more, and waits for its end.
pub(super) fn pump(mut running: Running, reporter: &Reporter, step: Digest) -> io::Result<Pumped> {
    let stream = |fd: Option<OwnedFd>, stream| fd.map(|fd| (PipeReader::from(fd), stream));
    let streams = [stream(running.stdout.take(), Stream::Stdout), stream(running.stderr.take(), Stream::Stderr)];
    let mut open: Vec<(PipeReader, Stream)> = streams.into_iter().flatten().collect();
    let mut buffer = vec![0; OUTPUT_BYTES];
    let mut is_line_open = false;
    while !open.is_empty() {
        let mut polled: Vec<PollFd<'_>> = open.iter().map(|(pipe, _)| PollFd::new(pipe, PollFlags::IN)).collect();
        match poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let is_ready: Vec<bool> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
        let mut ready = is_ready.into_iter();
        open.retain_mut(|(pipe, stream)| {
            if !ready.next().unwrap_or_default() {
                return true;
            }
            match pipe.read(&mut buffer) {
                Ok(0) | Err(_) => false,
                Ok(count) => {
                    is_line_open = !buffer[..count].ends_with(b"\n");
                    reporter.report(Report::Output { step, stream: *stream, bytes: buffer[..count].to_vec() });
                    true
                }
            }
        });
    }
    Ok(Pumped { exit: running.wait_for_processes()?, is_line_open })
}
