//! Images to a registry: written as a layout first, so that every blob is compressed once and can be sent again where a connection broke.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use oci::{Descriptor, Digest, Index, Manifest, Reference, media_type};
use registry::{BlobSource, Client};
use serde::de::DeserializeOwned;
use store::ImageRecord;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::archive::Destination;
use super::blob::{Compression, known_blob};
use super::output::{BundleKind, BundleOutput, PushOutput, StoreOutput};
use super::{ExportRequest, own_names};
use crate::check::DAMAGES_MAX;
use crate::event_sink::{EventSink, OwnStep};
use crate::{Engine, Error};

/// How many blobs go out at the same time.
const BLOBS_PARALLEL_MAX: usize = 4;

/// A layout in the store that is removed with this.
struct Layout {
    directory: PathBuf,
    /// The blobs that it lacks, since the registries have them.
    there: BTreeSet<Digest>,
}

impl Drop for Layout {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next process that opens the store.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A blob of the layout, to be read from any place.
struct BlobFile(PathBuf);

impl BlobSource for BlobFile {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(&self.0)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }
}

impl Engine {
    /// Pushes what the store has under a name, for all of its platforms, and returns the descriptor of what the name then leads to at its registry.
    ///
    /// Nothing goes out before all of it was read and is what was recorded. Layers that are damaged are fetched again, where they can be.
    pub async fn push_name(
        &self,
        name: &Reference,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<Descriptor, Error> {
        let _epoch = self.store.hold_epoch()?;
        if self.images_of_name(name)?.is_empty() {
            return Err(Error::NoSuchImage { name: name.familiar() });
        }
        let step = events.step(format!("pushing {name}"));
        let pushed = self.push_whole(name, (&step, events), cancel).await;
        step.end(pushed)
    }

    async fn push_whole(
        &self,
        name: &Reference,
        step: (&OwnStep, &EventSink),
        cancel: &CancellationToken,
    ) -> Result<Descriptor, Error> {
        for _ in 0..DAMAGES_MAX {
            match self.push_images(name, step, cancel).await {
                Err(error) if self.mend(&error, step.1)? => {}
                pushed => return pushed,
            }
        }
        self.push_images(name, step, cancel).await
    }

    async fn push_images(
        &self,
        name: &Reference,
        (step, events): (&OwnStep, &EventSink),
        cancel: &CancellationToken,
    ) -> Result<Descriptor, Error> {
        let mut complete = Vec::new();
        // Anew each time: what was forgotten since is fetched.
        for image in self.images_of_name(name)? {
            complete.push(self.complete(image, step.digest(), events, cancel).await?);
        }
        let tags = std::slice::from_ref(name);
        let export = ExportRequest { images: &complete, snapshots: Vec::new(), tags, epoch: None, outputs: &[] };
        self.push(&export, (&StoreOutput::default(), &PushOutput::default()), step, cancel).await
    }

    /// Pushes the images under all names of the output, and returns the descriptor of what the names lead to.
    pub(crate) async fn push(
        &self,
        export: &ExportRequest<'_>,
        (output, push): (&StoreOutput, &PushOutput),
        step: &OwnStep,
        cancel: &CancellationToken,
    ) -> Result<Descriptor, Error> {
        let names = own_names(export, &output.names);
        if names.is_empty() {
            let reason = "tag is needed when pushing to registry: give one with -t or name=".to_owned();
            return Err(Error::Output { reason });
        }
        let there = tokio::select! {
            there = self.blobs_there(export, names, push.compression) => there?,
            () = cancel.cancelled() => return Err(Error::Cancelled),
        };
        let spares_some = !there.is_empty();
        match self.push_layout(export, (names, push), there, step, cancel).await {
            // A registry may have forgotten a blob since it was asked.
            Err(Error::Registry(_)) if spares_some => {
                self.push_layout(export, (names, push), BTreeSet::new(), step, cancel).await
            }
            pushed => pushed,
        }
    }

    async fn push_layout(
        &self,
        export: &ExportRequest<'_>,
        (names, push): (&[Reference], &PushOutput),
        there: BTreeSet<Digest>,
        step: &OwnStep,
        cancel: &CancellationToken,
    ) -> Result<Descriptor, Error> {
        let layout = Layout { directory: self.store.temporary_dir()?, there };
        let descriptor = {
            let _part = step.part("exporting manifest");
            let bundle = BundleOutput { elsewhere: layout.there.clone(), ..push.bundle(layout.directory.clone()) };
            self.export_bundle(export, &bundle, cancel).await?
        };
        for name in names {
            let _part = step.part(format!("pushing {name}"));
            tokio::select! {
                pushed = layout.push(&self.registry, name, &descriptor) => pushed?,
                () = cancel.cancelled() => return Err(Error::Cancelled),
            }
        }
        Ok(descriptor)
    }

    /// Returns the blobs of layers that were compressed before and that are in the repositories of all names: they need not be made again.
    async fn blobs_there(
        &self,
        export: &ExportRequest<'_>,
        names: &[Reference],
        compression: Compression,
    ) -> Result<BTreeSet<Digest>, Error> {
        let mut there = BTreeSet::new();
        let records = export.images.iter().flat_map(ImageRecord::local_layers);
        for record in records {
            let Some(blob) = known_blob(&self.store, record, compression)? else { continue };
            let mut is_everywhere = !there.contains(&blob.digest);
            for name in names {
                if is_everywhere {
                    // One that does not answer is not asked again and again: it is given all.
                    let Some(has_blob) = self.registry.has_blob(name, &blob).await else { return Ok(BTreeSet::new()) };
                    is_everywhere = has_blob;
                }
            }
            if is_everywhere {
                there.insert(blob.digest);
            }
        }
        Ok(there)
    }
}

impl PushOutput {
    fn bundle(&self, directory: PathBuf) -> BundleOutput {
        BundleOutput {
            force_compression: self.force_compression,
            rewrite_timestamp: self.rewrite_timestamp,
            epoch: self.epoch,
            annotations: self.annotations.clone(),
            ..BundleOutput::new(BundleKind::Oci, Destination::Directory(directory), self.compression)
        }
    }
}

impl Layout {
    /// Pushes what a descriptor leads to: what is named before what names it, as registries want it.
    async fn push(&self, client: &Client, name: &Reference, top: &Descriptor) -> Result<(), Error> {
        let several = if top.media_type == media_type::OCI_INDEX { self.json::<Index>(top)?.manifests } else { vec![] };
        let mut blobs = Vec::new();
        for manifest in if several.is_empty() { std::slice::from_ref(top) } else { &several } {
            let Manifest { config, layers, .. } = self.json(manifest)?;
            // A layer that has its own address stays there.
            blobs.extend(layers.into_iter().filter(|it| it.urls.is_empty() && !self.there.contains(&it.digest)));
            blobs.push(config);
        }
        self.push_blobs(client, name, blobs).await?;
        for manifest in &several {
            let bytes = self.bytes(manifest)?;
            client.push_manifest(&name.at(manifest.digest), &manifest.media_type, bytes.into()).await?;
        }
        client.push_manifest(name, &top.media_type, self.bytes(top)?.into()).await?;
        Ok(())
    }

