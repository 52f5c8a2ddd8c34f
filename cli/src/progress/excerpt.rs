//! Where in a Dockerfile something went wrong.
//!
//! ```text
//! Dockerfile:3
//! --------------------
//!    1 |     FROM alpine
//!    2 |     WORKDIR /src
//!    3 | >>> RUN exit 3
//! --------------------
//! ```

use std::fmt::Write;

use engine::event::{Excerpt, ExcerptPart};

use crate::format::text::{columns, printable};

/// How many lines are shown before and after a single line.
const AROUND_ONE: u32 = 2;

/// How many lines are shown before and after several lines.
const AROUND_SEVERAL: u32 = 1;

const RULE: &str = "--------------------\n";

/// Returns the lines that are meant, those around them, and marks; of a longer excerpt only these. Empty when the lines that are meant are not in it.
pub(crate) fn excerpt(excerpt: &Excerpt) -> String {
    let marked_end = excerpt.marked_end.max(excerpt.marked_start);
    let around = if marked_end == excerpt.marked_start { AROUND_ONE } else { AROUND_SEVERAL };
    let shown = excerpt.marked_start.saturating_sub(around)..=marked_end.saturating_add(around);
    let marked = excerpt.marked_start..=marked_end;
    let numbered: Vec<(u32, &String)> = (excerpt.first_line..=u32::MAX).zip(&excerpt.lines).collect();
    if !numbered.iter().any(|(number, _)| *number == excerpt.marked_start) {
        return String::new();
    }
    let mut text = format!("{}:{}\n{RULE}", printable(&excerpt.file), excerpt.marked_start);
    for (number, line) in numbered.iter().filter(|(number, _)| shown.contains(number)) {
        let mark = if marked.contains(number) { ">>>" } else { "   " };
        let line = line.split('\t').map(printable).collect::<Vec<_>>().join("\t");
        writeln!(text, " {number:>3} | {mark} {line}").expect("a string takes everything");
        if let Some(part) = excerpt.part.filter(|part| part.line == *number) {
            let margin = " ".repeat(number.to_string().len().max(3));
            writeln!(text, " {margin} |     {}", underline(&line, part)).expect("a string takes everything");
        }
    }
    text + RULE
}

/// Returns carets beneath the part of a line; tabs before it stay, so that the carets are where the part is.
fn underline(line: &str, part: ExcerptPart) -> String {
    let (start, end) = (part.start.saturating_sub(1) as usize, part.end.saturating_sub(1) as usize);
    let blank = |c: char| if c == '\t' { "\t".to_owned() } else { " ".repeat(columns(c.encode_utf8(&mut [0; 4]))) };
    let before: String = line.chars().take(start).map(blank).collect();
    let meant: String = line.chars().take(end).skip(start).collect();
    before + &"^".repeat(columns(&meant).max(1))
}

/// Returns what is printed last when a build has failed: the place, if there is one, and the message behind `ERROR:`.
pub(crate) fn failure(place: Option<&Excerpt>, message: &str) -> String {
    let place = place.map(excerpt).unwrap_or_default();
    format!("{place}ERROR: {message}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    #[track_caller]
    fn check(first_line: u32, lines: &[&str], marked: (u32, u32), expected: Expect) {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        let (marked_start, marked_end) = marked;
        let place = Excerpt { file: "Dockerfile".to_owned(), first_line, lines, marked_start, marked_end, part: None };
        expected.assert_eq(&excerpt(&place));
    }

    const LINES: [&str; 7] = ["FROM alpine", "", "RUN make \\", "  && make check", "COPY a b", "CMD [\"a\"]", ""];

    #[test]
    fn one_line_has_two_lines_around_it() {
        check(
            1,
            &LINES,
            (5, 5),
            expect![[r#"
                Dockerfile:5
                --------------------
                   3 |     RUN make \
                   4 |       && make check
                   5 | >>> COPY a b
                   6 |     CMD ["a"]
                   7 |     
                --------------------
            "#]],
        );
        check(
            1,
            &LINES,
            (1, 1),
            expect![[r#"
                Dockerfile:1
                --------------------
                   1 | >>> FROM alpine
                   2 |     
                   3 |     RUN make \
                --------------------
            "#]],
        );
        check(
            1,
            &LINES,
            (7, 7),
            expect![[r#"
                Dockerfile:7
                --------------------
                   5 |     COPY a b
                   6 |     CMD ["a"]
                   7 | >>> 
                --------------------
            "#]],
        );
    }

    #[test]
    fn several_lines_have_one_around_them() {
        check(
            1,
            &LINES,
            (3, 4),
            expect![[r#"
                Dockerfile:3
                --------------------
                   2 |     
                   3 | >>> RUN make \
                   4 | >>>   && make check
                   5 |     COPY a b
                --------------------
            "#]],
        );
    }

    #[test]
    fn an_excerpt_that_begins_later_keeps_its_numbers() {
        check(
            120,
            &["a", "b", "c"],
            (121, 121),
            expect![[r#"
                Dockerfile:121
                --------------------
                 120 |     a
                 121 | >>> b
                 122 |     c
                --------------------
            "#]],
        );
    }

    #[test]
    fn nothing_in_a_line_reaches_the_terminal() {
        check(
            1,
            &["RUN\techo \u{1b}[2J"],
            (1, 1),
            expect![[r#"
                Dockerfile:1
                --------------------
                   1 | >>> RUN	echo �[2J
                --------------------
            "#]],
        );
    }

    #[test]
    fn an_excerpt_without_the_line_is_empty() {
        check(5, &["a"], (1, 1), expect![[""]]);
        check(1, &[], (1, 1), expect![[""]]);
        check(
            u32::MAX,
            &["a", "b"],
            (u32::MAX, u32::MAX),
            expect![[r#"
                Dockerfile:4294967295
                --------------------
                 4294967295 | >>> a
                --------------------
            "#]],
        );
    }

    #[test]
    fn a_failure_ends_with_its_message() {
        assert_eq!(failure(None, "failed to solve: no such file"), "ERROR: failed to solve: no such file\n");
    }
}
