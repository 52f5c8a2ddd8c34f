//! From one form of a layer to another, for machines that mount nothing else.

use std::os::fd::OwnedFd;

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::content::Layer;
use crate::entry::{Entry, Kind};
use crate::stack::Stack;
use crate::tree::{FileSource, FinishedTree, Special, TreeError, TreeWriter};

/// Writes all that is in a layer into an empty directory: the same layer as a tree.
pub fn write_tree(layer: &Layer, root: OwnedFd) -> Result<FinishedTree, TreeError> {
    write_layer(layer, TreeWriter::new(root, Stack::default())?)
}

/// Writes all that is in a layer into another one, which has nothing yet and nothing beneath it, in the form of that one.
pub fn write_layer(layer: &Layer, writer: TreeWriter) -> Result<FinishedTree, TreeError> {
    let of_kind = |is_wanted: fn(&Kind<'_>) -> bool| {
        layer.entries.iter().enumerate().filter(move |(_, entry)| is_wanted(&entry.kind))
    };
    // Whatever is in a directory comes after it, and a link after what it leads to.
    for (_, entry) in of_kind(|kind| kind.is_directory()) {
        writer.make_directory(entry.path, &entry.metadata)?;
        if entry.kind == (Kind::Directory { opaque: true }) {
            writer.make_opaque(entry.path)?;
        }
    }
    let files: Vec<(usize, Entry<'_>)> = of_kind(|kind| matches!(kind, Kind::File { .. })).collect();
    files.into_par_iter().try_for_each(|(index, entry)| write_file(layer, &writer, index, &entry))?;
    let is_other = |kind: &Kind<'_>| !matches!(kind, Kind::File { .. } | Kind::HardLink { .. }) && !kind.is_directory();
    of_kind(is_other).try_for_each(|(_, entry)| write_other(&writer, &entry))?;
    for (_, entry) in of_kind(|kind| matches!(kind, Kind::HardLink { .. })) {
        if let Kind::HardLink { target } = entry.kind {
            writer.make_hard_link(entry.path, target)?;
        }
    }
    writer.finish()
}

fn write_file(layer: &Layer, writer: &TreeWriter, index: usize, entry: &Entry<'_>) -> Result<(), TreeError> {
    let Kind::File { content, .. } = entry.kind else { return Ok(()) };
    let failed = |error| TreeError::Read { path: entry.path.to_text(), source: std::io::Error::other(error) };
    let range = layer.open(index).map_err(failed)?;
    writer.make_file(entry.path, &entry.metadata, FileSource::Range { range: &range, content: Some(content) })?;
    Ok(())
}

fn write_other(writer: &TreeWriter, entry: &Entry<'_>) -> Result<(), TreeError> {
    let (path, metadata) = (entry.path, &entry.metadata);
    match entry.kind {
        Kind::Symlink { target } => writer.make_symlink(path, target, metadata),
        Kind::CharDevice(device) => writer.make_special(path, Special::CharDevice(device), metadata),
        Kind::BlockDevice(device) => writer.make_special(path, Special::BlockDevice(device), metadata),
        Kind::Fifo => writer.make_special(path, Special::Fifo, metadata),
        Kind::Whiteout => writer.make_whiteout(path),
        Kind::Directory { .. } | Kind::File { .. } | Kind::HardLink { .. } => Ok(()),
    }
}
