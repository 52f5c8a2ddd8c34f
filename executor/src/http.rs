//! Files behind URLs as sources: downloaded once in a build, as a layer with one file.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use layer::{Entries, EntryPath, FileSource, Metadata, Mtime, Stack, TreeWriter};
use llb::{Checksum, HttpSource, Selection};
use oci::{Digest, Hasher};
use registry::Client;
use registry::download::{Download, Downloaded, FileHead};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use solver::StepError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::ExecError;
use crate::blocking::failed;
use crate::chunks::{CHUNKS_MAX, ChunkReader};

/// What a file is called whose URL and server do not name it.
const NAME_DEFAULT: &str = "download";

/// Returns the pin of a file whose checksum and name stand in the Dockerfile: what it is is known before it is here.
pub(crate) fn known_pin(http: &HttpSource, selection: Option<&Selection>) -> Option<Digest> {
    let (checksum, name) = (http.checksum.as_ref()?, http.filename.as_ref()?);
    let mut hasher = Hasher::new();
    hasher.field(b"kiln http 1");
    hasher.field(checksum.to_string().as_bytes());
    hasher.field(name.as_bytes());
    hasher.field(&http.mode.to_le_bytes());
    hasher.field(selection.map(Selection::digest).as_ref().map_or(&[], |digest| digest.as_bytes().as_slice()));
    Some(hasher.finish())
}

/// Downloads a file into the empty directory `tree`.
pub(crate) async fn download(
    client: &Client,
    http: &HttpSource,
    tree: &Path,
    cancel: &CancellationToken,
) -> Result<Entries, StepError<ExecError>> {
    let url = http.url.parse().map_err(|source| failed(ExecError::Url { source }))?;
    let wanted = Download::new(url);
    let answer = tokio::select! {
        answer = client.download(&wanted) => answer.map_err(failed)?,
        () = cancel.cancelled() => return Err(StepError::Cancelled),
    };
    // Nothing was said of versions that are there, so there is no other answer.
    let Downloaded::File(mut stream) = answer else { return Err(failed(ExecError::Thread)) };
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    let (http, tree, head) = (http.clone(), tree.to_owned(), stream.head().clone());
    let writing = tokio::task::spawn_blocking(move || write(&http, &tree, &head, ChunkReader::new(chunks)));
    let pumped = loop {
        let chunk = tokio::select! {
            chunk = stream.next() => chunk,
            () = cancel.cancelled() => break Err(StepError::Cancelled),
        };
        match chunk {
            Ok(chunk) => {
                let is_last = chunk.is_none();
                // Whoever writes takes no more only if it failed, and says itself why.
                if sender.send(chunk).await.is_err() || is_last {
                    break Ok(());
                }
            }
            Err(error) => break Err(failed(error)),
        }
    };
    drop(sender);
    let written = writing.await.unwrap_or(Err(ExecError::Thread));
    pumped?;
    written.map_err(failed)
}

fn write(http: &HttpSource, tree: &Path, head: &FileHead, stream: impl Read) -> Result<Entries, ExecError> {
    let root: OwnedFd = File::open(tree).map_err(ExecError::file("open", tree))?.into();
    let writer = TreeWriter::new(root, Stack::default())?;
    let name = http.filename.as_deref().or(head.filename.as_deref()).unwrap_or(NAME_DEFAULT);
    let path = EntryPath::ROOT.child(name.as_bytes());
    let path = path.map_err(|source| ExecError::Path { path: name.to_owned(), source })?;
    // A server that does not say when the file changed leaves it at the start of 1970, as with BuildKit, so that equal files are equal layers.
    let mtime = head.last_modified.map_or(Mtime::EPOCH, |time| Mtime::from_seconds(time.unix_seconds()));
    let metadata = Metadata { mode: (http.mode & 0o7777) as u16, mtime, ..Metadata::default() };
    let mut checked = Checked::new(stream, http.checksum.as_ref());
    writer.make_file(path.as_path(), &metadata, FileSource::Reader(&mut checked))?;
    if let Some(expected) = &http.checksum {
        let actual = checked.finish();
        if actual != expected.hex {
            let (url, actual) = (http.url.clone(), format!("{}:{actual}", expected.algorithm));
            return Err(ExecError::Checksum { url, expected: expected.to_string(), actual });
        }
    }
    Ok(writer.finish()?.entries)
}

/// A stream whose checksum is computed while it is read.
struct Checked<R> {
    stream: R,
    hasher: Option<Algorithm>,
}

enum Algorithm {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl<R> Checked<R> {
    fn new(stream: R, checksum: Option<&Checksum>) -> Self {
        let hasher = checksum.map(|checksum| match checksum.algorithm {
            "sha384" => Algorithm::Sha384(Sha384::new()),
            "sha512" => Algorithm::Sha512(Sha512::new()),
            _ => Algorithm::Sha256(Sha256::new()),
        });
        Self { stream, hasher }
    }

    /// Returns the checksum in hexadecimal digits, or nothing where none was asked for.
    fn finish(self) -> String {
        let bytes = match self.hasher {
            Some(Algorithm::Sha256(hasher)) => hasher.finalize().to_vec(),
            Some(Algorithm::Sha384(hasher)) => hasher.finalize().to_vec(),
            Some(Algorithm::Sha512(hasher)) => hasher.finalize().to_vec(),
            None => Vec::new(),
        };
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        let bytes = &buffer[..count];
        match &mut self.hasher {
            Some(Algorithm::Sha256(hasher)) => hasher.update(bytes),
            Some(Algorithm::Sha384(hasher)) => hasher.update(bytes),
            Some(Algorithm::Sha512(hasher)) => hasher.update(bytes),
            None => {}
        }
        Ok(count)
    }
}
