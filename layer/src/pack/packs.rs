//! Reading files out of packs.

use std::fmt;
use std::fs::File;
use std::sync::Arc;

use crate::content::FileRange;
use crate::erofs::ExtentList;

/// What a pack goes by, wherever it lies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId(pub [u8; 16]);

impl fmt::Debug for PackId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// An open pack. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pack {
    /// What it goes by.
    pub id: PackId,
    /// The open file.
    pub file: Arc<File>,
    /// How long it is.
    pub size_bytes: u64,
}

/// The packs of a layer, and where in them each of its files is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Packs {
    packs: Arc<[Pack]>,
    extents: Arc<ExtentList>,
}

impl Packs {
    /// Takes the packs in the order that the extents count them in.
    pub fn new(packs: Vec<Pack>, extents: ExtentList) -> Self {
        Self { packs: packs.into(), extents: Arc::new(extents) }
    }

    /// Returns the packs.
    pub fn packs(&self) -> &[Pack] {
        &self.packs
    }

    /// Returns where the files are.
    pub fn extents(&self) -> &ExtentList {
        &self.extents
    }

    /// Returns the bytes of the file with this index in the list of entries; `None` if the packs do not have them.
    pub(crate) fn open(&self, index: usize, size_bytes: u64) -> Option<FileRange> {
        let extent = self.extents.get(index)?;
        if size_bytes == 0 && self.packs.is_empty() {
            return FileRange::nothing().ok();
        }
        let pack = self.packs.get(usize::from(extent.pack))?;
        let is_inside = extent.offset.checked_add(size_bytes).is_some_and(|end| end <= pack.size_bytes);
        is_inside.then(|| FileRange::new(Arc::clone(&pack.file), extent.offset, size_bytes))
    }
}
