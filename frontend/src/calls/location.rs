//! Places in answers.

use llb::LineRange;
use serde::Serialize;

/// A place in a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Location {
    /// The ranges that it is made of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Range>,
}

/// A range of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Range {
    /// The first line.
    pub start: Point,
    /// The last line.
    pub end: Point,
}

/// A line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Point {
    /// Its number, counted from 1.
    pub line: u32,
}

/// Each line is a range of its own.
impl From<LineRange> for Location {
    fn from(lines: LineRange) -> Self {
        let range = |line| Range { start: Point { line }, end: Point { line } };
        Self { ranges: (lines.start..=lines.end.max(lines.start)).map(range).collect() }
    }
}
