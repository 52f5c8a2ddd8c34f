//! `RUN`: a command in a sandbox, whose writes become a layer.

mod run;

mod attempts;
mod cache_dir;
mod held;
mod mounts;
mod output;

pub use attempts::StepLimits;
pub(crate) use held::{Bound, Seed};
pub(crate) use run::Command;
