//! The list of a layer's entries: one block of bytes, the same in memory and on disk, that is searched without decoding it.
//!
//! Finding a path in 50,000 takes about a microsecond; loading them is one read, one checksum and one pass of checks.

mod build;
mod check;
mod format;
mod table;

pub use build::{EntriesBuilder, EntriesError};
pub use check::EntriesFormatError;
pub use table::{Entries, Place};
