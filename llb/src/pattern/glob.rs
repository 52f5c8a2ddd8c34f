//! One pattern of an ignore file, compiled.
//!
//! Docker makes a regular expression of a pattern; what that expression matches is what counts here too, its oddities included: `**` is any directories or
//! none and need not stand alone, a class matches a slash, and a backslash in front of a letter names nothing.

use super::go_match::{BadPattern, Class, parse_class};

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob {
    tokens: Vec<Token>,
    form: Form,
    literals: Literals,
}

/// Characters that must stand in what matches: nearly all paths are turned away by these, without a look at the tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Literals {
    /// What it begins with.
    head: String,
    /// What it ends with.
    tail: String,
    /// The bytes that it has anywhere.
    bytes: ByteSet,
}

/// Which bytes a text has, as far as 64 bits tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ByteSet(u64);

impl ByteSet {
    pub(super) fn of(text: &str) -> Self {
        Self(text.bytes().fold(0, |set, byte| set | 1 << (byte & 63)))
    }

    fn has_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A path as patterns look at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    path: &'a str,
    /// The last part of the path.
    pub(super) name: &'a str,
    path_bytes: ByteSet,
    name_bytes: ByteSet,
}

impl<'a> Subject<'a> {
    pub(super) fn new(path: &'a str) -> Self {
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        Self { path, name, path_bytes: ByteSet::of(path), name_bytes: ByteSet::of(name) }
    }
}

/// What a pattern is, where it is something simpler than its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// A path.
    Path(String),
    /// A path behind anything: `**/name`, where the text has the slash, or `**name`.
    Suffix(String),
    /// Anything behind a path: `dir/**`.
    Prefix(String),
    /// A pattern of names, in any directory: `**/*.log`.
    Name,
    /// Anything else.
    Tokens,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    /// Any one character but a slash.
    Any,
    Class(Class),
    /// Any characters but slashes, or none.
    Star,
    /// Any characters up to and with a slash, or none.
    Depth,
    /// Anything, up to the end.
    Rest,
    /// No character at all.
    Never,
}

impl Glob {
    /// Compiles a cleaned pattern.
    pub(super) fn parse(pattern: &str) -> Result<Self, BadPattern> {
        let mut tokens = Vec::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' if chars.as_str().starts_with('*') => {
                    chars.next();
                    if chars.as_str().starts_with('/') {
                        chars.next();
                    }
                    if chars.as_str().is_empty() { Token::Rest } else { Token::Depth }
                }
                '*' => Token::Star,
                '?' => Token::Any,
                '[' => Token::Class(parse_class(&mut chars)?),
                '\\' => match chars.next() {
                    Some(c) if c.is_ascii_alphanumeric() => Token::Never,
                    Some(c) => Token::Char(c),
                    None => Token::Char('\\'),
                },
                c => Token::Char(c),
            });
        }
        let form = form(pattern, &tokens);
        // Of a pattern of names, only the names are ever looked at.
        let literals = Literals::of(&tokens[usize::from(form == Form::Name)..]);
        Ok(Self { tokens, form, literals })
    }

    /// Returns the path where the pattern is one.
    pub(super) fn as_path(&self) -> Option<&str> {
        match &self.form {
            Form::Path(path) => Some(path),
            _ => None,
        }
    }

    /// Returns the name where the pattern is one, in any directory.
    pub(super) fn as_name_anywhere(&self) -> Option<&str> {
        match &self.form {
            Form::Suffix(suffix) => suffix.strip_prefix('/').filter(|name| !name.is_empty() && !name.contains('/')),
            _ => None,
        }
    }

    /// Tells whether a path matches as a whole.
    pub(super) fn matches(&self, subject: &Subject<'_>) -> bool {
        let path = subject.path;
        match &self.form {
            Form::Name => {
                self.literals.fit(subject.name, subject.name_bytes) && matches(&self.tokens[1..], subject.name)
            }
            Form::Tokens => self.literals.fit(path, subject.path_bytes) && matches(&self.tokens, path),
            Form::Path(expected) => path == expected,
            Form::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Form::Suffix(suffix) => {
                path.ends_with(suffix.as_str()) || suffix.strip_prefix('/').is_some_and(|name| path == name)
            }
        }
    }

    /// Tells whether some path below a directory matches.
    pub(super) fn can_match_below(&self, dir: &str) -> bool {
        // After each character, the places of the pattern that can come next; a place in the middle of a `Depth` has the flag.
        let mut live = vec![(0, false)];
        for c in dir.chars().chain(['/']) {
            let mut next = Vec::new();
            for (at, inside) in self.closed(live) {
                self.advance(at, inside, c, &mut next);
            }
            next.sort_unstable();
            next.dedup();
            live = next;
        }
        self.closed(live).iter().any(|(at, _)| *at < self.tokens.len())
    }

    /// Adds the places behind tokens that may match nothing.
    fn closed(&self, live: Vec<(usize, bool)>) -> Vec<(usize, bool)> {
        let mut all = live;
        let mut seen = 0;
        while let Some((at, inside)) = all.get(seen).copied() {
            let may_be_nothing =
                matches!(self.tokens.get(at), Some(Token::Star | Token::Depth | Token::Rest)) && !inside;
            if may_be_nothing && !all.contains(&(at + 1, false)) {
                all.push((at + 1, false));
            }
            seen += 1;
        }
        all
    }

    fn advance(&self, at: usize, inside: bool, c: char, next: &mut Vec<(usize, bool)>) {
        match self.tokens.get(at) {
            Some(Token::Depth) => {
                next.push((at, true));
                if c == '/' {
                    next.push((at + 1, false));
                }
            }
            Some(Token::Rest) => next.push((at, inside)),
            Some(Token::Star) if c != '/' => next.push((at, inside)),
            Some(token) if matches_char(token, c) => next.push((at + 1, false)),
            _ => {}
        }
    }
}

