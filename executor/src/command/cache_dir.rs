//! Cache mounts: which directory a command gets, and when.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use layer::{Stack, TreeWriter};
use llb::{CacheMount, CacheSharing, Copy, CopySelection, FileAction, Unpack};
use solver::StepError;
use store::{CacheDir, CacheUse, Store};
use tokio_util::sync::CancellationToken;

use super::held::Seed;
use crate::ExecError;
use crate::blocking::{blocking, failed};
use crate::file::{Changes, CopySource, FileError, apply};

/// How often a directory that others use is asked for again.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(20);
/// How many directories one private cache mount has at most.
const PRIVATE_DIRS_MAX: u32 = 4096;

/// Waits until a command may use the directory of a cache mount, and returns it; it is made and filled where it is missing.
///
/// When `cancel` is cancelled, nothing is held.
pub(super) async fn acquire(
    store: &Store,
    cache: &CacheMount,
    seed: Option<&Seed>,
    cancel: &CancellationToken,
) -> Result<CacheDir, StepError<ExecError>> {
    loop {
        let (opened, mount, seed) = (store.clone(), cache.clone(), seed.cloned());
        let found = blocking(move || find(&opened, &mount, seed.as_ref())).await.map_err(failed)?;
        if let Some(dir) = found {
            return Ok(dir);
        }
        tokio::select! {
            () = tokio::time::sleep(ATTEMPT_INTERVAL) => {}
            () = cancel.cancelled() => return Err(StepError::Cancelled),
        }
    }
}

/// Returns the first directory that may be used now.
fn find(store: &Store, cache: &CacheMount, seed: Option<&Seed>) -> Result<Option<CacheDir>, ExecError> {
    let (dirs, wanted) = match cache.sharing {
        CacheSharing::Shared => (1, CacheUse::Shared),
        CacheSharing::Locked => (1, CacheUse::Alone),
        CacheSharing::Private => (PRIVATE_DIRS_MAX, CacheUse::Alone),
    };
    for number in 0..dirs {
        let mut id = cache.id.clone();
        if let Some(seed) = seed {
            id.push_str(&format!(" from {}", seed.digest));
        }
        if number > 0 {
            id.push_str(&format!(" copy {number}"));
        }
        let mut failure = None;
        let fill = |dir: &Path| fill(dir, cache, seed).map_err(|error| note(&mut failure, error));
        let found = store.cache_dir(&id, wanted, fill);
        match (found, failure) {
            (Err(_), Some(failure)) => return Err(failure),
            (Ok(Some(dir)), _) => return Ok(Some(dir)),
            (Ok(None), _) => {}
            (Err(error), None) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Keeps an error that is not one of a file.
fn note(failure: &mut Option<ExecError>, error: ExecError) -> io::Error {
    let text = io::Error::other(error.to_string());
    *failure = Some(error);
    text
}

/// Fills a new directory.
fn fill(dir: &Path, cache: &CacheMount, seed: Option<&Seed>) -> Result<(), ExecError> {
    if let Some(seed) = seed {
        copy(dir, seed)?;
    }
    // An owner that is changed takes special bits away: the mode comes last.
    chown(dir, Some(cache.uid), Some(cache.gid)).map_err(ExecError::file("change the owner of", dir))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(cache.mode)).map_err(ExecError::file("change the mode of", dir))
}

fn copy(dir: &Path, seed: &Seed) -> Result<(), ExecError> {
    let selection = CopySelection { pattern: seed.path.clone(), ..CopySelection::default() };
    let copy = Copy { input: 0, destination: "/".to_owned(), owner: None, mode: None, unpack: Unpack::Never };
    let source = |_| {
        Ok(CopySource {
            stack: &seed.stack,
            selection: &selection,
            changes: Changes::Impossible,
            name: "the source of a cache mount",
        })
    };
    let root = fs::File::open(dir).map_err(ExecError::file("open", dir))?;
    let writer = TreeWriter::new(root.into(), Stack::default())?;
    match apply(writer, &[FileAction::Copy(copy)], None, source) {
        Ok(_) => Ok(()),
        Err(FileError::Changed { path }) => Err(ExecError::ContextChanges { path }),
        Err(FileError::Failed(error)) => Err(error),
    }
}
