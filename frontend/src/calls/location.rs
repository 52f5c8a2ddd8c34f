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

impl From<LineRange> for Location {
    fn from(lines: LineRange) -> Self {
        Self { ranges: vec![Range { start: Point { line: lines.start }, end: Point { line: lines.end } }] }
    }
}
