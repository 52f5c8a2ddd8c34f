//! Where the files of an export are put: a directory, or a tar in a file or on standard output.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use layer::tar::{BLOCK_BYTES, TarOptions, TarWriteError, Writer, header_of};
use layer::{ContentHash, Entry, EntryPathBuf, Kind, Metadata};

use super::draft::FileDraft;
use crate::Error;
use crate::pieces::copy;

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
        /// What messages call it.
        path: PathBuf,
    },
}

/// Room at the end of a tar for a file that is written before it is known what it is: its header follows when it is.
pub(crate) struct Room<'a> {
    draft: &'a FileDraft,
    /// Where the header is to be.
    start: u64,
}

impl Room<'_> {
    /// Up to this length a file can be written so: the header of a longer one may have another length (POSIX, ustar: the length has eleven octal digits).
    pub(crate) const BYTES_MAX: u64 = 4 << 30;

    /// Returns where the tar is to be.
    pub(crate) fn path(&self) -> &Path {
        self.draft.target()
    }

    /// Returns what writes to where the content goes.
    pub(crate) fn begin(&self) -> Result<File, Error> {
        let mut file = self.draft.writer()?;
        let content = self.start + BLOCK_BYTES as u64;
        file.seek(SeekFrom::Start(content)).map_err(Error::file("write", self.draft.target()))?;
        Ok(file)
    }

    /// Makes what was written a file of the tar.
    pub(crate) fn keep(self, path: &str, size_bytes: u64) -> Result<(), Error> {
        let clean = clean(path)?;
        let header = header_of(&blob(&clean, size_bytes), TarOptions::FILE_SYSTEM);
        let header = header.map_err(|error| Error::Bug(error.to_string()))?;
        if header.len() != BLOCK_BYTES {
            return Err(Error::Bug(format!("the header of `{path}` has {} bytes", header.len())));
        }
        let end = self.start + BLOCK_BYTES as u64 + size_bytes;
        let failed = Error::file("write", self.draft.target());
        let file = self.draft.writer()?;
        store::fault::point("export.write").and_then(|()| file.write_all_at(&header, self.start)).map_err(failed)?;
        self.end_at(end.next_multiple_of(BLOCK_BYTES as u64))
    }

    /// Takes away what was written.
    pub(crate) fn discard(self) -> Result<(), Error> {
        self.end_at(self.start)
    }

    fn end_at(&self, end: u64) -> Result<(), Error> {
        let mut file = self.draft.writer()?;
        let ended = file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end)));
        ended.map(drop).map_err(Error::file("write", self.draft.target()))
    }
}

fn clean(path: &str) -> Result<EntryPathBuf, Error> {
    EntryPathBuf::clean(path.as_bytes()).map_err(|error| Error::Bug(error.to_string()))
}

fn blob(path: &EntryPathBuf, size_bytes: u64) -> Entry<'_> {
    let kind = Kind::File { size_bytes, content: ContentHash([0; 32]) };
    Entry { path: path.as_path(), kind, metadata: Metadata { mode: 0o644, ..Metadata::default() } }
}

impl Sink {
    pub(crate) fn open(destination: &Destination) -> Result<Self, Error> {
        let tar = |out: Box<dyn Write + Send>, draft, path: &Path| {
            let out: Box<dyn Write + Send> = Box::new(BufWriter::with_capacity(BUFFER_BYTES, out));
            Self::Tar { writer: Box::new(Writer::new(out, TarOptions::FILE_SYSTEM)), draft, path: path.to_owned() }
        };
        match destination {
            Destination::Directory(path) => {
                fs::create_dir_all(path).map_err(Error::file("create", path))?;
                Ok(Self::Directory(path.clone()))
            }
            Destination::Stdout => Ok(tar(Box::new(io::stdout()), None, Path::new("-"))),
            Destination::File(path) => {
                let (file, draft) = open_file(path)?;
                Ok(tar(Box::new(file), draft, path))
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
            Self::Tar { writer, path: archive, .. } => {
                let (path, kind) = (clean(path)?, Kind::Directory { opaque: false });
                let metadata = Metadata { mode: 0o755, ..Metadata::default() };
                append((writer, archive), &Entry { path: path.as_path(), kind, metadata }, &mut io::empty())
            }
        }
    }

    /// Returns room for a file that is not known yet; `None` where files have to be.
    pub(crate) fn room(&mut self) -> Result<Option<Room<'_>>, Error> {
        let Self::Tar { writer, draft: Some(draft), .. } = self else { return Ok(None) };
        let failed = |source| Error::file::<io::Error>("write", draft.target())(source);
        writer.flush().map_err(|error| failed(cause(error)))?;
        let start = draft.writer()?.stream_position().map_err(failed)?;
        Ok(Some(Room { draft, start }))
    }

    /// Writes a file of `size_bytes`.
    pub(crate) fn file(&mut self, path: &str, size_bytes: u64, content: &mut dyn Read) -> Result<(), Error> {
        store::fault::point("export.write").map_err(Error::file("write", Path::new(path)))?;
        match self {
            Self::Directory(root) => {
                let path = root.join(path);
                let draft = FileDraft::create(&path)?;
                copy(content, &mut draft.writer()?).map_err(Error::file("write", &path))?;
                draft.commit()
            }
            Self::Tar { writer, path: archive, .. } => {
                append((writer, archive), &blob(&clean(path)?, size_bytes), content)
            }
        }
    }

    /// Ends the export, and puts a tar in its place. What is dropped before leaves nothing of a tar.
    pub(crate) fn finish(self) -> Result<(), Error> {
        let Self::Tar { writer, draft, path } = self else { return Ok(()) };
        let failed = |source| Error::file::<io::Error>("write", &path)(source);
        let mut out = writer.finish().map_err(|error| failed(cause(error)))?;
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
    (writer, archive): (&mut Writer<Box<dyn Write + Send>>, &Path),
    entry: &Entry<'_>,
    content: &mut dyn Read,
) -> Result<(), Error> {
    let failed = Error::file::<io::Error>("write", archive);
    writer.append(entry, content).map_err(|error| failed(cause(error)))
}

/// Returns what went wrong with the place that is written to, or else what went wrong.
fn cause(error: TarWriteError) -> io::Error {
    match error {
        TarWriteError::Output { source } => source,
        error => io::Error::other(error),
    }
}
