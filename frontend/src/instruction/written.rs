//! An instruction as it is written: its line taken apart, its comments, its heredocs.

use crate::ast::{Site, Word};
use crate::source::{Source, Span};
use crate::syntax::{Escape, Head, Heredoc, Joined, Json, Located, fields, head, json};

use super::{InstructionError, Refusal, command_line, pairs};

/// An instruction as it is written.
pub(crate) struct Written<'a> {
    joined: &'a Joined<'a>,
    /// The line without blanks at its start.
    pub(crate) line: &'a str,
    /// Where `line` begins in the joined line.
    base: usize,
    pub(crate) head: Head<'a>,
    pub(crate) escape: Escape,
    pub(crate) comments: &'a [String],
    pub(crate) heredocs: Vec<Heredoc>,
    source: &'a Source,
}

/// Arguments that are an array of strings or fields between blanks.
pub(crate) struct List {
    pub(crate) words: Vec<Word>,
    pub(crate) is_json: bool,
}

impl<'a> Written<'a> {
    /// Takes an instruction's line apart.
    pub(crate) fn new(joined: &'a Joined<'a>, escape: Escape, comments: &'a [String], source: &'a Source) -> Self {
        Self::at(joined, joined.text(), 0, escape, comments, source)
    }

    fn at(
        joined: &'a Joined<'a>,
        text: &'a str,
        base: usize,
        escape: Escape,
        comments: &'a [String],
        source: &'a Source,
    ) -> Self {
        let line = text.trim_start();
        let base = base + text.len() - line.len();
        Self { joined, line, base, head: head(line, escape), escape, comments, heredocs: Vec::new(), source }
    }

    /// Returns the instruction that is the argument of `ONBUILD`.
    pub(crate) fn inner(&self) -> Written<'_> {
        let start = self.head.arguments;
        Self::at(self.joined, &self.line[start..], self.base + start, self.escape, &[], self.source)
    }

    /// Returns where it stands in the tree.
    pub(crate) fn site(&self) -> Site {
        let span = self
            .heredocs
            .last()
            .map_or(self.joined.span, |last| Span::new(self.joined.span.start, self.heredoc_end(last)));
        let own_end = self.source.lines_of(self.joined.span).end;
        Site {
            keyword: self.head.keyword.to_owned(),
            line: self.joined.text().to_owned(),
            span,
            lines: self.source.lines_of(span),
            comments: self.comments.to_vec(),
            hollow_end: self.joined.hollow.then_some(own_end),
        }
    }

    /// Returns the byte behind the line that ends a heredoc.
    fn heredoc_end(&self, heredoc: &Heredoc) -> usize {
        let rest = &self.source.text()[heredoc.span.end..];
        heredoc.span.end + rest.find('\n').map_or(rest.len(), |at| at + 1)
    }

    /// Returns where a part of the line stands in the file.
    pub(crate) fn span(&self, start: usize, end: usize) -> Span {
        self.joined.locate(self.base + start, self.base + end)
    }

    /// Returns where the keyword stands in the file.
    pub(crate) fn keyword_span(&self) -> Span {
        self.span(0, self.head.keyword.len())
    }

    /// Returns the text behind keyword and flags, without blanks around it.
    pub(crate) fn arguments_text(&self) -> &'a str {
        self.line[self.head.arguments..].trim_end()
    }

    /// Returns all that stands behind keyword and flags as one word.
    pub(crate) fn arguments(&self) -> Word {
        self.word(Located { text: self.arguments_text(), start: 0 })
    }

    /// Returns the arguments between blanks.
    pub(crate) fn fields(&self) -> Vec<Word> {
        fields(self.arguments_text()).into_iter().map(|part| self.word(part)).collect()
    }

    /// Returns a part of the arguments as a word of the tree.
    pub(crate) fn word(&self, part: Located<'_>) -> Word {
        let start = self.head.arguments + part.start;
        Word { text: part.text.to_owned(), span: self.span(start, start + part.text.len()) }
    }

    /// Returns the arguments as an array of strings if they are one, else those between blanks.
    pub(crate) fn list(&self) -> Result<List, Refusal> {
        match json(self.arguments_text()) {
            Json::Strings(list) => {
                let span = self.arguments().span;
                let words = list.into_iter().map(|text| Word { text, span }).collect();
                Ok(List { words, is_json: true })
            }
            Json::NotStrings => Err(Refusal::at(InstructionError::NotStrings, self.arguments().span)),
            Json::Not => Ok(List { words: self.fields(), is_json: false }),
        }
    }

    /// Returns what a comment above says of `name`: `# name description`.
    pub(crate) fn description(&self, name: &str) -> Option<String> {
        let described = |comment: &String| Some(comment.strip_prefix(name)?.strip_prefix(' ')?.to_owned());
        self.comments.iter().find_map(described)
    }

    /// Tells whether heredocs can stand behind the instruction.
    pub(crate) fn can_have_heredocs(&self) -> bool {
        match self.head.keyword.to_ascii_uppercase().as_str() {
            "RUN" | "COPY" | "ADD" => !matches!(json(self.arguments_text()), Json::Strings(_)),
            "ONBUILD" => self.inner().can_have_heredocs(),
            _ => false,
        }
    }

    /// Refuses words that are wrong whatever the instruction means: what is found before instructions are told apart.
    pub(crate) fn check_words(&self) -> Result<(), Refusal> {
        let arguments = self.arguments();
        let found = match self.head.keyword.to_ascii_uppercase().as_str() {
            "CMD" | "ENTRYPOINT" | "RUN" | "SHELL" | "COPY" | "ADD" | "VOLUME" => {
                command_line(&arguments.text, arguments.span).map(drop)
            }
            "ENV" => pairs::parse_pairs(self, "ENV").map(drop),
            "LABEL" => pairs::parse_pairs(self, "LABEL").map(drop),
            _ => Ok(()),
        };
        found.or_else(|refusal| if refusal.error.is_of_text() { Err(refusal) } else { Ok(()) })
    }
}
