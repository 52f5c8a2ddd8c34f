//! A layer and a stack of layers, as the builder passes them around: possibly still being finished, possibly not recorded yet.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::FutureExt;
use futures_util::future::Shared;
use layer::{Content, Entries, FileRange, Tree};
use oci::Digest;

use crate::{LayerDraft, LayerId, LayerRecord, PackRecord, PackedRecord, Store, StoreError, packed};

/// Why a layer could not be finished. It is shared by all who wait for the layer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot take over the files that the step wrote")]
pub struct LayerError {
    /// What went wrong.
    #[source]
    pub source: Arc<dyn std::error::Error + Send + Sync>,
}

impl LayerError {
    /// Wraps what went wrong.
    pub fn new(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { source: Arc::new(source) }
    }
}

/// What there is of a layer to mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// A directory, in the form of an overlay upper directory.
    Tree(PathBuf),
    /// An EROFS image.
    Packed {
        /// The image.
        index: PathBuf,
        /// The files that it points into, in its order.
        packs: Vec<PathBuf>,
    },
}

type Finishing = Shared<Pin<Box<dyn Future<Output = Result<Arc<LayerRecord>, LayerError>> + Send>>>;

/// A layer. It may be mounted at once; its record may still be in the making.
#[derive(Clone)]
pub struct Layer(Arc<Inner>);

struct Inner {
    id: LayerId,
    dir: PathBuf,
    facts: Facts,
    /// Who looks whether the files of a layer that is recorded are those that were.
    store: Option<Store>,
    opened: OnceLock<layer::Layer>,
    /// There until a record names the layer; with the last handle a draft goes away.
    draft: Mutex<Option<LayerDraft>>,
}

enum Facts {
    Known(Arc<LayerRecord>),
    Finishing(Finishing),
}

impl Layer {
    /// Returns the handle of a layer that a record names.
    pub(crate) fn recorded(store: Store, dir: PathBuf, record: LayerRecord) -> Self {
        let (id, facts) = (record.id, Facts::Known(Arc::new(record)));
        Self(Arc::new(Inner { id, dir, facts, store: Some(store), opened: OnceLock::new(), draft: Mutex::new(None) }))
    }

    /// Returns the handle of a layer whose tree is there and does not change any more, while `finishing` reads them, writes its list of entries, and makes its record.
    ///
    /// `finishing` makes progress only while somebody waits for it, so what takes long belongs on another thread.
    pub fn finishing(
        draft: LayerDraft,
        finishing: impl Future<Output = Result<LayerRecord, LayerError>> + Send + 'static,
    ) -> Self {
        let (id, dir) = (draft.id(), draft.dir().to_owned());
        let facts = Facts::Finishing(finishing.map(|record| record.map(Arc::new)).boxed().shared());
        Self(Arc::new(Inner { id, dir, facts, store: None, opened: OnceLock::new(), draft: Mutex::new(Some(draft)) }))
    }

    /// Returns the handle of a layer that is finished and not recorded yet.
    pub fn finished(draft: LayerDraft, record: LayerRecord) -> Self {
        Self::finished_as(draft, record, None)
    }

    /// The same of one that was just made: `opened` is what [`Layer::open`] would read again.
    pub fn finished_as(draft: LayerDraft, record: LayerRecord, opened: Option<layer::Layer>) -> Self {
        let (id, dir) = (draft.id(), draft.dir().to_owned());
        let facts = Facts::Known(Arc::new(record));
        let opened = opened.map_or_else(OnceLock::new, OnceLock::from);
        Self(Arc::new(Inner { id, dir, facts, store: None, opened, draft: Mutex::new(Some(draft)) }))
    }

    /// Returns the layer's id.
    pub fn id(&self) -> LayerId {
        self.0.id
    }

    /// Returns the directory that holds the files of a layer that is a tree, in the form of an overlay upper directory.
    pub fn tree(&self) -> PathBuf {
        self.0.dir.join("fs")
    }

    /// Returns what there is to mount.
    pub fn form(&self) -> Form {
        match self.packed() {
            None => Form::Tree(self.tree()),
            Some(record) => {
                let path = |pack: &PackRecord| packed::pack(&self.0.dir, &pack.id);
                Form::Packed { index: packed::index(&self.0.dir), packs: record.packs.iter().map(path).collect() }
            }
        }
    }

