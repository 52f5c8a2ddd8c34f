//! What one step has to print and has not printed yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::event::{Event, Outcome, StepProgress, StepUsage, Stream};
use oci::Timestamp;

use crate::format::quantity::progress_size;
use crate::format::text::printable;
use crate::progress::last_lines::LastLines;
use crate::progress::log_limit::Clip;
use crate::progress::plain::turns::Turn;
use crate::progress::settings::Settings;
use crate::progress::trace::{Change, Step, log_time};
use crate::progress::warnings::Detail;

/// How many lines of a failed step are printed again at the end.
const LAST_LINES: usize = 10;

/// The most bytes of all these lines together.
const LAST_LINES_BYTES_MAX: usize = 64 * 1024;

/// The most bytes of an unfinished line that are printed again when the step gets its turn back.
const UNFINISHED_BYTES_MAX: usize = 16 * 1024;

/// A part's progress is printed when it has grown by this share, or after [`PART_INTERVAL`].
const PART_GROWTH: f64 = 0.05;

/// See [`PART_GROWTH`].
const PART_INTERVAL: Duration = Duration::from_secs(5);

/// What one step has to print.
pub(super) struct Speaker {
    /// The number under which it is printed, once it was.
    pub(super) number: Option<u32>,
    /// Whether there is something to print.
    pub(super) has_news: bool,
    /// Since when it waits for its turn, or has it.
    since: Timestamp,
    /// How much happened since then.
    updates: u64,
    /// The parts that changed.
    parts: BTreeSet<usize>,
    /// For each part how far it was and when, as it was last printed.
    parts_printed: BTreeMap<usize, (u64, Timestamp)>,
    warnings_printed: usize,
    output: Waiting,
    /// For standard output and standard error.
    clips: [Clip; 2],
    last_lines: LastLines,
}

/// Lines of output, each with its time in front, that wait to be printed.
#[derive(Default)]
struct Waiting {
    text: Vec<u8>,
    /// Whether the last line goes on.
    is_open: bool,
    /// How much of the first line is on the screen already.
    printed: usize,
}

impl Speaker {
    pub(super) fn new() -> Self {
        Self {
            number: None,
            has_news: false,
            since: Timestamp::EPOCH,
            updates: 0,
            parts: BTreeSet::new(),
            parts_printed: BTreeMap::new(),
            warnings_printed: 0,
            output: Waiting::default(),
            clips: [Clip::default(), Clip::default()],
            last_lines: LastLines::new(LAST_LINES, LAST_LINES_BYTES_MAX),
        }
    }

    /// Takes an event about its step.
    pub(super) fn hear(&mut self, event: &Event, change: Change, step: &Step, now: Timestamp, settings: &Settings) {
        if self.updates == 0 {
            self.since = now;
        }
        self.updates += 1;
        self.has_news = true;
        self.parts.extend(change.part);
        if let Event::Output(output) = event {
            let elapsed = step.elapsed(output.at);
            self.last_lines.push(elapsed, &output.bytes);
            let clip = &mut self.clips[usize::from(output.stream == Stream::Stderr)];
            let (admitted, said) = clip.admit(output.bytes.len(), elapsed, settings.log_limit);
            let time = log_time(elapsed);
            self.output.push(&time, &output.bytes[..admitted]);
            self.output.push(&time, said.unwrap_or_default().as_bytes());
        }
    }

