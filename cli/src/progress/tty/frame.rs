//! What the lines of the tree are: a head, the steps, their parts, and the last output of those that run.
//!
//! When there are more lines than rows on the screen, steps that run stay longest; next come their parts, then what ended last and a fair share of output.

use std::time::Duration;

use engine::event::{Outcome, StepProgress, StepUsage};

use crate::format::quantity::progress_size;
use crate::format::text::{columns, cut, printable};
use crate::progress::colours::paint;
use crate::progress::settings::Settings;
use crate::progress::terminal::Size;
use crate::progress::trace::{Step, Trace};
use crate::progress::tty::tree::Output;

/// Shorter times are shown as none at all.
const TIME_MIN: Duration = Duration::from_millis(50);

/// A size is shown if this many columns stay for the name and it together.
const SIZE_COLUMNS_MIN: usize = 20;

/// So many rows, but at most a third of those to give away, go to what ended last before output gets any.
const ENDED_ROWS: usize = 3;

/// How much of the tree is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// As much as fits the screen.
    Screen,
    /// All of it, since it stays.
    Everything,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Its text, narrower than the screen.
    pub(super) text: String,
    colour: String,
}

impl Row {
    /// What to write to the terminal.
    pub(super) fn painted(&self) -> String {
        paint(&self.text, &self.colour)
    }
}

/// A line that may be shown.
struct Entry<'t> {
    label: String,
    size: String,
    /// What stands before the time if the whole label has room beside it.
    note: String,
    time: Duration,
    colour: &'t str,
    rank: Rank,
    /// The output below it, for a step that runs.
    output: Vec<String>,
}

/// Which lines stay when there is no room for all: first to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    RunningStep,
    RunningPart,
    Ended,
}

/// Returns the lines of the tree.
pub(super) fn rows(
    trace: &Trace,
    outputs: &[Option<Output>],
    settings: &Settings,
    size: Size,
    extent: Extent,
) -> Vec<Row> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for (step, output) in trace.steps.iter().zip(outputs) {
        push_entries(&mut entries, trace, step, output.as_ref(), settings);
    }
    if extent == Extent::Screen {
        // One row is for the head, and one below for the cursor.
        let Some(rows_max) = size.rows.checked_sub(2) else {
            return Vec::new();
        };
        fit(&mut entries, rows_max);
    }
    let mut rows = vec![Row { text: head(trace, settings.title, size, extent), colour: String::new() }];
    for entry in &entries {
        rows.push(Row { text: entry.line(size), colour: entry.colour.to_owned() });
        rows.extend(entry.output.iter().map(|line| Row {
            text: cut(&format!(" => => # {line}"), size.columns.saturating_sub(1)).to_owned(),
            colour: settings.colours.output.clone(),
        }));
    }
    rows
}

/// `[+] Building 1.2s (5/9) FINISHED`
fn head(trace: &Trace, title: &str, size: Size, extent: Extent) -> String {
    let has_run = |step: &&Step| step.ended.as_ref().is_some_and(|(outcome, _)| *outcome != Outcome::NotRun);
    let (ended, total) = (trace.steps.iter().filter(has_run).count(), trace.steps.len());
    let elapsed = trace.started.map_or(Duration::ZERO, |started| trace.now.since(started));
    let finished = if extent == Extent::Everything && ended == total { " FINISHED" } else { "" };
    let head = format!("[+] {title} {:.1}s ({ended}/{total}){finished}", elapsed.as_secs_f64());
    cut(&head, size.columns.saturating_sub(1)).to_owned()
}

/// The lines of one step.
fn push_entries<'t>(
    entries: &mut Vec<Entry<'t>>,
    trace: &Trace,
    step: &Step,
    output: Option<&Output>,
    settings: &'t Settings,
) {
    let colours = &settings.colours;
    let (state, colour) = match step.ended.as_ref().map(|(outcome, _)| outcome) {
        None => ("", ""),
        Some(Outcome::Done) => ("", colours.run.as_str()),
        Some(Outcome::Cached) => ("CACHED ", colours.run.as_str()),
        Some(Outcome::Failed(_)) => ("ERROR ", colours.error.as_str()),
        Some(Outcome::Cancelled) => ("CANCELED ", colours.cancel.as_str()),
        Some(Outcome::NotRun) => ("NOT RUN ", colours.cancel.as_str()),
    };
    let time = step.elapsed(trace.now);
    let is_running = step.is_running();
    entries.push(Entry {
        label: format!("{state}{}", printable(&step.name)),
        size: String::new(),
        note: step.usage.as_ref().filter(|_| !is_running).map(usage_note).unwrap_or_default(),
        time,
        colour,
        rank: if is_running { Rank::RunningStep } else { Rank::Ended },
        output: output.filter(|_| is_running).map(|output| output.tail.last(settings.output_lines)).unwrap_or_default(),
    });
    entries.extend(step.parts.iter().map(|part| part_entry(part, step, trace, &colours.run)));
    entries.extend(step.warnings.iter().map(|warning| Entry {
        label: format!("WARN: {}", printable(warning)),
        size: String::new(),
        note: String::new(),
        time,
        colour: &colours.warning,
        rank: Rank::Ended,
        output: Vec::new(),
    }));
}

