//! The Dockerfile: found, read, parsed, and shown where something is wrong with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use frontend::Parse;
use frontend::ast::Dockerfile;
use frontend::diagnostic::{Diagnostic, Place, Severity};
use frontend::known::IgnoreFile;
use llb::LineRange;
use oci::Digest;

use super::request::{BuildRequest, ContextSource, DockerfileSource};
use crate::Error;
use crate::error::Finding;
use crate::event::{Event, Excerpt, ExcerptPart, Warning};
use crate::event_sink::EventSink;

const DEFAULT_NAME: &str = "Dockerfile";
/// How many lines around those that are meant go into an excerpt; who shows it may show fewer.
const EXCERPT_LINES_AROUND: u32 = 4;

/// A parsed Dockerfile, and where it came from.
pub(crate) struct Definition {
    /// The file, and what is wrong with how it is written.
    parse: Parse,
    /// Its path, unless it came from standard input.
    path: Option<PathBuf>,
    /// What messages call it.
    name: String,
    /// The step that loaded it, which warnings belong to.
    step: Digest,
}

impl Definition {
    /// Reads and parses the Dockerfile of a request, which must be written right.
    pub(crate) fn load(request: &BuildRequest, events: &EventSink) -> Result<Self, Error> {
        let definition = Self::read(request, events)?;
        let found = &definition.parse.diagnostics;
        if found.iter().all(|it| it.severity != Severity::Error) {
            Ok(definition)
        } else {
            Err(definition.error(found.clone()))
        }
    }

    /// Reads and parses the Dockerfile of a request; what is wrong with it is left to who asks.
    pub(crate) fn read(request: &BuildRequest, events: &EventSink) -> Result<Self, Error> {
        if let ContextSource::Directory(context) = &request.context
            && !context.is_dir()
        {
            return Err(Error::NoContext { path: context.clone() });
        }
        let (path, name) = place(request);
        let step = events.step(format!("[internal] load build definition from {name}"));
        let digest = step.digest();
        let read = read(request, path.as_deref(), &name);
        let text = match read {
            Ok(text) => text,
            Err(error) => return Err(step.failed(error)),
        };
        drop(step.part(format!("transferring dockerfile: {}B", text.len())));
        step.done();
        Ok(Self { parse: frontend::parse(&text), path, name, step: digest })
    }

    /// Returns the file with what is wrong with how it is written.
    pub(crate) fn parse(&self) -> &Parse {
        &self.parse
    }

    /// Returns the file.
    pub(crate) fn file(&self) -> &Dockerfile {
        &self.parse.file
    }

    /// Returns what messages call the file.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Makes an error of diagnostics, each with its lines.
    pub(crate) fn error(&self, diagnostics: Vec<Diagnostic>) -> Error {
        Error::Dockerfile { findings: diagnostics.into_iter().map(|diagnostic| self.finding(diagnostic)).collect() }
    }

    /// Returns a diagnostic with its lines.
    pub(crate) fn finding(&self, diagnostic: Diagnostic) -> Finding {
        let excerpt = self.excerpt_around(&diagnostic);
        Finding { diagnostic, excerpt }
    }

    /// Returns the lines that a diagnostic is about, with some around them.
    fn excerpt_around(&self, diagnostic: &Diagnostic) -> Option<Excerpt> {
        let excerpt = self.excerpt_of(diagnostic.lines?)?;
        let part = diagnostic.place.and_then(|place| part(&excerpt, place));
        Some(Excerpt { part, ..excerpt })
    }

    /// Returns lines of the file with some around them.
    pub(crate) fn excerpt_of(&self, marked: LineRange) -> Option<Excerpt> {
        let source = &self.parse.file.source;
        let last = source.line_count();
        if marked.start == 0 || marked.start > last {
            return None;
        }
        let first_line = marked.start.saturating_sub(EXCERPT_LINES_AROUND).max(1);
        let last_line = marked.end.saturating_add(EXCERPT_LINES_AROUND).min(last);
        let line = |number| source.line(number).unwrap_or_default().to_owned();
        Some(Excerpt {
            file: self.name.clone(),
            first_line,
            lines: (first_line..=last_line).map(line).collect(),
            marked_start: marked.start,
            marked_end: marked.end.min(last),
            part: None,
        })
    }