impl Literals {
    fn of(tokens: &[Token]) -> Self {
        let all: String =
            tokens.iter().filter_map(|token| if let Token::Char(c) = token { Some(*c) } else { None }).collect();
        let tail = literal(tokens.iter().rev()).chars().rev().collect();
        Self { head: literal(tokens.iter()), tail, bytes: ByteSet::of(&all) }
    }

    fn fit(&self, text: &str, bytes: ByteSet) -> bool {
        bytes.has_all(self.bytes) && text.starts_with(self.head.as_str()) && text.ends_with(self.tail.as_str())
    }
}

fn form(pattern: &str, tokens: &[Token]) -> Form {
    let plain = |tokens: &[Token]| tokens.iter().all(|token| matches!(token, Token::Char(_)));
    // A backslash makes an expression of a pattern even where it says no more than the character behind it.
    let escaped = pattern.contains('\\');
    match tokens {
        _ if escaped => Form::Tokens,
        tokens if plain(tokens) => Form::Path(pattern.to_owned()),
        [Token::Rest] => Form::Suffix(String::new()),
        [before @ .., Token::Rest] if plain(before) => Form::Prefix(literal(before.iter())),
        [Token::Depth, behind @ ..] if plain(behind) => Form::Suffix(pattern[2..].to_owned()),
        [Token::Depth, name @ ..] if name.iter().all(stays_in_name) => Form::Name,
        _ => Form::Tokens,
    }
}

/// Tells whether a token can only match within one part of a path.
fn stays_in_name(token: &Token) -> bool {
    match token {
        Token::Char(c) => *c != '/',
        Token::Class(class) => !class.matches('/'),
        Token::Any | Token::Star | Token::Never => true,
        Token::Depth | Token::Rest => false,
    }
}

/// Returns the characters up to the first token that is none.
fn literal<'a>(tokens: impl Iterator<Item = &'a Token>) -> String {
    tokens.map_while(|token| if let Token::Char(c) = token { Some(*c) } else { None }).collect()
}

fn matches_char(token: &Token, c: char) -> bool {
    match token {
        Token::Char(expected) => *expected == c,
        Token::Any => c != '/',
        Token::Class(class) => class.matches(c),
        Token::Star | Token::Depth | Token::Rest | Token::Never => false,
    }
}

/// Matches by trying the least for each `*` and `**` first. Only the last of each kind is ever tried again: what an earlier one could reach, the last can too.
fn matches(tokens: &[Token], path: &str) -> bool {
    let (mut at, mut rest) = (0, path);
    let mut star: Option<(usize, &str)> = None;
    let mut depth: Option<(usize, &str)> = None;
    loop {
        match tokens.get(at) {
            None if rest.is_empty() => return true,
            Some(Token::Rest) => return true,
            Some(Token::Star) => {
                star = Some((at, rest));
                at += 1;
                continue;
            }
            Some(Token::Depth) => {
                (star, depth) = (None, Some((at, rest)));
                at += 1;
                continue;
            }
            Some(token) => {
                if let Some(c) = rest.chars().next()
                    && matches_char(token, c)
                {
                    (at, rest) = (at + 1, &rest[c.len_utf8()..]);
                    continue;
                }
            }
            None => {}
        }
        if let Some((token, taken)) = star
            && let Some(c) = taken.chars().next().filter(|c| *c != '/')
        {
            rest = &taken[c.len_utf8()..];
            star = Some((token, rest));
            at = token + 1;
        } else if let Some((token, taken)) = depth
            && let Some((_, behind)) = taken.split_once('/')
        {
            (rest, star, depth) = (behind, None, Some((token, behind)));
            at = token + 1;
        } else {
            return false;
        }
    }
}
