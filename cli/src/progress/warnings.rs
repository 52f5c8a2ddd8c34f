//! The warnings of a build, summed up at its end.

use std::fmt::Write;

use engine::event::Warning;

use crate::format::text::printable;
use crate::progress::excerpt::excerpt;

/// How much is said about each warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// One line.
    Brief,
    /// What it is about, where to read more, and its place.
    Full,
}

/// Returns the warnings under their number, or nothing when there are none.
pub(crate) fn warnings(warnings: &[Warning], detail: Detail) -> String {
    let count = match warnings.len() {
        0 => return String::new(),
        1 => "1 warning found".to_owned(),
        count => format!("{count} warnings found"),
    };
    let expand = match detail {
        Detail::Brief => " (use kiln --debug to expand)",
        Detail::Full => "",
    };
    let mut text = format!("\n {count}{expand}:\n");
    for warning in warnings {
        write_warning(&mut text, warning, detail).expect("a string takes everything");
    }
    text
}

fn write_warning(text: &mut String, warning: &Warning, detail: Detail) -> std::fmt::Result {
    writeln!(text, " - {}", printable(&warning.short))?;
    if detail == Detail::Brief {
        return Ok(());
    }
    if !warning.detail.is_empty() {
        writeln!(text, "{}", printable(&warning.detail))?;
    }
    if !warning.url.is_empty() {
        writeln!(text, "More info: {}", printable(&warning.url))?;
    }
    text.push_str(&warning.excerpt.as_ref().map(excerpt).unwrap_or_default());
    text.push('\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::event::Excerpt;
    use expect_test::{Expect, expect};
    use oci::Digest;

    fn maintainer() -> Warning {
        Warning {
            step: Digest::of(b"step"),
            short: "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)"
                .to_owned(),
            detail: "The MAINTAINER instruction is deprecated, use a label instead to define an image author"
                .to_owned(),
            url: "https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/".to_owned(),
            excerpt: Some(Excerpt {
                file: "Dockerfile".to_owned(),
                first_line: 1,
                lines: vec!["FROM scratch".to_owned(), "MAINTAINER me".to_owned()],
                marked_start: 2,
                marked_end: 2,
                part: None,
            }),
            diagnostic: None,
        }
    }

    #[track_caller]
    fn check(count: usize, detail: Detail, expected: Expect) {
        // A bar before each line keeps the spaces at its start.
        let shown = warnings(&vec![maintainer(); count], detail);
        expected.assert_eq(&shown.lines().map(|line| format!("|{line}\n")).collect::<String>());
    }

    #[test]
    fn warnings_are_counted_and_listed() {
        check(0, Detail::Brief, expect![[""]]);
        check(
            1,
            Detail::Brief,
            expect![[r#"
                |
                | 1 warning found (use kiln --debug to expand):
                | - MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)
            "#]],
        );
        check(
            2,
            Detail::Brief,
            expect![[r#"
                |
                | 2 warnings found (use kiln --debug to expand):
                | - MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)
                | - MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)
            "#]],
        );
    }

    #[test]
    fn debugging_shows_all_of_a_warning() {
        check(
            1,
            Detail::Full,
            expect![[r#"
                |
                | 1 warning found:
                | - MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)
                |The MAINTAINER instruction is deprecated, use a label instead to define an image author
                |More info: https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/
                |Dockerfile:2
                |--------------------
                |   1 |     FROM scratch
                |   2 | >>> MAINTAINER me
                |--------------------
                |
            "#]],
        );
    }
}
