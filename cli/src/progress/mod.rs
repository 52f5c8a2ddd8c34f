//! What a build looks like while it runs, and how it is reported when it has failed: renderings of the one stream of events.
//!
//! **Invariant:** a rendering is a function of the events, of the times that it is told and of the size of the screen. Nothing in here reads a clock, and
//! nothing starts a thread.

mod colours;
mod excerpt;
mod last_lines;
mod log_limit;
mod open;
mod plain;
mod raw_json;
mod renderer;
#[cfg(test)]
mod script;
mod settings;
mod silent;
mod terminal;
#[cfg(test)]
mod tests;
mod trace;
mod tty;
#[cfg(test)]
mod virtual_terminal;
mod warnings;

pub(crate) use excerpt::{excerpt, failure};
pub(crate) use open::{open_download, open_log, open_stderr};
pub(crate) use raw_json::warnings_json;
pub(crate) use renderer::Renderer;
pub(crate) use settings::Mode;
pub(crate) use warnings::{Detail, warnings};
