//! Where things lie under the root of a store; the tree is drawn at the top of the crate.

use std::path::{Path, PathBuf};

use oci::Digest;

use crate::{ContainerId, LayerId};

/// The root directory of a store, and the names of all that lies in it.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

/// The directories that exist in every store, made when it is opened first.
pub(crate) const DIRECTORIES: &[&str] =
    &["layers", "blobs/sha256", "drafts", "live", "trash", "locks", "cache-mounts", "containers"];

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn meta(&self) -> PathBuf {
        self.root.join("meta.mdb")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.root.join("cache.mdb")
    }

    pub(crate) fn cache_state(&self) -> PathBuf {
        self.root.join("cache.state")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub(crate) fn layer(&self, id: &LayerId) -> PathBuf {
        self.layers().join(id.to_string())
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(crate) fn cache_mounts(&self) -> PathBuf {
        self.root.join("cache-mounts")
    }

    /// An id may be any text, a path most often; `key` is its digest.
    pub(crate) fn cache_mount(&self, key: &Digest) -> PathBuf {
        self.cache_mounts().join(key.hex())
    }

    pub(crate) fn contexts(&self) -> PathBuf {
        self.root.join("contexts")
    }

    pub(crate) fn drafts(&self) -> PathBuf {
        self.root.join("drafts")
    }

    pub(crate) fn live(&self) -> PathBuf {
        self.root.join("live")
    }

    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    pub(crate) fn step_locks(&self) -> PathBuf {
        self.locks().join("steps")
    }

    pub(crate) fn collection_turn(&self) -> PathBuf {
        self.locks().join("collection")
    }

    pub(crate) fn history(&self) -> PathBuf {
        self.root.join("history")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(crate) fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id.to_string())
    }
}
