//! From Dockerfile text to the graph of what is to be built.
//!
//! **Invariant:** never does I/O, never awaits: a pure function of its arguments; same arguments, same digests.

pub mod source;
pub mod diagnostic;
pub mod limits;
pub mod syntax;
pub mod ast;
mod instruction;
mod parse;
pub mod expand;
pub mod checks;
pub mod calls;
pub mod git_url;
pub mod ignore;
pub mod known;
pub mod plan;
pub mod request;
mod lower;
mod suggest;
mod go;

pub use instruction::InstructionError;
pub use lower::{check, lower, outline};
pub use calls::targets;
pub use parse::{FileError, Parse, parse};

/// The name of the local source that is the build context.
pub const MAIN_CONTEXT_NAME: &str = "context";
