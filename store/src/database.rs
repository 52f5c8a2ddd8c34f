//! One LMDB database behind our own lock.
//!
//! LMDB's own lock table names readers by process id, and fails when two processes in different PID namespaces have the same one. So it is opened without, and
//! every transaction holds flock(2) on a file beside it: shared to read, exclusive to write. Transactions are closures, so that none outlives a function or
//! crosses an await; they take microseconds, so that threads of one process simply take turns.
//!
//! There is one key space; the first byte of a key is its [`Table`].

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use heed::types::Bytes;
use heed::{CommitOrAbort, Env, EnvFlags, EnvOpenOptions, RoTxn, RwTxn, WithoutTls};
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::durability::CacheState;
use crate::{StoreError, fault};

/// How much room a database keeps beyond its end: hundreds of removals.
const RESERVED_BYTES: u64 = 512 << 10;
/// The unit in which stat(2) counts blocks.
const BLOCK_BYTES: u64 = 512;

/// A part of the key space of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table(pub u8);

/// Whether a transaction is on disk when it ends.
pub(crate) enum Durability {
    /// It is.
    Synced,
    /// It is when the kernel writes it; the file says whether it did.
    Unsynced(CacheState),
}

/// A state of a database that is not synced: the number of its last transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(usize);

/// A database that any number of processes use at once.
pub struct Database {
    env: Env<WithoutTls>,
    unnamed: Unnamed,
    path: PathBuf,
    size_bytes_max: usize,
    durability: Durability,
    /// Whether what was there could not be believed and was thrown away.
    pub(crate) was_reset: bool,
    lock: Mutex<File>,
}

type Unnamed = heed::Database<'static, Bytes, Bytes>;

impl Database {
    /// Opens the database, or makes it.
    pub(crate) fn open(path: &Path, size_bytes_max: usize, durability: Durability) -> Result<Self, StoreError> {
        let lock_path = path.with_extension("lock");
        let lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(StoreError::file("open", &lock_path))?;
        // Making a database writes its first pages, which nobody else may do or read meanwhile.
        flock(&lock, FlockOperation::LockExclusive).map_err(StoreError::file("lock", &lock_path))?;
        let mut flags = EnvFlags::NO_SUB_DIR | EnvFlags::NO_LOCK;
        let mut was_reset = false;
        if let Durability::Unsynced(state) = &durability {
            flags |= EnvFlags::NO_SYNC;
            was_reset = reset_unless_trustworthy(path, state)?;
        }
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(size_bytes_max);
        reserve(path);
        let opened = open_env(&mut options, flags, path).and_then(|env| {
            let unnamed = open_unnamed(&env)?;
            Ok((env, unnamed))
        });
        flock(&lock, FlockOperation::Unlock).map_err(StoreError::file("unlock", &lock_path))?;
        let path = path.to_owned();
        match opened {
            Ok((env, unnamed)) => {
                Ok(Self { env, unnamed, path, size_bytes_max, durability, was_reset, lock: Mutex::new(lock) })
            }
            Err(source) => Err(StoreError::Database { action: "open", path, source }),
        }
    }

