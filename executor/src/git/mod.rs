//! Commits of git repositories as sources, by the git program.
//!
//! What a name means today is asked of the repository, once in a build; what a commit holds is fetched only if a step needs it and nobody fetched it before.
//! Files are 0644 or 0755, directories 0755; `.git` is left out unless it was asked for (specification, section 1.5).

mod auth;
mod program;
mod refs;

use std::path::Path;

use layer::{Lender, Mtime, Stack};
use llb::{CopySelection, FileAction, GitSource, Unpack};
use oci::{Digest, Hasher, Timestamp};
use solver::StepError;
use store::{Layer, Store};
use tokio_util::sync::CancellationToken;

use crate::blocking::{blocking, failed};
use crate::context::Context;
use crate::file::{Changes, CopySource, FileError, apply};
use crate::{ExecError, Fetcher, Secrets};
use auth::Auth;
use program::Program;

/// The commit that a source means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Its hash.
    pub(crate) hash: String,
    /// The full name of the ref; `None` where the source names the commit itself.
    name: Option<String>,
}

/// A commit that was fetched.
pub(crate) struct Fetched {
    pub(crate) layer: Layer,
    /// When the commit was made.
    pub(crate) time: Option<Timestamp>,
}

/// Returns the digest under which the files of a commit are found again.
pub(crate) fn key(source: &GitSource, commit: &Commit) -> Digest {
    let mut hasher = Hasher::new();
    hasher.field(b"kiln git 1");
    hasher.field(commit.hash.as_bytes());
    hasher.field(source.subdir.as_bytes());
    hasher.field(&[source.keep_git_dir, source.skip_submodules, source.commit_times].map(u8::from));
    // What is in `.git` says where it came from.
    hasher.field(if source.keep_git_dir { source.remote.as_bytes() } else { b"" });
    hasher.finish()
}

/// Finds out which commit a source means, and that it is the expected one.
pub(crate) async fn resolve(
    source: &GitSource,
    secrets: &Secrets,
    store: &Store,
    cancel: &CancellationToken,
) -> Result<Commit, StepError<ExecError>> {
    let commit = if refs::is_commit(&source.reference) {
        Commit { hash: source.reference.clone(), name: None }
    } else {
        let auth = Auth::find(secrets, &source.remote, store).map_err(failed)?;
        let program = Program { auth: &auth, reporter: None, cancel };
        let patterns = refs::patterns(&source.reference);
        let args: Vec<&str> =
            ["ls-remote", "--", &source.remote].into_iter().chain(patterns.iter().map(String::as_str)).collect();
        let action = format!("look up `{}` in `{}`", shown(&source.reference), source.remote);
        let printed = program.run(store.root(), &args, &action).await?;
        let unknown = || {
            let (remote, reference) = (source.remote.clone(), shown(&source.reference).to_owned());
            failed(ExecError::GitReference { remote, reference })
        };
        let (hash, name) = refs::find(&printed, &source.reference).ok_or_else(unknown)?;
        Commit { hash, name: Some(name) }
    };
    if !commit.hash.starts_with(&source.checksum.to_ascii_lowercase()) {
        let (expected, actual) = (source.checksum.clone(), commit.hash);
        return Err(failed(ExecError::GitChecksum { remote: source.remote.clone(), expected, actual }));
    }
    Ok(commit)
}

fn shown(reference: &str) -> &str {
    if reference.is_empty() { "HEAD" } else { reference }
}

/// Fetches a commit and makes a layer of its files.
pub(crate) async fn fetch(
    source: &GitSource,
    commit: &Commit,
    secrets: &Secrets,
    (shared, step): (&Fetcher, Digest),
    cancel: &CancellationToken,
) -> Result<Fetched, StepError<ExecError>> {
    let dir = shared.store.temporary_dir().map_err(failed)?;
    let auth = Auth::find(secrets, &source.remote, &shared.store).map_err(failed)?;
    let program = Program { auth: &auth, reporter: Some((&shared.reporter, step)), cancel };
    let fetched = checkout(source, commit, &program, &dir).await;
    let made = match fetched {
        Ok(time) => layer_of(source, shared, &dir, time).await.map_err(failed),
        Err(error) => Err(error),
    };
    // It would go away with this process at the latest.
    let removed = blocking(move || std::fs::remove_dir_all(&dir).map_err(ExecError::file("remove", &dir))).await;
    let made = made?;
    removed.map_err(failed)?;
    Ok(made)
}

