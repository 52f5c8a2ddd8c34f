//! What takes room: one record for each thing that could go on its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use cache::ResultSummary;
use oci::{Digest, Timestamp};
use store::{ImageRecord, LayerId, LayerRecord, disk_bytes};

use crate::{Engine, Error};

/// Something that takes room on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskRecord {
    /// Names it.
    pub id: String,
    /// What it lies on: the layers right beneath it.
    pub parents: BTreeSet<String>,
    /// When it was made, as far as that is known.
    pub created: Option<Timestamp>,
    /// When it or what lies on it was last used, to the hour, as far as that is known.
    pub used: Option<Timestamp>,
    /// How many results of steps have it on top.
    pub usage_count: usize,
    /// Whether builds write to it.
    pub is_mutable: bool,
    /// Whether an image or a container needs it too.
    pub is_shared: bool,
    /// Whether it cannot go now.
    pub is_in_use: bool,
    /// How many bytes of the disk it takes.
    pub size_bytes: u64,
    /// What it is, for people: the step that made a layer.
    pub description: String,
    /// What kind of thing it is.
    pub kind: RecordKind,
    pub(super) subject: Subject,
}

/// What kind of thing takes room, by BuildKit's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A layer.
    Regular,
    /// A cache mount.
    CacheMount,
    /// What is remembered of a build context.
    Local,
    /// The files of a commit.
    GitCheckout,
    /// What Kiln needs itself.
    Internal,
}

impl RecordKind {
    /// Returns BuildKit's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::CacheMount => "exec.cachemount",
            Self::Local => "source.local",
            Self::GitCheckout => "source.git.checkout",
            Self::Internal => "internal",
        }
    }
}

/// What is removed with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Layer(LayerId),
    Blob,
    CacheMount(Digest),
    Context(PathBuf),
    Own,
}

/// All that records are made of.
struct Inventory {
    results: Vec<ResultSummary>,
    layers: BTreeMap<LayerId, LayerRecord>,
    /// The layers and the blobs that images and containers need.
    needed: BTreeSet<LayerId>,
    needed_blobs: BTreeSet<Digest>,
}

impl Engine {
    /// Returns all that takes room, what was used longest ago first.
    pub fn disk_records(&self) -> Result<Vec<DiskRecord>, Error> {
        let inventory = self.inventory()?;
        let mut records = self.layer_records(&inventory)?;
        records.extend(self.cache_mount_records()?);
        records.extend(self.context_records()?);
        records.extend(self.own_records()?);
        records.sort_by(|a, b| (a.used, &a.id).cmp(&(b.used, &b.id)));
        Ok(records)
    }

    fn inventory(&self) -> Result<Inventory, Error> {
        let results = self.store.cache().read(cache::results)?;
        let (images, containers) = (self.store.images()?, self.store.containers()?);
        let durable = images.iter().flat_map(ImageRecord::local_layers);
        let durable: Vec<&LayerRecord> = durable.chain(containers.iter().flat_map(|it| &it.layers)).collect();
        let origins = images.iter().flat_map(|image| &image.layers).filter_map(|layer| layer.origin.as_ref());
        let needed_blobs = origins.map(|origin| origin.blob.digest).collect();
        let cached = self.store.layers()?;
        Ok(Inventory {
            results,
            needed: durable.iter().map(|layer| layer.id).collect(),
            needed_blobs,
            layers: durable.into_iter().cloned().chain(cached).map(|layer| (layer.id, layer)).collect(),
        })
    }

    fn layer_records(&self, inventory: &Inventory) -> Result<Vec<DiskRecord>, Error> {
        let sizes = self.store.layer_disk_bytes(&inventory.layers.keys().copied().collect())?;
        let mut blobs = self.store.blob_disk_bytes()?;
        let uses = Uses::of(&inventory.results);
        let commits = self.store.remotes()?.into_iter();
        let commits: BTreeMap<LayerId, String> =
            commits.filter_map(|remote| Some((remote.layer, remote.repository?))).collect();
        let mut records = Vec::with_capacity(inventory.layers.len());
        for (id, layer) in &inventory.layers {
            let blob = layer.origin.as_ref().and_then(|origin| blobs.remove(&origin.blob.digest)).unwrap_or(0);
            let is_shared = inventory.needed.contains(id);
            let from = layer.origin.as_ref().and_then(|origin| origin.reference.as_ref());
            let pulled = || from.map_or_else(|| "files".to_owned(), |from| format!("pulled from {from}"));
            let commit = commits.get(id).map(|repository| format!("git snapshot for {repository}"));
            let kind = if commit.is_some() { RecordKind::GitCheckout } else { RecordKind::Regular };
            records.push(DiskRecord {
                id: id.to_string(),
                parents: uses.parents.get(id).into_iter().flatten().map(LayerId::to_string).collect(),
                created: Some(layer.created),
                used: uses.used.get(id).copied().or(Some(layer.created)),
                usage_count: uses.counts.get(id).copied().unwrap_or(0),
                is_mutable: false,
                is_shared,
                is_in_use: is_shared,
                size_bytes: sizes.get(id).copied().unwrap_or(0) + blob,
                description: commit
                    .unwrap_or_else(|| uses.names.get(id).map_or_else(pulled, |name| (*name).to_owned())),
                kind,
                subject: Subject::Layer(*id),
            });
        }
        records.extend(blobs.into_iter().map(|(digest, size_bytes)| {
            let is_needed = inventory.needed_blobs.contains(&digest);
            let record = DiskRecord::own(digest.hex(), format!("blob {digest}"), size_bytes, Subject::Blob);
            DiskRecord { kind: RecordKind::Regular, is_shared: is_needed, is_in_use: is_needed, ..record }
        }));
        Ok(records)
    }

