//! How much room things take, and giving back what nothing needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use oci::Digest;
use store::{ContainerRecord, ContainerState, ImageRecord, LayerId};

use crate::image::Removed;
use crate::{Engine, Error};

/// How much room one kind of thing takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindUsage {
    /// How many there are.
    pub total: usize,
    /// How many of them are in use.
    pub active: usize,
    /// How much they take; what several share counts once.
    pub size_bytes: u64,
    /// How much pruning them would give back.
    pub reclaimable_bytes: u64,
}

/// How much room the store takes, by kind, as `docker system df` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Images; in use are those that containers were made of.
    pub images: KindUsage,
    /// Containers, without their images.
    pub containers: KindUsage,
    /// Results of steps that no image needs.
    pub cache: KindUsage,
}

/// What is to be pruned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PruneRequest {
    /// Whether images that have names but no containers go too, and all results of steps.
    pub all: bool,
}

/// What a pruning removed.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// The containers, by their ids.
    pub containers: Vec<String>,
    /// Names and images.
    pub images: Vec<Removed>,
    /// How many results of steps.
    pub results: usize,
    /// How much room was given back.
    pub reclaimed_bytes: u64,
}

impl Engine {
    /// Returns how much room the store takes.
    pub fn disk_usage(&self) -> Result<DiskUsage, Error> {
        let (images, containers) = (self.store.images()?, self.store.containers()?);
        let used: BTreeSet<Digest> = containers.iter().map(|container| container.image).collect();
        let (in_use, unused): (Vec<&ImageRecord>, Vec<&ImageRecord>) =
            images.iter().partition(|image| used.contains(&image.id));
        let of_images = layers_of(images.iter());
        let kept = layers_of(in_use.iter().copied());
        let reclaimable = of_images.iter().filter(|(id, _)| !kept.contains_key(*id)).map(|(_, size)| size).sum();
        let image_usage = KindUsage {
            total: images.len(),
            active: in_use.len(),
            size_bytes: of_images.values().sum(),
            reclaimable_bytes: if unused.is_empty() { 0 } else { reclaimable },
        };
        Ok(DiskUsage {
            images: image_usage,
            containers: self.container_usage(&containers),
            cache: self.cache_usage(&of_images)?,
        })
    }

    fn container_usage(&self, containers: &[ContainerRecord]) -> KindUsage {
        let mut usage = KindUsage { total: containers.len(), ..KindUsage::default() };
        for container in containers {
            let size_bytes = tree_bytes(&self.store.container_dir(&container.id));
            usage.size_bytes += size_bytes;
            if self.is_running(container) {
                usage.active += 1;
            } else {
                usage.reclaimable_bytes += size_bytes;
            }
        }
        usage
    }

    fn cache_usage(&self, of_images: &BTreeMap<LayerId, u64>) -> Result<KindUsage, Error> {
        let results = self.store.cache().read(cache::results)?;
        let layers = self.store.layers()?;
        let only_cached = layers.iter().filter(|layer| !of_images.contains_key(&layer.id));
        let size_bytes = only_cached.map(|layer| layer.size_bytes).sum();
        Ok(KindUsage { total: results.len(), active: 0, size_bytes, reclaimable_bytes: size_bytes })
    }

    /// Removes stopped containers, images without names, and results of steps that no image needs; with `all`, every image without a container and every result.
    ///
    /// What a running build may be reading goes with a later pruning.
    pub fn prune(&self, request: PruneRequest) -> Result<Pruned, Error> {
        let mut pruned = Pruned::default();
        for container in self.store.containers()? {
            if !self.is_running(&container) {
                pruned.reclaimed_bytes += tree_bytes(&self.store.container_dir(&container.id));
                self.store.remove_container(&container.id)?;
                pruned.containers.push(container.id.to_string());
            }
        }
        if request.all {
            let used: BTreeSet<Digest> = self.store.containers()?.into_iter().map(|it| it.image).collect();
            for image in self.store.images()?.into_iter().filter(|image| !used.contains(&image.id)) {
                let names = self.store.remove_image(&image.id)?;
                pruned.images.extend(names.into_iter().map(Removed::Name));
                pruned.images.push(Removed::Image(image.id));
            }
        }
        let unnamed = self.store.remove_unnamed_images()?;
        pruned.images.extend(unnamed.into_iter().map(|image| Removed::Image(image.id)));
        let needed = layers_of(self.store.images()?.iter());
        let is_kept = |result: &cache::ResultSummary| {
            !request.all && result.layers.iter().all(|layer| needed.contains_key(layer))
        };
        let before = self.store.cache().read(cache::results)?.len();
        let collected = self.store.collect(|writer| cache::prune(writer, is_kept))?;
        pruned.results = before.saturating_sub(self.store.cache().read(cache::results)?.len());
        pruned.reclaimed_bytes += collected.layers.iter().map(|layer| layer.size_bytes).sum::<u64>();
        pruned.reclaimed_bytes += collected.blob_bytes;
        Ok(pruned)
    }

    fn is_running(&self, container: &ContainerRecord) -> bool {
        container.state == ContainerState::Running && self.store.is_container_held(&container.id)
    }
}

fn layers_of<'a>(images: impl Iterator<Item = &'a ImageRecord>) -> BTreeMap<LayerId, u64> {
    images.flat_map(ImageRecord::local_layers).map(|layer| (layer.id, layer.size_bytes)).collect()
}

/// Returns what the files of a directory take; what cannot be looked at takes nothing.
fn tree_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => tree_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
