//! A private key, as files have it, and what is signed with it.
//!
//! The formats: OpenSSH's own (its PROTOCOL.key), PKCS#1, PKCS#8 and SEC 1, all in PEM. Signatures: RFC 8709 (Ed25519), RFC 5656 (ECDSA), RFC 8332 (RSA).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPairComponents, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair,
};

use super::der::{dotted, read_curve_key, read_kind_key};
use super::wire::{Reader, put_number, put_string, trim};

const MAGIC: &[u8] = b"openssh-key-v1\0";
const ED25519_SEED_BYTES: usize = 32;

/// A private key.
pub(super) struct Key {
    /// The public half, as messages have it.
    public: Vec<u8>,
    signer: Signer,
}

enum Signer {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair, &'static Curve),
    Rsa(Box<RsaKeyPair>),
}

/// The hash of a signature with RSA.
#[derive(Clone, Copy)]
pub(super) enum RsaHash {
    Sha256,
    Sha512,
}

struct Curve {
    /// The key's kind.
    name: &'static str,
    curve: &'static str,
    /// Its object identifier in DER.
    identifier: &'static [u8],
    number_bytes: usize,
    algorithm: &'static EcdsaSigningAlgorithm,
}

static CURVES: [Curve; 2] = [
    Curve {
        name: "ecdsa-sha2-nistp256",
        curve: "nistp256",
        identifier: &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        number_bytes: 32,
        algorithm: &ECDSA_P256_SHA256_FIXED_SIGNING,
    },
    Curve {
        name: "ecdsa-sha2-nistp384",
        curve: "nistp384",
        identifier: &[0x2b, 0x81, 0x04, 0x00, 0x22],
        number_bytes: 48,
        algorithm: &ECDSA_P384_SHA384_FIXED_SIGNING,
    },
];

/// A curve that is known so that it can be named.
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
// Object identifiers of kinds in DER.
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const ELLIPTIC_CURVE: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// Why a file is not a key that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is none.
    #[error(
        "no private key found: expected a file with a line `-----BEGIN … PRIVATE KEY-----`, or the socket of an agent"
    )]
    NoKey,
    /// It has a passphrase.
    #[error(
        "the private key is protected by a passphrase: add it to an agent with `ssh-add`, and give the agent's socket"
    )]
    Encrypted,
    /// Its kind is not supported.
    #[error(
        "private keys of the kind `{kind}` are not supported: expected Ed25519, ECDSA over P-256 or P-384, or RSA; add the key to an agent with `ssh-add`, and give the agent's socket"
    )]
    Kind {
        /// The kind.
        kind: String,
    },
    /// It has only the private half of what is needed.
    #[error("the private key is without its public half: write it again with `ssh-keygen -p -f KEY`")]
    NoPublic,
    /// What is in it is not what its kind has.
    #[error("the private key is damaged")]
    Damaged,
    /// The numbers of it make no key.
    #[error("the private key is refused: {reason}")]
    Rejected {
        /// Why, in the words of the library.
        reason: String,
    },
}

impl From<ring::error::KeyRejected> for KeyError {
    fn from(reason: ring::error::KeyRejected) -> Self {
        Self::Rejected { reason: reason.to_string() }
    }
}

impl Key {
    /// Reads a key from the text of a file.
    pub(super) fn parse(text: &[u8]) -> Result<Self, KeyError> {
        let (kind, encoded) = find_pem(text).ok_or(KeyError::NoKey)?;
        // A header of the old format: `Proc-Type: 4,ENCRYPTED`.
        if encoded.contains("ENCRYPTED") || kind.starts_with("ENCRYPTED") {
            return Err(KeyError::Encrypted);
        }
        let digits: String = encoded.split_whitespace().collect();
        let bytes = BASE64.decode(digits).map_err(|_| KeyError::Damaged)?;
        match kind {
            "OPENSSH PRIVATE KEY" => parse_openssh(&bytes),
            "RSA PRIVATE KEY" => Ok(Self::rsa(RsaKeyPair::from_der(&bytes)?)),
            "EC PRIVATE KEY" => parse_sec1(&bytes, None),
            "PRIVATE KEY" => parse_pkcs8(&bytes),
            kind => Err(KeyError::Kind { kind: kind.to_owned() }),
        }
    }

