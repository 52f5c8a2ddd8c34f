//! The parts of an instruction's line: keyword, flags, fields, words, strings of a JSON array.

use super::Escape;
use super::grammar::{Rule, Token, by_escape, token, try_token};

/// The beginning of an instruction.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    /// The keyword as it is written.
    pub(crate) keyword: &'a str,
    /// The flags in order.
    pub(crate) flags: Vec<FlagWord>,
    /// Where the arguments begin.
    pub(crate) arguments: usize,
}

/// A flag without the two dashes, its quotes and escapes carried out: `chown=a:b`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlagWord {
    /// What stands behind the dashes.
    pub(crate) text: String,
    /// Where it begins in the line.
    pub(crate) start: usize,
    /// Where it ends in the line.
    pub(crate) end: usize,
}

/// A part of a line and where it stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located<'a> {
    /// The part.
    pub(crate) text: &'a str,
    /// Where it begins in the line.
    pub(crate) start: usize,
}

/// What a text is when it is read as JSON.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Json {
    /// An array of strings.
    Strings(Vec<String>),
    /// An array with something else in it.
    NotStrings,
    /// No array at all, or not JSON.
    Not,
}

/// Reads keyword and flags of a line without blanks at its start.
pub(crate) fn head(line: &str, escape: Escape) -> Head<'_> {
    let keyword = line.split(is_gap).next().unwrap_or_default();
    let rest = line[keyword.len()..].trim_start_matches(is_gap).trim_start();
    let before = line.len() - rest.len();
    if !rest.starts_with("--") {
        return Head { keyword, flags: Vec::new(), arguments: before };
    }
    let (flags, length) = plain_flags(rest, before, escape).unwrap_or_else(|| flags_by_grammar(rest, before, escape));
    Head { keyword, flags, arguments: before + length }
}

/// Reads the flags at the start of a text that stands behind so many bytes of the line, and returns how long they are with the blanks behind them. Most have neither
/// quotes nor escape characters, and the grammar need not be asked; `None` where it must.
fn plain_flags(text: &str, before: usize, escape: Escape) -> Option<(Vec<FlagWord>, usize)> {
    let mut flags = Vec::new();
    let mut rest = text;
    while let Some(behind) = rest.strip_prefix("--") {
        let start = before + text.len() - rest.len();
        if behind.is_empty() || behind.starts_with(is_blank) {
            rest = behind.trim_start_matches(is_blank);
            break;
        }
        let flag = behind.split(is_gap).next().unwrap_or_default();
        if flag.contains(['\'', '"', escape.char()]) {
            return None;
        }
        flags.push(FlagWord { text: flag.to_owned(), start, end: start + "--".len() + flag.len() });
        rest = behind[flag.len()..].trim_start_matches(is_blank);
    }
    Some((flags, text.len() - rest.len()))
}

fn flags_by_grammar(text: &str, before: usize, escape: Escape) -> (Vec<FlagWord>, usize) {
    let whole = token(by_escape(escape, Rule::flags_backslash, Rule::flags_backtick), text);
    let length = whole.as_span().end();
    let flags = whole.into_inner().filter(|found| found.as_rule() == Rule::flag);
    (flags.map(|found| flag(found, before)).collect(), length)
}

/// The blanks between words: all of Unicode's but the break of a line.
fn is_blank(c: char) -> bool {
    c.is_whitespace() && c != '\n'
}

/// The blanks of ASCII, at which keyword and fields end.
fn is_gap(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{b}'..='\r')
}

fn flag(found: Token<'_>, before: usize) -> FlagWord {
    let (start, end) = (before + found.as_span().start(), before + found.as_span().end());
    let mut text = String::new();
    push_flag(&mut text, found);
    FlagWord { text, start, end }
}

/// Adds what a flag says: quotes and escape characters are gone, what they protected stays.
fn push_flag(text: &mut String, part: Token<'_>) {
    match part.as_rule() {
        Rule::flag | Rule::flag_single | Rule::flag_double | Rule::flag_escaped => {
            part.into_inner().for_each(|inner| push_flag(text, inner));
        }
        _ => text.push_str(part.as_str()),
    }
}

