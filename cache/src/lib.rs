//! Keys to snapshots, on disk.
//!
//! **Invariant:** never needed for correctness: without it a build takes longer and gives the same.
//!
//! A result is recorded under its content key; a definition key points at one. What the records look like stands in `record`.

mod cache;
mod prune;
mod record;

pub use cache::Cache;
pub use prune::{ResultSummary, prune, pruned_at, results};
