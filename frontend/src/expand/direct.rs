//! The forms that most words have, read without the grammar: text, quotes, escapes, `$name`, `${name}`, and `${name:-text}`, `${name:+text}` and the two without
//! the colon.
//!
//! **Invariant:** what it gives is what the grammar gives. All other forms, and all that is wrong, it leaves to the grammar, and has counted nothing by then.

use super::evaluate::{Expanded, Words};
use super::{Environment, Escapes, Meter, Quotes, Style, Unset};
use crate::syntax::Escape;

/// Substitutes the variables of a word, and adds the text to `words` where there are any; `None` leaves the word to the grammar.
pub(super) fn evaluate(
    word: &str,
    style: Style,
    environment: &Environment,
    words: Option<Words>,
) -> Option<(Expanded, Option<Words>)> {
    // Where quotes are characters like others, the escape character is that of the shell.
    let escape = if style.quotes == Quotes::Plain { Escape::Backslash } else { style.escape };
    let text = String::with_capacity(word.len());
    let expanded = Expanded { text, ..Expanded::default() };
    let mut reader = Reader { word, at: 0, escape: escape.char() as u8, style, environment, expanded, words };
    while reader.at < word.len() {
        reader.part()?;
    }
    Some((reader.expanded, reader.words))
}

/// Tells whether a byte may be more than itself.
fn is_special(byte: u8) -> bool {
    matches!(byte, b'$' | b'\'' | b'"' | b'\\' | b'`')
}

/// Returns the name at the start of a text, which is empty where none stands there; `None` where it is, or may be, one of those that have more than ASCII's letters,
/// digits and underscores, or that begin with a digit.
fn name(text: &str) -> Option<&str> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let end = text.bytes().position(|byte| !is_part(byte)).unwrap_or(text.len());
    let is_unusual = match text.as_bytes() {
        [b'0'..=b'9' | b'@' | b'*' | b'#' | b'?' | b'-' | b'$' | b'!', ..] => true,
        bytes => bytes.get(end).is_some_and(|byte| !byte.is_ascii()),
    };
    (!is_unusual).then(|| &text[..end])
}

struct Reader<'w, 'e> {
    word: &'w str,
    /// Up to where the word is read.
    at: usize,
    escape: u8,
    style: Style,
    environment: &'e Environment,
    expanded: Expanded,
    words: Option<Words>,
}

impl<'w> Reader<'w, '_> {
    /// Returns the byte at some distance from where reading is.
    fn byte(&self, ahead: usize) -> Option<u8> {
        self.word.as_bytes().get(self.at + ahead).copied()
    }

    /// Adds text as it is written.
    fn take(&mut self, bytes: usize) {
        self.expanded.text.push_str(&self.word[self.at..self.at + bytes]);
        self.at += bytes;
    }

    fn part(&mut self) -> Option<()> {
        let start = self.expanded.text.len();
        let has_quotes = self.style.quotes != Quotes::Plain;
        let is_protected = match self.byte(0)? {
            b'\'' if has_quotes => {
                self.single()?;
                true
            }
            b'"' if has_quotes => {
                self.double()?;
                true
            }
            byte if byte == self.escape => {
                self.escaped();
                true
            }
            b'$' => {
                self.substitution()?;
                false
            }
            _ => {
                self.plain();
                false
            }
        };
        if let Some(words) = &mut self.words {
            let added = &self.expanded.text[start..];
            if is_protected { words.add_protected(added) } else { words.add_text(added) }
        }
        Some(())
    }

    /// Takes one byte whatever it is, and all up to what may be more than itself.
    fn plain(&mut self) {
        let behind = &self.word.as_bytes()[self.at + 1..];
        self.take(1 + behind.iter().position(|byte| is_special(*byte)).unwrap_or(behind.len()));
    }

    fn escaped(&mut self) {
        let escaped = self.word[self.at + 1..].chars().next().map_or(0, char::len_utf8);
        self.drop_escape();
        self.take(escaped);
    }

    /// Takes the escape character only where it stays.
    fn drop_escape(&mut self) {
        match self.style.escapes {
            Escapes::Remove => self.at += 1,
            Escapes::Keep => self.take(1),
        }
    }

    fn quote(&mut self) {
        match self.style.quotes {
            Quotes::Keep => self.take(1),
            Quotes::Remove | Quotes::Plain => self.at += 1,
        }
    }

    fn single(&mut self) -> Option<()> {
        let inner = self.word[self.at + 1..].find('\'')?;
        self.quote();
        self.take(inner);
        self.quote();
        Some(())
    }

    fn double(&mut self) -> Option<()> {
        self.quote();
        loop {
            match self.byte(0)? {
                b'"' => {
                    self.quote();
                    return Some(());
                }
                b'$' => self.substitution()?,
                byte if byte == self.escape => self.double_escape()?,
                _ => self.plain(),
            }
        }
    }

    /// Reads an escape character within double quotes, where it protects these, a dollar and itself.
    fn double_escape(&mut self) -> Option<()> {
        let next = self.byte(1)?;
        if matches!(next, b'"' | b'$') || next == self.escape {
            self.escaped();
            return Some(());
        }
        // One that protects nothing stays, and is protected itself where escapes stay.
        if self.style.escapes == Escapes::Keep {
            self.expanded.text.push(char::from(self.escape));
        }
        self.take(1);
        Some(())
    }

    fn substitution(&mut self) -> Option<()> {
        let behind = &self.word[self.at + 1..];
        match behind.strip_prefix('{') {
            Some(inner) => self.braced(inner)?,
            None => match name(behind)? {
                "" => self.take(1),
                name => {
                    let value = self.expanded.look_up(name, self.environment);
                    self.replace(1 + name.len(), value);
                }
            },
        }
        // What is too long is the grammar's to refuse.
        Meter::bounded(self.expanded.text.len()).ok()
    }

    /// Reads a substitution whose braces have `inner` and more in them.
    fn braced(&mut self, inner: &'w str) -> Option<()> {
        let name = name(inner).filter(|name| !name.is_empty())?;
        let behind = &inner[name.len()..];
        let length = |rest: &str| "${".len() + inner.len() - rest.len();
        if let Some(rest) = behind.strip_prefix('}') {
            let value = self.expanded.look_up(name, self.environment);
            self.replace(length(rest), value);
            return Some(());
        }
        let (null_is_unset, behind) = behind.strip_prefix(':').map_or((false, behind), |behind| (true, behind));
        let (is_default, behind) = match behind.strip_prefix('-') {
            Some(behind) => (true, behind),
            None => (false, behind.strip_prefix('+')?),
        };
        let end = behind.bytes().position(|byte| byte == b'}' || is_special(byte))?;
        let (operand, rest) = (&behind[..end], behind[end..].strip_prefix('}')?);
        let value = self.expanded.look_up(name, self.environment);
        let present = value.filter(|value| !(null_is_unset && value.is_empty()));
        let chosen = if is_default { present.unwrap_or(operand) } else { present.map_or("", |_| operand) };
        let stays = value.is_none() && self.style.unset == Unset::Keep;
        self.replace(length(rest), (!stays).then_some(chosen));
        Some(())
    }

    /// Adds a value in place of the substitution that has so many bytes; what is not set is empty or stays.
    fn replace(&mut self, bytes: usize, value: Option<&str>) {
        match value {
            None if self.style.unset == Unset::Keep => self.take(bytes),
            value => {
                self.expanded.text.push_str(value.unwrap_or_default());
                self.at += bytes;
            }
        }
    }
}
