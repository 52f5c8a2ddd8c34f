//! From text to tree: instruction by instruction, going on behind what is wrong.

mod trigger;

pub(crate) use trigger::{TriggerError, parse_trigger};

use llb::LineRange;

use crate::ast::{Command, Dockerfile, GlobalArg, Instruction, Piece, PieceKind};
use crate::diagnostic::Diagnostic;
use crate::instruction::{self, InstructionError, Parsed, Refusal, Written};
use crate::limits::{DIAGNOSTICS_MAX, INSTRUCTIONS_MAX, LINE_BYTES_MAX, TEXT_BYTES_MAX};
use crate::source::{Source, Span};
use crate::syntax::{Heredoc, HeredocMark, Joined, directives, marks_of_line, step};

/// A Dockerfile and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parse {
    /// The tree; instructions that are wrong are left out.
    pub file: Dockerfile,
    /// The errors, in the order of the text. With any, the file cannot be built.
    pub diagnostics: Vec<Diagnostic>,
    /// Which of them is the first about how the text is written rather than about what an instruction says: Docker looks for these in the whole file before all
    /// others, and stops at the first.
    pub misspelt: Option<usize>,
}

/// Why a file as a whole is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// There is no text.
    #[error("the Dockerfile cannot be empty")]
    Empty,
    /// There are only comments and empty lines.
    #[error("file with no instructions")]
    NoInstructions,
    /// The text is too long.
    #[error("the Dockerfile exceeds maximum allowed size of {TEXT_BYTES_MAX} bytes")]
    TooLarge,
    /// The text is none.
    #[error("the Dockerfile contains a NUL byte")]
    Binary,
    /// A line is too long.
    #[error("dockerfile line greater than max allowed size of {LINE_BYTES_MAX}")]
    LongLine,
    /// There are too many instructions.
    #[error("the Dockerfile has more than {INSTRUCTIONS_MAX} instructions")]
    TooManyInstructions,
}

/// Parses a Dockerfile. Bytes that are no UTF-8 become replacement characters.
pub fn parse(text: &[u8]) -> Parse {
    if text.is_empty() {
        return refused(FileError::Empty);
    }
    if text.len() > TEXT_BYTES_MAX {
        return refused(FileError::TooLarge);
    }
    let text = String::from_utf8_lossy(text);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let source = Source::new(text.to_owned());
    let mut parser =
        Parser { source: &source, end: source.text().len(), parse: Parse::default(), comments: Vec::new(), count: 0 };
    parser.find_limits();
    parser.run();
    let mut parse = parser.parse;
    parse.file.source = source;
    parse
}

fn refused(error: FileError) -> Parse {
    Parse { diagnostics: vec![Diagnostic::error(error)], misspelt: Some(0), ..Parse::default() }
}

struct Parser<'a> {
    source: &'a Source,
    /// The byte up to which the text is read.
    end: usize,
    parse: Parse,
    /// The comments above the next instruction.
    comments: Vec<String>,
    /// How many instructions there were.
    count: usize,
}

