//! Whether what lies in the store is what its records say, and what becomes of what is not: it is forgotten, so that it is made or fetched again instead of used.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use executor::ExecError;
use oci::Digest;
use store::{ImageRecord, LayerId, LayerRecord, Store, StoreError};

use crate::build::steps;
use crate::event_sink::EventSink;
use crate::{Engine, Error, chain};

/// How much that is damaged whoever uses it comes upon, and has made or fetched again, before it gives up.
pub(crate) const DAMAGES_MAX: usize = 8;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// How many layers were looked at.
    pub layers: usize,
    /// How many blobs were looked at.
    pub blobs: usize,
    /// What is damaged, layers first.
    pub damages: Vec<Damage>,
}

/// Something that is not what its record or its name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What it is: `layer 0a1b…`, `blob sha256:…`.
    pub what: String,
    /// What is wrong with it.
    pub reason: String,
    /// What comes of it.
    pub remedy: Remedy,
}

/// How something damaged is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It is fetched from its registry when it is needed.
    Fetch,
    /// The steps that made it run again in the next build.
    Build,
    /// The image that needs it has to be built again, since nobody else has it.
    BuildImage,
}

impl Engine {
    /// Reads everything that is in the store. With `repair`, what is damaged is forgotten.
    pub fn check(&self, repair: Repair) -> Result<CheckReport, Error> {
        let _epoch = self.store.hold_epoch()?;
        let layers = self.all_layers()?;
        let mut report = CheckReport { layers: layers.len(), ..CheckReport::default() };
        let damaged = self.damaged_layers(&layers)?;
        for (layer, reason) in &damaged {
            let remedy = self.remedy(layer)?;
            report.damages.push(Damage { what: format!("layer {}", layer.id), reason: reason.clone(), remedy });
        }
        let blobs = self.store.blobs()?;
        report.blobs = blobs.len();
        for digest in blobs {
            let Some(actual) = self.store.blob_digest(&digest)?.filter(|actual| *actual != digest) else { continue };
            let (what, reason) = (format!("blob {digest}"), format!("its bytes have the digest {actual}"));
            report.damages.push(Damage { what, reason, remedy: Remedy::Fetch });
            if repair == Repair::Forget {
                self.store.remove_damaged_blob(&digest)?;
            }
        }
        if repair == Repair::Forget && !damaged.is_empty() {
            self.forget_layers(&damaged.iter().map(|(layer, _)| layer.id).collect())?;
        }
        Ok(report)
    }

    /// Forgets layers that are not what their records say. Images are without them until they are fetched again; steps that made them run again.
    pub(crate) fn forget_layers(&self, layers: &BTreeSet<LayerId>) -> Result<(), Error> {
        self.store.forget_image_layers(layers)?;
        self.store.collect(|writer| {
            cache::prune(writer, |result| !result.layers().any(|layer| layers.contains(&layer)))?;
            let known = Store::layer_ids(&writer.reader())?.into_iter();
            Ok(known.filter(|id| !layers.contains(id)).collect())
        })?;
        Ok(())
    }

    /// Sees to it that what came upon something damaged can be tried again: a build has it made again, all others can only have it fetched again.
    ///
    /// Returns whether it can. Where it cannot, the cache has forgotten it, so that the next build makes it again; images keep what they have.
    pub(crate) fn mend(&self, error: &Error, events: &EventSink) -> Result<bool, Error> {
        let Some(damaged) = damaged(error) else { return Ok(false) };
        let Damaged::Layer(id) = damaged else {
            // It was removed.
            steps::damage_trouble(events, error);
            return Ok(true);
        };
        let records = self.all_layers()?;
        let Some(record) = records.iter().find(|record| record.id == id) else { return Ok(false) };
        let layers = BTreeSet::from([id]);
        if self.remedy(record)? != Remedy::Fetch {
            self.store.cache().write(|writer| {
                cache::prune(writer, |result| result.layers().all(|layer| layer != id))?;
                Store::forget_layer(writer, &id)
            })?;
            return Ok(false);
        }
        steps::damage_trouble(events, error);
        self.forget_layers(&layers)?;
        Ok(true)
    }

    /// Returns the records of the layers that the cache, images and containers know.
    fn all_layers(&self) -> Result<Vec<LayerRecord>, Error> {
        let (images, containers) = (self.store.images()?, self.store.containers()?);
        let mut layers = self.store.layers()?;
        layers.extend(images.iter().flat_map(ImageRecord::local_layers).cloned());
        layers.extend(containers.into_iter().flat_map(|container| container.layers));
        layers.sort_by_key(|layer| layer.id);
        layers.dedup_by_key(|layer| layer.id);
        Ok(layers)
    }

    /// Looks at layers on all processors, and returns those that are damaged with what is wrong, in the given order.
    fn damaged_layers(&self, layers: &[LayerRecord]) -> Result<Vec<(LayerRecord, String)>, Error> {
        let (next, found) = (Mutex::new(layers.iter().enumerate()), Mutex::new(Vec::new()));
        let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some((place, layer)) = take() {
                if let Some(reason) = self.layer_damage(layer) {
                    found.lock().unwrap_or_else(PoisonError::into_inner).push((place, layer.clone(), reason));
                }
            }
        };
        std::thread::scope(|scope| {
            let threads = std::thread::available_parallelism().map_or(1, usize::from).min(layers.len());
            (0..threads).for_each(|_| drop(scope.spawn(work)));
        });
        let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort_by_key(|(place, ..)| *place);
        Ok(found.into_iter().map(|(_, layer, reason)| (layer, reason)).collect())
    }

    /// Returns what is wrong with a layer, or `None`.
    fn layer_damage(&self, record: &LayerRecord) -> Option<String> {
        match self.store.audit_layer(record) {
            Ok(()) => None,
            Err(StoreError::LayerDamaged { source, .. }) => Some(chain(&source)),
            Err(error) => Some(chain(&error)),
        }
    }

    fn remedy(&self, layer: &LayerRecord) -> Result<Remedy, Error> {
        if let Some(origin) = &layer.origin
            && (origin.reference.is_some() || self.store.has_blob(&origin.blob.digest))
        {
            return Ok(Remedy::Fetch);
        }
        let images = self.store.images()?;
        let is_needed = images.iter().flat_map(ImageRecord::local_layers).any(|other| other.id == layer.id);
        Ok(if is_needed { Remedy::BuildImage } else { Remedy::Build })
    }
}

/// What becomes of what is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Nothing: it is only told.
    Nothing,
    /// It is forgotten.
    Forget,
}

/// Something of the store that is not what its name or its record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damaged {
    /// A layer.
    Layer(LayerId),
    /// A blob; it was removed.
    Blob(Digest),
}

/// Returns the damage that is behind an error, if one is.
pub(crate) fn damaged(error: &Error) -> Option<Damaged> {
    match of_store(error)? {
        StoreError::BlobDamaged { expected, .. } => Some(Damaged::Blob(*expected)),
        error => error.damaged_layer().map(Damaged::Layer),
    }
}

/// Returns what the store said, if that is what is behind an error.
pub(crate) fn of_store(error: &Error) -> Option<&StoreError> {
    match error {
        Error::Store(error) | Error::Exec(ExecError::Store(error)) => Some(error),
        Error::Step { source, .. } => match &**source {
            ExecError::Store(error) => Some(error),
            _ => None,
        },
        _ => None,
    }
}
