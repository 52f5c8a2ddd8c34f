//! How often a command is run until it succeeds, and what all of its attempts use.
//!
//! **Invariant:** no attempt sees files of another one, but those in cache mounts.

use std::sync::Arc;
use std::time::Duration;

use solver::StepError;
use store::Snapshot;
use tokio_util::sync::CancellationToken;

use super::run::Command;
use crate::ExecError;
use crate::report::{Report, Stream, Usage};

/// How long commands may take, and how often they are run again.
///
/// It is of the build and not of a step: results do not depend on it, so no key does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepLimits {
    /// How long one attempt may take; `None` is without end.
    pub timeout: Option<Duration>,
    /// How often a command that fails is run again, at most.
    pub retries_max: u32,
}

/// What the attempts of a command have come to so far.
#[derive(Default)]
pub(super) struct Tally {
    /// What they used together.
    pub(super) usage: Usage,
    /// Whether the last line of their output goes on.
    pub(super) is_line_open: bool,
}

impl Command {
    /// Runs the command, again where it fails and may be, and returns the snapshot that it leaves.
    pub(crate) async fn run(self, cancel: &CancellationToken) -> Result<Snapshot, StepError<ExecError>> {
        // Held over all attempts, so that the next one finds what the last one left there.
        let caches = self.acquire_caches(cancel).await?;
        let (command, mut tally) = (Arc::new(self), Tally::default());
        loop {
            let ended = command.clone().attempt(caches.clone(), &mut tally, cancel).await;
            let Err(StepError::Failed(error)) = &ended else { return ended };
            let may_retry = tally.usage.attempts <= command.limits.retries_max;
            let Some(reason) = error.failure_of_command().filter(|_| may_retry) else {
                command.reporter.report(Report::Usage { step: command.step, usage: tally.usage });
                return ended;
            };
            if cancel.is_cancelled() {
                return Err(StepError::Cancelled);
            }
            command.tell_retry(&reason, &mut tally);
        }
    }

    /// Says in the command's output, which all kinds of progress show, where one attempt ends and the next begins.
    fn tell_retry(&self, reason: &str, tally: &mut Tally) {
        let (attempt, attempts_max) = (tally.usage.attempts, u64::from(self.limits.retries_max) + 1);
        let line_end = if std::mem::take(&mut tally.is_line_open) { "\n" } else { "" };
        let next = attempt + 1;
        let text = format!(
            "{line_end}attempt {attempt} of {attempts_max} failed: {reason}; attempt {next} begins with a clean layer\n"
        );
        self.reporter.report(Report::Output { step: self.step, stream: Stream::Stderr, bytes: text.into_bytes() });
    }
}
