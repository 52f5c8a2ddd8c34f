//! Images as sources: their layers are fetched and unpacked once a step needs them.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use layer::tar::Limits;
use layer::unpack::unpack_layer;
use oci::{Digest, Timestamp};
use registry::Client;
use solver::StepError;
use store::{
    BlobWriter, ImageLayer, ImageRecord, Layer, LayerDraft, LayerOrigin, LayerRecord, Snapshot, StepLock, Store,
    StoreError,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::ExecError;
use crate::blocking::{blocking, failed};
use crate::chunks::{CHUNKS_MAX, ChunkReader};
use crate::report::{Report, Reporter};

/// How many layers of an image are fetched at the same time.
const LAYERS_PARALLEL_MAX: usize = 4;
/// How long to wait before a layer that another process fetches is looked for again.
const LOCK_WAIT: Duration = Duration::from_millis(50);
/// How much has to come before it is reported again.
const PROGRESS_BYTES: u64 = 256 << 10;

/// Brings the layers of images into a store.
#[derive(Clone)]
pub struct Fetcher {
    /// Where they go.
    pub store: Store,
    /// Where they come from.
    pub registry: Client,
    /// Who is told how far it has come.
    pub reporter: Reporter,
}

impl Fetcher {
    /// Returns the file system of an image, after fetching those of its layers that are not in the store.
    ///
    /// Layers that were fetched stay recorded, also when another one fails. Progress is that of `step`.
    pub async fn snapshot(
        &self,
        image: &ImageRecord,
        step: Digest,
        cancel: &CancellationToken,
    ) -> Result<Snapshot, StepError<ExecError>> {
        let fetches: Vec<_> = image.layers.iter().map(|layer| self.layer(layer, step, cancel)).collect();
        let mut fetched = stream::iter(fetches).buffered(LAYERS_PARALLEL_MAX);
        let (mut layers, mut failure) = (Vec::with_capacity(image.layers.len()), None);
        // After a failure the others are still waited for: nothing that was started may run on.
        while let Some(layer) = fetched.next().await {
            match layer {
                Ok(layer) => layers.push(layer),
                Err(error) => failure = Some(failure.unwrap_or(error)),
            }
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(Snapshot::new(layers)),
        }
    }

    async fn layer(
        &self,
        wanted: &ImageLayer,
        step: Digest,
        cancel: &CancellationToken,
    ) -> Result<Layer, StepError<ExecError>> {
        if let Some(layer) = self.find(wanted).map_err(failed)? {
            return Ok(layer);
        }
        let _lock = self.lock(&wanted.diff_id, cancel).await?;
        // Whoever held the lock before may have fetched it.
        if let Some(layer) = self.find(wanted).map_err(failed)? {
            return Ok(layer);
        }
        let origin = wanted.origin.as_ref().or_else(|| wanted.layer.as_ref()?.origin.as_ref());
        let Some(origin) = origin.cloned() else {
            return Err(failed(ExecError::LayerUnavailable { diff_id: wanted.diff_id }));
        };
        self.fetch(wanted.diff_id, origin, step, cancel).await
    }

    /// Returns a layer that is in the store.
    fn find(&self, wanted: &ImageLayer) -> Result<Option<Layer>, ExecError> {
        if let Some(record) = &wanted.layer
            && let Ok(layer) = self.store.layer(record.clone())
        {
            return Ok(Some(layer));
        }
        let found = self.store.find_layer(&wanted.diff_id)?;
        Ok(found.and_then(|record| self.store.layer(record).ok()))
    }

    /// Keeps other processes from fetching the same layer.
    async fn lock(&self, diff_id: &Digest, cancel: &CancellationToken) -> Result<StepLock, StepError<ExecError>> {
        let locks = self.store.step_locks().map_err(failed)?;
        loop {
            if let Some(lock) = locks.try_lock(diff_id).map_err(failed)? {
                return Ok(lock);
            }
            tokio::select! {
                () = tokio::time::sleep(LOCK_WAIT) => {}
                () = cancel.cancelled() => return Err(StepError::Cancelled),
            }
        }
    }

    async fn fetch(
        &self,
        diff_id: Digest,
        origin: LayerOrigin,
        step: Digest,
        cancel: &CancellationToken,
    ) -> Result<Layer, StepError<ExecError>> {
        let store = self.store.clone();
        if let Some(blob) = self.store.open_blob(&origin.blob.digest).map_err(failed)? {
            return blocking(move || unpack(&store, blob, diff_id, origin)).await.map_err(failed);
        }
        let Some(reference) = &origin.reference else { return Err(failed(ExecError::LayerUnavailable { diff_id })) };
        let mut blob = self.registry.fetch_blob(reference, &origin.blob).await.map_err(failed)?;
        let mut progress =
            Progress::new(self.reporter.clone(), step, &origin.blob.digest.to_string(), Some(origin.blob.size_bytes));
        let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
        let unpacking = tokio::task::spawn_blocking(move || {
            let mut tee = Tee { chunks: ChunkReader::new(chunks), copy: store.blob_writer()? };
            let layer = unpack(&store, &mut tee, diff_id, origin.clone())?;
            tee.copy.commit(&origin.blob.digest)?;
            Ok(layer)
        });
        let pumped = loop {
            let chunk = tokio::select! {
                chunk = blob.next() => chunk,
                () = cancel.cancelled() => break Err(StepError::Cancelled),
            };
            match chunk {
                Ok(chunk) => {
                    let is_last = chunk.is_none();
                    progress.add(chunk.as_ref().map_or(0, |bytes| bytes.len() as u64));
                    // Whoever unpacks takes no more only if it failed, and says itself why.
                    if sender.send(chunk).await.is_err() || is_last {
                        break Ok(());
                    }
                }
                Err(error) => break Err(failed(error)),
            }
        };
        drop(sender);
        let unpacked: Result<Layer, ExecError> = unpacking.await.unwrap_or(Err(ExecError::Thread));
        pumped?;
        progress.report(true);
        unpacked.map_err(failed)
    }
}

/// Unpacks a layer into the store and records it.
fn unpack(store: &Store, stream: impl Read + Send, diff_id: Digest, origin: LayerOrigin) -> Result<Layer, ExecError> {
    let blob = origin.blob.digest;
    let unpacked = unpack_into(store, stream, Some(origin))?;
    let actual = unpacked.record.content;
    if actual != diff_id {
        return Err(ExecError::DiffIdMismatch { blob, expected: diff_id, actual });
    }
    unpacked.record(store)
}

/// A layer that was unpacked and is not recorded yet.
struct Unpacked {
    draft: LayerDraft,
    /// What is known of it.
    record: LayerRecord,
}

/// Unpacks a layer's tar, compressed or not, into a draft. The tar's digest is the layer's content digest, so nothing needs to be hashed again.
fn unpack_into(store: &Store, stream: impl Read + Send, origin: Option<LayerOrigin>) -> Result<Unpacked, ExecError> {
    let draft = store.draft_layer()?;
    let tree = draft.tree();
    let root: OwnedFd = std::fs::File::open(&tree).map_err(ExecError::file("open", &tree))?.into();
    let name = origin.as_ref().map_or_else(|| "layer".to_owned(), |origin| origin.blob.digest.to_string());
    let unpacked =
        unpack_layer(stream, root, Limits::default()).map_err(|source| ExecError::Unpack { name, source })?;
    let path = draft.entries_path();
    store::fault::point("pull.unpacked").map_err(ExecError::file("write", &path))?;
    std::fs::write(&path, unpacked.entries.as_bytes()).map_err(ExecError::file("write", &path))?;
    let record = LayerRecord {
        id: draft.id(),
        content: unpacked.diff_id,
        diff_id: Some(unpacked.diff_id),
        tar_bytes: Some(unpacked.size_bytes),
        origin,
        size_bytes: unpacked.entries.size_bytes(),
        created: Timestamp::now(),
    };
    Ok(Unpacked { draft, record })
}

/// Unpacks a tar of files into a layer of our own and records it. Its tar is made again when it is exported, so the original need not be kept.
pub fn import_layer(store: &Store, stream: impl Read + Send) -> Result<LayerRecord, ExecError> {
    let mut unpacked = unpack_into(store, stream, None)?;
    let entries = std::fs::read(unpacked.draft.entries_path());
    let entries = entries.map_err(ExecError::file("read", &unpacked.draft.entries_path()))?;
    let entries = layer::Entries::from_bytes(entries).map_err(StoreError::entries(unpacked.draft.id()))?;
    let tree = unpacked.draft.tree();
    let root: OwnedFd = std::fs::File::open(&tree).map_err(ExecError::file("open", &tree))?.into();
    let content = layer::digest::of_layer(&entries);
    let opened = layer::Layer { entries, content: layer::Content::Tree(layer::Tree::new(root)) };
    let exported = layer::tar::export_layer(&opened, layer::tar::TarOptions::LAYER, io::sink());
    let exported = exported.map_err(|source| ExecError::Export { source })?;
    let record = &mut unpacked.record;
    (record.content, record.diff_id, record.tar_bytes) = (content, Some(exported.digest), Some(exported.size_bytes));
    let record = record.clone();
    unpacked.record(store)?;
    Ok(record)
}

/// A stream that keeps a copy of what is read.
struct Tee<B> {
    chunks: ChunkReader<B>,
    copy: BlobWriter,
}

impl<B: AsRef<[u8]>> Read for &mut Tee<B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.chunks.read(buffer)?;
        self.copy.write_all(&buffer[..count])?;
        Ok(count)
    }
}

