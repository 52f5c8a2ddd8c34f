//! Image references: what the user typed, made whole by Docker's naming rules.
//!
//! `alpine` is `docker.io/library/alpine:latest`; a first part with a dot, a colon or the name `localhost` is a registry's host. The grammar is that of
//! the distribution project's `reference` package, which every client shares.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Digest, DigestParseError};

/// The registry that names without a host belong to.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag of a reference that names neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";
const OFFICIAL_NAMESPACE: &str = "library/";
const NAME_CHARS_MAX: usize = 255;
const TAG_CHARS_MAX: usize = 128;

/// A whole reference: registry, repository, and a tag or a digest or both.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not a reference; the key words are those of Docker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceParseError {
    /// The text does not follow the grammar.
    #[error("invalid reference format: `{text}`")]
    Format {
        /// What was to be parsed.
        text: String,
    },
    /// The repository has upper-case letters.
    #[error("invalid reference format: repository name ({repository}) must be lowercase")]
    Uppercase {
        /// The repository as it was understood.
        repository: String,
    },
    /// Registry and repository together are too long.
    #[error("invalid reference format: repository name must not be more than {NAME_CHARS_MAX} characters")]
    Length,
    /// What stands behind `@` is not a digest.
    #[error("invalid reference format: `{text}`")]
    Digest {
        /// What was to be parsed.
        text: String,
        /// What is wrong with the digest.
        source: DigestParseError,
    },
    /// The text is a bare hash, which would be ambiguous with an image id.
    #[error("invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")]
    Hash {
        /// What was to be parsed.
        text: String,
    },
}

impl Reference {
    /// Returns the host and port of the registry, `docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the path of the repository within its registry, such as `library/alpine`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the tag; one that is [`DEFAULT_TAG`] where neither tag nor digest was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest that the reference is pinned to.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns the same repository at `digest`, without a tag.
    pub fn at(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// Returns the repository by its short name, as `docker images` shows it: `alpine`, `bitnami/redis`, `ghcr.io/owner/app`.
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return format!("{}/{}", self.registry, self.repository);
        }
        let name = self.repository.strip_prefix(OFFICIAL_NAMESPACE).filter(|rest| !rest.contains('/'));
        name.unwrap_or(&self.repository).to_owned()
    }

    /// Returns the whole reference by its short name: `alpine:3.20`.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        self.push_suffix(&mut text);
        text
    }

    fn push_suffix(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
    }
}

impl fmt::Display for Reference {
    /// Writes the canonical form: `docker.io/library/alpine:latest`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{}/{}", self.registry, self.repository);
        self.push_suffix(&mut text);
        out.write_str(&text)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Reference {
    type Err = ReferenceParseError;

    fn from_str(text: &str) -> Result<Self, ReferenceParseError> {
        if Digest::from_hex(text).is_some() {
            return Err(ReferenceParseError::Hash { text: text.to_owned() });
        }
        let (rest, digest) = split_digest(text)?;
        let (registry, remainder) = split_registry(rest);
        let (repository, tag) = match remainder.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (remainder, None),
        };
        let format = || ReferenceParseError::Format { text: text.to_owned() };
        let registry = match registry {
            "" | "index.docker.io" => DEFAULT_REGISTRY,
            named if is_host(named) => named,
            _ => return Err(format()),
        };
        let repository = complete_repository(registry, repository);
        if !repository.split('/').all(is_repository_part) {
            let lower = repository.to_ascii_lowercase();
            let only_case = lower.split('/').all(is_repository_part);
            return Err(if only_case { ReferenceParseError::Uppercase { repository } } else { format() });
        }
        if registry.len() + 1 + repository.len() > NAME_CHARS_MAX {
            return Err(ReferenceParseError::Length);
        }
        let tag = match tag {
            Some(tag) if !is_tag(tag) => return Err(format()),
            Some(tag) => Some(tag),
            None if digest.is_some() => None,
            None => Some(DEFAULT_TAG),
        };
        Ok(Self { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
    }
}

fn split_digest(text: &str) -> Result<(&str, Option<Digest>), ReferenceParseError> {
    let Some((rest, digest)) = text.split_once('@') else { return Ok((text, None)) };
    match digest.parse() {
        Ok(digest) => Ok((rest, Some(digest))),
        Err(source) => Err(ReferenceParseError::Digest { text: text.to_owned(), source }),
    }
}

/// Splits the registry's host off, or returns "" where the first part is the start of a repository on Docker Hub.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first != first.to_ascii_lowercase() =>
        {
            (first, rest)
        }
        _ => ("", name),
    }
}

