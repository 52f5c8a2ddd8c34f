//! The last stage: threads that write small files, so that creating one does not wait for another.
//!
//! **Invariant:** in flight are at most `BATCHES_MAX` batches and one for each thread, whatever the number of files: 24 MiB with eight threads.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle, available_parallelism};

use crate::tree::{FileSlot, FileSource, TreeError};

/// Files up to this length are handed over; longer ones are written by the thread that reads them.
pub(super) const SMALL_BYTES_MAX: u64 = 1 << 20;

const BATCH_BYTES_MAX: usize = 1 << 20;
const BATCH_FILES_MAX: usize = 32;
const BATCHES_MAX: usize = 4;
const THREADS_MAX: usize = 8;

type Batch<'w> = Vec<(FileSlot<'w>, Vec<u8>)>;

/// Where files are handed over.
pub(super) struct Pool<'w> {
    sender: SyncSender<Batch<'w>>,
    /// The batch that is being filled.
    batch: Batch<'w>,
    batch_bytes: usize,
    failure: Failure,
}

/// The threads.
pub(super) struct Threads<'scope> {
    handles: Vec<ScopedJoinHandle<'scope, ()>>,
    failure: Failure,
}

/// The first error of the threads, which is the reason for any that follow from it.
type Failure = Arc<Mutex<Option<TreeError>>>;

/// Starts the threads. They end when the pool is dropped and all that was handed over is written.
pub(super) fn start<'scope, 'env, 'w: 'scope>(scope: &'scope Scope<'scope, 'env>) -> (Pool<'w>, Threads<'scope>) {
    let (sender, receiver) = sync_channel::<Batch<'w>>(BATCHES_MAX);
    let receiver = Arc::new(Mutex::new(receiver));
    let failure = Failure::default();
    let count = available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
    let handles = (0..count).map(|_| {
        let (receiver, failure) = (Arc::clone(&receiver), Arc::clone(&failure));
        scope.spawn(move || write_batches(&receiver, &failure))
    });
    let threads = Threads { handles: handles.collect(), failure: Arc::clone(&failure) };
    (Pool { sender, batch: Vec::new(), batch_bytes: 0, failure }, threads)
}

impl<'w> Pool<'w> {
    /// Hands a file over.
    pub(super) fn write(&mut self, slot: FileSlot<'w>, bytes: Vec<u8>) -> Result<(), TreeError> {
        self.batch_bytes += bytes.len();
        self.batch.push((slot, bytes));
        if self.batch_bytes >= BATCH_BYTES_MAX || self.batch.len() >= BATCH_FILES_MAX {
            self.flush()?;
        }
        Ok(())
    }

    /// Makes sure that all files handed over are being written, so that it is safe to wait for one of them.
    pub(super) fn flush(&mut self) -> Result<(), TreeError> {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        self.sender.send(batch).expect("the threads run as long as the pool has its sender");
        take(&self.failure)
    }
}

impl Threads<'_> {
    /// Waits until everything is written; the pool must be dropped.
    pub(super) fn join(self) -> Result<(), TreeError> {
        self.handles.into_iter().try_for_each(ScopedJoinHandle::join).expect("the threads do not panic");
        take(&self.failure)
    }
}

fn take(failure: &Failure) -> Result<(), TreeError> {
    failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
}

fn write_batches(receiver: &Mutex<Receiver<Batch<'_>>>, failure: &Mutex<Option<TreeError>>) {
    loop {
        let batch = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(batch) = batch else { return };
        for (slot, bytes) in batch {
            if let Err(error) = slot.write(FileSource::Bytes(&bytes)) {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    }
}
