//! Why no connection to a host came about.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use oci::Timestamp;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

/// Why no connection came about.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// DNS says that there is no such name.
    #[error("no such host: `{name}`")]
    NoSuchHost {
        /// The name.
        name: String,
    },
    /// DNS could not be asked, or did not know.
    #[error("cannot look up `{name}`: no answer from DNS")]
    Lookup {
        /// The name.
        name: String,
        /// Why.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing listens there.
    #[error("connection refused by `{address}`")]
    Refused {
        /// Host and port.
        address: String,
    },
    /// The way there is blocked.
    #[error("cannot connect to `{address}`")]
    Unreachable {
        /// Host and port.
        address: String,
        /// Why.
        source: Arc<io::Error>,
    },
    /// Nobody answered in time.
    #[error("i/o timeout: no connection to `{address}` after {} s", seconds(.after))]
    Timeout {
        /// Host and port.
        address: String,
        /// How long was waited.
        after: Duration,
    },
    /// The proxy did not let the connection through.
    #[error("cannot connect to `{address}` through proxy `{proxy}`")]
    Proxy {
        /// Host and port.
        address: String,
        /// The proxy, without its login.
        proxy: String,
        /// Why.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The host answered the TLS greeting with something else.
    #[error("`{address}` does not speak TLS: server gave HTTP response to HTTPS client")]
    NotTls {
        /// Host and port.
        address: String,
    },
    /// The host's certificate is not one to trust.
    #[error("tls: failed to verify certificate of `{address}`: x509: {}", words(.reason))]
    Certificate {
        /// Host and port.
        address: String,
        /// What is wrong with it.
        reason: CertificateError,
    },
    /// The system has no certificates to compare with.
    #[error("tls: failed to verify certificate of `{address}`: no CA certificates found on this system")]
    NoRoots {
        /// Host and port.
        address: String,
    },
    /// The host does not accept the certificate that the client showed, or that it showed none.
    #[error("tls: `{address}` wants another client certificate")]
    ClientCertificate {
        /// Host and port.
        address: String,
        /// What the host said.
        source: rustls::Error,
    },
    /// TLS failed for another reason.
    #[error("TLS handshake with `{address}` failed")]
    Handshake {
        /// Host and port.
        address: String,
        /// Why.
        source: Arc<io::Error>,
    },
}

impl ConnectError {
    /// Returns the error that `alert` stands for if it is about the client's certificate.
    pub(crate) fn client_certificate(address: &str, alert: &rustls::Error) -> Option<Self> {
        let rustls::Error::AlertReceived(description) = alert else { return None };
        let is_certificate = matches!(
            description,
            AlertDescription::CertificateRequired
                | AlertDescription::NoCertificate
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::DecryptError
        );
        is_certificate.then(|| Self::ClientCertificate { address: address.to_owned(), source: alert.clone() })
    }

    /// Tells whether the same attempt may succeed a little later. A refusal is final: it is fast, and most often a wrong port.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Lookup { .. } | Self::Timeout { .. } => true,
            Self::Handshake { source, .. } => source.kind() != io::ErrorKind::InvalidData,
            _ => false,
        }
    }

    /// Tells whether the host may still speak plain HTTP.
    pub(crate) fn is_without_tls(&self) -> bool {
        matches!(self, Self::NotTls { .. } | Self::Refused { .. } | Self::Handshake { .. })
    }

    /// Returns what the user can do about it at `host`.
    pub(crate) fn hint(&self, host: &str) -> Option<String> {
        let settings = |key: &str| format!("set `{key}` for `{host}` in the registry settings");
        Some(match self {
            Self::NoSuchHost { .. } => {
                "check the spelling of the registry's host, and the name servers in /etc/resolv.conf".to_owned()
            }
            Self::Lookup { .. } => "check the name servers in /etc/resolv.conf".to_owned(),
            Self::Refused { .. } => format!("check that `{host}` runs, and its port"),
            Self::Timeout { .. } | Self::Unreachable { .. } | Self::Proxy { .. } => {
                "check the network and the variables HTTP_PROXY, HTTPS_PROXY, NO_PROXY".to_owned()
            }
            Self::NotTls { .. } => settings("http = true"),
            Self::Certificate { reason, .. } if is_unknown_authority(reason) => {
                let ca = settings("ca");
                format!(
                    "if the certificate is your own, {ca} or SSL_CERT_FILE to it; to check nothing, set `insecure = true`"
                )
            }
            Self::ClientCertificate { .. } => settings("keypair"),
            Self::NoRoots { .. } => "install the package ca-certificates, or set SSL_CERT_FILE".to_owned(),
            Self::Certificate { .. } | Self::Handshake { .. } => return None,
        })
    }
}

fn is_unknown_authority(reason: &CertificateError) -> bool {
    matches!(reason, CertificateError::UnknownIssuer | CertificateError::BadSignature | CertificateError::Other(_))
}

const EXPIRED: &str = "certificate has expired or is not yet valid";

fn date(time: UnixTime) -> String {
    let time = i64::try_from(time.as_secs()).ok().and_then(|seconds| Timestamp::from_unix(seconds, 0));
    time.map_or_else(|| "an unknown time".to_owned(), |time| time.to_string())
}

/// The words are those of Go's TLS, which users of Docker know.
fn words(reason: &CertificateError) -> String {
    match reason {
        CertificateError::Expired | CertificateError::NotValidYet => EXPIRED.to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => format!("{EXPIRED}: it ended at {}", date(*not_after)),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("{EXPIRED}: it begins at {}", date(*not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<&str> = presented.iter().map(|name| name.split('"').nth(1).unwrap_or(name)).collect();
            format!("certificate is valid for {}, not {}", names.join(", "), expected.to_str())
        }
        other if is_unknown_authority(other) => "certificate signed by unknown authority".to_owned(),
        other => other.to_string(),
    }
}

/// Returns a duration in seconds, to the millisecond.
pub(crate) fn seconds(duration: &Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