    /// Reads within one transaction; `body` sees one state, however many others write.
    pub fn read<T>(&self, body: impl FnOnce(&Reader<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.locked(FlockOperation::LockShared, || {
            let txn = self.env.read_txn().map_err(|source| self.error("read", source))?;
            body(&Reader { txn: &txn, database: self })
        })
    }

    /// Writes within one transaction; an error of `body` leaves everything as it was.
    pub fn write<T>(&self, body: impl FnOnce(&mut Writer<'_, '_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.locked(FlockOperation::LockExclusive, || {
            if let Durability::Unsynced(state) = &self.durability {
                state.mark_written()?;
            }
            let mut txn = self.env.write_txn().map_err(|source| self.error("write", source))?;
            let result = body(&mut Writer { txn: &mut txn, database: self })?;
            let [before, after] = self.fault_points();
            fault::point(before).map_err(StoreError::file("commit to", &self.path))?;
            txn.commit().map_err(|source| self.error("commit to", source))?;
            fault::point(after).map_err(StoreError::file("commit to", &self.path))?;
            Ok(result)
        })
    }

    /// Returns the state that is to be flushed; `Ok(None)` means that all is on disk.
    pub(crate) fn unflushed(&self) -> Result<Option<Generation>, StoreError> {
        let Durability::Unsynced(state) = &self.durability else { return Ok(None) };
        self.locked(FlockOperation::LockExclusive, || {
            Ok((!state.is_clean()?).then(|| Generation(self.env.info().last_txn_id)))
        })
    }

    /// Says that `flushed` is on disk. If somebody wrote meanwhile, they say so of what they wrote.
    pub(crate) fn mark_flushed(&self, flushed: Generation) -> Result<(), StoreError> {
        let Durability::Unsynced(state) = &self.durability else { return Ok(()) };
        self.locked(FlockOperation::LockExclusive, || {
            if self.env.info().last_txn_id == flushed.0 { state.mark_clean() } else { Ok(()) }
        })
    }

    fn locked<T>(
        &self,
        operation: FlockOperation,
        body: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // A thread that panicked within a transaction left it uncommitted, so what it guarded is whole.
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        flock(&*lock, operation).map_err(StoreError::file("lock", &self.path))?;
        let result = body();
        flock(&*lock, FlockOperation::Unlock).map_err(StoreError::file("unlock", &self.path))?;
        result
    }

    fn fault_points(&self) -> [&'static str; 2] {
        match self.durability {
            Durability::Synced => ["meta.commit", "meta.committed"],
            Durability::Unsynced(_) => ["cache.commit", "cache.committed"],
        }
    }

    fn error(&self, action: &'static str, source: heed::Error) -> StoreError {
        let path = self.path.clone();
        match source {
            heed::Error::Mdb(heed::MdbError::MapFull) => {
                StoreError::DatabaseFull { path, size_bytes_max: self.size_bytes_max }
            }
            source => StoreError::Database { action, path, source },
        }
    }

    fn decode<T: DeserializeOwned>(&self, key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
        let damaged = |source| StoreError::Record { path: self.path.clone(), key: printable(key), source };
        serde_json::from_slice(bytes).map_err(damaged)
    }
}

/// Keeps room for what a database writes next, so that something can be removed from a store on a disk that is full: that is a transaction too.
fn reserve(path: &Path) {
    let Ok(file) = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path) else { return };
    let Ok(metadata) = file.metadata() else { return };
    if metadata.blocks() * BLOCK_BYTES < metadata.len() + RESERVED_BYTES / 2 {
        // Where the disk is full already, or cannot keep room, there is none: then removing something may fail.
        let _ = fallocate(&file, FallocateFlags::KEEP_SIZE, metadata.len(), RESERVED_BYTES);
    }
}

/// Removes a database that may not have reached the disk whole, and tells whether it did. From here on it is believed in this boot.
fn reset_unless_trustworthy(path: &Path, state: &CacheState) -> Result<bool, StoreError> {
    if state.is_trustworthy()? {
        return Ok(false);
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::file("remove", path)(error)),
        _ => state.mark_written().map(|()| true),
    }
}

#[allow(unsafe_code)]
fn open_env(
    options: &mut EnvOpenOptions<WithoutTls>,
    flags: EnvFlags,
    path: &Path,
) -> Result<Env<WithoutTls>, heed::Error> {
    // SAFETY: LMDB maps the file, so nobody may change it behind LMDB's back: it lies in the store, which only kilns write, all through this module. Without LMDB's own
    // locks, a writer must exclude all others and readers must exclude writers: `Database::locked` does both, between threads and between processes.
    // WHY: there is no safe way to open an LMDB environment.
    unsafe {
        options.flags(flags);
        options.open(path)
    }
}

/// Returns the one database that every environment has without a name.
fn open_unnamed(env: &Env<WithoutTls>) -> Result<Unnamed, heed::Error> {
    let opened = env.open_databases_and_commit(env.read_txn()?, |opener, txn| {
        opener.open_database::<Bytes, Bytes>(txn, None).map(CommitOrAbort::<_, ()>::Commit)
    })?;
    Ok(opened.unwrap_commit().expect("LMDB makes the unnamed database with the environment"))
}

fn table_key(table: Table, key: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(key.len() + 1);
    whole.push(table.0);
    whole.extend_from_slice(key);
    whole
}

fn printable(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => key.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// A key, without its table, and the bytes under it.
pub type KeyAndBytes = (Vec<u8>, Vec<u8>);

/// What a reading transaction sees.
pub struct Reader<'a> {
    txn: &'a RoTxn<'a>,
    database: &'a Database,
}

