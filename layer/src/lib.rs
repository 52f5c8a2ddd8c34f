//! One layer: its sorted list of entries and the forms it takes.
//!
//! **Invariant:** never mounts, never knows where a layer lies: its callers hand it directories and streams.
//!
//! ```text
//! Entries         what is in a layer: sorted, looked up without decoding, digested without times        entries, digest
//! Stack           layers on top of each other, seen as one file system                                  stack
//! forms           directory tree (tree), tar (tar, unpack), upper directory of an overlay (upper)
//!
//! tar    ── unpack_layer ──→ tree + Entries + diffID         tree ── export_layer ──→ tar + diffID
//! files  ── TreeWriter ────→ tree + Entries                  upper ── upper::scan ──→ Entries
//! ```
//!
//! Everything blocks. Memory does not grow with the size of files, and with their number by at most about 500 bytes for each and its path (a million
//! empty files are unpacked in under 500 MB).

pub mod compression;
pub mod content;
pub mod digest;
pub mod entries;
pub mod entry;
pub mod erofs;
pub mod hash;
pub mod path;
pub mod stack;
pub mod tar;
pub mod tree;
pub mod unpack;
pub mod upper;
pub mod xattr;

mod buffer;

pub use content::{Content, ContentError, FileRange, Layer};
pub use entries::{Entries, EntriesBuilder, EntriesError, EntriesFormatError, Place};
pub use entry::{ContentHash, Device, Entry, EntryBuf, Kind, KindBuf, Metadata, MetadataBuf, Mtime};
pub use path::{EntryPath, EntryPathBuf, PathError};
pub use stack::{Follow, Found, Links, Placed, ResolveError, Resolved, Stack};
pub use tree::{FileSlot, FileSource, FinishedTree, Special, Tree, TreeError, TreeWriter, WrittenFile};
pub use xattr::{Xattrs, XattrsBuf};
