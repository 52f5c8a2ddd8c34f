//! One request: read, failed on request, answered, written down.

use std::sync::{Mutex, PoisonError};

use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{
    AUTHORIZATION, AsHeaderName, CONTENT_RANGE, CONTENT_TYPE, HeaderName, LOCATION, PROXY_AUTHORIZATION, RANGE,
    RETRY_AFTER,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use oci::{Digest, Index, Manifest};

use super::contents::Contents;
use super::fault::Fault;
use super::reply::{Body, Manner, Reply};
use super::route::Route;
use super::server::State;
use super::uploads;

pub(super) const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What a request is, without its body.
pub(super) struct Head {
    pub(super) method: Method,
    /// Empty, except where the request is for a proxy.
    pub(super) origin: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
}

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed without an answer")]
pub(super) struct Closed;

/// Answers one request.
pub(super) async fn handle(state: &Mutex<State>, request: Request<Incoming>) -> Result<Response<Body>, Closed> {
    let (parts, body) = request.into_parts();
    let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
    // Clients put the whole URL into the first line of a request to a proxy.
    let origin = parts.uri.authority().map(|host| format!("http://{host}")).unwrap_or_default();
    let head = Head { method: parts.method, origin, path, query, headers: parts.headers };
    let line = format!("{} {}", head.method, head.path);
    let faults = state.lock().unwrap_or_else(PoisonError::into_inner).faults.take(&line);
    let Some(body) = read(body, &faults).await else {
        log(state, &head, "cut");
        return Err(Closed);
    };
    if faults.contains(&Fault::Close) {
        log(state, &head, "closed");
        return Err(Closed);
    }
    if faults.contains(&Fault::Silence) {
        log(state, &head, "silence");
        let _gone = Gone { state, head: &head };
        std::future::pending::<()>().await;
    }
    let (reply, manner) = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        fail(&faults, answer(&mut state, &head, body, &faults), &head)
    };
    log(state, &head, reply.status.as_str());
    Ok(reply.send(head.method == Method::HEAD, manner))
}

/// Writes down that the client, or the registry, has ended the connection.
struct Gone<'a> {
    state: &'a Mutex<State>,
    head: &'a Head,
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        log(self.state, self.head, "gone");
    }
}

/// Reads the body, or the beginning of it that a fault allows, and then nothing.
async fn read(mut body: Incoming, faults: &[Fault]) -> Option<Bytes> {
    let mut all = Vec::new();
    loop {
        let frame = std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await;
        let Some(frame) = frame else { return Some(all.into()) };
        all.extend_from_slice(&frame.ok()?.into_data().unwrap_or_default());
        let is_cut = |fault: &Fault| matches!(fault, Fault::CutAfter(limit) if all.len() > *limit);
        if faults.iter().any(is_cut) {
            return None;
        }
    }
}

fn answer(state: &mut State, head: &Head, body: Bytes, faults: &[Fault]) -> Reply {
    let route = Route::parse(&head.path);
    if let Some(denied) = state.doorman.check(head, &route) {
        return denied;
    }
    let contents = &mut state.contents;
    match route {
        Route::Token => state.doorman.give(head, &body),
        Route::Version => Reply::new(StatusCode::OK).bytes("{}"),
        Route::Manifest { repository, name } if head.method == Method::PUT => {
            store_manifest(contents, head, repository, name, body)
        }
        Route::Manifest { repository, name } => manifest(contents, repository, name),
        Route::Blob { repository, digest } => blob(contents, head, repository, digest, faults),
        Route::Uploads { repository } => uploads::begin(contents, head, repository),
        Route::Upload { repository, id } => uploads::go_on(contents, head, repository, id, &body),
        Route::Tags { repository } => {
            let list = serde_json::json!({ "name": repository, "tags": contents.tags(repository) });
            Reply::new(StatusCode::OK).bytes(list.to_string())
        }
        Route::File => match contents.files.get(&head.path) {
            Some(file) => file.answer(&head.headers, !faults.contains(&Fault::IgnoreRange)),
            None => Reply::new(StatusCode::NOT_FOUND).bytes("404 page not found\n"),
        },
    }
}

fn manifest(contents: &Contents, repository: &str, name: &str) -> Reply {
    let Some(manifest) = contents.manifest(repository, name) else {
        return if contents.has_repository(repository) {
            Reply::error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown")
        } else {
            Reply::error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "repository name not known to registry")
        };
    };
    let reply = Reply::new(StatusCode::OK).with(CONTENT_TYPE, manifest.media_type);
    reply.with(DOCKER_CONTENT_DIGEST, manifest.digest.to_string()).bytes(manifest.bytes)
}

