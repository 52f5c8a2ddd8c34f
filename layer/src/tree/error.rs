//! What can go wrong while a tree is written.

use std::io;

use crate::entries::EntriesError;
use crate::entry::ContentHash;

/// Why a file cannot be put into a tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The root cannot be used.
    #[error("cannot use the root directory of a new layer")]
    Root {
        /// Why.
        source: io::Error,
    },
    /// A directory cannot be created.
    #[error("cannot create the directory `{path}` in a layer")]
    CreateDirectory {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be created.
    #[error("cannot create the file `{path}` in a layer")]
    CreateFile {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A symbolic link cannot be created.
    #[error("cannot create the symbolic link `{path}` in a layer")]
    CreateSymlink {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A hard link cannot be created.
    #[error("cannot create the hard link `{path}` to `{target}` in a layer")]
    CreateHardLink {
        /// Its path.
        path: String,
        /// Where it leads.
        target: String,
        /// Why.
        source: io::Error,
    },
    /// A device node, fifo or whiteout cannot be created.
    #[error("cannot create the {kind} `{path}` in a layer")]
    CreateSpecial {
        /// What it is.
        kind: &'static str,
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// What is to be written cannot be read.
    #[error("cannot read the content of `{path}`")]
    Read {
        /// The path in the layer.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The content cannot be written.
    #[error("cannot write `{path}` in a layer")]
    Write {
        /// The path in the layer.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// What is to be written ended early: it became shorter while it was read, or is damaged.
    #[error("`{path}` changed while it was copied: expected {expected_bytes} bytes, got {actual_bytes}")]
    SourceChanged {
        /// The path in the layer.
        path: String,
        /// How long it was.
        expected_bytes: u64,
        /// How much could be read.
        actual_bytes: u64,
    },
    /// What is to be written is not what its layer says it is.
    #[error("damaged layer: the content of `{path}` should have the hash {expected}, it has {actual}")]
    SourceDamaged {
        /// The path in the layer.
        path: String,
        /// The hash that its entry has.
        expected: ContentHash,
        /// The hash of the bytes that were read.
        actual: ContentHash,
    },
    /// An attribute of a file cannot be set.
    #[error("cannot set the {attribute} of `{path}` in a layer")]
    SetAttribute {
        /// Which attribute.
        attribute: &'static str,
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// An extended attribute cannot be set.
    #[error("cannot set the extended attribute `{name}` of `{path}` in a layer")]
    SetXattr {
        /// Which attribute.
        name: String,
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be removed.
    #[error("cannot remove `{path}` from a layer")]
    Remove {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The directory that the file is to be in does not exist.
    #[error("cannot create `{path}`: no such file or directory: `{parent}`")]
    NoParent {
        /// The path of the file.
        path: String,
        /// The directory.
        parent: String,
    },
    /// What the file is to be in is no directory.
    #[error("cannot create `{path}`: `{parent}` is not a directory")]
    ParentNotADirectory {
        /// The path of the file.
        path: String,
        /// What is no directory.
        parent: String,
    },
    /// A directory is where something else is to be, or something else is where a directory is to be.
    #[error("cannot create the {new} `{path}`: there is a {existing} already")]
    Occupied {
        /// The path.
        path: String,
        /// What is to be there.
        new: &'static str,
        /// What is there.
        existing: &'static str,
    },
    /// A hard link is to lead to what cannot be linked.
    #[error("cannot create the hard link `{path}`: `{target}` is not a file of the same layer")]
    NoTarget {
        /// The path of the link.
        path: String,
        /// Where it was to lead.
        target: String,
    },
    /// The list of entries cannot be made.
    #[error(transparent)]
    Entries(#[from] EntriesError),
}
