//! Images and their names.
//!
//! An image's record holds its config and the records of its layers, so that it can be run without the cache. A name points at one image for each platform.

use std::collections::BTreeSet;

use oci::{Digest, Platform, Reference, Timestamp};
use serde::{Deserialize, Serialize};

use crate::database::{Reader, Table, Writer};
use crate::{LayerId, LayerOrigin, LayerRecord, Store, StoreError};

/// Images by id.
const IMAGES: Table = Table(b'I');
/// Names of images by reference.
const NAMES: Table = Table(b'N');

/// An image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The digest of the config: the image's id.
    pub id: Digest,
    /// The config, to the byte.
    pub config: String,
    /// What the image runs on.
    pub platform: Platform,
    /// The layers, the lowest first.
    pub layers: Vec<ImageLayer>,
    /// The manifest that the image was pulled or loaded with, to the byte; a built image has none before it is exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// When the record was made.
    pub added: Timestamp,
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLayer {
    /// The digest of the layer's tar.
    pub diff_id: Digest,
    /// The layer in this store; `None` while nothing needed its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<LayerRecord>,
    /// Where the layer can be fetched from, while it is not in this store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<LayerOrigin>,
}

impl ImageRecord {
    /// Returns the records of the layers that are in this store.
    pub fn local_layers(&self) -> impl Iterator<Item = &LayerRecord> {
        self.layers.iter().filter_map(|layer| layer.layer.as_ref())
    }

    /// Tells whether all layers are in this store.
    pub fn is_complete(&self) -> bool {
        self.layers.iter().all(|layer| layer.layer.is_some())
    }
}

/// What a name points at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// One image for each platform; never empty.
    pub images: Vec<NamedImage>,
    /// The digest of the manifest or index that the name had at the registry it was pulled from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// When the name was last pointed at something else.
    pub updated: Timestamp,
}

/// An image behind a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedImage {
    /// What it runs on.
    pub platform: Platform,
    /// The image's id.
    pub id: Digest,
}

impl Store {
    /// Puts images and points names at them, all at once, after everything that they need is on disk.
    ///
    /// What is there already and equal is not written, so that building the same again writes nothing.
    pub fn put_images(&self, images: &[ImageRecord], names: &[(Reference, NameRecord)]) -> Result<(), StoreError> {
        let is_there = self.meta().read(|reader| {
            let images = all_there(images, |image| Ok(image_of(reader, &image.id)?.is_some_and(|it| same(&it, image))));
            let names = all_there(names, |(reference, name)| {
                Ok(name_of(reader, reference)?.is_some_and(|it| it.images == name.images && it.digest == name.digest))
            });
            Ok(images? && names?)
        })?;
        if is_there {
            return Ok(());
        }
        self.flush()?;
        self.meta().write(|writer| {
            for image in images {
                writer.put_record(IMAGES, image.id.as_bytes(), image)?;
            }
            for (reference, name) in names {
                // It may have been removed since it was found.
                if let Some(gone) = missing_image(writer, name)? {
                    return Err(StoreError::ImageGone { name: reference.to_string(), id: gone });
                }
                writer.put_record(NAMES, reference.to_string().as_bytes(), name)?;
            }
            Ok(())
        })
    }

    /// Returns the image with this id; `Ok(None)` means that there is none.
    pub fn image(&self, id: &Digest) -> Result<Option<ImageRecord>, StoreError> {
        self.meta().read(|reader| image_of(reader, id))
    }

    /// Returns what a name points at; `Ok(None)` means that there is no such name.
    pub fn name(&self, reference: &Reference) -> Result<Option<NameRecord>, StoreError> {
        self.meta().read(|reader| name_of(reader, reference))
    }

    /// Returns all images, sorted by id.
    pub fn images(&self) -> Result<Vec<ImageRecord>, StoreError> {
        self.meta().read(|reader| Ok(reader.records(IMAGES)?.into_iter().map(|(_, image)| image).collect()))
    }

    /// Returns all names with what they point at, sorted.
    pub fn names(&self) -> Result<Vec<(Reference, NameRecord)>, StoreError> {
        self.meta().read(names_of)
    }

    /// Forgets that layers are in this store: images that have them are without from now on, until they are fetched again. Returns those images.
    pub fn forget_image_layers(&self, layers: &BTreeSet<LayerId>) -> Result<Vec<Digest>, StoreError> {
        self.meta().write(|writer| {
            let mut changed = Vec::new();
            for (key, mut image) in writer.reader().records::<ImageRecord>(IMAGES)? {
                let mut has_any = false;
                for layer in &mut image.layers {
                    if let Some(record) = layer.layer.take_if(|record| layers.contains(&record.id)) {
                        layer.origin = layer.origin.take().or(record.origin);
                        has_any = true;
                    }
                }
                if has_any {
                    writer.put_record(IMAGES, &key, &image)?;
                    changed.push(image.id);
                }
            }
            Ok(changed)
        })
    }