    /// Returns what is shown of a warning.
    pub(crate) fn warning_event(&self, warning: &Diagnostic) -> Event {
        let (mut short, mut detail, mut url) = (warning.message.clone(), String::new(), String::new());
        if let Some(rule) = &warning.rule {
            short = format!("{}: {short}", rule.name());
            (detail, url) = (rule.description().to_owned(), rule.url().unwrap_or_default());
        }
        if let Some(lines) = warning.lines {
            short = format!("{short} (line {})", lines.start);
        }
        let excerpt = self.excerpt_around(warning);
        Event::Warning(Warning {
            step: self.step,
            short,
            detail,
            url,
            excerpt,
            diagnostic: Some(Box::new(warning.clone())),
        })
    }

    /// Reads the ignore file for a directory: beside the Dockerfile if it has one of its own and the directory is the build context, else in the directory.
    pub(crate) fn ignore_file(&self, directory: &Path, is_main: bool) -> Result<Option<IgnoreFile>, Error> {
        let own = self.path.as_ref().filter(|_| is_main).map(|path| {
            let mut own = path.clone().into_os_string();
            own.push(".dockerignore");
            PathBuf::from(own)
        });
        for path in own.into_iter().chain([directory.join(".dockerignore")]) {
            match fs::read(&path) {
                Ok(bytes) => {
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    return Ok(Some(IgnoreFile { name, text: String::from_utf8_lossy(&bytes).into_owned() }));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::file("read", &path)(error)),
            }
        }
        Ok(None)
    }
}

/// Returns which part of an excerpt's marked lines a place is; `None` where it is more than one line, or nothing, or the whole instruction.
fn part(excerpt: &Excerpt, place: Place) -> Option<ExcerptPart> {
    let (line, start, end) = (place.start.line, place.start.column, place.end.column);
    let text = excerpt.lines.get(line.checked_sub(excerpt.first_line)? as usize)?;
    let whole = text.trim();
    let is_whole =
        excerpt.marked_start == excerpt.marked_end && (end - start.min(end)) as usize >= whole.chars().count();
    (place.end.line == line && start < end && !is_whole).then_some(ExcerptPart { line, start, end })
}

/// The name that a Dockerfile may have too, where nothing has the usual one.
const LOWERCASE_NAME: &str = "dockerfile";

/// Returns where the Dockerfile is, and what messages call it.
fn place(request: &BuildRequest) -> (Option<PathBuf>, String) {
    let path = match (&request.dockerfile, &request.context) {
        (DockerfileSource::Text(_), _) => None,
        (DockerfileSource::File(path), _) => Some(path.clone()),
        (DockerfileSource::Default, ContextSource::Directory(context)) => {
            let usual = context.join(DEFAULT_NAME);
            let lowercase = context.join(LOWERCASE_NAME);
            Some(if !usual.exists() && lowercase.exists() { lowercase } else { usual })
        }
        (DockerfileSource::Default, _) => Some(PathBuf::from(DEFAULT_NAME)),
    };
    let name = path.as_ref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    (path, name.unwrap_or_else(|| DEFAULT_NAME.to_owned()))
}

fn read(request: &BuildRequest, path: Option<&Path>, name: &str) -> Result<Vec<u8>, Error> {
    if let DockerfileSource::Text(text) = &request.dockerfile {
        return Ok(text.clone());
    }
    let path = path.unwrap_or(Path::new(DEFAULT_NAME));
    fs::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let context = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Error::NoDockerfile { name: name.to_owned(), context: context.to_owned() }
        }
        _ => Error::file("read", path)(error),
    })
}
