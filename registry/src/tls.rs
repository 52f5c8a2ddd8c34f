//! Which certificates are trusted where.
//!
//! The system's certificates are read when the first connection needs them; `SSL_CERT_FILE` and `SSL_CERT_DIR` are respected.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, client};

use crate::config::{ClientCertificate, Config, RegistryConfig, Verification, is_loopback};
use crate::endpoint::settings_key;

/// Why a [`Config`] cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A certificate to trust is not one.
    #[error("invalid CA certificate for registry `{host}`: expected certificates in PEM")]
    Ca {
        /// The host.
        host: String,
    },
    /// The client's certificate or key is not one.
    #[error("invalid client certificate for registry `{host}`: expected a chain and its private key in PEM")]
    ClientCertificate {
        /// The host.
        host: String,
    },
    /// A proxy is not one that Kiln can use.
    #[error("unsupported proxy `{proxy}`: expected `http://[user:password@]host[:port]`")]
    Proxy {
        /// The proxy, without its login.
        proxy: String,
    },
}

/// The trust settings of all hosts.
pub(crate) struct Trust {
    by_host: BTreeMap<String, HostTrust>,
    others: HostTrust,
    loopback: HostTrust,
}

struct HostTrust {
    verification: Verification,
    ca: Vec<CertificateDer<'static>>,
    client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    /// `None` inside: the system has no certificates and the host has none of its own.
    made: OnceLock<Option<Arc<ClientConfig>>>,
}

impl Trust {
    /// Parses the certificates of `config`.
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let mut by_host = BTreeMap::new();
        for (host, settings) in &config.registries {
            by_host.insert(host.clone(), HostTrust::new(host, settings)?);
        }
        let others = HostTrust::plain(Verification::Full);
        Ok(Self { by_host, others, loopback: HostTrust::plain(Verification::Skip) })
    }

    /// Returns the TLS settings for a host and port, or `None` where there is nothing to check certificates with.
    pub(crate) fn of(&self, host: &str, port: u16) -> Option<Arc<ClientConfig>> {
        let own = settings_key(&self.by_host, host, port).and_then(|key| self.by_host.get(key));
        let trust = own.unwrap_or(if is_loopback(host) { &self.loopback } else { &self.others });
        trust.made.get_or_init(|| trust.make()).clone()
    }
}

impl HostTrust {
    fn plain(verification: Verification) -> Self {
        Self { verification, ca: Vec::new(), client: None, made: OnceLock::new() }
    }

    fn new(host: &str, settings: &RegistryConfig) -> Result<Self, ConfigError> {
        let mut ca = Vec::new();
        for pem in &settings.ca_pem {
            ca.extend(certificates(pem).ok_or_else(|| ConfigError::Ca { host: host.to_owned() })?);
        }
        let identity = settings.client_certificate.as_ref().map(|certificate| {
            identity(certificate).ok_or_else(|| ConfigError::ClientCertificate { host: host.to_owned() })
        });
        let default = if is_loopback(host) && ca.is_empty() { Verification::Skip } else { Verification::Full };
        let verification = settings.verification.unwrap_or(default);
        Ok(Self { verification, ca, client: identity.transpose()?, made: OnceLock::new() })
    }

    fn make(&self) -> Option<Arc<ClientConfig>> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match self.verification {
            Verification::Skip => Arc::new(Unverified { provider: Arc::clone(&provider) }),
            Verification::Full => self.verifier(&provider)?,
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring supports the protocol versions that rustls calls safe")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .expect("chain and key were tried out when the settings were parsed"),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Some(Arc::new(config))
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Option<Arc<dyn ServerCertVerifier>> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(self.ca.iter().cloned());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        // The one error of the builder is that there are no roots.
        let chain = verifier.build().ok()?;
        Some(Arc::new(Verified { chain, pinned: self.ca.clone() }))
    }
}

fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    parsed.ok().filter(|certificates| !certificates.is_empty())
}

fn identity(certificate: &ClientCertificate) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = certificates(&certificate.chain_pem)?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).ok()?;
    rustls::sign::CertifiedKey::from_der(chain.clone(), key.clone_key(), &ring::default_provider()).ok()?;
    Some((chain, key))
}

/// Checks chain, name and dates; a certificate that the user named for the host itself is trusted as it stands.
///
/// The guides to registries of one's own make self-signed certificates that are marked as authorities, and webpki refuses such a one as a server's.
#[derive(Debug)]
struct Verified {
    chain: Arc<WebPkiServerVerifier>,
    pinned: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.chain.verify_server_cert(server, intermediates, name, ocsp, now) {
            // webpki checks the dates before this, but not the name.
            Err(Error::InvalidCertificate(CertificateError::Other(_))) if self.pinned.contains(server) => {
                client::verify_server_name(&ParsedCertificate::try_from(server)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Checks nothing but that the other side has the key of the certificate that it shows.
#[derive(Debug)]
struct Unverified {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
