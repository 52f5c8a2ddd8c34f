//! What a build knows of its own past: how long its steps took, why they run, and what is kept of them for the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use executor::Executor;
use llb::{Graph, Source, VertexId};
use oci::{Digest, Timestamp};

use super::steps::Heard;
use crate::Engine;
use crate::event::{Event, StepReason};
use crate::event_sink::EventSink;
use crate::history::{Explainer, Former, Recording, StepFacts, listing};

/// The past of a build. Nothing of it is read before somebody asks.
pub(crate) struct Past<'a> {
    engine: &'a Engine,
    graph: &'a Graph,
    project: &'a str,
    began: Timestamp,
    former: OnceLock<Former>,
}

impl<'a> Past<'a> {
    /// Prepares for the questions of a build of `project` that began at `began`.
    pub(crate) fn new(engine: &'a Engine, graph: &'a Graph, project: &'a str, began: Timestamp) -> Self {
        Self { engine, graph, project, began, former: OnceLock::new() }
    }

    fn former(&self) -> &Former {
        self.former.get_or_init(|| Former::load(&self.engine.store.history_dir(), self.project, self.began))
    }

    /// Returns what is known of the steps that are no sources, in the order of the Dockerfile.
    fn facts(&self, heard: &Heard) -> Vec<StepFacts> {
        let steps = heard.keys.iter().filter(|(id, _)| self.graph[**id].op.as_source().is_none());
        steps.map(|(id, keys)| StepFacts::of(self.graph, *id, keys)).collect()
    }

    /// Hands the steps with their facts to `ask`, together with what can say more of them. `ran` are those that ran or would run.
    fn with_explainer<T>(&self, heard: &Heard, ran: &BTreeSet<VertexId>, ask: impl FnOnce(&Explainer<'_>) -> T) -> T {
        let steps = self.facts(heard);
        let ran: BTreeSet<Digest> = ran.iter().map(|id| self.graph[*id].digest).collect();
        let pruned = |key: &Digest| {
            let at = self.engine.store.cache().read(|reader| cache::pruned_at(reader, key));
            // A cache that cannot be read has been complained of already.
            at.unwrap_or_default()
        };
        let history = self.engine.store.history_dir();
        ask(&Explainer { steps: &steps, former: self.former(), ran: &ran, pruned: &pruned, history: &history })
    }

    /// Returns how long steps took when they were run last, as far as that is known.
    pub(crate) fn times(&self, heard: &Heard) -> BTreeMap<VertexId, Duration> {
        self.with_explainer(heard, &BTreeSet::new(), |explainer| {
            let time = |step: &StepFacts| Some((self.graph.find(&step.step)?, explainer.last_time(step)?));
            explainer.steps.iter().filter_map(time).collect()
        })
    }

    /// Returns why steps ran or would run, in the order of the Dockerfile.
    pub(crate) fn reasons(&self, heard: &Heard, ran: &BTreeSet<VertexId>) -> BTreeMap<VertexId, String> {
        if ran.iter().all(|id| self.graph[*id].op.as_source().is_some()) {
            return BTreeMap::new();
        }
        self.with_explainer(heard, ran, |explainer| {
            let ran = explainer.steps.iter().filter(|step| explainer.ran.contains(&step.step));
            ran.filter_map(|step| Some((self.graph.find(&step.step)?, explainer.reason(step)))).collect()
        })
    }

    /// Tells why the steps ran, and keeps what the next build wants to know of all of them.
    pub(crate) fn conclude(&self, heard: &Heard, executor: &Executor<'_>, recording: &Recording, events: &EventSink) {
        recording.heed(self.keep_listings(heard, executor));
        for (id, reason) in self.reasons(heard, &heard.ran) {
            let vertex = &self.graph[id];
            events.send(Event::Reason(StepReason { step: vertex.digest, name: vertex.hints.name.clone(), reason }));
        }
        recording.facts(&self.facts(heard));
    }

    /// Keeps what the steps saw of build contexts, where that is not kept yet: it is what a difference is found in.
    pub(crate) fn keep_listings(&self, heard: &Heard, executor: &Executor<'_>) -> std::io::Result<()> {
        let history = self.engine.store.history_dir();
        for (id, keys) in &heard.keys {
            for (input, pin) in self.graph[*id].inputs.iter().zip(&keys.pins) {
                let source = input.edge.vertex;
                if let (Some(Source::Local(_)), Some(pin)) = (self.graph[source].op.as_source(), pin) {
                    listing::put(&history, pin, |take| executor.seen_files(source, input.selection.as_ref(), take))?;
                }
            }
        }
        Ok(())
    }
}
