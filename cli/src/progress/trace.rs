//! What is known of a build's steps so far, in the order in which they were first heard of.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::event::{Event, Outcome, StepProgress, StepUsage};
use oci::{Digest, Timestamp};

/// The steps of a build.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) steps: Vec<Step>,
    by_digest: BTreeMap<Digest, usize>,
    /// The latest time that was heard of; at first, the epoch.
    pub(super) now: Timestamp,
    /// When the first step began.
    pub(super) started: Option<Timestamp>,
}

/// A step.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) digest: Digest,
    pub(super) name: String,
    pub(super) inputs: Vec<Digest>,
    /// `None` for a step that never began.
    pub(super) started: Option<Timestamp>,
    /// How and when it ended; `None` while it runs.
    pub(super) ended: Option<(Outcome, Timestamp)>,
    /// The parts that it reported, each as it was reported last.
    pub(super) parts: Vec<StepProgress>,
    /// The warnings about it, each in one line.
    pub(super) warnings: Vec<String>,
    /// What its command used, once it has ended.
    pub(super) usage: Option<StepUsage>,
}

/// What an event changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The position in [`Trace::steps`].
    pub(super) step: usize,
    /// The position in [`Step::parts`] if it is a part that changed.
    pub(super) part: Option<usize>,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self { steps: Vec::new(), by_digest: BTreeMap::new(), now: Timestamp::EPOCH, started: None }
    }

    /// Takes an event into account; `None` when it is about a step that was never announced.
    pub(super) fn apply(&mut self, event: &Event) -> Option<Change> {
        let change = |step| Some(Change { step, part: None });
        match event {
            Event::Started(started) => {
                self.advance(started.at);
                self.started.get_or_insert(started.at);
                let at = self.step(started.step, &started.name);
                let step = &mut self.steps[at];
                step.inputs.clone_from(&started.inputs);
                step.started = Some(started.at);
                change(at)
            }
            Event::Output(output) => {
                self.advance(output.at);
                change(*self.by_digest.get(&output.step)?)
            }
            Event::Progress(progress) => {
                self.advance(progress.at);
                let at = *self.by_digest.get(&progress.step)?;
                Some(Change { step: at, part: Some(self.steps[at].update_part(progress)) })
            }
            Event::Finished(finished) => {
                self.advance(finished.at);
                let at = self.step(finished.step, &finished.name);
                self.steps[at].ended = Some((finished.outcome.clone(), finished.at));
                change(at)
            }
            Event::Warning(warning) => {
                let at = *self.by_digest.get(&warning.step)?;
                self.steps[at].warnings.push(warning.short.clone());
                change(at)
            }
            // Shown with the end of the step, which is next.
            Event::Usage(usage) => {
                let at = *self.by_digest.get(&usage.step)?;
                self.steps[at].usage = Some(usage.clone());
                None
            }
            // Shown when everything has ended, by those who were asked for it.
            Event::Reason(_) => None,
        }
    }

    /// Notes that it is `now`, if it was not later already.
    pub(super) fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    fn step(&mut self, digest: Digest, name: &str) -> usize {
        *self.by_digest.entry(digest).or_insert_with(|| {
            self.steps.push(Step::new(digest, name));
            self.steps.len() - 1
        })
    }
}

impl Step {
    fn new(digest: Digest, name: &str) -> Self {
        Self {
            digest,
            name: name.to_owned(),
            inputs: Vec::new(),
            started: None,
            ended: None,
            parts: Vec::new(),
            warnings: Vec::new(),
            usage: None,
        }
    }

    fn update_part(&mut self, progress: &StepProgress) -> usize {
        match self.parts.iter().position(|part| part.id == progress.id) {
            Some(at) => {
                self.parts[at] = progress.clone();
                at
            }
            None => {
                self.parts.push(progress.clone());
                self.parts.len() - 1
            }
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.started.is_some() && self.ended.is_none()
    }

    /// How long it ran, or has run by `now`.
    pub(super) fn elapsed(&self, now: Timestamp) -> Duration {
        let until = self.ended.as_ref().map_or(now, |(_, at)| *at);
        self.started.map_or(Duration::ZERO, |started| until.since(started))
    }

    /// Why it failed, if it did.
    pub(super) fn failure(&self) -> Option<&str> {
        match &self.ended {
            Some((Outcome::Failed(reason), _)) => Some(reason),
            _ => None,
        }
    }
}

/// Returns a time within a step as its output shows it: seconds with three decimals below ten, two below a hundred, then one.
pub(super) fn log_time(elapsed: Duration) -> String {
    let decimals = match elapsed.as_secs() {
        0..10 => 3,
        10..100 => 2,
        _ => 1,
    };
    format!("{:.decimals$}", elapsed.as_secs_f64())
}
