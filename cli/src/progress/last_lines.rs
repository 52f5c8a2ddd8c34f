//! The end of a step's output, kept for the case that the step fails.

use std::collections::VecDeque;
use std::time::Duration;

use crate::format::text::printable;
use crate::progress::trace::log_time;

/// The most bytes that are kept of one line; of a longer one, its end is.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// The last lines of an output, each with the time at which it began.
#[derive(Debug)]
pub(super) struct LastLines {
    lines: VecDeque<Line>,
    lines_max: usize,
    bytes_max: usize,
    bytes: usize,
    /// Whether the last line goes on.
    is_open: bool,
    /// How many lines were left out at the beginning.
    pub(super) dropped: u64,
}

#[derive(Debug, Default)]
struct Line {
    began: Duration,
    text: Vec<u8>,
    is_cut: bool,
}

impl LastLines {
    /// Keeps at most `lines_max` lines (one at least), and about `bytes_max` bytes in all.
    pub(super) fn new(lines_max: usize, bytes_max: usize) -> Self {
        Self { lines: VecDeque::new(), lines_max, bytes_max, bytes: 0, is_open: false, dropped: 0 }
    }

    /// Adds output that was written when the step had run for `elapsed`.
    pub(super) fn push(&mut self, elapsed: Duration, output: &[u8]) {
        for piece in output.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            if !self.is_open {
                self.begin_line(elapsed);
            }
            if let Some(line) = self.lines.back_mut() {
                self.bytes -= line.text.len();
                line.push(text);
                self.bytes += line.text.len();
            }
            self.is_open = text.len() == piece.len();
        }
        while self.bytes > self.bytes_max && self.lines.len() > 1 {
            self.drop_line();
        }
    }

    fn begin_line(&mut self, began: Duration) {
        // The memory of a line that is forgotten serves the new one.
        let mut line = if self.lines.len() >= self.lines_max { self.drop_line() } else { Line::default() };
        line.text.clear();
        self.lines.push_back(Line { began, text: line.text, is_cut: false });
    }

    fn drop_line(&mut self) -> Line {
        let line = self.lines.pop_front().unwrap_or_default();
        self.bytes -= line.text.len();
        self.dropped += 1;
        line
    }

    /// Writes the lines in a box under the name of their step, each in the form that `shown` gives it; `note` stands before them.
    pub(super) fn write_box(&self, name: &str, note: &str, shown: impl Fn(Vec<u8>) -> Vec<u8>, text: &mut Vec<u8>) {
        text.extend_from_slice(format!("------\n > {}:\n{note}", printable(name)).as_bytes());
        for (time, line) in self.lines() {
            text.extend_from_slice(format!("{time} ").as_bytes());
            text.extend_from_slice(&shown(line));
            text.push(b'\n');
        }
        text.extend_from_slice(b"------\n");
    }

    /// Returns the lines, oldest first: the time at which each began, and its text, which begins with `…` where its own beginning was left out.
    fn lines(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.lines.iter().map(|line| {
            let start = if line.is_cut { "…" } else { "" };
            let text = &line.text[line.text.len().saturating_sub(LINE_BYTES_MAX)..];
            (log_time(line.began), [start.as_bytes(), text].concat())
        })
    }
}

impl Line {
    fn push(&mut self, text: &[u8]) {
        self.text.extend_from_slice(&text[text.len().saturating_sub(LINE_BYTES_MAX)..]);
        self.is_cut |= text.len() > LINE_BYTES_MAX || self.text.len() > LINE_BYTES_MAX;
        // Only now and then, since it moves what is kept.
        if self.text.len() > 2 * LINE_BYTES_MAX {
            self.text.drain(..self.text.len() - LINE_BYTES_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(lines: &LastLines) -> Vec<String> {
        lines.lines().map(|(time, text)| format!("{time} {}", String::from_utf8_lossy(&text))).collect()
    }

    #[test]
    fn the_last_lines_stay_with_the_time_of_their_beginning() {
        let mut lines = LastLines::new(2, 1000);
        lines.push(Duration::from_millis(100), b"a\nb");
        lines.push(Duration::from_millis(200), b"c\n\nd");
        assert_eq!(shown(&lines), ["0.200 ", "0.200 d"]);
        assert_eq!(lines.dropped, 2);
        lines.push(Duration::from_millis(300), b"\n");
        assert_eq!(shown(&lines), ["0.200 ", "0.200 d"]);
    }

    #[test]
    fn a_long_line_keeps_its_end() {
        let mut lines = LastLines::new(5, usize::MAX);
        for _ in 0..100 {
            lines.push(Duration::ZERO, &[b'x'; 1000]);
        }
        lines.push(Duration::ZERO, b"end\n");
        let (_, text) = lines.lines().next().unwrap();
        assert_eq!(text.len(), LINE_BYTES_MAX + "…".len());
        assert!(text.starts_with("…x".as_bytes()) && text.ends_with(b"xend"));
    }

    #[test]
    fn all_lines_together_are_bounded() {
        let mut lines = LastLines::new(usize::MAX, 1000);
        for _ in 0..1000 {
            lines.push(Duration::ZERO, b"0123456789\n");
        }
        assert_eq!(lines.lines().count(), 100);
        assert_eq!(lines.dropped, 900);
    }
}
