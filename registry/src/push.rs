//! Pushing: blobs that the registry lacks, then the manifest that names them.

use std::sync::Arc;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use oci::{Descriptor, Reference};

use crate::attempts::Attempts;
use crate::authorizer::Scope;
use crate::body::{BlobSource, Payload};
use crate::cause::Cause;
use crate::client::Client;
use crate::endpoint::{Endpoint, plan_push};
use crate::error::Error;
use crate::exchange::{Ask, Target};
use crate::manifest::announced_digest;
use crate::upload::Upload;

/// How a blob came to be in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// The registry took it over from another of its repositories.
    Mounted,
    /// It was sent.
    Uploaded,
}

impl Client {
    /// Sees to it that the repository of `reference` has a blob: finds it there, takes it over from the repository of `from`, or uploads `source`.
    ///
    /// A part of the blob may be in the registry after an error, as an upload that the registry forgets some time later. A broken upload in pieces goes on
    /// where it broke, one in a single piece begins again.
    pub async fn push_blob(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        source: Arc<dyn BlobSource>,
        from: Option<&Reference>,
    ) -> Result<Pushed, Error> {
        let endpoint = plan_push(&self.shared.config, reference);
        let mut attempts = self.attempts(std::slice::from_ref(&endpoint));
        // A blob of another registry cannot be taken over.
        let from = from.filter(|from| from.registry() == reference.registry()).map(Reference::repository);
        let mut upload = Upload::new(self, &endpoint, blob, source, from);
        loop {
            let before = upload.done_bytes();
            match upload.attempt().await {
                Ok(pushed) => return Ok(pushed),
                Err(cause) => {
                    if upload.done_bytes() > before {
                        attempts.progressed();
                    }
                    let decided = self.after_failure(&mut attempts, cause).await;
                    decided.map_err(|source| {
                        let (repository, digest) = (reference.familiar_name(), blob.digest);
                        Error::PushBlob { repository, digest, source }
                    })?;
                }
            }
        }
    }

    /// Tells whether the repository of `reference` has a blob; `None` means that it does not say. It is asked once: whoever then gives it the blob hears why.
    pub async fn has_blob(&self, reference: &Reference, blob: &Descriptor) -> Option<bool> {
        let endpoint = plan_push(&self.shared.config, reference);
        let (path, scope) = (format!("blobs/{}", blob.digest), Scope::push(&endpoint.repository));
        match self.shared.exchange(&endpoint, &Ask::new(Method::HEAD, Target::Path(&path), &scope)).await {
            Ok(_) => Some(true),
            Err(Cause::NotFound { .. }) => Some(false),
            Err(_) => None,
        }
    }

    /// Stores a manifest or an index under the tag of `reference`, or only under its digest where there is no tag. All that it names must be there.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Descriptor, Error> {
        let descriptor = Descriptor::of(media_type, &bytes);
        let endpoint = plan_push(&self.shared.config, reference);
        let mut attempts: Attempts = self.attempts(std::slice::from_ref(&endpoint));
        loop {
            match self.store_manifest(&endpoint, reference, &descriptor, &bytes).await {
                Ok(()) => return Ok(descriptor),
                Err(cause) => {
                    let decided = self.after_failure(&mut attempts, cause).await;
                    decided.map_err(|source| Error::PushManifest { reference: Box::new(reference.clone()), source })?;
                }
            }
        }
    }

    async fn store_manifest(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        descriptor: &Descriptor,
        bytes: &Bytes,
    ) -> Result<(), Cause> {
        let path = match reference.tag() {
            Some(tag) => format!("manifests/{tag}"),
            None => format!("manifests/{}", descriptor.digest),
        };
        let scope = Scope::push(&endpoint.repository);
        let mut ask = Ask::new(Method::PUT, Target::Path(&path), &scope);
        ask.payload = Payload::Bytes(bytes.clone());
        let media_type = HeaderValue::from_str(&descriptor.media_type)
            .map_err(|_| Cause::Manifest { what: format!("media type `{}`", descriptor.media_type) })?;
        ask.headers.insert(CONTENT_TYPE, media_type);
        let answer = self.shared.exchange(endpoint, &ask).await?;
        match announced_digest(&answer)? {
            Some(actual) if actual != descriptor.digest => {
                let (expected, size_bytes) = (descriptor.digest, descriptor.size_bytes);
                Err(Cause::DigestMismatch { expected, actual, size_bytes })
            }
            _ => Ok(()),
        }
    }
}