/// Gets the files of a commit into an empty directory, and returns when the commit was made.
async fn checkout(
    source: &GitSource,
    commit: &Commit,
    program: &Program<'_>,
    dir: &Path,
) -> Result<Option<Timestamp>, StepError<ExecError>> {
    let action = format!("fetch `{}`", source.remote);
    let quiet = Program { reporter: None, ..*program };
    let format = format!("--object-format={}", refs::object_format(&commit.hash));
    quiet.run(dir, &["init", "--quiet", &format], &action).await?;
    quiet.run(dir, &["remote", "add", "origin", &source.remote], &action).await?;
    get(source, commit, &quiet, dir, &action).await?;
    let action = format!("check out commit {} of `{}`", commit.hash, source.remote);
    program.run(dir, &["checkout", "--quiet", "--detach", &commit.hash], &action).await?;
    if !source.skip_submodules && dir.join(".gitmodules").exists() {
        let action = format!("fetch the submodules of `{}`", source.remote);
        let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
        // Not every server gives a part of a history.
        if or_cancelled(quiet.run(dir, &[update.as_slice(), &["--depth=1"]].concat(), &action).await)?.is_none() {
            program.run(dir, &update, &action).await?;
        }
    }
    let printed = quiet.run(dir, &["show", "--no-patch", "--format=%ct", &commit.hash], &action).await?;
    Ok(printed.trim().parse().ok().and_then(|seconds| Timestamp::from_unix(seconds, 0)))
}

/// Fetches as little as the server lets us: the commit alone, its branch or tag alone, everything.
async fn get(
    source: &GitSource,
    commit: &Commit,
    program: &Program<'_>,
    dir: &Path,
    action: &str,
) -> Result<(), StepError<ExecError>> {
    let fetch = ["fetch", "--quiet", "--no-recurse-submodules"];
    let wanted = [Some(commit.hash.as_str()), commit.name.as_deref()];
    for name in wanted.into_iter().flatten() {
        let args = [fetch.as_slice(), &["--depth=1", "--no-tags", "origin", name]].concat();
        if or_cancelled(program.run(dir, &args, action).await)?.is_some() && has(program, dir, commit).await? {
            return Ok(());
        }
    }
    let everything = ["--tags", "origin", "+refs/heads/*:refs/remotes/origin/*"];
    let whole: &[&str] = if dir.join(".git/shallow").exists() { &["--unshallow"] } else { &[] };
    program.run(dir, &[fetch.as_slice(), whole, &everything].concat(), action).await?;
    if has(program, dir, commit).await? {
        return Ok(());
    }
    let (remote, reference) = (source.remote.clone(), commit.hash.clone());
    Err(failed(ExecError::GitReference { remote, reference }))
}

async fn has(program: &Program<'_>, dir: &Path, commit: &Commit) -> Result<bool, StepError<ExecError>> {
    let object = format!("{}^{{commit}}", commit.hash);
    Ok(or_cancelled(program.run(dir, &["cat-file", "-e", &object], "look for a commit").await)?.is_some())
}

/// Makes nothing of a failure, but not of a cancellation.
fn or_cancelled<T>(result: Result<T, StepError<ExecError>>) -> Result<Option<T>, StepError<ExecError>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(StepError::Cancelled) => Err(StepError::Cancelled),
        Err(StepError::Failed(error @ ExecError::GitProgram { .. })) => Err(failed(error)),
        Err(StepError::Failed(_)) => Ok(None),
    }
}

async fn layer_of(
    source: &GitSource,
    shared: &Fetcher,
    dir: &Path,
    time: Option<Timestamp>,
) -> Result<Fetched, ExecError> {
    let (ladder, dir, source, store) = (shared.ladder.clone(), dir.to_owned(), source.clone(), shared.store.clone());
    let layer = blocking(move || {
        let new = ladder.new_layer()?;
        let writer = new.writer(Lender::default(), Stack::default())?;
        let left_out: &[String] = if source.keep_git_dir { &[] } else { &[".git".to_owned(), "**/.git".to_owned()] };
        let mut files = Context::open(&dir, left_out, store)?.scan(None)?;
        if let Some(time) = time.filter(|_| source.commit_times) {
            files.set_times(Mtime::from_seconds(time.unix_seconds()));
        }
        // The directory is looked for among the files of the repository: no link of it leads anywhere else.
        let selection = CopySelection { pattern: source.subdir.clone(), ..CopySelection::default() };
        let (destination, mode) = ("/".to_owned(), Some("u=rwX,go=rX".to_owned()));
        let copy = llb::Copy { input: 0, destination, owner: None, mode, unpack: Unpack::Never };
        let name = &source.remote;
        let from =
            |_| Ok(CopySource { stack: files.stack()?, selection: &selection, changes: Changes::Impossible, name });
        let written = apply(writer, &[FileAction::Copy(copy)], None, from).map_err(|error| match error {
            FileError::Changed { path } => ExecError::ContextChanges { path },
            FileError::Failed(error) => error,
        });
        Ok(new.complete(&written?)?.0)
    });
    Ok(Fetched { layer: layer.await?, time })
}