/// Splits at blanks, without regard for quotes.
pub(crate) fn fields(line: &str) -> Vec<Located<'_>> {
    let mut end = 0;
    let parts = line.split_inclusive(is_gap).map(|part| {
        end += part.len();
        Located { text: part.trim_end_matches(is_gap), start: end - part.len() }
    });
    parts.filter(|field| !field.text.is_empty()).collect()
}

/// Splits at blanks that are neither quoted nor escaped; quotes and escapes stay in the words.
pub(crate) fn words(line: &str, escape: Escape) -> Vec<Located<'_>> {
    if line.contains(escape.char()) { words_by_grammar(line, escape) } else { plain_words(line) }
}

/// The words of a line without escape characters, as most are; the grammar need not be asked.
fn plain_words(line: &str) -> Vec<Located<'_>> {
    let mut words = Vec::new();
    let (mut start, mut quote) = (None, None);
    for (at, c) in line.char_indices() {
        if quote.is_some() {
            quote = quote.filter(|quote| *quote != c);
        } else if is_blank(c) {
            words.extend(start.take().map(|start| Located { text: &line[start..at], start }));
        } else {
            start.get_or_insert(at);
            quote = Some(c).filter(|c| matches!(c, '\'' | '"'));
        }
    }
    words.extend(start.map(|start| Located { text: &line[start..], start }));
    words
}

fn words_by_grammar(line: &str, escape: Escape) -> Vec<Located<'_>> {
    let whole = token(by_escape(escape, Rule::words_backslash, Rule::words_backtick), line);
    whole.into_inner().map(|part| Located { text: part.as_str(), start: part.as_span().start() }).collect()
}

/// Reads a text as a JSON array of strings.
pub(crate) fn json(text: &str) -> Json {
    if !text.trim_start().starts_with('[') {
        return Json::Not;
    }
    match try_token(Rule::json, text) {
        Some(array) => Json::Strings(array.into_inner().map(unescape).collect()),
        // What is left is an array of something else, or not JSON; only the first is an error.
        None => match serde_json::from_str::<Vec<serde::de::IgnoredAny>>(text.trim_start()) {
            Ok(_) => Json::NotStrings,
            Err(_) => Json::Not,
        },
    }
}

fn unescape(string: Token<'_>) -> String {
    let mut text = String::new();
    let mut high = None;
    for part in string.into_inner() {
        let raw = part.as_str();
        if part.as_rule() != Rule::json_escaped {
            text.extend(high.take().map(|_: u32| char::REPLACEMENT_CHARACTER));
            text.push_str(raw);
            continue;
        }
        if let Some(unit) = raw.strip_prefix("\\u").and_then(|hex| u32::from_str_radix(hex, 16).ok()) {
            push_unit(&mut text, &mut high, unit);
            continue;
        }
        text.extend(high.take().map(|_| char::REPLACEMENT_CHARACTER));
        text.push(match raw.as_bytes()[1] {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            other => char::from(other),
        });
    }
    text.extend(high.map(|_| char::REPLACEMENT_CHARACTER));
    text
}

