//! The text of a Dockerfile and places in it.

use llb::LineRange;
use serde::Serialize;

/// A range of bytes in the text of a Dockerfile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
}

impl Span {
    /// Returns the range from `start` to before `end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// Returns the smallest range that has both in it.
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// One place in a text, as people count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Position {
    /// Bytes before it.
    pub offset: usize,
    /// The line, counted from 1.
    pub line: u32,
    /// The character of the line, counted from 1.
    pub column: u32,
}

/// A text that knows where its lines begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    text: String,
    /// Where each line begins; the first is 0.
    line_starts: Vec<usize>,
}

impl Source {
    /// Takes a text.
    pub fn new(text: String) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(offset, _)| offset + 1);
        let line_starts = std::iter::once(0).chain(breaks).collect();
        Self { text, line_starts }
    }

    /// Returns the whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the number of the line that has the byte at `offset` in it, counted from 1.
    pub fn line_of(&self, offset: usize) -> u32 {
        self.line_starts.partition_point(|start| *start <= offset) as u32
    }

    /// Returns the lines that a range touches; the break at the end of the last one is not part of a further line.
    pub fn lines_of(&self, span: Span) -> LineRange {
        let last = if span.end > span.start { span.end - 1 } else { span.start };
        LineRange { start: self.line_of(span.start), end: self.line_of(last) }
    }

    /// Returns the line and column of the byte at `offset`.
    pub fn position(&self, offset: usize) -> Position {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.line_of(offset);
        let start = self.line_starts[line as usize - 1];
        let column = self.text[start..offset].chars().count() as u32 + 1;
        Position { offset, line, column }
    }

    /// Returns the text of a line without its break, or `None` behind the last one.
    pub fn line(&self, number: u32) -> Option<&str> {
        let start = *self.line_starts.get((number as usize).checked_sub(1)?)?;
        let end = self.line_starts.get(number as usize).map_or(self.text.len(), |next| next - 1);
        Some(self.text[start..end].trim_end_matches('\r'))
    }

    /// Returns how many lines there are; a break at the very end begins an empty one.
    pub fn line_count(&self) -> u32 {
        self.line_starts.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_are_counted_from_one_and_in_characters() {
        let source = Source::new("FROM ä\r\nRUN x".to_owned());
        let at = |offset| {
            let position = source.position(offset);
            (position.line, position.column)
        };
        assert_eq!([at(0), at(5), at(6), at(7), at(9), at(99)], [(1, 1), (1, 6), (1, 6), (1, 7), (2, 1), (2, 6)]);
        assert_eq!((source.line(1), source.line(2), source.line(3)), (Some("FROM ä"), Some("RUN x"), None));
        assert_eq!(source.lines_of(Span::new(0, 9)), LineRange { start: 1, end: 1 });
        assert_eq!(source.lines_of(Span::new(0, 10)), LineRange { start: 1, end: 2 });
    }

    #[test]
    fn a_break_at_the_end_begins_an_empty_line() {
        let source = Source::new("a\n".to_owned());
        assert_eq!((source.line_count(), source.line(2)), (2, Some("")));
        assert_eq!(Source::new(String::new()).line(1), Some(""));
    }
}
