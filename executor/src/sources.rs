//! Sources from elsewhere: files behind URLs and commits of git repositories, fetched at most once in a build and found again by later builds.
//!
//! A file is found again if its server says that it is the same (`ETag`, `Last-Modified`) or if its checksum is given; a commit by its hash.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use llb::{GitSource, HttpSource, Selection};
use oci::{Digest, Hasher, Timestamp};
use solver::StepError;
use store::{Layer, RemoteRecord};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::blocking::failed;
use crate::git::{self, Commit};
use crate::http::{self, Answer};
use crate::layers::finish;
use crate::network::Networks;
use crate::{ExecError, Fetcher, Secrets, StepLimits};

/// What was fetched from elsewhere.
#[derive(Clone)]
pub struct Remote {
    /// A layer with its files.
    pub layer: Layer,
    /// When it was changed last: what the server says, or when the commit was made.
    pub time: Option<Timestamp>,
}

/// Values that are found out once, by what they are found out of.
type Once<K, V> = Mutex<HashMap<K, Arc<OnceCell<V>>>>;

/// Fetches what a build needs from elsewhere.
pub struct Sources {
    pub(crate) shared: Fetcher,
    pub(crate) secrets: Arc<Secrets>,
    /// The limits of commands.
    pub(crate) limits: StepLimits,
    /// The networks of commands; to be closed when all have ended.
    pub networks: Arc<Networks>,
    remotes: Once<Digest, Remote>,
    commits: Once<(String, String, String), Commit>,
}

impl Sources {
    /// Prepares for a build; nothing is asked of anybody.
    pub fn new(shared: Fetcher, secrets: Secrets, limits: StepLimits) -> Self {
        let (remotes, commits) = (Mutex::default(), Mutex::default());
        Self { shared, secrets: Arc::new(secrets), limits, networks: Arc::default(), remotes, commits }
    }

    /// Returns the file behind a URL, as a layer. Progress is that of `step`.
    pub async fn http(
        &self,
        source: &HttpSource,
        step: Digest,
        cancel: &CancellationToken,
    ) -> Result<Remote, StepError<ExecError>> {
        let key = http::key(source);
        let cell = cell(&self.remotes, key);
        cell.get_or_try_init(|| self.download(source, key, step, cancel)).await.cloned()
    }

    async fn download(
        &self,
        source: &HttpSource,
        key: Digest,
        step: Digest,
        cancel: &CancellationToken,
    ) -> Result<Remote, StepError<ExecError>> {
        let found = self.shared.store.remote(&key).map_err(failed)?;
        if let (Some((record, layer)), Some(_)) = (&found, &source.checksum) {
            return Ok(Remote { layer: layer.clone(), time: record.last_modified });
        }
        let draft = self.shared.store.draft_layer().map_err(failed)?;
        let known = found.as_ref().map(|(record, _)| record);
        match http::download(&self.shared, &self.secrets, source, known, (&draft.tree(), step), cancel).await? {
            Answer::Same => {
                let (record, layer) = found.ok_or_else(|| failed(ExecError::Thread))?;
                Ok(Remote { layer, time: record.last_modified })
            }
            Answer::New { written, head } => {
                let layer = finish(draft, *written).await.map_err(failed)?;
                let remote = Remote { layer, time: head.last_modified };
                if source.checksum.is_some() || head.etag.is_some() || head.last_modified.is_some() {
                    self.record(key, &remote, (head.etag, None)).await.map_err(failed)?;
                }
                Ok(remote)
            }
        }
    }

    /// Returns the files of a commit, as a layer. Progress is that of `step`.
    pub async fn git(
        &self,
        source: &GitSource,
        step: Digest,
        cancel: &CancellationToken,
    ) -> Result<Remote, StepError<ExecError>> {
        let commit = self.commit(source, cancel).await?;
        let key = git::key(source, &commit);
        let cell = cell(&self.remotes, key);
        let fetched = cell.get_or_try_init(|| async {
            if let Some((record, layer)) = self.shared.store.remote(&key).map_err(failed)? {
                return Ok(Remote { layer, time: record.last_modified });
            }
            let fetched = git::fetch(source, &commit, &self.secrets, (&self.shared, step), cancel).await?;
            let remote = Remote { layer: fetched.layer, time: fetched.time };
            let repository = format!("{}#{}", source.remote, source.reference);
            let repository = repository.trim_end_matches('#').to_owned();
            self.record(key, &remote, (None, Some(repository))).await.map_err(failed)?;
            Ok(remote)
        });
        fetched.await.cloned()
    }

    /// Returns the commit that a source means today.
    async fn commit(&self, source: &GitSource, cancel: &CancellationToken) -> Result<Commit, StepError<ExecError>> {
        let key = (source.remote.clone(), source.reference.clone(), source.checksum.clone());
        let cell = cell(&self.commits, key);
        let resolved = cell.get_or_try_init(|| git::resolve(source, &self.secrets, &self.shared.store, cancel));
        resolved.await.cloned()
    }

    /// Returns the digest of what a step sees of a commit, without fetching it.
    pub(crate) async fn git_pin(
        &self,
        source: &GitSource,
        selection: Option<&Selection>,
        cancel: &CancellationToken,
    ) -> Result<Digest, StepError<ExecError>> {
        let commit = self.commit(source, cancel).await?;
        let mut hasher = Hasher::new();
        hasher.field(git::key(source, &commit).as_bytes());
        hasher.field(selection.map(Selection::digest).as_ref().map_or(&[], |digest| digest.as_bytes().as_slice()));
        Ok(hasher.finish())
    }

    /// Records what was fetched, with the version that its server calls it, or the repository that it is of.
    async fn record(
        &self,
        key: Digest,
        remote: &Remote,
        (etag, repository): (Option<String>, Option<String>),
    ) -> Result<(), ExecError> {
        let layer = remote.layer.record().await?;
        let (last_modified, fetched) = (remote.time, Timestamp::now());
        let record = RemoteRecord { layer: layer.id, etag, last_modified, repository, fetched };
        self.shared.store.put_remote(&key, &record, (remote.layer.clone(), (*layer).clone()))?;
        Ok(())
    }
}

fn cell<K: Eq + Hash, V>(cells: &Once<K, V>, key: K) -> Arc<OnceCell<V>> {
    cells.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone()
}
