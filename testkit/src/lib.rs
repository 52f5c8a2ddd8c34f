//! For tests only: fakes, temporary worlds, a registry in memory.

pub mod registry;
pub mod root;
pub mod solver;

pub use root::require_root;