    /// Opens the layer's tar as it came from elsewhere; `Ok(None)` means that it was not kept, or that there never was one.
    pub fn open_tar(&self) -> Result<Option<FileRange>, StoreError> {
        self.verify()?;
        match &self.0.facts {
            Facts::Known(record) => packed::open_tar(&self.0.dir, record),
            Facts::Finishing(_) => Ok(None),
        }
    }

    /// Makes sure, before the layer is mounted or read, that its files are those that were recorded (see `seal`). What this process made itself is.
    pub fn verify(&self) -> Result<(), StoreError> {
        match (&self.0.store, &self.0.facts) {
            (Some(store), Facts::Known(record)) => store.verify(&self.0.dir, record),
            _ => Ok(()),
        }
    }

    /// Returns the layer's content digest, if nothing has to be waited for.
    pub fn known_content(&self) -> Option<Digest> {
        match &self.0.facts {
            Facts::Known(record) => Some(record.content),
            Facts::Finishing(_) => None,
        }
    }

    /// Returns how long the layer's packs are; a tree has none.
    pub fn packed_bytes(&self) -> u64 {
        self.packed().map_or(0, PackedRecord::size_bytes)
    }

    fn packed(&self) -> Option<&PackedRecord> {
        match &self.0.facts {
            Facts::Known(record) => record.packed.as_ref(),
            // What a command leaves is a tree.
            Facts::Finishing(_) => None,
        }
    }

    /// Waits for the layer's record.
    pub async fn record(&self) -> Result<Arc<LayerRecord>, LayerError> {
        match &self.0.facts {
            Facts::Known(record) => Ok(record.clone()),
            Facts::Finishing(finishing) => finishing.clone().await,
        }
    }

    /// Opens the layer for reading its entries and files; only once the record is there.
    pub fn open(&self) -> Result<layer::Layer, StoreError> {
        if let Some(opened) = self.0.opened.get() {
            return Ok(opened.clone());
        }
        self.verify()?;
        let opened = match &self.0.facts {
            Facts::Known(record) => open_files(&self.0.dir, record),
            Facts::Finishing(_) => open_tree(&self.0.dir, self.0.id),
        };
        let opened = opened.map_err(|error| error.of_layer(self.0.id))?;
        Ok(self.0.opened.get_or_init(|| opened).clone())
    }

    /// Takes the draft out, for the one who records the layer.
    pub(crate) fn take_draft(&self) -> Option<LayerDraft> {
        self.0.draft.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Opens the entries and files of a layer in its directory.
pub(crate) fn open_files(dir: &Path, record: &LayerRecord) -> Result<layer::Layer, StoreError> {
    let Some(packed) = &record.packed else { return open_tree(dir, record.id) };
    let entries = read_entries(&dir.join("entries"), record.id)?;
    Ok(layer::Layer { entries, content: Content::Packs(packed::open(dir, packed, record.id)?) })
}

fn open_tree(dir: &Path, id: LayerId) -> Result<layer::Layer, StoreError> {
    let (entries, tree) = (read_entries(&dir.join("entries"), id)?, dir.join("fs"));
    let root = std::fs::File::open(&tree).map_err(StoreError::file("open", &tree))?;
    Ok(layer::Layer { entries, content: Content::Tree(Tree::new(root.into())) })
}

fn read_entries(path: &Path, id: LayerId) -> Result<Entries, StoreError> {
    let bytes = std::fs::read(path).map_err(StoreError::file("read", path))?;
    Entries::from_bytes(bytes).map_err(|source| StoreError::Entries { id, source })
}

impl fmt::Debug for Layer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.id.fmt(out)
    }
}

/// A file system: layers, the lowest first. None is the empty file system.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The layers.
    pub layers: Arc<[Layer]>,
}

impl Snapshot {
    /// Returns the file system of these layers, the lowest first.
    pub fn new(layers: impl Into<Arc<[Layer]>>) -> Self {
        Self { layers: layers.into() }
    }

    /// Returns this file system with one more layer on top.
    pub fn with(&self, layer: Layer) -> Self {
        let layers: Vec<Layer> = self.layers.iter().cloned().chain([layer]).collect();
        Self::new(layers)
    }
}
