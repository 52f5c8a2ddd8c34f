//! Writing a pack, from several threads at once, and noting which packs a new layer uses.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lender::Lender;
use super::packs::{Pack, PackId, Packs};
use crate::entry::ContentHash;
use crate::erofs::{Extent, ExtentList};

/// The pack of a layer that is being written, and those that it may use.
pub(crate) struct PackWriter {
    file: Arc<File>,
    /// Where the next file goes.
    end: Mutex<u64>,
    lender: Lender,
    is_lent: Vec<AtomicBool>,
}

/// A pack that a layer needs.
#[derive(Clone, Debug)]
pub enum UsedPack {
    /// The one that was written for it.
    Own {
        /// The open file.
        file: Arc<File>,
        /// How long it is.
        size_bytes: u64,
    },
    /// One that was there already.
    Lent(Pack),
}

impl UsedPack {
    /// Returns how long it is.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Own { size_bytes, .. } => *size_bytes,
            Self::Lent(pack) => pack.size_bytes,
        }
    }
}

/// Where the files of a layer are that was written.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The packs that it needs, in the order that the extents count them in.
    pub packs: Vec<UsedPack>,
    /// Where in them each entry's bytes are.
    pub extents: ExtentList,
}

impl Packed {
    /// Returns the packs for reading, before they have their places; `own` is what the own one goes by.
    pub fn packs(&self, own: PackId) -> Packs {
        let pack = |used: &UsedPack| match used {
            UsedPack::Own { file, size_bytes } => Pack { id: own, file: Arc::clone(file), size_bytes: *size_bytes },
            UsedPack::Lent(pack) => pack.clone(),
        };
        Packs::new(self.packs.iter().map(pack).collect(), self.extents.clone())
    }
}

/// The number of the own pack while a layer is being written; those that are lent follow.
const OWN: u16 = 0;

impl PackWriter {
    /// Starts a pack in a file, behind what is in it already.
    pub(crate) fn new(file: Arc<File>, end: u64, lender: Lender) -> Self {
        // A tar is kept for its own sake, even if no file is in it.
        let is_lent = lender.packs.iter().map(|_| AtomicBool::new(lender.is_tar)).collect();
        Self { file, end: Mutex::new(aligned(end)), lender, is_lent }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Takes room for a file of a known length.
    pub(crate) fn reserve(&self, size_bytes: u64) -> Extent {
        let mut end = self.lock_end();
        let offset = *end;
        *end = aligned(offset + size_bytes);
        Extent { pack: OWN, offset }
    }

    /// Writes a file whose length nobody knows yet; other files wait meanwhile. `write` gets the place and returns, besides, how long the file is.
    pub(crate) fn append<T, E>(&self, write: impl FnOnce(u64) -> Result<(u64, T), E>) -> Result<(Extent, T), E> {
        let mut end = self.lock_end();
        let (size_bytes, written) = write(*end)?;
        let extent = Extent { pack: OWN, offset: *end };
        *end = aligned(extent.offset + size_bytes);
        Ok((extent, written))
    }

    /// Returns where a file of this content is already.
    pub(crate) fn borrow(&self, content: ContentHash, size_bytes: u64) -> Option<Extent> {
        let Extent { pack, offset } = self.lender.find(content, size_bytes)?;
        self.is_lent.get(usize::from(pack))?.store(true, Ordering::Relaxed);
        Some(Extent { pack: pack + 1, offset })
    }

    /// Returns the place of a file in the tar that the layer is read from; `None` if it is not read from one.
    pub(crate) fn tar_extent(&self, offset: u64) -> Option<Extent> {
        (self.lender.is_tar && aligned(offset) == offset).then_some(Extent { pack: OWN + 1, offset })
    }

    /// Ends the pack; `extents` are those of all entries, in their order.
    pub(crate) fn finish(self, extents: impl Iterator<Item = Extent>) -> std::io::Result<Packed> {
        let size_bytes = self.end.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.file.set_len(size_bytes)?;
        let own = (size_bytes > 0).then_some(UsedPack::Own { file: self.file, size_bytes });
        let is_used = self.is_lent.iter().map(|is_lent| is_lent.load(Ordering::Relaxed));
        let lent = self.lender.packs.into_iter().zip(is_used).map(|(pack, used)| used.then_some(UsedPack::Lent(pack)));
        let all: Vec<Option<UsedPack>> = [own].into_iter().chain(lent).collect();
        // Those that are not used are left out, and the others move up.
        let mut numbers = Vec::with_capacity(all.len());
        let mut next = 0;
        for pack in &all {
            numbers.push(next);
            next += u16::from(pack.is_some());
        }
        let renumber = |extent: Extent| Extent { pack: numbers[usize::from(extent.pack)], ..extent };
        Ok(Packed { extents: ExtentList::new(extents.map(renumber)), packs: all.into_iter().flatten().collect() })
    }

    fn lock_end(&self) -> MutexGuard<'_, u64> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn aligned(offset: u64) -> u64 {
    offset.next_multiple_of(Extent::ALIGN_BYTES)
}
