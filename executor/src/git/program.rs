//! Running the git program: with nothing of the user's settings, without ever asking anything, and ended when the build is.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use oci::Digest;
use rustix::process::{Pid, Signal, kill_process_group};
use solver::StepError;
use tokio_util::sync::CancellationToken;

use super::auth::Auth;
use crate::ExecError;
use crate::blocking::{blocking, failed};
use crate::report::{Report, Reporter, Stream};

/// The most that is kept of what git prints.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;
/// How many lines of what git complained of go into an error.
const COMPLAINT_LINES_MAX: usize = 4;

/// Whom a git program works for.
pub(super) struct Program<'a> {
    pub(super) auth: &'a Auth,
    /// Who sees what it says, and as which step's.
    pub(super) reporter: Option<(&'a Reporter, Digest)>,
    pub(super) cancel: &'a CancellationToken,
}

impl Program<'_> {
    /// Runs git in a directory and returns what it printed. `action` is what it does, as errors say it: ``fetch `https://host/x.git` ``.
    pub(super) async fn run(&self, dir: &Path, args: &[&str], action: &str) -> Result<String, StepError<ExecError>> {
        let mut command = Command::new("git");
        command.args(args).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: an interrupt reaches us, and we end it with all that it started.
        command.process_group(0);
        self.auth.apply(&mut command);
        let mut child = command.spawn().map_err(|source| failed(ExecError::GitProgram { source }))?;
        let group = Pid::from_child(&child);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let printed = tokio::task::spawn_blocking(move || read(stdout));
        let complained = tokio::task::spawn_blocking(move || read(stderr));
        let mut waiting =
            std::pin::pin!(blocking(move || child.wait().map_err(|source| ExecError::GitProgram { source })));
        let (status, is_cancelled) = tokio::select! {
            status = &mut waiting => (status, false),
            () = self.cancel.cancelled() => {
                // All that it writes to is thrown away. A group that is gone needs no signal.
                let _ = kill_process_group(group, Signal::KILL);
                (waiting.await, true)
            }
        };
        let (printed, complained) = (printed.await.unwrap_or_default(), complained.await.unwrap_or_default());
        if is_cancelled {
            return Err(StepError::Cancelled);
        }
        self.end(status.map_err(failed)?, &complained, action)?;
        Ok(printed)
    }

    fn end(&self, status: ExitStatus, complained: &str, action: &str) -> Result<(), StepError<ExecError>> {
        if status.success() {
            if let Some((reporter, step)) = &self.reporter
                && !complained.is_empty()
            {
                let bytes = complained.as_bytes().to_vec();
                reporter.report(Report::Output { step: *step, stream: Stream::Stderr, bytes });
            }
            return Ok(());
        }
        let lines: Vec<&str> = complained.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(COMPLAINT_LINES_MAX)..];
        Err(failed(ExecError::Git { action: action.to_owned(), complaint: last.join("; ") }))
    }
}

fn read(stream: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        let mut limited = stream.take(OUTPUT_BYTES_MAX);
        // What came until it broke is all there is.
        let _ = limited.read_to_end(&mut bytes);
        // The rest is read too, so that nobody waits for us.
        let _ = io::copy(&mut limited.into_inner(), &mut io::sink());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
