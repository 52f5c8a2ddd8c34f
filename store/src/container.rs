//! The records of containers. A container names its layers, so that no collection takes them from it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use oci::{Digest, Timestamp};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::database::{Reader, Table, Writer};
use crate::draft::{discard, list};
use crate::epoch::is_at;
use crate::{ContainerId, LayerId, LayerRecord, Store, StoreError, fault};

/// Containers by id.
const CONTAINERS: Table = Table(b'C');

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// The container.
    pub id: ContainerId,
    /// The image that it was made of.
    pub image: Digest,
    /// What the user called that image.
    pub image_name: String,
    /// The image's layers, the lowest first.
    pub layers: Vec<LayerRecord>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Whether it goes away when it ends.
    pub remove: bool,
    /// How far it has come.
    pub state: ContainerState,
}

/// How far a container has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    /// It runs, as long as somebody holds the lock of its directory; else its process was killed with the one that watched it.
    Running,
    /// It ended.
    Exited {
        /// By Docker's rules: the code of its process, or 128 and the signal that ended it.
        code: i32,
        /// When.
        at: Timestamp,
    },
}

impl Store {
    /// Makes a container's directory and records the container. This process watches over it until what is returned is dropped, or the process dies.
    pub fn create_container(&self, record: &ContainerRecord) -> Result<File, StoreError> {
        let dir = self.container_dir(&record.id);
        let lock = loop {
            std::fs::create_dir(&dir).map_err(StoreError::file("create", &dir))?;
            fault::point("container.made").map_err(StoreError::file("create", &dir))?;
            // Before it is locked, a collection may take it for that of a process that died.
            let lock = match File::open(&dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                lock => lock.map_err(StoreError::file("open", &dir))?,
            };
            // Before the record: nobody may see a running container that no one watches over.
            flock(&lock, FlockOperation::LockExclusive).map_err(StoreError::file("lock", &dir))?;
            if is_at(&lock, &dir)? {
                break lock;
            }
        };
        self.put_container(record)?;
        Ok(lock)
    }

    /// Removes the directories of containers that were never recorded, because whoever made them died.
    pub(crate) fn discard_orphaned_containers(&self) -> Result<(), StoreError> {
        for dir in list(&self.layout().containers())? {
            let id = dir.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            let Some(id) = id else { continue };
            // Held until it is gone: its maker sees then that it has to make another one.
            let Ok(lock) = File::open(&dir) else { continue };
            let is_free = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
            if is_free
                && self.meta().read(|reader| Ok(reader.get(CONTAINERS, ContainerId::as_bytes(&id))?.is_none()))?
            {
                discard(self.layout(), &dir)?;
            }
        }
        Ok(())
    }

    /// Records how far a container has come.
    pub fn put_container(&self, record: &ContainerRecord) -> Result<(), StoreError> {
        self.meta().write(|writer| writer.put_record(CONTAINERS, record.id.as_bytes(), record))
    }

    /// Tells whether any process watches over a container.
    pub fn is_container_held(&self, id: &ContainerId) -> bool {
        let lock = File::open(self.container_dir(id));
        lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockShared).is_err())
    }

    /// Returns all containers, sorted by id.
    pub fn containers(&self) -> Result<Vec<ContainerRecord>, StoreError> {
        self.meta().read(records)
    }

    /// Removes a container that does not run, with all that it wrote.
    pub fn remove_container(&self, id: &ContainerId) -> Result<(), StoreError> {
        discard(self.layout(), &self.container_dir(id))?;
        fault::point("container.discarded").map_err(StoreError::file("remove", &self.container_dir(id)))?;
        self.meta().write(|writer| writer.delete(CONTAINERS, id.as_bytes()).map(|_| ()))
    }

    /// Returns the directory of a container: `upper` and `work` of its overlay, and its own files.
    pub fn container_dir(&self, id: &ContainerId) -> PathBuf {
        self.layout().container(id)
    }
}

fn records(reader: &Reader<'_>) -> Result<Vec<ContainerRecord>, StoreError> {
    Ok(reader.records(CONTAINERS)?.into_iter().map(|(_, record)| record).collect())
}

/// Returns the layers that containers need.
pub(crate) fn referenced_layers(reader: &Reader<'_>) -> Result<BTreeSet<LayerId>, StoreError> {
    Ok(records(reader)?.iter().flat_map(|container| &container.layers).map(|layer| layer.id).collect())
}

/// Returns the images that containers were made of.
pub(crate) fn referenced_images(writer: &Writer<'_, '_>) -> Result<BTreeSet<Digest>, StoreError> {
    let containers = writer.reader().records::<ContainerRecord>(CONTAINERS)?;
    Ok(containers.into_iter().map(|(_, container)| container.image).collect())
}
