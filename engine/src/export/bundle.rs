//! OCI layouts and Docker archives. Both are written as one: an OCI layout with a `manifest.json`, as `docker save` writes it, which every client reads.

use std::collections::{BTreeMap, BTreeSet};

use oci::reference::DEFAULT_TAG;
use oci::{Descriptor, Digest, Index, Manifest, Reference, Timestamp, media_type};
use serde::Serialize;
use store::{ImageRecord, LayerRecord, Store};
use tokio_util::sync::CancellationToken;

use super::annotation::{Annotation, AnnotationLevel, annotations_of};
use super::archive::Sink;
use super::blob::{Checked, Compression, known_blob, layer_blob, rewritten_blob};
use super::output::{BundleKind, BundleOutput, EpochChoice};
use super::{ExportRequest, own_names};
use crate::image::config_of;
use crate::pieces::Until;
use crate::{Engine, Error};

const LAYOUT_VERSION: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// The annotation that containerd reads a whole name from.
const ANNOTATION_NAME: &str = "io.containerd.image.name";
/// The annotation that OCI has for the name within a layout.
const ANNOTATION_REFERENCE: &str = "org.opencontainers.image.ref.name";
/// The annotation by which BuildKit says of a layer that its files have no time later than this one, in seconds.
const ANNOTATION_REWRITTEN: &str = "buildkit/rewritten-timestamp";

/// Images for several platforms that have the same names.
pub(crate) struct BundleImage<'a> {
    /// One for each platform.
    pub(crate) images: Vec<&'a ImageRecord>,
    /// The names.
    pub(crate) names: Vec<Reference>,
}

/// A line of Docker's `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

impl Engine {
    pub(crate) async fn export_bundle(
        &self,
        export: &ExportRequest<'_>,
        output: &BundleOutput,
        cancel: &CancellationToken,
    ) -> Result<Descriptor, Error> {
        let several = export.images.len() > 1;
        if several && output.kind == BundleKind::Docker {
            let reason = "docker exporter does not support exporting manifest lists; use type=oci".to_owned();
            return Err(Error::Output { reason });
        }
        let is_of_index =
            |it: &&Annotation| matches!(it.level, AnnotationLevel::Index | AnnotationLevel::IndexDescriptor);
        if let Some(annotation) = output.annotations.iter().find(is_of_index).filter(|_| !several) {
            let reason = "index annotations not supported for single platform export";
            return Err(Error::Output { reason: format!("{reason}: `{}`", annotation.key) });
        }
        let (store, output, cancel) = (self.store.clone(), output.clone(), cancel.clone());
        let (images, names) = (export.images.to_vec(), own_names(export, &output.names).to_vec());
        let epoch = match output.epoch {
            EpochChoice::OfBuild => export.epoch,
            EpochChoice::None => None,
            EpochChoice::At(time) => Some(time),
        };
        let latest = epoch.filter(|_| output.rewrite_timestamp);
        let written = tokio::task::spawn_blocking(move || {
            let bundle = [BundleImage { images: images.iter().collect(), names }];
            write_bundle(&store, &bundle, (&output, latest), &cancel)
        });
        let mut descriptors = written.await.map_err(|error| Error::Bug(error.to_string()))??;
        descriptors.pop().ok_or_else(|| Error::Bug("a bundle was written without an image".to_owned()))
    }
}

/// Writes images and returns the descriptors of their manifests, or of the indexes of those with several.
///
/// With `latest`, no file of a layer that was made here is later than that; such layers, and images with them, are others then.
pub(crate) fn write_bundle(
    store: &Store,
    bundle: &[BundleImage<'_>],
    (output, latest): (&BundleOutput, Option<Timestamp>),
    cancel: &CancellationToken,
) -> Result<Vec<Descriptor>, Error> {
    let mut writer = BundleWriter::new(store, (output, latest), cancel)?;
    let written = bundle.iter().map(|image| writer.image(image)).collect::<Result<Vec<_>, Error>>();
    // What goes wrong with a stream once it is cancelled follows from that.
    let descriptors = written.map_err(|error| if cancel.is_cancelled() { Error::Cancelled } else { error })?;
    writer.indexes()?;
    writer.sink.finish().map(|()| descriptors)
}

struct BundleWriter<'a> {
    store: &'a Store,
    compression: Compression,
    force: bool,
    latest: Option<Timestamp>,
    kind: BundleKind,
    annotations: &'a [Annotation],
    cancel: &'a CancellationToken,
    sink: Sink,
    manifests: Vec<Descriptor>,
    docker: Vec<DockerManifest>,
    written: BTreeSet<Digest>,
    elsewhere: &'a BTreeSet<Digest>,
}

