//! Which system calls a sandbox has: Docker's list, as a filter that the kernel runs before every call.

mod assembler;
mod filter;
mod numbers;
mod profile;
mod rules;

pub use filter::{Filter, FilterError};
pub use profile::{Profile, ProfileError};
pub use rules::{Architecture, Target};
