//! `kiln save` and `kiln import`.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use oci::{Digest, History, ImageConfig, Platform, Reference, RootFs, Timestamp};
use store::{ImageLayer, ImageRecord, LayerRecord, NameRecord, NamedImage};
use tokio_util::sync::CancellationToken;

use super::bundle::BundlePlace;
use crate::check::DAMAGES_MAX;
use crate::event_sink::EventSink;
use crate::export::{BundleImage, BundleKind, BundleOutput, Compression, Destination, write_bundle};
use crate::{Engine, Error};

/// What is to be saved.
#[derive(Clone, Debug)]
pub struct SaveRequest {
    /// Names or ids.
    pub images: Vec<String>,
    /// Where to.
    pub destination: Destination,
    /// As what.
    pub kind: BundleKind,
}

/// A file system that is to become an image.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// A tar, compressed or not.
    pub source: BundlePlace,
    /// What the image is called.
    pub name: Option<Reference>,
    /// What it runs on.
    pub platform: Platform,
    /// What its history says.
    pub message: Option<String>,
}

impl Engine {
    /// Saves images so that `docker load` and `kiln load` read them. Layers are written as they are in the store: nothing is compressed that was not.
    ///
    /// Layers that are damaged are fetched again, where they can be.
    pub async fn save(
        &self,
        request: &SaveRequest,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        for _ in 0..DAMAGES_MAX {
            match self.try_save(request, events, cancel).await {
                Err(error) if self.mend(&error, events)? => {}
                saved => return saved,
            }
        }
        self.try_save(request, events, cancel).await
    }

    async fn try_save(
        &self,
        request: &SaveRequest,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let _epoch = self.store.hold_epoch()?;
        let mut found: Vec<(Digest, Vec<ImageRecord>, Vec<Reference>)> = Vec::new();
        for text in &request.images {
            let image = self.find_image(text)?;
            let name = image.name.clone().filter(|name| name.digest().is_none());
            let records = match &image.name {
                Some(name) => self.images_of_name(name)?,
                None => vec![image.image.clone()],
            };
            let mut complete = Vec::with_capacity(records.len());
            for record in records {
                complete.push(self.complete(record, Digest::of(b"save"), events, cancel).await?);
            }
            match found.iter_mut().find(|(id, ..)| *id == image.image.id) {
                Some((_, _, names)) => names.extend(name),
                None => found.push((image.image.id, complete, name.into_iter().collect())),
            }
        }
        let (store, cancel) = (self.store.clone(), cancel.clone());
        let SaveRequest { destination, kind, .. } = request.clone();
        let output = BundleOutput::new(kind, destination, Compression::Uncompressed);
        let written = tokio::task::spawn_blocking(move || {
            let bundle: Vec<BundleImage<'_>> = found
                .iter()
                .map(|(_, images, names)| BundleImage { images: images.iter().collect(), names: names.clone() })
                .collect();
            write_bundle(&store, &bundle, (&output, None), &cancel)
        });
        written.await.map_err(|error| Error::Bug(error.to_string()))?.map(|_| ())
    }

    /// Returns the images of a name, one for each platform.
    pub(crate) fn images_of_name(&self, name: &Reference) -> Result<Vec<ImageRecord>, Error> {
        let record = self.name_record(name)?;
        let named = record.into_iter().flat_map(|record| record.images);
        let images = named.map(|named| self.store.image(&named.id)).collect::<Result<Option<Vec<_>>, _>>()?;
        images.ok_or_else(|| super::find::no_such_image(&name.familiar()))
    }

    /// Makes an image of one layer out of the files in a tar.
    pub async fn import(&self, request: &ImportRequest) -> Result<Digest, Error> {
        let _epoch = self.store.hold_epoch()?;
        let (store, ladder, source) = (self.store.clone(), self.ladder.clone(), request.source.clone());
        let unpacked = tokio::task::spawn_blocking(move || {
            let stream: Box<dyn Read + Send> = match &source {
                BundlePlace::Stdin => Box::new(io::stdin()),
                BundlePlace::Path(path) => Box::new(File::open(path).map_err(Error::file("open", path))?),
            };
            Ok::<_, Error>(executor::import_layer(&store, &ladder, stream)?)
        });
        let record: LayerRecord = unpacked.await.map_err(|error| Error::Bug(error.to_string()))??;
        let image = self.imported(request, record)?;
        let named = NamedImage { platform: image.platform.clone(), id: image.id };
        let record = NameRecord { images: vec![named], digest: None, updated: Timestamp::now() };
        let names: Vec<(Reference, NameRecord)> =
            request.name.iter().map(|name| (name.clone(), record.clone())).collect();
        self.store.put_images(std::slice::from_ref(&image), &names)?;
        Ok(image.id)
    }

    fn imported(&self, request: &ImportRequest, layer: LayerRecord) -> Result<ImageRecord, Error> {
        let created = Some(Timestamp::now());
        let from = match &request.source {
            BundlePlace::Stdin => PathBuf::from("-"),
            BundlePlace::Path(path) => path.clone(),
        };
        let comment = request.message.clone().unwrap_or_else(|| format!("Imported from {}", from.display()));
        let diff_id = layer.diff_id.unwrap_or(layer.content);
        let config = ImageConfig {
            architecture: request.platform.architecture.clone(),
            os: request.platform.os.clone(),
            variant: request.platform.variant.clone(),
            created,
            history: vec![History { created, comment, ..History::default() }],
            rootfs: RootFs { diff_ids: vec![diff_id], ..RootFs::default() },
            ..ImageConfig::default()
        };
        let config = serde_json::to_string(&config).map_err(|error| Error::Bug(error.to_string()))?;
        Ok(ImageRecord {
            id: Digest::of(config.as_bytes()),
            config,
            platform: request.platform.clone(),
            layers: vec![ImageLayer { diff_id, origin: None, layer: Some(layer) }],
            manifest: None,
            added: Timestamp::now(),
        })
    }
}