    async fn push_blobs(&self, client: &Client, name: &Reference, mut blobs: Vec<Descriptor>) -> Result<(), Error> {
        blobs.sort_by_key(|blob| blob.digest);
        blobs.dedup_by_key(|blob| blob.digest);
        // Dropped on the first error, which ends the others.
        let mut running = JoinSet::new();
        for blob in blobs {
            if running.len() >= BLOBS_PARALLEL_MAX {
                joined(running.join_next().await)?;
            }
            let (client, name) = (client.clone(), name.clone());
            let source = Arc::new(BlobFile(self.path(&blob)));
            running.spawn(async move { client.push_blob(&name, &blob, source, None).await });
        }
        while let Some(ended) = running.join_next().await {
            joined(Some(ended))?;
        }
        Ok(())
    }

    fn path(&self, blob: &Descriptor) -> PathBuf {
        self.directory.join("blobs/sha256").join(blob.digest.hex())
    }

    fn bytes(&self, blob: &Descriptor) -> Result<Vec<u8>, Error> {
        let path = self.path(blob);
        fs::read(&path).map_err(Error::file("read", &path))
    }

    fn json<T: DeserializeOwned>(&self, blob: &Descriptor) -> Result<T, Error> {
        serde_json::from_slice(&self.bytes(blob)?).map_err(|error| Error::Bug(error.to_string()))
    }
}

type Ended = Result<Result<registry::Pushed, registry::Error>, tokio::task::JoinError>;

fn joined(ended: Option<Ended>) -> Result<(), Error> {
    match ended {
        Some(Ok(pushed)) => Ok(pushed.map(|_| ())?),
        Some(Err(error)) => Err(Error::Bug(error.to_string())),
        None => Ok(()),
    }
}