    fn cache_mount_records(&self) -> Result<Vec<DiskRecord>, Error> {
        let record = |mount: store::CacheMountSummary| DiskRecord {
            created: mount.created,
            used: mount.used,
            is_mutable: true,
            is_in_use: mount.is_used,
            kind: RecordKind::CacheMount,
            ..DiskRecord::own(
                mount.key.hex(),
                mount.id.map_or_else(|| "cached mount".to_owned(), |id| format!("cached mount `{id}`")),
                disk_bytes(&mount.dir),
                Subject::CacheMount(mount.key),
            )
        };
        Ok(self.store.cache_mounts()?.into_iter().map(record).collect())
    }

    fn context_records(&self) -> Result<Vec<DiskRecord>, Error> {
        let record = |(path, written): (PathBuf, Timestamp)| DiskRecord {
            created: Some(written),
            used: Some(written),
            is_mutable: true,
            is_in_use: false,
            kind: RecordKind::Local,
            ..DiskRecord::own(
                path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                "what is remembered of a build context".to_owned(),
                disk_bytes(&path),
                Subject::Context(path),
            )
        };
        Ok(self.store.context_indexes()?.into_iter().map(record).collect())
    }

    fn own_records(&self) -> Result<Vec<DiskRecord>, Error> {
        let own = self.store.other_usage().into_iter();
        let own =
            own.map(|it| DiskRecord::own(it.name.replace(' ', "-"), it.name.to_owned(), it.disk_bytes, Subject::Own));
        let container = |container: store::ContainerRecord| {
            let dir = self.store.container_dir(&container.id);
            let description = format!("container of {}", container.image_name);
            let record = DiskRecord::own(container.id.to_string(), description, disk_bytes(&dir), Subject::Own);
            DiskRecord { created: Some(container.created), is_mutable: true, ..record }
        };
        Ok(own.chain(self.store.containers()?.into_iter().map(container)).collect())
    }
}

impl DiskRecord {
    /// Returns a record of something that has no history and stays.
    pub(super) fn own(id: String, description: String, size_bytes: u64, subject: Subject) -> Self {
        Self {
            id,
            parents: BTreeSet::new(),
            created: None,
            used: None,
            usage_count: 0,
            is_mutable: false,
            is_shared: false,
            is_in_use: true,
            size_bytes,
            description,
            kind: RecordKind::Internal,
            subject,
        }
    }

    /// Tells whether pruning can give its room back.
    pub fn is_reclaimable(&self) -> bool {
        !self.is_in_use
    }
}

/// What results say of the layers that they are made of.
#[derive(Default)]
struct Uses<'a> {
    /// When a layer or what lies on it was last used: nobody who uses a result looks at the results beneath it.
    used: BTreeMap<LayerId, Timestamp>,
    counts: BTreeMap<LayerId, usize>,
    parents: BTreeMap<LayerId, BTreeSet<LayerId>>,
    names: BTreeMap<LayerId, &'a str>,
}

impl<'a> Uses<'a> {
    fn of(results: &'a [ResultSummary]) -> Self {
        let mut uses = Self::default();
        let mut results: Vec<&ResultSummary> = results.iter().collect();
        // Of several results that end with one layer, the first one made it.
        results.sort_by_key(|result| result.created);
        for result in results {
            for layer in result.layers() {
                let used = uses.used.entry(layer).or_insert(result.used);
                *used = result.used.max(*used);
            }
            for output in &result.outputs {
                let Some((top, beneath)) = output.split_last() else { continue };
                *uses.counts.entry(*top).or_default() += 1;
                uses.names.entry(*top).or_insert(&result.name);
                uses.parents.entry(*top).or_default().extend(beneath.last());
            }
        }
        uses
    }
}