fn complete_repository(registry: &str, repository: &str) -> String {
    let official = registry == DEFAULT_REGISTRY && !repository.contains('/');
    if official { format!("{OFFICIAL_NAMESPACE}{repository}") } else { repository.to_owned() }
}

/// Accepts `example.com`, `127.0.0.1:5000`, `[::1]:5000`.
fn is_host(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let is_address = address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
        return !address.is_empty() && is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Accepts lower-case letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_repository_part(part: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separator = |run: &str| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|byte| byte == b'-');
    let Some((first, last)) = part.bytes().next().zip(part.bytes().last()) else { return false };
    alphanumeric(first)
        && alphanumeric(last)
        && part.is_ascii()
        && part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(separator)
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= TAG_CHARS_MAX
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

impl Serialize for Reference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, canonical: &str, familiar: &str) {
        let reference: Reference = text.parse().unwrap();
        assert_eq!((reference.to_string().as_str(), reference.familiar().as_str()), (canonical, familiar));
        assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference);
    }

    #[track_caller]
    fn refused(text: &str, message: &str) {
        assert_eq!(text.parse::<Reference>().unwrap_err().to_string(), message);
    }

    #[test]
    fn names_follow_docker_hub_rules() {
        check("alpine", "docker.io/library/alpine:latest", "alpine:latest");
        check("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20");
        check("library/alpine", "docker.io/library/alpine:latest", "alpine:latest");
        check("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest");
        check("index.docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest");
        check("bitnami/redis:7", "docker.io/bitnami/redis:7", "bitnami/redis:7");
        check("ghcr.io/a/b/c", "ghcr.io/a/b/c:latest", "ghcr.io/a/b/c:latest");
    }

    #[test]
    fn a_first_part_with_dot_colon_or_localhost_is_a_registry() {
        check("localhost/app", "localhost/app:latest", "localhost/app:latest");
        check("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1");
        check("127.0.0.1:5000/a__b/c-d.e", "127.0.0.1:5000/a__b/c-d.e:latest", "127.0.0.1:5000/a__b/c-d.e:latest");
        check("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest");
        check("app:5000", "docker.io/library/app:5000", "app:5000");
    }

    #[test]
    fn a_digest_stands_in_for_the_tag_or_beside_it() {
        let digest = Digest::of(b"");
        check(&format!("a@{digest}"), &format!("docker.io/library/a@{digest}"), &format!("a@{digest}"));
        check(&format!("a:1@{digest}"), &format!("docker.io/library/a:1@{digest}"), &format!("a:1@{digest}"));
    }

    #[test]
    fn wrong_names_are_refused_with_the_words_docker_uses() {
        refused("", "invalid reference format: ``");
        refused("a:b:c", "invalid reference format: `a:b:c`");
        refused("a:", "invalid reference format: `a:`");
        refused("-a", "invalid reference format: `-a`");
        refused("a//b", "invalid reference format: `a//b`");
        refused("a___b", "invalid reference format: `a___b`");
        refused("é", "invalid reference format: `é`");
        refused("Base", "invalid reference format: repository name (library/Base) must be lowercase");
        refused("a/B", "invalid reference format: repository name (a/B) must be lowercase");
        refused("a@sha256:1", "invalid reference format: `a@sha256:1`");
        refused(&"a".repeat(300), "invalid reference format: repository name must not be more than 255 characters");
        let hash = "a".repeat(64);
        refused(&hash, &format!("invalid repository name ({hash}), cannot specify 64-byte hexadecimal strings"));
    }
}
