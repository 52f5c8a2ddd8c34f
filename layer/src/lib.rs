//! One layer: its sorted list of entries and the forms it takes.
//!
//! **Invariant:** never mounts, never knows where a layer lies: its callers hand it directories and streams.
//!
//! ```text
//! Entries         what is in a layer: sorted, looked up without decoding, digested without times        entries, digest
//! Stack           layers on top of each other, seen as one file system                                  stack
//! forms           directory tree (tree), packs with an index (pack, erofs), tar (tar, unpack), upper directory of an overlay (upper)
//!
//! tar    ── unpack_layer ──→ tree + Entries + diffID         tree, packs ── export_layer ──→ tar + diffID
//! tar    ── pack_layer ────→ pack + Entries + diffID         upper ── upper::scan ──→ Entries
//! files  ── TreeWriter ────→ tree or pack + Entries          packs ── write_index ──→ what the kernel mounts
//! files  ── FileKeeper ────→ pack + hashes, which a TreeWriter then makes a layer of without reading them again
//! ```
//!
//! Everything blocks. Memory does not grow with the size of files, and with their number by at most about 500 bytes for each and its path (a million
//! empty files are unpacked in under 500 MB).

pub mod audit;
pub mod compress;
pub mod compression;
pub mod content;
pub mod digest;
pub mod entries;
pub mod entry;
pub mod erofs;
pub mod hash;
pub mod pack;
pub mod path;
pub mod stack;
pub mod tar;
pub mod tree;
pub mod unpack;
pub mod upper;
pub mod xattr;

mod buffer;
mod flusher;
mod holes;
mod ordered;

pub use content::{Content, ContentError, FileRange, Layer};
pub use entries::{Entries, EntriesBuilder, EntriesError, EntriesFormatError, Place};
pub use entry::{ContentHash, Device, Entry, EntryBuf, Kind, KindBuf, Metadata, MetadataBuf, Mtime};
pub use flusher::Flusher;
pub use pack::{FileKeeper, KeepingReader, KeptFiles, Lender, Pack, PackId, Packs};
pub use path::{EntryPath, EntryPathBuf, PathError};
pub use stack::{Follow, Found, Links, Placed, ResolveError, Resolved, Stack};
pub use tree::{FileSlot, FileSource, FinishedTree, LentFile, Special, Tree, TreeError, TreeWriter, WrittenFile};
pub use xattr::{Xattrs, XattrsBuf};
