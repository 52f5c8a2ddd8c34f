//! From the tokens of a word to its text.

use super::direct;
use super::pattern::{Greed, Pattern};
use super::{Environment, Escapes, Meter, Quotes, Style, Unset};
use crate::go;
use crate::limits::{EXPANSION_BYTES_MAX, PLAN_BYTES_MAX, SUBSTITUTIONS_NESTED_MAX};
use crate::syntax::grammar::{Rule, Token, by_escape, token};

/// How much of a word an error shows.
const WORD_CHARS_SHOWN_MAX: usize = 1_000;

/// A word with its variables substituted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The text.
    pub text: String,
    /// The variables that were asked for and are set, each once, in order.
    pub used: Vec<String>,
    /// The variables that were asked for and are not set, each once, in order.
    pub unset: Vec<String>,
}

impl Expanded {
    /// Returns the value of a variable, and notes that it was asked for.
    pub(super) fn look_up<'e>(&mut self, name: &str, environment: &'e Environment) -> Option<&'e str> {
        let value = environment.get(name);
        let noted = if value.is_some() { &mut self.used } else { &mut self.unset };
        if !noted.iter().any(|known| known == name) {
            noted.push(name.to_owned());
        }
        value
    }
}

/// Why a word cannot be substituted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {}: {problem}", shown(word))]
pub struct ExpandError {
    /// The word.
    pub word: String,
    /// What is wrong with it.
    pub problem: Problem,
}

fn shown(word: &str) -> String {
    let short: String = word.chars().take(WORD_CHARS_SHOWN_MAX).collect();
    if short.len() < word.len() { go::quote(&format!("{short}…")) } else { go::quote(word) }
}

/// What is wrong with a word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A single quote is not closed.
    #[error("unexpected end of statement while looking for matching single-quote")]
    SingleQuote,
    /// A double quote is not closed.
    #[error("unexpected end of statement while looking for matching double-quote")]
    DoubleQuote,
    /// A `${` is not closed.
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// A `${name/pattern` has no second slash.
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    /// Nothing, or something that no name begins with, stands behind `${`.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// What stands behind the name is no modifier.
    #[error("unsupported modifier ({modifier}) in substitution")]
    Modifier {
        /// What stands there.
        modifier: String,
    },
    /// A pattern escapes a character that needs no escape.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The character.
        escaped: char,
    },
    /// A variable that must be set is not.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the word says of it.
        message: String,
    },
    /// Substitutions are nested too deeply.
    #[error("substitutions are nested more than {SUBSTITUTIONS_NESTED_MAX} deep")]
    TooDeep,
    /// The text became too long.
    #[error("the substituted text is longer than {EXPANSION_BYTES_MAX} bytes")]
    TooLarge,
    /// All that the file makes became too long.
    #[error("the build makes more than {PLAN_BYTES_MAX} bytes of commands, environments and history")]
    PlanTooLarge,
    /// Patterns take too long to match.
    #[error("the patterns of substitutions take too long to match")]
    TooSlow,
}

impl Problem {
    /// Tells whether the problem is a limit and not the syntax or a variable.
    fn is_limit(&self) -> bool {
        matches!(self, Self::TooDeep | Self::TooLarge | Self::PlanTooLarge | Self::TooSlow)
    }
}

/// Substitutes the variables of a word, and counts what that costs.
pub(crate) fn expand_metered(
    word: &str,
    style: Style,
    environment: &Environment,
    meter: &Meter,
) -> Result<Expanded, ExpandError> {
    evaluate(word, style, environment, meter, None).map(|(expanded, _)| expanded)
}

/// Substitutes the variables of a text, counts what that costs, and splits the result at blanks that no quote protects.
pub(crate) fn split_metered(
    text: &str,
    style: Style,
    environment: &Environment,
    meter: &Meter,
) -> Result<Vec<String>, ExpandError> {
    let (_, words) = evaluate(text, style, environment, meter, Some(Words::default()))?;
    Ok(words.map(Words::finish).unwrap_or_default())
}

/// Substitutes variables; adds the text to `words` where there are any.
fn evaluate(
    word: &str,
    style: Style,
    environment: &Environment,
    meter: &Meter,
    words: Option<Words>,
) -> Result<(Expanded, Option<Words>), ExpandError> {
    let outcome = match direct::evaluate(word, style, environment, words.clone()) {
        Some(found) => Ok(found),
        None => by_grammar(word, style, environment, meter, words),
    };
    let counted = outcome.and_then(|found| meter.expanded(found.0.text.len()).map(|()| found));
    counted.map_err(|problem| ExpandError { word: word.to_owned(), problem })
}

/// Substitutes variables in all forms that there are.
pub(super) fn by_grammar(
    word: &str,
    style: Style,
    environment: &Environment,
    meter: &Meter,
    words: Option<Words>,
) -> Result<(Expanded, Option<Words>), Problem> {
    let rule = match style.quotes {
        Quotes::Plain => Rule::body,
        _ => by_escape(style.escape, Rule::value_backslash, Rule::value_backtick),
    };
    let mut evaluation =
        Evaluation { style, environment, meter, end: word.len(), words, expanded: Expanded::default() };
    let text = evaluation.top(token(rule, word)).map_err(|fault| fault.problem)?;
    Ok((Expanded { text, ..evaluation.expanded }, evaluation.words))
}

