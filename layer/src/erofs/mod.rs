//! The form of a layer that the kernel mounts without anything being unpacked: an EROFS image of names and attributes, the index, whose files point
//! into other files, the packs, where their bytes lie.
//!
//! ```text
//! index     superblock at byte 1024, a slot of 128 bytes for each pack, inodes (with attributes, short links and the ends of directories behind
//!           them), then the other blocks of directories and long links
//! pack      the bytes of files, each at a multiple of the index's block size; everything between them is never looked at
//! ```
//!
//! **Invariant:** equal entries and extents are equal bytes. What is written follows the kernel's `fs/erofs/erofs_fs.h`.

mod directory;
mod extent;
mod format;
mod layout;
mod write;
mod xattr;

pub use extent::{Extent, ExtentList, ExtentsError};
pub use write::{BlockSize, IndexError, PACKS_MAX, WrittenIndex, write_index};
