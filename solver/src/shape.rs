//! Who needs whom, in numbers that lie side by side.
//!
//! The loop asks for it again and again, and a vertex of the graph is large: with all that is asked of the graph itself, the time that a step takes would grow with the
//! number of steps, since ever fewer of them are in the processor's cache.
//!
//! **Invariant:** only the steps that the targets need are in it; of all others nothing is said.

use std::sync::Arc;

use llb::{Edge, Graph, VertexId};

/// The part of a graph that the targets need.
pub(crate) struct Shape {
    /// The steps that are needed, in the order of their ids: each after those that it needs.
    needed: Arc<[VertexId]>,
    kinds: Vec<Kind>,
    /// For each step, its inputs, each once.
    inputs: Lists,
    /// For each step, those that need it, in the order of their ids.
    dependents: Lists,
}

/// What a step is to the targets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    NotNeeded,
    Source,
    Step,
}

/// A list for each step, one after the other.
struct Lists {
    /// Where each begins; one more than there are lists.
    starts: Vec<u32>,
    ids: Vec<VertexId>,
}

impl Lists {
    fn of(&self, id: VertexId) -> &[VertexId] {
        &self.ids[self.starts[id.index()] as usize..self.starts[id.index() + 1] as usize]
    }
}

impl Shape {
    /// Finds out what the targets need.
    pub(crate) fn new(graph: &Graph, targets: &[Edge]) -> Self {
        let kinds = mark(graph, targets);
        let ids = graph.vertices().map(|(id, _)| id);
        let needed: Arc<[VertexId]> = ids.filter(|id| kinds[id.index()] != Kind::NotNeeded).collect();
        let inputs = inputs(graph, &kinds);
        let dependents = dependents(&needed, &inputs);
        Self { needed, kinds, inputs, dependents }
    }

    /// Returns the steps that are needed, each after those that it needs.
    pub(crate) fn needed(&self) -> Arc<[VertexId]> {
        Arc::clone(&self.needed)
    }

    pub(crate) fn is_source(&self, id: VertexId) -> bool {
        self.kinds[id.index()] == Kind::Source
    }

    /// Returns what a step needs, each once.
    pub(crate) fn inputs(&self, id: VertexId) -> &[VertexId] {
        self.inputs.of(id)
    }

    /// Returns the steps that need `id` and are needed themselves, in the order of their ids.
    pub(crate) fn dependents(&self, id: VertexId) -> &[VertexId] {
        self.dependents.of(id)
    }

    /// Returns the steps that `of` need, themselves included, in the order of their ids.
    pub(crate) fn beneath(&self, of: impl Iterator<Item = VertexId>) -> Vec<VertexId> {
        let mut is_beneath = vec![false; self.kinds.len()];
        of.for_each(|id| is_beneath[id.index()] = true);
        // From the targets down: what a step needs has a smaller id.
        for id in self.needed.iter().rev() {
            if is_beneath[id.index()] {
                self.inputs(*id).iter().for_each(|input| is_beneath[input.index()] = true);
            }
        }
        self.needed.iter().copied().filter(|id| is_beneath[id.index()]).collect()
    }
}

/// Marks what the targets need, from the largest id down: what a step needs has a smaller one.
fn mark(graph: &Graph, targets: &[Edge]) -> Vec<Kind> {
    let mut kinds = vec![Kind::NotNeeded; graph.len()];
    // For now a step is whatever is needed.
    targets.iter().for_each(|edge| kinds[edge.vertex.index()] = Kind::Step);
    for (id, vertex) in graph.vertices().rev() {
        if kinds[id.index()] == Kind::NotNeeded {
            continue;
        }
        if vertex.op.as_source().is_some() {
            kinds[id.index()] = Kind::Source;
        }
        vertex.inputs.iter().for_each(|input| kinds[input.edge.vertex.index()] = Kind::Step);
    }
    kinds
}

fn inputs(graph: &Graph, kinds: &[Kind]) -> Lists {
    let (mut starts, mut ids, mut own) = (Vec::with_capacity(kinds.len() + 1), Vec::new(), Vec::new());
    for (id, vertex) in graph.vertices() {
        starts.push(ids.len() as u32);
        if kinds[id.index()] != Kind::NotNeeded {
            own.extend(vertex.inputs.iter().map(|input| input.edge.vertex));
            own.sort_unstable();
            own.dedup();
            ids.append(&mut own);
        }
    }
    starts.push(ids.len() as u32);
    Lists { starts, ids }
}

/// Turns the lists of inputs around.
fn dependents(needed: &[VertexId], inputs: &Lists) -> Lists {
    let mut starts = vec![0_u32; inputs.starts.len()];
    inputs.ids.iter().for_each(|input| starts[input.index() + 1] += 1);
    for place in 1..starts.len() {
        starts[place] += starts[place - 1];
    }
    let mut next = starts.clone();
    let mut ids = inputs.ids.clone();
    for id in needed {
        for input in inputs.of(*id) {
            let place = &mut next[input.index()];
            ids[*place as usize] = *id;
            *place += 1;
        }
    }
    Lists { starts, ids }
}
