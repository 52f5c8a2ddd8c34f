//! Compressed layers as they came from a registry: files named by their digest.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use oci::{Digest, Hasher};

use crate::draft::{discard, list};
use crate::{Store, StoreError, condemned, fault};

impl Store {
    /// Starts a blob; its digest need not be known yet.
    pub fn blob_writer(&self) -> Result<BlobWriter, StoreError> {
        let path = self.drafts()?.unused_path();
        let file = File::create_new(&path).map_err(StoreError::file("create", &path))?;
        Ok(BlobWriter { store: self.clone(), path, file, hasher: Hasher::new(), size_bytes: 0, committed: false })
    }

    /// Returns the digests of all blobs, sorted.
    pub fn blobs(&self) -> Result<Vec<Digest>, StoreError> {
        let digest = |path: PathBuf| Digest::from_hex(path.file_name()?.to_str()?);
        Ok(list(&self.layout().blobs())?.into_iter().filter_map(digest).collect())
    }

    /// Removes a blob that is not what its name says.
    pub fn remove_damaged_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        discard(self.layout(), &self.layout().blob(digest))
    }

    /// Takes a blob off the list of deleted ones, if it is there.
    fn pardon_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        if self.cache().read(|reader| condemned::BLOBS.has(reader, digest.as_bytes()))? {
            self.cache().write(|writer| condemned::BLOBS.pardon(writer, digest.as_bytes()))?;
        }
        Ok(())
    }

    /// Opens a blob; `Ok(None)` means that it is not there. A collection that is about to remove it leaves it.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        self.pardon_blob(digest)?;
        let path = self.layout().blob(digest);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::file("open", &path)(error)),
        }
    }
}

/// A blob in the making. Dropped without [`BlobWriter::commit`], it is gone.
pub struct BlobWriter {
    store: Store,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    size_bytes: u64,
    committed: bool,
}

impl BlobWriter {
    /// Puts the blob in its place, if it is the expected one.
    pub fn commit(mut self, expected: &Digest) -> Result<(), StoreError> {
        let actual = std::mem::take(&mut self.hasher).finish();
        if actual != *expected {
            return Err(StoreError::DigestMismatch { expected: *expected, actual, size_bytes: self.size_bytes });
        }
        self.put(&actual)
    }

    /// Puts the blob in its place, whatever it is, and returns its digest and length.
    pub fn commit_any(mut self) -> Result<(Digest, u64), StoreError> {
        let digest = std::mem::take(&mut self.hasher).finish();
        self.put(&digest)?;
        Ok((digest, self.size_bytes))
    }

    fn put(&mut self, digest: &Digest) -> Result<(), StoreError> {
        let target = self.store.layout().blob(digest);
        // One of the same name that was deleted is this one from now on.
        self.store.pardon_blob(digest)?;
        let renamed = fault::point("blob.rename").and_then(|()| fs::rename(&self.path, &target));
        renamed.map_err(StoreError::file("create", &target))?;
        self.committed = true;
        fault::point("blob.renamed").map_err(StoreError::file("create", &target))?;
        Ok(())
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.committed {
            // What stays is removed with the drafts of this process.
            let _ = fs::remove_file(&self.path);
        }
    }
}