    /// How much output waits.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.output.text.len() - self.output.printed
    }

    pub(super) fn turn(&self, step: usize, now: Timestamp) -> Turn {
        Turn { step, waited: now.since(self.since), updates: self.updates }
    }

    /// Writes that the step goes on while another gets the turn.
    pub(super) fn interrupt(&mut self, text: &mut Vec<u8>) {
        self.output.end_line(text);
        self.updates = 0;
        if let Some(number) = self.number {
            text.extend_from_slice(format!("#{number} ...\n").as_bytes());
        }
    }

    /// Writes all that there is; returns whether that was the last.
    pub(super) fn speak(&mut self, step: &Step, number: u32, detail: Detail, text: &mut Vec<u8>) -> bool {
        self.has_news = false;
        for at in std::mem::take(&mut self.parts) {
            if let Some(part) = step.parts.get(at).filter(|part| self.is_worth_a_line(at, part)) {
                self.output.end_line(text);
                self.parts_printed.insert(at, (part.current_bytes, part.at));
                text.extend_from_slice(format!("#{number} {}\n", part_line(part)).as_bytes());
            }
        }
        for warning in step.warnings.iter().skip(self.warnings_printed) {
            self.output.end_line(text);
            text.extend_from_slice(format!("#{number} WARN: {warning}\n").as_bytes());
        }
        self.warnings_printed = step.warnings.len();
        self.output.print(number, text);
        let Some((outcome, ended_at)) = &step.ended else {
            return false;
        };
        self.output.end_line(text);
        self.updates = 0;
        // A line of its own: what scripts look for is the one after it.
        if let Some(usage) = step.usage.as_ref().filter(|_| detail == Detail::Full) {
            text.extend_from_slice(format!("#{number} used {}\n", usage_line(usage)).as_bytes());
        }
        let end = match outcome {
            Outcome::Done => format!("DONE {:.1}s", step.elapsed(*ended_at).as_secs_f64()),
            Outcome::Cached => "CACHED".to_owned(),
            Outcome::Failed(reason) => format!("ERROR: {reason}"),
            Outcome::Cancelled => "CANCELED".to_owned(),
            Outcome::NotRun => "NOT RUN".to_owned(),
        };
        text.extend_from_slice(format!("#{number} {end}\n").as_bytes());
        true
    }

    fn is_worth_a_line(&self, at: usize, part: &StepProgress) -> bool {
        let Some((bytes, printed_at)) = self.parts_printed.get(&at).filter(|_| part.completed.is_none()) else {
            return true;
        };
        let grown = part.current_bytes.saturating_sub(*bytes) as f64;
        let growth = part.total_bytes.filter(|total| *total > 0).map_or(0.0, |total| grown / total as f64);
        growth >= PART_GROWTH || part.at.since(*printed_at) >= PART_INTERVAL
    }

    /// Returns the end of its output.
    pub(super) fn last_lines(&self) -> &LastLines {
        &self.last_lines
    }
}

impl Waiting {
    fn push(&mut self, time: &str, output: &[u8]) {
        for piece in output.split_inclusive(|byte| *byte == b'\n') {
            if !self.is_open {
                self.text.extend_from_slice(time.as_bytes());
                self.text.push(b' ');
            }
            self.text.extend_from_slice(piece);
            self.is_open = !piece.ends_with(b"\n");
        }
    }

    /// Writes what waits, and keeps an unfinished line so that it can be written again after an interruption.
    fn print(&mut self, number: u32, text: &mut Vec<u8>) {
        let prefix = format!("#{number} ");
        let mut last = 0;
        for line in self.text.split_inclusive(|byte| *byte == b'\n') {
            last = line.len();
            if self.printed == 0 {
                text.extend_from_slice(prefix.as_bytes());
            }
            text.extend_from_slice(&line[self.printed..]);
            self.printed = 0;
        }
        let kept = if self.is_open { last } else { 0 };
        self.text.drain(..self.text.len() - kept);
        if kept > UNFINISHED_BYTES_MAX {
            let time = self.text.iter().position(|byte| *byte == b' ').map_or(0, |at| at + 1);
            self.text.drain(time..kept - UNFINISHED_BYTES_MAX.min(kept - time));
        }
        self.printed = self.text.len();
    }

    /// Ends the unfinished line on the screen, so that something else can be written below.
    fn end_line(&mut self, text: &mut Vec<u8>) {
        if self.printed > 0 {
            text.push(b'\n');
            self.printed = 0;
        }
    }
}

/// `0.26s of CPU (0.21s user, 0.05s system), 12.30MB of memory at most, wrote 4.10MB, in 2 attempts`
fn usage_line(usage: &StepUsage) -> String {
    let seconds = |time: Duration| format!("{:.2}s", time.as_secs_f64());
    let (cpu, user, system) = (seconds(usage.cpu()), seconds(usage.cpu_user()), seconds(usage.cpu_system()));
    let memory = usage.memory_peak_bytes.map(|bytes| format!(", {} of memory at most", progress_size(bytes)));
    let written = usage.written_bytes.map(|bytes| format!(", wrote {}", progress_size(bytes)));
    let attempts = Some(usage.attempts).filter(|attempts| *attempts > 1).map(|it| format!(", in {it} attempts"));
    let more: String = [memory, written, attempts].into_iter().flatten().collect();
    format!("{cpu} of CPU ({user} user, {system} system){more}")
}

/// `sha256:… 1.05MB / 3.40MB 0.2s done`
fn part_line(part: &StepProgress) -> String {
    let size = match part.total_bytes {
        Some(total) if total > 0 => format!(" {} / {}", progress_size(part.current_bytes), progress_size(total)),
        _ if part.current_bytes > 0 => format!(" {}", progress_size(part.current_bytes)),
        _ => String::new(),
    };
    let seconds = part.completed.unwrap_or(part.at).since(part.started).as_secs_f64();
    let time = if seconds > 0.01 { format!(" {seconds:.1}s") } else { String::new() };
    let done = if part.completed.is_some() { " done" } else { "" };
    format!("{}{size}{time}{done}", printable(&part.id))
}
