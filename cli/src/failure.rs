//! What the user is told when something failed, and the exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use engine::{ErrorKind, Finding, chain};

use crate::format::template::TemplateError;
use crate::progress;

/// The exit code of a failure that is ours to mend.
const EXIT_BUG: u8 = 101;
/// The exit code after Ctrl-C, as shells count it.
const EXIT_INTERRUPTED: u8 = 130;

/// Prints why a command failed, with what to do about it, and returns the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    // Nobody is there to read it: then the exit code has to do.
    let _ = io::stderr().write_all(message(error).as_bytes());
    code(error)
}

fn message(error: &anyhow::Error) -> String {
    if let Some(BuildFailed(error)) = error.downcast_ref() {
        // Without a context there was nothing to solve yet.
        let stage = if matches!(error, engine::Error::NoContext { .. }) { "" } else { "failed to solve: " };
        let text = format!("failed to build: {stage}{}", chain(error));
        return progress::failure(error.excerpt(), &text) + &hint(error.hint()) + &further(error);
    }
    if let Some(BuildRefused(error)) = error.downcast_ref() {
        return format!("ERROR: {}\n", chain(error.as_ref()));
    }
    let text = chain(error.as_ref());
    let advice = match (error.downcast_ref::<engine::Error>(), error.downcast_ref::<TemplateError>()) {
        (Some(error), _) => error.hint(),
        (None, Some(error)) => error.hint().map(str::to_owned),
        (None, None) => None,
    };
    format!("error: {text}\n{}", hint(advice))
}

/// Returns what is wrong with a Dockerfile besides the first error.
fn further(error: &engine::Error) -> String {
    let engine::Error::Dockerfile { findings } = error else { return String::new() };
    let errors = findings.iter().filter(|finding| finding.is_error()).skip(1);
    let shown = errors.map(|finding| {
        let Finding { diagnostic, excerpt } = finding;
        format!("\n{}{}", progress::failure(excerpt.as_ref(), &diagnostic.message), hint(diagnostic.hint.clone()))
    });
    shown.collect()
}

fn hint(advice: Option<String>) -> String {
    advice.map(|advice| format!("\nhint: {advice}\n")).unwrap_or_default()
}

fn code(error: &anyhow::Error) -> ExitCode {
    let error = match error.downcast_ref::<BuildFailed>() {
        Some(BuildFailed(error)) => Some(error),
        None => error.downcast_ref::<engine::Error>(),
    };
    match error.map(engine::Error::kind) {
        Some(ErrorKind::Cancelled) => ExitCode::from(EXIT_INTERRUPTED),
        Some(ErrorKind::Bug) => ExitCode::from(EXIT_BUG),
        Some(ErrorKind::User) | None => ExitCode::FAILURE,
    }
}

/// A build was not begun, for what is asked of it makes no sense. It is told as buildx tells it.
#[derive(Debug)]
pub(crate) struct BuildRefused(pub(crate) anyhow::Error);

impl std::fmt::Display for BuildRefused {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(out)
    }
}

impl std::error::Error for BuildRefused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// A build failed: what is told of it has the shape that users of BuildKit know.
#[derive(Debug)]
pub(crate) struct BuildFailed(pub(crate) engine::Error);

impl std::fmt::Display for BuildFailed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(out)
    }
}

impl std::error::Error for BuildFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
