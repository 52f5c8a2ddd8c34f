//! One step through the lines of a file: the comments and empty lines up to the next instruction, and its lines joined into one.

use super::Escape;
use super::grammar::{Rule, Token, by_escape, token};
use crate::source::Span;

/// What lies between one instruction and the next, and the next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Step<'a> {
    /// Comment lines and empty lines in front of the instruction, in order.
    pub(crate) between: Vec<Between>,
    /// The instruction; `None` at the end of the file.
    pub(crate) instruction: Option<Joined<'a>>,
    /// The byte behind all of it.
    pub(crate) end: usize,
}

/// A line that belongs to no instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Between {
    /// Whether it is a comment; an empty line if not.
    pub(crate) comment: bool,
    /// Where it stands, with its break.
    pub(crate) span: Span,
}

/// The lines of one instruction as one line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Joined<'a> {
    /// The parts in order, without what joins them.
    parts: Vec<Part<'a>>,
    /// The lines, from the first character that is no blank to the last break.
    pub(crate) span: Span,
    /// Whether an empty line stands between the parts.
    pub(crate) hollow: bool,
    /// The parts as one, where there are several.
    text: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part<'a> {
    text: &'a str,
    /// Where it begins in the file.
    begin: usize,
    /// Where it begins in the joined line.
    before: usize,
}

impl<'a> Joined<'a> {
    /// Adds a line, and tells whether it ends in a joint; `None` where it has other escape characters.
    fn add_plain(&mut self, line: &'a str, begin: usize, escape: Escape) -> Option<bool> {
        let line = line.strip_suffix('\n').unwrap_or(line);
        let joint = line.trim_end_matches('\r').trim_end_matches([' ', '\t']).strip_suffix(escape.char());
        let content = joint.unwrap_or(line);
        self.add(content, begin);
        (!content.contains(escape.char())).then_some(joint.is_some())
    }

    fn add(&mut self, content: &'a str, begin: usize) {
        let before = self.parts.last().map_or(0, |part| part.before + part.text.len());
        self.parts.push(Part { text: content.trim_end_matches('\r'), begin, before });
    }

    /// Makes one line of the parts.
    fn unite(&mut self) {
        if self.parts.len() > 1 {
            self.text = Some(self.parts.iter().map(|part| part.text).collect());
        }
    }

    /// Returns the line.
    pub(crate) fn text(&self) -> &str {
        match &self.text {
            Some(text) => text,
            None => self.parts[0].text,
        }
    }

    /// Returns where a range of the line stands in the file.
    pub(crate) fn locate(&self, start: usize, end: usize) -> Span {
        let at = |offset: usize| {
            let part = self.parts[self.parts.partition_point(|part| part.before < offset).saturating_sub(1)];
            part.begin + (offset - part.before).min(part.text.len())
        };
        // The end is found from the last character, so that a range never grows over a joint.
        if start < end { Span::new(at(start + 1) - 1, at(end)) } else { Span::new(at(start), at(start)) }
    }
}

/// Reads one step from `offset`, which is the start of a line.
pub(crate) fn step(text: &str, offset: usize, escape: Escape) -> Step<'_> {
    plain_step(text, offset, escape).unwrap_or_else(|| step_by_grammar(text, offset, escape))
}

/// Reads a step whose instruction has escape characters only where they join lines: most are such, and the grammar need not be asked. `None` where it must.
fn plain_step(text: &str, offset: usize, escape: Escape) -> Option<Step<'_>> {
    let mut step = Step { end: offset, ..Step::default() };
    let mut lines = text[offset..].split_inclusive('\n');
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        let span = Span::new(step.end, step.end + line.len());
        step.end = span.end;
        if trimmed.is_empty() || trimmed.starts_with('#') {
            step.between.push(Between { comment: !trimmed.is_empty(), span });
            continue;
        }
        let joined = plain_instruction(trimmed, lines, span.end - trimmed.len(), escape)?;
        step.end = joined.span.end;
        step.instruction = Some(joined);
        break;
    }
    Some(step)
}

/// Reads an instruction from its first line, which begins at `begin`, and those behind it.
fn plain_instruction<'a>(
    first: &'a str,
    mut behind: impl Iterator<Item = &'a str>,
    begin: usize,
    escape: Escape,
) -> Option<Joined<'a>> {
    let span = Span::new(begin, begin + first.len());
    let mut joined = Joined { parts: Vec::with_capacity(1), span, hollow: false, text: None };
    let mut goes_on = joined.add_plain(first, begin, escape)?;
    while goes_on {
        // A joint at the end of the file joins nothing to the line.
        let line = behind.next().unwrap_or_default();
        let begin = joined.span.end;
        joined.span.end += line.len();
        match line.trim_start().bytes().next() {
            None if !line.is_empty() => joined.hollow = true,
            Some(b'#') => {}
            _ => goes_on = joined.add_plain(line, begin, escape)?,
        }
    }
    joined.unite();
    Some(joined)
}

