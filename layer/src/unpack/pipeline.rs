//! What both meanings of a tar share: the stages around the reader, names, and writing a file.

use std::fs::File;
use std::io::Read;

use super::error::UnpackError;
use super::pool::{self, Pool, SMALL_BYTES_MAX};
use super::stream::{Chunks, StreamSummary, decompress};
use crate::entry::Metadata;
use crate::path::{EntryPath, EntryPathBuf, text};
use crate::tar::{Limits, MemberContent, Reader};
use crate::tree::{FileSource, TreeError, TreeWriter};

/// Runs `read` between the stages and waits until everything is written. The decompressed stream is written to `keep` too.
pub(super) fn unpack<'w>(
    stream: impl Read + Send,
    keep: Option<&File>,
    limits: Limits,
    read: impl FnOnce(&mut Reader<Chunks>, &mut Pool<'w>) -> Result<(), UnpackError>,
) -> Result<StreamSummary, UnpackError> {
    std::thread::scope(|scope| {
        let (chunks, stages) = decompress(scope, stream, keep);
        let (mut pool, threads) = pool::start(scope);
        let mut reader = Reader::new(chunks, limits);
        let read = read(&mut reader, &mut pool);
        let read = read.and_then(|()| Ok(pool.flush()?)).and_then(|()| Ok(reader.drain()?));
        drop((pool, reader));
        // What the threads failed at comes first: the rest may follow from it.
        threads.join()?;
        read?;
        Ok(stages.join().expect("an error of the stream reaches its reader, which read to the end"))
    })
}

/// Cleans the name of a member; `..` stops at the root.
pub(super) fn clean(name: &[u8]) -> Result<EntryPathBuf, UnpackError> {
    EntryPathBuf::clean(name).map_err(|source| UnpackError::Name { name: text(name), source })
}

/// Returns the path of a file in `directory`.
pub(super) fn child(directory: EntryPath<'_>, file: &[u8], name: &[u8]) -> Result<EntryPathBuf, UnpackError> {
    directory.child(file).map_err(|source| UnpackError::Name { name: text(name), source })
}

/// Writes a file: a small one on another thread.
pub(super) fn write_file<'w>(
    writer: &'w TreeWriter,
    pool: &mut Pool<'w>,
    path: EntryPath<'_>,
    metadata: &Metadata<'_>,
    size_bytes: u64,
    mut content: MemberContent<'_, Chunks>,
) -> Result<(), UnpackError> {
    let slot = writer.file_slot(path, metadata)?;
    let slot = match content.stored_at() {
        Some(offset) => match slot.take_from_tar(offset, size_bytes, &mut content)? {
            Some(slot) => slot,
            None => return Ok(()),
        },
        None => slot,
    };
    if size_bytes > SMALL_BYTES_MAX {
        slot.write(FileSource::Reader(&mut content))?;
        return Ok(());
    }
    let mut bytes = vec![0; size_bytes as usize];
    content.read_exact(&mut bytes).map_err(|source| TreeError::Read { path: path.to_text(), source })?;
    Ok(pool.write(slot, bytes)?)
}
