//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

use oci::Digest;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory of the store could not be used.
    #[error("cannot {action} `{path}`")]
    File {
        /// What was to be done: `create`, `read` ….
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A database refused.
    #[error("cannot {action} the database `{path}`")]
    Database {
        /// What was to be done.
        action: &'static str,
        /// The database's file.
        path: PathBuf,
        /// Why not.
        source: heed::Error,
    },
    /// The database has reached the most that it may hold.
    #[error("the database `{path}` is full ({size_bytes_max} bytes)")]
    DatabaseFull {
        /// The database's file.
        path: PathBuf,
        /// The limit.
        size_bytes_max: usize,
    },
    /// A record is not what this version writes.
    #[error("the record `{key}` in `{path}` is damaged")]
    Record {
        /// The database's file.
        path: PathBuf,
        /// The record's key.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The store was made by a newer Kiln.
    #[error("the store `{root}` has format {found}, and this kiln knows only format {known}")]
    Version {
        /// The store.
        root: PathBuf,
        /// Its format.
        found: String,
        /// What is understood.
        known: &'static str,
    },
    /// The index of a layer cannot be written.
    #[error("cannot write the index `{path}`")]
    Index {
        /// The index.
        path: PathBuf,
        /// Why not.
        source: layer::erofs::IndexError,
    },
    /// The list of where a layer's files are is damaged.
    #[error("cannot read layer {id}")]
    Extents {
        /// The layer.
        id: crate::LayerId,
        /// What is wrong with it.
        source: layer::erofs::ExtentsError,
    },
    /// A blob is not what its name says.
    #[error("blob is corrupt: expected {expected}, got {actual} ({size_bytes} bytes)")]
    DigestMismatch {
        /// The blob's name.
        expected: Digest,
        /// What its bytes hash to.
        actual: Digest,
        /// How many bytes there are.
        size_bytes: u64,
    },
    /// An image was removed while it got a name.
    #[error("cannot name image {id} `{name}`: it was removed meanwhile")]
    ImageGone {
        /// The name.
        name: String,
        /// The image.
        id: Digest,
    },
    /// A layer that a record names is not there.
    #[error("layer {id} is missing from `{root}`")]
    LayerMissing {
        /// The layer.
        id: crate::LayerId,
        /// The store.
        root: PathBuf,
    },
    /// A file of a layer that a record names is not there.
    #[error("`{path}` of layer {id} is missing")]
    LayerIncomplete {
        /// The layer.
        id: crate::LayerId,
        /// What is missing.
        path: PathBuf,
    },
    /// A layer is not what its record says.
    #[error("layer {id} is damaged")]
    LayerDamaged {
        /// The layer.
        id: crate::LayerId,
        /// What is wrong with it.
        source: layer::audit::Damage,
    },
    /// A blob was not what its name says, and was removed.
    #[error("blob {expected} is damaged: its bytes have the digest {actual}")]
    BlobDamaged {
        /// The blob's name.
        expected: Digest,
        /// What its bytes hash to.
        actual: Digest,
    },
    /// The list of a layer's entries cannot be read.
    #[error("the entries of layer {id} are damaged")]
    Entries {
        /// The layer.
        id: crate::LayerId,
        /// What is wrong with them.
        source: layer::EntriesFormatError,
    },
}

impl StoreError {
    /// Returns a closure that says what was to be done to which file.
    pub(crate) fn file<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source: source.into() }
    }

    /// Says of a file that is missing which layer it belongs to.
    pub(crate) fn of_layer(self, id: crate::LayerId) -> Self {
        match self {
            Self::File { path, source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Self::LayerIncomplete { id, path }
            }
            error => error,
        }
    }

    /// Returns a closure that says whose list of entries is damaged.
    pub fn entries(id: crate::LayerId) -> impl FnOnce(layer::EntriesFormatError) -> Self {
        move |source| Self::Entries { id, source }
    }

    /// Returns the layer whose files are not what its record says, if that is what is wrong.
    pub fn damaged_layer(&self) -> Option<crate::LayerId> {
        match self {
            Self::LayerMissing { id, .. }
            | Self::LayerDamaged { id, .. }
            | Self::LayerIncomplete { id, .. }
            | Self::Entries { id, .. }
            | Self::Extents { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// Tells whether the disk is full, so that callers can say what to do about it.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::File { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            Self::Database { source: heed::Error::Io(source), .. } => source.kind() == io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}