fn step_by_grammar(text: &str, offset: usize, escape: Escape) -> Step<'_> {
    let whole = token(by_escape(escape, Rule::step_backslash, Rule::step_backtick), &text[offset..]);
    let mut step = Step { end: offset + whole.as_span().end(), ..Step::default() };
    for found in whole.into_inner() {
        let span = Span::new(offset + found.as_span().start(), offset + found.as_span().end());
        match found.as_rule() {
            Rule::comment => step.between.push(Between { comment: true, span }),
            Rule::hollow => step.between.push(Between { comment: false, span }),
            _ => step.instruction = Some(join(found, offset, span)),
        }
    }
    step
}

fn join(instruction: Token<'_>, offset: usize, span: Span) -> Joined<'_> {
    let mut joined = Joined { parts: Vec::new(), span, hollow: false, text: None };
    for found in instruction.into_inner() {
        match found.as_rule() {
            Rule::content_backslash | Rule::content_backtick => {
                joined.add(found.as_str(), offset + found.as_span().start());
            }
            Rule::hollow => joined.hollow = true,
            _ => {}
        }
    }
    joined.unite();
    joined.span.start = joined.parts.first().map_or(span.start, |part| part.begin);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, escape: Escape, expected: &[&str]) {
        let (mut offset, mut found) = (0, Vec::new());
        while offset < text.len() {
            let step = step(text, offset, escape);
            found.extend(step.instruction.map(|joined| joined.text().to_owned()));
            offset = step.end;
        }
        assert_eq!(found, expected);
    }

    // spec 3
    #[test]
    fn comments_inside_a_continued_instruction_disappear() {
        check("RUN a \\\n# one\n   # two\n  b\nRUN c", Escape::Backslash, &["RUN a   b", "RUN c"]);
    }

    // spec 4
    #[test]
    fn an_escape_character_joins_lines_unless_another_stands_before_it() {
        check("RUN a \\ \t\n b", Escape::Backslash, &["RUN a  b"]);
        check("RUN a \\", Escape::Backslash, &["RUN a "]);
        check("RUN a \\\\\nRUN b", Escape::Backslash, &["RUN a \\\\", "RUN b"]);
        check("RUN a \\\\\\\nRUN b", Escape::Backslash, &["RUN a \\\\\\", "RUN b"]);
        check("RUN a \\\n\\\n  b", Escape::Backslash, &["RUN a   b"]);
        check("RUN a \\x\\y\nRUN b\\", Escape::Backslash, &["RUN a \\x\\y", "RUN b"]);
    }

    // spec 5
    #[test]
    fn empty_lines_inside_a_continued_instruction_are_skipped_and_noticed() {
        let step = step("RUN a \\\n\n \t\n  b\n", 0, Escape::Backslash);
        let joined = step.instruction.unwrap();
        assert_eq!((joined.text(), joined.hollow), ("RUN a   b", true));
    }

    // spec 6
    #[test]
    fn carriage_returns_are_part_of_no_line() {
        check("RUN a \\\r\n  b\r\n\r\nRUN c\r\r\n", Escape::Backslash, &["RUN a   b", "RUN c"]);
    }

    // spec 7
    #[test]
    fn a_backtick_as_escape_character_leaves_backslashes_alone() {
        check("RUN a\\\nRUN b `\n c", Escape::Backtick, &["RUN a\\", "RUN b  c"]);
    }

    #[test]
    fn a_range_of_the_joined_line_is_found_in_the_file() {
        let text = "RUN ab\\\n# x\ncd ef";
        let step = step(text, 0, Escape::Backslash);
        let joined = step.instruction.unwrap();
        assert_eq!(joined.text(), "RUN abcd ef");
        let part = |start, end| {
            let span = joined.locate(start, end);
            &text[span.start..span.end]
        };
        assert_eq!(part(4, 6), "ab");
        assert_eq!(part(6, 8), "cd");
        assert_eq!(part(9, 11), "ef");
        assert_eq!(part(5, 7), "b\\\n# x\nc");
        assert_eq!(part(11, 11), "");
    }

    proptest! {
        #[test]
        fn a_plain_step_is_what_the_grammar_says_it_is(
            text in "([\\\\`][ \t]?\r?\n|[RUNa# \t\r\n\\\\`é\u{85}-]){0,20}",
            tick: bool,
        ) {
            let escape = if tick { Escape::Backtick } else { Escape::Backslash };
            if let Some(found) = plain_step(&text, 0, escape) {
                prop_assert_eq!(found, step_by_grammar(&text, 0, escape));
            }
        }
    }
}
