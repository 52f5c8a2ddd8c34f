//! Heredocs: the marks in an instruction's line that announce bodies behind it, and the bodies.

use serde::Serialize;

use super::Escape;
use crate::expand::{Environment, Escapes, Problem, Quotes, Style, Unset, split};
use crate::limits::EXPANSION_BYTES_MAX;
use crate::source::Span;

/// A body that stands behind the lines of an instruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Heredoc {
    /// The word that ends the body, and the name of the file that `COPY` and `ADD` make of it.
    pub name: String,
    /// Whether variables in the body are substituted: unless the name was quoted.
    pub expand: bool,
    /// Whether tabs at the start of lines are dropped: `<<-`.
    pub strip_tabs: bool,
    /// The body as it stands in the file, with the breaks of its lines.
    pub content: String,
    /// Where the body stands, without the line that ends it.
    pub span: Span,
}

impl Heredoc {
    /// Returns the body, without tabs at the start of lines where they are to be dropped.
    pub fn body(&self) -> String {
        if !self.strip_tabs {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// A word such as `<<EOF`, `3<<-EOF` or `<<'EOF'`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeredocMark {
    pub(crate) name: String,
    pub(crate) expand: bool,
    pub(crate) strip_tabs: bool,
}

impl HeredocMark {
    /// Tells whether a line of the file, with its break, ends the body.
    pub(crate) fn ends_at(&self, line: &str) -> bool {
        let line = line.trim_end_matches(['\r', '\n']);
        let line = if self.strip_tabs { line.trim_start_matches('\t') } else { line };
        line == self.name
    }
}

// The shell reads these words, so the escape character is always its own.
const fn style(quotes: Quotes, escapes: Escapes) -> Style {
    Style { escape: Escape::Backslash, quotes, escapes, unset: Unset::Keep }
}

/// Returns the marks of an instruction's line, in order. A line whose quotes do not match has none.
pub(crate) fn marks_of_line(line: &str) -> Result<Vec<HeredocMark>, Problem> {
    if !line.contains("<<") {
        return Ok(Vec::new());
    }
    let words = split(line, style(Quotes::Keep, Escapes::Keep), &Environment::new()).unwrap_or_default();
    words.iter().filter_map(|word| parse_mark(word).transpose()).collect()
}

/// Reads a word as the mark of a heredoc; `Ok(None)` means that it is none.
pub(crate) fn parse_mark(word: &str) -> Result<Option<HeredocMark>, Problem> {
    if !word.contains("<<") {
        return Ok(None);
    }
    let behind = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let Some(mark) = behind.strip_prefix("<<") else { return Ok(None) };
    let (strip_tabs, mark) = mark.strip_prefix('-').map_or((false, mark), |mark| (true, mark));
    let rest = mark.trim_start_matches([' ', '\t', '\r', '\n', '\u{c}']);
    if rest.contains('<') {
        return Ok(None);
    }
    let name = match plain_name(rest) {
        Some(name) => Some((name.to_owned(), true)),
        None => unquoted(rest)?,
    };
    Ok(name.map(|(name, expand)| HeredocMark { name, expand, strip_tabs }))
}

/// Returns the name where it has nothing that could be taken away, as most have.
fn plain_name(text: &str) -> Option<&str> {
    let is_short = (1..=EXPANSION_BYTES_MAX).contains(&text.len());
    let is_plain = is_short && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_plain.then_some(text)
}

/// Returns the name that a text is without its quotes, and whether it has none; `Ok(None)` where the text is not one word.
fn unquoted(text: &str) -> Result<Option<(String, bool)>, Problem> {
    let nothing = Environment::new();
    let words = |quotes| split(text, style(quotes, Escapes::Remove), &nothing).map_err(|error| error.problem);
    let (plain, raw) = (words(Quotes::Remove)?, words(Quotes::Keep)?);
    let ([name], [raw]) = (plain.as_slice(), raw.as_slice()) else { return Ok(None) };
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Ok(Some((name.clone(), quotes(name) == quotes(raw))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(line: &str, expected: &[&str]) {
        let show = |mark: &HeredocMark| {
            format!(
                "{}{}{}",
                mark.name,
                if mark.expand { "" } else { " quoted" },
                if mark.strip_tabs { " tabs" } else { "" }
            )
        };
        let found = marks_of_line(line).map(|marks| marks.iter().map(show).collect());
        assert_eq!(found.unwrap_or_else(|problem| vec![problem.to_string()]), expected);
    }

    #[test]
    fn a_mark_is_a_word_of_its_own() {
        check("RUN <<EOF", &["EOF"]);
        check("RUN cat <<A | tr a b; cat <<B 3<<C", &["A", "B", "C"]);
        check("RUN <<-EOF <<'E' <<\"F\" <<-\\G", &["EOF tabs", "E quoted", "F quoted", "G tabs"]);
        check("RUN cat <<EOF)", &["EOF)"]);
        check("RUN 1<<3", &["3"]);
    }

    #[test]
    fn what_only_looks_like_a_mark_is_none() {
        check("RUN cat <<<word", &[]);
        check("RUN echo $((1<<3))", &[]);
        check("RUN cat << EOF", &[]);
        check("RUN echo \"<<EOF\"", &[]);
        check("RUN it's <<EOF", &[]);
        check("RUN a<<EOF", &[]);
    }

    #[test]
    fn only_tabs_at_the_start_of_lines_are_dropped() {
        let heredoc = |strip_tabs| Heredoc {
            name: "E".into(),
            expand: true,
            strip_tabs,
            content: "\t\ta\tb\n  \tc\n".into(),
            span: Span::default(),
        };
        assert_eq!(
            (heredoc(true).body().as_str(), heredoc(false).body().as_str()),
            ("a\tb\n  \tc\n", "\t\ta\tb\n  \tc\n")
        );
    }

    proptest! {
        #[test]
        fn a_plain_name_is_the_word_that_it_is_without_quotes(text in "[aE_7'\"\\\\ $-]{0,6}") {
            if let Some(name) = plain_name(&text) {
                prop_assert_eq!(unquoted(&text), Ok(Some((name.to_owned(), true))));
            }
        }
    }
}
