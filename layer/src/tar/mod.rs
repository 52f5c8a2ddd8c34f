//! The form of a layer that travels: a tar, as Docker, containerd, Podman and GNU tar write and read it.
//!
//! What is written is POSIX ustar, with a PAX header in front where ustar has no room (long or non-ASCII names, large numbers, extended attributes),
//! in the order of [`crate::path`]; deletions are empty files `.wh.name`, opaque directories hold a file `.wh..wh..opq`.
//! What is read is more: GNU, old GNU and PAX with sparse files, in any order.

mod checkpoints;
mod error;
mod export;
mod header;
mod member;
mod pax;
mod piece;
mod read;
mod sparse;
mod write;

pub use checkpoints::Checkpoints;
pub use error::TarError;
pub use export::{
    Digested, ExportError, Exported, digest_layer, digest_layer_like, export_layer, export_stack, export_stacks,
};
pub use member::{Limits, Member, MemberKind};
pub use read::{EXTENSION_BYTES_MAX, MemberContent, Reader, is_archive};
pub use write::{Meaning, TarOptions, TarWriteError, Writer, header_of};

/// What the name of a file begins with that stands for a deletion.
pub const WHITEOUT_PREFIX: &[u8] = b".wh.";

/// The name of the file that makes the directory that it is in opaque.
pub const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";

/// The unit that everything in a tar is padded to.
pub const BLOCK_BYTES: usize = 512;
