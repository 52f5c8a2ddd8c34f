//! Build contexts that are no directories: repositories, files behind URLs, archives on standard input.
//!
//! They are steps of the graph like any other source. Before there is a graph, they are fetched just to read the Dockerfile in them; what was fetched for that is not
//! fetched again.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use executor::{ExecError, Remote, Secrets, Sources};
use frontend::MAIN_CONTEXT_NAME;
use layer::compression::Decoder;
use layer::tar::{Limits, MemberKind, Reader, is_archive};
use layer::{EntryPathBuf, FileRange, Follow};
use llb::{GitSource, HttpSource};
use oci::Timestamp;
use tokio_util::sync::CancellationToken;

use super::request::{BuildRequest, ContextSource, DockerfileSource};
use crate::event_sink::{EventSink, OwnStep};
use crate::{Engine, Error};

/// The longest Dockerfile that is read out of a context.
const DOCKERFILE_BYTES_MAX: u64 = 16 << 20;
/// The names of a Dockerfile that nobody named; the first one that is there counts.
const DOCKERFILE_NAMES: [&str; 2] = ["Dockerfile", "dockerfile"];
/// The mode of a downloaded context.
const CONTEXT_MODE: u32 = 0o600;

/// An archive that was received as a build context; it is removed with the last user of this.
#[derive(Debug, PartialEq, Eq)]
pub struct Upload {
    /// A directory with one file, `context`.
    dir: PathBuf,
}

impl Drop for Upload {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next process that opens the store.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Upload {
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn archive(&self) -> PathBuf {
        self.dir.join(MAIN_CONTEXT_NAME)
    }
}

/// What came on standard input.
pub enum Received {
    /// A build context.
    Archive(ContextSource),
    /// A Dockerfile without a context.
    Dockerfile(DockerfileSource),
}

impl Engine {
    /// Receives a build context or a Dockerfile, whichever it turns out to be.
    pub fn receive(&self, mut stream: impl Read) -> Result<Received, Error> {
        let upload = Upload { dir: self.store.temporary_dir()? };
        let path = upload.archive();
        let mut file = File::create_new(&path).map_err(Error::file("create", &path))?;
        std::io::copy(&mut stream, &mut file).map_err(Error::file("write", &path))?;
        file.flush().map_err(Error::file("write", &path))?;
        if is_archive(open(&path)?) {
            return Ok(Received::Archive(ContextSource::Upload(Arc::new(upload))));
        }
        let text = read_limited(open(&path)?, "standard input").map_err(|error| match error {
            Error::TooLong { .. } => error,
            _ => Error::file("read", &path)(std::io::Error::other(error)),
        })?;
        Ok(Received::Dockerfile(DockerfileSource::Text(text)))
    }

    /// Returns what fetches from elsewhere for a build.
    pub(crate) fn sources(&self, request: &BuildRequest, events: &EventSink) -> Arc<Sources> {
        let secrets = Secrets { values: request.secrets.clone(), agents: request.ssh_agents.clone() };
        Arc::new(Sources::new(self.fetcher(events), secrets, request.step_limits))
    }

