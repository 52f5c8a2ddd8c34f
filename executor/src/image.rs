//! Images as sources: their layers are fetched and unpacked once a step needs them.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use layer::Entries;
use layer::tar::Limits;
use layer::unpack::{UnpackedLayer, pack_layer, unpack_layer};
use oci::{Descriptor, Digest, Timestamp};
use registry::Client;
use solver::StepError;
use store::{
    BlobWriter, ImageLayer, ImageRecord, Layer, LayerDraft, LayerId, LayerOrigin, LayerRecord, PackedRecord, Snapshot,
    StepLock, Store,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::blocking::{blocking, failed};
use crate::chunks::{CHUNKS_MAX, ChunkReader};
use crate::layers::write_entries;
use crate::report::{Report, Reporter};
use crate::{ExecError, Ladder};

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
    /// How layers are written and mounted.
    pub ladder: Arc<Ladder>,
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
        let (store, ladder) = (self.store.clone(), self.ladder.clone());
        if let Some(blob) = self.store.open_blob(&origin.blob.digest).map_err(failed)? {
            return blocking(move || unpack(&store, &ladder, blob, diff_id, origin)).await.map_err(failed);
        }
        let Some(reference) = &origin.reference else { return Err(failed(ExecError::LayerUnavailable { diff_id })) };
        let mut blob = self.registry.fetch_blob(reference, &origin.blob).await.map_err(failed)?;
        let mut progress =
            Progress::new(self.reporter.clone(), step, &origin.blob.digest.to_string(), Some(origin.blob.size_bytes));
        let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
        let unpacking = tokio::task::spawn_blocking(move || {
            let mut tee = Tee::new(ChunkReader::new(chunks), store.blob_writer()?);
            let layer = unpack(&store, &ladder, &mut tee, diff_id, origin.clone())?;
            tee.into_blob().commit(&origin.blob.digest)?;
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

/// Reads a layer into the store and records it.
fn unpack(
    store: &Store,
    ladder: &Ladder,
    stream: impl Read + Send,
    diff_id: Digest,
    origin: LayerOrigin,
) -> Result<Layer, ExecError> {
    let blob = origin.blob.digest;
    let unpacked = unpack_into(store, ladder, stream, Some(origin))?;
    let actual = unpacked.record.content;
    if actual != diff_id {
        return Err(ExecError::DiffIdMismatch { blob, expected: diff_id, actual });
    }
    unpacked.record(store)
}

/// Reads a stream that may be a layer's tar, compressed or not, before it is known whether an image needs it; what comes of it is to be recorded.
pub fn unpack_ahead(store: &Store, ladder: &Ladder, stream: impl Read + Send) -> Result<Unpacked, ExecError> {
    unpack_into(store, ladder, stream, None)
}

/// A layer that was read and is not recorded yet. Dropped, it is gone.
pub struct Unpacked {
    draft: LayerDraft,
    /// What is known of it.
    record: LayerRecord,
    entries: Entries,
}

/// Reads a layer's tar, compressed or not, into a draft. The tar's digest is the layer's content digest, so nothing needs to be hashed again.
fn unpack_into(
    store: &Store,
    ladder: &Ladder,
    stream: impl Read + Send,
    origin: Option<LayerOrigin>,
) -> Result<Unpacked, ExecError> {
    let name = origin.as_ref().map_or_else(|| "layer".to_owned(), |origin| origin.blob.digest.to_string());
    let failed = |source| ExecError::Unpack { name: name.clone(), source };
    let (draft, unpacked, packed) = if ladder.is_packed()? {
        let draft = store.draft_packed_layer()?;
        let (scattered_id, scattered) = draft.create_second_pack()?;
        let unpacked = pack_layer(stream, draft.create_pack()?, scattered.file, Limits::default()).map_err(failed)?;
        let packed = packed_tar(&draft, &unpacked, &scattered_id)?;
        (draft, unpacked, packed)
    } else {
        let draft = store.draft_layer()?;
        let tree = draft.tree();
        let root: OwnedFd = std::fs::File::open(&tree).map_err(ExecError::file("open", &tree))?.into();
        let unpacked = unpack_layer(stream, root, Limits::default()).map_err(failed)?;
        (draft, unpacked, None)
    };
    store::fault::point("pull.unpacked").map_err(ExecError::file("write", &draft.entries_path()))?;
    write_entries(&draft, &unpacked.entries)?;
    let record = LayerRecord {
        id: draft.id(),
        content: unpacked.diff_id,
        diff_id: Some(unpacked.diff_id),
        tar_bytes: Some(unpacked.size_bytes),
        origin,
        packed,
        size_bytes: unpacked.entries.size_bytes(),
        created: Timestamp::now(),
        seal: None,
    };
    let record = record.sealed(draft.dir())?;
    Ok(Unpacked { draft, record, entries: unpacked.entries })
}

/// Completes a layer whose tar was kept as it is.
fn packed_tar(
    draft: &LayerDraft,
    unpacked: &UnpackedLayer,
    scattered: &LayerId,
) -> Result<Option<PackedRecord>, ExecError> {
    let Some(packed) = &unpacked.packed else { return Ok(None) };
    let (mut record, _) = draft.complete_packed(&unpacked.entries, packed, scattered)?;
    record.tar = Some(draft.id());
    Ok(Some(record))
}

/// Reads a tar of files into a layer of our own and records it. Its tar is made again when it is exported, so the original need not be kept.
pub fn import_layer(store: &Store, ladder: &Ladder, stream: impl Read + Send) -> Result<LayerRecord, ExecError> {
    let mut unpacked = unpack_into(store, ladder, stream, None)?;
    // What it is exported as is another tar.
    if let Some(packed) = &mut unpacked.record.packed {
        packed.tar = None;
    }
    let layer = Layer::finished(unpacked.draft, unpacked.record.clone());
    let exported = layer::tar::digest_layer(&layer.open()?).map_err(|source| ExecError::Export { source })?;
    let record = LayerRecord {
        content: layer::digest::of_layer(&unpacked.entries),
        diff_id: Some(exported.digest),
        tar_bytes: Some(exported.size_bytes),
        ..unpacked.record
    };
    store.put_layers(&[(layer, record.clone())], |_| Ok(()))?;
    Ok(record)
}

/// A stream that a blob is written of while it is read.
pub struct Tee<S> {
    stream: S,
    blob: BlobWriter,
    /// Whether a piece was read that the blob lacks: then nothing more is read.
    is_broken: bool,
}

impl<S> Tee<S> {
    /// Begins with nothing read.
    pub fn new(stream: S, blob: BlobWriter) -> Self {
        Self { stream, blob, is_broken: false }
    }

    /// Returns the blob, which has all that was read.
    pub fn into_blob(self) -> BlobWriter {
        self.blob
    }
}

impl<S: Read> Read for Tee<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_broken {
            return Err(io::Error::other("the blob was not written"));
        }
        let count = self.stream.read(buffer)?;
        let written = self.blob.write_all(&buffer[..count]);
        self.is_broken = written.is_err();
        written.map(|()| count)
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
    /// Records the layer under the blob that it came from, unless the store has one of the same tar.
    pub fn record_once(mut self, store: &Store, blob: Descriptor) -> Result<(), ExecError> {
        if let Some(known) = store.find_layer(&self.record.content)?
            && store.layer(known).is_ok()
        {
            return Ok(());
        }
        self.record.origin = Some(LayerOrigin { reference: None, blob });
        self.record(store).map(drop)
    }

    /// Records the layer, so that it stays.
    fn record(self, store: &Store) -> Result<Layer, ExecError> {
        let record = self.record;
        let layer = Layer::finished(self.draft, record.clone());
        store.put_layers(&[(layer.clone(), record)], |_| Ok(()))?;
        Ok(layer)
    }
}
