//! Puts the tree on the screen: when, and over what was there before.

use std::io::{self, Write};
use std::time::Duration;

use engine::event::Event;
use oci::Timestamp;

use crate::format::text::columns;
use crate::progress::last_lines::LastLines;
use crate::progress::renderer::Renderer;
use crate::progress::settings::Settings;
use crate::progress::terminal::{Size, UNKNOWN_SIZE};
use crate::progress::trace::Trace;
use crate::progress::tty::frame::{Extent, Row, rows};
use crate::progress::tty::tail::{Tail, settled};

/// The shortest time between two frames.
const FRAME_INTERVAL: Duration = Duration::from_millis(100);

/// How many lines of a step's output are kept for the case that it fails.
const KEPT_LINES_MAX: usize = 2000;

/// The most bytes of all these lines together.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// The most characters of a line of output of a running step.
const OUTPUT_CHARACTERS_MAX: usize = 1000;

const HIDE_CURSOR: &str = "\u{1b}[?25l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";
const WRAP_OFF: &str = "\u{1b}[?7l";
const WRAP_ON: &str = "\u{1b}[?7h";
const CLEAR_TO_LINE_END: &str = "\u{1b}[K";
const CLEAR_BELOW: &str = "\u{1b}[J";

/// Progress as a tree.
pub(crate) struct Tty<W: Write> {
    out: W,
    size: Box<dyn Fn() -> Option<Size> + Send>,
    settings: Settings,
    trace: Trace,
    /// The output of each step of the trace, while it may be needed.
    outputs: Vec<Option<Output>>,
    drawn: Drawn,
}

/// The output of a step.
pub(super) struct Output {
    /// The lines to be shown while the step runs.
    pub(super) tail: Tail,
    /// The lines to be shown when it has failed.
    kept: LastLines,
}

/// What is on the screen.
#[derive(Default)]
struct Drawn {
    at: Option<Timestamp>,
    rows: Vec<Row>,
    is_cursor_hidden: bool,
}

impl<W: Write + Send> Tty<W> {
    /// Draws on the terminal behind `out`, whose size `size` tells.
    pub(crate) fn new(out: W, size: Box<dyn Fn() -> Option<Size> + Send>, settings: Settings) -> Self {
        Self { out, size, settings, trace: Trace::new(), outputs: Vec::new(), drawn: Drawn::default() }
    }

    fn draw_if_due(&mut self) -> io::Result<()> {
        let is_due = self.drawn.at.is_none_or(|at| self.trace.now.since(at) >= FRAME_INTERVAL);
        if is_due { self.draw(Extent::Screen) } else { Ok(()) }
    }

    fn draw(&mut self, extent: Extent) -> io::Result<()> {
        let size = (self.size)().unwrap_or(UNKNOWN_SIZE);
        let rows = rows(&self.trace, &self.outputs, &self.settings, size, extent);
        self.drawn.at = Some(self.trace.now);
        if rows == self.drawn.rows {
            return Ok(());
        }
        let text = self.redrawn(&rows, size);
        self.drawn.rows = rows;
        self.drawn.is_cursor_hidden = true;
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// What to write so that `rows` replace what is drawn.
    fn redrawn(&self, rows: &[Row], size: Size) -> String {
        let mut text = String::new();
        if !self.drawn.is_cursor_hidden {
            text.push_str(HIDE_CURSOR);
        }
        // Where the terminal and this program disagree about the width of a character, the end of the line is lost instead of the order of all lines.
        text.push_str(WRAP_OFF);
        let height = self.drawn.height(size);
        if height > 0 {
            text.push_str(&format!("\u{1b}[{height}A"));
        }
        text.push('\r');
        for row in rows {
            text.push_str(&row.painted());
            text.push_str(CLEAR_TO_LINE_END);
            text.push_str("\r\n");
        }
        text.push_str(CLEAR_BELOW);
        text.push_str(WRAP_ON);
        text
    }

    /// The ends of the outputs of the steps that failed.
    fn failures(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let silence = LastLines::new(1, 0);
        for (step, output) in self.trace.steps.iter().zip(&self.outputs).filter(|(step, _)| step.failure().is_some()) {
            let kept = output.as_ref().map_or(&silence, |output| &output.kept);
            let note = match kept.dropped {
                0 => String::new(),
                lines => format!("[{lines} earlier lines are left out; --progress plain shows all]\n"),
            };
            kept.write_box(&step.name, &note, |line| settled(&line).into_bytes(), &mut text);
        }
        text
    }
}

impl Drawn {
    /// How many rows of the screen the drawn lines take now.
    ///
    /// When a terminal becomes narrower, it breaks the lines that no longer fit.
    fn height(&self, size: Size) -> usize {
        let heights = self.rows.iter().map(|row| columns(&row.text).div_ceil(size.columns.max(1)).max(1));
        heights.sum::<usize>().min(size.rows.saturating_sub(1))
    }
}

impl<W: Write + Send> Renderer for Tty<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let Some(change) = self.trace.apply(event) else {
            return Ok(());
        };
        if change.step == self.outputs.len() {
            self.outputs.push(None);
        }
        let step = &self.trace.steps[change.step];
        let output = &mut self.outputs[change.step];
        if let Event::Output(written) = event {
            let lines_max = self.settings.output_lines;
            let output = output.get_or_insert_with(|| Output {
                tail: Tail::new(lines_max, OUTPUT_CHARACTERS_MAX),
                kept: LastLines::new(KEPT_LINES_MAX, KEPT_BYTES_MAX),
            });
            output.tail.feed(&written.bytes);
            output.kept.push(step.elapsed(written.at), &written.bytes);
        }
        if step.ended.is_some() && step.failure().is_none() {
            *output = None;
        }
        self.draw_if_due()
    }

    fn tick(&mut self, now: Timestamp) -> io::Result<()> {
        self.trace.advance(now);
        if self.trace.steps.is_empty() { Ok(()) } else { self.draw_if_due() }
    }

    fn finish(mut self: Box<Self>, now: Timestamp) -> io::Result<()> {
        self.trace.advance(now);
        if !self.trace.steps.is_empty() {
            self.draw(Extent::Everything)?;
        }
        let failures = self.failures();
        self.out.write_all(&failures)?;
        self.out.flush()
        // The cursor is shown again as this is dropped.
    }
}

impl<W: Write> Drop for Tty<W> {
    fn drop(&mut self) {
        if self.drawn.is_cursor_hidden {
            // Nobody is left to tell that the terminal is gone.
            let _ = self.out.write_all(SHOW_CURSOR.as_bytes()).and_then(|()| self.out.flush());
        }
    }
}
