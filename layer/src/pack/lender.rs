//! What is in packs already, of an earlier layer or because it was read before: files by their content, so that a new layer can point at them.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::by_content::Places;
use super::keep::KeptFiles;
use super::packs::{Pack, Packs};
use crate::content::{Content, Layer};
use crate::entry::{ContentHash, Kind};
use crate::erofs::Extent;

/// How many packs one layer lends.
const LENT_PACKS_MAX: usize = 8;
/// How many packs of files that were kept are lent besides.
const KEPT_PACKS_MAX: usize = 8;

/// Packs whose files a new layer may use, by content.
#[derive(Debug, Default)]
pub struct Lender {
    pub(super) packs: Vec<Pack>,
    /// The files of the layer, in its order: by hash and length, in which of the packs they are, and where.
    files: Vec<((ContentHash, u64), Extent)>,
    /// Their places in the list.
    places: Places,
    /// The place behind the file that was found last: most of what a new layer has comes in the same order.
    next: AtomicUsize,
    /// Files that were kept while they were read, each with the place of its pack.
    kept: Vec<(u16, KeptFiles)>,
    /// Whether the first pack is the tar that the new layer is read from.
    pub(super) is_tar: bool,
}

impl Lender {
    /// The shortest pack that is lent.
    pub const LENT_BYTES_MIN: u64 = 1 << 20;

    /// Looks at the files of a layer; one that is a directory tree has none to lend.
    ///
    /// A pack is lent only if it is large, so that it is worth a link, and if the layer needs at least half of it: else what nobody needs would be kept for ever.
    /// What lies in small packs is written again, so a layer never gets to have many.
    pub fn of(layer: &Layer) -> Self {
        let Content::Packs(packs) = &layer.content else { return Self::default() };
        let files = || files(layer, packs);
        let mut used = vec![0; packs.packs().len()];
        for (_, size_bytes, extent) in files() {
            if let Some(used) = used.get_mut(usize::from(extent.pack)) {
                *used += size_bytes.next_multiple_of(Extent::ALIGN_BYTES);
            }
        }
        let is_worth =
            |(pack, used): (&Pack, u64)| pack.size_bytes >= Self::LENT_BYTES_MIN && used >= pack.size_bytes / 2;
        let mut worth: Vec<usize> =
            (0..used.len()).filter(|place| is_worth((&packs.packs()[*place], used[*place]))).collect();
        worth.sort_by_key(|place| std::cmp::Reverse(packs.packs()[*place].size_bytes));
        worth.truncate(LENT_PACKS_MAX);
        let lent = files().filter_map(|(content, size_bytes, extent)| {
            let pack = worth.iter().position(|place| *place == usize::from(extent.pack))?;
            Some(((content, size_bytes), Extent { pack: pack as u16, ..extent }))
        });
        let files: Vec<_> = lent.collect();
        let places = Places::of(&files);
        let packs = worth.into_iter().map(|place| packs.packs()[place].clone()).collect();
        Self { packs, files, places, ..Self::default() }
    }

    /// Takes the tar that a layer is read from and that is its pack.
    pub(crate) fn tar(tar: Pack) -> Self {
        Self { packs: vec![tar], is_tar: true, ..Self::default() }
    }

    /// Lends files that were kept, too.
    pub fn lend_kept(&mut self, kept: &KeptFiles) {
        if self.kept.len() < KEPT_PACKS_MAX {
            self.kept.push((self.packs.len() as u16, kept.clone()));
            self.packs.push(kept.pack.clone());
        }
    }

    /// Returns where a file of this content is.
    pub(super) fn find(&self, content: ContentHash, size_bytes: u64) -> Option<Extent> {
        let key = (content, size_bytes);
        // Several threads may ask at once: then one looks in vain sometimes, and asks the map.
        let next = self.next.load(Ordering::Relaxed);
        let place = match self.files.get(next) {
            Some((content, _)) if *content == key => Some(next),
            _ => self.places.find(&key, &self.files),
        };
        if let Some(place) = place {
            self.next.store(place + 1, Ordering::Relaxed);
            return self.files.get(place).map(|(_, extent)| *extent);
        }
        self.kept.iter().find_map(|(pack, kept)| Some(Extent { pack: *pack, ..*kept.places.get(&key)? }))
    }
}

/// Returns the files of a layer: their content, and where they are.
fn files<'a>(layer: &'a Layer, packs: &'a Packs) -> impl Iterator<Item = (ContentHash, u64, Extent)> + 'a {
    layer.entries.iter().enumerate().filter_map(|(index, entry)| match entry.kind {
        Kind::File { size_bytes, content } if size_bytes > 0 => {
            Some((content, size_bytes, packs.extents().get(index)?))
        }
        _ => None,
    })
}
