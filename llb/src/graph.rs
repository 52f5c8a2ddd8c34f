//! The graph: vertices by digest, edges from what is needed to what needs it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use oci::{Digest, Hasher};
use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use serde::Serialize;

use crate::{Op, Selection};

/// Names a vertex within its graph; smaller ids never depend on larger ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VertexId(u32);

impl VertexId {
    /// Returns the place of the vertex in the order of adding, from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    fn node(self) -> NodeIndex {
        NodeIndex::new(self.index())
    }
}

impl fmt::Debug for VertexId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "%{}", self.0)
    }
}

/// One output of a vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// The vertex.
    pub vertex: VertexId,
    /// Which of its outputs.
    pub output: u32,
}

impl From<VertexId> for Edge {
    fn from(vertex: VertexId) -> Self {
        Self { vertex, output: 0 }
    }
}

/// What a vertex needs: an output of another, and which files of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The output that is needed.
    pub edge: Edge,
    /// Which files the step can see; `None` is all.
    pub selection: Option<Selection>,
}

impl Input {
    /// Returns an input that sees all files of `edge`.
    pub fn whole(edge: impl Into<Edge>) -> Self {
        Self { edge: edge.into(), selection: None }
    }

    /// Returns an input that sees only what `selection` names.
    pub fn selected(edge: impl Into<Edge>, selection: Selection) -> Self {
        Self { edge: edge.into(), selection: Some(selection) }
    }
}

/// Lines of the Dockerfile, counted from 1, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct LineRange {
    /// The first line.
    pub start: u32,
    /// The last line.
    pub end: u32,
}

/// What is said about a vertex without changing what it makes; not in its digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hints {
    /// What users see: `[build 2/4] RUN make`.
    pub name: String,
    /// The stage that the step belongs to.
    pub stage: Option<String>,
    /// Where the instruction stands.
    pub lines: Option<LineRange>,
    /// Whether results from before this build are not to be used.
    pub ignore_cache: bool,
}

/// One step: an operation and what it works on.
#[derive(Clone, Debug)]
pub struct Vertex {
    /// What is done.
    pub op: Op,
    /// What it is done with.
    pub inputs: Vec<Input>,
    /// What is said about it.
    pub hints: Hints,
    /// The digest of what the keys of the cache see of the operation alone.
    pub key_digest: Digest,
    /// The digest of the operation and, by their digests, of all beneath it: the identity of the step.
    pub digest: Digest,
}

/// Why a vertex cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// An input names a vertex that this graph does not have.
    #[error("bug: input {input} of `{name}` names vertex {vertex:?}, which does not exist")]
    UnknownVertex {
        /// The name of the step that was to be added.
        name: String,
        /// The place of the input.
        input: usize,
        /// What it names.
        vertex: VertexId,
    },
    /// The graph is full.
    #[error("the build has more than {VERTICES_MAX} steps")]
    TooManyVertices,
}

/// The most vertices that a graph holds.
pub const VERTICES_MAX: usize = 1_000_000;

/// An acyclic graph of steps in which equal steps are one vertex.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    dag: DiGraph<Vertex, usize>,
    by_digest: HashMap<Digest, VertexId>,
    /// Where the JSON of an operation is written to be hashed.
    json: Vec<u8>,
}

impl Graph {
    /// Returns a graph without vertices.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step, or finds the equal one that is there.
    ///
    /// Of two equal steps the first one's hints stay, but one that must ignore the cache makes both ignore it.
    pub fn add(&mut self, op: Op, inputs: Vec<Input>, hints: Hints) -> Result<VertexId, GraphError> {
        let unknown = inputs.iter().position(|input| input.edge.vertex.index() >= self.dag.node_count());
        if let Some(input) = unknown {
            return Err(GraphError::UnknownVertex { name: hints.name, input, vertex: inputs[input].edge.vertex });
        }
        let own_digest = op.digest_by(&mut self.json);
        let digest = self.vertex_digest(&own_digest, &inputs);
        let place = match self.by_digest.entry(digest) {
            Entry::Occupied(existing) => {
                self.dag[existing.get().node()].hints.ignore_cache |= hints.ignore_cache;
                return Ok(*existing.get());
            }
            Entry::Vacant(_) if self.dag.node_count() >= VERTICES_MAX => return Err(GraphError::TooManyVertices),
            Entry::Vacant(place) => place,
        };
        let sources: Vec<VertexId> = inputs.iter().map(|input| input.edge.vertex).collect();
        let key_digest = if op.is_keyed() { own_digest } else { op.key_digest() };
        let node = self.dag.add_node(Vertex { op, inputs, hints, key_digest, digest });
        for (place, source) in sources.into_iter().enumerate() {
            self.dag.add_edge(source.node(), node, place);
        }
        Ok(*place.insert(VertexId(node.index() as u32)))
    }

