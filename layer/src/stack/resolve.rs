//! Following symbolic links inside the root, as a process would that has it as its root directory.
//!
//! An absolute link starts at the root again, `..` stops at the root, and nothing ever leads out.

use std::collections::VecDeque;

use super::lookup::{Found, Stack};
use crate::entry::Kind;
use crate::path::{EntryPath, EntryPathBuf, PathError, text};

/// How many symbolic links one path leads through at most.
pub const SYMLINKS_MAX: usize = 255;

/// What is done where the last component of a path is a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// It is followed; a path with `/` at its end is always followed.
    All,
    /// It is left; links before it are followed.
    Parents,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// The path without symbolic links, except for the last component where that was not followed.
    pub path: EntryPathBuf,
    /// What is there; `None` means nothing, and then some of the directories above may be missing too.
    pub found: Option<Found<'a>>,
}

/// Why a path leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Links lead to each other.
    #[error("too many levels of symbolic links in `{path}`: more than {SYMLINKS_MAX}")]
    Loop {
        /// The path that was to be resolved.
        path: String,
    },
    /// It leads through something that is no directory.
    #[error("cannot follow `{path}`: `{file}` is not a directory")]
    NotADirectory {
        /// The path that was to be resolved.
        path: String,
        /// What is not a directory.
        file: String,
    },
    /// It cannot be the path of a file.
    #[error("cannot follow `{path}`")]
    Path {
        /// The path that was to be resolved.
        path: String,
        /// Why.
        source: PathError,
    },
}

/// What is at a path, as far as resolving is concerned.
pub(crate) enum Seen {
    Directory,
    Symlink(Vec<u8>),
    Other,
    Missing,
}

impl Seen {
    pub(crate) fn of(kind: Option<Kind<'_>>) -> Self {
        match kind {
            None | Some(Kind::Whiteout) => Self::Missing,
            Some(Kind::Directory { .. }) => Self::Directory,
            Some(Kind::Symlink { target }) => Self::Symlink(target.to_vec()),
            Some(_) => Self::Other,
        }
    }
}

impl Stack {
    /// Returns where a path leads, as written by a user: absolute or relative to the root, with `.` and `..`.
    pub fn resolve(&self, written: &[u8], follow: Follow) -> Result<Resolved<'_>, ResolveError> {
        let seen = |path: EntryPath<'_>| Seen::of(self.lookup(path).map(|found| self.target(&found).entry.kind));
        let path = resolve(EntryPath::ROOT, written, follow, seen)?;
        let found = self.lookup(path.as_path());
        Ok(Resolved { path, found })
    }
}

/// Resolves `written` with `root` as the directory that is never left; `see` says what is at a path without links.
pub(crate) fn resolve(
    root: EntryPath<'_>,
    written: &[u8],
    follow: Follow,
    mut see: impl FnMut(EntryPath<'_>) -> Seen,
) -> Result<EntryPathBuf, ResolveError> {
    let whole = || text(written);
    let mut pending: VecDeque<Vec<u8>> = components(written).collect();
    let mut path = root.to_owned();
    let mut links = 0;
    while let Some(name) = pending.pop_front() {
        match name.as_slice() {
            b"." => continue,
            b".." => {
                let above = path.as_path().parent().filter(|above| above.is_within(root));
                path = above.unwrap_or(root).to_owned();
                continue;
            }
            _ => {}
        }
        let child = path.as_path().child(&name);
        let child = child.map_err(|source| ResolveError::Path { path: whole(), source })?;
        match see(child.as_path()) {
            Seen::Symlink(target) if follow == Follow::All || !pending.is_empty() => {
                links += 1;
                if links > SYMLINKS_MAX {
                    return Err(ResolveError::Loop { path: whole() });
                }
                if target.starts_with(b"/") {
                    path = root.to_owned();
                }
                let rest = std::mem::take(&mut pending);
                pending = components(&target).chain(rest).collect();
            }
            Seen::Other if !pending.is_empty() => {
                return Err(ResolveError::NotADirectory { path: whole(), file: child.to_string() });
            }
            Seen::Symlink(_) | Seen::Directory | Seen::Other | Seen::Missing => path = child,
        }
    }
    Ok(path)
}

/// Returns the components of a path; a `/` at the end counts as a last `.`, since it asks for a directory.
fn components(written: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let last = written.ends_with(b"/").then(|| b".".to_vec());
    let names = written.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    names.map(<[u8]>::to_vec).chain(last)
}
