//! Why one attempt at one host failed, in the words that Docker's users search for.

use std::sync::Arc;
use std::time::Duration;

use oci::Digest;

use crate::connect_error::{ConnectError, seconds};
use crate::credentials::CredentialError;

/// Why one attempt failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Cause {
    /// No connection came about.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// There is no such manifest, blob or file.
    #[error("{}not found", prefix(.message))]
    NotFound {
        /// What the host said, such as `manifest unknown`; may be empty.
        message: String,
    },
    /// The host does not show it to this user, or does not tell that it is not there.
    #[error(
        "{access} access denied, repository does not exist or may require authorization{}",
        suffix(.message)
    )]
    AccessDenied {
        /// `pull` or `push`.
        access: &'static str,
        /// What the host said; may be empty.
        message: String,
    },
    /// The login is wrong.
    #[error("unauthorized: incorrect username or password{}", suffix(.message.trim_start_matches("unauthorized: ")))]
    Unauthorized {
        /// What the host said; may be empty.
        message: String,
    },
    /// The login that the host asks for could not be had.
    #[error("{access} access denied, and no login could be had")]
    Credentials {
        /// `pull` or `push`.
        access: &'static str,
        /// Why there is no login.
        source: CredentialError,
    },
    /// The host wants fewer requests.
    #[error("toomanyrequests{}", suffix(.message))]
    RateLimited {
        /// What the host said; may be empty.
        message: String,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The host answered with a status that says no.
    #[error("unexpected status from {method} request to {url}: {status}{}", suffix(.message))]
    Status {
        /// The method of the request.
        method: String,
        /// Where it went, without login and query.
        url: String,
        /// The status, with its usual words.
        status: Status,
        /// What the host said; may be empty.
        message: String,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// A file server answered with a status that says no.
    #[error("invalid response status {status}")]
    DownloadStatus {
        /// The status.
        status: u16,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// Nothing came for too long.
    #[error("i/o timeout: nothing came for {} s while {waiting_for}", seconds(.after))]
    Timeout {
        /// What was going on.
        waiting_for: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The connection broke.
    #[error("connection broken after {received_bytes} bytes")]
    Broken {
        /// How much of the content had come, over all attempts.
        received_bytes: u64,
        /// Why.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The content is not what its digest says.
    #[error("content is corrupt: expected {expected}, got {actual} ({size_bytes} bytes)")]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
        /// How much came.
        size_bytes: u64,
    },
    /// The content is longer or shorter than its descriptor says.
    #[error("content has the wrong size: expected {expected_bytes} bytes, got {actual_bytes}")]
    SizeMismatch {
        /// What the descriptor says.
        expected_bytes: u64,
        /// What came, or what the host announced.
        actual_bytes: u64,
    },
    /// The content is longer than anything sensible.
    #[error("{what} is larger than {limit_bytes} bytes")]
    TooLarge {
        /// What was read.
        what: &'static str,
        /// The limit.
        limit_bytes: u64,
    },
    /// The manifest is of a kind that Kiln does not read.
    #[error("unsupported manifest: {what}")]
    Manifest {
        /// What is wrong with it.
        what: String,
    },
    /// The host does not follow the protocol.
    #[error("unexpected answer: {what}")]
    Protocol {
        /// What is wrong with the answer.
        what: String,
    },
    /// The bytes to be pushed could not be read.
    #[error("cannot read the content to push")]
    Source {
        /// Why.
        source: Arc<std::io::Error>,
    },
}

/// A status of HTTP, shown with its usual words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u16);

impl std::fmt::Display for Status {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = hyper::StatusCode::from_u16(self.0).ok().and_then(|status| status.canonical_reason());
        match words {
            Some(words) => write!(out, "{} {words}", self.0),
            None => write!(out, "{}", self.0),
        }
    }
}

impl Cause {
    /// Tells whether the same attempt may succeed a little later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Timeout { .. } | Self::Broken { .. } => true,
            Self::Connect(error) => error.is_transient(),
            Self::Status { status: Status(status), .. } | Self::DownloadStatus { status, .. } => {
                matches!(status, 408 | 429 | 500..=599) && *status != 501
            }
            _ => false,
        }
    }

    /// Returns how long the host asked to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. }
            | Self::Status { retry_after, .. }
            | Self::DownloadStatus { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Returns what the user can do about it at `host`.
    pub(crate) fn hint(&self, host: &str) -> Option<String> {
        match self {
            Self::Connect(error) => error.hint(host),
            Self::AccessDenied { .. } => {
                Some(format!("check the name; if `{host}` wants a login: docker login {host}"))
            }
            Self::Unauthorized { .. } => Some(format!("log in again: docker login {host}")),
            Self::Credentials { .. } => Some("see `credsStore` and `credHelpers` in ~/.docker/config.json".to_owned()),
            Self::RateLimited { .. } => Some(format!(
                "wait, log in for a higher limit (docker login {host}), or use a mirror (--registry-mirror)"
            )),
            Self::Timeout { .. } => Some(format!("check the network and the proxy settings, then try `{host}` again")),
            _ => None,
        }
    }
}

fn prefix(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!("{message}: ") }
}

fn suffix(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}