    fn vertex_digest(&self, op: &Digest, inputs: &[Input]) -> Digest {
        let mut hasher = Hasher::new();
        hasher.field(b"kiln.vertex.1");
        hasher.field(op.as_bytes());
        for input in inputs {
            hasher.field(self[input.edge.vertex].digest.as_bytes());
            hasher.field(&input.edge.output.to_le_bytes());
            let selection = input.selection.as_ref().map(Selection::digest);
            hasher.field(selection.as_ref().map_or(&[], |digest| digest.as_bytes().as_slice()));
        }
        hasher.finish()
    }

    /// Returns how many vertices there are.
    pub fn len(&self) -> usize {
        self.dag.node_count()
    }

    /// Tells whether there is no vertex.
    pub fn is_empty(&self) -> bool {
        self.dag.node_count() == 0
    }

    /// Returns all vertices, each after those it needs.
    pub fn vertices(&self) -> impl DoubleEndedIterator<Item = (VertexId, &Vertex)> {
        self.dag.node_indices().map(|node| (VertexId(node.index() as u32), &self.dag[node]))
    }

    /// Returns the vertices that need `vertex`, in the order of their ids, each once.
    pub fn dependents(&self, vertex: VertexId) -> Vec<VertexId> {
        let nodes = self.dag.neighbors_directed(vertex.node(), Direction::Outgoing);
        let mut ids: Vec<VertexId> = nodes.map(|node| VertexId(node.index() as u32)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Returns the vertex with this digest.
    pub fn find(&self, digest: &Digest) -> Option<VertexId> {
        self.by_digest.get(digest).copied()
    }

    /// Returns the petgraph beneath, whose edge weights are the places of inputs; for algorithms and drawings.
    pub fn dag(&self) -> &DiGraph<Vertex, usize> {
        &self.dag
    }
}

impl std::ops::Index<VertexId> for Graph {
    type Output = Vertex;

    fn index(&self, id: VertexId) -> &Vertex {
        &self.dag[id.node()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CopySelection, FileAction, MakeDir, Source};

    fn scratch(graph: &mut Graph) -> VertexId {
        graph.add(Op::Source(Source::Scratch), Vec::new(), Hints::default()).unwrap()
    }

    fn make_dir(path: &str) -> Op {
        Op::File(vec![FileAction::MakeDir(MakeDir { path: path.to_owned(), mode: 0o755, owner: None })])
    }

    #[test]
    fn equal_steps_are_one_vertex() {
        let mut graph = Graph::new();
        let base = scratch(&mut graph);
        assert_eq!(scratch(&mut graph), base);
        let named = |name: &str| Hints { name: name.to_owned(), ..Default::default() };
        let first = graph.add(make_dir("/a"), vec![Input::whole(base)], named("first")).unwrap();
        let second = graph.add(make_dir("/a"), vec![Input::whole(base)], named("second")).unwrap();
        assert_eq!(first, second);
        assert_eq!(graph[first].hints.name, "first");
        assert_eq!(graph.len(), 2);
    }

    #[test]
    fn operation_inputs_and_selection_each_change_the_digest() {
        let mut graph = Graph::new();
        let base = scratch(&mut graph);
        let a = graph.add(make_dir("/a"), vec![Input::whole(base)], Hints::default()).unwrap();
        let b = graph.add(make_dir("/b"), vec![Input::whole(base)], Hints::default()).unwrap();
        let above = graph.add(make_dir("/a"), vec![Input::whole(a)], Hints::default()).unwrap();
        let only = Selection::Copy(CopySelection { pattern: "x".to_owned(), ..Default::default() });
        let selected = graph.add(make_dir("/a"), vec![Input::selected(base, only)], Hints::default()).unwrap();
        let digests: std::collections::BTreeSet<_> = [a, b, above, selected].map(|id| graph[id].digest).into();
        assert_eq!(digests.len(), 4);
        assert_eq!(graph[a].key_digest, graph[selected].key_digest);
        assert_eq!(graph.dependents(base), vec![a, b, selected]);
    }

    #[test]
    fn a_step_cannot_name_one_that_does_not_exist() {
        let mut other = Graph::new();
        let base = scratch(&mut other);
        let above = other.add(make_dir("/a"), vec![Input::whole(base)], Hints::default()).unwrap();
        let error = Graph::new().add(make_dir("/b"), vec![Input::whole(above)], Hints::default()).unwrap_err();
        assert_eq!(error.to_string(), "bug: input 0 of `` names vertex %1, which does not exist");
    }

    #[test]
    fn ignoring_the_cache_survives_a_merge_of_equal_steps() {
        let mut graph = Graph::new();
        scratch(&mut graph);
        let hints = Hints { ignore_cache: true, ..Default::default() };
        let again = graph.add(Op::Source(Source::Scratch), Vec::new(), hints).unwrap();
        assert!(graph[again].hints.ignore_cache);
    }
}
