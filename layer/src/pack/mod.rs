//! The form of a layer of which no file is created: the bytes of its files stand one after another in packs, and an index says where
//! (see [`crate::erofs`], which is how the kernel reads it; [`Packs`] is how Kiln does).
//!
//! ```text
//! pack      the bytes of files, each from a multiple of 512 on; what no file needs is never looked at, pieces of zeros are holes.
//!           The tar of a pulled layer is a pack as it is
//! extents   for each entry: which pack, and from where on
//! ```
//!
//! A layer may have its files in packs of other layers too: what is there already is not written again. The same goes for files that were kept while they were read
//! for their hashes ([`FileKeeper`]).

mod by_content;
mod keep;
mod lender;
mod packs;
mod tree;
mod write;

pub use keep::{FileKeeper, KeepingReader, KeptFiles};
pub use lender::Lender;
pub use packs::{Pack, PackId, Packs};
pub use tree::{write_layer, write_tree};
pub use write::{Packed, UsedPack};

pub(crate) use write::PackWriter;
