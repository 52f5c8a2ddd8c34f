//! File operations: copies and directories, as a new layer on top of others. Nothing is mounted, and no path leads out of the layer.

mod copy;
mod mode;
mod owner;

use layer::{Entries, Entry, EntryPath, FileSource, FinishedTree, Follow, Metadata, Mtime, Stack, TreeWriter};
use llb::{CopySelection, FileAction, InlineFile, MakeDir};
use oci::{Digest, Hasher, Timestamp};

use crate::ExecError;

pub(crate) use owner::read_text;

/// What an action copies from.
pub(crate) struct CopySource<'a> {
    /// The files.
    pub(crate) stack: &'a Stack,
    /// Which of them.
    pub(crate) selection: &'a CopySelection,
    /// What becomes of those that change while they are read.
    pub(crate) changes: Changes,
    /// What users call it.
    pub(crate) name: &'a str,
}

/// What becomes of files of a source that change while they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changes {
    /// They cannot: nobody writes to layers.
    Impossible,
    /// All is to be done again with another look: the source is somebody's working directory.
    Refused,
    /// What is read last is taken, and what is gone is left out: some files never stand still.
    Taken,
}

impl Changes {
    /// Returns the pin of what was taken of a source whose files had this digest when they were looked at.
    pub(crate) fn pin(self, digest: Digest) -> Digest {
        if self == Self::Taken { unrepeatable(digest) } else { digest }
    }
}

/// Returns a pin that no build will ever look up: of files that were taken while they changed, nobody can say what is in them but whoever reads the layer.
fn unrepeatable(digest: Digest) -> Digest {
    let now = Timestamp::now();
    let mut hasher = Hasher::new();
    hasher.field(b"kiln changing files 1");
    hasher.field(digest.as_bytes());
    hasher.field(&now.unix_seconds().to_le_bytes());
    hasher.field(&now.subsec_nanoseconds().to_le_bytes());
    hasher.field(&std::process::id().to_le_bytes());
    hasher.finish()
}

/// Why actions could not be carried out.
pub(crate) enum FileError {
    /// A file of a source has changed since it was looked at: all is to be done again with another look.
    Changed {
        /// The file.
        path: String,
    },
    /// It failed.
    Failed(ExecError),
}

impl<E: Into<ExecError>> From<E> for FileError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Carries out actions in a new layer.
///
/// `before` is what they made the last time, of other files; `source` gives what an action's input is.
pub(crate) fn apply<'a>(
    writer: TreeWriter,
    actions: &[FileAction],
    before: Option<&Entries>,
    source: impl Fn(usize) -> Result<CopySource<'a>, FileError>,
) -> Result<FinishedTree, FileError> {
    let now = now();
    for action in actions {
        match action {
            FileAction::Copy(copy) => copy::copy(&writer, copy, &source(copy.input)?, (now, before))?,
            FileAction::MakeDir(dir) => make_dir(&writer, dir, (now, before))?,
        }
    }
    Ok(writer.finish()?)
}

/// Writes files whose content stands in the Dockerfile into a new layer.
pub(crate) fn write_inline(writer: TreeWriter, files: &[InlineFile]) -> Result<FinishedTree, ExecError> {
    let mtime = now();
    for file in files {
        let path = EntryPath::ROOT.child(file.name.as_bytes());
        let path = path.map_err(|source| ExecError::Path { path: file.name.clone(), source })?;
        let metadata = Metadata { mode: (file.mode & 0o7777) as u16, mtime, ..Metadata::default() };
        writer.make_file(path.as_path(), &metadata, FileSource::Bytes(file.content.as_bytes()))?;
    }
    Ok(writer.finish()?)
}

/// What directories get that are made on the way.
#[derive(Clone, Copy)]
struct Implied<'a> {
    metadata: Metadata<'static>,
    /// What the same actions made the last time. A directory that was made then and is made again is as old as it was: so the tar of the new layer begins like that of the one
    /// before, and its digest goes on from there.
    before: Option<&'a Entries>,
}

impl Implied<'_> {
    fn metadata_at(&self, path: EntryPath<'_>) -> Metadata<'static> {
        let is_same = |entry: &Entry<'_>| {
            let like = Metadata { mtime: entry.metadata.mtime, ..self.metadata };
            entry.kind.is_directory() && entry.metadata == like
        };
        let before = self.before.and_then(|before| before.get(path)).filter(is_same);
        Metadata { mtime: before.map_or(self.metadata.mtime, |entry| entry.metadata.mtime), ..self.metadata }
    }
}

fn make_dir(writer: &TreeWriter, dir: &MakeDir, (now, before): (Mtime, Option<&Entries>)) -> Result<(), ExecError> {
    let owner = dir.owner.as_deref().map(|owner| owner::resolve(writer.below(), owner)).transpose()?;
    let (uid, gid) = owner.unwrap_or((0, 0));
    let metadata = Metadata { mode: (dir.mode & 0o7777) as u16, uid, gid, mtime: now, ..Metadata::default() };
    make_directories(writer, &dir.path, &Implied { metadata, before })
}

/// Makes the directory that a command starts in, and those above it.
pub fn make_working_dir(writer: &TreeWriter, path: &str, uid: u32, gid: u32) -> Result<(), ExecError> {
    let metadata = Metadata { mode: 0o755, uid, gid, mtime: now(), ..Metadata::default() };
    make_directories(writer, path, &Implied { metadata, before: None })
}

/// Makes a directory and those above it, where they are missing; links in the path are followed.
fn make_directories(writer: &TreeWriter, path: &str, implied: &Implied<'_>) -> Result<(), ExecError> {
    let resolved = writer.resolve(path.as_bytes(), Follow::All);
    let resolved = resolved.map_err(|source| ExecError::Resolve { path: path.to_owned(), source })?;
    make_directories_at(writer, resolved.as_path(), implied)
}

fn make_directories_at(writer: &TreeWriter, path: EntryPath<'_>, implied: &Implied<'_>) -> Result<(), ExecError> {
    if path.is_root() {
        return Ok(());
    }
    make_parents(writer, path, implied)?;
    match writer.lookup(path) {
        None => Ok(writer.make_directory(path, &implied.metadata_at(path))?),
        Some(there) if there.as_entry().kind.is_directory() => Ok(()),
        Some(_) => Err(ExecError::NotADirectory { path: path.to_text() }),
    }
}

fn make_parents(writer: &TreeWriter, path: EntryPath<'_>, implied: &Implied<'_>) -> Result<(), ExecError> {
    Ok(writer.make_parents_with(path, |directory| implied.metadata_at(directory))?)
}

fn now() -> Mtime {
    let now = Timestamp::now();
    Mtime { seconds: now.unix_seconds(), nanoseconds: now.subsec_nanoseconds() }
}