    /// Removes a name and images, all or nothing, and every name that then points at none. The names that are gone are returned; layers stay until they are collected.
    pub fn remove_images(&self, name: Option<&Reference>, ids: &[Digest]) -> Result<Vec<Reference>, StoreError> {
        self.meta().write(|writer| {
            let mut removed = Vec::new();
            if let Some(name) = name
                && writer.delete(NAMES, name.to_string().as_bytes())?
            {
                removed.push(name.clone());
            }
            for id in ids {
                writer.delete(IMAGES, id.as_bytes())?;
            }
            for (key, mut name) in writer.reader().records::<NameRecord>(NAMES)? {
                if !name.images.iter().any(|image| ids.contains(&image.id)) {
                    continue;
                }
                name.images.retain(|image| !ids.contains(&image.id));
                if name.images.is_empty() {
                    writer.delete(NAMES, &key)?;
                    removed.extend(parse_key(&key));
                } else {
                    writer.put_record(NAMES, &key, &name)?;
                }
            }
            Ok(removed)
        })
    }
}

/// Returns the first image that a name points at and that is not there.
fn missing_image(writer: &Writer<'_, '_>, name: &NameRecord) -> Result<Option<Digest>, StoreError> {
    for NamedImage { id, .. } in &name.images {
        if writer.reader().get(IMAGES, id.as_bytes())?.is_none() {
            return Ok(Some(*id));
        }
    }
    Ok(None)
}

fn all_there<T>(items: &[T], is_there: impl Fn(&T) -> Result<bool, StoreError>) -> Result<bool, StoreError> {
    items.iter().try_fold(true, |all, item| Ok(all && is_there(item)?))
}

/// Tells whether two records say the same of an image, whenever they were made.
fn same(old: &ImageRecord, new: &ImageRecord) -> bool {
    let added = new.added;
    ImageRecord { added, ..old.clone() } == *new
}

fn image_of(reader: &Reader<'_>, id: &Digest) -> Result<Option<ImageRecord>, StoreError> {
    reader.get_record(IMAGES, id.as_bytes())
}

fn name_of(reader: &Reader<'_>, reference: &Reference) -> Result<Option<NameRecord>, StoreError> {
    reader.get_record(NAMES, reference.to_string().as_bytes())
}

fn names_of(reader: &Reader<'_>) -> Result<Vec<(Reference, NameRecord)>, StoreError> {
    let records = reader.records::<NameRecord>(NAMES)?;
    Ok(records.into_iter().filter_map(|(key, name)| Some((parse_key(&key)?, name))).collect())
}

/// Names are written only from references, so every key is one.
fn parse_key(key: &[u8]) -> Option<Reference> {
    std::str::from_utf8(key).ok()?.parse().ok()
}

/// Returns the layers and the blobs that images need.
pub(crate) fn references(reader: &Reader<'_>) -> Result<(BTreeSet<LayerId>, BTreeSet<Digest>), StoreError> {
    let images: Vec<ImageRecord> = reader.records(IMAGES)?.into_iter().map(|(_, image)| image).collect();
    let origins = images
        .iter()
        .flat_map(|image| &image.layers)
        .flat_map(|layer| [layer.origin.as_ref(), layer.layer.as_ref().and_then(|record| record.origin.as_ref())]);
    let blobs = origins.flatten().map(|origin| origin.blob.digest).collect();
    Ok((images.iter().flat_map(ImageRecord::local_layers).map(|layer| layer.id).collect(), blobs))
}

/// Removes the images that no name points at and `is_kept` does not know, and returns them.
pub(crate) fn remove_unnamed(
    writer: &mut Writer<'_, '_>,
    is_kept: impl Fn(&Digest) -> bool,
) -> Result<Vec<ImageRecord>, StoreError> {
    let names = writer.reader().records::<NameRecord>(NAMES)?;
    let named: BTreeSet<Digest> = names.iter().flat_map(|(_, name)| &name.images).map(|image| image.id).collect();
    let mut removed = Vec::new();
    for (key, image) in writer.reader().records::<ImageRecord>(IMAGES)? {
        if !named.contains(&image.id) && !is_kept(&image.id) {
            writer.delete(IMAGES, &key)?;
            removed.push(image);
        }
    }
    Ok(removed)
}
