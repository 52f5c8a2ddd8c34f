//! What lowering returns: the graph, and for each platform what of it is wanted and the image's config.

use llb::{Edge, Graph};
use oci::{ImageConfig, Platform, Timestamp};

use crate::diagnostic::Diagnostic;
use crate::known::Need;

/// The outcome of lowering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lowered<T = Plan> {
    /// It is done.
    Done(T),
    /// It must know more; each need once, sorted. With their answers added to what is known, it is called again.
    Needs(Vec<Need>),
}

/// What is to be built.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The steps of all platforms.
    pub graph: Graph,
    /// One for each platform of the request, in its order.
    pub results: Vec<PlanResult>,
    /// The warnings of the build checks, and of build arguments that nothing took.
    pub warnings: Vec<Diagnostic>,
}

/// What is wanted for one platform.
///
/// The exporter fills in what only the finished steps tell:
/// - `config.rootfs.diff_ids`, the layers of the snapshot, the lowest first;
/// - `created` of history entries that have none and do not belong to the base: an entry that is no `empty_layer` stands for the next layer, in order, and has the
///   time of that layer's record; an empty one has the time of the entry before it, or of the first new layer where there is none before;
/// - `config.created`, the newest of these times; `None` where no step made a layer.
///
/// History entries that are no `empty_layer` are as many as the layers.
#[derive(Clone, Debug)]
pub struct PlanResult {
    /// The platform.
    pub platform: Platform,
    /// The step whose result is the image's file system.
    pub edge: Edge,
    /// The image's config.
    pub config: ImageConfig,
    /// How many entries of the history are the base's.
    pub base_history: usize,
    /// The time that all new entries have, from `SOURCE_DATE_EPOCH`; the entries have it already.
    pub epoch: Option<Timestamp>,
}

/// Why a file cannot be lowered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.first_message())]
pub struct LowerError {
    /// The errors, and the warnings of the build checks that were met up to them; there is at least one error.
    pub diagnostics: Vec<Diagnostic>,
}

impl LowerError {
    fn first_message(&self) -> &str {
        let is_error = |diagnostic: &&Diagnostic| diagnostic.severity == crate::diagnostic::Severity::Error;
        self.diagnostics.iter().find(is_error).map_or("the Dockerfile has errors", |diagnostic| &diagnostic.message)
    }
}