/// A problem and the place up to which the word had been read when it was met.
struct Fault {
    problem: Problem,
    at: usize,
}

struct Evaluation<'a> {
    style: Style,
    environment: &'a Environment,
    meter: &'a Meter,
    /// The length of the whole word.
    end: usize,
    /// Where words are asked for.
    words: Option<Words>,
    expanded: Expanded,
}

impl<'a> Evaluation<'a> {
    fn top(&mut self, word: Token<'_>) -> Result<String, Fault> {
        let mut text = String::new();
        for part in word.into_inner() {
            let rule = part.as_rule();
            let escape_kept = self.style.escapes == Escapes::Keep;
            let added = self.part(part, escape_kept)?;
            if let Some(words) = &mut self.words {
                match rule {
                    Rule::plain | Rule::substitution => words.add_text(&added),
                    _ => words.add_protected(&added),
                }
            }
            text.push_str(&added);
            Meter::bounded(text.len()).map_err(|problem| Fault { problem, at: self.end })?;
        }
        Ok(text)
    }

    /// Returns the text of an operand or a pattern. `escape_kept` says whether escape characters stay, as they must in patterns.
    fn operand(&mut self, operand: Token<'_>, escape_kept: bool) -> Result<String, Fault> {
        let mut text = String::new();
        for part in operand.into_inner() {
            let at = part.as_span().end();
            text.push_str(&self.part(part, escape_kept)?);
            Meter::bounded(text.len()).map_err(|problem| Fault { problem, at })?;
        }
        Ok(text)
    }

    fn part(&mut self, part: Token<'_>, escape_kept: bool) -> Result<String, Fault> {
        match part.as_rule() {
            Rule::escaped => Ok(self.escaped(&part, escape_kept)),
            Rule::single => self.single(part),
            Rule::double => self.double(part, escape_kept),
            Rule::substitution => self.substitution(part),
            _ => Ok(part.as_str().to_owned()),
        }
    }

    fn escaped(&self, part: &Token<'_>, escape_kept: bool) -> String {
        let text = part.as_str();
        if escape_kept { text.to_owned() } else { text[1..].to_owned() }
    }

    fn single(&self, part: Token<'_>) -> Result<String, Fault> {
        let whole = part.as_str();
        let at = self.end;
        let mut inner = part.into_inner();
        let text = inner.next().map_or("", |text| text.as_str());
        if inner.next().is_some() {
            return Err(Fault { problem: Problem::SingleQuote, at });
        }
        Ok(if self.style.quotes == Quotes::Keep { whole.to_owned() } else { text.to_owned() })
    }

    fn double(&mut self, part: Token<'_>, escape_kept: bool) -> Result<String, Fault> {
        let quote = if self.style.quotes == Quotes::Keep { "\"" } else { "" };
        let mut text = quote.to_owned();
        for inner in part.into_inner() {
            match inner.as_rule() {
                Rule::double_missing => return Err(Fault { problem: Problem::DoubleQuote, at: self.end }),
                Rule::substitution => {
                    text.push_str(&self.substitution(inner)?);
                    Meter::bounded(text.len()).map_err(|problem| Fault { problem, at: self.end })?;
                }
                Rule::double_escaped => text.push_str(&self.escaped(&inner, escape_kept)),
                // Where escapes are kept, one that escapes nothing is written twice: in a pattern that is itself, escaped.
                Rule::double_escape if escape_kept => text.push_str(&inner.as_str().repeat(2)),
                _ => text.push_str(inner.as_str()),
            }
        }
        text.push_str(quote);
        Ok(text)
    }

    fn substitution(&mut self, part: Token<'_>) -> Result<String, Fault> {
        let (whole, at) = (part.as_str(), part.as_span().end());
        let mut name = "";
        let mut inner = part.into_inner();
        while let Some(token) = inner.next() {
            match token.as_rule() {
                Rule::name => name = token.as_str(),
                Rule::brace_missing => return Err(Fault { problem: Problem::MissingBrace, at }),
                Rule::bad => return Err(Fault { problem: Problem::BadSubstitution, at }),
                Rule::unsupported => {
                    let modifier = token.as_str().to_owned();
                    return Err(Fault { problem: Problem::Modifier { modifier }, at });
                }
                Rule::replaced => return self.replaced(name, token, at),
                Rule::sign => return self.modified(name, token.as_str(), inner.collect(), at),
                _ => {}
            }
        }
        if name.is_empty() && whole == "$" {
            return Ok("$".to_owned());
        }
        match self.look_up(name) {
            Some(value) => Ok(value.to_owned()),
            None if self.style.unset == Unset::Keep => Ok(whole.to_owned()),
            None => Ok(String::new()),
        }
    }

