//! One blob on its way into a repository.
//!
//! States: asked whether it is there → taken over from another repository, or an upload begun → all bytes sent → finished under its digest. A failed
//! attempt is followed by one that begins anew; an upload in pieces is asked first how far it came.

use std::sync::Arc;

use hyper::Method;
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use oci::Descriptor;
use url::Url;

use crate::authorizer::{Access, Scope};
use crate::body::{BlobSource, Payload, Sent};
use crate::cause::Cause;
use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::exchange::{Ask, Target};
use crate::push::Pushed;
use crate::report::Notice;
use crate::transport::Answer;

/// With which a registry tells how long pieces must be at least.
const CHUNK_MIN_LENGTH: &str = "oci-chunk-min-length";

/// A blob on its way.
pub(crate) struct Upload<'a> {
    client: &'a Client,
    endpoint: &'a Endpoint,
    blob: &'a Descriptor,
    source: Arc<dyn BlobSource>,
    from: Option<&'a str>,
    scope: Scope,
    /// `None` sends the blob in one piece.
    chunk_bytes: Option<u64>,
    /// The upload that goes on in the next attempt.
    session: Option<Session>,
}

/// An upload that the registry knows.
struct Session {
    /// Where the next request goes; it changes with every answer.
    url: Url,
    offset: u64,
}

impl<'a> Upload<'a> {
    pub(crate) fn new(
        client: &'a Client,
        endpoint: &'a Endpoint,
        blob: &'a Descriptor,
        source: Arc<dyn BlobSource>,
        from: Option<&'a str>,
    ) -> Self {
        let settings = client.shared.config.registries.get(&endpoint.registry);
        let chunk_bytes = settings.and_then(|settings| settings.upload_chunk_bytes).filter(|length| *length > 0);
        let scope = Scope::push(&endpoint.repository);
        Self { client, endpoint, blob, source, from, scope, chunk_bytes, session: None }
    }

