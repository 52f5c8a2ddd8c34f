//! What is wrong with a Dockerfile, and where: errors and warnings as data, for terminals, editors and scripts.

use llb::LineRange;
use serde::Serialize;

use crate::checks::Rule;
use crate::source::{Position, Source, Span};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The file cannot be built.
    Error,
    /// It can, but should be changed.
    Warning,
}

/// An error or a warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The build check that found it; `None` where it is no check's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    /// What is wrong, in the words that Docker's users search for.
    pub message: String,
    /// Exactly where, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The lines of the instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<LineRange>,
    /// Other places that have to do with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A range of a file, as people count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The first character.
    pub start: Position,
    /// The character after the last one.
    pub end: Position,
}

/// Another place that has to do with a diagnostic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// What is there.
    pub message: String,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

impl Place {
    /// Returns where a range of bytes is.
    pub fn of(source: &Source, span: Span) -> Self {
        Self { start: source.position(span.start), end: source.position(span.end) }
    }
}

impl Diagnostic {
    /// Returns an error without a place.
    pub fn error(message: impl ToString) -> Self {
        let (severity, message) = (Severity::Error, message.to_string());
        Self { severity, rule: None, message, place: None, lines: None, notes: Vec::new(), hint: None }
    }

    /// Returns the warning of a build check, without a place.
    pub fn warning(rule: Rule, message: impl ToString) -> Self {
        Self { severity: Severity::Warning, rule: Some(rule), ..Self::error(message) }
    }

    /// Puts it at a range; the whole lines of the range are those of the instruction unless that is given too.
    pub fn at(mut self, source: &Source, span: Span) -> Self {
        self.place = Some(Place::of(source, span));
        self.lines.get_or_insert_with(|| source.lines_of(span));
        self
    }

    /// Says which lines the instruction has.
    pub fn in_lines(mut self, lines: LineRange) -> Self {
        self.lines = Some(lines);
        self
    }

    /// Adds what to do.
    pub fn with_hint(mut self, hint: impl ToString) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Adds another place.
    pub fn with_note(mut self, message: impl ToString, place: Option<Place>) -> Self {
        self.notes.push(Note { message: message.to_string(), place });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn source() -> Source {
        Source::new("FROM a\nRUN b \\\n  c\nRUN d\nRUN e\nRUN f\n".to_owned())
    }

    #[test]
    fn a_diagnostic_is_json_with_lines_and_columns() {
        let diagnostic =
            Diagnostic::error("no").at(&source(), Span::new(11, 12)).with_hint("do").with_note("here", None);
        expect![[r#"{"severity":"error","message":"no","place":{"start":{"offset":11,"line":2,"column":5},"end":{"offset":12,"line":2,"column":6}},"lines":{"start":2,"end":2},"notes":[{"message":"here"}],"hint":"do"}"#]]
            .assert_eq(&serde_json::to_string(&diagnostic).unwrap());
    }
}
