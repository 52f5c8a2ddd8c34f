//! The cache that the solver asks.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use oci::{Digest, Timestamp};
use solver::{Found, Record};
use store::{Layer, LayerRecord, Reader, Snapshot, StepLock, Store, StoreError, Writer};
use tokio_util::sync::CancellationToken;

use crate::record::{
    DEFINITIONS, OPS, RESULTS, ResultRecord, SNAPSHOTS, SnapshotRecord, USED, USED_PRECISION_SECONDS, op_key,
};

/// How long to wait before a lock that another process holds is tried again: first, and at most.
const LOCK_WAIT_FIRST: Duration = Duration::from_millis(1);
const LOCK_WAIT_MAX: Duration = Duration::from_millis(25);

/// The results in a store.
pub struct Cache {
    store: Store,
    /// The results that this process used.
    used: Mutex<BTreeSet<Digest>>,
    trouble: Box<dyn Fn(StoreError) + Send + Sync>,
}

impl Cache {
    /// Opens the cache of a store. `trouble` hears of what went wrong within it; the build goes on without.
    pub fn new(store: Store, trouble: impl Fn(StoreError) + Send + Sync + 'static) -> Self {
        Self { store, used: Mutex::default(), trouble: Box::new(trouble) }
    }

    /// Writes down what was used, as far as that was not known yet.
    pub fn finish(&self) {
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        self.or_default(self.write_used(&used));
    }

    fn write_used(&self, used: &BTreeSet<Digest>) -> Result<(), StoreError> {
        let now = Timestamp::now();
        let outdated = self.store.cache().read(|reader| {
            let mut outdated = Vec::new();
            for key in used {
                let last = reader.get_record::<Timestamp>(USED, key.as_bytes())?;
                if last.is_none_or(|last| now.unix_seconds() - last.unix_seconds() >= USED_PRECISION_SECONDS) {
                    outdated.push(*key);
                }
            }
            Ok(outdated)
        })?;
        if outdated.is_empty() {
            return Ok(());
        }
        self.store.cache().write(|writer| {
            for key in &outdated {
                // A result that was pruned meanwhile must not leave a trace.
                if writer.reader().get(RESULTS, key.as_bytes())?.is_some() {
                    writer.put_record(USED, key.as_bytes(), &now)?;
                }
            }
            Ok(())
        })
    }

    fn or_default<T: Default>(&self, result: Result<T, StoreError>) -> T {
        result.unwrap_or_else(|error| {
            (self.trouble)(error);
            T::default()
        })
    }

    fn try_find(&self, key: &Digest) -> Result<Option<Found<Snapshot>>, StoreError> {
        let found = self.store.cache().read(|reader| {
            let content = reader.get(DEFINITIONS, key.as_bytes())?.and_then(digest).unwrap_or(*key);
            let Some(result) = reader.get_record::<ResultRecord>(RESULTS, content.as_bytes())? else { return Ok(None) };
            Ok(read_layers(reader, &result.outputs)?.map(|outputs| (content, outputs)))
        })?;
        let Some((content, outputs)) = found else { return Ok(None) };
        let snapshots: Result<Vec<Snapshot>, StoreError> = outputs.into_iter().map(|it| self.snapshot(it)).collect();
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(content);
        Ok(Some(Found { outputs: snapshots? }))
    }

    async fn try_record(&self, record: &Record<Snapshot>) -> Result<Vec<Snapshot>, StoreError> {
        let given: Vec<Snapshot> = record.outputs.iter().map(|(snapshot, _)| snapshot.clone()).collect();
        let mut layers = Vec::new();
        for layer in given.iter().flat_map(|snapshot| snapshot.layers.iter()) {
            match layer.record().await {
                Ok(known) => layers.push((layer.clone(), LayerRecord::clone(&known))),
                // Its digest was asked for before, and would have failed with the same error.
                Err(_) => return Ok(given),
            }
        }
        if let Some(older) = self.store.cache().write(|writer| put_if_known(writer, record))? {
            return older.into_iter().map(|records| self.snapshot(records)).collect();
        }
        let snapshot = |snapshot: &Snapshot| SnapshotRecord { layers: snapshot.layers.iter().map(Layer::id).collect() };
        let outputs: Vec<SnapshotRecord> = given.iter().map(snapshot).collect();
        self.store.put_layers(&layers, |writer| {
            for ((_, digest), output) in record.outputs.iter().zip(&outputs) {
                writer.put_record(SNAPSHOTS, digest.as_bytes(), output)?;
            }
            put_result(writer, record, outputs)
        })?;
        Ok(given)
    }

