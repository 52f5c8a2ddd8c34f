//! The form of a layer that is a directory tree: files as they are, deletions as an overlay file system keeps them.
//!
//! ```text
//! <tree>/           the root of the layer; the caller makes the directory and says where it is
//!   usr/bin/tool    files, with owner, mode, time and attributes of their entries
//!   etc/old         a character device 0:0: what lies beneath at this path is deleted
//!   opt/            attribute trusted.overlay.opaque=y: all that lies beneath in this directory is deleted
//! ```

mod access;
mod attributes;
mod changes;
mod disk;
mod error;
mod nodes;
mod scan;
mod slot;
mod source;
mod stamp;
mod writer;
mod xattrs;

pub use access::Tree;
pub use attributes::LostXattrs;
pub use error::TreeError;
pub use scan::{ScanError, scan_tree};
pub use slot::{FileSlot, WrittenFile};
pub use source::FileSource;
pub use stamp::{TreeStamp, stamp_tree};
pub use writer::{FinishedTree, LentFile, Special, TreeWriter};

pub(crate) use attributes::{Attributes, OPAQUE_VALUE, OPAQUE_XATTRS};
pub(crate) use scan::{Scanned, ScannedKind, survey};
pub(crate) use source::{CopyError, Target, write as write_source};
pub(crate) use writer::Here;
