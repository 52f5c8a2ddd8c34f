//! From a reference to an image of the store: its manifest and config are fetched, its layers wait until somebody needs them.

use executor::{Fetcher, Reporter};
use oci::{Digest, ImageConfig, Index, Manifest, Platform, Reference, Timestamp, media_type};
use registry::Resolved;
use store::{ImageLayer, ImageRecord, LayerOrigin, NameRecord, NamedImage};
use tokio_util::sync::CancellationToken;

use crate::event_sink::EventSink;
use crate::{Engine, Error};

/// An image to be pulled.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// Which one.
    pub reference: Reference,
    /// For which platform.
    pub platform: Platform,
}

/// An image as its registry has it.
pub(crate) struct RemoteImage {
    /// The digest that the reference led to: that of an index, or of the manifest itself.
    pub(crate) digest: Digest,
    /// The digest of the manifest.
    pub(crate) manifest: Digest,
    /// The image; its layers may not be in the store.
    pub(crate) image: ImageRecord,
}

impl Engine {
    /// Pulls an image with all its layers, and names it.
    pub async fn pull(
        &self,
        request: &PullRequest,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<RemoteDigest, Error> {
        let _epoch = self.store.hold_epoch()?;
        let step = events.step(format!("pull {}", request.reference));
        let pulled = self.pull_in(request, step.digest(), events, cancel).await;
        step.end(pulled)
    }

    async fn pull_in(
        &self,
        request: &PullRequest,
        step: Digest,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<RemoteDigest, Error> {
        let remote = tokio::select! {
            remote = self.fetch_image(&request.reference, &request.platform) => remote?,
            () = cancel.cancelled() => return Err(Error::Cancelled),
        };
        let image = self.complete(remote.image, step, events, cancel).await?;
        let before = self.named_image(&request.reference, &request.platform)?;
        self.name_remote(&request.reference, remote.digest, &image)?;
        Ok(RemoteDigest {
            digest: remote.digest,
            id: image.id,
            is_new: before.is_none_or(|before| before.id != image.id),
        })
    }

    /// Fetches the layers of an image that are not in the store, and returns the image with all of them.
    pub(crate) async fn complete(
        &self,
        mut image: ImageRecord,
        step: Digest,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<ImageRecord, Error> {
        if image.is_complete() && image.local_layers().all(|layer| self.store.layer(layer.clone()).is_ok()) {
            return Ok(image);
        }
        let snapshot = self.fetcher(events).snapshot(&image, step, cancel).await.map_err(|error| match error {
            solver::StepError::Cancelled => Error::Cancelled,
            solver::StepError::Failed(error) => error.into(),
        })?;
        for (wanted, layer) in image.layers.iter_mut().zip(snapshot.layers.iter()) {
            let record = layer.record().await.map_err(executor::ExecError::from)?;
            wanted.layer = Some(store::LayerRecord::clone(&record));
        }
        Ok(image)
    }

    pub(crate) fn fetcher(&self, events: &EventSink) -> Fetcher {
        let events = events.clone();
        let reporter = Reporter::new(move |report| events.report(report));
        Fetcher { store: self.store.clone(), ladder: self.ladder.clone(), registry: self.registry.clone(), reporter }
    }

    /// Puts an image into the store under the name that it has at its registry.
    pub(crate) fn name_remote(&self, reference: &Reference, digest: Digest, image: &ImageRecord) -> Result<(), Error> {
        let named = NamedImage { platform: image.platform.clone(), id: image.id };
        let mut images = vec![named.clone()];
        // The same index may have given an image for another platform before.
        if let Some(older) = self.store.name(reference)?.filter(|older| older.digest == Some(digest)) {
            images.extend(older.images.into_iter().filter(|other| other.platform != named.platform));
        }
        images.sort_by(|one, other| one.platform.cmp(&other.platform));
        let record = NameRecord { images, digest: Some(digest), updated: Timestamp::now() };
        Ok(self.store.put_images(std::slice::from_ref(image), &[(reference.clone(), record)])?)
    }

    /// Asks a registry for the manifest and config of an image.
    pub(crate) async fn fetch_image(&self, reference: &Reference, platform: &Platform) -> Result<RemoteImage, Error> {
        let resolved = self.registry.resolve(reference).await?;
        let digest = resolved.descriptor.digest;
        let resolved = self.select(reference, platform, resolved).await?;
        let text = String::from_utf8_lossy(&resolved.bytes).into_owned();
        let manifest: Manifest = parse("manifest", reference, &text)?;
        let mut config = self.registry.fetch_blob(reference, &manifest.config).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = config.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        let config_text = String::from_utf8_lossy(&bytes).into_owned();
        let config: ImageConfig = parse("config", reference, &config_text)?;
        let image = image_record(&manifest, text, &config, config_text, Some(reference));
        Ok(RemoteImage { digest, manifest: resolved.descriptor.digest, image })
    }

    /// Follows an index to the manifest for `platform`.
    async fn select(&self, reference: &Reference, platform: &Platform, resolved: Resolved) -> Result<Resolved, Error> {
        let kind = resolved.descriptor.media_type.as_str();
        if media_type::is_manifest(kind) {
            return Ok(resolved);
        }
        if !media_type::is_index(kind) {
            return Err(Error::NotAnImage { name: reference.familiar(), media_type: kind.to_owned() });
        }
        let index: Index = parse("index", reference, &String::from_utf8_lossy(&resolved.bytes))?;
        let Some(found) = index.select(platform) else {
            let available: Vec<String> = index.platforms().into_iter().map(Platform::to_string).collect();
            let (reference, platform, available) = (reference.familiar(), platform.to_string(), available.join(", "));
            return Err(Error::Platform { reference, platform, available });
        };
        Ok(self.registry.fetch_manifest(reference, found.digest).await?)
    }
}

/// What a pull led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteDigest {
    /// The digest of the index or manifest at the registry.
    pub digest: Digest,
    /// The image's id.
    pub id: Digest,
    /// Whether the name had another image before, or none.
    pub is_new: bool,
}

fn parse<T: serde::de::DeserializeOwned>(what: &'static str, reference: &Reference, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|source| Error::Malformed { what, name: reference.familiar(), source })
}

/// Puts together what the store keeps of an image.
pub(crate) fn image_record(
    manifest: &Manifest,
    manifest_text: String,
    config: &ImageConfig,
    config_text: String,
    reference: Option<&Reference>,
) -> ImageRecord {
    let layers = config.rootfs.diff_ids.iter().zip(&manifest.layers).map(|(diff_id, blob)| ImageLayer {
        diff_id: *diff_id,
        layer: None,
        origin: Some(LayerOrigin { blob: blob.clone(), reference: reference.cloned() }),
    });
    ImageRecord {
        id: Digest::of(config_text.as_bytes()),
        platform: config.platform(),
        layers: layers.collect(),
        config: config_text,
        manifest: Some(manifest_text),
        added: Timestamp::now(),
    }
}
