//! From a tar to a tree, in one pass: the stream is decompressed and hashed on one thread, read on another, and small files are written on
//! several.
//!
//! There are two meanings of a tar. A *layer* says what changes in the layers beneath, with `.wh.` names for deletions. An *archive*, which `ADD`
//! unpacks, is just files, whatever their names are.

mod archive;
mod error;
mod layer;
mod pipeline;
mod pool;
mod stream;

pub use archive::{ArchiveOptions, UnpackedArchive, unpack_archive};
pub use error::UnpackError;
pub use layer::{UnpackedLayer, pack_layer, unpack_layer};