    /// Returns how much of the blob the registry has for certain.
    pub(crate) fn done_bytes(&self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.offset)
    }

    /// Brings the blob to the registry, or fails at the first thing that fails.
    pub(crate) async fn attempt(&mut self) -> Result<Pushed, Cause> {
        if self.find_session().await? {
            return self.send_pieces().await;
        }
        if self.is_there().await? {
            return Ok(Pushed::Existed);
        }
        let begun = match self.from {
            Some(from) => self.mount(from).await?,
            None => self.begin(&self.scope, "blobs/uploads/").await?,
        };
        if begun.status == hyper::StatusCode::CREATED {
            return Ok(Pushed::Mounted);
        }
        let least = begun.header(CHUNK_MIN_LENGTH).and_then(|text| text.parse().ok()).unwrap_or(0);
        self.chunk_bytes = self.chunk_bytes.map(|length| length.max(least));
        let url = location(&begun)?;
        if self.chunk_bytes.is_none() {
            return self.finish(url, self.part(0, self.blob.size_bytes)).await;
        }
        self.session = Some(Session { url, offset: 0 });
        self.send_pieces().await
    }

    /// Asks how far the upload of an earlier attempt came; tells whether it can go on.
    async fn find_session(&mut self) -> Result<bool, Cause> {
        let Some(session) = &self.session else { return Ok(false) };
        match self.ask(Method::GET, Target::Url(&session.url), &self.scope).await {
            Ok(answer) => {
                let offset = received_bytes(&answer).min(self.blob.size_bytes);
                let url = location(&answer).unwrap_or_else(|_| session.url.clone());
                self.session = Some(Session { url, offset });
                Ok(true)
            }
            Err(cause) if cause.is_transient() => Err(cause),
            Err(_) => {
                self.session = None;
                Ok(false)
            }
        }
    }

    async fn is_there(&self) -> Result<bool, Cause> {
        let path = format!("blobs/{}", self.blob.digest);
        match self.ask(Method::HEAD, Target::Path(&path), &self.scope).await {
            Ok(_) => Ok(true),
            Err(Cause::NotFound { .. }) => Ok(false),
            Err(cause) => Err(cause),
        }
    }

    /// Asks the registry to take the blob over; where it does not, its answer begins an upload.
    async fn mount(&self, from: &str) -> Result<Answer, Cause> {
        let repositories = vec![self.endpoint.repository.clone(), from.to_owned()];
        let scope = Scope { access: Access::Push, repositories };
        let path = format!("blobs/uploads/?mount={}&from={from}", self.blob.digest);
        match self.begin(&scope, &path).await {
            // The user may push here and not read there.
            Err(Cause::AccessDenied { .. } | Cause::Unauthorized { .. }) => {
                self.begin(&self.scope, "blobs/uploads/").await
            }
            answer => answer,
        }
    }

    async fn begin(&self, scope: &Scope, path: &str) -> Result<Answer, Cause> {
        self.ask(Method::POST, Target::Path(path), scope).await
    }

    /// Sends what is left in pieces, then finishes.
    async fn send_pieces(&mut self) -> Result<Pushed, Cause> {
        while let Some(Session { url, offset }) = self.session.as_ref().filter(|it| it.offset < self.blob.size_bytes) {
            let rest = self.blob.size_bytes - offset;
            let length = rest.min(self.chunk_bytes.unwrap_or(rest));
            let mut ask = Ask::new(Method::PATCH, Target::Url(url), &self.scope);
            ask.payload = self.part(*offset, length);
            ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            let range = HeaderValue::try_from(format!("{offset}-{}", offset + length - 1));
            ask.headers.extend(range.ok().map(|range| (CONTENT_RANGE, range)));
            let answer = self.client.shared.exchange(self.endpoint, &ask).await?;
            let (url, end) = (location(&answer)?, offset + length);
            let taken = if answer.headers.contains_key(RANGE) { received_bytes(&answer).min(end) } else { end };
            if taken <= *offset {
                return Err(Cause::Protocol { what: "the registry took nothing of the piece it was sent".to_owned() });
            }
            self.session = Some(Session { url, offset: taken });
        }
        let Some(Session { url, .. }) = &self.session else {
            unreachable!("pieces are sent only while there is an upload");
        };
        self.finish(url.clone(), Payload::Nothing).await
    }

    /// Says what the blob is, and sends it or the rest of it along.
    async fn finish(&self, mut url: Url, payload: Payload) -> Result<Pushed, Cause> {
        url.query_pairs_mut().append_pair("digest", &self.blob.digest.to_string());
        let mut ask = Ask::new(Method::PUT, Target::Url(&url), &self.scope);
        ask.payload = payload;
        ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        self.client.shared.exchange(self.endpoint, &ask).await?;
        Ok(Pushed::Uploaded)
    }

    async fn ask(&self, method: Method, target: Target<'_>, scope: &Scope) -> Result<Answer, Cause> {
        self.client.shared.exchange(self.endpoint, &Ask::new(method, target, scope)).await
    }

    fn part(&self, offset: u64, size_bytes: u64) -> Payload {
        let (client, digest, total_bytes) = (self.client.clone(), self.blob.digest, self.blob.size_bytes);
        let sent =
            Sent::new(move |bytes| client.tell(Notice::Sent { digest, done_bytes: offset + bytes, total_bytes }));
        Payload::Part { source: Arc::clone(&self.source), offset, size_bytes, sent }
    }
}

/// Reads where the upload goes on.
fn location(answer: &Answer) -> Result<Url, Cause> {
    let url = answer.header(LOCATION).and_then(|location| answer.url.join(location).ok());
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| Cause::Protocol { what: "the registry did not say where to upload to (no Location)".to_owned() })
}

/// Reads how much of an upload has come from `Range: 0-N`, where N is the last byte; no registry tells 0 bytes from 1 there, and nobody sends 1.
fn received_bytes(answer: &Answer) -> u64 {
    let range = answer.header(RANGE).map(|range| range.trim_start_matches("bytes="));
    let end: Option<u64> = range.and_then(|range| range.split_once('-')?.1.trim().parse().ok());
    end.filter(|end| *end > 0).map_or(0, |end| end.saturating_add(1))
}