    /// Returns the public half, as messages have it.
    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    /// Signs; `None` is what the key does not do. Without a hash, RSA would sign with SHA-1, which nobody should trust.
    pub(super) fn sign(&self, data: &[u8], hash: Option<RsaHash>) -> Option<Vec<u8>> {
        let (name, signature) = match &self.signer {
            Signer::Ed25519(key) => ("ssh-ed25519", key.sign(data).as_ref().to_vec()),
            Signer::Ecdsa(key, curve) => {
                let signature = key.sign(&SystemRandom::new(), data).ok()?;
                let (first, second) = signature.as_ref().split_at_checked(curve.number_bytes)?;
                let mut numbers = Vec::new();
                put_number(&mut numbers, first);
                put_number(&mut numbers, second);
                (curve.name, numbers)
            }
            Signer::Rsa(key) => {
                let (name, padding): (_, &dyn ring::signature::RsaEncoding) = match hash? {
                    RsaHash::Sha256 => ("rsa-sha2-256", &RSA_PKCS1_SHA256),
                    RsaHash::Sha512 => ("rsa-sha2-512", &RSA_PKCS1_SHA512),
                };
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(padding, &SystemRandom::new(), data, &mut signature).ok()?;
                (name, signature)
            }
        };
        let mut signed = Vec::new();
        put_string(&mut signed, name.as_bytes());
        put_string(&mut signed, &signature);
        Some(signed)
    }

    fn ed25519(key: Ed25519KeyPair) -> Self {
        let mut public = Vec::new();
        put_string(&mut public, b"ssh-ed25519");
        put_string(&mut public, key.public_key().as_ref());
        Self { public, signer: Signer::Ed25519(key) }
    }

    fn ecdsa(key: EcdsaKeyPair, curve: &'static Curve) -> Self {
        let mut public = Vec::new();
        put_string(&mut public, curve.name.as_bytes());
        put_string(&mut public, curve.curve.as_bytes());
        put_string(&mut public, key.public_key().as_ref());
        Self { public, signer: Signer::Ecdsa(key, curve) }
    }

    fn rsa(key: RsaKeyPair) -> Self {
        let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(key.public());
        let mut public = Vec::new();
        put_string(&mut public, b"ssh-rsa");
        put_number(&mut public, &e);
        put_number(&mut public, &n);
        Self { public, signer: Signer::Rsa(Box::new(key)) }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

/// Returns what stands after `BEGIN` of the first private key in a file, and what is between its lines.
fn find_pem(text: &[u8]) -> Option<(&str, &str)> {
    let text = str::from_utf8(text).ok()?;
    let mut rest = text;
    loop {
        let (_, begun) = rest.split_once("-----BEGIN ")?;
        let (kind, body) = begun.split_once("-----")?;
        let (body, after) = body.split_once("-----END ")?;
        // Beside a key there may be its parameters, or a certificate.
        if kind.ends_with("PRIVATE KEY") {
            return Some((kind, body));
        }
        rest = after;
    }
}

fn parse_pkcs8(der: &[u8]) -> Result<Key, KeyError> {
    let read = read_kind_key(der).ok_or(KeyError::Damaged)?;
    match read.kind {
        ED25519 => Ok(Key::ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)?)),
        RSA => Ok(Key::rsa(RsaKeyPair::from_pkcs8(der)?)),
        ELLIPTIC_CURVE => parse_sec1(read.key, read.curve),
        kind => Err(KeyError::Kind { kind: dotted(kind) }),
    }
}

/// Reads a key over a curve, which `curve` names where it is known from elsewhere.
fn parse_sec1(der: &[u8], curve: Option<&[u8]>) -> Result<Key, KeyError> {
    let key = read_curve_key(der).ok_or(KeyError::Damaged)?;
    let identifier = curve.or(key.curve).ok_or(KeyError::Damaged)?;
    let named = CURVES.iter().find(|curve| curve.identifier == identifier);
    let curve = named.ok_or_else(|| {
        let known = (identifier == P521).then(|| "ecdsa-sha2-nistp521".to_owned());
        KeyError::Kind { kind: known.unwrap_or_else(|| format!("ECDSA over {}", dotted(identifier))) }
    })?;
    make_ecdsa(curve, key.number, key.public.ok_or(KeyError::NoPublic)?)
}

