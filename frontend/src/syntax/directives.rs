//! Directives: comments at the very top of a file that choose its syntax, its escape character and its checks.

use serde::Serialize;

use super::Escape;
use super::grammar::{Rule, token};
use crate::source::Span;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// A directive, such as `# syntax=docker/dockerfile:1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Directive {
    /// Which one.
    pub name: DirectiveName,
    /// What stands behind `=`, without blanks around it.
    pub value: String,
    /// The line.
    pub span: Span,
}

/// Which directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectiveName {
    /// The frontend that reads the file.
    Syntax,
    /// The escape character.
    Escape,
    /// Options of the build checks.
    Check,
}

impl DirectiveName {
    /// Returns the name as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Escape => "escape",
            Self::Check => "check",
        }
    }
}

/// Why a directive does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectiveError {
    /// The same directive stands there already.
    #[error("only one {name} parser directive can be used")]
    Twice {
        /// Which directive.
        name: &'static str,
    },
    /// The escape character is none of the two.
    #[error("invalid escape token '{value}' does not match ` or \\")]
    Escape {
        /// What was asked for.
        value: String,
    },
}

/// The directives of a file.
#[derive(Debug, Default)]
pub(crate) struct Directives {
    /// Those that count, in order.
    pub(crate) list: Vec<Directive>,
    /// Those that do not.
    pub(crate) errors: Vec<(DirectiveError, Span)>,
    /// The escape character that they choose.
    pub(crate) escape: Escape,
    /// The byte behind the last one's line.
    pub(crate) end: usize,
}

/// Reads the directives at `offset`; the first line that is none ends them.
pub(crate) fn directives(text: &str, offset: usize) -> Directives {
    let mut found = Directives { end: offset, ..Directives::default() };
    let mut seen = Vec::new();
    for line in token(Rule::directives, &text[offset..]).into_inner() {
        let span = Span::new(offset + line.as_span().start(), offset + line.as_span().end());
        found.end = span.end;
        let mut parts = line.into_inner();
        let Some((name, value)) = parts.next().zip(parts.next()) else { continue };
        let name = match name.as_str().as_bytes()[0].to_ascii_lowercase() {
            b's' => DirectiveName::Syntax,
            b'e' => DirectiveName::Escape,
            _ => DirectiveName::Check,
        };
        let value = value.as_str().to_owned();
        if seen.contains(&name) {
            found.errors.push((DirectiveError::Twice { name: name.as_str() }, span));
            continue;
        }
        seen.push(name);
        match (name, value.as_str()) {
            (DirectiveName::Escape, "`") => found.escape = Escape::Backtick,
            (DirectiveName::Escape, "\\") => found.escape = Escape::Backslash,
            (DirectiveName::Escape, _) => {
                found.errors.push((DirectiveError::Escape { value }, span));
                continue;
            }
            _ => {}
        }
        found.list.push(Directive { name, value, span });
    }
    found
}

/// The frontend that a file asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Syntax {
    /// The image of the frontend: `docker/dockerfile:1`.
    pub image: String,
    /// The whole value, with what stands behind the image.
    pub value: String,
    /// The line, counted from 1.
    pub line: u32,
}

/// Finds the frontend that a file asks for, in any of the forms that files of other frontends use: behind a `#!` line, in `//` comments, in a JSON document.
pub fn detect_syntax(text: &[u8]) -> Option<Syntax> {
    let text = String::from_utf8_lossy(text);
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
    let (text, line) = behind_shebang(text);
    let of_value = |value: &str, line| {
        let image = value.split(' ').next().unwrap_or_default().to_owned();
        Syntax { image, value: value.to_owned(), line }
    };
    in_comments(text, "#", DirectiveName::Syntax)
        .or_else(|| in_comments(text, "//", DirectiveName::Syntax))
        .map(|(value, behind)| of_value(&value, line + behind))
        .or_else(|| in_json(text).map(|value| Syntax { image: value.clone(), value, line }))
}

/// Finds the options of the build checks. As opposed to the escape character they may stand behind a `#!` line, and no directive that counts here is indented.
pub(crate) fn find_check_options(text: &str) -> Option<String> {
    in_comments(behind_shebang(text).0, "#", DirectiveName::Check).map(|(options, _)| options)
}

