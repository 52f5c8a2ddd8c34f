//! Where the files of an export are put: a directory, or a tar in a file or on standard output.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use layer::tar::{TarOptions, Writer};
use layer::{ContentHash, Entry, EntryPathBuf, Kind, Metadata};

use super::draft::FileDraft;
use crate::Error;

const BUFFER_BYTES: usize = 1 << 20;

/// Where an export goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A tar, written to this file.
    File(PathBuf),
    /// A tar, written to standard output.
    Stdout,
    /// This directory.
    Directory(PathBuf),
}

/// Takes the files of an export, one after the other.
pub(crate) enum Sink {
    /// Into a directory. Files that are there already stay if they are blobs, whose names say what they are.
    Directory(PathBuf),
    /// Into a tar.
    Tar {
        /// Boxed, since a tar's writer is large.
        writer: Box<Writer<Box<dyn Write + Send>>>,
        /// The file, which is put in its place at the end; `None` of standard output, a device or a pipe.
        draft: Option<FileDraft>,
    },
}

impl Sink {
    pub(crate) fn open(destination: &Destination) -> Result<Self, Error> {
        let tar = |out: Box<dyn Write + Send>, draft| {
            let out: Box<dyn Write + Send> = Box::new(BufWriter::with_capacity(BUFFER_BYTES, out));
            Self::Tar { writer: Box::new(Writer::new(out, TarOptions::FILE_SYSTEM)), draft }
        };
        match destination {
            Destination::Directory(path) => {
                fs::create_dir_all(path).map_err(Error::file("create", path))?;
                Ok(Self::Directory(path.clone()))
            }
            Destination::Stdout => Ok(tar(Box::new(io::stdout()), None)),
            Destination::File(path) => {
                let (file, draft) = open_file(path)?;
                Ok(tar(Box::new(file), draft))
            }
        }
    }

    /// Tells whether a file is there already.
    pub(crate) fn has(&self, path: &str) -> bool {
        match self {
            Self::Directory(root) => root.join(path).exists(),
            Self::Tar { .. } => false,
        }
    }

    /// Reads a small file that is there already.
    pub(crate) fn read(&self, path: &str) -> Option<Vec<u8>> {
        match self {
            Self::Directory(root) => fs::read(root.join(path)).ok(),
            Self::Tar { .. } => None,
        }
    }

    /// Makes a directory.
    pub(crate) fn directory(&mut self, path: &str) -> Result<(), Error> {
        match self {
            Self::Directory(root) => {
                let path = root.join(path);
                fs::create_dir_all(&path).map_err(Error::file("create", &path))
            }
            Self::Tar { writer, .. } => {
                let path = EntryPathBuf::clean(path.as_bytes());
                let path = path.map_err(|error| Error::Bug(error.to_string()))?;
                append(writer, path, Kind::Directory { opaque: false }, 0o755, &mut io::empty())
            }
        }
    }

    /// Writes a file of `size_bytes`.
    pub(crate) fn file(&mut self, path: &str, size_bytes: u64, content: &mut dyn Read) -> Result<(), Error> {
        store::fault::point("export.write").map_err(Error::file("write", Path::new(path)))?;
        match self {
            Self::Directory(root) => {
                let path = root.join(path);
                let draft = FileDraft::create(&path)?;
                io::copy(content, &mut draft.writer()?).map_err(Error::file("write", &path))?;
                draft.commit()
            }
            Self::Tar { writer, .. } => {
                let path = EntryPathBuf::clean(path.as_bytes());
                let path = path.map_err(|error| Error::Bug(error.to_string()))?;
                let kind = Kind::File { size_bytes, content: ContentHash([0; 32]) };
                append(writer, path, kind, 0o644, content)
            }
        }
    }

    /// Ends the export, and puts a tar in its place. What is dropped before leaves nothing of a tar.
    pub(crate) fn finish(self) -> Result<(), Error> {
        let Self::Tar { writer, draft } = self else { return Ok(()) };
        let path = draft.as_ref().map_or(Path::new("-"), FileDraft::target);
        let failed = |source| Error::file::<io::Error>("write", path)(source);
        let mut out = writer.finish().map_err(|error| failed(io::Error::other(error)))?;
        out.flush().map_err(failed)?;
        drop(out);
        draft.map_or(Ok(()), FileDraft::commit)
    }
}

/// Opens a file to be written. A file of this name stays whole until the new one is, and is committed. A device or a pipe is written to as it is.
pub(crate) fn open_file(path: &Path) -> Result<(File, Option<FileDraft>), Error> {
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        let file = File::options().write(true).open(path).map_err(Error::file("open", path))?;
        return Ok((file, None));
    }
    let draft = FileDraft::create(path)?;
    Ok((draft.writer()?, Some(draft)))
}

fn append(
    writer: &mut Writer<Box<dyn Write + Send>>,
    path: EntryPathBuf,
    kind: Kind<'_>,
    mode: u16,
    content: &mut dyn Read,
) -> Result<(), Error> {
    let metadata = Metadata { mode, ..Metadata::default() };
    let entry = Entry { path: path.as_path(), kind, metadata };
    let appended = writer.append(&entry, content);
    appended.map_err(|source| Error::File {
        action: "write",
        path: PathBuf::from(path.to_string()),
        source: io::Error::other(source),
    })
}
