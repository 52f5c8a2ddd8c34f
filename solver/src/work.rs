//! The state of every step. A step is in exactly one state, and [`Work::set`] is the only place where one changes.
//!
//! ```text
//! Idle ── wanted ──> Waiting ── inputs there ──> Preparing ── no result ──> Fetching ── sources there ──> Ready ──> Executing ──> Recording ──> Done
//!   │                                                │ hit                                                              │
//!   └── hit ──> Done  <──────────────────────────────┘                                                                  └── failed ──> Ended
//! ```
//! A source goes from Idle to Ready as soon as a step that needs it has no result, and from Executing to Done: it has no result to be recorded.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use llb::{Edge, Graph, VertexId};
use oci::Digest;

use crate::ports::{Outcome, StepEvent, StepKeys};
use crate::shape::Shape;
use crate::step::Seen;

/// Where a step stands.
pub(crate) enum State<S, L> {
    /// Nothing needs it so far.
    Idle,
    /// It is to be made, and some of its inputs that are steps are not there.
    Waiting,
    /// It is being looked up by content, or another process holds its lock.
    Preparing,
    /// There is no result, and some of its sources are not there.
    Fetching(Held<L>),
    /// It can start as soon as a place is free. Sources hold nothing.
    Ready(Option<Held<L>>),
    /// It is running. The lock is held by it.
    Executing,
    /// It has run; what it made can be used, but may yet be replaced by an equal older result.
    Recording(Outputs<S>),
    /// Its result is there.
    Done(Outputs<S>),
    /// It has no result and will have none.
    Ended,
}

/// The snapshots of a step, by output. Nearly every step has one, which needs no place of its own on the heap.
pub(crate) enum Outputs<S> {
    One(S),
    Several(Vec<S>),
}

impl<S> From<Vec<S>> for Outputs<S> {
    fn from(mut outputs: Vec<S>) -> Self {
        match (outputs.len(), outputs.pop()) {
            (1, Some(output)) => Self::One(output),
            (_, last) => {
                outputs.extend(last);
                Self::Several(outputs)
            }
        }
    }
}

impl<S> Outputs<S> {
    fn as_slice(&self) -> &[S] {
        match self {
            Self::One(output) => std::slice::from_ref(output),
            Self::Several(outputs) => outputs,
        }
    }
}

/// What a step keeps from its preparation until it is recorded.
pub(crate) struct Held<L> {
    /// Keep every other process from making the same.
    pub(crate) locks: Vec<L>,
    /// The content key, where it was needed for looking up.
    pub(crate) content: Option<Digest>,
}

/// All that is known about one step.
pub(crate) struct Step<S, L> {
    /// Where it stands.
    state: State<S, L>,
    /// The definition key; for sources it means nothing.
    pub(crate) definition: Digest,
    /// Whether it ignores the cache or stands above a step that does.
    pub(crate) fresh: bool,
    /// Whether some result of its operation is recorded.
    pub(crate) known: bool,
    /// How long it and the longest chain of steps that need it take, as far as that is known.
    pub(crate) chain: Duration,
    /// How many steps it waits for: while Waiting those among its inputs that are not sources, while Fetching those that are.
    pub(crate) missing: usize,
    /// What was reported of it.
    reported: Reported,
}

/// What was reported of a step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reported {
    Nothing,
    Start,
    End,
}

/// Whom a step served before its state changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    /// Nobody.
    Nobody,
    /// The dependents whose operations were never run, which start on what is not recorded yet.
    Unknown,
}

/// The state of every step, and who is told when it changes.
pub(crate) struct Work<'a, S, L> {
    pub(crate) graph: &'a Graph,
    pub(crate) shape: Shape,
    steps: Vec<Step<S, L>>,
    /// The steps that are ready, the next one first: that with the longest chain, and of equal ones the first of the Dockerfile.
    ready: BTreeSet<(Reverse<Duration>, VertexId)>,
    observe: &'a (dyn Fn(StepEvent) + Sync),
}

impl<'a, S: Clone, L> Work<'a, S, L> {
    /// Starts with every step idle.
    pub(crate) fn new(graph: &'a Graph, targets: &[Edge], observe: &'a (dyn Fn(StepEvent) + Sync)) -> Self {
        let idle = || Step {
            state: State::Idle,
            definition: Digest::from_bytes([0; 32]),
            fresh: false,
            known: false,
            chain: Duration::ZERO,
            missing: 0,
            reported: Reported::Nothing,
        };
        let steps = std::iter::repeat_with(idle).take(graph.len()).collect();
        Self { graph, shape: Shape::new(graph, targets), steps, ready: BTreeSet::new(), observe }
    }

    pub(crate) fn step(&self, id: VertexId) -> &Step<S, L> {
        &self.steps[id.index()]
    }

    pub(crate) fn step_mut(&mut self, id: VertexId) -> &mut Step<S, L> {
        &mut self.steps[id.index()]
    }

    pub(crate) fn state(&self, id: VertexId) -> &State<S, L> {
        &self.steps[id.index()].state
    }

