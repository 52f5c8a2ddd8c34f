//! Whether what lies in the store is what its records say, and what becomes of what is not: it is forgotten, so that it is made or fetched again instead of used.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use executor::ExecError;
use layer::hash::hash_range;
use layer::{Entry, Kind};
use oci::{Digest, Hasher};
use store::{ImageRecord, LayerId, LayerRecord, Store};

use crate::{Engine, Error, chain};

/// How much of a blob is read at once.
const READ_BYTES: usize = 1 << 20;

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
            let Some(actual) = self.wrong_digest(&digest)? else { continue };
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
        let opened = self.store.layer(record.clone()).and_then(|layer| layer.open());
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => return Some(chain(&error)),
        };
        for (index, Entry { path, kind, .. }) in opened.entries.iter().enumerate() {
            let Kind::File { size_bytes, content } = kind else { continue };
            let range = match opened.open(index) {
                Ok(range) => range,
                Err(error) => return Some(chain(&error)),
            };
            match hash_range(&range) {
                Ok(read) if read == (size_bytes, content) => {}
                Ok(_) => return Some(format!("`{}` has another content than it had", path.to_text())),
                Err(error) => return Some(format!("cannot read `{}`: {error}", path.to_text())),
            }
        }
        None
    }

    fn remedy(&self, layer: &LayerRecord) -> Result<Remedy, Error> {
        let is_there = |digest: &Digest| self.store.open_blob(digest).map(|blob| blob.is_some());
        if let Some(origin) = &layer.origin
            && (origin.reference.is_some() || is_there(&origin.blob.digest)?)
        {
            return Ok(Remedy::Fetch);
        }
        let images = self.store.images()?;
        let is_needed = images.iter().flat_map(ImageRecord::local_layers).any(|other| other.id == layer.id);
        Ok(if is_needed { Remedy::BuildImage } else { Remedy::Build })
    }

    /// Returns the digest of a blob's bytes if it is another one than its name.
    fn wrong_digest(&self, digest: &Digest) -> Result<Option<Digest>, Error> {
        let Some(mut blob) = self.store.open_blob(digest)? else { return Ok(None) };
        let (mut hasher, mut buffer) = (Hasher::new(), vec![0; READ_BYTES]);
        loop {
            match blob.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::file("read", std::path::Path::new(&digest.to_string()))(error)),
            }
        }
        Ok(Some(hasher.finish()).filter(|actual| actual != digest))
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

/// Returns the layer whose damage is behind an error, if one is.
pub(crate) fn damaged_layer(error: &Error) -> Option<LayerId> {
    let of_step = |error: &ExecError| match error {
        ExecError::Store(error) => error.damaged_layer(),
        _ => None,
    };
    match error {
        Error::Store(error) => error.damaged_layer(),
        Error::Exec(error) => of_step(error),
        Error::Step { source, .. } => of_step(source),
        _ => None,
    }
}
