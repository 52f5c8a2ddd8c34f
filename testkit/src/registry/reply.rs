//! Answers, and bodies that break off or stand still.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Bytes, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, HeaderName};
use hyper::{Response, StatusCode};

/// An answer that is not sent yet.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) bytes: Bytes,
}

impl Reply {
    pub(super) fn new(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), bytes: Bytes::new() }
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn bytes(mut self, bytes: impl Into<Bytes>) -> Self {
        self.bytes = bytes.into();
        self
    }

    /// Returns an answer with an error code of the distribution specification.
    pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Self {
        let body = serde_json::json!({ "errors": [{ "code": code, "message": message }] });
        Self::new(status).bytes(body.to_string())
    }

    /// Returns what is sent. The answer to HEAD has the length of what GET would get, and nothing of it.
    pub(super) fn send(self, is_head: bool, manner: Manner) -> Response<Body> {
        let mut response = Response::new(Body { rest: self.bytes.clone(), is_head, manner, is_flushed: false });
        *response.status_mut() = self.status;
        for (name, value) in self.headers {
            response.headers_mut().append(name, value.parse().expect("a header's value"));
        }
        if manner != Manner::Chunked && self.status != StatusCode::NO_CONTENT && self.status != StatusCode::NOT_MODIFIED
        {
            response.headers_mut().insert(CONTENT_LENGTH, self.bytes.len().into());
        }
        response
    }
}

/// How a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Whole,
    /// Without telling its length before.
    Chunked,
    /// The connection is closed after so many bytes.
    CutAfter(usize),
    /// Nothing more comes after so many bytes.
    StallAfter(usize),
}

/// A body on its way.
pub(super) struct Body {
    rest: Bytes,
    is_head: bool,
    manner: Manner,
    /// Whether what stands before a cut was sent.
    is_flushed: bool,
}

/// Why a body ends too early.
#[derive(Debug, thiserror::Error)]
#[error("the body is cut off on request")]
pub(super) struct Cut;

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let body = self.get_mut();
        let left = match &mut body.manner {
            Manner::Whole | Manner::Chunked => body.rest.len(),
            Manner::CutAfter(left) | Manner::StallAfter(left) => *left,
        };
        if body.is_head || (body.rest.is_empty() && left == 0) {
            return Poll::Ready(None);
        }
        if left == 0 {
            // Nobody ever wakes a body that stalls: it ends with its connection.
            if matches!(body.manner, Manner::CutAfter(_)) {
                if body.is_flushed {
                    return Poll::Ready(Some(Err(Cut)));
                }
                body.is_flushed = true;
                context.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        let piece = body.rest.split_to(left.min(body.rest.len()));
        if let Manner::CutAfter(left) | Manner::StallAfter(left) = &mut body.manner {
            *left -= piece.len().min(*left);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        match self.manner {
            Manner::Whole if !self.is_head => SizeHint::with_exact(self.rest.len() as u64),
            _ => SizeHint::default(),
        }
    }
}
