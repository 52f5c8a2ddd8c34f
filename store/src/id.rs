//! Ids that the store makes up: random, since many processes make them at once and none may repeat.

use std::fmt;
use std::str::FromStr;

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

/// Fills `bytes` with random ones; the kernel's generator is always ready after boot.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        // EINTR is the only error that getrandom(2) has for these arguments, and is answered by asking again.
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty()).unwrap_or(0);
    }
    bytes
}

fn write_hex(bytes: &[u8], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
}

fn read_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 || !text.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit)) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, place) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[place..place + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid id `{text}`: expected {digits} hexadecimal digits")]
pub struct IdParseError {
    text: String,
    digits: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Returns an id that nobody has.
            pub fn random() -> Self {
                Self(random_bytes())
            }

            /// Returns the bytes of the id, the key of its record.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }

            /// Reads the id back from [`Self::as_bytes`].
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl From<$name> for [u8; $bytes] {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl From<[u8; $bytes]> for $name {
            fn from(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, out)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, out)
            }
        }

        impl FromStr for $name {
            type Err = IdParseError;

            fn from_str(text: &str) -> Result<Self, IdParseError> {
                read_hex(text).map(Self).ok_or_else(|| IdParseError { text: text.to_owned(), digits: $bytes * 2 })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// Names a layer of this store. It is not a digest of the content: two layers may be equal but for the times of their files.
    LayerId,
    16
);
id!(
    /// Names a container; users see the first twelve digits.
    ContainerId,
    32
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_text_and_back() {
        let id = LayerId::random();
        assert_eq!(id.to_string().parse::<LayerId>().unwrap(), id);
        assert_eq!(LayerId::from_bytes(id.as_bytes()), Some(id));
        assert_ne!(LayerId::random(), id);
    }

    #[test]
    fn a_wrong_text_is_refused() {
        let refused = |text: &str| text.parse::<LayerId>().unwrap_err().to_string();
        assert_eq!(refused("ab"), "invalid id `ab`: expected 32 hexadecimal digits");
        assert_eq!(
            refused("+f000000000000000000000000000000"),
            "invalid id `+f000000000000000000000000000000`: expected 32 hexadecimal digits"
        );
    }
}