/// How much of a blob or file has come.
pub(crate) struct Progress {
    reporter: Reporter,
    step: Digest,
    id: String,
    current_bytes: u64,
    total_bytes: Option<u64>,
    reported_bytes: u64,
}

impl Progress {
    pub(crate) fn new(reporter: Reporter, step: Digest, id: &str, total_bytes: Option<u64>) -> Self {
        Self { reporter, step, id: id.to_owned(), current_bytes: 0, total_bytes, reported_bytes: 0 }
    }

    pub(crate) fn add(&mut self, bytes: u64) {
        self.current_bytes += bytes;
        if self.current_bytes - self.reported_bytes >= PROGRESS_BYTES {
            self.report(false);
        }
    }

    pub(crate) fn report(&mut self, is_done: bool) {
        self.reported_bytes = self.current_bytes;
        self.reporter.report(Report::Progress {
            step: self.step,
            id: self.id.clone(),
            current_bytes: self.current_bytes,
            total_bytes: self.total_bytes,
            is_done,
        });
    }
}

impl Unpacked {
    /// Records the layer, so that it stays.
    fn record(self, store: &Store) -> Result<Layer, ExecError> {
        let record = self.record;
        let layer = Layer::finishing(self.draft, std::future::ready(Ok(record.clone())));
        store.put_layers(&[(layer.clone(), record)], |_| Ok(()))?;
        Ok(layer)
    }
}