impl<'a> Parser<'a> {
    /// Ends the reading in front of what is no text.
    fn find_limits(&mut self) {
        let text = self.source.text();
        if let Some(at) = text.find('\0') {
            let hint = "is this really a Dockerfile and not a binary file?";
            self.error(Diagnostic::error(FileError::Binary).at(self.source, Span::new(at, at + 1)).with_hint(hint));
            self.end = 0;
            return;
        }
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            if line.trim_end_matches('\n').len() > LINE_BYTES_MAX {
                self.error(Diagnostic::error(FileError::LongLine).at(self.source, Span::new(start, start)));
                self.end = start;
                return;
            }
            start += line.len();
        }
    }

    fn run(&mut self) {
        let text = &self.source.text()[..self.end];
        let found = directives(text, 0);
        found.list.iter().for_each(|directive| self.piece(PieceKind::Directive, directive.span));
        for (error, span) in found.errors {
            self.piece(PieceKind::Directive, span);
            self.error(Diagnostic::error(error).at(self.source, span));
        }
        self.parse.file.pieces.sort_by_key(|piece| piece.span);
        (self.parse.file.directives, self.parse.file.escape) = (found.list, found.escape);
        let mut offset = found.end;
        while offset < text.len() {
            offset = self.step(text, offset);
        }
        if self.end < self.source.text().len() {
            self.piece(PieceKind::Unread, Span::new(self.end, self.source.text().len()));
        }
        if self.count == 0 && self.parse.diagnostics.is_empty() {
            self.error(Diagnostic::error(FileError::NoInstructions).with_hint("begin with `FROM image`"));
        }
    }

    /// Reads up to and with the next instruction, and returns the byte behind it.
    fn step(&mut self, text: &'a str, offset: usize) -> usize {
        let step = step(text, offset, self.parse.file.escape);
        for line in step.between {
            self.piece(if line.comment { PieceKind::Comment } else { PieceKind::Blank }, line.span);
            if line.comment {
                self.comment(&text[line.span.start..line.span.end]);
            }
        }
        let Some(joined) = step.instruction else { return step.end };
        self.count += 1;
        if self.count > INSTRUCTIONS_MAX {
            self.error(Diagnostic::error(FileError::TooManyInstructions).at(self.source, joined.span));
            self.end = joined.span.start;
            return text.len();
        }
        self.instruction(text, &joined, step.end)
    }

    fn comment(&mut self, line: &str) {
        match line.trim().trim_start_matches('#').trim() {
            "" => self.comments.clear(),
            comment => self.comments.push(comment.to_owned()),
        }
    }

    /// Reads an instruction and its heredocs, and returns the byte behind them.
    fn instruction(&mut self, text: &'a str, joined: &Joined<'a>, end: usize) -> usize {
        let comments = std::mem::take(&mut self.comments);
        let mut written = Written::new(joined, self.parse.file.escape, &comments, self.source);
        let (end, heredocs) = match read_heredocs(text, &written, end) {
            Ok(found) => found,
            Err((end, error)) => {
                let span = Span::new(joined.span.start, end);
                self.piece(PieceKind::Instruction, span);
                self.refuse_lines(&written, error.into(), self.source.lines_of(span));
                return end;
            }
        };
        written.heredocs = heredocs;
        self.piece(PieceKind::Instruction, Span::new(joined.span.start, end));
        match instruction::parse(&written) {
            Ok(parsed) => self.accept(&written, parsed),
            Err(refusal) => self.refuse(&written, refusal),
        }
        end
    }

    fn accept(&mut self, written: &Written<'_>, parsed: Parsed) {
        let file = &mut self.parse.file;
        match (parsed, file.stages.last_mut()) {
            (Parsed::Stage(stage), _) => file.stages.push(*stage),
            (Parsed::Command(command), Some(stage)) => {
                stage.instructions.push(Instruction { site: written.site(), command })
            }
            (Parsed::Command(Command::Arg(args)), None) => {
                file.global_args.push(GlobalArg { site: written.site(), args })
            }
            (Parsed::Command(_), None) => {
                // One is enough: what follows is in front of the first stage too.
                let message = InstructionError::NoStage.to_string();
                if self.parse.diagnostics.iter().all(|earlier| earlier.message != message) {
                    self.refuse(written, InstructionError::NoStage.into());
                }
            }
        }
    }

    fn refuse(&mut self, written: &Written<'_>, refusal: Refusal) {
        let lines = written.site().lines;
        self.refuse_lines(written, refusal, lines);
    }

    fn refuse_lines(&mut self, written: &Written<'_>, refusal: Refusal, lines: LineRange) {
        let site = written.site();
        let message = refusal.error.message(lines.start);
        let diagnostic = Diagnostic::error(message).in_lines(lines).at(self.source, refusal.span.unwrap_or(site.span));
        let diagnostic = match refusal.hint {
            Some(hint) => diagnostic.with_hint(hint),
            None => diagnostic,
        };
        if refusal.error.is_of_text() {
            self.error(diagnostic);
        } else {
            self.push(diagnostic);
        }
    }

    /// Adds an error about how the text is written.
    fn error(&mut self, diagnostic: Diagnostic) {
        let place = self.parse.diagnostics.len();
        if self.push(diagnostic) {
            self.parse.misspelt.get_or_insert(place);
        }
    }

    fn push(&mut self, diagnostic: Diagnostic) -> bool {
        let is_added = self.parse.diagnostics.len() < DIAGNOSTICS_MAX;
        if is_added {
            self.parse.diagnostics.push(diagnostic);
        }
        is_added
    }

    /// Notes what a part of the text is; blanks in front of an instruction belong to it.
    fn piece(&mut self, kind: PieceKind, span: Span) {
        let start = self.parse.file.pieces.last().map_or(0, |last| last.span.end).min(span.start);
        let start = if kind == PieceKind::Directive { span.start } else { start };
        self.parse.file.pieces.push(Piece { kind, span: Span::new(start, span.end) });
    }
}

/// Reads the bodies of the heredocs that an instruction announces; returns the byte behind the last one's end. An error has the byte up to which was read.
fn read_heredocs(
    text: &str,
    written: &Written<'_>,
    offset: usize,
) -> Result<(usize, Vec<Heredoc>), (usize, InstructionError)> {
    if !written.line.contains("<<") || !written.can_have_heredocs() {
        return Ok((offset, Vec::new()));
    }
    let marks = marks_of_line(written.line).map_err(|problem| (offset, InstructionError::HeredocName(problem)))?;
    let (mut at, mut heredocs) = (offset, Vec::new());
    for mark in marks {
        let Some((heredoc, end)) = read_heredoc(text, mark, at) else {
            return Err((text.len(), InstructionError::UnterminatedHeredoc));
        };
        heredocs.push(heredoc);
        at = end;
    }
    Ok((at, heredocs))
}

fn read_heredoc(text: &str, mark: HeredocMark, start: usize) -> Option<(Heredoc, usize)> {
    let mut at = start;
    for line in text[start..].split_inclusive('\n') {
        if mark.ends_at(line) {
            let content = text[start..at].to_owned();
            let HeredocMark { name, expand, strip_tabs } = mark;
            return Some((Heredoc { name, expand, strip_tabs, content, span: Span::new(start, at) }, at + line.len()));
        }
        at += line.len();
    }
    None
}

#[cfg(test)]
mod tests;