    fn look_up(&mut self, name: &str) -> Option<&'a str> {
        self.expanded.look_up(name, self.environment)
    }

    /// Evaluates the operand among what stands behind a sign, and sees to it that it is closed.
    fn closed_operand(&mut self, rest: Vec<Token<'_>>, escape_kept: bool, missing: Problem) -> Result<String, Fault> {
        let mut text = String::new();
        for token in rest {
            let at = token.as_span().end();
            match token.as_rule() {
                Rule::too_deep => return Err(Fault { problem: Problem::TooDeep, at }),
                Rule::operand | Rule::pattern => {
                    // What goes wrong at the very end goes wrong because the brace is missing.
                    text = self.operand(token, escape_kept).map_err(|fault| {
                        let ended = fault.at == self.end && !fault.problem.is_limit();
                        if ended { Fault { problem: missing.clone(), at: fault.at } } else { fault }
                    })?;
                }
                _ => return Err(Fault { problem: missing, at }),
            }
        }
        Ok(text)
    }

    /// `${name:-word}` and all that have one operand.
    fn modified(&mut self, name: &str, sign: &str, rest: Vec<Token<'_>>, at: usize) -> Result<String, Fault> {
        let is_pattern = matches!(sign, "#" | "%");
        let word = self.closed_operand(rest, is_pattern, Problem::MissingBrace)?;
        let value = self.look_up(name);
        if value.is_none() && self.style.unset == Unset::Keep {
            return Ok(format!("${{{name}{sign}{word}}}"));
        }
        let (operator, null_is_unset) = match sign.strip_prefix(':') {
            Some(operator) => (operator, true),
            None => (sign, false),
        };
        let present = value.filter(|value| !(null_is_unset && value.is_empty()));
        let fault = |problem| Fault { problem, at };
        match operator {
            "-" => Ok(present.map(str::to_owned).unwrap_or(word)),
            "+" => Ok(present.map(|_| word).unwrap_or_default()),
            "?" => self.required(name, present, value.is_some(), word).map_err(fault),
            "#" | "%" if !null_is_unset => trim(operator, &word, value.unwrap_or_default(), self.meter).map_err(fault),
            _ => Err(fault(Problem::Modifier { modifier: sign.to_owned() })),
        }
    }

    fn required(&self, name: &str, present: Option<&str>, is_set: bool, word: String) -> Result<String, Problem> {
        let noted = self.meter.note_required(name);
        match present {
            Some(value) => Ok(value.to_owned()),
            None if noted => Ok(String::new()),
            None => {
                let default = if is_set { "is not allowed to be empty" } else { "is not allowed to be unset" };
                let message = if word.is_empty() { default.to_owned() } else { word };
                Err(Problem::Required { name: name.to_owned(), message })
            }
        }
    }

    /// `${name/pattern/replacement}`, or all of them with two slashes.
    fn replaced(&mut self, name: &str, part: Token<'_>, at: usize) -> Result<String, Fault> {
        let mut tokens: Vec<Token<'_>> = part.into_inner().collect();
        let all = tokens.first().is_some_and(|token| token.as_rule() == Rule::replace_all);
        tokens.drain(..usize::from(all));
        let replacement =
            tokens.split_off(tokens.iter().position(|token| token.as_rule() == Rule::operand).unwrap_or(tokens.len()));
        let pattern = self.closed_operand(tokens, true, Problem::MissingSlash)?;
        let replacement = self.closed_operand(replacement, true, Problem::MissingBrace)?;
        match self.look_up(name) {
            None if self.style.unset == Unset::Keep => Ok(format!("${{{name}/{pattern}/{replacement}}}")),
            value => {
                let value = value.unwrap_or_default();
                let replaced =
                    Pattern::parse(&pattern).and_then(|parsed| parsed.replace(value, &replacement, all, self.meter));
                replaced.map_err(|problem| Fault { problem, at })
            }
        }
    }
}

/// `${name#pattern}`, `${name%pattern}`; the doubled sign, which is the first character of the operand, takes the longest match.
fn trim(operator: &str, word: &str, value: &str, meter: &Meter) -> Result<String, Problem> {
    let (pattern, greed) = match word.strip_prefix(operator) {
        Some(pattern) => (pattern, Greed::Longest),
        None => (word, Greed::Shortest),
    };
    let pattern = Pattern::parse(pattern)?;
    if operator == "#" { pattern.trim_prefix(value, greed, meter) } else { pattern.trim_suffix(value, greed, meter) }
}

/// Words in the making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    done: Vec<String>,
    word: String,
}

impl Words {
    /// Adds text that blanks split.
    pub(super) fn add_text(&mut self, text: &str) {
        for c in text.chars() {
            if !c.is_whitespace() {
                self.word.push(c);
            } else if !self.word.is_empty() {
                self.done.push(std::mem::take(&mut self.word));
            }
        }
    }

    /// Adds text that blanks do not split.
    pub(super) fn add_protected(&mut self, text: &str) {
        self.word.push_str(text);
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}
