//! Go's `filepath.Match`: `*`, `?`, `[a-z]`, `[^a-z]` and `\`, none of which but a class matches a slash.

/// A pattern is wrong: a class that is not closed or empty, an escape at the end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// One thing that a pattern asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Any characters but slashes, or none.
    Star,
    /// Any one character but a slash.
    Any,
    /// One character of a class.
    Class(Class),
    Char(char),
}

/// Characters, or all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    pub(super) fn matches(&self, c: char) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != self.negated
    }
}

/// Tells whether a path matches a pattern as a whole.
pub fn go_match(pattern: &str, path: &str) -> Result<bool, BadPattern> {
    let tokens = parse(pattern)?;
    let path: Vec<char> = path.chars().collect();
    let (mut at, mut place) = (0, 0);
    // Where the last star stands, and up to where it has taken the path.
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match (tokens.get(at), path.get(place)) {
            (None, None) => return Ok(true),
            (Some(Token::Star), _) => {
                star = Some((at, place));
                at += 1;
                continue;
            }
            (Some(token), Some(c)) => matches_char(token, *c),
            _ => false,
        };
        if step {
            (at, place) = (at + 1, place + 1);
            continue;
        }
        // The shortest that the last star can take is tried first; one that takes more of an earlier star cannot help.
        match star {
            Some((token, taken)) if path.get(taken).is_some_and(|c| *c != '/') => {
                star = Some((token, taken + 1));
                (at, place) = (token + 1, taken + 1);
            }
            _ => return Ok(false),
        }
    }
}

fn matches_char(token: &Token, c: char) -> bool {
    match token {
        Token::Any => c != '/',
        Token::Class(class) => class.matches(c),
        Token::Char(expected) => *expected == c,
        Token::Star => false,
    }
}

fn parse(pattern: &str) -> Result<Vec<Token>, BadPattern> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Star,
            '?' => Token::Any,
            '[' => Token::Class(parse_class(&mut chars)?),
            '\\' => Token::Char(chars.next().ok_or(BadPattern)?),
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

/// Reads a class behind its `[`, up to and with its `]`.
pub(super) fn parse_class(chars: &mut std::str::Chars<'_>) -> Result<Class, BadPattern> {
    let mut rest = chars.clone();
    let negated = rest.next() == Some('^');
    if negated {
        *chars = rest;
    }
    let mut ranges = Vec::new();
    loop {
        let mut ahead = chars.clone();
        if ahead.next() == Some(']') && !ranges.is_empty() {
            *chars = ahead;
            return Ok(Class { negated, ranges });
        }
        let low = class_char(chars)?;
        let mut ahead = chars.clone();
        let high = if ahead.next() == Some('-') {
            *chars = ahead;
            class_char(chars)?
        } else {
            low
        };
        ranges.push((low, high));
    }
}

fn class_char(chars: &mut std::str::Chars<'_>) -> Result<char, BadPattern> {
    match chars.next() {
        None | Some('-' | ']') => Err(BadPattern),
        Some('\\') => chars.next().ok_or(BadPattern),
        Some(c) => Ok(c),
    }
}

/// Tells whether a path of `COPY` has a wildcard that no backslash escapes.
pub fn has_wildcards(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => drop(chars.next()),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, matching: &[&str], other: &[&str]) {
        matching.iter().for_each(|path| assert_eq!(go_match(pattern, path), Ok(true), "{pattern} {path}"));
        other.iter().for_each(|path| assert_eq!(go_match(pattern, path), Ok(false), "{pattern} {path}"));
    }

    #[test]
    fn stars_and_question_marks_stay_within_a_directory() {
        check("*", &["", "a", "abc"], &["a/b"]);
        check("a*/b", &["a/b", "abc/b"], &["a/c/b", "ab"]);
        check("*a*b", &["ab", "xaxb", "aab"], &["xa/ab", "ba"]);
        check("?", &["a", "é"], &["/", "", "ab"]);
        check("a?b*c*d", &["aXbcd", "aXbYYcccdd", "a☺bcd"], &["aXbc", "a/bcd"]);
    }

    // spec 59
    #[test]
    fn classes_and_backslashes_name_characters() {
        check("[a-c]x", &["ax", "cx"], &["dx", "x"]);
        check("[^a-c]x", &["dx", "/x"], &["ax"]);
        check("arr[[]0].txt", &["arr[0].txt"], &["arr0.txt"]);
        check("[\\-x]", &["-", "x"], &["a"]);
        check("a\\*b\\\\", &["a*b\\"], &["axb\\"]);
        check("[!a]", &["!", "a"], &["b"]);
        check("[z-a]", &[], &["m"]);
    }

    #[test]
    fn wrong_patterns_are_refused_whatever_the_path() {
        for pattern in ["[", "[]", "[]a]", "[a", "[a-", "[-x]", "[x-]", "[^", "a\\", "[\\"] {
            assert_eq!(go_match(pattern, "zzz"), Err(BadPattern), "{pattern}");
        }
    }

    #[test]
    fn wildcards_are_found_unless_they_are_escaped() {
        assert_eq!(["a*", "a?", "[", "a\\*", "a\\\\*", "a"].map(has_wildcards), [true, true, true, false, true, false]);
    }
}
