//! Layers in the making and layers to be read, between the store and those who carry out operations.

use layer::Stack;
use llb::InlineFile;
use oci::{Digest, Timestamp};
use store::{Layer, LayerDraft, LayerRecord, Snapshot, Store};

use crate::ExecError;
use crate::blocking::blocking;
use crate::sandbox::chain_digest;

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
pub(crate) async fn inline(store: &Store, files: &[InlineFile]) -> Result<Snapshot, ExecError> {
    let draft = store.draft_layer()?;
    let (tree, files) = (draft.tree(), files.to_vec());
    let entries = blocking(move || crate::file::write_inline(&tree, &files)).await?;
    Ok(Snapshot::new([finish(draft, entries).await?]))
}

/// Makes a layer of what was written.
pub(crate) async fn finish(draft: LayerDraft, entries: layer::Entries) -> Result<Layer, ExecError> {
    let (id, path) = (draft.id(), draft.entries_path());
    let record = blocking(move || {
        std::fs::write(&path, entries.as_bytes()).map_err(ExecError::file("write", &path))?;
        store::fault::point("layer.written").map_err(ExecError::file("write", &path))?;
        Ok(LayerRecord {
            id,
            content: layer::digest::of_layer(&entries),
            diff_id: None,
            tar_bytes: None,
            origin: None,
            size_bytes: entries.size_bytes(),
            created: Timestamp::now(),
        })
    });
    let record = record.await?;
    Ok(Layer::finishing(draft, std::future::ready(Ok(record))))
}

/// Returns the digest of all that is in a stack.
pub(crate) fn stack_digest(stack: &Stack) -> Digest {
    chain_digest(stack.layers().iter().map(|layer| layer::digest::of_layer(&layer.entries)))
}
