//! Opening a store, and the handle that everything else hangs on.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use oci::Digest;

use crate::database::{Database, Durability, Reader, Table, Writer};
use crate::draft::{self, DraftPack, Drafts, LayerDraft};
use crate::durability::CacheState;
use crate::layout::{DIRECTORIES, Layout};
use crate::{EpochGuard, Layer, LayerId, LayerRecord, StepLocks, StoreError, container, fault, image, layer_table};

/// The format of the store. A store of another one is refused.
const FORMAT: &str = "kiln-2";
/// Facts about the store itself.
const STORE: Table = Table(b'S');
const FORMAT_KEY: &[u8] = b"format";
/// The most that images, names and containers may take: many millions of them.
const META_BYTES_MAX: usize = 4 << 30;
/// The most that the records of the cache may take.
const CACHE_BYTES_MAX: usize = 64 << 30;

/// A store; cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    layout: Layout,
    meta: Database,
    cache: Database,
    step_locks: OnceLock<StepLocks>,
    /// Gone once the last draft and the last user of this handle are.
    drafts: Mutex<Option<Arc<Drafts>>>,
    /// The layers whose files this process made, or has looked at.
    verified: Mutex<BTreeSet<LayerId>>,
}

impl Store {
    /// Opens the store at `root`, or makes it.
    ///
    /// A process must not open one store twice: LMDB forbids it.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(root).map_err(StoreError::file("create", root))?;
        let root = root.canonicalize().map_err(StoreError::file("resolve", root))?;
        let layout = Layout::new(&root);
        let is_new = !layout.meta().exists();
        if is_new {
            for name in DIRECTORIES {
                let dir = root.join(name);
                fs::create_dir_all(&dir).map_err(StoreError::file("create", &dir))?;
            }
        }
        fault::point("store.open").map_err(StoreError::file("open", &root))?;
        let meta = Database::open(&layout.meta(), META_BYTES_MAX, Durability::Synced)?;
        check_format(&meta, &root)?;
        let cache_state = CacheState::open(&layout.cache_state())?;
        let cache = Database::open(&layout.cache(), CACHE_BYTES_MAX, Durability::Unsynced(cache_state))?;
        let was_reset = cache.was_reset;
        let (step_locks, drafts, verified) = (OnceLock::new(), Mutex::new(None), Mutex::default());
        let store = Self(Arc::new(Inner { layout, meta, cache, step_locks, drafts, verified }));
        if was_reset && !is_new {
            store.collect_after_loss()?;
        }
        Ok(store)
    }

    /// Returns the store's directory, absolute and without symbolic links.
    pub fn root(&self) -> &Path {
        self.0.layout.root()
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.0.layout
    }

    pub(crate) fn meta(&self) -> &Database {
        &self.0.meta
    }

    /// Returns the database of the cache, for the crate that owns its results. Its first tables are the store's; others start at [`Store::CACHE_TABLES`].
    pub fn cache(&self) -> &Database {
        &self.0.cache
    }

    /// The first byte that tables of the crate `cache` may have.
    pub const CACHE_TABLES: u8 = 128;

    /// Keeps the layers that exist now in place, even if they are deleted, until the guard is dropped.
    pub fn hold_epoch(&self) -> Result<EpochGuard, StoreError> {
        EpochGuard::take(&self.0.layout.live())
    }

    /// Returns the locks of this store's steps.
    pub fn step_locks(&self) -> Result<&StepLocks, StoreError> {
        if let Some(locks) = self.0.step_locks.get() {
            return Ok(locks);
        }
        let locks = StepLocks::open(&self.0.layout.step_locks())?;
        Ok(self.0.step_locks.get_or_init(|| locks))
    }

    /// Returns this process's directory for work in progress. The first call cleans up after processes that died.
    pub(crate) fn drafts(&self) -> Result<Arc<Drafts>, StoreError> {
        let mut drafts = self.0.drafts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(drafts) = &*drafts {
            return Ok(drafts.clone());
        }
        draft::sweep(&self.0.layout, |id| self.is_named(id))?;
        Ok(drafts.insert(Arc::new(Drafts::create(&self.0.layout)?)).clone())
    }

    /// Tells whether any record names a layer.
    fn is_named(&self, id: &LayerId) -> Result<bool, StoreError> {
        let in_cache = self.cache().read(|reader| Ok(layer_table::get(reader, id)?.is_some()))?;
        Ok(in_cache || self.durably_referenced()?.contains(id))
    }

    /// Returns the layers that images and containers need.
    pub(crate) fn durably_referenced(&self) -> Result<BTreeSet<LayerId>, StoreError> {
        self.meta().read(|reader| {
            let (mut layers, _) = image::references(reader)?;
            layers.append(&mut container::referenced_layers(reader)?);
            Ok(layers)
        })
    }

    /// Returns the directory of the history of builds. What lies there is the engine's; it need not exist.
    pub fn history_dir(&self) -> PathBuf {
        self.0.layout.history()
    }

    /// Makes an empty directory on the store's file system that goes away with this process at the latest.
    pub fn temporary_dir(&self) -> Result<PathBuf, StoreError> {
        self.drafts()?.temporary_dir()
    }

    /// Makes an empty file on the store's file system that goes away with the last who has it open.
    pub fn temporary_file(&self) -> Result<File, StoreError> {
        let path = self.drafts()?.unused_path();
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(StoreError::file("create", &path))?;
        fs::remove_file(&path).map_err(StoreError::file("remove", &path))?;
        Ok(file)
    }

    /// Makes an empty pack that belongs to no layer yet.
    pub fn draft_pack(&self) -> Result<DraftPack, StoreError> {
        self.drafts()?.pack()
    }

    /// Starts a layer that is a tree.
    pub fn draft_layer(&self) -> Result<LayerDraft, StoreError> {
        self.drafts()?.layer("fs")
    }

    /// Starts a layer whose files go into packs.
    pub fn draft_packed_layer(&self) -> Result<LayerDraft, StoreError> {
        self.drafts()?.layer("packs")
    }

    /// Returns the handle of a layer by its record, after a look that its files are there.
    pub fn layer(&self, record: LayerRecord) -> Result<Layer, StoreError> {
        Ok(Layer::recorded(self.clone(), self.layer_dir(&record)?, record))
    }

    /// Returns the directory of a layer, after a look that it is there.
    pub(crate) fn layer_dir(&self, record: &LayerRecord) -> Result<PathBuf, StoreError> {
        let dir = self.0.layout.layer(&record.id);
        if dir.is_dir() {
            return Ok(dir);
        }
        Err(StoreError::LayerMissing { id: record.id, root: self.root().to_owned() })
    }

    pub(crate) fn is_verified(&self, id: &LayerId) -> bool {
        self.0.verified.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    pub(crate) fn set_verified(&self, id: LayerId) {
        self.0.verified.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    /// Returns the record of the layer whose tar has this digest; `Ok(None)` means that there is none.
    pub fn find_layer(&self, diff_id: &Digest) -> Result<Option<LayerRecord>, StoreError> {
        self.cache().read(|reader| layer_table::find_by_diff_id(reader, diff_id))
    }

    /// Returns the record of a layer within a transaction of the cache's database; `Ok(None)` means that there is none.
    pub fn layer_record(reader: &Reader<'_>, id: &LayerId) -> Result<Option<LayerRecord>, StoreError> {
        layer_table::get(reader, id)
    }

    /// Forgets the record of a layer within a transaction of the cache's database. Images that need the layer have a record of their own.
    pub fn forget_layer(writer: &mut Writer<'_, '_>, id: &LayerId) -> Result<(), StoreError> {
        layer_table::remove(writer, id)
    }

    /// Returns the ids of all layers that the cache knows, within a transaction of its database.
    pub fn layer_ids(reader: &Reader<'_>) -> Result<Vec<LayerId>, StoreError> {
        layer_table::ids(reader)
    }

    /// Returns the records of all layers that the cache knows.
    pub fn layers(&self) -> Result<Vec<LayerRecord>, StoreError> {
        self.cache().read(layer_table::all)
    }

    /// Records layers, so that they stay, and whatever `also` records, all at once. A layer that has a record gets the new one.
    pub fn put_layers<T>(
        &self,
        layers: &[(Layer, LayerRecord)],
        also: impl FnOnce(&mut Writer<'_, '_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let result = self.cache().write(|writer| {
            layers.iter().try_for_each(|(_, record)| layer_table::put(writer, record))?;
            also(writer)
        })?;
        layers.iter().filter(|(_, record)| record.seal.is_some()).for_each(|(_, record)| self.set_verified(record.id));
        layers.iter().filter_map(|(layer, _)| layer.take_draft()).try_for_each(LayerDraft::keep)?;
        Ok(result)
    }

    /// Waits until everything that was written to the store is on disk, if anything was.
    pub fn flush(&self) -> Result<(), StoreError> {
        let Some(generation) = self.cache().unflushed()? else { return Ok(()) };
        let root = File::open(self.root()).map_err(StoreError::file("open", self.root()))?;
        fault::point("store.flush").map_err(StoreError::file("flush", self.root()))?;
        rustix::fs::syncfs(&root).map_err(StoreError::file("flush", self.root()))?;
        fault::point("store.flushed").map_err(StoreError::file("flush", self.root()))?;
        self.cache().mark_flushed(generation)
    }
}

fn check_format(meta: &Database, root: &Path) -> Result<(), StoreError> {
    let found = meta.read(|reader| reader.get_record::<String>(STORE, FORMAT_KEY))?;
    match found {
        Some(found) if found == FORMAT => Ok(()),
        Some(found) => Err(StoreError::Version { root: root.to_owned(), found, known: FORMAT }),
        None => meta.write(|writer| writer.put_record(STORE, FORMAT_KEY, &FORMAT)),
    }
}
