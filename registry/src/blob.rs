//! Blobs as streams: counted, hashed, resumed after a broken connection, from whichever host has them.
//!
//! States: open (a connection gives bytes) → waiting for a new connection after a failure → open …, until all bytes are there and have the right digest.

use std::io;

use hyper::Method;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE};
use hyper::{HeaderMap, StatusCode};
use oci::{Descriptor, Digest, Hasher, Reference};
use tokio::runtime::Handle;
use url::Url;

use crate::answer::explain;
use crate::attempts::Attempts;
use crate::authorizer::Scope;
use crate::body::next_bytes;
use crate::cause::Cause;
use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::error::{Error, Failures};
use crate::exchange::{Ask, Target};
use crate::transport::{Answer, Outgoing, host_of};

/// A connection that gave at least this much before it broke does not count as a failed attempt.
const PROGRESS_BYTES_MIN: u64 = 64 * 1024;
const ERROR_BYTES_MAX: u64 = 64 * 1024;

/// The bytes of one blob.
///
/// Dropping it closes the connection.
pub struct BlobStream {
    client: Client,
    repository: String,
    digest: Digest,
    size_bytes: u64,
    sources: Vec<Source>,
    attempts: Attempts,
    open: Option<Open>,
    offset: u64,
    /// Where the current attempt began.
    attempt_offset: u64,
    hasher: Hasher,
    /// The positions of the sources that gave bytes.
    givers: Vec<usize>,
    is_verified: bool,
}

/// Where the blob may be.
enum Source {
    Host(Endpoint),
    /// A foreign layer's own place.
    Url(Url),
}

/// A connection that gives bytes.
struct Open {
    body: Incoming,
    /// What is read and not handed out, because the host does not begin where it was asked to.
    skip_bytes: u64,
}

impl Source {
    fn name(&self) -> String {
        match self {
            Self::Host(endpoint) => endpoint.host.clone(),
            Self::Url(url) => host_of(url),
        }
    }
}

impl Client {
    /// Begins to fetch a blob from the repository of `reference`, and from the descriptor's own URLs where no host of the registry has it.
    ///
    /// It returns when the first host has begun to send.
    pub async fn fetch_blob(&self, reference: &Reference, blob: &Descriptor) -> Result<BlobStream, Error> {
        let hosts = self.pull_hosts(reference).into_iter().map(Source::Host);
        let urls = blob.urls.iter().filter_map(|text| Url::parse(text).ok());
        let urls = urls.filter(|url| matches!(url.scheme(), "http" | "https")).map(Source::Url);
        let mut sources: Vec<Source> = hosts.chain(urls).collect();
        sources.sort_by_key(|source| self.shared.corrupt.has(&(source.name(), blob.digest)));
        let names = sources.iter().map(Source::name).collect();
        let mut stream = BlobStream {
            client: self.clone(),
            repository: reference.familiar_name(),
            digest: blob.digest,
            size_bytes: blob.size_bytes,
            sources,
            attempts: Attempts::new(names, self.shared.config.retry),
            open: None,
            offset: 0,
            attempt_offset: 0,
            hasher: Hasher::new(),
            givers: Vec::new(),
            is_verified: false,
        };
        stream.reopen().await?;
        Ok(stream)
    }
}

impl BlobStream {
    /// Returns the length of the whole blob.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns how much was handed out.
    pub fn offset_bytes(&self) -> u64 {
        self.offset
    }

