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
mod git;
mod http;
mod image;
mod ladder;
mod layers;
mod lenders;
mod network;
mod outside;
mod report;
pub mod sandbox;
mod seen;
mod select;
mod sources;
mod ssh;
mod tars;

pub use command::StepLimits;
pub use context::{Context, HiddenFile, TakenFile};
pub use error::ExecError;
pub use executor::{Executor, Purpose, Secrets};
pub use file::make_working_dir;
pub use image::{Fetcher, Tee, Unpacked, import_layer, unpack_ahead};
pub use ladder::{Ladder, Rung, RungParseError, Standing};
pub use network::{Entered, HOST_GATEWAY, Networks};
pub use outside::{Outside, WorkDir};
pub use report::{Report, Reporter, Stream, Usage};
pub use seen::SeenFile;
pub use sources::{Remote, Sources};
pub use ssh::{KeyError, Keyring, SshAgent, SshAgentError};
pub use tars::TarDigests;
