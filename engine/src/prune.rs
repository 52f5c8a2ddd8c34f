//! How much room things take, and giving back what nothing needs.

use std::collections::BTreeSet;
use std::time::Duration;

use oci::{Digest, Timestamp};
use store::{ContainerRecord, ContainerState, ImageRecord, disk_bytes};

use crate::disk::{CachePrune, DiskRecord, RecordKind};
use crate::image::{Removed, config_of};
use crate::{Engine, Error};

/// How much room one kind of thing takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindUsage {
    /// How many there are.
    pub total: usize,
    /// How many of them are in use.
    pub active: usize,
    /// How much of the disk they take; what several share counts once.
    pub size_bytes: u64,
    /// How much pruning them would give back.
    pub reclaimable_bytes: u64,
}

/// How much room of the disk the store takes, by kind, as `docker system df` shows it. With what Kiln needs itself, it is what `du` shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Images; in use are those that containers were made of.
    pub images: KindUsage,
    /// Containers, without their images.
    pub containers: KindUsage,
    /// What builds keep and no image needs: layers, blobs, cache mounts, what is remembered of contexts.
    pub cache: KindUsage,
}

/// What is to be pruned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PruneRequest {
    /// Whether images that have names but no containers go too, and all results of steps.
    pub all: bool,
}

/// Which images are to be pruned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImagePrune {
    /// Whether those with names go too.
    pub all: bool,
    /// Only those that were made so long ago.
    pub age: Option<Duration>,
    /// Only those that have these labels, with these values where there are some.
    pub labels: Vec<(String, Option<String>)>,
}

impl ImagePrune {
    fn wants(&self, image: &ImageRecord) -> Result<bool, Error> {
        let config = config_of(image)?;
        let now = Timestamp::now();
        let is_old = self.age.is_none_or(|age| now.since(config.created.unwrap_or(image.added)) >= age);
        let labels = &config.config.labels;
        let has = |(key, value): &(String, Option<String>)| {
            labels.get(key).is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
        };
        Ok(is_old && self.labels.iter().all(has))
    }
}

/// What a pruning removed.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// The containers, by their ids.
    pub containers: Vec<String>,
    /// Names and images.
    pub images: Vec<Removed>,
    /// What the cache had.
    pub records: Vec<DiskRecord>,
    /// How much room was given back.
    pub reclaimed_bytes: u64,
}

impl Engine {
    /// Returns how much room the store takes.
    pub fn disk_usage(&self) -> Result<DiskUsage, Error> {
        let (images, containers) = (self.store.images()?, self.store.containers()?);
        let used: BTreeSet<Digest> = containers.iter().map(|container| container.image).collect();
        let in_use: Vec<&ImageRecord> = images.iter().filter(|image| used.contains(&image.id)).collect();
        let needed = needed_records(&in_use, &containers);
        let mut usage = DiskUsage {
            images: KindUsage { total: images.len(), active: in_use.len(), ..KindUsage::default() },
            containers: self.container_usage(&containers),
            cache: KindUsage::default(),
        };
        for record in self.disk_records()? {
            let part = match (record.is_shared, record.kind) {
                (true, _) => &mut usage.images,
                (false, RecordKind::Internal) => continue,
                (false, _) => &mut usage.cache,
            };
            part.size_bytes += record.size_bytes;
            if record.is_reclaimable() || (record.is_shared && !needed.contains(&record.id)) {
                part.reclaimable_bytes += record.size_bytes;
            }
            if !record.is_shared {
                part.total += 1;
                part.active += usize::from(record.is_in_use);
            }
        }
        Ok(usage)
    }

    fn container_usage(&self, containers: &[ContainerRecord]) -> KindUsage {
        let mut usage = KindUsage { total: containers.len(), ..KindUsage::default() };
        for container in containers {
            let size_bytes = disk_bytes(&self.store.container_dir(&container.id));
            usage.size_bytes += size_bytes;
            if self.is_running(container) {
                usage.active += 1;
            } else {
                usage.reclaimable_bytes += size_bytes;
            }
        }
        usage
    }

    /// Removes stopped containers, images without names, and results of steps that no image needs; with `all`, every image without a container and every result.
    ///
    /// What a running build may be reading goes with a later pruning.
    pub fn prune(&self, request: PruneRequest) -> Result<Pruned, Error> {
        let containers = self.prune_containers(None)?;
        let images = self.prune_images(&ImagePrune { all: request.all, ..ImagePrune::default() })?;
        let records = self.prune_cache(&CachePrune { all: request.all, ..CachePrune::default() })?;
        let cache_bytes: u64 = records.iter().map(|record| record.size_bytes).sum();
        Ok(Pruned {
            containers: containers.containers,
            images: images.images,
            records,
            reclaimed_bytes: containers.reclaimed_bytes + images.reclaimed_bytes + cache_bytes,
        })
    }

    /// Removes the containers that do not run, or of these only those that are older than `age`.
    pub fn prune_containers(&self, age: Option<Duration>) -> Result<Pruned, Error> {
        let (mut pruned, now) = (Pruned::default(), Timestamp::now());
        for container in self.store.containers()? {
            if self.is_running(&container) || age.is_some_and(|age| now.since(container.created) < age) {
                continue;
            }
            pruned.reclaimed_bytes += disk_bytes(&self.store.container_dir(&container.id));
            self.store.remove_container(&container.id)?;
            pruned.containers.push(container.id.to_string());
        }
        Ok(pruned)
    }

    /// Removes images that no container was made of, with the layers that nothing else needs.
    pub fn prune_images(&self, request: &ImagePrune) -> Result<Pruned, Error> {
        let mut pruned = Pruned::default();
        let used: BTreeSet<Digest> = self.store.containers()?.into_iter().map(|it| it.image).collect();
        let names = self.store.names()?;
        let named: BTreeSet<Digest> = names.iter().flat_map(|(_, name)| &name.images).map(|image| image.id).collect();
        for image in self.store.images()? {
            let is_spared = used.contains(&image.id) || (named.contains(&image.id) && !request.all);
            if is_spared || !request.wants(&image)? {
                continue;
            }
            let names = self.store.remove_images(None, &[image.id])?;
            pruned.images.extend(names.into_iter().map(Removed::Name));
            pruned.images.push(Removed::Image(image.id));
        }
        if !pruned.images.is_empty() {
            let collected = self.store.collect(|writer| cache::prune(writer, |_| true))?;
            pruned.reclaimed_bytes =
                collected.layers.iter().map(|layer| layer.size_bytes).sum::<u64>() + collected.blob_bytes;
        }
        Ok(pruned)
    }

    fn is_running(&self, container: &ContainerRecord) -> bool {
        container.state == ContainerState::Running && self.store.is_container_held(&container.id)
    }
}

/// Returns the ids of the records that images in use and containers need.
fn needed_records(images: &[&ImageRecord], containers: &[ContainerRecord]) -> BTreeSet<String> {
    let of_images = images.iter().flat_map(|image| image.local_layers());
    let layers = of_images.chain(containers.iter().flat_map(|container| &container.layers));
    let origins = images.iter().flat_map(|image| &image.layers).filter_map(|layer| layer.origin.as_ref());
    layers.map(|layer| layer.id.to_string()).chain(origins.map(|origin| origin.blob.digest.hex())).collect()
}