/// Returns the text behind a `#!` line, if there is one, and the number of its first line.
fn behind_shebang(text: &str) -> (&str, u32) {
    match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") => (rest, 2),
        _ => (text, 1),
    }
}

/// Finds a directive in comments of a kind, with how many lines stand before it.
fn in_comments(text: &str, comment: &str, name: DirectiveName) -> Option<(String, u32)> {
    // The grammar knows `#` comments, so lines of another kind are turned into these.
    let lines: String =
        text.lines().map_while(|line| line.strip_prefix(comment)).map(|line| format!("#{line}\n")).collect();
    let found = directives(&lines, 0).list.into_iter().find(|directive| directive.name == name)?;
    let before = lines[..found.span.start].matches('\n').count() as u32;
    Some((found.value, before))
}

fn in_json(text: &str) -> Option<String> {
    let document: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    document.get("syntax")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)], errors: &[&str]) {
        let found = directives(text, 0);
        let list: Vec<_> = found.list.iter().map(|it| (it.name.as_str(), it.value.as_str())).collect();
        let messages: Vec<String> = found.errors.iter().map(|(error, _)| error.to_string()).collect();
        assert_eq!(
            (list.as_slice(), messages.iter().map(String::as_str).collect::<Vec<_>>().as_slice()),
            (expected, errors)
        );
    }

    #[test]
    fn directives_are_comments_at_the_top_with_a_known_key() {
        check(
            "# syntax = docker/dockerfile:1 \n#ESCAPE=`\n  #check=skip=all;error=true\r\nFROM a",
            &[("syntax", "docker/dockerfile:1"), ("escape", "`"), ("check", "skip=all;error=true")],
            &[],
        );
    }

    // spec 1
    #[test]
    fn a_comment_an_empty_line_or_an_instruction_ends_the_directives() {
        check("# a comment\n# escape=`\n", &[], &[]);
        check("\n# escape=`\n", &[], &[]);
        check("FROM a\n# escape=`\n", &[], &[]);
        check("# escape=\n# escape=`\n", &[], &[]);
    }

    // spec 2
    #[test]
    fn a_directive_that_stands_there_twice_is_an_error_and_an_unknown_one_ends_them() {
        check("# escape=`\n# Escape=`\n", &[("escape", "`")], &["only one escape parser directive can be used"]);
        check("# unknown=1\n# escape=`\n", &[], &[]);
        check("# escapes=1\n# escape=`\n", &[], &[]);
        check("# escape=x\n", &[], &["invalid escape token 'x' does not match ` or \\"]);
    }

    #[test]
    fn options_of_checks_may_stand_behind_a_shebang_and_are_not_indented() {
        let find = |text: &str| find_check_options(text);
        assert_eq!(find("#!/bin/x\n# escape=`\n# check=skip=all\nFROM a"), Some("skip=all".to_owned()));
        assert_eq!(find("# Check = error=true \nFROM a"), Some("error=true".to_owned()));
        assert_eq!(find(" # check=skip=all\nFROM a"), None);
        assert_eq!(find("# a comment\n# check=skip=all\nFROM a"), None);
    }

    #[test]
    fn the_syntax_is_found_in_every_form_that_frontends_use() {
        let find = |text: &str| detect_syntax(text.as_bytes()).map(|syntax| (syntax.image, syntax.line));
        let found = |image: &str, line| Some((image.to_owned(), line));
        assert_eq!(find("\u{feff}# syntax=a/b:1 --x\nFROM c"), found("a/b:1", 1));
        assert_eq!(find("#!/usr/bin/env x\n# escape=`\n# syntax=a\n"), found("a", 3));
        assert_eq!(find("// syntax=a\n{}"), found("a", 1));
        assert_eq!(find("{\"syntax\": \"a\", \"more\": 1}"), found("a", 1));
        assert_eq!(find("FROM a\n# syntax=b\n"), None);
        assert_eq!(detect_syntax(b"\xff\xfe"), None);
    }
}
