//! From finished snapshots to images: configs get their layers and times.

use std::sync::Arc;

use executor::TarDigests;
use frontend::plan::PlanResult;
use layer::tar::digest_layer;
use oci::{Digest, ImageConfig, Timestamp};
use store::{ImageLayer, ImageRecord, Layer, LayerRecord, Snapshot, Store};

use crate::{Engine, Error};

/// From which length of new layers on they are flushed while they are hashed: the disk has something to do meanwhile. Less is flushed once, before the image is named.
const FLUSH_AHEAD_BYTES_MIN: u64 = 16 << 20;

/// What one platform came to.
pub(crate) struct BuiltImage<'a> {
    /// What was planned.
    pub(crate) result: &'a PlanResult,
    /// What was made.
    pub(crate) snapshot: Snapshot,
    /// What may be known of its tars.
    pub(crate) tars: Arc<TarDigests>,
}

impl Engine {
    /// Completes the images' configs. The digests of tars that nobody needed before are computed now, and remembered.
    pub(crate) async fn complete_images(&self, built: &[BuiltImage<'_>]) -> Result<Vec<ImageRecord>, Error> {
        let mut images = Vec::with_capacity(built.len());
        for BuiltImage { result, snapshot, tars } in built {
            let records = self.complete_layers(snapshot, tars).await?;
            let config = complete_config(result, &records);
            let config = serde_json::to_string(&config).map_err(|error| Error::Bug(error.to_string()))?;
            let layers = records.into_iter().map(|record| ImageLayer {
                diff_id: record.diff_id.unwrap_or(record.content),
                origin: record.origin.clone(),
                layer: Some(record),
            });
            images.push(ImageRecord {
                id: Digest::of(config.as_bytes()),
                config,
                platform: result.platform.clone(),
                layers: layers.collect(),
                manifest: None,
                added: Timestamp::now(),
            });
        }
        Ok(images)
    }

    /// Returns the records of a snapshot's layers, all with the digests of their tars, and makes sure that the store keeps them.
    async fn complete_layers(&self, snapshot: &Snapshot, tars: &Arc<TarDigests>) -> Result<Vec<LayerRecord>, Error> {
        let mut records = Vec::with_capacity(snapshot.layers.len());
        let mut digests = Vec::new();
        for (place, layer) in snapshot.layers.iter().enumerate() {
            let record = layer.record().await.map_err(executor::ExecError::from)?;
            records.push(LayerRecord::clone(&record));
            if record.diff_id.is_none() {
                let (store, layer, tars) = (self.store.clone(), layer.clone(), tars.clone());
                // A thread only where there is something to do: a build that finds everything starts none.
                let digest = move || with_tar_digest(&store, &layer, &record, &tars);
                digests.push((place, tokio::task::spawn_blocking(digest)));
            }
        }
        let is_new = !digests.is_empty();
        let new_bytes: u64 = digests.iter().map(|(place, _)| records[*place].size_bytes).sum();
        let store = self.store.clone();
        let flushing = (new_bytes >= FLUSH_AHEAD_BYTES_MIN).then(|| tokio::task::spawn_blocking(move || store.flush()));
        // All are waited for, whatever becomes of some of them.
        let mut outcome = Ok(());
        for (place, digest) in digests {
            match digest.await.map_err(|error| Error::Bug(error.to_string())) {
                Ok(Ok(record)) => records[place] = record,
                Ok(Err(error)) | Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        if let Some(flushing) = flushing {
            flushing.await.map_err(|error| Error::Bug(error.to_string()))??;
        }
        outcome?;
        if is_new {
            let layers: Vec<(Layer, LayerRecord)> = snapshot.layers.iter().cloned().zip(records.clone()).collect();
            self.store.put_layers(&layers, |_| Ok(()))?;
        }
        Ok(records)
    }
}

fn with_tar_digest(
    store: &Store,
    layer: &Layer,
    record: &LayerRecord,
    tars: &TarDigests,
) -> Result<LayerRecord, Error> {
    let exported = match tars.wait(layer.id()) {
        Some(digested) => {
            // Without it the tar of the next layer of the step is hashed whole.
            let _ = store.put_tar_checkpoints(&layer.id(), &digested.checkpoints.encode());
            digested.exported
        }
        None => digest_layer(&layer.open()?).map_err(|source| Error::Export { id: layer.id(), source })?,
    };
    let (diff_id, tar_bytes) = (Some(exported.digest), Some(exported.size_bytes));
    Ok(LayerRecord { diff_id, tar_bytes, ..record.clone() })
}

/// Fills in what only the finished steps tell; see [`PlanResult`].
fn complete_config(result: &PlanResult, layers: &[LayerRecord]) -> ImageConfig {
    let mut config = result.config.clone();
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.unwrap_or(layer.content)).collect();
    let mut of_layers = layers.iter();
    for (place, entry) in config.history.iter_mut().enumerate() {
        let layer = if entry.empty_layer { None } else { of_layers.next() };
        if place >= result.base_history && entry.created.is_none() {
            entry.created = layer.map(|layer| layer.created);
        }
    }
    let new = config.history.get(result.base_history..).unwrap_or_default();
    let first_new = new.iter().find_map(|entry| entry.created);
    let base = config.history.get(..result.base_history).unwrap_or_default();
    let last_base = base.iter().rev().find_map(|entry| entry.created);
    // As BuildKit: what stands before the first new layer has that layer's time, and the base's only where there is no new layer.
    let mut before = first_new.or(last_base);
    for entry in config.history.iter_mut().skip(result.base_history) {
        before = entry.created.or(before);
        entry.created = before;
    }
    config.created = config.history.last().and_then(|entry| entry.created);
    config
}
