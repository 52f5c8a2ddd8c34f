//! SHA-256 digests: the names of blobs, manifests, configs and layers, and the keys of steps.
//!
//! Only SHA-256 is a [`Digest`]: registries, Docker and containerd use nothing else for content, and a fixed size keeps a digest `Copy`.

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};

/// The length of a digest, in bytes.
pub const DIGEST_BYTES: usize = 32;

/// A SHA-256 hash; its text form is `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; DIGEST_BYTES]);

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestParseError {
    /// The text has no `algorithm:` in front.
    #[error("invalid digest `{text}`: expected `sha256:` and 64 hexadecimal digits")]
    Form {
        /// What was to be parsed.
        text: String,
    },
    /// The algorithm is one that Kiln does not name content by.
    #[error("unsupported digest algorithm `{algorithm}` in `{text}`: expected `sha256`")]
    Algorithm {
        /// The algorithm that was named.
        algorithm: String,
        /// What was to be parsed.
        text: String,
    },
}

impl Digest {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Wraps a hash that is there already.
    pub const fn from_bytes(bytes: [u8; DIGEST_BYTES]) -> Self {
        Self(bytes)
    }

    /// Returns the hash itself.
    pub const fn as_bytes(&self) -> &[u8; DIGEST_BYTES] {
        &self.0
    }

    /// Parses 64 lower-case hexadecimal digits without the algorithm in front.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes();
        if digits.len() != DIGEST_BYTES * 2 {
            return None;
        }
        let mut bytes = [0; DIGEST_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// Returns the 64 hexadecimal digits, as file names and `--iidfile` readers that cut the algorithm off want them.
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(DIGEST_BYTES * 2);
        for byte in self.0 {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        text
    }

    /// Returns the first twelve digits, the short id that tables show.
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Digest {
    type Err = DigestParseError;

    fn from_str(text: &str) -> Result<Self, DigestParseError> {
        let form = || DigestParseError::Form { text: text.to_owned() };
        let (algorithm, hex) = text.split_once(':').ok_or_else(form)?;
        if algorithm != "sha256" {
            return Err(DigestParseError::Algorithm { algorithm: algorithm.to_owned(), text: text.to_owned() });
        }
        Self::from_hex(hex).ok_or_else(form)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The length of a [`HasherState`], in bytes.
pub const HASHER_STATE_BYTES: usize = 104;

/// What a [`Hasher`] has come to: another one goes on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HasherState(pub [u8; HASHER_STATE_BYTES]);

/// A digest in the making; bytes are written to it in any number of pieces.
#[derive(Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Starts with no bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds `bytes` with their length in front, so that two neighbouring fields can never be mistaken for two others.
    pub fn field(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Returns what all that was added came to so far.
    pub fn state(&self) -> HasherState {
        let mut bytes = [0; HASHER_STATE_BYTES];
        bytes.copy_from_slice(&self.0.serialize());
        HasherState(bytes)
    }

    /// Goes on from what [`Hasher::state`] returned; `None` for what it cannot have returned.
    pub fn from_state(state: &HasherState) -> Option<Self> {
        let state = SerializedState::<sha2::Sha256>::try_from(state.0.as_slice()).ok()?;
        sha2::Sha256::deserialize(&state).ok().map(Self)
    }

    /// Returns the digest of all that was added.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_its_text_and_back() {
        let digest = Digest::of(b"kiln");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert_eq!(
            Digest::of(b"").to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(Digest::of(b"").short(), "e3b0c44298fc");
    }

    #[test]
    fn a_wrong_text_is_refused_with_what_was_expected() {
        let refused = |text: &str| text.parse::<Digest>().unwrap_err().to_string();
        let expected = "expected `sha256:` and 64 hexadecimal digits";
        assert_eq!(refused("abc"), format!("invalid digest `abc`: {expected}"));
        assert_eq!(refused("sha256:ab"), format!("invalid digest `sha256:ab`: {expected}"));
        let upper = format!("sha256:{}", "AB".repeat(32));
        assert_eq!(refused(&upper), format!("invalid digest `{upper}`: {expected}"));
        assert_eq!(refused("md5:00"), "unsupported digest algorithm `md5` in `md5:00`: expected `sha256`");
    }

    #[test]
    fn a_hasher_goes_on_from_a_state() {
        let bytes: Vec<u8> = (0..1000_u32).map(|at| at as u8).collect();
        for cut in [0, 1, 63, 64, 65, 512, 999, 1000] {
            let mut begun = Hasher::new();
            begun.update(&bytes[..cut]);
            let mut hasher = Hasher::from_state(&begun.state()).unwrap();
            hasher.update(&bytes[cut..]);
            assert_eq!(hasher.finish(), Digest::of(&bytes), "{cut}");
        }
        assert!(Hasher::from_state(&HasherState([0xff; HASHER_STATE_BYTES])).is_none());
    }

    #[test]
    fn fields_with_moved_borders_differ() {
        let hash = |fields: &[&str]| {
            let mut hasher = Hasher::new();
            fields.iter().for_each(|field| hasher.field(field.as_bytes()));
            hasher.finish()
        };
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
    }
}