    /// Returns the next bytes, or `None` once all of them were handed out and found to have the blob's digest.
    ///
    /// A broken connection is made anew and goes on where it broke. An error says that what was handed out is not the blob; calling
    /// [`Client::fetch_blob`] again asks the other hosts first if this one sent wrong bytes. It is cancel safe: no bytes are lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while self.offset < self.size_bytes {
            let received = match &mut self.open {
                None => {
                    self.reopen().await?;
                    continue;
                }
                Some(open) => open.next(self.client.shared.config.timeouts.idle, self.offset).await,
            };
            match received {
                Ok(bytes) => return self.accept(bytes).map(Some),
                Err(cause) => self.fail(cause).await?,
            }
        }
        self.verify().await?;
        Ok(None)
    }

    /// Turns the stream into a reader for code that blocks. Reading must happen on a thread that may block, such as tokio's `spawn_blocking` gives.
    pub fn into_reader(self) -> BlobReader {
        BlobReader { stream: self, runtime: Handle::current(), rest: Bytes::new() }
    }

    fn accept(&mut self, bytes: Bytes) -> Result<Bytes, Error> {
        let end = self.offset + bytes.len() as u64;
        if end > self.size_bytes {
            return Err(self.give_up(Cause::SizeMismatch { expected_bytes: self.size_bytes, actual_bytes: end }));
        }
        self.hasher.update(&bytes);
        self.offset = end;
        let position = self.attempts.position();
        if self.givers.last() != Some(&position) {
            self.givers.push(position);
        }
        Ok(bytes)
    }

    /// Checks the digest, and that the host has no more to send.
    async fn verify(&mut self) -> Result<(), Error> {
        if self.is_verified {
            return Ok(());
        }
        if let Some(open) = self.open.as_mut().filter(|open| !open.body.is_end_stream()) {
            let more = open.next(self.client.shared.config.timeouts.idle, self.offset).await;
            // A connection that breaks now took nothing away.
            let actual_bytes = self.offset + more.map_or(0, |bytes| bytes.len() as u64);
            if actual_bytes > self.size_bytes {
                return Err(self.give_up(Cause::SizeMismatch { expected_bytes: self.size_bytes, actual_bytes }));
            }
        }
        let actual = self.hasher.clone().finish();
        if actual != self.digest {
            let (expected, size_bytes) = (self.digest, self.size_bytes);
            return Err(self.give_up(Cause::DigestMismatch { expected, actual, size_bytes }));
        }
        self.open = None;
        self.is_verified = true;
        Ok(())
    }

    fn give_up(&mut self, cause: Cause) -> Error {
        for position in &self.givers {
            self.client.shared.corrupt.add((self.sources[*position].name(), self.digest));
        }
        self.open = None;
        let source = self.attempts.give_up(cause);
        self.error(source)
    }

    fn error(&self, source: Failures) -> Error {
        Error::FetchBlob { repository: self.repository.clone(), digest: self.digest, source }
    }

    async fn fail(&mut self, cause: Cause) -> Result<(), Error> {
        self.open = None;
        if self.offset - self.attempt_offset >= PROGRESS_BYTES_MIN {
            self.attempts.progressed();
        }
        let decided = self.client.after_failure(&mut self.attempts, cause).await;
        decided.map_err(|failures| self.error(failures))
    }

    async fn reopen(&mut self) -> Result<(), Error> {
        while self.open.is_none() {
            self.attempt_offset = self.offset;
            match self.ask().await.and_then(|answer| self.begin(answer)) {
                Ok(open) => self.open = Some(open),
                Err(cause) => self.fail(cause).await?,
            }
        }
        Ok(())
    }

    async fn ask(&self) -> Result<Answer, Cause> {
        let shared = &self.client.shared;
        let mut headers = HeaderMap::new();
        if self.offset > 0 {
            let range = HeaderValue::try_from(format!("bytes={}-", self.offset));
            headers.extend(range.ok().map(|range| (RANGE, range)));
        }
        match &self.sources[self.attempts.position()] {
            Source::Host(endpoint) => {
                let (path, scope) = (format!("blobs/{}", self.digest), Scope::pull(&endpoint.repository));
                let ask = Ask { headers, ..Ask::new(Method::GET, Target::Path(&path), &scope) };
                shared.exchange(endpoint, &ask).await
            }
            Source::Url(url) => {
                let mut answer = shared.transport.follow(Outgoing { headers, ..Outgoing::get(url.clone()) }).await?;
                if answer.status.is_success() {
                    return Ok(answer);
                }
                let bytes = shared.transport.read(&mut answer, "answer", ERROR_BYTES_MAX).await.unwrap_or_default();
                Err(explain(&answer, &Method::GET, &bytes))
            }
        }
    }

    /// Looks at the head of an answer: where in the blob it begins, and whether its length fits.
    fn begin(&self, answer: Answer) -> Result<Open, Cause> {
        let start = match answer.status {
            StatusCode::PARTIAL_CONTENT => range_start(&answer).ok_or_else(|| Cause::Protocol {
                what: format!("expected the bytes from {} on, got no usable Content-Range", self.offset),
            })?,
            _ => 0,
        };
        let skip_bytes = self.offset.checked_sub(start).ok_or_else(|| Cause::Protocol {
            what: format!("expected the bytes from {} on, got those from {start} on", self.offset),
        })?;
        let length: Option<u64> = answer.header(CONTENT_LENGTH).and_then(|text| text.parse().ok());
        match length.map(|length| start.saturating_add(length)) {
            Some(actual_bytes) if actual_bytes != self.size_bytes => {
                Err(Cause::SizeMismatch { expected_bytes: self.size_bytes, actual_bytes })
            }
            _ => Ok(Open { body: answer.body, skip_bytes }),
        }
    }
}

impl Open {
    async fn next(&mut self, idle: std::time::Duration, received_bytes: u64) -> Result<Bytes, Cause> {
        loop {
            let Some(mut bytes) = next_bytes(&mut self.body, idle, received_bytes).await? else {
                let source = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(Cause::Broken { received_bytes, source: std::sync::Arc::new(source) });
            };
            let skipped = self.skip_bytes.min(bytes.len() as u64);
            self.skip_bytes -= skipped;
            let rest = bytes.split_off(usize::try_from(skipped).unwrap_or(bytes.len()));
            if !rest.is_empty() {
                return Ok(rest);
            }
        }
    }
}

/// Reads the first position from `Content-Range: bytes 100-199/200`.
pub(crate) fn range_start(answer: &Answer) -> Option<u64> {
    let range = answer.header(CONTENT_RANGE)?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}

/// A [`BlobStream`] for code that blocks. An error of the stream is inside the [`io::Error`].
pub struct BlobReader {
    stream: BlobStream,
    runtime: Handle,
    rest: Bytes,
}

impl io::Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            let next = self.runtime.block_on(self.stream.next()).map_err(io::Error::other)?;
            self.rest = next.unwrap_or_default();
        }
        let length = self.rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}
