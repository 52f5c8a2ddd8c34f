//! Why a tar cannot be unpacked.

use crate::path::PathError;
use crate::stack::ResolveError;
use crate::tar::TarError;
use crate::tree::TreeError;

/// Why a tar cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It cannot be read.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// Its files cannot be written.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A name leads through links that lead nowhere.
    #[error("cannot unpack `{name}`")]
    Resolve {
        /// The name in the archive.
        name: String,
        /// Why.
        source: ResolveError,
    },
    /// A name cannot be that of a file.
    #[error("cannot unpack `{name}`")]
    Name {
        /// The name in the archive.
        name: String,
        /// Why.
        source: PathError,
    },
    /// A name leads out of the directory that is unpacked into.
    #[error("cannot unpack `{name}`: the path is outside of the directory that the archive is unpacked into")]
    Outside {
        /// The name in the archive.
        name: String,
    },
    /// The root is a directory, and the archive says otherwise.
    #[error("cannot unpack `{name}`: it would replace the root directory")]
    Root {
        /// The name in the archive.
        name: String,
    },
    /// A deletion of nothing.
    #[error("cannot unpack `{name}`: invalid whiteout name")]
    Whiteout {
        /// The name in the archive.
        name: String,
    },
}
