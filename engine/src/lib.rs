//! The use cases: build, run, images, prune. Wires everything.
//!
//! **Invariant:** never knows a wire format or a terminal.

pub mod build;
pub mod check;
pub mod disk;
mod engine;
mod error;
pub mod event;
mod event_sink;
pub mod export;
pub mod history;
pub mod image;
mod pieces;
pub mod prune;
pub mod run;
mod settings;

pub use engine::Engine;
pub use error::{Error, ErrorKind, Finding, chain};
pub use event_sink::EventSink;
pub use settings::Settings;

pub use executor::{Rung, Standing};
