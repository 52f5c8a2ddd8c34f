//! From what the solver says of vertices to what users see of steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use executor::ExecError;
use llb::{Graph, Source, VertexId};
use oci::{Digest, Timestamp};
use solver::{StepEvent, StepKeys};
use store::StoreError;

use crate::check::of_store;
use crate::event::{Event, Outcome, StepFinished, StepStarted, Warning};
use crate::event_sink::EventSink;
use crate::{Error, chain};

/// Translates what the solver says.
pub(crate) struct StepTranslator<'a> {
    graph: &'a Graph,
    events: EventSink,
    /// Steps that failed: their end is told together with why, which comes later.
    failed: Mutex<BTreeMap<VertexId, Timestamp>>,
    heard: Mutex<Heard>,
}

/// What the solver said of the steps.
#[derive(Default)]
pub(crate) struct Heard {
    /// The keys of the steps that the targets need.
    pub(crate) keys: BTreeMap<VertexId, StepKeys>,
    /// Those that were started and not found, whatever came of them.
    pub(crate) ran: BTreeSet<VertexId>,
}

impl<'a> StepTranslator<'a> {
    pub(crate) fn new(graph: &'a Graph, events: EventSink) -> Self {
        Self { graph, events, failed: Mutex::default(), heard: Mutex::default() }
    }

    /// Returns what was said so far, without what was returned before.
    pub(crate) fn take_heard(&self) -> Heard {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lends what was said so far.
    pub(crate) fn with_heard<T>(&self, ask: impl FnOnce(&Heard) -> T) -> T {
        ask(&self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn hear(&self, event: &StepEvent) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            StepEvent::Keyed(id, keys) => drop(heard.keys.insert(*id, keys.clone())),
            StepEvent::Finished(id, solver::Outcome::Ran | solver::Outcome::Failed | solver::Outcome::Cancelled) => {
                heard.ran.insert(*id);
            }
            StepEvent::Started(_) | StepEvent::Finished(..) => {}
        }
    }

    /// Hands on one thing that happened to a vertex.
    pub(crate) fn translate(&self, event: StepEvent) {
        self.hear(&event);
        let (id, at) = (vertex_of(&event), Timestamp::now());
        if !self.is_shown(id) {
            return;
        }
        let vertex = &self.graph[id];
        let (step, name) = (vertex.digest, vertex.hints.name.clone());
        let outcome = match event {
            StepEvent::Keyed(..) => return,
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
    pub(crate) fn is_shown(&self, id: VertexId) -> bool {
        let vertex = &self.graph[id];
        let is_silent = matches!(vertex.op.as_source(), Some(Source::Scratch | Source::Local(_) | Source::Inline(_)));
        !is_silent && !vertex.hints.name.is_empty()
    }
}

fn vertex_of(event: &StepEvent) -> VertexId {
    match event {
        StepEvent::Keyed(id, _) | StepEvent::Started(id) | StepEvent::Finished(id, _) => *id,
    }
}

/// Says that the cache is not what it should be; the build goes on without it.
pub(crate) fn cache_trouble(events: &EventSink, trouble: &StoreError) {
    let short = format!("the build cache cannot be used: {}", chain(trouble));
    let step = Digest::of(b"[internal] build cache");
    let (detail, url) = ("steps may run although they ran before".to_owned(), String::new());
    events.send(Event::Warning(Warning { step, short, detail, url, excerpt: None, diagnostic: None }));
}

/// Says that something of the steps' network may be left.
pub(crate) fn network_trouble(events: &EventSink, trouble: &(dyn std::error::Error + 'static)) {
    let short = format!("the network of the steps was not taken down as it should be: {}", chain(trouble));
    let step = Digest::of(b"[internal] network");
    let (detail, url) = ("the next build that needs a network tries again".to_owned(), String::new());
    events.send(Event::Warning(Warning { step, short, detail, url, excerpt: None, diagnostic: None }));
}

/// Says that something is not what it was, and that it is made or fetched again.
pub(crate) fn damage_trouble(events: &EventSink, found: &Error) {
    let found = of_store(found).map_or_else(|| chain(found), |error| chain(error));
    let short = format!("{found}: it is made or fetched again");
    let step = Digest::of(b"[internal] store");
    let (detail, url) = ("`kiln system check` looks whether anything else is damaged".to_owned(), String::new());
    events.send(Event::Warning(Warning { step, short, detail, url, excerpt: None, diagnostic: None }));
}

/// Says that a build is not in the history, or not all of it.
pub(crate) fn history_trouble(events: &EventSink, trouble: &Error) {
    let step = Digest::of(b"[internal] build history");
    let (detail, url) = ("`kiln builds` does not know all of this build".to_owned(), String::new());
    events.send(Event::Warning(Warning { step, short: chain(trouble), detail, url, excerpt: None, diagnostic: None }));
}