fn parse_openssh(bytes: &[u8]) -> Result<Key, KeyError> {
    let mut file = Reader(bytes.strip_prefix(MAGIC).ok_or(KeyError::Damaged)?);
    let mut outer =
        || Some((file.string()?, file.string()?, file.string()?, file.u32()?, file.string()?, file.string()?));
    let (cipher, _derivation, _options, count, _public, private) = outer().ok_or(KeyError::Damaged)?;
    if cipher != b"none" {
        return Err(KeyError::Encrypted);
    }
    let mut private = Reader(private);
    let checks = (private.u32(), private.u32());
    if count != 1 || checks.0.is_none() || checks.0 != checks.1 {
        return Err(KeyError::Damaged);
    }
    let kind = private.string().ok_or(KeyError::Damaged)?;
    match kind {
        b"ssh-ed25519" => parse_ed25519(&mut private),
        b"ssh-rsa" => parse_rsa(&mut private),
        kind => match CURVES.iter().find(|curve| curve.name.as_bytes() == kind) {
            Some(curve) => parse_ecdsa(&mut private, curve),
            None => Err(KeyError::Kind { kind: String::from_utf8_lossy(kind).into_owned() }),
        },
    }
}

fn parse_ed25519(private: &mut Reader<'_>) -> Result<Key, KeyError> {
    let mut fields = || Some((private.string()?, private.string()?.get(..ED25519_SEED_BYTES)?));
    let (public, seed) = fields().ok_or(KeyError::Damaged)?;
    Ok(Key::ed25519(Ed25519KeyPair::from_seed_and_public_key(seed, public)?))
}

fn parse_ecdsa(private: &mut Reader<'_>, curve: &'static Curve) -> Result<Key, KeyError> {
    let mut fields = || Some((private.string()?, private.string()?, private.number()?));
    let (_name, public, number) = fields().ok_or(KeyError::Damaged)?;
    make_ecdsa(curve, number, public)
}

fn make_ecdsa(curve: &'static Curve, number: &[u8], public: &[u8]) -> Result<Key, KeyError> {
    let padding = curve.number_bytes.checked_sub(number.len()).ok_or(KeyError::Damaged)?;
    let padded = [&vec![0; padding], number].concat();
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_private_key_and_public_key(curve.algorithm, &padded, public, &random)?;
    Ok(Key::ecdsa(key, curve))
}

fn parse_rsa(private: &mut Reader<'_>) -> Result<Key, KeyError> {
    let mut numbers = [[].as_slice(); 6];
    for number in &mut numbers {
        *number = private.number().ok_or(KeyError::Damaged)?;
    }
    let [n, e, d, inverse, p, q] = numbers;
    let exponent = |prime: &[u8]| remainder(d, &less_one(prime).ok_or(KeyError::Damaged)?).ok_or(KeyError::Damaged);
    let (for_p, for_q) = (exponent(p)?, exponent(q)?);
    let components = KeyPairComponents {
        public_key: PublicKeyComponents { n, e },
        d,
        p,
        q,
        dP: trim(&for_p),
        dQ: trim(&for_q),
        qInv: inverse,
    };
    Ok(Key::rsa(RsaKeyPair::from_components(&components)?))
}

/// Returns an odd number less one.
fn less_one(number: &[u8]) -> Option<Vec<u8>> {
    let mut less = number.to_vec();
    let last = less.last_mut().filter(|last| **last & 1 == 1)?;
    *last -= 1;
    Some(less)
}

/// Returns what is left of a number after division, by long division in base two; `None` is a division by zero.
fn remainder(dividend: &[u8], divisor: &[u8]) -> Option<Vec<u8>> {
    let divisor = trim(divisor);
    if divisor.is_empty() {
        return None;
    }
    // A digit more, for what is shifted out before it is subtracted.
    let divisor = [&[0], divisor].concat();
    let mut left = vec![0; divisor.len()];
    for digit in dividend {
        for place in (0..u8::BITS).rev() {
            let mut carry = digit >> place & 1;
            for low in left.iter_mut().rev() {
                (*low, carry) = (*low << 1 | carry, *low >> 7);
            }
            if left >= divisor {
                subtract(&mut left, &divisor);
            }
        }
    }
    Some(left)
}

