//! Blobs, layers, images and names on disk; the only opener of the databases.
//!
//! **Invariant:** never shows a half-written state. A record appears only when what it names is whole; what is named durably (images, names, containers) is on disk
//! before its record is. Any number of processes, in any PID namespaces, share one store at once.
//!
//! ```text
//! <root>/
//!   meta.mdb  meta.lock     LMDB, synced: images, names, containers. An image's record carries all that is needed to mount it; nothing here points into the cache.
//!   cache.mdb cache.lock    LMDB, not synced: layers, results, usage. Disposable: thrown away when it may not have reached the disk (see `durability`).
//!   cache.state             whether `cache.mdb` and all layers are on disk, or the boot in which they may not be
//!   layers/<id>/fs          a layer's files as a directory tree, in the form of an overlay upper directory
//!   layers/<id>/packs …     its files one after another in packs, with an index that the kernel mounts, see `packed`
//!   layers/<id>/entries     the sorted list of its entries
//!   blobs/sha256/<hex>      compressed layers of pulled images
//!   drafts/<uuid>/          one for each process that writes: `lock` is held while it lives, `layers/<id>` names its unfinished layers, the rest is temporary
//!   live/epoch              held shared by every process that reads layers without naming them; renamed by each collection, see `epoch`
//!   trash/                  what was deleted, until its files are unlinked
//!   locks/steps             byte ranges by key: one process executes a step
//!   contexts/<hash>         what builds remember of directories that they read, by the hash of their paths; disposable
//!   cache-mounts/<hash>/    directories of `RUN --mount=type=cache`, by the hash of their ids
//!   containers/<id>/        what a container wrote, and its files
//! ```
//! `docs/store-format.md` has the records.

mod blob;
mod cache_dir;
mod cache_mount;
mod collect;
mod compressed;
mod condemned;
mod container;
mod context_index;
mod database;
mod draft;
mod durability;
mod epoch;
mod error;
pub mod fault;
mod id;
mod image;
mod last_layer;
mod layer_handle;
mod layer_table;
mod layout;
mod lock;
mod open;
mod packed;
mod remote;
mod rung;
mod seal;
mod selection;
mod tar_checkpoints;
mod usage;

pub use blob::BlobWriter;
pub use cache_dir::{CacheDir, CacheUse};
pub use cache_mount::CacheMountSummary;
pub use collect::Collected;
pub use container::{ContainerRecord, ContainerState};
pub use database::{Database, KeyAndBytes, Reader, Table, Writer};
pub use draft::{DraftPack, LayerDraft};
pub use epoch::EpochGuard;
pub use error::StoreError;
pub use id::{ContainerId, LayerId};
pub use image::{ImageLayer, ImageRecord, NameRecord, NamedImage};
pub use layer_handle::{Form, Layer, LayerError, Snapshot};
pub use layer_table::{LayerOrigin, LayerRecord};
pub use lock::{StepLock, StepLocks};
pub use open::Store;
pub use packed::{PackRecord, PackedRecord};
pub use remote::RemoteRecord;
pub use rung::RungRecord;
pub use seal::{FileStamp, Seal, TreeSeal};
pub use usage::{DiskSpace, OtherUsage, disk_bytes};