    /// Returns the request with a context that is known for what it is and a Dockerfile that was read, if the context is no directory.
    pub(crate) async fn resolve_context(
        &self,
        request: &BuildRequest,
        sources: &Sources,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<Option<BuildRequest>, Error> {
        let (context, in_context) = match &request.context {
            ContextSource::Directory(_) | ContextSource::Empty => return Ok(None),
            ContextSource::Upload(upload) => {
                let wanted = wanted(request);
                let path = upload.archive();
                let found = tokio::task::spawn_blocking(move || find_in_archive(open(&path)?, &wanted));
                (request.context.clone(), found.await.map_err(|error| Error::Bug(error.to_string()))?)
            }
            ContextSource::Git(source) => {
                let step = events.step(format!("[internal] load git source {}", source.remote));
                let found = self.in_git(source, request, sources, &step, cancel).await;
                (request.context.clone(), step.end(found).map(Some)?.map_or(Ok(None), Ok))
            }
            ContextSource::Url(url) | ContextSource::UrlArchive(url) => {
                let step = events.step("[internal] load remote build context");
                let found = in_url(url, request, sources, &step, cancel).await;
                let (is_archive, found) = step.end(found)?;
                let context =
                    if is_archive { ContextSource::UrlArchive(url.clone()) } else { ContextSource::Url(url.clone()) };
                (context, Ok(found))
            }
        };
        let mut resolved = BuildRequest { context, ..request.clone() };
        if !matches!(request.dockerfile, DockerfileSource::Text(_)) {
            let name = wanted(request).swap_remove(0);
            let missing = || Error::NoDockerfile { name, context: PathBuf::from("the build context") };
            resolved.dockerfile = DockerfileSource::Text(in_context?.ok_or_else(missing)?);
        }
        Ok(Some(resolved))
    }

    async fn in_git(
        &self,
        source: &GitSource,
        request: &BuildRequest,
        sources: &Sources,
        step: &OwnStep,
        cancel: &CancellationToken,
    ) -> Result<Option<Vec<u8>>, Error> {
        let Remote { layer, .. } = sources.git(source, step.digest(), cancel).await.map_err(step_error)?;
        layer.record().await.map_err(ExecError::from)?;
        let wanted = wanted(request);
        let read = tokio::task::spawn_blocking(move || {
            let stack = layer::Stack::new(vec![layer.open()?]);
            for path in wanted {
                let resolved = stack.resolve(path.as_bytes(), Follow::All);
                let resolved = resolved.map_err(|source| ExecError::Resolve { path: path.clone(), source })?;
                if let Some(found) = resolved.found.map(|found| stack.target(&found)) {
                    let file = stack.open(&found).map_err(ExecError::from)?;
                    return read_limited(file, &path).map(Some);
                }
            }
            Ok(None)
        });
        read.await.map_err(|error| Error::Bug(error.to_string()))?
    }
}

/// Tells what the file behind a URL is, and returns the Dockerfile in it, or the one that it is.
async fn in_url(
    url: &str,
    request: &BuildRequest,
    sources: &Sources,
    step: &OwnStep,
    cancel: &CancellationToken,
) -> Result<(bool, Option<Vec<u8>>), Error> {
    let filename = Some(MAIN_CONTEXT_NAME.to_owned());
    let source = HttpSource { url: url.to_owned(), checksum: None, filename, mode: CONTEXT_MODE };
    let Remote { layer, .. } = sources.http(&source, step.digest(), cancel).await.map_err(step_error)?;
    let (path, wanted, url) = (layer.tree().join(MAIN_CONTEXT_NAME), wanted(request), url.to_owned());
    let read = tokio::task::spawn_blocking(move || {
        if is_archive(open(&path)?) {
            return Ok((true, find_in_archive(open(&path)?, &wanted)?));
        }
        Ok((false, Some(read_limited(open(&path)?, &url)?)))
    });
    read.await.map_err(|error| Error::Bug(error.to_string()))?
}

fn step_error(error: solver::StepError<ExecError>) -> Error {
    match error {
        solver::StepError::Cancelled => Error::Cancelled,
        solver::StepError::Failed(error) => error.into(),
    }
}

/// Returns the paths that the Dockerfile may have in the context.
fn wanted(request: &BuildRequest) -> Vec<String> {
    match &request.dockerfile {
        DockerfileSource::File(path) => vec![path.to_string_lossy().trim_start_matches('/').to_owned()],
        DockerfileSource::Default | DockerfileSource::Text(_) => DOCKERFILE_NAMES.map(str::to_owned).into(),
    }
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(Error::file("open", path))
}

fn read_limited(stream: impl Read, name: &str) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    let read = stream.take(DOCKERFILE_BYTES_MAX + 1).read_to_end(&mut text);
    read.map_err(Error::file("read", Path::new(name)))?;
    if text.len() as u64 > DOCKERFILE_BYTES_MAX {
        return Err(Error::TooLong { name: name.to_owned(), bytes_max: DOCKERFILE_BYTES_MAX });
    }
    Ok(text)
}

/// Reads the first of several files that an archive has; of two members with one name the later counts. `Ok(None)` means that it has none.
fn find_in_archive(archive: File, wanted: &[String]) -> Result<Option<Vec<u8>>, Error> {
    let damaged = |reason: String| Error::Context { reason };
    let range = FileRange::whole(archive).map_err(|error| damaged(error.to_string()))?;
    let stream = Decoder::new(range).map_err(|error| damaged(error.to_string()))?;
    let mut reader = Reader::new(stream, Limits::default());
    let wanted: Vec<_> = wanted.iter().filter_map(|path| EntryPathBuf::clean(path.as_bytes()).ok()).collect();
    let mut found: Option<(usize, Vec<u8>)> = None;
    while let Some(member) = reader.next().map_err(|error| damaged(error.to_string()))? {
        let name = EntryPathBuf::clean(&member.name).ok();
        let Some(place) = wanted.iter().position(|path| Some(path) == name.as_ref()) else { continue };
        if matches!(member.kind, MemberKind::File { .. }) && found.as_ref().is_none_or(|(best, _)| place <= *best) {
            found = Some((place, read_limited(reader.content(), "Dockerfile")?));
        }
    }
    Ok(found.map(|(_, text)| text))
}

/// Returns the newest time in an archive that was downloaded without a time of its own; `None` where it is no archive, or one without members.
pub(super) async fn archive_time(layer: store::Layer) -> Result<Option<Timestamp>, Error> {
    let read = tokio::task::spawn_blocking(move || {
        let tree = layer.tree();
        let mut files = fs::read_dir(&tree).map_err(Error::file("read", &tree))?;
        let Some(Ok(file)) = files.next() else { return Ok(None) };
        if !is_archive(open(&file.path())?) {
            return Ok(None);
        }
        let archive = FileRange::whole(open(&file.path())?);
        Ok(newest_in_archive(archive.map_err(Error::file("read", &file.path()))?))
    });
    read.await.map_err(|error| Error::Bug(error.to_string()))?
}

fn newest_in_archive(archive: FileRange) -> Option<Timestamp> {
    let mut reader = Reader::new(Decoder::new(archive).ok()?, Limits::default());
    let mut newest = None;
    // What is behind the first thing that cannot be read is not read by a step either.
    while let Ok(Some(member)) = reader.next() {
        newest = newest.max(Some(member.metadata.mtime.seconds));
    }
    Timestamp::from_unix(newest?, 0)
}
