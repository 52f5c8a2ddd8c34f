//! Control groups: which devices the processes of a sandbox may open, and how much they may use.
//!
//! ```text
//! Hierarchies (what the machine has) ─┬─ Limits → values of control files
//!                                     └─ Group: a directory in each hierarchy that is needed → joined by the first process → removed
//! ```
//!
//! Version 1, version 2 and the mix of both are supported, controllers that only version 2 has included; which it is, is found out by looking. A group belongs to one process of Kiln, which holds a
//! lock on its directory; groups of processes that were killed are removed by the next one.

mod devices;
mod group;
mod hierarchies;
mod limits;
mod program;
mod view;

pub(crate) use group::Group;
pub use group::GroupError;
pub use hierarchies::{Hierarchies, Place};
pub use limits::{Limits, MEMORY_BYTES_MIN};
pub(crate) use view::mount as mount_view;
