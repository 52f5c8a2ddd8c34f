//! Uploads: begun, continued in pieces, finished under a digest; or a blob taken over from another repository.

use hyper::header::{CONTENT_RANGE, LOCATION, RANGE};
use hyper::{Method, StatusCode};
use oci::Digest;
use url::form_urlencoded;

use super::contents::Contents;
use super::handler::{DOCKER_CONTENT_DIGEST, Head, text};
use super::reply::Reply;

pub(super) fn begin(contents: &mut Contents, head: &Head, repository: &str) -> Reply {
    if head.method != Method::POST {
        return Reply::error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "the operation is unsupported");
    }
    let mount = query(head, "mount").and_then(|text| text.parse::<Digest>().ok());
    let from = query(head, "from").unwrap_or_default();
    if let Some(bytes) = mount.and_then(|digest| contents.blob(&from, &digest)) {
        let digest = contents.put_blob(repository, bytes);
        return created(repository, digest);
    }
    // Never one that somebody else goes on with, or has ended.
    contents.begun += 1;
    let id = format!("upload-{}", contents.begun);
    contents.uploads.insert(id.clone(), Vec::new());
    state(repository, &id, 0, StatusCode::ACCEPTED)
}

pub(super) fn go_on(contents: &mut Contents, head: &Head, repository: &str, id: &str, body: &[u8]) -> Reply {
    let Some(bytes) = contents.uploads.get_mut(id) else {
        return Reply::error(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
    };
    match head.method {
        Method::GET => return state(repository, id, bytes.len(), StatusCode::NO_CONTENT),
        Method::PATCH | Method::PUT => {}
        _ => return Reply::error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "the operation is unsupported"),
    }
    let start = text(&head.headers, CONTENT_RANGE).and_then(|range| range.split('-').next()?.parse().ok());
    if start.is_some_and(|start: usize| start != bytes.len()) {
        return state(repository, id, bytes.len(), StatusCode::RANGE_NOT_SATISFIABLE);
    }
    bytes.extend_from_slice(body);
    if head.method == Method::PATCH {
        return state(repository, id, bytes.len(), StatusCode::ACCEPTED);
    }
    let wanted = query(head, "digest").unwrap_or_default();
    if wanted != Digest::of(bytes).to_string() {
        return Reply::error(
            StatusCode::BAD_REQUEST,
            "DIGEST_INVALID",
            "provided digest did not match uploaded content",
        );
    }
    let bytes = contents.uploads.remove(id).unwrap_or_default();
    let digest = contents.put_blob(repository, bytes.into());
    created(repository, digest)
}

fn created(repository: &str, digest: Digest) -> Reply {
    let location = format!("/v2/{repository}/blobs/{digest}");
    Reply::new(StatusCode::CREATED).with(LOCATION, location).with(DOCKER_CONTENT_DIGEST, digest.to_string())
}

/// The place has a query, as real registries' have, so that clients must add theirs to it.
fn state(repository: &str, id: &str, length: usize, status: StatusCode) -> Reply {
    let location = format!("/v2/{repository}/blobs/uploads/{id}?_state={length}");
    let end = length.saturating_sub(1);
    Reply::new(status).with(LOCATION, location).with(RANGE, format!("0-{end}"))
}

fn query(head: &Head, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(head.query.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}
