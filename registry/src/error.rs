//! What failed, and how each host that was asked answered.

use std::error::Error as _;
use std::fmt;

use oci::reference::DEFAULT_REGISTRY;
use oci::{Digest, Reference};

use crate::cause::Cause;
use crate::connect_error::ConnectError;
use crate::endpoint::HUB_HOST;

/// Why an operation failed. The text says what was to be done; the source, a [`Failures`], says how each host answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A reference could not be turned into a manifest.
    #[error("failed to resolve reference `{reference}`")]
    Resolve {
        /// The reference.
        reference: Box<Reference>,
        /// How each host answered.
        source: Failures,
    },
    /// A blob could not be had.
    #[error("failed to fetch blob `{digest}` of `{repository}`")]
    FetchBlob {
        /// The repository by its short name.
        repository: String,
        /// The blob.
        digest: Digest,
        /// How each host answered.
        source: Failures,
    },
    /// A blob could not be brought to a registry.
    #[error("failed to push blob `{digest}` to `{repository}`")]
    PushBlob {
        /// The repository by its short name.
        repository: String,
        /// The blob.
        digest: Digest,
        /// How the host answered.
        source: Failures,
    },
    /// A manifest could not be brought to a registry.
    #[error("failed to push `{reference}`")]
    PushManifest {
        /// What it was to be known as.
        reference: Box<Reference>,
        /// How the host answered.
        source: Failures,
    },
    /// A file behind a URL could not be had.
    #[error("failed to load `{url}`")]
    Download {
        /// The URL, without login and query.
        url: String,
        /// How the host answered.
        source: Failures,
    },
}

impl Error {
    /// Returns how each host answered, for callers that say in their own words what was to be done.
    pub fn failures(&self) -> &Failures {
        match self {
            Self::Resolve { source, .. }
            | Self::FetchBlob { source, .. }
            | Self::PushBlob { source, .. }
            | Self::PushManifest { source, .. }
            | Self::Download { source, .. } => source,
        }
    }

    /// Returns the cause that decides: that of the last host, which is the registry itself.
    pub fn cause(&self) -> Option<&Cause> {
        self.failures().0.last().map(|failure| &failure.cause)
    }

    /// Tells whether the registry answered that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self.cause(), Some(Cause::NotFound { .. }))
    }

    /// Returns what the user can do about it, or `None` where the text says it all.
    pub fn hint(&self) -> Option<String> {
        let failure = self.failures().0.last()?;
        // A file server is no registry, so there is nothing to be set for it.
        let is_setting = |error: &ConnectError| {
            use ConnectError::{Certificate, ClientCertificate, NotTls};
            matches!(error, Certificate { .. } | ClientCertificate { .. } | NotTls { .. })
        };
        if let (Self::Download { .. }, Cause::Connect(error)) = (self, &failure.cause)
            && is_setting(error)
        {
            return None;
        }
        // Settings and logins know Docker Hub by the name in references.
        let host = if failure.host == HUB_HOST { DEFAULT_REGISTRY } else { &failure.host };
        failure.cause.hint(host)
    }
}

/// How each host that was asked answered, the first first; never empty.
///
/// Its text is one line, `host: cause`, with `; ` between hosts.
#[derive(Debug)]
pub struct Failures(pub(crate) Vec<Failure>);

/// How one host answered in the end.
#[derive(Debug)]
pub struct Failure {
    /// The host, with its port where that is not the scheme's own.
    pub host: String,
    /// How many attempts were made.
    pub attempt: u32,
    /// Why the last of them failed.
    pub cause: Cause,
}

impl Failures {
    /// Returns one failure for each host, in the order in which they were asked.
    pub fn iter(&self) -> impl Iterator<Item = &Failure> {
        self.0.iter()
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, failure) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(out, "{separator}{failure}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failures {}

impl fmt::Display for Failure {
    /// Writes the whole chain of causes, since a list of failures cannot have them as its source.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.host)?;
        if self.attempt > 1 {
            write!(out, " (attempt {})", self.attempt)?;
        }
        write!(out, ": {}", self.cause)?;
        let mut source = self.cause.source();
        while let Some(deeper) = source {
            write!(out, ": {deeper}")?;
            source = deeper.source();
        }
        Ok(())
    }
}