    fn snapshot(&self, records: Vec<LayerRecord>) -> Result<Snapshot, StoreError> {
        let layers: Result<Vec<Layer>, StoreError> =
            records.into_iter().map(|record| self.store.layer(record)).collect();
        Ok(Snapshot::new(layers?))
    }
}

impl solver::Cache for Cache {
    type Snapshot = Snapshot;
    type Lock = Option<StepLock>;

    fn find(&self, key: &Digest) -> Option<Found<Snapshot>> {
        self.or_default(self.try_find(key))
    }

    fn knows(&self, op: &Digest) -> bool {
        self.or_default(self.store.cache().read(|reader| reader.has_prefix(OPS, op.as_bytes())))
    }

    async fn lock(&self, key: &Digest, cancel: &CancellationToken) -> Option<Option<StepLock>> {
        let mut wait = LOCK_WAIT_FIRST;
        loop {
            match self.store.step_locks().and_then(|locks| locks.try_lock(key)) {
                Ok(Some(lock)) => return Some(Some(lock)),
                Ok(None) => {}
                // Without locks two processes may do the same work; that is all.
                Err(error) => {
                    (self.trouble)(error);
                    return Some(None);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(LOCK_WAIT_MAX),
                () = cancel.cancelled() => return None,
            }
        }
    }

    fn alias(&self, definition: &Digest, content: &Digest) {
        let aliased = self.store.cache().write(|writer| {
            if writer.reader().get(RESULTS, content.as_bytes())?.is_none() {
                return Ok(());
            }
            writer.put(DEFINITIONS, definition.as_bytes(), content.as_bytes())
        });
        self.or_default(aliased);
    }

    async fn record(&self, record: Record<Snapshot>) -> Vec<Snapshot> {
        match self.try_record(&record).await {
            Ok(outputs) => outputs,
            Err(error) => {
                (self.trouble)(error);
                record.outputs.into_iter().map(|(snapshot, _)| snapshot).collect()
            }
        }
    }
}

/// Records a result whose every output is there already, made by whomever, and returns the layers of those outputs.
fn put_if_known(
    writer: &mut Writer<'_, '_>,
    record: &Record<Snapshot>,
) -> Result<Option<Vec<Vec<LayerRecord>>>, StoreError> {
    if record.replace {
        return Ok(None);
    }
    let older = |(_, digest): &(Snapshot, Digest)| writer.reader().get_record(SNAPSHOTS, digest.as_bytes());
    let older: Result<Option<Vec<SnapshotRecord>>, StoreError> = record.outputs.iter().map(older).collect();
    let Some(older) = older? else { return Ok(None) };
    let Some(layers) = read_layers(&writer.reader(), &older)? else { return Ok(None) };
    put_result(writer, record, older)?;
    Ok(Some(layers))
}

fn put_result(
    writer: &mut Writer<'_, '_>,
    record: &Record<Snapshot>,
    outputs: Vec<SnapshotRecord>,
) -> Result<(), StoreError> {
    let created = Timestamp::now();
    let result = ResultRecord { name: record.name.clone(), op: record.op, outputs, created };
    writer.put_record(RESULTS, record.content.as_bytes(), &result)?;
    writer.put(DEFINITIONS, record.definition.as_bytes(), record.content.as_bytes())?;
    writer.put(OPS, &op_key(&record.op, &record.content), b"")?;
    writer.put_record(USED, record.content.as_bytes(), &created)
}

fn digest(bytes: &[u8]) -> Option<Digest> {
    bytes.try_into().ok().map(Digest::from_bytes)
}

/// Returns the records of the layers of each snapshot, or `None` where a layer is gone.
fn read_layers(reader: &Reader<'_>, snapshots: &[SnapshotRecord]) -> Result<Option<Vec<Vec<LayerRecord>>>, StoreError> {
    let layers = |snapshot: &SnapshotRecord| {
        let records = snapshot.layers.iter().map(|id| Store::layer_record(reader, id));
        records.collect::<Result<Option<Vec<LayerRecord>>, StoreError>>()
    };
    snapshots.iter().map(layers).collect()
}
