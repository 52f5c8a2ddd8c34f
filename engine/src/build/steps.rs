//! From what the solver says of vertices to what users see of steps.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use executor::ExecError;
use llb::{Graph, Source, VertexId};
use oci::{Digest, Timestamp};
use solver::StepEvent;
use store::StoreError;

use crate::chain;
use crate::event::{Event, Outcome, StepFinished, StepStarted, Warning};
use crate::event_sink::EventSink;

/// Translates what the solver says.
pub(crate) struct StepTranslator<'a> {
    graph: &'a Graph,
    events: EventSink,
    /// Steps that failed: their end is told together with why, which comes later.
    failed: Mutex<BTreeMap<VertexId, Timestamp>>,
}

impl<'a> StepTranslator<'a> {
    pub(crate) fn new(graph: &'a Graph, events: EventSink) -> Self {
        Self { graph, events, failed: Mutex::default() }
    }

    /// Hands on one thing that happened to a vertex.
    pub(crate) fn translate(&self, event: StepEvent) {
        let (id, at) = (vertex_of(&event), Timestamp::now());
        if !self.is_shown(id) {
            return;
        }
        let vertex = &self.graph[id];
        let (step, name) = (vertex.digest, vertex.hints.name.clone());
        let outcome = match event {
            StepEvent::Started(_) => {
                let inputs = vertex.inputs.iter().map(|input| input.edge.vertex);
                let inputs: Vec<Digest> =
                    inputs.filter(|input| self.is_shown(*input)).map(|input| self.graph[input].digest).collect();
                return self.events.send(Event::Started(StepStarted { step, name, inputs, at }));
            }
            StepEvent::Finished(_, solver::Outcome::Failed) => {
                self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(id, at);
                return;
            }
            StepEvent::Finished(_, solver::Outcome::Ran) => Outcome::Done,
            StepEvent::Finished(_, solver::Outcome::Cached) => Outcome::Cached,
            StepEvent::Finished(_, solver::Outcome::Cancelled) => Outcome::Cancelled,
            StepEvent::Finished(_, solver::Outcome::NotRun) => Outcome::NotRun,
        };
        self.events.send(Event::Finished(StepFinished { step, name, outcome, at }));
    }

    /// Says why a step failed.
    pub(crate) fn failed(&self, id: VertexId, error: &ExecError) {
        let at = self.failed.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let vertex = &self.graph[id];
        let (step, name, outcome) = (vertex.digest, vertex.hints.name.clone(), Outcome::Failed(chain(error)));
        let at = at.unwrap_or_else(Timestamp::now);
        self.events.send(Event::Finished(StepFinished { step, name, outcome, at }));
    }

    /// Tells whether users see a vertex. What needs no work is not shown, and reading the build context is shown where it happens.
    fn is_shown(&self, id: VertexId) -> bool {
        let vertex = &self.graph[id];
        let is_silent = matches!(vertex.op.as_source(), Some(Source::Scratch | Source::Local(_) | Source::Inline(_)));
        !is_silent && !vertex.hints.name.is_empty()
    }
}

fn vertex_of(event: &StepEvent) -> VertexId {
    match event {
        StepEvent::Started(id) | StepEvent::Finished(id, _) => *id,
    }
}

/// Says that the cache is not what it should be; the build goes on without it.
pub(crate) fn cache_trouble(events: &EventSink, trouble: &StoreError) {
    let short = format!("the build cache cannot be used: {}", chain(trouble));
    let step = Digest::of(b"[internal] build cache");
    let (detail, url) = ("steps may run although they ran before".to_owned(), String::new());
    events.send(Event::Warning(Warning { step, short, detail, url, excerpt: None }));
}
