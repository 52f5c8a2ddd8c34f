//! Build checks.
mod options;
mod rules;

pub use options::{CheckOptions, CheckOptionsParseError};
pub use rules::{Rule, UnknownRule};
