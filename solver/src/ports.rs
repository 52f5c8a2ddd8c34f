//! What the solver needs of others: somebody who carries out steps, and somebody who remembers results.

use std::collections::BTreeMap;
use std::future::Future;

use llb::{Selection, Vertex, VertexId};
use oci::Digest;
use tokio_util::sync::CancellationToken;

/// Carries out steps.
///
/// Every future ends soon after its token is cancelled, with [`StepError::Cancelled`] and with nothing left running; none is dropped while it runs, unless the
/// whole of [`crate::solve`] is.
pub trait Executor: Sync {
    /// A file system that a step left behind; cheap to clone.
    type Snapshot: Clone + Send + Sync;
    /// Why a step failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Returns the digest of exactly what a step would see of a source through `selection`.
    ///
    /// It is a property of the edge and not of the source: a step that copies one file of a directory does not depend on the others.
    fn pin(
        &self,
        source: &Vertex,
        selection: Option<&Selection>,
        cancel: &CancellationToken,
    ) -> impl Future<Output = Result<Digest, StepError<Self::Error>>> + Send;

    /// Returns the digest of the content, without times, that a step sees of a snapshot through `selection`.
    fn content_digest(
        &self,
        snapshot: &Self::Snapshot,
        selection: Option<&Selection>,
        cancel: &CancellationToken,
    ) -> impl Future<Output = Result<Digest, StepError<Self::Error>>> + Send;

    /// Carries out a step. `inputs` are in the order of the vertex's.
    fn execute(
        &self,
        vertex: &Vertex,
        inputs: Vec<Self::Snapshot>,
        cancel: &CancellationToken,
    ) -> impl Future<Output = Result<Execution<Self::Snapshot>, StepError<Self::Error>>> + Send;
}

/// What carrying out a step gave.
#[derive(Clone, Debug)]
pub struct Execution<S> {
    /// The snapshots, by output.
    pub outputs: Vec<S>,
    /// For inputs that are sources: the digest of what was really read, where that is known better than from the pin. A file of a build context may have changed
    /// between the two, and a result must never be recorded under the key of what it was not made from.
    pub pins: BTreeMap<usize, Digest>,
}

/// Why a step has no result.
#[derive(Debug, thiserror::Error)]
pub enum StepError<E> {
    /// The build was stopped.
    #[error("cancelled")]
    Cancelled,
    /// The step failed.
    #[error(transparent)]
    Failed(#[from] E),
}

/// Remembers results. It may forget any of them at any time: what it says is there, is there.
///
/// Its own troubles are its own: it reports them itself and answers as if it knew nothing, since a build needs no cache to be right.
pub trait Cache: Sync {
    /// A file system that a step left behind.
    type Snapshot: Clone + Send + Sync;
    /// Holds a key for this process until it is dropped.
    type Lock: Send + Sync;

    /// Returns the outputs recorded under a definition key or a content key.
    fn find(&self, key: &Digest) -> Option<Found<Self::Snapshot>>;

    /// Tells whether any result of this operation, on whatever inputs, is recorded. Where none is, no content key can hit, and no content needs to be hashed.
    fn knows(&self, op: &Digest) -> bool;

    /// Waits until no other task of any process holds `key`, and holds it. Returns `None` when cancelled.
    fn lock(&self, key: &Digest, cancel: &CancellationToken) -> impl Future<Output = Option<Self::Lock>> + Send;

    /// Makes `definition` another key of a result that was found under its content key.
    fn alias(&self, definition: &Digest, content: &Digest);

    /// Records the outputs of an executed step under both its keys and returns the outputs to go on with.
    ///
    /// Those are not always the given ones: where a snapshot with the same content is recorded already, the first one wins (unless [`Record::replace`] is set). Else new
    /// parents would come under old children, and times of files would run backwards.
    fn record(&self, record: Record<Self::Snapshot>) -> impl Future<Output = Vec<Self::Snapshot>> + Send;
}

/// Outputs that were recorded.
#[derive(Clone, Debug)]
pub struct Found<S> {
    /// The snapshots, by output.
    pub outputs: Vec<S>,
}

/// An executed step, to be remembered.
#[derive(Clone, Debug)]
pub struct Record<S> {
    /// The step's name, for those who ask what is in the cache.
    pub name: String,
    /// The digest of the operation, which [`Cache::knows`] is asked for.
    pub op: Digest,
    /// The definition key.
    pub definition: Digest,
    /// The content key.
    pub content: Digest,
    /// What was made, each with the digest of its whole content.
    pub outputs: Vec<(S, Digest)>,
    /// Whether it takes the place of an older result with the same content.
    pub replace: bool,
}

/// What happened to a step, in the order: for each one [`StepEvent::Keyed`] first, [`StepEvent::Started`] at most once, then [`StepEvent::Finished`] exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepEvent {
    /// The targets need the step, and it is known what finds its result. All steps that are needed come in the order of their ids before any other event, sources too.
    /// It comes again for a step that turned out to have read other files than were pinned.
    Keyed(VertexId, StepKeys),
    /// The step is being looked up or run.
    Started(VertexId),
    /// The step ended.
    Finished(VertexId, Outcome),
}

/// What finds the result of a step before anything has run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepKeys {
    /// The definition key; of a source it means nothing.
    pub definition: Digest,
    /// For each input that is a source, the digest of what the step sees of it.
    pub pins: Vec<Option<Digest>>,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was run.
    Ran,
    /// A result from before was used, of this step or of one that needs it.
    Cached,
    /// It was run and failed.
    Failed,
    /// It was running when the build was stopped.
    Cancelled,
    /// It was never run, because a step that it needs failed or the build was stopped.
    NotRun,
}
