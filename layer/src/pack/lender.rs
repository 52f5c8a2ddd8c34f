//! What an earlier layer has already: its files by their content, so that a new layer can point at them.

use std::collections::HashMap;

use super::packs::{Pack, Packs};
use crate::content::{Content, Layer};
use crate::entry::{ContentHash, Kind};
use crate::erofs::Extent;

/// Packs whose files a new layer may use, by content.
#[derive(Debug, Default)]
pub struct Lender {
    pub(super) packs: Vec<Pack>,
    /// By hash and length: in which of the packs, and where.
    extents: HashMap<(ContentHash, u64), Extent>,
    /// Whether the first pack is the tar that the new layer is read from.
    pub(super) is_tar: bool,
}

impl Lender {
    /// Looks at the files of a layer; one that is a directory tree has none to lend.
    pub fn of(layer: &Layer) -> Self {
        let Content::Packs(packs) = &layer.content else { return Self::default() };
        Self { packs: packs.packs().to_vec(), extents: extents(layer, packs), is_tar: false }
    }

    /// Takes the tar that a layer is read from and that is its pack.
    pub(crate) fn tar(tar: Pack) -> Self {
        Self { packs: vec![tar], extents: HashMap::new(), is_tar: true }
    }

    /// Returns where a file of this content is.
    pub(super) fn find(&self, content: ContentHash, size_bytes: u64) -> Option<Extent> {
        self.extents.get(&(content, size_bytes)).copied()
    }
}

fn extents(layer: &Layer, packs: &Packs) -> HashMap<(ContentHash, u64), Extent> {
    let file = |(index, entry): (usize, crate::Entry<'_>)| match entry.kind {
        Kind::File { size_bytes, content } if size_bytes > 0 => {
            packs.extents().get(index).map(|extent| ((content, size_bytes), extent))
        }
        _ => None,
    };
    layer.entries.iter().enumerate().filter_map(file).collect()
}