/// Takes a number from one that is not less and has as many digits.
fn subtract(from: &mut [u8], number: &[u8]) {
    let mut borrow = false;
    for (digit, less) in from.iter_mut().zip(number).rev() {
        let (once, first) = digit.overflowing_sub(*less);
        let (twice, second) = once.overflowing_sub(u8::from(borrow));
        (*digit, borrow) = (twice, first || second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders_are_those_of_division() {
        let check = |dividend: u128, divisor: u128| {
            let found = remainder(&dividend.to_be_bytes(), &divisor.to_be_bytes()).unwrap();
            assert_eq!(trim(&found), trim(&(dividend % divisor).to_be_bytes()), "{dividend} by {divisor}");
        };
        check(u128::MAX, 0xffff_ffff_0000_0001);
        check(12_345_678_901_234_567_890, 255);
        check(7, 9);
        check(9, 9);
        assert_eq!(remainder(&[1], &[0]), None);
    }

    #[test]
    fn what_is_no_key_is_refused_with_what_to_do() {
        let kind = |text: &str| Key::parse(text.as_bytes()).unwrap_err();
        assert_eq!(kind("hello"), KeyError::NoKey);
        assert_eq!(kind("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"), KeyError::NoKey);
        let pem = |kind: &str, body: &str| format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n");
        assert_eq!(kind(&pem("OPENSSH PRIVATE KEY", "!!")), KeyError::Damaged);
        assert_eq!(kind(&pem("OPENSSH PRIVATE KEY", "AAAA")), KeyError::Damaged);
        assert_eq!(kind(&pem("ENCRYPTED PRIVATE KEY", "AAAA")), KeyError::Encrypted);
        assert_eq!(kind(&pem("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\nAAAA")), KeyError::Encrypted);
        assert_eq!(kind(&pem("DSA PRIVATE KEY", "AAAA")), KeyError::Kind { kind: "DSA PRIVATE KEY".into() });
        assert_eq!(kind(&pem("PRIVATE KEY", "AAAA")), KeyError::Damaged);
        assert_eq!(kind(&pem("EC PRIVATE KEY", "AAAA")), KeyError::Damaged);
    }

    #[test]
    fn what_is_in_a_key_is_told_where_it_cannot_be_used() {
        let parse = |kind: &str, body: &str| {
            let pem = format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n");
            Key::parse(pem.as_bytes()).map(|key| key.public).map_err(|error| match error {
                KeyError::Kind { kind } => kind,
                other => other.to_string(),
            })
        };
        let p521 = "MIHcAgEBBEIBK9jJ03KI4VhO03+J9JhiGRbkcT4tD1INMk0sA1O+/0rKpciqEAspbPGi96DHKtPeGJ7xY4b1TSS7m109z+Y2xrqgBwYFK4EEACOhgYkDgYYABADt\
                    qdrb11rWdPvq/jqcrB7K6n7dS2SnNcLoCqaLY5WG8gF4HHMcEu7mWajAO37iDHSsYfbi208/weFUGLCpMAAhbwDsIMY/gWm4VMjZKOB6O9959b7uvptER7v8G4c2npl8\
                    K+Wc51b6asHA5ZAfLxdEsLOadEGQVixiwmRUKgDnTU0oPA==";
        assert_eq!(parse("EC PRIVATE KEY", p521), Err("ecdsa-sha2-nistp521".to_owned()));
        let secp256k1 = "MHQCAQEEIDdEdvPgmJQ/DcVOAAxdFEqxzp+8K0AJ85wxTLcyUc/yoAcGBSuBBAAKoUQDQgAEEzevVtl2OhtFWm3BCjoXpv56QXUSOO2vc9JLNskleWERTHJRNDPA\
                         aHN5+vAWw1RF3k9XdtVNOL6NqvGJeHKV9A==";
        assert_eq!(parse("EC PRIVATE KEY", secp256k1), Err("ECDSA over 1.3.132.0.10".to_owned()));
        let ed448 =
            "MEcCAQAwBQYDK2VxBDsEOYDJRwe1IXOzcA/VaRDK4wyewRudTrf8GU8p6JiQMYfaz9f49SIpSjAOPZyHKq4clpAuOaNSk8lkNw==";
        assert_eq!(parse("PRIVATE KEY", ed448), Err("1.3.101.113".to_owned()));
        let bare = "MDECAQEEIHYk+SuMf5Kn1OkmE794B8OBmrnl8SJxelDaNPX/KHL5oAoGCCqGSM49AwEH";
        assert_eq!(parse("EC PRIVATE KEY", bare), Err(KeyError::NoPublic.to_string()));
        let ed25519 = "MC4CAQAwBQYDK2VwBCIEIA+i9GpOSxirpsAaEwACNkDrTp8sGZJEj/rrU2z3anm9";
        assert!(parse("PRIVATE KEY", ed25519).unwrap().starts_with(b"\0\0\0\x0bssh-ed25519"));
    }
}
