//! From a reference to a manifest: resolve and check.

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use oci::{Descriptor, Digest, Reference, media_type};
use serde::Deserialize;

use crate::attempts::Attempts;
use crate::authorizer::Scope;
use crate::cause::Cause;
use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::exchange::{Ask, Target};
use crate::transport::Answer;

/// The longest manifest that is read; registries accept 4 MiB.
pub const MANIFEST_BYTES_MAX: u64 = 8 * 1024 * 1024;
const CONTENT_DIGEST: &str = "docker-content-digest";

/// A manifest or an index, as it stands in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Its media type, digest and length.
    pub descriptor: Descriptor,
    /// Its bytes, which have the descriptor's digest.
    pub bytes: Bytes,
}

impl Client {
    /// Fetches the manifest or index that `reference` names: by its digest where it has one, else by its tag.
    ///
    /// The bytes are checked against the reference's digest and against the one that the host announces.
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved, Error> {
        let failed = |source| Error::Resolve { reference: Box::new(reference.clone()), source };
        let endpoints = self.pull_hosts(reference);
        let mut attempts = self.attempts(&endpoints);
        loop {
            match self.read_manifest(&endpoints[attempts.position()], reference).await {
                Ok(resolved) => return Ok(resolved),
                Err(cause) => self.after_failure(&mut attempts, cause).await.map_err(failed)?,
            }
        }
    }

    /// Fetches the manifest or index with this digest from the repository of `reference`.
    pub async fn fetch_manifest(&self, reference: &Reference, digest: Digest) -> Result<Resolved, Error> {
        self.resolve(&reference.at(digest)).await
    }

    /// Asks which manifest `reference` names today, without fetching it where the host allows that; Docker Hub does not count it as a pull.
    ///
    /// The answer is what the host says: only [`Self::resolve`] looks at the bytes.
    pub async fn resolve_descriptor(&self, reference: &Reference) -> Result<Descriptor, Error> {
        let failed = |source| Error::Resolve { reference: Box::new(reference.clone()), source };
        let endpoints = self.pull_hosts(reference);
        let mut attempts = self.attempts(&endpoints);
        loop {
            let endpoint = &endpoints[attempts.position()];
            let described = match self.read_head(endpoint, reference).await {
                Ok(Some(descriptor)) => return Ok(descriptor),
                Ok(None) => self.read_manifest(endpoint, reference).await.map(|resolved| resolved.descriptor),
                Err(cause) => Err(cause),
            };
            match described {
                Ok(descriptor) => return Ok(descriptor),
                Err(cause) => self.after_failure(&mut attempts, cause).await.map_err(failed)?,
            }
        }
    }

    pub(crate) fn attempts(&self, endpoints: &[Endpoint]) -> Attempts {
        let hosts = endpoints.iter().map(|endpoint| endpoint.host.clone()).collect();
        Attempts::new(hosts, self.shared.config.retry)
    }

    async fn read_manifest(&self, endpoint: &Endpoint, reference: &Reference) -> Result<Resolved, Cause> {
        let mut answer = self.ask_for_manifest(Method::GET, endpoint, reference).await?;
        let bytes = self.shared.transport.read(&mut answer, "manifest", MANIFEST_BYTES_MAX).await?;
        let actual = Digest::of(&bytes);
        let announced = announced_digest(&answer)?;
        for expected in [reference.digest().copied(), announced].into_iter().flatten() {
            if expected != actual {
                return Err(Cause::DigestMismatch { expected, actual, size_bytes: bytes.len() as u64 });
            }
        }
        let media_type = read_media_type(answer.header(CONTENT_TYPE), &bytes)?;
        Ok(Resolved { descriptor: Descriptor::new(media_type, actual, bytes.len() as u64), bytes })
    }

    /// Returns `None` where the host says too little.
    async fn read_head(&self, endpoint: &Endpoint, reference: &Reference) -> Result<Option<Descriptor>, Cause> {
        let answer = match self.ask_for_manifest(Method::HEAD, endpoint, reference).await {
            Ok(answer) => answer,
            // Some hosts do not know HEAD.
            Err(Cause::Status { status, .. }) if matches!(status.0, 400 | 405 | 501) => return Ok(None),
            Err(cause) => return Err(cause),
        };
        let size_bytes = answer.header(hyper::header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
        let known = answer.header(CONTENT_TYPE).and_then(known_media_type);
        let (Some(digest), Some(size_bytes), Some(media_type)) = (announced_digest(&answer)?, size_bytes, known) else {
            return Ok(None);
        };
        if let Some(&expected) = reference.digest().filter(|expected| **expected != digest) {
            return Err(Cause::DigestMismatch { expected, actual: digest, size_bytes });
        }
        Ok(Some(Descriptor::new(media_type, digest, size_bytes)))
    }

    async fn ask_for_manifest(
        &self,
        method: Method,
        endpoint: &Endpoint,
        reference: &Reference,
    ) -> Result<Answer, Cause> {
        let name = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or(oci::reference::DEFAULT_TAG).to_owned(),
        };
        let path = format!("manifests/{name}");
        let scope = Scope::pull(&endpoint.repository);
        let mut ask = Ask::new(method, Target::Path(&path), &scope);
        let accepted = media_type::MANIFESTS.join(", ");
        ask.headers.extend(HeaderValue::try_from(accepted).ok().map(|accepted| (ACCEPT, accepted)));
        self.shared.exchange(endpoint, &ask).await
    }
}

