//! A terminal for tests: what the screen shows after each frame.
//!
//! **Invariant:** it understands only what the tree may write; anything else, and any line that does not fit, is a failure of the test.

use unicode_width::UnicodeWidthChar;

use crate::format::text::{columns, cut};
use crate::progress::terminal::Size;

/// A terminal. Its cursor begins in the first row of the screen.
pub(super) struct VirtualTerminal {
    size: Size,
    /// The lines on the screen, from the top.
    screen: Vec<String>,
    /// The lines that were moved off the top.
    pub(super) scrolled_off: Vec<String>,
    row: usize,
    column: usize,
    pub(super) is_cursor_shown: bool,
    wraps: bool,
}

impl VirtualTerminal {
    pub(super) fn new(size: Size) -> Self {
        let screen = vec![String::new(); size.rows];
        Self { size, screen, scrolled_off: Vec::new(), row: 0, column: 0, is_cursor_shown: true, wraps: true }
    }

    /// Shows what is written.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).expect("what goes to a terminal is UTF-8");
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            rest = &rest[character.len_utf8()..];
            match character {
                '\r' => self.column = 0,
                '\n' => self.line_feed(),
                '\u{1b}' => rest = self.command(rest),
                other => self.put(other),
            }
        }
    }

    /// Changes the size as terminals do that break lines anew: those that no longer fit go on in the next row.
    pub(super) fn resize(&mut self, size: Size) {
        let mut lines = Vec::new();
        let mut row = 0;
        for (at, line) in self.screen.iter().enumerate().take(self.row + 1) {
            if at == self.row {
                row = lines.len();
            }
            let mut rest = line.trim_end();
            while columns(rest) > size.columns {
                let fitting = cut(rest, size.columns);
                let broken = if fitting.is_empty() { cut(rest, 2) } else { fitting };
                lines.push(broken.to_owned());
                rest = &rest[broken.len()..];
            }
            lines.push(rest.to_owned());
        }
        self.size = size;
        let surplus = (row + 1).saturating_sub(size.rows);
        self.scrolled_off.extend(lines.drain(..surplus));
        lines.resize(size.rows, String::new());
        self.screen = lines;
        self.row = row - surplus;
    }

    /// Returns the lines down to the last that is not empty.
    pub(super) fn shown(&self) -> String {
        let used = self.screen.iter().rposition(|line| !line.trim_end().is_empty()).map_or(0, |at| at + 1);
        self.screen[..used].iter().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    fn put(&mut self, character: char) {
        let width = character.width().unwrap_or_else(|| panic!("control character: {character:?}"));
        assert!(self.column + width < self.size.columns || self.wraps, "line too long: {}", self.screen[self.row]);
        if self.column + width > self.size.columns {
            self.line_feed();
            self.column = 0;
        }
        let line = &mut self.screen[self.row];
        // Everything is written from left to right, so what stands to the right of the cursor is from the frame before.
        let kept: String = line.chars().collect();
        let before = cut(&kept, self.column).to_owned();
        let before_columns = columns(&before);
        let after: String = line.chars().skip(before.chars().count() + 1).collect();
        *line = format!("{before}{}{character}{after}", " ".repeat(self.column - before_columns));
        self.column += width;
    }

    fn line_feed(&mut self) {
        self.row += 1;
        if self.row == self.size.rows {
            self.row -= 1;
            self.scrolled_off.push(self.screen.remove(0));
            self.screen.push(String::new());
        }
    }

    /// Carries out a command and returns what follows it.
    fn command<'t>(&mut self, rest: &'t str) -> &'t str {
        let inner = rest.strip_prefix('[').unwrap_or_else(|| panic!("unknown command: {rest:?}"));
        let end = inner.find(|character: char| character.is_ascii_alphabetic()).expect("commands end with a letter");
        match &inner[..=end] {
            "?25l" => self.is_cursor_shown = false,
            "?25h" => self.is_cursor_shown = true,
            "?7l" => self.wraps = false,
            "?7h" => self.wraps = true,
            "K" => {
                let kept = cut(&self.screen[self.row], self.column).to_owned();
                self.screen[self.row] = kept;
            }
            "J" => {
                self.screen[self.row].clear();
                self.screen[self.row + 1..].iter_mut().for_each(String::clear);
                assert_eq!(self.column, 0, "clears from the start of a line");
            }
            up if up.ends_with('A') => self.row = self.row.saturating_sub(up[..up.len() - 1].parse().unwrap()),
            colour if colour.ends_with('m') => {}
            other => panic!("unknown command: {other:?}"),
        }
        &inner[end + 1..]
    }
}