impl<'a> BundleWriter<'a> {
    fn new(
        store: &'a Store,
        (output, latest): (&'a BundleOutput, Option<Timestamp>),
        cancel: &'a CancellationToken,
    ) -> Result<Self, Error> {
        let mut sink = Sink::open(&output.destination)?;
        for directory in ["blobs", "blobs/sha256"] {
            sink.directory(directory)?;
        }
        let BundleOutput { compression, force_compression: force, kind, .. } = *output;
        let (manifests, docker, written) = (Vec::new(), Vec::new(), Default::default());
        let (annotations, elsewhere) = (&output.annotations, &output.elsewhere);
        Ok(Self {
            store,
            compression,
            force,
            latest,
            kind,
            annotations,
            cancel,
            sink,
            manifests,
            docker,
            written,
            elsewhere,
        })
    }

    fn image(&mut self, image: &BundleImage<'_>) -> Result<Descriptor, Error> {
        let mut described = Vec::with_capacity(image.images.len());
        for record in &image.images {
            let descriptor = self.manifest(record, &image.names)?;
            let annotations =
                annotations_of(self.annotations, AnnotationLevel::ManifestDescriptor, Some(&record.platform));
            described.push(Descriptor { platform: Some(record.platform.clone()), annotations, ..descriptor });
        }
        let descriptor = match described.as_slice() {
            [single] => single.clone(),
            _ => {
                let index = Index {
                    schema_version: oci::manifest::SCHEMA_VERSION,
                    media_type: Some(media_type::OCI_INDEX.to_owned()),
                    manifests: described,
                    annotations: annotations_of(self.annotations, AnnotationLevel::Index, None),
                };
                let annotations = annotations_of(self.annotations, AnnotationLevel::IndexDescriptor, None);
                Descriptor { annotations, ..self.json(media_type::OCI_INDEX, &index)? }
            }
        };
        self.name(&descriptor, &image.names);
        Ok(Descriptor { platform: None, ..descriptor })
    }

    /// Writes an image's layers, config and manifest.
    fn manifest(&mut self, image: &ImageRecord, names: &[Reference]) -> Result<Descriptor, Error> {
        let (mut layers, mut diff_ids) = (Vec::with_capacity(image.layers.len()), Vec::new());
        for layer in &image.layers {
            if self.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let unavailable = || executor::ExecError::LayerUnavailable { diff_id: layer.diff_id };
            let record = layer.layer.as_ref().ok_or_else(unavailable)?;
            if let Some(known) = self.blob_elsewhere(record)? {
                diff_ids.push(layer.diff_id);
                layers.push(known);
                continue;
            }
            let room = self.sink.room()?;
            let (mut blob, diff_id) = match self.latest.filter(|_| record.origin.is_none()) {
                Some(latest) => {
                    rewritten_blob(self.store, record, self.compression, latest, room.as_ref(), self.cancel)?
                }
                None => {
                    let how = (self.compression, self.force);
                    (layer_blob(self.store, record, how, room.as_ref(), self.cancel)?, layer.diff_id)
                }
            };
            diff_ids.push(diff_id);
            let mut descriptor = blob.descriptor.clone();
            if let Some(room) = room.filter(|_| blob.is_in_place()) {
                match self.written.insert(descriptor.digest) {
                    true => room.keep(&blob_path(&descriptor), descriptor.size_bytes)?,
                    false => room.discard()?,
                }
            } else {
                let written = match blob.is_known {
                    true => self.blob(&descriptor, &mut blob),
                    false => self.blob(&descriptor, &mut Checked::new(&mut blob, &descriptor)),
                };
                blob.finish(written)?;
            }
            if let Some(latest) = self.latest.filter(|_| record.origin.is_none()) {
                descriptor.annotations.insert(ANNOTATION_REWRITTEN.to_owned(), latest.unix_seconds().to_string());
            }
            layers.push(descriptor);
        }
        let text = match self.latest {
            Some(_) => {
                let mut config = config_of(image)?;
                config.rootfs.diff_ids = diff_ids;
                serde_json::to_string(&config).map_err(|error| Error::Bug(error.to_string()))?
            }
            None => image.config.clone(),
        };
        let config = Descriptor::of(media_type::OCI_CONFIG, text.as_bytes());
        self.blob(&config, &mut text.as_bytes())?;
        let tags: Vec<String> = names.iter().map(Reference::familiar).collect();
        self.docker.push(DockerManifest {
            config: blob_path(&config),
            repo_tags: (!tags.is_empty()).then_some(tags),
            layers: (!layers.is_empty()).then(|| layers.iter().map(blob_path).collect()),
        });
        let annotations = annotations_of(self.annotations, AnnotationLevel::Manifest, Some(&image.platform));
        let is_as_pulled = self.latest.is_none() && annotations.is_empty();
        if let Some(pulled) = unchanged_manifest(image, &layers).filter(|_| is_as_pulled) {
            let descriptor = Descriptor::of(media_type_of(&pulled), pulled.as_bytes());
            self.blob(&descriptor, &mut pulled.as_bytes())?;
            return Ok(descriptor);
        }
        let manifest = Manifest {
            schema_version: oci::manifest::SCHEMA_VERSION,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            config,
            layers,
            annotations,
        };
        self.json(media_type::OCI_MANIFEST, &manifest)
    }

    /// Returns the blob of a layer that was made before, where it is where the bundle goes.
    fn blob_elsewhere(&self, record: &LayerRecord) -> Result<Option<Descriptor>, Error> {
        if self.latest.is_some() {
            return Ok(None);
        }
        let is_there = |blob: &Descriptor| self.elsewhere.contains(&blob.digest) || self.sink.has(&blob_path(blob));
        Ok(known_blob(self.store, record, self.compression)?.filter(is_there))
    }

    /// Puts a manifest into the layout's index, once for each name.
    fn name(&mut self, descriptor: &Descriptor, names: &[Reference]) {
        for name in names {
            let mut named = descriptor.clone();
            named.annotations.insert(ANNOTATION_NAME.to_owned(), name.to_string());
            let tag = name.tag().unwrap_or(DEFAULT_TAG).to_owned();
            named.annotations.insert(ANNOTATION_REFERENCE.to_owned(), tag);
            self.manifests.push(named);
        }
        if names.is_empty() {
            self.manifests.push(descriptor.clone());
        }
    }

    fn json<T: Serialize>(&mut self, media_type: &str, value: &T) -> Result<Descriptor, Error> {
        let bytes = serde_json::to_vec(value).map_err(|error| Error::Bug(error.to_string()))?;
        let descriptor = Descriptor::of(media_type, &bytes);
        self.blob(&descriptor, &mut bytes.as_slice())?;
        Ok(descriptor)
    }

    fn blob(&mut self, descriptor: &Descriptor, content: &mut dyn std::io::Read) -> Result<(), Error> {
        let path = blob_path(descriptor);
        if !self.written.insert(descriptor.digest) || self.sink.has(&path) {
            return Ok(());
        }
        let mut content = Until { stream: content, cancel: self.cancel.clone() };
        self.sink.file(&path, descriptor.size_bytes, &mut content)
    }

    /// Writes what leads to the images. A layout that is there already keeps its other images.
    fn indexes(&mut self) -> Result<(), Error> {
        let mut manifests = std::mem::take(&mut self.manifests);
        if let Some(older) = self.sink.read("index.json").and_then(|text| serde_json::from_slice::<Index>(&text).ok()) {
            let is_replaced = |old: &Descriptor| {
                let name = |descriptor: &Descriptor| descriptor.annotations.get(ANNOTATION_NAME).cloned();
                manifests.iter().any(|new| new.digest == old.digest || (name(new).is_some() && name(new) == name(old)))
            };
            let kept: Vec<Descriptor> = older.manifests.into_iter().filter(|old| !is_replaced(old)).collect();
            manifests.splice(0..0, kept);
        }
        let index = Index {
            schema_version: oci::manifest::SCHEMA_VERSION,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            manifests,
            annotations: BTreeMap::new(),
        };
        let index = serde_json::to_vec(&index).map_err(|error| Error::Bug(error.to_string()))?;
        self.sink.file("index.json", index.len() as u64, &mut index.as_slice())?;
        if self.kind == BundleKind::Docker {
            let docker = serde_json::to_vec(&self.docker).map_err(|error| Error::Bug(error.to_string()))?;
            self.sink.file("manifest.json", docker.len() as u64, &mut docker.as_slice())?;
        }
        self.sink.file("oci-layout", LAYOUT_VERSION.len() as u64, &mut LAYOUT_VERSION.as_bytes())
    }
}

/// Returns where a blob is in a layout.
fn blob_path(descriptor: &Descriptor) -> String {
    format!("blobs/sha256/{}", descriptor.digest.hex())
}

/// Returns the manifest that an image was pulled with, if it still says what is exported: then the digest stays what it was at the registry.
fn unchanged_manifest(image: &ImageRecord, layers: &[Descriptor]) -> Option<String> {
    let text = image.manifest.clone()?;
    let manifest: Manifest = serde_json::from_str(&text).ok()?;
    let same = manifest.layers.iter().map(|layer| layer.digest).eq(layers.iter().map(|layer| layer.digest));
    (same && manifest.config.digest == image.id && config_of(image).is_ok()).then_some(text)
}

fn media_type_of(manifest: &str) -> &'static str {
    let is_docker = serde_json::from_str::<Manifest>(manifest)
        .ok()
        .and_then(|manifest| manifest.media_type)
        .is_some_and(|kind| kind == media_type::DOCKER_MANIFEST);
    if is_docker { media_type::DOCKER_MANIFEST } else { media_type::OCI_MANIFEST }
}
