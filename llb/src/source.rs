//! Where files come from: images, local directories, URLs, git repositories, text in the Dockerfile.

use std::fmt;
use std::str::FromStr;

use oci::{Digest, Platform, Reference};
use serde::Serialize;

/// Brings files in from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The empty file system.
    Scratch,
    /// The file system of an image.
    Image(Box<ImageSource>),
    /// A directory of this machine, by the name it was given in the request.
    Local(LocalSource),
    /// Files whose content stands in the Dockerfile.
    Inline(Vec<InlineFile>),
    /// A file behind a URL.
    Http(HttpSource),
    /// A commit of a git repository.
    Git(GitSource),
}

/// The file system of an image that was resolved to one manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageSource {
    /// The reference as it was resolved.
    pub reference: Reference,
    /// The digest of the manifest for `platform`.
    pub manifest: Digest,
    /// The platform that was chosen.
    pub platform: Platform,
    /// Where the image is.
    #[serde(default, skip_serializing_if = "ImageOrigin::is_store_or_registry")]
    pub origin: ImageOrigin,
}

/// Where an image is to be had.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageOrigin {
    /// In the local store, else in the registry that the reference names.
    #[default]
    StoreOrRegistry,
    /// In the OCI layout that is the named context of this name.
    Layout(String),
}

impl ImageOrigin {
    fn is_store_or_registry(&self) -> bool {
        *self == Self::StoreOrRegistry
    }
}

/// A directory of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LocalSource {
    /// The name that the build request maps to a directory: `context`, or a named context.
    pub name: String,
    /// The patterns of its ignore file, in order, as they stand there without comments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
}

/// A file whose content stands in the Dockerfile (a heredoc).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InlineFile {
    /// The file's name, a single path component.
    pub name: String,
    /// Its content.
    pub content: String,
    /// Its permission bits.
    pub mode: u32,
}

/// A file behind a URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HttpSource {
    /// `http://` or `https://`.
    pub url: String,
    /// What the content must hash to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// The name that the file gets; `None` takes it from the answer's `Content-Disposition`, else from the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// The file's permission bits.
    pub mode: u32,
}

/// A commit of a git repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GitSource {
    /// The address of the repository, without fragment.
    pub remote: String,
    /// A branch, tag, commit or full ref; empty is the remote's default branch.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reference: String,
    /// The directory of the repository that becomes the root; empty is all of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subdir: String,
    /// The commit that the reference must name, or the beginning of its hash.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub checksum: String,
    /// Whether `.git` stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_git_dir: bool,
    /// Whether submodules are left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_submodules: bool,
    /// Whether files get the time of the commit instead of that of the checkout.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub commit_times: bool,
}

/// What downloaded content must hash to; unlike [`Digest`] it may be of any algorithm that `ADD --checksum` knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checksum {
    /// `sha256`, `sha384` or `sha512`.
    pub algorithm: &'static str,
    /// Lower-case hexadecimal digits, as many as the algorithm has.
    pub hex: String,
}

/// Why a text is not a checksum; the key words are BuildKit's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumParseError {
    /// The algorithm is not one of the three.
    #[error("unsupported digest algorithm `{algorithm}`: expected `sha256`, `sha384` or `sha512`")]
    Algorithm {
        /// The algorithm that was named.
        algorithm: String,
    },
    /// There is no algorithm in front.
    #[error("invalid checksum digest format: expected `sha256:` and hexadecimal digits, got `{text}`")]
    Form {
        /// What was to be parsed.
        text: String,
    },
    /// The number of digits does not fit the algorithm.
    #[error("invalid checksum digest length: `{algorithm}` has {expected} digits, got {actual}")]
    Length {
        /// The algorithm that was named.
        algorithm: &'static str,
        /// How many digits it has.
        expected: usize,
        /// How many were given.
        actual: usize,
    },
}

const ALGORITHMS: &[(&str, usize)] = &[("sha256", 64), ("sha384", 96), ("sha512", 128)];

impl FromStr for Checksum {
    type Err = ChecksumParseError;

    fn from_str(text: &str) -> Result<Self, ChecksumParseError> {
        let form = || ChecksumParseError::Form { text: text.to_owned() };
        let (algorithm, hex) = text.split_once(':').ok_or_else(form)?;
        let Some((algorithm, expected)) = ALGORITHMS.iter().find(|(name, _)| *name == algorithm).copied() else {
            return Err(ChecksumParseError::Algorithm { algorithm: algorithm.to_owned() });
        };
        if !hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
            return Err(form());
        }
        if hex.len() != expected {
            return Err(ChecksumParseError::Length { algorithm, expected, actual: hex.len() });
        }
        Ok(Self { algorithm, hex: hex.to_owned() })
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.algorithm, self.hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_names_one_of_three_algorithms() {
        let parse = |text: &str| text.parse::<Checksum>().map(|it| it.to_string()).map_err(|err| err.to_string());
        let good = format!("sha512:{}", "0f".repeat(64));
        assert_eq!(parse(&good), Ok(good.clone()));
        let algorithms = "expected `sha256`, `sha384` or `sha512`";
        assert_eq!(parse("md5:00"), Err(format!("unsupported digest algorithm `md5`: {algorithms}")));
        assert_eq!(parse("sha256:00"), Err("invalid checksum digest length: `sha256` has 64 digits, got 2".to_owned()));
        let digits = "expected `sha256:` and hexadecimal digits";
        assert_eq!(parse("00"), Err(format!("invalid checksum digest format: {digits}, got `00`")));
    }
}
