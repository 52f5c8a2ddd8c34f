//! What there is to know of images: lists, histories, details.

use std::collections::BTreeSet;

use oci::{Digest, ImageConfig, Reference, Timestamp};
use store::{ImageRecord, NameRecord};

use crate::{Engine, Error};

/// One line of a list of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSummary {
    /// The name; `None` for an image that has none.
    pub name: Option<Reference>,
    /// The digest at the registry that it was pulled from.
    pub digest: Option<Digest>,
    /// The image's id.
    pub id: Digest,
    /// When its last step was made.
    pub created: Option<Timestamp>,
    /// The sum of the sizes of its files; of layers that are not in the store, that of their blobs.
    pub size_bytes: u64,
    /// How many containers were made of it.
    pub containers: usize,
}

/// One instruction of an image's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The image's id, at its last instruction; `None` at those before.
    pub id: Option<Digest>,
    /// When.
    pub created: Option<Timestamp>,
    /// The instruction.
    pub created_by: String,
    /// The size of the files of its layer.
    pub size_bytes: u64,
    /// Which builder made it.
    pub comment: String,
}

/// All that is known of an image.
#[derive(Clone, Debug)]
pub struct ImageDetails {
    /// The image.
    pub image: ImageRecord,
    /// Its config.
    pub config: ImageConfig,
    /// Its names with the digests at their registries.
    pub names: Vec<(Reference, NameRecord)>,
    /// The sum of the sizes of its files.
    pub size_bytes: u64,
}

impl Engine {
    /// Returns the images with their names, the newest first; an image with several names comes several times.
    pub fn images(&self) -> Result<Vec<ImageSummary>, Error> {
        let (names, containers) = (self.store.names()?, self.store.containers()?);
        let (mut summaries, mut named) = (Vec::new(), BTreeSet::new());
        for (name, record) in &names {
            for entry in &record.images {
                named.insert(entry.id);
                if let Some(image) = self.store.image(&entry.id)? {
                    summaries.push(self.summary(&image, Some((name, record)))?);
                }
            }
        }
        for image in self.store.images()?.iter().filter(|image| !named.contains(&image.id)) {
            summaries.push(self.summary(image, None)?);
        }
        for summary in &mut summaries {
            summary.containers = containers.iter().filter(|container| container.image == summary.id).count();
        }
        summaries.sort_by(|one, other| (other.created, &one.name, one.id).cmp(&(one.created, &other.name, other.id)));
        Ok(summaries)
    }

    fn summary(&self, image: &ImageRecord, name: Option<(&Reference, &NameRecord)>) -> Result<ImageSummary, Error> {
        Ok(ImageSummary {
            name: name.map(|(name, _)| name.clone()),
            digest: name.and_then(|(_, record)| record.digest),
            id: image.id,
            created: config_of(image)?.created,
            size_bytes: size_bytes(image),
            containers: 0,
        })
    }

    /// Returns the history of an image, the last instruction first, as `docker history` does.
    pub fn history(&self, name: &str) -> Result<Vec<HistoryEntry>, Error> {
        let image = self.find_image(name)?.image;
        let config = config_of(&image)?;
        let mut layers = image.layers.iter();
        let mut entries: Vec<HistoryEntry> = config
            .history
            .into_iter()
            .map(|entry| {
                let layer = if entry.empty_layer { None } else { layers.next() };
                let size_bytes = layer.map_or(0, layer_bytes);
                let (created_by, comment) = (entry.created_by, entry.comment);
                HistoryEntry { id: None, created: entry.created, created_by, size_bytes, comment }
            })
            .collect();
        entries.reverse();
        if let Some(last) = entries.first_mut() {
            last.id = Some(image.id);
        }
        Ok(entries)
    }

    /// Returns all that is known of an image.
    pub fn inspect_image(&self, name: &str) -> Result<ImageDetails, Error> {
        let image = self.find_image(name)?.image;
        let (config, size_bytes) = (config_of(&image)?, size_bytes(&image));
        let mut names = self.store.names()?;
        names.retain(|(_, record)| record.images.iter().any(|named| named.id == image.id));
        Ok(ImageDetails { image, config, names, size_bytes })
    }
}

pub(crate) fn config_of(image: &ImageRecord) -> Result<ImageConfig, Error> {
    let malformed = |source| Error::Malformed { what: "config", name: image.id.to_string(), source };
    serde_json::from_str(&image.config).map_err(malformed)
}

fn size_bytes(image: &ImageRecord) -> u64 {
    image.layers.iter().map(layer_bytes).sum()
}

fn layer_bytes(layer: &store::ImageLayer) -> u64 {
    match (&layer.layer, &layer.origin) {
        (Some(record), _) => record.size_bytes,
        (None, Some(origin)) => origin.blob.size_bytes,
        (None, None) => 0,
    }
}
