//! What each operation does: sources, commands, file operations, merges.
//!
//! **Invariant:** never decides order or caching.

mod blocking;
mod chunks;
mod command;
mod context;
mod error;
mod executor;
mod file;
mod http;
mod image;
mod report;
pub mod sandbox;
mod seen;
mod select;

pub use context::Context;
pub use error::ExecError;
pub use executor::{Executor, Secrets};
pub use file::make_working_dir;
pub use image::{Fetcher, import_layer};
pub use report::{Report, Reporter, Stream};
pub use seen::SeenFile;
