//! Patterns of `${name#pattern}` and its kin: `*`, `?`, and `\` in front of these two and of itself. Brackets are characters like others.

use std::ops::Range;

use super::{Meter, Problem};

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Piece>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// Any characters but line breaks, or none.
    Star,
    /// Any one character but a line break.
    Any,
    Char(char),
}

/// How much a `*` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greed {
    /// As little as possible.
    Shortest,
    /// As much as possible.
    Longest,
}

impl Pattern {
    /// Reads a pattern.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let mut pieces = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            pieces.push(match c {
                '*' => Piece::Star,
                '?' => Piece::Any,
                // `}` and `/` are escaped for the sake of the substitution around the pattern; that is no escape of the pattern's own.
                '\\' if matches!(chars.peek(), Some('}' | '/')) => continue,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\')) => Piece::Char(c),
                    other => {
                        let escaped = other.unwrap_or(char::REPLACEMENT_CHARACTER);
                        return Err(Problem::Pattern { pattern: text.to_owned(), escaped });
                    }
                },
                c => Piece::Char(c),
            });
        }
        Ok(Self(pieces))
    }

    /// Returns the pattern that matches the reverse of what this one matches.
    fn reversed(&self) -> Self {
        Self(self.0.iter().rev().copied().collect())
    }

    /// Returns `value` without the prefix that matches.
    pub(crate) fn trim_prefix(&self, value: &str, greed: Greed, meter: &Meter) -> Result<String, Problem> {
        let chars: Vec<char> = value.chars().collect();
        let length = self.prefix(&chars, greed, meter)?.unwrap_or(0);
        Ok(chars[length..].iter().collect())
    }

    /// Returns `value` without the suffix that matches.
    pub(crate) fn trim_suffix(&self, value: &str, greed: Greed, meter: &Meter) -> Result<String, Problem> {
        let chars: Vec<char> = value.chars().rev().collect();
        let length = self.reversed().prefix(&chars, greed, meter)?.unwrap_or(0);
        Ok(chars[length..].iter().rev().collect())
    }

    /// Returns `value` with the first match replaced, or all of them.
    pub(crate) fn replace(&self, value: &str, replacement: &str, all: bool, meter: &Meter) -> Result<String, Problem> {
        let chars: Vec<char> = value.chars().collect();
        let mut out = String::with_capacity(value.len());
        let (mut at, mut behind_match) = (0, false);
        while let Some(found) = self.find(&chars, at, meter)? {
            out.extend(&chars[at..found.start]);
            // An empty match directly behind another match is none, or `*` would match the end of what it took.
            if !(found.is_empty() && behind_match && found.start == at) {
                out.push_str(replacement);
                Meter::bounded(out.len())?;
            }
            at = found.end;
            behind_match = true;
            if found.is_empty() {
                out.extend(chars.get(at));
                at += 1;
                behind_match = false;
            }
            if !all || at > chars.len() {
                break;
            }
        }
        out.extend(chars.get(at..).unwrap_or_default());
        Ok(out)
    }

    /// Returns the first match at or behind `from`, as long as it can be.
    fn find(&self, chars: &[char], from: usize, meter: &Meter) -> Result<Option<Range<usize>>, Problem> {
        for start in from..=chars.len() {
            if let Some(length) = self.prefix(&chars[start..], Greed::Longest, meter)? {
                return Ok(Some(start..start + length));
            }
        }
        Ok(None)
    }

    /// Returns how many characters at the start of `chars` match, or `None` where nothing does.
    fn prefix(&self, chars: &[char], greed: Greed, meter: &Meter) -> Result<Option<usize>, Problem> {
        let mut matched = None;
        // The places of the pattern that can come next, as a set.
        let mut live = vec![false; self.0.len() + 1];
        live[0] = true;
        for length in 0..=chars.len() {
            meter.steps(live.len())?;
            self.skip_stars(&mut live);
            if live[self.0.len()] {
                matched = Some(length);
                if greed == Greed::Shortest {
                    break;
                }
            }
            let Some(c) = chars.get(length) else { break };
            live = self.advance(&live, *c);
            if !live.contains(&true) {
                break;
            }
        }
        Ok(matched)
    }

    /// Adds the places behind stars, which may match nothing.
    fn skip_stars(&self, live: &mut [bool]) {
        for (place, piece) in self.0.iter().enumerate() {
            if live[place] && *piece == Piece::Star {
                live[place + 1] = true;
            }
        }
    }

    fn advance(&self, live: &[bool], c: char) -> Vec<bool> {
        let mut next = vec![false; live.len()];
        for (place, piece) in self.0.iter().enumerate().filter(|(place, _)| live[*place]) {
            match piece {
                Piece::Star if c != '\n' => next[place] = true,
                Piece::Any if c != '\n' => next[place + 1] = true,
                Piece::Char(expected) if *expected == c => next[place + 1] = true,
                _ => {}
            }
        }
        next
    }
}
