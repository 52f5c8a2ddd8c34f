//! Chooses the renderer.

use std::io::{self, Write};

use crate::progress::log_limit::NO_LOG_LIMIT;
use crate::progress::plain::Plain;
use crate::progress::raw_json::RawJson;
use crate::progress::renderer::Renderer;
use crate::progress::settings::{Environment, Mode, ModeError, Settings};
use crate::progress::silent::{Nothing, Quiet};
use crate::progress::terminal::Screen;
use crate::progress::tty::Tty;
use crate::progress::warnings::Detail;

/// A renderer, and what was wrong with the environment.
pub(crate) struct Opened {
    /// Shows the events.
    pub(crate) renderer: Box<dyn Renderer>,
    /// Sentences about variables that were ignored, to be shown as warnings.
    pub(crate) complaints: Vec<String>,
}

/// Returns the renderer to standard error that `mode` and the environment ask for.
pub(crate) fn open_stderr(mode: Mode, detail: Detail) -> Result<Opened, ModeError> {
    let stderr = io::stderr();
    let screen = Screen::of_stderr(&stderr);
    open(mode, stderr, screen, &|variable| std::env::var(variable).ok(), detail)
}

/// Returns the renderer of a download that is no part of a build: a tree where standard error is a terminal, else nothing.
pub(crate) fn open_download() -> Box<dyn Renderer> {
    let stderr = io::stderr();
    match Screen::of_stderr(&stderr) {
        Screen::Terminal(size) => {
            // What is wrong with the variables of builds, builds say.
            let environment = Settings::from_environment(&|variable| std::env::var(variable).ok(), &mut Vec::new());
            Box::new(Tty::new(stderr, size, Settings { title: "Pulling", ..environment }))
        }
        Screen::None => Box::new(Nothing),
    }
}

/// Returns the renderer to `out` of what was recorded: as JSON if that is asked for, else as plain text, of which nothing is left out.
pub(crate) fn open_log(mode: Mode, out: impl Write + Send + 'static, detail: Detail) -> Box<dyn Renderer> {
    // What is wrong with the variables of builds, builds say.
    let settings = Settings::from_environment(&|variable| std::env::var(variable).ok(), &mut Vec::new());
    match mode {
        Mode::RawJson => Box::new(RawJson::new(out)),
        _ => Box::new(Plain::new(out, Settings { log_limit: NO_LOG_LIMIT, detail, ..settings })),
    }
}

/// Returns the renderer to `out` that `mode` and the environment ask for.
pub(crate) fn open(
    mode: Mode,
    out: impl Write + Send + 'static,
    screen: Screen,
    environment: Environment<'_>,
    detail: Detail,
) -> Result<Opened, ModeError> {
    let mut complaints = Vec::new();
    let settings = Settings { detail, ..Settings::from_environment(environment, &mut complaints) };
    // A terminal that calls itself dumb cannot move its cursor.
    let is_dumb = environment("TERM").as_deref() == Some("dumb");
    let renderer: Box<dyn Renderer> = match (mode.with_environment(environment)?, screen) {
        (Mode::Auto | Mode::Tty, Screen::Terminal(size)) if !is_dumb => Box::new(Tty::new(out, size, settings)),
        (Mode::Tty, Screen::None) => return Err(ModeError::NotATerminal),
        (Mode::Auto | Mode::Tty | Mode::Plain, _) => Box::new(Plain::new(out, settings)),
        (Mode::RawJson, _) => Box::new(RawJson::new(out)),
        (Mode::Quiet, _) => Box::new(Quiet::new(out)),
        (Mode::None, _) => Box::new(Nothing),
    };
    Ok(Opened { renderer, complaints })
}
