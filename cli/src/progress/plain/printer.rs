//! Lets the steps print, one at a time.

use std::convert::identity;
use std::io::{self, Write};
use std::time::Duration;

use engine::event::Event;
use oci::Timestamp;

use crate::progress::plain::speaker::Speaker;
use crate::progress::plain::turns::{Turn, next_turn};
use crate::progress::renderer::Renderer;
use crate::progress::settings::Settings;
use crate::progress::trace::Trace;

/// The shortest time between two looks at what there is to print, so that short steps are printed in one piece.
const PRINT_INTERVAL: Duration = Duration::from_millis(100);

/// The most output of one step that waits for the step's turn; more of it takes the turn.
const WAITING_BYTES_MAX: usize = 1024 * 1024;

/// Progress as plain text.
pub(crate) struct Plain<W> {
    out: W,
    settings: Settings,
    trace: Trace,
    /// What each step of the trace has to print.
    speakers: Vec<Speaker>,
    /// The step whose lines were printed last, while it runs.
    current: Option<usize>,
    /// The number of the step that was first printed last.
    numbers_given: u32,
    printed_at: Option<Timestamp>,
    text: Vec<u8>,
}

impl<W: Write + Send> Plain<W> {
    /// Prints to `out`.
    pub(crate) fn new(out: W, settings: Settings) -> Self {
        Self {
            out,
            settings,
            trace: Trace::new(),
            speakers: Vec::new(),
            current: None,
            numbers_given: 0,
            printed_at: None,
            text: Vec::new(),
        }
    }

    fn is_due(&self) -> bool {
        self.printed_at.is_none_or(|at| self.trace.now.since(at) >= PRINT_INTERVAL)
    }

    /// Prints what is to be printed now.
    fn print(&mut self) {
        self.printed_at = Some(self.trace.now);
        let before = self.current;
        self.print_ended(before);
        let waiting: Vec<usize> = (0..self.speakers.len()).filter(|step| self.speakers[*step].has_news).collect();
        if waiting.is_empty() {
            let goes_on = before.is_some_and(|step| self.trace.steps[step].is_running());
            if !goes_on && let Some(running) = self.trace.steps.iter().position(|step| step.is_running()) {
                self.print_step(running);
            }
            return;
        }
        if let Some(current) = before.filter(|step| waiting.contains(step)) {
            self.print_step(current);
        }
        let candidates: Vec<Turn> = (0..self.speakers.len())
            .filter(|step| waiting.contains(step) || (before == Some(*step) && self.trace.steps[*step].is_running()))
            .map(|step| self.speakers[step].turn(step, self.trace.now))
            .collect();
        let goes_on = before.filter(|step| self.trace.steps[*step].is_running());
        if let Some(next) = next_turn(&candidates, goes_on) {
            self.print_step(next);
        }
    }

    /// Prints the steps that have ended: first the one that was printing, then the others as they ended.
    fn print_ended(&mut self, current: Option<usize>) {
        let ended_at = |step: usize| self.trace.steps[step].ended.as_ref().map(|(_, at)| *at);
        let mut ended: Vec<usize> = (0..self.speakers.len())
            .filter(|step| self.speakers[*step].has_news && ended_at(*step).is_some())
            .collect();
        ended.sort_by_key(|step| (current != Some(*step), ended_at(*step)));
        for step in ended {
            self.print_step(step);
        }
    }

    /// Prints all that a step has to say, under its name if another step was printed before.
    fn print_step(&mut self, step: usize) {
        if self.current != Some(step) {
            if let Some(previous) = self.current {
                self.speakers[previous].interrupt(&mut self.text);
            }
            if self.numbers_given > 0 {
                self.text.push(b'\n');
            }
        }
        let number = *self.speakers[step].number.get_or_insert_with(|| {
            self.numbers_given += 1;
            self.numbers_given
        });
        if self.current != Some(step) {
            let name = self.settings.plain_name(&self.trace.steps[step].name);
            self.text.extend_from_slice(format!("#{number} {name}\n").as_bytes());
        }
        let ended = self.speakers[step].speak(&self.trace.steps[step], number, self.settings.detail, &mut self.text);
        self.current = if ended { None } else { Some(step) };
    }

    fn write(&mut self) -> io::Result<()> {
        if self.text.is_empty() {
            return Ok(());
        }
        let written = self.out.write_all(&self.text).and_then(|()| self.out.flush());
        self.text.clear();
        written
    }
}

impl<W: Write + Send> Renderer for Plain<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let Some(change) = self.trace.apply(event) else {
            return Ok(());
        };
        if change.step == self.speakers.len() {
            self.speakers.push(Speaker::new());
        }
        let step = &self.trace.steps[change.step];
        let speaker = &mut self.speakers[change.step];
        speaker.hear(event, change, step, self.trace.now, &self.settings);
        if speaker.waiting_bytes() > WAITING_BYTES_MAX {
            self.print_step(change.step);
        }
        if self.is_due() {
            self.print();
        }
        self.write()
    }

    fn tick(&mut self, now: Timestamp) -> io::Result<()> {
        self.trace.advance(now);
        if self.is_due() {
            self.print();
        }
        self.write()
    }

    fn finish(mut self: Box<Self>, now: Timestamp) -> io::Result<()> {
        self.trace.advance(now);
        self.print();
        for (step, speaker) in self.trace.steps.iter().zip(&self.speakers) {
            if step.failure().is_some() {
                speaker.last_lines().write_box(&step.name, "", identity, &mut self.text);
            }
        }
        self.write()
    }
}
