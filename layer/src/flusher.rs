//! Gives the disk something to do while a long file is written: before the file counts it has to be on the disk, which would be idle until the end.

use std::fs::File;
use std::sync::mpsc::{SyncSender, sync_channel};

/// After so many bytes the disk gets something to do.
const FLUSHED_BYTES: u64 = 32 << 20;

/// Flushes a file while it is written. By default nothing was.
///
/// Dropped, it waits for nothing: the thread that flushes holds the file for itself, and ends when the disk has what it was given.
#[derive(Debug, Default)]
pub struct Flusher {
    written_bytes: u64,
    wanted: Option<SyncSender<()>>,
}

impl Flusher {
    /// Notes that bytes were written to the file, which is always the same.
    pub fn wrote(&mut self, file: &File, bytes: u64) {
        let before = self.written_bytes;
        self.written_bytes += bytes;
        if before / FLUSHED_BYTES == self.written_bytes / FLUSHED_BYTES {
            return;
        }
        self.wanted = self.wanted.take().or_else(|| start(file));
        if let Some(wanted) = &self.wanted {
            // If one is under way, it and the next one take this along.
            let _ = wanted.try_send(());
        }
    }
}

fn start(file: &File) -> Option<SyncSender<()>> {
    let file = file.try_clone().ok()?;
    let (sender, wanted) = sync_channel(1);
    // Whoever makes the file durable learns what is wrong with the disk.
    let flush = move || wanted.iter().for_each(|()| drop(file.sync_data()));
    std::thread::Builder::new().name("flush".to_owned()).spawn(flush).ok()?;
    Some(sender)
}
