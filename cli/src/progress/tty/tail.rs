//! The last lines of a step's output as a terminal would show them: overwritten by carriage returns, without colours and commands.

use std::collections::VecDeque;

use crate::format::text::is_unsafe;

/// Where tabs lead to.
const TAB_COLUMNS: usize = 8;

/// The last lines of an output.
#[derive(Debug)]
pub(crate) struct Tail {
    /// The lines before the current one that show something.
    lines: VecDeque<String>,
    lines_max: usize,
    characters_max: usize,
    current: Vec<char>,
    /// Where in the current line the next character goes.
    cursor: usize,
    state: State,
    /// The beginning of a character whose other bytes are still to come.
    unfinished: Vec<u8>,
}

/// Where in a command to the terminal the output is.
#[derive(Debug)]
enum State {
    Text,
    /// Behind ESC.
    Escape,
    /// Behind ESC `[`; holds the parameters.
    Control(String),
    /// In a text for the terminal, such as its title, up to BEL or ESC `\`.
    Title,
    /// In such a text, behind ESC.
    TitleEscape,
}

/// The most characters of parameters of a command.
const PARAMETERS_MAX: usize = 16;

impl Tail {
    /// Keeps at most `lines_max` lines of at most `characters_max` characters; what is longer is cut.
    pub(crate) fn new(lines_max: usize, characters_max: usize) -> Self {
        Self {
            lines: VecDeque::new(),
            lines_max,
            characters_max,
            current: Vec::new(),
            cursor: 0,
            state: State::Text,
            unfinished: Vec::new(),
        }
    }

    /// Takes more output; it may be cut anywhere.
    pub(crate) fn feed(&mut self, output: &[u8]) {
        let mut bytes = std::mem::take(&mut self.unfinished);
        bytes.extend_from_slice(output);
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            self.take_text(chunk.valid());
            let invalid = chunk.invalid();
            if chunks.peek().is_none() && may_go_on(invalid) {
                self.unfinished = invalid.to_vec();
            } else if !invalid.is_empty() {
                self.take(char::REPLACEMENT_CHARACTER);
            }
        }
    }

    /// Returns at most `count` lines that show something, oldest first.
    pub(crate) fn last(&self, count: usize) -> Vec<String> {
        let current = self.current.iter().collect::<String>().trim_end().to_owned();
        let lines = self.lines.iter().cloned().chain(Some(current).filter(|line| !line.is_empty()));
        let lines: Vec<String> = lines.collect();
        lines[lines.len().saturating_sub(count.min(self.lines_max))..].to_vec()
    }

    fn take_text(&mut self, mut text: &str) {
        while let Some(first) = text.chars().next() {
            // Most output is plain text, and there can be a lot of it.
            let plain = match self.state {
                State::Text => text.bytes().take_while(|byte| matches!(byte, b' '..=b'~')).count(),
                _ => 0,
            };
            self.set_plain(&text[..plain]);
            text = &text[plain..];
            if plain == 0 {
                self.take(first);
                text = &text[first.len_utf8()..];
            }
        }
    }

    fn take(&mut self, character: char) {
        self.state = match (std::mem::replace(&mut self.state, State::Text), character) {
            (State::Title, '\u{7}') | (State::TitleEscape, '\\') => State::Text,
            (State::Title, '\u{1b}') => State::TitleEscape,
            (State::Title | State::TitleEscape, _) => State::Title,
            (_, '\u{1b}') => State::Escape,
            (State::Escape, '[') | (State::Text, '\u{9b}') => State::Control(String::new()),
            (State::Escape, ']' | 'P' | 'X' | '^' | '_') => State::Title,
            (State::Escape, ' '..='/') => State::Escape,
            (State::Escape, _) => State::Text,
            (State::Control(mut parameters), ' '..='?') => {
                if parameters.len() < PARAMETERS_MAX {
                    parameters.push(character);
                }
                State::Control(parameters)
            }
            (State::Control(parameters), '@'..='~') => {
                self.control(character, &parameters);
                State::Text
            }
            (State::Control(_) | State::Text, _) => {
                self.put(character);
                State::Text
            }
        };
    }

    /// Carries out the commands that programs without a terminal still write: those of progress bars.
    fn control(&mut self, command: char, parameters: &str) {
        match (command, parameters) {
            ('K', "" | "0") => self.current.truncate(self.cursor),
            ('K', "2") => self.current.clear(),
            ('G', "" | "1") => self.cursor = 0,
            _ => {}
        }
        self.cursor = self.cursor.min(self.current.len());
    }

    fn put(&mut self, character: char) {
        match character {
            '\n' => self.end_line(),
            '\r' => self.cursor = 0,
            '\u{8}' => self.cursor = self.cursor.saturating_sub(1),
            '\t' => {
                let spaces = TAB_COLUMNS - self.cursor % TAB_COLUMNS;
                (0..spaces).for_each(|_| self.set(' '));
            }
            control if control.is_control() => {}
            reordering if is_unsafe(reordering) => self.set(char::REPLACEMENT_CHARACTER),
            other => self.set(other),
        }
    }

    fn set(&mut self, character: char) {
        if self.cursor < self.current.len() {
            self.current[self.cursor] = character;
        } else if self.cursor < self.characters_max {
            self.current.push(character);
        } else {
            return;
        }
        self.cursor += 1;
    }

    /// Sets characters that each take one column.
    fn set_plain(&mut self, plain: &str) {
        if self.cursor < self.current.len() {
            plain.chars().for_each(|character| self.set(character));
            return;
        }
        let room = self.characters_max.saturating_sub(self.cursor).min(plain.len());
        self.current.extend(plain[..room].chars());
        self.cursor += room;
    }

    fn end_line(&mut self) {
        while self.current.last().is_some_and(|character| character.is_whitespace()) {
            self.current.pop();
        }
        if !self.current.is_empty() && self.lines_max > 0 {
            // The memory of a line that is forgotten serves the new one.
            let is_full = self.lines.len() >= self.lines_max;
            let mut line = if is_full { self.lines.pop_front().unwrap_or_default() } else { String::new() };
            line.clear();
            line.extend(&self.current);
            self.lines.push_back(line);
        }
        self.current.clear();
        self.cursor = 0;
    }
}

