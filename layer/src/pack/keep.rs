//! Files that are read for their hashes and kept in a pack on the way, so that a layer that is made of them need not read them again.
//!
//! **Invariant:** keeping never makes reading fail: once the pack cannot be written, files are only hashed, and nothing is kept.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::by_content::ByContent;
use super::packs::Pack;
use crate::content::FileRange;
use crate::entry::ContentHash;
use crate::erofs::Extent;
use crate::flusher::Flusher;
use crate::hash;
use crate::holes;
use crate::tree::{CopyError, FileSource, Target, write_source};

/// Files up to this length are gathered before they are written: one large write costs a fraction of many small ones.
const SMALL_BYTES_MAX: u64 = 256 << 10;
/// How many bytes of small files each thread gathers.
const GATHERED_BYTES: usize = 1 << 20;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Where each kept file is, by its hash and length.
type Places = ByContent<Extent>;

/// A pack that files are kept in while they are read, on any number of threads.
pub struct FileKeeper {
    pack: Pack,
    /// Where the next file goes.
    end: AtomicU64,
    places: Mutex<Places>,
    flusher: Mutex<Flusher>,
    has_failed: AtomicBool,
}

/// Files that were kept. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeptFiles {
    pub(super) pack: Pack,
    pub(super) places: Arc<Places>,
}

/// Reads files on one thread; what it has gathered is in the pack once it is dropped.
pub struct KeepingReader<'k> {
    keeper: &'k FileKeeper,
    gathered: Vec<u8>,
    filled: usize,
    /// The files that were gathered, and where each begins.
    waiting: Vec<(ContentHash, u64, u64)>,
}

impl FileKeeper {
    /// Starts in a pack that is empty.
    pub fn new(pack: Pack) -> Self {
        let (places, flusher) = (Mutex::default(), Mutex::default());
        Self { pack, end: AtomicU64::new(0), places, flusher, has_failed: AtomicBool::new(false) }
    }

    /// Starts reading on one thread.
    pub fn reader(&self) -> KeepingReader<'_> {
        KeepingReader { keeper: self, gathered: SPARE.take(), filled: 0, waiting: Vec::new() }
    }

    /// Ends the pack; `None` means that nothing is in it, or that it could not be written.
    pub fn finish(self) -> Option<KeptFiles> {
        let size_bytes = self.end.into_inner();
        if size_bytes == 0 || self.has_failed.into_inner() || self.pack.file.set_len(size_bytes).is_err() {
            return None;
        }
        let places = self.places.into_inner().unwrap_or_else(PoisonError::into_inner);
        Some(KeptFiles { pack: Pack { size_bytes, ..self.pack }, places: Arc::new(places) })
    }

    fn reserve(&self, size_bytes: u64) -> u64 {
        self.end.fetch_add(size_bytes.next_multiple_of(Extent::ALIGN_BYTES), Ordering::Relaxed)
    }

    fn fail(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
    }

    /// Gives the disk something to do: the layer that is made of the files counts only once they are there.
    fn wrote(&self, bytes: u64) {
        self.flusher.lock().unwrap_or_else(PoisonError::into_inner).wrote(&self.pack.file, bytes);
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a file that is too long to be gathered.
    fn read_long(&self, range: &FileRange) -> io::Result<(u64, ContentHash)> {
        let offset = self.reserve(range.size_bytes());
        let target = Target::part(&self.pack.file, offset);
        match write_source(target, FileSource::Range { range, content: None }) {
            Ok((size_bytes, content)) => {
                self.wrote(size_bytes);
                self.places().entry((content, size_bytes)).or_insert(Extent { pack: 0, offset });
                Ok((size_bytes, content))
            }
            Err(CopyError::Read(error)) => Err(error),
            Err(CopyError::Write(_)) => {
                self.fail();
                hash::hash_range(range)
            }
            // It became shorter; the room that it was to have stays empty.
            Err(CopyError::Short { .. } | CopyError::Damaged { .. }) => hash::hash_range(range),
        }
    }
}

impl KeptFiles {
    /// Returns how long the pack is.
    pub fn size_bytes(&self) -> u64 {
        self.pack.size_bytes
    }
}

impl KeepingReader<'_> {
    /// Reads a piece of a file and returns its hash, and how many bytes there were: fewer than announced if the file became shorter.
    pub fn read(&mut self, range: &FileRange) -> io::Result<(u64, ContentHash)> {
        if self.keeper.has_failed.load(Ordering::Relaxed) || range.size_bytes() == 0 {
            return hash::hash_range(range);
        }
        if range.size_bytes() > SMALL_BYTES_MAX {
            return self.keeper.read_long(range);
        }
        let wanted = range.size_bytes() as usize;
        if self.filled + wanted > self.gathered.len() {
            self.write();
            self.gathered.resize(GATHERED_BYTES, 0);
        }
        let start = self.filled;
        let count = range.read_at(0, &mut self.gathered[start..start + wanted])?;
        let (end, size_bytes) = (start + count, count as u64);
        let content = ContentHash::of(&self.gathered[start..end]);
        // Other names of one file, and other files that are equal, are there once.
        if count > 0 && !self.keeper.places().contains_key(&(content, size_bytes)) {
            self.waiting.push((content, size_bytes, start as u64));
            self.filled = end.next_multiple_of(Extent::ALIGN_BYTES as usize).min(self.gathered.len());
            self.gathered[end..self.filled].fill(0);
        }
        Ok((size_bytes, content))
    }

    fn write(&mut self) {
        let gathered = &self.gathered[..self.filled];
        self.filled = 0;
        if gathered.is_empty() {
            return;
        }
        let offset = self.keeper.reserve(gathered.len() as u64);
        if holes::write_at(&self.keeper.pack.file, gathered, offset).is_err() {
            return self.keeper.fail();
        }
        self.keeper.wrote(gathered.len() as u64);
        let mut places = self.keeper.places();
        for (content, size_bytes, start) in self.waiting.drain(..) {
            places.entry((content, size_bytes)).or_insert(Extent { pack: 0, offset: offset + start });
        }
    }
}

impl Drop for KeepingReader<'_> {
    fn drop(&mut self) {
        self.write();
        SPARE.set(std::mem::take(&mut self.gathered));
    }
}
