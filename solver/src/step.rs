//! The two things that are awaited for one step: preparing it (is there a result?) and recording what it made.

use llb::{Input, Vertex};
use oci::Digest;
use tokio_util::sync::CancellationToken;

use crate::key::content_key;
use crate::ports::{Cache, Executor, Record, StepError};

/// How a step that is to be prepared is looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lookup {
    /// The definition key.
    pub(crate) definition: Digest,
    /// Whether the definition key may hit: not for steps above one that ignores the cache, which has to run first.
    pub(crate) by_definition: bool,
    /// Whether the step looks nothing up by its content either, and waits for nobody who makes the same: it is to be run whatever there is.
    pub(crate) ignore_cache: bool,
    /// Whether some result of the operation was recorded when the build began.
    pub(crate) known: bool,
}

/// What preparing a step came to.
pub(crate) enum Prepared<S, L> {
    /// There is a result.
    Hit(Vec<S>),
    /// There is none, and no other process makes it: this one holds the locks.
    Miss { locks: Vec<L>, content: Option<Digest> },
}

/// What a step sees of one input.
#[derive(Clone, Debug)]
pub(crate) enum Seen<S> {
    /// A source: what it sees is known by its pin.
    Pin(Digest),
    /// A snapshot.
    Snapshot(S),
}

/// Looks a step up by its content, and by both keys again once its lock is held, since another process may have made it meanwhile.
pub(crate) async fn prepare<E, C>(
    ports: (&E, &C),
    vertex: &Vertex,
    seen: &[Seen<E::Snapshot>],
    lookup: Lookup,
    cancel: &CancellationToken,
) -> Result<Prepared<E::Snapshot, C::Lock>, StepError<E::Error>>
where
    E: Executor,
    C: Cache<Snapshot = E::Snapshot>,
{
    let (executor, cache) = ports;
    if lookup.ignore_cache {
        return Ok(Prepared::Miss { locks: Vec::new(), content: None });
    }
    let mut content = None;
    // Asked again: another build may have recorded the first result of the operation since this one began.
    if lookup.known || cache.knows(&vertex.key_digest) {
        let key = content_key(vertex, &contents(executor, vertex, seen, cancel).await?);
        if let Some(hit) = find_by_content(cache, lookup, &key) {
            return Ok(hit);
        }
        content = Some(key);
    }
    // The definition key first and by everybody: whether the content key is known depends on when a build began, and those who know it must meet those who do not.
    // Nobody waits for a definition key while holding a content key, so no two wait for each other.
    let mut locks = vec![cache.lock(&lookup.definition, cancel).await.ok_or(StepError::Cancelled)?];
    if lookup.by_definition
        && let Some(found) = cache.find(&lookup.definition)
    {
        return Ok(Prepared::Hit(found.outputs));
    }
    if let Some(key) = &content {
        locks.push(cache.lock(key, cancel).await.ok_or(StepError::Cancelled)?);
        if let Some(hit) = find_by_content(cache, lookup, key) {
            return Ok(hit);
        }
    }
    Ok(Prepared::Miss { locks, content })
}

fn find_by_content<C: Cache>(cache: &C, lookup: Lookup, key: &Digest) -> Option<Prepared<C::Snapshot, C::Lock>> {
    let found = cache.find(key)?;
    cache.alias(&lookup.definition, key);
    Some(Prepared::Hit(found.outputs))
}

/// An executed step on its way into the cache.
pub(crate) struct Executed<S, L> {
    /// What the step saw of its inputs, by what execution really read.
    pub(crate) seen: Vec<Seen<S>>,
    /// The definition key, by what execution really read.
    pub(crate) definition: Digest,
    /// The content key, where it is known and still true.
    pub(crate) content: Option<Digest>,
    /// What was made.
    pub(crate) outputs: Vec<S>,
    /// Held until the result can be found.
    pub(crate) locks: Vec<L>,
}

/// Records an executed step and returns the outputs to go on with.
pub(crate) async fn record<E, C>(
    ports: (&E, &C),
    vertex: &Vertex,
    executed: Executed<E::Snapshot, C::Lock>,
    cancel: &CancellationToken,
) -> Result<Vec<E::Snapshot>, StepError<E::Error>>
where
    E: Executor,
    C: Cache<Snapshot = E::Snapshot>,
{
    let (executor, cache) = ports;
    let Executed { seen, definition, content, outputs, locks } = executed;
    let content = match content {
        Some(key) => key,
        None => content_key(vertex, &contents(executor, vertex, &seen, cancel).await?),
    };
    let mut described = Vec::with_capacity(outputs.len());
    for output in outputs {
        let digest = executor.content_digest(&output, None, cancel).await?;
        described.push((output, digest));
    }
    let record = Record {
        name: vertex.hints.name.clone(),
        op: vertex.key_digest,
        definition,
        content,
        outputs: described,
        replace: vertex.hints.ignore_cache,
    };
    let outputs = cache.record(record).await;
    drop(locks);
    Ok(outputs)
}

/// Returns what a step sees of each input.
pub(crate) async fn contents<E: Executor>(
    executor: &E,
    vertex: &Vertex,
    seen: &[Seen<E::Snapshot>],
    cancel: &CancellationToken,
) -> Result<Vec<Digest>, StepError<E::Error>> {
    let mut contents = Vec::with_capacity(seen.len());
    for (Input { selection, .. }, seen) in vertex.inputs.iter().zip(seen) {
        contents.push(match seen {
            Seen::Pin(pin) => *pin,
            Seen::Snapshot(snapshot) => executor.content_digest(snapshot, selection.as_ref(), cancel).await?,
        });
    }
    Ok(contents)
}
