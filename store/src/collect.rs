//! Giving back room: records go first, files when nobody can be reading them any more.

use std::collections::BTreeSet;

use oci::Digest;

use crate::database::Writer;
use crate::draft::{bury, empty_trash, list};
use crate::{ImageRecord, LayerId, LayerRecord, Store, StoreError, container, epoch, image, layer_table};

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

    /// Removes the layers and blobs that no image, no container and no result of the cache needs.
    ///
    /// `prune` removes results from the cache and returns the layers that the remaining ones need; it runs in the same transaction, so that no result can come between.
    pub fn collect(
        &self,
        prune: impl FnOnce(&mut Writer<'_, '_>) -> Result<BTreeSet<LayerId>, StoreError>,
    ) -> Result<Collected, StoreError> {
        let durable = self.durably_referenced()?;
        let blobs = self.unreferenced_blobs()?;
        let live = self.layout().live();
        let layers = self.cache().write(|writer| {
            let kept = prune(writer)?;
            // Between the removal of the records and its end nobody can look a layer up, so whoever holds the new epoch has not found any of these.
            let epoch = epoch::rotate(&live)?;
            for (digest, _) in &blobs {
                layer_table::condemn_blob(writer, &epoch, digest)?;
            }
            layer_table::condemn(writer, &epoch, |id| kept.contains(id) || durable.contains(id))
        })?;
        self.bury_condemned()?;
        empty_trash(self.layout())?;
        Ok(Collected { layers, blob_bytes: blobs.iter().map(|(_, size_bytes)| size_bytes).sum() })
    }

    /// Returns the blobs that no image needs, with their lengths.
    fn unreferenced_blobs(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
        let (_, needed) = self.meta().read(image::references)?;
        let mut unreferenced = Vec::new();
        for path in list(&self.layout().root().join("blobs/sha256"))? {
            let digest = path.file_name().and_then(|name| name.to_str()).and_then(Digest::from_hex);
            if let Some(digest) = digest.filter(|digest| !needed.contains(digest)) {
                unreferenced.push((digest, path.metadata().map(|metadata| metadata.len()).unwrap_or(0)));
            }
        }
        Ok(unreferenced)
    }

    /// Moves to the trash what was deleted in epochs that are over.
    fn bury_condemned(&self) -> Result<(), StoreError> {
        let live = self.layout().live();
        let (layers, blobs) =
            self.cache().read(|reader| Ok((layer_table::condemned(reader)?, layer_table::condemned_blobs(reader)?)))?;
        for (id, epoch) in layers {
            // An image that was made since may need the layer; it carries the layer's record itself.
            if !epoch::is_over(&live, &epoch)? {
                continue;
            }
            let durable = self.durably_referenced()?;
            self.cache().write(|writer| {
                if layer_table::take_condemned(writer, &id)? && !durable.contains(&id) {
                    bury(self.layout(), &self.layout().layer(&id))?;
                }
                Ok(())
            })?;
        }
        for (digest, epoch) in blobs {
            if !epoch::is_over(&live, &epoch)? {
                continue;
            }
            let (_, needed) = self.meta().read(image::references)?;
            self.cache().write(|writer| {
                if layer_table::take_condemned_blob(writer, &digest)? && !needed.contains(&digest) {
                    bury(self.layout(), &self.layout().blob(&digest))?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}