fn part_entry<'t>(part: &StepProgress, step: &Step, trace: &Trace, colour: &'t str) -> Entry<'t> {
    let size = match part.total_bytes {
        Some(total) if total > 0 => format!("{} / {}", progress_size(part.current_bytes), progress_size(total)),
        _ if part.current_bytes > 0 => progress_size(part.current_bytes),
        _ => String::new(),
    };
    let step_ended = step.ended.as_ref().map(|(_, at)| *at);
    let ended = part.completed.or(step_ended);
    Entry {
        label: format!("=> {}", printable(&part.id)),
        size,
        note: String::new(),
        time: ended.unwrap_or(trace.now).since(part.started),
        colour: if ended.is_some() { colour } else { "" },
        rank: if ended.is_some() { Rank::Ended } else { Rank::RunningPart },
        output: Vec::new(),
    }
}

/// `cpu 0.3s, 12.30MB, wrote 4.10MB`; what is little is left out.
fn usage_note(usage: &StepUsage) -> String {
    let cpu = Some(usage.cpu()).filter(|cpu| *cpu >= TIME_MIN).map(|cpu| format!("cpu {:.1}s", cpu.as_secs_f64()));
    let memory = usage.memory_peak_bytes.map(progress_size);
    let written = usage.written_bytes.filter(|bytes| *bytes > 0).map(|bytes| format!("wrote {}", progress_size(bytes)));
    [cpu, memory, written].into_iter().flatten().collect::<Vec<String>>().join(", ")
}

/// Takes away what does not fit `rows_max` lines.
fn fit(entries: &mut Vec<Entry<'_>>, rows_max: usize) {
    let count = |entries: &[Entry<'_>], rank| entries.iter().filter(|entry| entry.rank == rank).count();
    let mut room = rows_max;
    // Of those that run the oldest stay, so that the picture keeps still.
    for rank in [Rank::RunningStep, Rank::RunningPart] {
        retain_by_age(entries, rank, |age| age < room);
        room -= count(entries, rank);
    }
    let ended = count(entries, Rank::Ended);
    let mut output_room = room - ended.min(ENDED_ROWS).min(room / 3);
    let mut with_output = entries.iter().filter(|entry| !entry.output.is_empty()).count();
    for entry in entries.iter_mut().filter(|entry| !entry.output.is_empty()) {
        let kept = entry.output.len().min(output_room.div_ceil(with_output));
        entry.output.drain(..entry.output.len() - kept);
        room -= kept;
        output_room -= kept;
        with_output -= 1;
    }
    retain_by_age(entries, Rank::Ended, |age| age + room >= ended);
}

/// Keeps those of a rank whose age `stays` takes; the oldest is 0.
fn retain_by_age(entries: &mut Vec<Entry<'_>>, rank: Rank, stays: impl Fn(usize) -> bool) {
    let mut ages = 0..;
    entries.retain(|entry| entry.rank != rank || ages.next().is_some_and(&stays));
}

impl Entry<'_> {
    /// ` => name size      0.3s`, with the time at the right edge.
    fn line(&self, size: Size) -> String {
        let time = if self.time < TIME_MIN { Duration::ZERO } else { self.time };
        let mut time = format!(" {:.1}s", time.as_secs_f64());
        // The last column stays free: at the edge, terminals differ in what comes next.
        let width = size.columns.saturating_sub(1);
        let mut room = width.saturating_sub(" => ".len() + time.len() + 1);
        if !self.note.is_empty() && columns(&self.label) + self.note.len() + 1 < room {
            time = format!(" {} {time}", self.note);
        }
        let mut shown_size = String::new();
        if !self.size.is_empty() && room > SIZE_COLUMNS_MIN {
            shown_size = format!(" {}", self.size);
            room = room.saturating_sub(shown_size.len());
        }
        let left = format!(" => {}{shown_size}", cut(&self.label, room));
        let space = width.saturating_sub(columns(&left) + time.len());
        cut(&format!("{left}{}{time}", " ".repeat(space)), width).to_owned()
    }
}
