//! Layers on top of each other, seen as one file system, without mounting anything.
//!
//! What a directory in an upper layer does not hide shines through from those beneath; a file hides whatever lies beneath its path, a whiteout
//! deletes it, an opaque directory hides all that lies beneath in it.

mod links;
mod lookup;
mod resolve;
mod walk;

pub use links::{Links, Placed};
pub use lookup::{Found, Stack};
pub use resolve::{Follow, ResolveError, Resolved, SYMLINKS_MAX};
pub use walk::Walk;

pub(crate) use resolve::{Seen, resolve};