/// Adds a unit of UTF-16; half of a pair without the other half becomes the replacement character, as in Go.
fn push_unit(text: &mut String, high: &mut Option<u32>, unit: u32) {
    match (high.take(), unit) {
        (Some(first), 0xdc00..=0xdfff) => {
            text.extend(char::from_u32(0x10000 + ((first - 0xd800) << 10) + (unit - 0xdc00)));
        }
        (earlier, unit) => {
            text.extend(earlier.map(|_| char::REPLACEMENT_CHARACTER));
            match unit {
                0xd800..=0xdbff => *high = Some(unit),
                unit => text.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check_head(line: &str, keyword: &str, flags: &[&str], arguments: &str) {
        let head = head(line, Escape::Backslash);
        let found: Vec<&str> = head.flags.iter().map(|flag| flag.text.as_str()).collect();
        assert_eq!((head.keyword, found.as_slice(), &line[head.arguments..]), (keyword, flags, arguments));
    }

    #[test]
    fn flags_are_the_words_with_two_dashes_directly_behind_the_keyword() {
        check_head("COPY --chown=a:b --link src /dst", "COPY", &["chown=a:b", "link"], "src /dst");
        check_head("copy", "copy", &[], "");
        check_head("RUN  -x --y", "RUN", &[], "-x --y");
        check_head("RUN --mount=type=bind", "RUN", &["mount=type=bind"], "");
    }

    // spec 11
    #[test]
    fn a_flag_behind_the_first_argument_is_an_argument() {
        check_head("COPY a --chmod=600 /x", "COPY", &[], "a --chmod=600 /x");
    }

    #[test]
    fn two_dashes_alone_end_the_flags() {
        check_head("RUN --network=none -- --x", "RUN", &["network=none"], "--x");
        check_head("RUN --", "RUN", &[], "");
    }

    #[test]
    fn quotes_and_escape_characters_in_flags_are_carried_out() {
        check_head(r#"RUN --a="x y" --b='c d'e --f=\"g \ h"#, "RUN", &["a=x y", "b=c de", "f=\"g"], r"\ h");
        check_head(r#"RUN --a="x\"y"#, "RUN", &["a=x\"y"], "");
        check_head("RUN --a=é\u{a0}x y", "RUN", &["a=é\u{a0}x"], "y");
        let of_backtick = head("RUN --a=c:\\x` y`\" --b='\\`'' z", Escape::Backtick);
        assert_eq!(
            of_backtick.flags.iter().map(|flag| flag.text.as_str()).collect::<Vec<_>>(),
            ["a=c:\\x y\"", "b=\\'"]
        );
    }

    #[test]
    fn words_keep_their_quotes_and_escapes() {
        let split = |text, escape| words(text, escape).into_iter().map(|word| word.text).collect::<Vec<_>>();
        assert_eq!(
            split(r#"a=b  c="d \" e" f='g \' h\ i"#, Escape::Backslash),
            ["a=b", r#"c="d \" e""#, r"f='g \'", r"h\ i"]
        );
        assert_eq!(split("a b\\", Escape::Backslash), ["a", "b"]);
        assert_eq!(split("a\u{3000}b\u{a0}c", Escape::Backslash), ["a", "b", "c"]);
        assert_eq!(split(r"c:\x `  y", Escape::Backtick), [r"c:\x", "` ", "y"]);
        assert_eq!(split("a=\"b c", Escape::Backslash), ["a=\"b c"]);
        assert_eq!(split("  ", Escape::Backslash), [""; 0]);
    }

    #[test]
    fn a_json_array_of_strings_is_told_from_other_json_and_from_text() {
        let strings = |list: &[&str]| Json::Strings(list.iter().map(|text| (*text).to_owned()).collect());
        assert_eq!(json(r#" ["a", "b\"\\\/\u00e9\n"] "#), strings(&["a", "b\"\\/é\n"]));
        assert_eq!(json("[]"), strings(&[]));
        assert_eq!(json(r#"["\ud83d\ude00 \ud83d x \ude00"]"#), strings(&["\u{1f600} \u{fffd} x \u{fffd}"]));
        assert_eq!(json(r#"["a", 1]"#), Json::NotStrings);
        assert_eq!(json("[[]]"), Json::NotStrings);
        assert_eq!(json("[\"a\tb\"]"), Json::Not);
        assert_eq!(json(r#"["a", 'b']"#), Json::Not);
        assert_eq!(json(r#"["a"] x"#), Json::Not);
        assert_eq!(json("echo"), Json::Not);
        assert_eq!(json(&"[".repeat(100_000)), Json::Not);
    }
    proptest! {
        #[test]
        fn plain_flags_are_those_of_the_grammar(text in "--(--|[-=,a '\"\\\\`\t\u{b}\r\u{a0}\u{3000}\n]){0,20}", tick: bool) {
            let escape = if tick { Escape::Backtick } else { Escape::Backslash };
            if let Some(found) = plain_flags(&text, 3, escape) {
                prop_assert_eq!(found, flags_by_grammar(&text, 3, escape));
            }
        }

        #[test]
        fn plain_words_are_those_of_the_grammar(line in "[a=$é '\"`\t\u{b}\r\u{85}\u{3000}\n]{0,20}") {
            prop_assert_eq!(plain_words(&line), words_by_grammar(&line, Escape::Backslash));
        }
    }
}
