//! Compressed layers as they came from a registry: files named by their digest.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use layer::Flusher;
use oci::{Digest, Hasher};

use crate::draft::{discard, list};
use crate::seal::{self, FileStamp, digest_of};
use crate::{Store, StoreError, condemned, fault};

impl Store {
    /// Starts a blob; its digest need not be known yet.
    pub fn blob_writer(&self) -> Result<BlobWriter, StoreError> {
        let path = self.drafts()?.unused_path();
        let file = File::create_new(&path).map_err(StoreError::file("create", &path))?;
        Ok(BlobWriter {
            store: self.clone(),
            path,
            file,
            hasher: Hasher::new(),
            size_bytes: 0,
            flusher: Flusher::default(),
            committed: false,
        })
    }

    /// Returns the digests of all blobs, sorted.
    pub fn blobs(&self) -> Result<Vec<Digest>, StoreError> {
        let digest = |path: PathBuf| Digest::from_hex(path.file_name()?.to_str()?);
        Ok(list(&self.layout().blobs())?.into_iter().filter_map(digest).collect())
    }

    /// Removes a blob that is not what its name says.
    pub fn remove_damaged_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        discard(self.layout(), &self.layout().blob(digest))?;
        self.cache().write(|writer| seal::forget_blob(writer, digest.as_bytes()))
    }

    /// Takes a blob off the list of deleted ones, if it is there, and returns what it looked like when it was finished.
    fn pardon_blob(&self, digest: &Digest) -> Result<Option<FileStamp>, StoreError> {
        let (is_condemned, stamp) = self
            .cache()
            .read(|reader| Ok((condemned::BLOBS.has(reader, digest.as_bytes())?, seal::blob(reader, digest)?)))?;
        if is_condemned {
            self.cache().write(|writer| condemned::BLOBS.pardon(writer, digest.as_bytes()))?;
        }
        Ok(stamp)
    }

    /// Opens a blob; `Ok(None)` means that it is not there. A collection that is about to remove it leaves it.
    ///
    /// One that somebody may have written to is read first (see `seal`); if it is not what its name says, it is removed, and the error says so.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<File>, StoreError> {
        let then = self.pardon_blob(digest)?;
        let path = self.layout().blob(digest);
        let Some(file) = open(&path)? else { return Ok(None) };
        let now = FileStamp::of(&path)?;
        if then != Some(now) {
            let actual = digest_of(&file).map_err(StoreError::file("read", &path))?;
            if actual != *digest {
                self.remove_damaged_blob(digest)?;
                return Err(StoreError::BlobDamaged { expected: *digest, actual });
            }
            self.cache().write(|writer| seal::put_blob(writer, digest, &now))?;
            return open(&path);
        }
        Ok(Some(file))
    }

    /// Returns whether there is a blob.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.layout().blob(digest).exists()
    }

    /// Reads a blob and returns the digest of its bytes; `Ok(None)` means that it is not there.
    pub fn blob_digest(&self, digest: &Digest) -> Result<Option<Digest>, StoreError> {
        let path = self.layout().blob(digest);
        let Some(file) = open(&path)? else { return Ok(None) };
        digest_of(file).map(Some).map_err(StoreError::file("read", &path))
    }
}

fn open(path: &Path) -> Result<Option<File>, StoreError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::file("open", path)(error)),
    }
}

/// A blob in the making. Dropped without [`BlobWriter::commit`], it is gone.
pub struct BlobWriter {
    store: Store,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    size_bytes: u64,
    flusher: Flusher,
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
        // One of the same name that was deleted is this one from now on. It is written in any case, so that the cache does not pass for flushed when the name of the blob
        // may be on disk before its bytes are.
        self.store.cache().write(|writer| condemned::BLOBS.pardon(writer, digest.as_bytes()))?;
        let renamed = fault::point("blob.rename").and_then(|()| fs::rename(&self.path, &target));
        renamed.map_err(StoreError::file("create", &target))?;
        self.committed = true;
        fault::point("blob.renamed").map_err(StoreError::file("create", &target))?;
        let stamp = FileStamp::of(&target)?;
        self.store.cache().write(|writer| seal::put_blob(writer, digest, &stamp))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size_bytes += written as u64;
        self.flusher.wrote(&self.file, written as u64);
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
