//! What a step tells while it runs.

use std::sync::Arc;
use std::time::Duration;

use oci::Digest;

/// Something that a user may want to see of a running step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The step's command wrote something.
    Output {
        /// The step.
        step: Digest,
        /// Where it wrote to.
        stream: Stream,
        /// What it wrote.
        bytes: Vec<u8>,
    },
    /// A part of the step made progress.
    Progress {
        /// The step.
        step: Digest,
        /// Names the part within the step, in the words that are shown.
        id: String,
        /// How much is done; 0 where the part has no size.
        current_bytes: u64,
        /// How much there is; `None` where that is unknown or the part has no size.
        total_bytes: Option<u64>,
        /// Whether the part ended.
        is_done: bool,
    },
    /// Something that the user should know although the step goes on.
    Warning {
        /// The step.
        step: Digest,
        /// What it is.
        short: String,
        /// More of it.
        detail: String,
    },
    /// What the step's command used; comes once, when the last attempt has ended.
    Usage {
        /// The step.
        step: Digest,
        /// What it used.
        usage: Usage,
    },
    /// Work that belongs to no step of the graph began or ended: reading the build context.
    Internal {
        /// Names the work: the digest of `name`.
        step: Digest,
        /// `[internal] load build context`.
        name: String,
        /// Whether it ended.
        is_done: bool,
    },
}

/// Where a command wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a command used, in all of its attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time that programs took.
    pub cpu_user: Duration,
    /// Time that the kernel took for them.
    pub cpu_system: Duration,
    /// The most memory that was in use; `None` where that is not known.
    pub memory_peak_bytes: Option<u64>,
    /// The size of the files of the layer that it left; `None` where it left none.
    pub written_bytes: Option<u64>,
    /// How often it was run.
    pub attempts: u32,
}

impl Usage {
    /// Takes one more attempt into account.
    pub(crate) fn add(&mut self, attempt: &runtime::Usage) {
        self.cpu_user += attempt.cpu_user;
        self.cpu_system += attempt.cpu_system;
        self.memory_peak_bytes = self.memory_peak_bytes.max(attempt.memory_peak_bytes);
    }
}

/// Takes reports; it must not block for long. Cheap to clone.
#[derive(Clone)]
pub struct Reporter(Arc<dyn Fn(Report) + Send + Sync>);

impl Reporter {
    /// Hands every report to `take`.
    pub fn new(take: impl Fn(Report) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// Hands over a report.
    pub fn report(&self, report: Report) {
        (self.0)(report);
    }
}