/// Returns the digest that a host announces, or `None` where it announces none, or one by another algorithm than SHA-256.
pub(crate) fn announced_digest(answer: &Answer) -> Result<Option<Digest>, Cause> {
    let Some(text) = answer.header(CONTENT_DIGEST) else { return Ok(None) };
    match text.parse() {
        Ok(digest) => Ok(Some(digest)),
        Err(oci::DigestParseError::Algorithm { .. }) => Ok(None),
        Err(err) => Err(Cause::Protocol { what: format!("Docker-Content-Digest: {err}") }),
    }
}

fn known_media_type(content_type: &str) -> Option<&'static str> {
    let bare = content_type.split(';').next().unwrap_or_default().trim();
    media_type::MANIFESTS.iter().find(|known| **known == bare).copied()
}

/// The fields by which manifests tell what they are.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u32>,
    media_type: Option<String>,
    manifests: Option<serde_json::Value>,
    config: Option<serde_json::Value>,
    layers: Option<serde_json::Value>,
}

/// Finds out what a manifest is: what it says itself, else what the host says, else by its fields.
///
/// One that can be read in two ways is refused: which image it is would depend on the reader (CVE-2021-41190).
fn read_media_type(content_type: Option<&str>, bytes: &[u8]) -> Result<&'static str, Cause> {
    let refused = |what: String| Err(Cause::Manifest { what });
    let Ok(shape) = serde_json::from_slice::<Shape>(bytes) else {
        return refused("expected JSON".to_owned());
    };
    if shape.schema_version == Some(1) {
        return refused("expected schema version 2, got 1, which Docker stopped to support".to_owned());
    }
    let (is_index, is_manifest) = (shape.manifests.is_some(), shape.config.is_some() || shape.layers.is_some());
    if is_index && is_manifest {
        return refused("it is an index and an image at once".to_owned());
    }
    let announced = content_type.and_then(known_media_type);
    let media_type = match (shape.media_type.as_deref(), announced) {
        (Some(own), announced) => match (known_media_type(own), announced) {
            (Some(own), Some(announced)) if own != announced => {
                return refused(format!("it says it is `{own}`, and the host says `{announced}`"));
            }
            (Some(own), _) => own,
            (None, _) => return refused(format!("media type `{own}`")),
        },
        (None, Some(announced)) => announced,
        (None, None) if is_index => media_type::OCI_INDEX,
        (None, None) if is_manifest => media_type::OCI_MANIFEST,
        (None, None) => return refused(format!("content type `{}`", content_type.unwrap_or_default())),
    };
    if is_index != media_type::is_index(media_type) && (is_index || is_manifest) {
        return refused(format!("it says it is `{media_type}`, and its fields are those of another kind"));
    }
    Ok(media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content_type: Option<&str>, body: &str, expected: &str) {
        let read = read_media_type(content_type, body.as_bytes());
        assert_eq!(read.map_or_else(|cause| cause.to_string(), str::to_owned), expected);
    }

    #[test]
    fn a_manifest_says_what_it_is_or_the_host_does() {
        let docker = r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{},"layers":[]}"#;
        check(Some(media_type::DOCKER_MANIFEST), docker, media_type::DOCKER_MANIFEST);
        check(Some("application/json"), docker, media_type::DOCKER_MANIFEST);
        check(None, docker, media_type::DOCKER_MANIFEST);
        let plain = r#"{"schemaVersion":2,"config":{},"layers":null}"#;
        check(Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"), plain, media_type::OCI_MANIFEST);
        check(None, plain, media_type::OCI_MANIFEST);
        check(Some("text/plain"), r#"{"schemaVersion":2,"manifests":[]}"#, media_type::OCI_INDEX);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let both = r#"{"schemaVersion":2,"config":{},"manifests":[]}"#;
        check(Some(media_type::OCI_INDEX), both, "unsupported manifest: it is an index and an image at once");
        let docker =
            r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{}}"#;
        check(
            Some(media_type::OCI_MANIFEST),
            docker,
            "unsupported manifest: it says it is `application/vnd.docker.distribution.manifest.v2+json`, and the host says `application/vnd.oci.image.manifest.v1+json`",
        );
        check(
            Some(media_type::OCI_INDEX),
            r#"{"schemaVersion":2,"config":{}}"#,
            "unsupported manifest: it says it is `application/vnd.oci.image.index.v1+json`, and its fields are those of another kind",
        );
    }

    #[test]
    fn what_is_no_image_is_refused() {
        check(None, "<html>", "unsupported manifest: expected JSON");
        check(
            None,
            r#"{"schemaVersion":1}"#,
            "unsupported manifest: expected schema version 2, got 1, which Docker stopped to support",
        );
        check(None, r#"{"mediaType":"application/x"}"#, "unsupported manifest: media type `application/x`");
        check(Some("text/html"), "{}", "unsupported manifest: content type `text/html`");
    }
}
