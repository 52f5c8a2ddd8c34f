//! Giving back room: records go first, files when nobody can be reading them any more.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use oci::Digest;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::condemned::Condemned;
use crate::database::Writer;
use crate::draft::{bury, empty_trash, list};
use crate::epoch::Epoch;
use crate::{
    ImageRecord, LayerId, LayerRecord, Store, StoreError, condemned, container, epoch, fault, image, layer_table,
};

/// How many files or directories are moved to the trash in one transaction: some milliseconds' worth.
const BURIED_AT_ONCE_MAX: usize = 100;

/// What a collection removed.
#[derive(Debug, Default)]
pub struct Collected {
    /// The layers that nothing needs any more. The files of those that a running build may still read are removed by a later collection.
    pub layers: Vec<LayerRecord>,
    /// The sum of the lengths of the blobs that nothing needs any more.
    pub blob_bytes: u64,
}

impl Store {
    /// Removes the images that no name points at, unless a container needs them, and returns them.
    pub fn remove_unnamed_images(&self) -> Result<Vec<ImageRecord>, StoreError> {
        self.meta().write(|writer| {
            let used = container::referenced_images(writer)?;
            image::remove_unnamed(writer, |id| used.contains(id))
        })
    }

    /// Takes the turn to collect by policy. `Ok(None)` means that another process has it, or had it less than `pause` ago.
    pub fn take_collection_turn(&self, pause: Duration) -> Result<Option<File>, StoreError> {
        let path = self.layout().collection_turn();
        let is_recent =
            |metadata: Metadata| metadata.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age < pause));
        if path.metadata().is_ok_and(is_recent) {
            return Ok(None);
        }
        let file = File::create(&path).map_err(StoreError::file("create", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(StoreError::file("lock", &path)(error)),
        }
        file.set_modified(SystemTime::now()).map_err(StoreError::file("write", &path))?;
        Ok(Some(file))
    }

    /// Removes the layers and blobs that no image, no container and no result of the cache needs.
    ///
    /// `prune` removes results from the cache and returns the layers that the remaining ones need; it runs in the same transaction, so that no result can come between.
    pub fn collect(
        &self,
        prune: impl FnOnce(&mut Writer<'_, '_>) -> Result<BTreeSet<LayerId>, StoreError>,
    ) -> Result<Collected, StoreError> {
        let blobs = self.unreferenced_blobs()?;
        self.collect_orphans()?;
        let live = self.layout().live();
        let layers = self.cache().write(|writer| {
            let kept = prune(writer)?;
            let durable = self.durably_referenced()?;
            let epoch = end_epoch(writer, &live)?;
            for (digest, _) in &blobs {
                condemned::BLOBS.condemn(writer, digest.as_bytes(), epoch)?;
            }
            layer_table::condemn(writer, epoch, |id| kept.contains(id) || durable.contains(id))
        })?;
        fault::point("collect.bury").map_err(StoreError::file("write", self.root()))?;
        self.bury_condemned()?;
        self.discard_orphaned_containers()?;
        empty_trash(self.layout())?;
        Ok(Collected { layers, blob_bytes: blobs.iter().map(|(_, size_bytes)| size_bytes).sum() })
    }

    /// Removes the layers that are there although nothing says what they are.
    pub(crate) fn collect_orphans(&self) -> Result<(), StoreError> {
        self.condemn(&self.orphaned_layers()?, &[])
    }

    /// Removes what only a cache that was lost knew: layers that nothing names, and blobs that no image needs, whose bytes may not be on disk.
    pub(crate) fn collect_after_loss(&self) -> Result<(), StoreError> {
        self.condemn(&self.orphaned_layers()?, &self.unreferenced_blobs()?)
    }

    fn condemn(&self, layers: &[LayerId], blobs: &[(Digest, u64)]) -> Result<(), StoreError> {
        if layers.is_empty() && blobs.is_empty() {
            return Ok(());
        }
        let live = self.layout().live();
        self.cache().write(|writer| {
            let epoch = end_epoch(writer, &live)?;
            layers.iter().try_for_each(|id| condemned::LAYERS.condemn(writer, id.as_bytes(), epoch))?;
            blobs.iter().try_for_each(|(digest, _)| condemned::BLOBS.condemn(writer, digest.as_bytes(), epoch))
        })?;
        self.bury_condemned()
    }

    /// Returns the blobs that no image needs, with their lengths.
    fn unreferenced_blobs(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
        let paths = list(&self.layout().blobs())?;
        let (_, needed) = self.meta().read(image::references)?;
        let mut unreferenced = Vec::new();
        for path in paths {
            let digest = path.file_name().and_then(|name| name.to_str()).and_then(Digest::from_hex);
            if let Some(digest) = digest.filter(|digest| !needed.contains(digest)) {
                unreferenced.push((digest, path.metadata().map(|metadata| metadata.len()).unwrap_or(0)));
            }
        }
        Ok(unreferenced)
    }

    /// Returns the layers that nothing names: a cache was lost that did, or an image that is gone by now needed them when their record went.
    ///
    /// What is looked at first is what a layer is first, so that none on its way from one state to the next is missed: files, a draft's marker, a record.
    fn orphaned_layers(&self) -> Result<Vec<LayerId>, StoreError> {
        let mut orphans = layer_ids(&self.layout().layers())?;
        for dir in list(&self.layout().drafts())? {
            for id in layer_ids(&dir.join("layers"))? {
                orphans.remove(&id);
            }
        }
        let known = self.cache().read(|reader| {
            let condemned = condemned::LAYERS.keys(reader)?;
            Ok((layer_table::ids(reader)?, condemned))
        })?;
        let condemned = known.1.iter().filter_map(|key| LayerId::from_bytes(key));
        let durable = self.durably_referenced()?;
        for id in known.0.into_iter().chain(condemned).chain(durable) {
            orphans.remove(&id);
        }
        Ok(orphans.into_iter().collect())
    }

    /// Moves to the trash what was deleted in epochs that are over.
    fn bury_condemned(&self) -> Result<(), StoreError> {
        let oldest_held = epoch::oldest_held(&self.layout().live())?;
        let (layers, blobs) = self.cache().read(|reader| {
            Ok((condemned::LAYERS.unread(reader, oldest_held)?, condemned::BLOBS.unread(reader, oldest_held)?))
        })?;
        // An image that was made since may need some of them, and carries their records itself. Whoever names one has found it in an epoch that is over by now.
        let durable = self.durably_referenced()?;
        let (_, needed) = self.meta().read(image::references)?;
        self.bury(condemned::LAYERS, &layers, oldest_held, |key| {
            let id = LayerId::from_bytes(key).filter(|id| !durable.contains(id));
            id.map(|id| self.layout().layer(&id))
        })?;
        self.bury(condemned::BLOBS, &blobs, oldest_held, |key| {
            let digest = key.try_into().ok().map(Digest::from_bytes).filter(|digest| !needed.contains(digest));
            digest.map(|digest| self.layout().blob(&digest))
        })
    }

    /// Takes what has these keys off a list, and moves the files of what `path` does not know to be needed to the trash: a few at a time, so that nobody waits.
    fn bury(
        &self,
        condemned: Condemned,
        keys: &[Vec<u8>],
        oldest_held: Option<Epoch>,
        path: impl Fn(&[u8]) -> Option<PathBuf>,
    ) -> Result<(), StoreError> {
        for keys in keys.chunks(BURIED_AT_ONCE_MAX) {
            self.cache().write(|writer| {
                for key in keys {
                    if condemned.take(writer, key, oldest_held)?
                        && let Some(path) = path(key)
                    {
                        bury(self.layout(), &path)?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Ends the epoch within the transaction that removes records: until its end nobody can look anything up, so whoever holds the new epoch has found none of it.
fn end_epoch(writer: &mut Writer<'_, '_>, live: &Path) -> Result<Epoch, StoreError> {
    let epoch = condemned::next_epoch(writer, epoch::highest(live)?)?;
    epoch::rotate(live, epoch)?;
    Ok(epoch)
}

/// Returns the layers that the names in a directory are.
fn layer_ids(dir: &Path) -> Result<BTreeSet<LayerId>, StoreError> {
    let id = |path: &PathBuf| path.file_name()?.to_str()?.parse().ok();
    Ok(list(dir)?.iter().filter_map(id).collect())
}