/// Whether these bytes, which are no character, could be the beginning of one.
fn may_go_on(invalid: &[u8]) -> bool {
    let expected = match invalid.first() {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => return false,
    };
    invalid.len() < expected
}

/// Returns one line of output as a terminal would show it in the end.
pub(crate) fn settled(line: &[u8]) -> String {
    let mut tail = Tail::new(1, usize::MAX);
    tail.feed(line);
    tail.last(1).pop().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(output: &str, expected: &[&str]) {
        let mut whole = Tail::new(3, 20);
        whole.feed(output.as_bytes());
        assert_eq!(whole.last(3), expected);
        let mut in_pieces = Tail::new(3, 20);
        output.as_bytes().chunks(1).for_each(|piece| in_pieces.feed(piece));
        assert_eq!(in_pieces.last(3), expected, "cut after every byte");
    }

    #[test]
    fn the_last_lines_that_show_something_stay() {
        check("a\n\n  \nb\nc\nd", &["b", "c", "d"]);
        check("a\r\nb\r\n", &["a", "b"]);
    }

    #[test]
    fn a_carriage_return_overwrites() {
        check("10%\r 50%\r100%", &["100%"]);
        check("long line\rab", &["abng line"]);
        check("long line\r\u{1b}[Kab", &["ab"]);
        check("long line\u{1b}[2K\rab", &["ab"]);
        check("long line\u{1b}[Gab", &["abng line"]);
        check("ab\u{8}c", &["ac"]);
    }

    #[test]
    fn colours_and_commands_vanish() {
        check("\u{1b}[1;31mred\u{1b}[0m \u{1b}(Btext", &["red text"]);
        check("\u{1b}]0;title\u{7}a\u{1b}]8;;http://x\u{1b}\\link", &["alink"]);
        check("\u{1b}[2J\u{1b}[10;10H\u{1b}[?25lx\u{7}y\u{0}z", &["xyz"]);
        check("a\u{9b}31mb\u{202e}c", &["ab\u{fffd}c"]);
        check("\u{1b}[\u{1b}[31mx", &["x"]);
    }

    #[test]
    fn tabs_lead_to_the_next_eighth_column() {
        check("a\tb", &["a       b"]);
    }

    #[test]
    fn characters_may_be_cut_and_bytes_may_be_wrong() {
        check("日本 é 🦀", &["日本 é 🦀"]);
        let mut tail = Tail::new(3, 20);
        tail.feed(b"\xff\xe6\x97x\xf0\x9f");
        assert_eq!(tail.last(3), ["\u{fffd}\u{fffd}x"]);
        tail.feed(b"\xa6\x80");
        assert_eq!(tail.last(3), ["\u{fffd}\u{fffd}x🦀"]);
    }

    #[test]
    fn a_long_line_is_cut() {
        check(&"x".repeat(100_000), &["xxxxxxxxxxxxxxxxxxxx"]);
        check(&format!("\u{1b}[{}mx", "1".repeat(100_000)), &["x"]);
    }

    #[test]
    fn a_line_settles_to_what_a_terminal_shows_last() {
        assert_eq!(settled(b"10%\r100%\x1b[0m  "), "100%");
        assert_eq!(settled(b""), "");
    }
}
