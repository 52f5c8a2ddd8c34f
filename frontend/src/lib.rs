//! From Dockerfile text to the graph of what is to be built.
//!
//! **Invariant:** never does I/O, never awaits: a pure function of its arguments; same arguments, same digests.

pub mod ast;
pub mod calls;
pub mod checks;
pub mod diagnostic;
pub mod expand;
pub mod git_url;
mod go;
mod instruction;
pub mod known;
pub mod limits;
mod lower;
mod parse;
pub mod plan;
pub mod request;
pub mod source;
mod suggest;
pub mod syntax;

pub use calls::targets;
pub use instruction::{CsvError, InstructionError, csv_fields};
pub use lower::{check, lower, outline};
pub use parse::{FileError, Parse, parse};

/// The name of the local source that is the build context.
pub const MAIN_CONTEXT_NAME: &str = "context";
