//! What layers of earlier builds lend to new ones, made ready while the keys of the steps are computed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use layer::Lender;
use llb::{Graph, Input, Op, Selection, Source, Vertex, VertexId};
use oci::{Digest, Hasher};

use crate::ExecError;
use crate::context::Context;
use crate::ladder::Ladder;

/// With fewer files that a step sees, it is over sooner than another thread has begun.
pub(crate) const AHEAD_FILES_MIN: usize = 4096;

/// The layer that a step made last, and what it lends.
#[derive(Default)]
pub(crate) struct Lent {
    pub(crate) last: Option<store::Layer>,
    pub(crate) lender: Lender,
}

/// What is ready, by what stands for a step across builds.
#[derive(Default)]
pub(crate) struct Lenders(Mutex<HashMap<Digest, Lent>>);

impl Lenders {
    /// Runs `meanwhile` while what the step with this key may borrow is made ready beside.
    pub(crate) fn prepare_beside<T: Send>(
        &self,
        ladder: &Ladder,
        key: &Digest,
        meanwhile: impl FnOnce() -> T + Send,
    ) -> T {
        let prepare = || {
            // What goes wrong here does so again where it matters.
            if let Ok(lent) = find(ladder, key) {
                self.ready().insert(*key, lent);
            }
        };
        rayon::join(meanwhile, prepare).0
    }

    /// Returns what the step with this key may borrow, once.
    pub(crate) fn take(&self, ladder: &Ladder, key: &Digest) -> Result<Lent, ExecError> {
        let ready = self.ready().remove(key);
        ready.map_or_else(|| find(ladder, key), Ok)
    }

    fn ready(&self) -> MutexGuard<'_, HashMap<Digest, Lent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(ladder: &Ladder, key: &Digest) -> Result<Lent, ExecError> {
    let Some(last) = ladder.last_layer(key)? else { return Ok(Lent::default()) };
    let lender = Lender::of(&last.open()?);
    Ok(Lent { last: Some(last), lender })
}

/// Returns what stands for a file operation across builds, whatever is in the files that it copies.
pub(crate) fn key(
    graph: &Graph,
    contexts: &BTreeMap<String, Arc<Context>>,
    vertex: &Vertex,
) -> Result<Digest, ExecError> {
    let mut hasher = Hasher::new();
    hasher.field(b"kiln last layer 1");
    hasher.field(vertex.key_digest.as_bytes());
    for input in &vertex.inputs {
        let selection = input.selection.as_ref().map(Selection::digest);
        hasher.field(selection.as_ref().map_or(&[], |digest| digest.as_bytes().as_slice()));
        if let Some(Source::Local(local)) = graph[input.edge.vertex].op.as_source() {
            let unknown = || ExecError::Unknown { what: "context", name: local.name.clone() };
            let context = contexts.get(&local.name).ok_or_else(unknown)?;
            hasher.field(context.root()?.as_os_str().as_encoded_bytes());
        }
    }
    Ok(hasher.finish())
}

/// Returns the key of the step that copies what it sees of a source through `selection`.
pub(crate) fn borrower(
    graph: &Graph,
    contexts: &BTreeMap<String, Arc<Context>>,
    source: VertexId,
    selection: Option<&Selection>,
) -> Result<Option<Digest>, ExecError> {
    let copies = |vertex: &&Vertex| {
        let sees = |input: &Input| input.edge.vertex == source && input.selection.as_ref() == selection;
        matches!(vertex.op, Op::File(_)) && vertex.inputs.iter().any(sees)
    };
    let mut dependents = graph.dependents(source).into_iter().map(|id| &graph[id]);
    dependents.find(copies).map(|vertex| key(graph, contexts, vertex)).transpose()
}
