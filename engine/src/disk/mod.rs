//! What takes room on the disk, and giving it back: by command, and by a policy after builds.
//!
//! A record is what `kiln du` shows a line of: a layer, a cache mount, what is remembered of a context. What images and containers need is never given back here.

mod filter;
mod policy;
mod prune;
mod record;

pub use filter::{Filter, FilterError, parse_duration};
pub(crate) use policy::PolicySection;
pub use policy::{Policy, PolicyError};
pub use prune::{CachePrune, Limits};
pub use record::{DiskRecord, RecordKind};
