//! Digests of the tars of new layers, found out while what comes next runs: an image needs them in the end, and nothing takes as long of a large copy.
//!
//! **Invariant:** a digest that cannot be found out here is found out by whoever needs it; nothing fails because of this.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use layer::Entries;
use layer::tar::{Checkpoints, Digested, digest_layer_like};
use llb::{Edge, Graph, Op, VertexId};
use store::LayerId;

/// Layers with less in them are not worth a thread.
const LAYER_BYTES_MIN: u64 = 1 << 20;
/// How many tars are hashed at once; those of further layers are left to the end.
const RUNNING_MAX: usize = 4;

/// Digests of tars in the making. Dropped, it ends what still runs and waits for it. By default none is wanted.
#[derive(Default)]
pub struct TarDigests {
    /// The steps whose layers are in a result, by their place in the graph.
    is_in_result: Vec<bool>,
    running: Mutex<HashMap<LayerId, JoinHandle<Option<Digested>>>>,
    is_over: Arc<AtomicBool>,
}

impl TarDigests {
    /// Prepares for a build with these results.
    pub fn new(graph: &Graph, results: impl IntoIterator<Item = Edge>) -> Self {
        let mut is_in_result = vec![false; graph.len()];
        let mut pending: Vec<VertexId> = results.into_iter().map(|edge| edge.vertex).collect();
        while let Some(id) = pending.pop() {
            if std::mem::replace(&mut is_in_result[id.index()], true) {
                continue;
            }
            let vertex = &graph[id];
            let below = match vertex.op {
                Op::Source(_) => 0,
                Op::Exec(_) | Op::File(_) => 1,
                Op::Merge => vertex.inputs.len(),
            };
            pending.extend(vertex.inputs.iter().take(below).map(|input| input.edge.vertex));
        }
        Self { is_in_result, running: Mutex::default(), is_over: Arc::default() }
    }

    /// Tells whether the layer that a step makes is in a result.
    pub(crate) fn wants(&self, step: VertexId) -> bool {
        self.is_in_result.get(step.index()) == Some(&true)
    }

    /// Starts with a layer whose files do not change any more; `like` finds what is known of one that may begin alike.
    pub(crate) fn start(
        &self,
        id: LayerId,
        layer: layer::Layer,
        like: impl FnOnce() -> Option<(Entries, Checkpoints)> + Send + 'static,
    ) {
        let mut running = self.running();
        if running.len() >= RUNNING_MAX || layer.entries.size_bytes() < LAYER_BYTES_MIN {
            return;
        }
        let is_over = Arc::clone(&self.is_over);
        let hash = move || {
            let like = like();
            let like = like.as_ref().map(|(entries, checkpoints)| (entries, checkpoints));
            digest_layer_like(&layer, like, || !is_over.load(Ordering::Relaxed)).ok()
        };
        if let Ok(thread) = std::thread::Builder::new().name("tar digest".to_owned()).spawn(hash) {
            running.insert(id, thread);
        }
    }

    /// Waits for what was started with a layer; `None` means that nothing was, or that it failed.
    pub fn wait(&self, id: LayerId) -> Option<Digested> {
        let thread = self.running().remove(&id)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn running(&self) -> MutexGuard<'_, HashMap<LayerId, JoinHandle<Option<Digested>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TarDigests {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Nobody asks any more what they came to.
        self.running().drain().for_each(|(_, thread)| drop(thread.join()));
    }
}

#[cfg(test)]
mod tests {
    use layer::{FileSource, Lender, Metadata, Stack, TreeWriter};
    use llb::{Hints, Input, Source};

    use super::*;

    /// A layer with one file of many zeros.
    fn layer_of(size_bytes: usize) -> layer::Layer {
        let writer = TreeWriter::packed(tempfile::tempfile().unwrap(), Lender::default(), Stack::default());
        let (path, bytes) = (layer::EntryPath::ROOT.child(b"zeros").unwrap(), vec![0; size_bytes]);
        writer.make_file(path.as_path(), &Metadata::default(), FileSource::Bytes(&bytes)).unwrap();
        let written = writer.finish().unwrap();
        let packs = written.packed.unwrap().packs(layer::PackId([0; 16]));
        layer::Layer { entries: written.entries, content: layer::Content::Packs(packs) }
    }

    #[test]
    fn layers_beneath_a_result_are_wanted_and_what_is_only_copied_from_is_not() {
        let mut graph = Graph::new();
        let mut add = |op: Op, inputs: &[VertexId]| {
            graph.add(op, inputs.iter().map(|id| Input::whole(*id)).collect(), Hints::default()).unwrap()
        };
        let directory = |path: &str| {
            let dir = llb::MakeDir { path: path.to_owned(), mode: 0o755, owner: None };
            Op::File(vec![llb::FileAction::MakeDir(dir)])
        };
        let base = add(Op::Source(Source::Scratch), &[]);
        let other = add(directory("/other"), &[base]);
        let copied = add(directory("/copied"), &[base, other]);
        let merged = add(Op::Merge, &[copied, other]);
        let unused = add(directory("/unused"), &[merged]);
        let wanted = |results: &[VertexId]| {
            let tars = TarDigests::new(&graph, results.iter().map(|id| Edge::from(*id)));
            [base, other, copied, merged, unused].map(|id| tars.wants(id))
        };
        assert_eq!(wanted(&[copied]), [true, false, true, false, false]);
        assert_eq!(wanted(&[merged]), [true, true, true, true, false]);
        assert!(!TarDigests::default().wants(base));
    }

    #[test]
    fn what_was_started_is_waited_for_once() {
        let (tars, layer) = (TarDigests::default(), layer_of(3 << 20));
        let id = LayerId::random();
        tars.start(id, layer.clone(), || None);
        assert_eq!(tars.wait(id), Some(digest_layer_like(&layer, None, || true).unwrap()));
        assert_eq!(tars.wait(id), None);
        // A small one is quick enough to be left to the end.
        tars.start(id, layer_of(1000), || None);
        assert_eq!(tars.wait(id), None);
        // Too many at once are left, too; what nobody asks for ends with it.
        let ids: Vec<LayerId> = (0..=RUNNING_MAX).map(|_| LayerId::random()).collect();
        ids.iter().for_each(|id| tars.start(*id, layer.clone(), || None));
        assert_eq!(tars.running().len(), RUNNING_MAX);
    }
}
