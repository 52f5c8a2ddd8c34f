//! Layers in the making and layers to be read, between the store and those who carry out operations.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use layer::pack::PackId;
use layer::tree::LostXattrs;
use layer::{Content, Entries, FinishedTree, Lender, Stack, TreeWriter};
use llb::InlineFile;
use oci::{Digest, Timestamp};
use store::{Layer, LayerDraft, LayerId, LayerRecord, Snapshot, Store};

use crate::blocking::blocking;
use crate::sandbox::chain_digest;
use crate::{ExecError, Ladder};

/// From so many entries on, a layer is completed on two threads.
const PARALLEL_ENTRIES_MIN: usize = 1024;

/// Opens the layers of a snapshot, once they are finished.
pub(crate) async fn open(snapshot: &Snapshot) -> Result<Stack, ExecError> {
    for layer in snapshot.layers.iter() {
        layer.record().await?;
    }
    let snapshot = snapshot.clone();
    blocking(move || {
        let layers = snapshot.layers.iter().map(Layer::open);
        Ok(Stack::new(layers.collect::<Result<Vec<_>, _>>()?))
    })
    .await
}

/// Makes the files of a heredoc readable like those of any other source, for as long as the snapshot is held.
pub(crate) async fn inline(ladder: Arc<Ladder>, files: &[InlineFile]) -> Result<Snapshot, ExecError> {
    let files = files.to_vec();
    let written = blocking(move || {
        let new = ladder.new_layer()?;
        let written = crate::file::write_inline(new.writer(Lender::default(), Stack::default())?, &files)?;
        Ok(new.complete(&written)?.0)
    });
    Ok(Snapshot::new([written.await?]))
}

/// A layer that is being written. Dropped before it is complete, it is gone.
pub(crate) struct NewLayer {
    draft: LayerDraft,
    is_packed: bool,
}

impl NewLayer {
    /// Starts one that is a tree.
    pub(crate) fn tree(store: &Store) -> Result<Self, ExecError> {
        Ok(Self { draft: store.draft_layer()?, is_packed: false })
    }

    /// Starts one whose files go into packs.
    pub(crate) fn packed(store: &Store) -> Result<Self, ExecError> {
        Ok(Self { draft: store.draft_packed_layer()?, is_packed: true })
    }

    /// Starts writing it. What `lender` has already is not written again, if the layer is one of packs.
    pub(crate) fn writer(&self, lender: Lender, below: Stack) -> Result<TreeWriter, ExecError> {
        if self.is_packed {
            return Ok(TreeWriter::packed(self.draft.create_pack()?.file, lender, below));
        }
        let tree = self.draft.tree();
        let root: OwnedFd = File::open(&tree).map_err(ExecError::file("open", &tree))?.into();
        Ok(TreeWriter::new(root, below)?)
    }

    /// Returns its id.
    pub(crate) fn id(&self) -> LayerId {
        self.draft.id()
    }

    /// Returns it for reading, before it is complete; a tree is none that can be.
    pub(crate) fn readable(&self, written: &FinishedTree) -> Option<layer::Layer> {
        let packs = written.packed.as_ref()?.packs(PackId(self.draft.id().into()));
        Some(layer::Layer { entries: written.entries.clone(), content: Content::Packs(packs) })
    }

    /// Makes it a layer that can be mounted and read; attributes that it could not keep come back. It blocks.
    pub(crate) fn complete(self, written: &FinishedTree) -> Result<(Layer, LostXattrs), ExecError> {
        let entries = &written.entries;
        let index = || {
            let found = written.packed.as_ref();
            found.map(|found| self.draft.complete_packed(entries, found, &self.draft.id())).transpose()
        };
        let list = || write_entries(&self.draft, entries).map(|()| layer::digest::of_layer(entries));
        // Threads cost more than they gain where there is little.
        let is_large = entries.count() >= PARALLEL_ENTRIES_MIN;
        let (index, content) = if is_large { rayon::join(index, list) } else { (index(), list()) };
        let (packed, lost) = index?.map_or_else(
            || (None, written.lost_xattrs.clone()),
            |(record, lost_in_index)| (Some(record), lost_in_index),
        );
        let content = content?;
        store::fault::point("layer.written").map_err(ExecError::file("write", self.draft.dir()))?;
        let record = LayerRecord {
            id: self.draft.id(),
            content,
            diff_id: None,
            tar_bytes: None,
            origin: None,
            packed,
            size_bytes: entries.size_bytes(),
            created: Timestamp::now(),
            seal: None,
        };
        let record = record.sealed(self.draft.dir())?;
        let opened = self.readable(written);
        Ok((Layer::finished_as(self.draft, record, opened), lost))
    }
}

/// Writes the list of a layer's entries to where it belongs.
pub(crate) fn write_entries(draft: &LayerDraft, entries: &Entries) -> Result<(), ExecError> {
    let path = draft.entries_path();
    std::fs::write(&path, entries.as_bytes()).map_err(ExecError::file("write", &path))
}

/// Makes a layer of a tree that was written.
pub(crate) async fn finish(draft: LayerDraft, written: FinishedTree) -> Result<Layer, ExecError> {
    let new = NewLayer { draft, is_packed: false };
    blocking(move || Ok(new.complete(&written)?.0)).await
}

/// Returns the digest of all that is in a stack.
pub(crate) fn stack_digest(stack: &Stack) -> Digest {
    chain_digest(stack.layers().iter().map(|layer| layer::digest::of_layer(&layer.entries)))
}
