//! Files behind URLs as sources: downloaded as a layer with one file, unless the server says that the file is the one that is here already.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use layer::{EntryPath, FileSource, FinishedTree, Metadata, Mtime, Stack, TreeWriter};
use llb::{Checksum, HttpSource, Selection};
use oci::{Digest, Hasher};
use registry::download::{Download, Downloaded, FileHead};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use solver::StepError;
use store::RemoteRecord;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::blocking::failed;
use crate::chunks::{CHUNKS_MAX, ChunkReader};
use crate::image::Progress;
use crate::{ExecError, Fetcher, Secrets};

/// What a file is called whose URL and server do not name it.
const NAME_DEFAULT: &str = "__unnamed__";

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

/// What a server answers that was told what is here.
pub(crate) enum Answer {
    /// It is the same file.
    Same,
    /// It is another one, which was written.
    New {
        /// What was written.
        written: Box<FinishedTree>,
        /// What the server says of it.
        head: FileHead,
    },
}

/// Returns the digest under which a file is found again.
pub(crate) fn key(http: &HttpSource) -> Digest {
    let mut hasher = Hasher::new();
    hasher.field(b"kiln http file 1");
    hasher.field(http.url.as_bytes());
    hasher.field(http.checksum.as_ref().map(ToString::to_string).unwrap_or_default().as_bytes());
    hasher.field(http.filename.as_deref().unwrap_or_default().as_bytes());
    hasher.field(&http.mode.to_le_bytes());
    hasher.finish()
}

/// Returns the header that lets us at a URL, if a secret is for its host: `HTTP_AUTH_HEADER_<host>`, `HTTP_AUTH_TOKEN_<host>`.
fn authorization(secrets: &Secrets, url: &str) -> Option<String> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
    let value = |name: &str| {
        let found = [place, host].into_iter().find_map(|host| secrets.values.get(&format!("{name}_{host}")));
        found.map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned())
    };
    value("HTTP_AUTH_HEADER").or_else(|| value("HTTP_AUTH_TOKEN").map(|token| format!("Bearer {token}")))
}

/// Downloads a file into the empty directory `tree`, unless it is the one that is `known`. Progress is that of `step`.
pub(crate) async fn download(
    shared: &Fetcher,
    secrets: &Secrets,
    http: &HttpSource,
    known: Option<&RemoteRecord>,
    (tree, step): (&Path, Digest),
    cancel: &CancellationToken,
) -> Result<Answer, StepError<ExecError>> {
    let url = http.url.parse().map_err(|source| failed(ExecError::Url { source }))?;
    let wanted = Download {
        authorization: authorization(secrets, &http.url),
        etags: known.and_then(|known| known.etag.clone()).into_iter().collect(),
        modified_since: known.and_then(|known| known.last_modified),
        ..Download::new(url)
    };
    let answer = tokio::select! {
        answer = shared.registry.download(&wanted) => answer.map_err(failed)?,
        () = cancel.cancelled() => return Err(StepError::Cancelled),
    };
    let Downloaded::File(mut stream) = answer else { return Ok(Answer::Same) };
    let mut progress = Progress::new(shared.reporter.clone(), step, &http.url, stream.head().size_bytes);
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    let (http, tree, head) = (http.clone(), tree.to_owned(), stream.head().clone());
    let about = head.clone();
    let writing = tokio::task::spawn_blocking(move || write(&http, &tree, &about, ChunkReader::new(chunks)));
    let pumped = loop {
        let chunk = tokio::select! {
            chunk = stream.next() => chunk,
            () = cancel.cancelled() => break Err(StepError::Cancelled),
        };
        match chunk {
            Ok(chunk) => {
                let is_last = chunk.is_none();
                progress.add(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64));
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
    let written = Box::new(written.map_err(failed)?);
    progress.report(true);
    Ok(Answer::New { written, head })
}

fn write(http: &HttpSource, tree: &Path, head: &FileHead, stream: impl Read) -> Result<FinishedTree, ExecError> {
    let root: OwnedFd = File::open(tree).map_err(ExecError::file("open", tree))?.into();
    let writer = TreeWriter::new(root, Stack::default())?;
    let name = http.filename.as_deref().or(head.filename.as_deref()).or_else(|| last_name(&http.url));
    let name = name.unwrap_or(NAME_DEFAULT);
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
    Ok(writer.finish()?)
}

/// Returns the last name in the path of a URL, as it is written there.
fn last_name(url: &str) -> Option<&str> {
    let path = url.split(['?', '#']).next()?.split_once("://")?.1.split_once('/')?.1;
    path.rsplit('/').find(|name| !matches!(*name, "" | "." | ".."))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_the_host_is_sent_to_that_host() {
        let secret = |name: &str| (name.to_owned(), b"x\n".to_vec());
        let secrets =
            |names: &[&str]| Secrets { values: names.iter().map(|name| secret(name)).collect(), ..Secrets::default() };
        let header = |names: &[&str], url: &str| authorization(&secrets(names), url);
        assert_eq!(header(&["HTTP_AUTH_TOKEN_a.example"], "https://a.example:8080/f"), Some("Bearer x".to_owned()));
        assert_eq!(header(&["HTTP_AUTH_HEADER_a.example:1"], "https://a.example:1?q"), Some("x".to_owned()));
        assert_eq!(header(&["HTTP_AUTH_TOKEN_a.example"], "https://b.example/a.example"), None);
    }
}