impl Reader<'_> {
    /// Returns the bytes under `key`; `Ok(None)` means that there are none.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StoreError> {
        self.database
            .unnamed
            .get(self.txn, &table_key(table, key))
            .map_err(|source| self.database.error("read", source))
    }

    /// Returns the record under `key`; `Ok(None)` means that there is none.
    pub fn get_record<T: DeserializeOwned>(&self, table: Table, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.get(table, key)?.map(|bytes| self.database.decode(key, bytes)).transpose()
    }

    /// Returns all records of a table with their keys, in the order of the keys.
    pub fn records<T: DeserializeOwned>(&self, table: Table) -> Result<Vec<(Vec<u8>, T)>, StoreError> {
        let entries = self.entries(table)?.into_iter();
        entries.map(|(key, bytes)| self.database.decode(&key, &bytes).map(|record| (key, record))).collect()
    }

    /// Returns all keys of a table with the bytes under them, in the order of the keys.
    pub fn entries(&self, table: Table) -> Result<Vec<KeyAndBytes>, StoreError> {
        let failed = |source| self.database.error("read", source);
        let mut entries = Vec::new();
        for item in self.database.unnamed.prefix_iter(self.txn, &[table.0]).map_err(failed)? {
            let (key, bytes) = item.map_err(failed)?;
            entries.push((key[1..].to_vec(), bytes.to_vec()));
        }
        Ok(entries)
    }

    /// Tells whether there is any key that starts with `prefix`.
    pub fn has_prefix(&self, table: Table, prefix: &[u8]) -> Result<bool, StoreError> {
        let failed = |source| self.database.error("read", source);
        let prefix = table_key(table, prefix);
        let mut found = self.database.unnamed.prefix_iter(self.txn, &prefix).map_err(failed)?;
        Ok(found.next().transpose().map_err(failed)?.is_some())
    }
}

/// What a writing transaction sees and does.
pub struct Writer<'t, 'e> {
    txn: &'t mut RwTxn<'e>,
    database: &'e Database,
}

impl Writer<'_, '_> {
    /// Returns what the transaction sees: the state before it and what it has written so far.
    pub fn reader(&self) -> Reader<'_> {
        Reader { txn: self.txn, database: self.database }
    }

    /// Puts bytes under `key`, in place of what was there.
    pub fn put(&mut self, table: Table, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let put = self.database.unnamed.put(self.txn, &table_key(table, key), bytes);
        put.map_err(|source| self.database.error("write", source))
    }

    /// Puts a record under `key`, in place of what was there.
    pub fn put_record<T: Serialize>(&mut self, table: Table, key: &[u8], record: &T) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(record).expect("records have string keys, so JSON cannot fail");
        self.put(table, key, &bytes)
    }

    /// Puts a record into a table that holds at most `count_max`, all of which can be made again: where it is full, the others are forgotten.
    pub(crate) fn put_bounded<T: Serialize>(
        &mut self,
        table: Table,
        key: &[u8],
        record: &T,
        count_max: usize,
    ) -> Result<(), StoreError> {
        let known = self.reader().entries(table)?;
        if known.len() >= count_max {
            known.iter().try_for_each(|(key, _)| self.delete(table, key).map(drop))?;
        }
        self.put_record(table, key, record)
    }

    /// Removes what is under `key`, and tells whether there was anything.
    pub fn delete(&mut self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        let deleted = self.database.unnamed.delete(self.txn, &table_key(table, key));
        deleted.map_err(|source| self.database.error("write", source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: Table = Table(1);
    const OTHERS: Table = Table(2);

    fn open() -> (tempfile::TempDir, Database) {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(&dir.path().join("a.mdb"), 1 << 20, Durability::Synced).unwrap();
        (dir, database)
    }

    #[test]
    fn an_empty_database_has_nothing() {
        let (_dir, database) = open();
        let found = database.read(|reader| Ok(reader.get(WORDS, b"a")?.is_some())).unwrap();
        assert!(!found);
        assert!(database.read(|reader| reader.records::<String>(WORDS)).unwrap().is_empty());
    }

    #[test]
    fn tables_are_apart_and_sorted() {
        let (_dir, database) = open();
        let put = |writer: &mut Writer<'_, '_>| {
            writer.put_record(WORDS, b"b", &"two")?;
            writer.put_record(WORDS, b"a", &"one")?;
            writer.put_record(OTHERS, b"a", &"other")
        };
        database.write(put).unwrap();
        let words = database.read(|reader| reader.records::<String>(WORDS)).unwrap();
        assert_eq!(words, [(b"a".to_vec(), "one".to_owned()), (b"b".to_vec(), "two".to_owned())]);
    }

    #[test]
    fn a_failed_transaction_leaves_everything_as_it_was() {
        let (_dir, database) = open();
        database.write(|writer| writer.put_record(WORDS, b"a", &"old")).unwrap();
        let failed = database.write(|writer| {
            writer.put_record(WORDS, b"a", &"new")?;
            writer.put(WORDS, b"broken", b"{")?;
            writer.reader().get_record::<String>(WORDS, b"broken")
        });
        assert_eq!(failed.unwrap_err().to_string().split('`').nth(1), Some("broken"));
        let word = database.read(|reader| reader.get_record::<String>(WORDS, b"a")).unwrap();
        assert_eq!(word.as_deref(), Some("old"));
    }

    #[test]
    fn a_full_database_says_so() {
        let (_dir, database) = open();
        let big = vec![b'x'; 2 << 20];
        let error = database.write(|writer| writer.put(WORDS, b"a", &big)).unwrap_err();
        assert!(matches!(error, StoreError::DatabaseFull { size_bytes_max, .. } if size_bytes_max == 1 << 20));
    }
}
