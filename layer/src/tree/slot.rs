//! A path that is taken by a file whose bytes are still to be written: the part of writing that runs in parallel.
//!
//! States: taken ([`TreeWriter::file_slot`]) → written ([`FileSlot::write`]), or given up (dropped).

use std::fs::File;

use rustix::fs::{AtFlags, Mode, unlinkat};

use super::error::TreeError;
use super::source::{self, CopyError, FileSource};
use super::writer::TreeWriter;
use crate::entry::{ContentHash, MetadataBuf};
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
        let path = self.path.as_path();
        let mode = Mode::from_raw_mode(self.metadata.mode.into());
        let created = self.writer.tree.create_file(path, mode);
        let file = created.map_err(|source| TreeError::CreateFile { path: path.to_text(), source })?;
        let written = self.fill(&file, source);
        if written.is_err() {
            self.remove();
        }
        let written = written?;
        self.is_written = true;
        self.writer.settle(path, Some(written));
        Ok(written)
    }

    fn fill(&self, file: &File, source: FileSource<'_>) -> Result<WrittenFile, TreeError> {
        let written = source::write(file, source);
        let (size_bytes, content) = written.map_err(|error| self.copy_error(error))?;
        self.writer.attributes.finish_file(file, self.path.as_path(), &self.metadata.as_metadata())?;
        Ok(WrittenFile { size_bytes, content })
    }

    /// Removes what was written of a file that failed. If that fails too, the first error is the one to report.
    fn remove(&self) {
        if let Ok(parent) = self.writer.tree.parent(self.path.as_path()) {
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
