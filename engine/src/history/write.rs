//! Writing the file of a build while it runs.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use oci::Timestamp;
use rustix::fs::{FlockOperation, flock};

use super::bound::{self, BUILD_BYTES_MAX};
use super::facts::StepFacts;
use super::record::{BuildBegin, BuildEnd, Line, clip_error};
use crate::build::{BuildOutcome, BuildRequest};
use crate::event::{Event, Outcome};
use crate::event_sink::EventSink;
use crate::{Error, chain};

/// What buildx calls the builder of this machine, and its only node.
const BUILDER: &str = "default";
/// How many random bytes an id has; it is written in hexadecimal digits.
const ID_BYTES: usize = 12;
/// How much is gathered before it is written.
const BUFFER_BYTES: usize = 64 << 10;
/// Builds that ran nothing look for what is too much only now and then: one in so many.
const TRIM_EVERY: u32 = 32;

/// The history of one build while it is made.
pub(crate) struct Recording {
    history: PathBuf,
    path: PathBuf,
    project: String,
    id: String,
    began: Timestamp,
    state: Arc<Mutex<State>>,
}

struct State {
    /// `None` once something went wrong.
    out: Option<BufWriter<File>>,
    written_bytes: u64,
    steps: usize,
    cached: usize,
    ran: usize,
    failure: Option<io::Error>,
}

impl Recording {
    /// Begins the file of a build. What goes wrong is kept and told at the end.
    pub(crate) fn begin(history: &Path, request: &BuildRequest) -> Self {
        let began = Timestamp::now();
        let mut id = [0; ID_BYTES];
        // The kernel's generator cannot fail once the machine has started; were it to, ids would only be less random.
        let _ = rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty());
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let begin = BuildBegin::of(request, id.clone(), began);
        let project = begin.project();
        let path = history.join(format!("{}-{project}-{id}", name_of_time(began)));
        let mut state = State { out: None, written_bytes: 0, steps: 0, cached: 0, ran: 0, failure: None };
        match create(history, &path) {
            Ok(file) => {
                state.out = Some(BufWriter::with_capacity(BUFFER_BYTES, file));
                state.write(&Line::Begin(begin));
                state.flush();
            }
            Err(error) => state.failure = Some(error),
        }
        Self { history: history.to_owned(), path, project, id, began, state: Arc::new(Mutex::new(state)) }
    }

    /// Returns a sink that records every event and hands it on.
    pub(crate) fn record(&self, events: &EventSink) -> EventSink {
        let (state, events) = (self.state.clone(), events.clone());
        EventSink::new(move |event| {
            let mut locked = state.lock().unwrap_or_else(PoisonError::into_inner);
            let event = locked.event(event);
            drop(locked);
            events.send(event);
        })
    }

    /// Returns what the name of a file of a later build of the same context and Dockerfile has in its middle.
    pub(crate) fn project(&self) -> &str {
        &self.project
    }

    /// Returns what the build is called outside: builder, node and id, as with buildx.
    pub(crate) fn build_ref(&self) -> String {
        format!("{BUILDER}/{BUILDER}/{}", self.id)
    }

    /// Returns when the build began.
    pub(crate) fn began(&self) -> Timestamp {
        self.began
    }

    /// Keeps what is known of the steps.
    pub(crate) fn facts(&self, facts: &[StepFacts]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        facts.iter().for_each(|facts| state.write(&Line::Facts(facts.clone())));
    }

    /// Takes note of something that went wrong beside the file of the build.
    pub(crate) fn heed(&self, kept: io::Result<()>) {
        if let Err(error) = kept {
            self.state.lock().unwrap_or_else(PoisonError::into_inner).failure.get_or_insert(error);
        }
    }

    /// Ends the file, and removes the history of old builds that is too much. Returns what went wrong with the history.
    pub(crate) fn end(self, result: &Result<BuildOutcome, Error>) -> Option<Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Timestamp::now();
        let (steps, cached) = (state.steps, state.cached);
        let (error, is_cancelled, images) = match result {
            Ok(outcome) => (None, false, outcome.images.clone()),
            Err(error) => (Some(clip_error(chain(error))), matches!(error, Error::Cancelled), Vec::new()),
        };
        state.write(&Line::End(BuildEnd { at, error, is_cancelled, images, steps, cached }));
        state.flush();
        // Whatever is told late has no place after the last line.
        state.out = None;
        let is_due = state.ran > 0 || self.began.subsec_nanoseconds().is_multiple_of(TRIM_EVERY);
        if is_due && let Err(error) = bound::trim(&self.history) {
            state.failure.get_or_insert(error);
        }
        let failure = state.failure.take()?;
        Some(Error::File { action: "keep the history of this build in", path: self.path.clone(), source: failure })
    }
}

/// Returns a time as it begins the name of a file, so that names sort by it.
pub(super) fn name_of_time(time: Timestamp) -> String {
    let seconds = u64::try_from(time.unix_seconds()).unwrap_or(0);
    format!("{:016x}", seconds.saturating_mul(1_000_000_000) + u64::from(time.subsec_nanoseconds()))
}

fn create(history: &Path, path: &Path) -> io::Result<File> {
    let file = match File::create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(history)?;
            File::create_new(path)
        }
        created => created,
    }?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

impl State {
    /// Records an event and gives it back.
    fn event(&mut self, event: Event) -> Event {
        let (is_kept, is_urgent) = match &event {
            // Only how parts ended is worth keeping.
            Event::Progress(progress) => (progress.completed.is_some(), false),
            Event::Output(_) => (self.written_bytes < BUILD_BYTES_MAX, true),
            Event::Finished(finished) => {
                self.steps += 1;
                self.cached += usize::from(finished.outcome == Outcome::Cached);
                (true, finished.outcome != Outcome::Cached)
            }
            Event::Reason(_) => {
                self.ran += 1;
                (true, false)
            }
            Event::Started(_) | Event::Warning(_) | Event::Usage(_) => (true, false),
        };
        if !is_kept {
            return event;
        }
        let line = Line::Event(event);
        self.write(&line);
        // Whoever looks while the build runs, or after it was killed, finds what there was.
        if is_urgent && self.is_worth_writing() {
            self.flush();
        }
        match line {
            Line::Event(event) => event,
            _ => unreachable!("it was put in above"),
        }
    }

    /// Tells whether enough has been gathered to be worth a write of its own.
    fn is_worth_writing(&self) -> bool {
        self.out.as_ref().is_some_and(|out| out.buffer().len() > BUFFER_BYTES / 16)
    }

    fn write(&mut self, line: &Line) {
        let Some(out) = &mut self.out else { return };
        let text = serde_json::to_vec(line).map_err(io::Error::from);
        let written = text.and_then(|mut text| {
            text.push(b'\n');
            self.written_bytes += text.len() as u64;
            out.write_all(&text)
        });
        if let Err(error) = written {
            self.fail(error);
        }
    }

    fn flush(&mut self) {
        if let Some(Err(error)) = self.out.as_mut().map(Write::flush) {
            self.fail(error);
        }
    }

    fn fail(&mut self, error: io::Error) {
        self.failure.get_or_insert(error);
        // What is buffered is lost; a writer that is dropped would try to write it once more.
        if let Some(out) = self.out.take() {
            drop(out.into_parts());
        }
    }
}
