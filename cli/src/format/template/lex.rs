//! From text to tokens.
//!
//! Text outside `{{` and `}}` is one token, already trimmed where a marker (`{{- `, ` -}}`) asks for it; comments are gone.

/// A token and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lexeme<'t> {
    pub(super) token: Token<'t>,
    /// The byte in the template where it begins.
    pub(super) at: usize,
}

/// A token. Those with text hold it as it stands in the template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'t> {
    Text(&'t str),
    Open,
    Close,
    Space,
    /// `.Name`
    Field(&'t str),
    /// `$name`
    Variable(&'t str),
    /// A function's name.
    Name(&'t str),
    Keyword(&'t str),
    Dot,
    Nil,
    Bool(bool),
    Number(&'t str),
    Character(&'t str),
    Quoted(&'t str),
    Raw(&'t str),
    Pipe,
    Declare,
    Assign,
    LeftParen,
    RightParen,
    /// A character that means something only to the parser: `,`.
    Other(char),
    /// What is wrong with the template from here on; always the last.
    Bad(String),
    /// The end of the template; always the last.
    End,
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";
const KEYWORDS: [&str; 10] = ["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];

/// Returns the tokens of `text`; the last is [`Token::End`] or [`Token::Bad`], and neither stands elsewhere.
pub(super) fn lex(text: &str) -> Vec<Lexeme<'_>> {
    let mut lexer = Lexer { text, at: 0, depth: 0, lexemes: Vec::new() };
    let (last, at) = match lexer.run() {
        Ok(()) => (Token::End, text.len()),
        Err(problem) => (Token::Bad(problem), lexer.at),
    };
    lexer.lexemes.push(Lexeme { token: last, at });
    lexer.lexemes
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    /// How many parentheses are open.
    depth: usize,
    lexemes: Vec<Lexeme<'t>>,
}

impl<'t> Lexer<'t> {
    fn run(&mut self) -> Result<(), String> {
        let mut trims_start = false;
        loop {
            let rest = self.rest();
            let text = rest.find(OPEN).map_or(rest, |at| &rest[..at]);
            let is_last = text.len() == rest.len();
            let after = &rest[text.len()..];
            let trims_end = after.strip_prefix(OPEN).is_some_and(starts_with_trim_marker);
            let mut shown = if trims_start { text.trim_start_matches(is_space) } else { text };
            let skipped = text.len() - shown.len();
            if trims_end {
                shown = shown.trim_end_matches(is_space);
            }
            if !shown.is_empty() {
                self.lexemes.push(Lexeme { token: Token::Text(shown), at: self.at + skipped });
            }
            self.at += text.len();
            if is_last {
                return Ok(());
            }
            let opened = self.at;
            self.at += OPEN.len() + if trims_end { 2 } else { 0 };
            trims_start = if self.rest().starts_with("/*") { self.comment()? } else { self.action(opened)? };
        }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// Skips a comment and the closing delimiter; returns whether the text after it is to be trimmed.
    fn comment(&mut self) -> Result<bool, String> {
        let end = self.rest().find("*/").ok_or("unclosed comment")?;
        self.at += end + 2;
        self.close().ok_or_else(|| "comment ends before closing delimiter".to_owned())
    }

    /// Skips a closing delimiter if there is one here; returns whether the text after it is to be trimmed.
    fn close(&mut self) -> Option<bool> {
        let (length, trims) = closing(self.rest())?;
        self.at += length;
        Some(trims)
    }

    /// Cuts what stands between the delimiters; returns whether the text after it is to be trimmed.
    fn action(&mut self, opened: usize) -> Result<bool, String> {
        self.lexemes.push(Lexeme { token: Token::Open, at: opened });
        loop {
            let at = self.at;
            if let Some((length, trims)) = closing(self.rest()) {
                if self.depth > 0 {
                    return Err("unclosed left paren".to_owned());
                }
                self.lexemes.push(Lexeme { token: Token::Close, at: at + length - CLOSE.len() });
                self.at += length;
                return Ok(trims);
            }
            let token = self.token()?;
            self.lexemes.push(Lexeme { token, at });
        }
    }

    fn token(&mut self) -> Result<Token<'t>, String> {
        let rest = self.rest();
        let mut characters = rest.chars();
        let first = characters.next().ok_or("unclosed action")?;
        let second = characters.next();
        let (token, length) = match first {
            _ if is_space(first) => {
                // The space before a trim marker belongs to the marker.
                let all = rest.len() - rest.trim_start_matches(is_space).len();
                let has_marker = all > 1 && closing(&rest[all - 1..]).is_some();
                (Token::Space, if has_marker { all - 1 } else { all })
            }
            '|' => (Token::Pipe, 1),
            '=' => (Token::Assign, 1),
            ':' if second == Some('=') => (Token::Declare, 2),
            ':' => return Err("expected :=".to_owned()),
            '(' => {
                self.depth += 1;
                (Token::LeftParen, 1)
            }
            ')' => {
                self.depth = self.depth.checked_sub(1).ok_or("unexpected right paren")?;
                (Token::RightParen, 1)
            }
            '"' => (Token::Quoted(quoted(rest, '"', "unterminated quoted string")?), 0),
            '\'' => (Token::Character(quoted(rest, '\'', "unterminated character constant")?), 0),
            '`' => (Token::Raw(raw(rest)?), 0),
            '$' => (Token::Variable(name(rest)?), 0),
            '.' if !second.is_some_and(|digit| digit.is_ascii_digit()) => match name(rest)? {
                "." => (Token::Dot, 1),
                field => (Token::Field(field), 0),
            },
            '+' | '-' | '.' | '0'..='9' => (Token::Number(number(rest)?), 0),
            _ if is_word(first) => (word(name(rest)?), 0),
            _ if first.is_ascii_graphic() => (Token::Other(first), 1),
            _ => return Err(format!("unrecognized character in action: {}", code_point(first))),
        };
        self.at += match &token {
            Token::Quoted(source) | Token::Character(source) | Token::Raw(source) | Token::Variable(source) => {
                source.len()
            }
            Token::Field(source) | Token::Number(source) | Token::Name(source) | Token::Keyword(source) => source.len(),
            Token::Bool(value) => value.to_string().len(),
            Token::Nil => "nil".len(),
            _ => length,
        };
        Ok(token)
    }
}

fn starts_with_trim_marker(after_open: &str) -> bool {
    let mut characters = after_open.chars();
    characters.next() == Some('-') && characters.next().is_some_and(is_space)
}

/// The length of the closing delimiter here, its trim marker included, and whether it has one.
fn closing(rest: &str) -> Option<(usize, bool)> {
    if rest.starts_with(CLOSE) {
        return Some((CLOSE.len(), false));
    }
    let marker = rest.strip_prefix(is_space)?;
    marker.strip_prefix('-')?.starts_with(CLOSE).then_some((2 + CLOSE.len(), true))
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

fn is_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

/// A name with the `.` or `$` that it may begin with.
fn name(rest: &str) -> Result<&str, String> {
    let marked = usize::from(rest.starts_with(['.', '$']));
    let length = rest[marked..].find(|character| !is_word(character)).map_or(rest.len(), |at| at + marked);
    let after = &rest[length..];
    match after.chars().next() {
        Some(next) if !is_space(next) && !".,|:()".contains(next) && !after.starts_with(CLOSE) => {
            Err(format!("bad character {}", code_point(next)))
        }
        _ => Ok(&rest[..length]),
    }
}

fn word(name: &str) -> Token<'_> {
    match name {
        "true" => Token::Bool(true),
        "false" => Token::Bool(false),
        "nil" => Token::Nil,
        _ if KEYWORDS.contains(&name) => Token::Keyword(name),
        _ => Token::Name(name),
    }
}

fn quoted<'t>(rest: &'t str, quote: char, unterminated: &str) -> Result<&'t str, String> {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            '\n' => break,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return Ok(&rest[..=at]),
            _ => {}
        }
    }
    Err(unterminated.to_owned())
}

fn raw(rest: &str) -> Result<&str, String> {
    let end = rest[1..].find('`').ok_or("unterminated raw quoted string")?;
    Ok(&rest[..end + 2])
}

/// A number as Go writes it: sign, base, digits with `_` between them, fraction, exponent.
fn number(rest: &str) -> Result<&str, String> {
    let unsigned = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    let lower = unsigned.get(..2).unwrap_or_default().to_ascii_lowercase();
    let (prefix, exponent, digits): (_, _, fn(char) -> bool) = match lower.as_str() {
        "0x" => (2, ['p', 'P'], |digit| digit.is_ascii_hexdigit()),
        "0o" => (2, ['e', 'E'], |digit| digit.is_digit(8)),
        "0b" => (2, ['e', 'E'], |digit| digit.is_digit(2)),
        _ => (0, ['e', 'E'], |digit| digit.is_ascii_digit()),
    };
    let is_digit = |digit| digits(digit) || digit == '_';
    let mut after = unsigned[prefix..].trim_start_matches(is_digit);
    if let Some(fraction) = after.strip_prefix('.') {
        after = fraction.trim_start_matches(is_digit);
    }
    if let Some(power) = after.strip_prefix(exponent) {
        let power = power.strip_prefix(['+', '-']).unwrap_or(power);
        after = power.trim_start_matches(|digit: char| digit.is_ascii_digit() || digit == '_');
    }
    let length = rest.len() - after.len();
    match after.chars().next() {
        Some(next) if is_word(next) => {
            Err(format!("bad number syntax: {}", super::value::quote(&rest[..length + next.len_utf8()])))
        }
        _ => Ok(&rest[..length]),
    }
}

/// A character as errors name it: `U+007D '}'`.
fn code_point(character: char) -> String {
    let code = u32::from(character);
    if character.is_control() { format!("U+{code:04X}") } else { format!("U+{code:04X} '{character}'") }
}