    /// Moves a step to another state and returns the one that it was in.
    pub(crate) fn set(&mut self, id: VertexId, state: State<S, L>) -> State<S, L> {
        if matches!(state, State::Executing) {
            self.report_start(id);
        }
        let place = (Reverse(self.steps[id.index()].chain), id);
        match (&state, &self.steps[id.index()].state) {
            (State::Ready(_), _) => drop(self.ready.insert(place)),
            (_, State::Ready(_)) => drop(self.ready.remove(&place)),
            _ => {}
        }
        std::mem::replace(&mut self.steps[id.index()].state, state)
    }

    /// Moves a step whose sources are all there from Fetching to Ready.
    pub(crate) fn make_ready(&mut self, id: VertexId) {
        if let State::Fetching(held) = self.set(id, State::Idle) {
            self.set(id, State::Ready(Some(held)));
        }
    }

    /// Returns the step that is to start next.
    pub(crate) fn next_ready(&self) -> Option<VertexId> {
        self.ready.first().map(|(_, id)| *id)
    }

    /// Tells what was found out of a step.
    pub(crate) fn report_keys(&self, id: VertexId, keys: StepKeys) {
        (self.observe)(StepEvent::Keyed(id, keys));
    }

    fn report_start(&mut self, id: VertexId) {
        let reported = &mut self.steps[id.index()].reported;
        if *reported < Reported::Start {
            *reported = Reported::Start;
            (self.observe)(StepEvent::Started(id));
        }
    }

    /// Reports how a step ended; only the first report counts.
    pub(crate) fn report(&mut self, id: VertexId, outcome: Outcome) {
        if outcome == Outcome::Cached {
            self.report_start(id);
        }
        if std::mem::replace(&mut self.steps[id.index()].reported, Reported::End) != Reported::End {
            (self.observe)(StepEvent::Finished(id, outcome));
        }
    }

    pub(crate) fn is_source(&self, id: VertexId) -> bool {
        self.shape.is_source(id)
    }

    /// Returns the outputs of a step, once it has run or been found.
    pub(crate) fn outputs(&self, id: VertexId) -> Option<&[S]> {
        match self.state(id) {
            State::Recording(outputs) | State::Done(outputs) => Some(outputs.as_slice()),
            _ => None,
        }
    }

    /// Tells whether `dependent` can go on with what `id` made.
    ///
    /// A step whose operation was run before waits until its input is recorded: then it gets the older of two equal snapshots and may hit. Any other step starts
    /// at once on what is there.
    fn serves(&self, id: VertexId, dependent: VertexId) -> bool {
        match self.state(id) {
            State::Done(_) => true,
            State::Recording(_) => !self.step(dependent).known,
            _ => false,
        }
    }

    /// Returns the inputs of a step that are sources, or those that are not, each once.
    pub(crate) fn inputs(&self, id: VertexId, sources: bool) -> impl Iterator<Item = VertexId> {
        self.shape.inputs(id).iter().copied().filter(move |input| self.is_source(*input) == sources)
    }

    /// Counts what a step waits for, once it is known which of its inputs were found.
    pub(crate) fn count_missing(&mut self, id: VertexId) {
        let missing = self.inputs(id, false).filter(|input| !self.serves(*input, id)).count();
        self.step_mut(id).missing = missing;
    }

    /// Takes a step off the list of what its dependents wait for and returns those that now wait for nothing.
    ///
    /// `before` tells whom it served before its state changed, so that nobody counts it twice.
    pub(crate) fn served(&mut self, id: VertexId, before: Served) -> Vec<VertexId> {
        let mut free = Vec::new();
        for place in 0..self.shape.dependents(id).len() {
            let dependent = self.shape.dependents(id)[place];
            let counts = match self.state(dependent) {
                // A step that waits for others does not count its sources yet.
                State::Waiting if self.is_source(id) => false,
                State::Waiting => {
                    self.serves(id, dependent) && (before == Served::Nobody || self.step(dependent).known)
                }
                State::Fetching(_) => self.is_source(id),
                _ => false,
            };
            if counts {
                let step = self.step_mut(dependent);
                step.missing -= 1;
                if step.missing == 0 {
                    free.push(dependent);
                }
            }
        }
        free
    }

    /// Returns the snapshot behind input `place` of a step.
    pub(crate) fn input_snapshot(&self, id: VertexId, place: usize) -> Option<S> {
        let edge = self.graph[id].inputs[place].edge;
        self.outputs(edge.vertex)?.get(edge.output as usize).cloned()
    }

    /// Returns what a step sees of its inputs, or `None` while a step among them has no outputs.
    pub(crate) fn seen(&self, id: VertexId, pin: impl Fn(usize) -> Option<Digest>) -> Option<Vec<Seen<S>>> {
        let places = 0..self.graph[id].inputs.len();
        let seen = places.map(|place| match pin(place) {
            Some(pin) => Some(Seen::Pin(pin)),
            None => self.input_snapshot(id, place).map(Seen::Snapshot),
        });
        seen.collect()
    }

    /// Ends all steps that have no result: the running ones were stopped, the others never ran.
    pub(crate) fn end_all(&mut self) {
        for id in self.shape.needed().iter().copied() {
            let outcome = match self.state(id) {
                State::Idle | State::Done(_) | State::Ended => continue,
                State::Waiting | State::Preparing | State::Fetching(_) | State::Ready(_) => Outcome::NotRun,
                State::Executing | State::Recording(_) => Outcome::Cancelled,
            };
            self.set(id, State::Ended);
            self.report(id, outcome);
        }
    }
}
