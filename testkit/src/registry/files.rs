//! Plain files, as `ADD <url>` and foreign layers fetch them.

use hyper::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_RANGE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED,
};
use hyper::{HeaderMap, StatusCode};

use super::handler::{byte_range, text};
use super::reply::Reply;

/// A file behind a URL.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// The content.
    pub bytes: Vec<u8>,
    /// The header `ETag`, with its quotes.
    pub etag: Option<String>,
    /// The header `Last-Modified`.
    pub last_modified: Option<String>,
    /// The header `Content-Disposition`.
    pub disposition: Option<String>,
    /// What the header `Authorization` must be.
    pub authorization: Option<String>,
    /// Where clients are sent to instead.
    pub redirect: Option<String>,
}

impl File {
    /// Returns a file that has only content.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), ..Self::default() }
    }

    pub(super) fn answer(&self, headers: &HeaderMap, honours_range: bool) -> Reply {
        if let Some(location) = &self.redirect {
            return Reply::new(StatusCode::FOUND).with(hyper::header::LOCATION, location);
        }
        if self.authorization.is_some() && text(headers, hyper::header::AUTHORIZATION) != self.authorization.as_deref()
        {
            return Reply::new(StatusCode::UNAUTHORIZED);
        }
        let known = self.etag.as_deref().is_some_and(|etag| {
            text(headers, IF_NONE_MATCH).is_some_and(|list| list.split(',').any(|it| it.trim() == etag))
        });
        let unmodified =
            self.last_modified.is_some() && text(headers, IF_MODIFIED_SINCE) == self.last_modified.as_deref();
        if known || (unmodified && !headers.contains_key(IF_NONE_MATCH)) {
            return self.describe(Reply::new(StatusCode::NOT_MODIFIED));
        }
        let same = text(headers, IF_RANGE).is_none_or(|validator| {
            Some(validator) == self.etag.as_deref() || Some(validator) == self.last_modified.as_deref()
        });
        let start = byte_range(headers).filter(|_| honours_range && same);
        let reply = match start.filter(|start| *start < self.bytes.len()) {
            None => Reply::new(StatusCode::OK).bytes(self.bytes.clone()),
            Some(start) => {
                let range = format!("bytes {start}-{}/{}", self.bytes.len() - 1, self.bytes.len());
                let reply = Reply::new(StatusCode::PARTIAL_CONTENT).with(CONTENT_RANGE, range);
                reply.bytes(self.bytes[start..].to_vec())
            }
        };
        self.describe(reply)
    }

    fn describe(&self, mut reply: Reply) -> Reply {
        let described =
            [(ETAG, &self.etag), (LAST_MODIFIED, &self.last_modified), (CONTENT_DISPOSITION, &self.disposition)];
        for (name, value) in described {
            reply.headers.extend(value.clone().map(|value| (name, value)));
        }
        reply.with(ACCEPT_RANGES, "bytes")
    }
}
