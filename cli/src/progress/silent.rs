//! No progress: `quiet` prints only the end of the output of steps that failed, `none` nothing at all.

use std::convert::identity;
use std::io::{self, Write};

use engine::event::Event;
use oci::Timestamp;

use crate::progress::last_lines::LastLines;
use crate::progress::renderer::Renderer;
use crate::progress::trace::Trace;

/// How many lines of a failed step are printed.
const LAST_LINES: usize = 10;

/// The most bytes of all these lines together.
const LAST_LINES_BYTES_MAX: usize = 64 * 1024;

/// Prints nothing.
pub(super) struct Nothing;

/// Prints nothing but the end of the output of steps that failed.
pub(super) struct Quiet<W> {
    out: W,
    trace: Trace,
    /// For each step of the trace the end of its output.
    last_lines: Vec<LastLines>,
}

impl<W: Write + Send> Quiet<W> {
    /// Prints to `out`.
    pub(super) fn new(out: W) -> Self {
        Self { out, trace: Trace::new(), last_lines: Vec::new() }
    }
}

impl<W: Write + Send> Renderer for Quiet<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let Some(change) = self.trace.apply(event) else {
            return Ok(());
        };
        if change.step == self.last_lines.len() {
            self.last_lines.push(LastLines::new(LAST_LINES, LAST_LINES_BYTES_MAX));
        }
        if let Event::Output(output) = event {
            let elapsed = self.trace.steps[change.step].elapsed(output.at);
            self.last_lines[change.step].push(elapsed, &output.bytes);
        }
        Ok(())
    }

    fn tick(&mut self, _now: Timestamp) -> io::Result<()> {
        Ok(())
    }

    fn finish(mut self: Box<Self>, _now: Timestamp) -> io::Result<()> {
        let mut text = Vec::new();
        for (step, last_lines) in self.trace.steps.iter().zip(&self.last_lines) {
            if step.failure().is_some() {
                last_lines.write_box(&step.name, "", identity, &mut text);
            }
        }
        self.out.write_all(&text)?;
        self.out.flush()
    }
}

impl Renderer for Nothing {
    fn event(&mut self, _event: &Event) -> io::Result<()> {
        Ok(())
    }

    fn tick(&mut self, _now: Timestamp) -> io::Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>, _now: Timestamp) -> io::Result<()> {
        Ok(())
    }
}
