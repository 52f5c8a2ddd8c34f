//! Certificates for servers and clients, made anew for each test.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Signs certificates.
pub struct Authority {
    identity: Identity,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    /// The certificate in PEM.
    pub certificate_pem: String,
    /// The key in PEM.
    pub key_pem: String,
}

impl Authority {
    /// Makes an authority.
    pub fn new() -> Self {
        let (key, params) = (new_key(), authority_params(&[]));
        let certificate = params.self_signed(&key).expect("a self-signed certificate");
        let identity = Identity::new(certificate, &key);
        Self { identity, issuer: Issuer::new(params, key) }
    }

    /// Returns the authority's own certificate in PEM, for clients to trust.
    pub fn certificate_pem(&self) -> &str {
        &self.identity.certificate_pem
    }

    /// Makes a certificate for a host or a client of these names.
    pub fn sign(&self, names: &[&str]) -> Identity {
        let key = new_key();
        let certificate = params(names).signed_by(&key, &self.issuer).expect("a signed certificate");
        Identity::new(certificate, &key)
    }

    /// Makes a certificate that is good no more.
    pub fn sign_expired(&self, names: &[&str]) -> Identity {
        let (key, mut params) = (new_key(), params(names));
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("a signed certificate");
        Identity::new(certificate, &key)
    }

    pub(super) fn der(&self) -> CertificateDer<'static> {
        self.identity.der()
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Identity {
    /// Makes a certificate that signs itself and says that it is an authority, as `openssl req -x509` makes them.
    pub fn self_signed(names: &[&str]) -> Self {
        let key = new_key();
        let certificate = authority_params(names).self_signed(&key).expect("a self-signed certificate");
        Self::new(certificate, &key)
    }

    fn new(certificate: rcgen::Certificate, key: &KeyPair) -> Self {
        let (certificate_pem, key_pem) = (certificate.pem(), key.serialize_pem());
        Self { certificate: certificate.der().clone(), key: key.serialize_der(), certificate_pem, key_pem }
    }

    pub(super) fn der(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    pub(super) fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).expect("names for a certificate")
}

fn authority_params(names: &[&str]) -> CertificateParams {
    let mut params = params(names);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}