fn blob(contents: &Contents, head: &Head, repository: &str, digest: &str, faults: &[Fault]) -> Reply {
    let found = digest.parse().ok().and_then(|digest| contents.blob(repository, &digest));
    let Some(bytes) = found else {
        return Reply::error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry");
    };
    let described =
        |reply: Reply| reply.with(DOCKER_CONTENT_DIGEST, digest).with(CONTENT_TYPE, "application/octet-stream");
    match byte_range(&head.headers).filter(|_| !faults.contains(&Fault::IgnoreRange)) {
        None => described(Reply::new(StatusCode::OK)).bytes(bytes),
        Some(start) if start >= bytes.len() => Reply::new(StatusCode::RANGE_NOT_SATISFIABLE),
        Some(start) => {
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            let reply = described(Reply::new(StatusCode::PARTIAL_CONTENT)).with(CONTENT_RANGE, range);
            reply.bytes(bytes.slice(start..))
        }
    }
}

/// Stores a manifest if all that it names is there, as real registries do.
fn store_manifest(contents: &mut Contents, head: &Head, repository: &str, name: &str, body: Bytes) -> Reply {
    let media_type = text(&head.headers, CONTENT_TYPE).unwrap_or_default().to_owned();
    let is_there = if oci::media_type::is_index(&media_type) {
        let index: Option<Index> = serde_json::from_slice(&body).ok();
        let known = |digest: &Digest| contents.manifest(repository, &digest.to_string()).is_some();
        index.map(|index| index.manifests.iter().all(|it| known(&it.digest)))
    } else {
        let manifest: Option<Manifest> = serde_json::from_slice(&body).ok();
        let known = |digest: &Digest| contents.blob(repository, digest).is_some();
        manifest.map(|it| known(&it.config.digest) && it.layers.iter().all(|layer| known(&layer.digest)))
    };
    match is_there {
        None => Reply::error(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", "manifest invalid"),
        Some(false) => Reply::error(StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"),
        Some(true) => {
            let digest = contents.put_manifest(repository, name, &media_type, body);
            let location = format!("/v2/{repository}/manifests/{digest}");
            Reply::new(StatusCode::CREATED).with(LOCATION, location).with(DOCKER_CONTENT_DIGEST, digest.to_string())
        }
    }
}

/// Changes an answer as the faults say.
fn fail(faults: &[Fault], mut reply: Reply, head: &Head) -> (Reply, Manner) {
    let mut manner = Manner::Whole;
    for fault in faults {
        match fault {
            Fault::Status(status) => reply = Reply::new(status_code(*status)),
            Fault::StatusRetryAfter(status, seconds) => {
                reply = Reply::new(status_code(*status)).with(RETRY_AFTER, seconds.to_string());
            }
            Fault::Answer(status, body) => reply = Reply::new(status_code(*status)).bytes(body.clone()),
            Fault::CutAfter(bytes) => manner = Manner::CutAfter(*bytes),
            Fault::StallAfter(bytes) => manner = Manner::StallAfter(*bytes),
            Fault::Chunked => manner = Manner::Chunked,
            Fault::Corrupt => reply.bytes = reply.bytes.iter().map(|byte| byte ^ 1).collect(),
            Fault::TooLong => {
                reply.bytes = [&reply.bytes[..], b"more"].concat().into();
                manner = Manner::Chunked;
            }
            Fault::Header(name, value) => {
                reply = without(reply, name).with(HeaderName::from_static(name), value.as_str())
            }
            Fault::WithoutHeader(name) => reply = without(reply, name),
            Fault::Redirect(origin) => {
                let location = format!("{origin}{}", head.path);
                reply = Reply::new(StatusCode::TEMPORARY_REDIRECT).with(LOCATION, location);
            }
            Fault::Pass | Fault::All(_) | Fault::Close | Fault::Silence | Fault::IgnoreRange => {}
        }
    }
    (reply, manner)
}

fn without(mut reply: Reply, name: &str) -> Reply {
    reply.headers.retain(|(key, _)| key.as_str() != name);
    reply
}

fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).expect("a status of HTTP")
}

fn log(state: &Mutex<State>, head: &Head, outcome: &str) {
    let query = if head.query.is_empty() { String::new() } else { format!("?{}", head.query) };
    let mut line = format!("{} {}{}{query} {outcome}", head.method, head.origin, head.path);
    for name in [RANGE, CONTENT_RANGE] {
        if let Some(value) = text(&head.headers, &name) {
            line += &format!(" ({name} {value})");
        }
    }
    if let Some(scheme) = text(&head.headers, AUTHORIZATION).and_then(|value| value.split(' ').next()) {
        line += &format!(" ({})", scheme.to_ascii_lowercase());
    }
    if head.headers.contains_key(PROXY_AUTHORIZATION) {
        line += " (proxy login)";
    }
    state.lock().unwrap_or_else(PoisonError::into_inner).log.push(shorten(&line));
}

/// Cuts digests to twelve digits.
fn shorten(line: &str) -> String {
    let line = line.replace("sha256%3A", "sha256:");
    let mut parts = line.split("sha256:");
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        short += "sha256:";
        short += &part[..digits.min(12)];
        short += &part[digits..];
    }
    short
}

/// Returns a header's text.
pub(super) fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Returns where `Range: bytes=N-` begins.
pub(super) fn byte_range(headers: &HeaderMap) -> Option<usize> {
    text(headers, RANGE)?.strip_prefix("bytes=")?.split('-').next()?.parse().ok()
}
