//! What is stored: blobs and manifests by repository, uploads that are not finished, plain files.

use std::collections::{BTreeMap, BTreeSet};

use hyper::body::Bytes;
use oci::Digest;

use super::files::File;

/// Everything that is stored.
#[derive(Default)]
pub(super) struct Contents {
    repositories: BTreeMap<String, Repository>,
    pub(super) uploads: BTreeMap<String, Vec<u8>>,
    /// How many uploads were begun.
    pub(super) begun: usize,
    pub(super) files: BTreeMap<String, File>,
}

#[derive(Default)]
struct Repository {
    blobs: BTreeMap<Digest, Bytes>,
    manifests: BTreeMap<Digest, Manifest>,
    tags: BTreeMap<String, Digest>,
}

/// A manifest with the media type it was stored under.
#[derive(Clone)]
pub(super) struct Manifest {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
}

impl Contents {
    pub(super) fn put_blob(&mut self, repository: &str, bytes: Bytes) -> Digest {
        let digest = Digest::of(&bytes);
        self.repository(repository).blobs.insert(digest, bytes);
        digest
    }

    pub(super) fn blob(&self, repository: &str, digest: &Digest) -> Option<Bytes> {
        self.repositories.get(repository)?.blobs.get(digest).cloned()
    }

    /// `name` is a tag, a digest or empty.
    pub(super) fn put_manifest(&mut self, repository: &str, name: &str, media_type: &str, bytes: Bytes) -> Digest {
        let digest = Digest::of(&bytes);
        let repository = self.repository(repository);
        if !name.is_empty() && name.parse::<Digest>().is_err() {
            repository.tags.insert(name.to_owned(), digest);
        }
        let media_type = media_type.to_owned();
        repository.manifests.insert(digest, Manifest { media_type, digest, bytes });
        digest
    }

    /// `name` is a tag or a digest.
    pub(super) fn manifest(&self, repository: &str, name: &str) -> Option<Manifest> {
        let repository = self.repositories.get(repository)?;
        let digest = name.parse().ok().or_else(|| repository.tags.get(name).copied())?;
        repository.manifests.get(&digest).cloned()
    }

    pub(super) fn has_repository(&self, repository: &str) -> bool {
        self.repositories.contains_key(repository)
    }

    pub(super) fn tags(&self, repository: &str) -> BTreeSet<String> {
        self.repositories.get(repository).map(|it| it.tags.keys().cloned().collect()).unwrap_or_default()
    }

    fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }
}
