//! Telling what happens, with the engine's own work shown as steps like any other.

use std::sync::Arc;
use std::time::Duration;

use executor::Report;
use oci::{Digest, Timestamp};

use crate::chain;
use crate::event::{Event, Outcome, StepFinished, StepOutput, StepProgress, StepStarted, StepUsage, Stream, Warning};

/// Takes events in the order in which they happen; cheap to clone. It must not block for long.
#[derive(Clone)]
pub struct EventSink(Arc<dyn Fn(Event) + Send + Sync>);

impl EventSink {
    /// Hands every event to `take`.
    pub fn new(take: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// Hands over an event.
    pub fn send(&self, event: Event) {
        (self.0)(event);
    }

    /// Begins a step of the engine's own, such as `[internal] load build definition from Dockerfile`.
    pub(crate) fn step(&self, name: impl Into<String>) -> OwnStep {
        let name = name.into();
        let step = Digest::of(name.as_bytes());
        self.send(Event::Started(StepStarted { step, name: name.clone(), inputs: Vec::new(), at: Timestamp::now() }));
        OwnStep { events: self.clone(), step, name, outcome: Some(Outcome::Cancelled) }
    }

    /// Translates what a running step of the graph reports.
    pub(crate) fn report(&self, report: Report) {
        let at = Timestamp::now();
        self.send(match report {
            Report::Output { step, stream, bytes } => {
                let stream = match stream {
                    executor::Stream::Stdout => Stream::Stdout,
                    executor::Stream::Stderr => Stream::Stderr,
                };
                Event::Output(StepOutput { step, stream, bytes, at })
            }
            Report::Progress { step, id, current_bytes, total_bytes, is_done } => {
                let completed = is_done.then_some(at);
                Event::Progress(StepProgress { step, id, current_bytes, total_bytes, started: at, completed, at })
            }
            Report::Warning { step, short, detail } => {
                Event::Warning(Warning { step, short, detail, url: String::new(), excerpt: None, diagnostic: None })
            }
            Report::Usage { step, usage } => Event::Usage(step_usage(step, &usage)),
            Report::Internal { step, name, is_done: false } => {
                Event::Started(StepStarted { step, name, inputs: Vec::new(), at })
            }
            Report::Internal { step, name, is_done: true } => {
                Event::Finished(StepFinished { step, name, outcome: Outcome::Done, at })
            }
        });
    }
}

fn step_usage(step: Digest, usage: &executor::Usage) -> StepUsage {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    StepUsage {
        step,
        cpu_user_micros: micros(usage.cpu_user),
        cpu_system_micros: micros(usage.cpu_system),
        memory_peak_bytes: usage.memory_peak_bytes,
        written_bytes: usage.written_bytes,
        attempts: usage.attempts,
    }
}

/// A step of the engine's own. Dropped without [`OwnStep::done`] or [`OwnStep::failed`], it was cancelled.
pub(crate) struct OwnStep {
    events: EventSink,
    step: Digest,
    name: String,
    outcome: Option<Outcome>,
}

impl OwnStep {
    /// Returns what names the step.
    pub(crate) fn digest(&self) -> Digest {
        self.step
    }

    /// Begins a part of the step; it ends when what is returned is dropped.
    pub(crate) fn part(&self, id: impl Into<String>) -> Part<'_> {
        let part = Part { step: self, id: id.into(), started: Timestamp::now() };
        part.report(None);
        part
    }

    /// Ends the step well.
    pub(crate) fn done(mut self) {
        self.outcome = Some(Outcome::Done);
    }

    /// Ends the step badly, and returns why.
    pub(crate) fn failed<E: std::error::Error + 'static>(mut self, error: E) -> E {
        self.outcome = Some(Outcome::Failed(chain(&error)));
        error
    }

    /// Ends the step by how something went.
    pub(crate) fn end<T, E: std::error::Error + 'static>(self, result: Result<T, E>) -> Result<T, E> {
        match result {
            Ok(value) => {
                self.done();
                Ok(value)
            }
            Err(error) => Err(self.failed(error)),
        }
    }
}

impl Drop for OwnStep {
    fn drop(&mut self) {
        let Some(outcome) = self.outcome.take() else { return };
        let (step, name, at) = (self.step, std::mem::take(&mut self.name), Timestamp::now());
        self.events.send(Event::Finished(StepFinished { step, name, outcome, at }));
    }
}

/// A part of a step.
pub(crate) struct Part<'a> {
    step: &'a OwnStep,
    id: String,
    started: Timestamp,
}

impl Part<'_> {
    fn report(&self, completed: Option<Timestamp>) {
        self.step.events.send(Event::Progress(StepProgress {
            step: self.step.step,
            id: self.id.clone(),
            current_bytes: 0,
            total_bytes: None,
            started: self.started,
            completed,
            at: Timestamp::now(),
        }));
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.report(Some(Timestamp::now()));
    }
}
