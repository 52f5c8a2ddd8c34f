//! A path that is taken by a file whose bytes are still to be written: the part of writing that runs in parallel.
//!
//! States: taken ([`TreeWriter::file_slot`]) → written ([`FileSlot::write`]), or given up (dropped).

use std::fs::File;
use std::io::Read;

use rustix::fs::{AtFlags, Mode, unlinkat};

use super::disk::Disk;
use super::error::TreeError;
use super::source::{self, CopyError, FileSource, Target};
use super::writer::{Form, TreeWriter};
use crate::entry::{ContentHash, MetadataBuf};
use crate::erofs::Extent;
use crate::hash;
use crate::pack::PackWriter;
use crate::path::{EntryPath, EntryPathBuf};

/// The place of a file that is not written yet. Slots can be written on any thread, in any order.
///
/// Operations on the same path wait until the slot is written or dropped, so a thread that holds it must not ask for them.
#[must_use = "dropping it removes the file again"]
pub struct FileSlot<'w> {
    writer: &'w TreeWriter,
    path: EntryPathBuf,
    metadata: MetadataBuf,
    is_written: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenFile {
    /// How many bytes.
    pub size_bytes: u64,
    /// Their hash.
    pub content: ContentHash,
}

impl<'w> FileSlot<'w> {
    pub(super) fn new(writer: &'w TreeWriter, path: EntryPathBuf, metadata: MetadataBuf) -> Self {
        Self { writer, path, metadata, is_written: false }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> EntryPath<'_> {
        self.path.as_path()
    }

    /// Writes the file, with its attributes.
    pub fn write(mut self, source: FileSource<'_>) -> Result<WrittenFile, TreeError> {
        let (written, extent) = match &self.writer.form {
            Form::Tree(disk) => (self.write_to_tree(disk, source)?, Extent::default()),
            Form::Pack(pack) => self.write_to_pack(pack, source)?,
        };
        self.settle(written, extent);
        Ok(written)
    }

    /// Takes the file from where it stands in the tar that the writer works beside, after hashing its bytes; returns the slot if there is no such tar.
    pub(crate) fn take_from_tar(
        mut self,
        offset: u64,
        size_bytes: u64,
        content: &mut dyn Read,
    ) -> Result<Option<Self>, TreeError> {
        let Form::Pack(pack) = &self.writer.form else { return Ok(Some(self)) };
        let Some(extent) = pack.tar_extent(offset) else { return Ok(Some(self)) };
        let hashed = hash::hash_stream(content);
        let (actual_bytes, content) =
            hashed.map_err(|source| TreeError::Read { path: self.path.to_string(), source })?;
        if actual_bytes != size_bytes {
            return Err(self.copy_error(CopyError::Short { expected_bytes: size_bytes, actual_bytes }));
        }
        self.settle(WrittenFile { size_bytes, content }, extent);
        Ok(None)
    }

    fn settle(&mut self, written: WrittenFile, extent: Extent) {
        self.is_written = true;
        self.writer.settle(self.path.as_path(), Some((written, extent)));
    }

    fn write_to_tree(&self, disk: &Disk, source: FileSource<'_>) -> Result<WrittenFile, TreeError> {
        let path = self.path.as_path();
        let mode = Mode::from_raw_mode(self.metadata.mode.into());
        let created = disk.tree.create_file(path, mode);
        let file = created.map_err(|source| TreeError::CreateFile { path: path.to_text(), source })?;
        let written = self.fill(disk, &file, source);
        if written.is_err() {
            self.remove(disk);
        }
        written
    }

    fn fill(&self, disk: &Disk, file: &File, source: FileSource<'_>) -> Result<WrittenFile, TreeError> {
        let written = source::write(Target::whole(file), source);
        let (size_bytes, content) = written.map_err(|error| self.copy_error(error))?;
        disk.attributes.finish_file(file, self.path.as_path(), &self.metadata.as_metadata())?;
        Ok(WrittenFile { size_bytes, content })
    }

    fn write_to_pack(&self, pack: &PackWriter, source: FileSource<'_>) -> Result<(WrittenFile, Extent), TreeError> {
        let write = |offset, source| source::write(Target::part(pack.file(), offset), source);
        let written = match source.known_bytes() {
            Some(size_bytes) => {
                let extent = pack.reserve(size_bytes);
                write(extent.offset, source).map(|written| (extent, written))
            }
            None => pack.append(|offset| write(offset, source).map(|written| (written.0, written))),
        };
        let (extent, (size_bytes, content)) = written.map_err(|error| self.copy_error(error))?;
        Ok((WrittenFile { size_bytes, content }, extent))
    }

    /// Removes what was written of a file that failed. If that fails too, the first error is the one to report.
    fn remove(&self, disk: &Disk) {
        if let Ok(parent) = disk.tree.parent(self.path.as_path()) {
            let _ = unlinkat(&parent, parent.name, AtFlags::empty());
        }
    }

    fn copy_error(&self, error: CopyError) -> TreeError {
        let path = self.path.to_string();
        match error {
            CopyError::Read(source) => TreeError::Read { path, source },
            CopyError::Write(source) => TreeError::Write { path, source },
            CopyError::Short { expected_bytes, actual_bytes } => {
                TreeError::SourceChanged { path, expected_bytes, actual_bytes }
            }
            CopyError::Damaged { expected, actual } => TreeError::SourceDamaged { path, expected, actual },
        }
    }
}

impl Drop for FileSlot<'_> {
    fn drop(&mut self) {
        if !self.is_written {
            self.writer.settle(self.path.as_path(), None);
        }
    }
}
