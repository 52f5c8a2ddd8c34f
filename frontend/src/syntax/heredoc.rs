//! Heredocs: the marks in an instruction's line that announce bodies behind it, and the bodies.

use serde::Serialize;

use super::Escape;
use super::grammar::{Rule, try_token};
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
    match plain_mark(word) {
        Some(mark) => Ok(Some(mark)),
        None => mark_by_grammar(word),
    }
}

/// Reads a mark whose name has nothing that could be taken away, as most have; the grammar need not be asked. `None` where it must.
fn plain_mark(word: &str) -> Option<HeredocMark> {
    let mark = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (strip_tabs, name) = mark.strip_prefix('-').map_or((false, mark), |name| (true, name));
    let is_short = (1..=EXPANSION_BYTES_MAX).contains(&name.len());
    let is_plain = is_short && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_plain.then(|| HeredocMark { name: name.to_owned(), expand: true, strip_tabs })
}

fn mark_by_grammar(word: &str) -> Result<Option<HeredocMark>, Problem> {
    let Some(mark) = try_token(Rule::heredoc, word) else { return Ok(None) };
    let (mut strip_tabs, mut rest) = (false, "");
    for part in mark.into_inner() {
        match part.as_rule() {
            Rule::heredoc_chomp => strip_tabs = true,
            _ => rest = part.as_str(),
        }
    }
    let nothing = Environment::new();
    let words = |quotes| split(rest, style(quotes, Escapes::Remove), &nothing).map_err(|error| error.problem);
    let (plain, raw) = (words(Quotes::Remove)?, words(Quotes::Keep)?);
    let ([name], [raw]) = (plain.as_slice(), raw.as_slice()) else { return Ok(None) };
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Ok(Some(HeredocMark { name: name.clone(), expand: quotes(name) == quotes(raw), strip_tabs }))
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
        fn a_plain_mark_is_what_the_grammar_says_it_is(word in "[1<]{0,2}<<-?[aE_7'\"\\\\ $<-]{0,6}") {
            if let Some(mark) = plain_mark(&word) {
                prop_assert_eq!(mark_by_grammar(&word), Ok(Some(mark)));
            }
        }
    }
}
