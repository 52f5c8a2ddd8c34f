//! Reading what others wrote: Docker archives and OCI layouts, as a tar or a directory.
//!
//! Every file of the bundle becomes a blob of the store, since it is most often one anyway: nothing is written twice. What looks like a layer is unpacked while it is read: which
//! image needs it stands at the end of many bundles. What no image needs goes with the next collection.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use executor::{Ladder, Tee};

use frontend::known::ImageQuery;
use frontend::request::NamedContext;
use layer::compression::{Compression, Decoder};
use layer::tar::{Limits, MemberKind, Reader, is_archive};
use oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Reference, Timestamp, media_type};
use serde::Deserialize;
use store::{ImageRecord, NameRecord, NamedImage, Store};
use tokio_util::sync::CancellationToken;

use super::fetch::{RemoteImage, image_record};
use crate::build::BuildRequest;
use crate::event_sink::EventSink;
use crate::pieces::{Until, copy};
use crate::{Engine, Error};

const ANNOTATION_NAME: &str = "io.containerd.image.name";
const ANNOTATION_REFERENCE: &str = "org.opencontainers.image.ref.name";
/// How much of a file is looked at to see whether it is a layer: the first header of a tar.
const START_BYTES: u64 = 512;
/// The longest manifest, index or config that is read.
const JSON_BYTES_MAX: u64 = 64 << 20;
/// How deep indexes may be nested.
const INDEX_DEPTH_MAX: usize = 8;

/// Where a bundle is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundlePlace {
    /// A tar, compressed or not, or a directory.
    Path(PathBuf),
    /// A tar on standard input.
    Stdin,
}

/// An image that was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its names.
    pub names: Vec<Reference>,
    /// Its id; of several for one name, each platform's.
    pub ids: Vec<Digest>,
}

/// The files of a bundle, as blobs of the store.
struct Bundle {
    store: Store,
    /// What messages call it.
    name: String,
    /// The digests of its files by their paths.
    files: BTreeMap<String, Digest>,
    /// What unpacks layers while they are read, if all that is in the bundle is wanted.
    ladder: Option<Arc<Ladder>>,
    /// Ends the reading.
    cancel: CancellationToken,
}

/// A line of Docker's `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// An image of a bundle with its names.
struct Entry {
    images: Vec<ImageRecord>,
    names: Vec<Reference>,
}

impl Engine {
    /// Loads all images of a bundle, under the names that they have in it.
    pub async fn load(
        &self,
        place: &BundlePlace,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<Vec<Loaded>, Error> {
        let _epoch = self.store.hold_epoch()?;
        let (place, until) = (place.clone(), cancel.clone());
        let (store, ladder) = (self.store.clone(), self.ladder.clone());
        let entries = tokio::task::spawn_blocking(move || Bundle::read(store, Some(ladder), &place, until)?.entries());
        let entries = entries.await.map_err(|error| Error::Bug(error.to_string()))??;
        let mut loaded = Vec::with_capacity(entries.len());
        for entry in entries {
            let mut images = Vec::with_capacity(entry.images.len());
            for image in entry.images {
                let step = Digest::of(b"load");
                images.push(self.complete(image, step, events, cancel).await?);
            }
            let named = images.iter().map(|image| NamedImage { platform: image.platform.clone(), id: image.id });
            let record = NameRecord { images: named.collect(), digest: None, updated: Timestamp::now() };
            let names: Vec<(Reference, NameRecord)> =
                entry.names.iter().map(|name| (name.clone(), record.clone())).collect();
            self.store.put_images(&images, &names)?;
            loaded.push(Loaded { names: entry.names, ids: images.iter().map(|image| image.id).collect() });
        }
        Ok(loaded)
    }

    /// Returns a base that is in the OCI layout of a named context.
    pub(crate) fn layout_image(
        &self,
        name: &str,
        query: &ImageQuery,
        request: &BuildRequest,
    ) -> Result<RemoteImage, Error> {
        let context = request.contexts.get(name).and_then(|value| value.parse::<NamedContext>().ok());
        let Some(NamedContext::Layout { path, tag, digest }) = context else {
            return Err(Error::Bug(format!("the named context `{name}` is not a layout")));
        };
        let place = BundlePlace::Path(PathBuf::from(&path));
        let bundle = Bundle::read(self.store.clone(), None, &place, CancellationToken::new())?;
        let is_wanted = |descriptor: &Descriptor| {
            let reference = descriptor.annotations.get(ANNOTATION_REFERENCE);
            let tagged = tag.as_ref().is_none_or(|tag| reference == Some(tag));
            tagged && digest.is_none_or(|digest| descriptor.digest == digest)
        };
        let index: Index = bundle.json("index.json")?;
        let Some(found) = index.manifests.iter().find(|descriptor| is_wanted(descriptor)) else {
            return Err(bundle.broken("no image in it has that tag or digest"));
        };
        let manifests = bundle.manifests(found, 0)?;
        let ranked = manifests
            .into_iter()
            .filter_map(|(descriptor, image)| Some((query.platform.rank(&image.platform)?, descriptor, image)));
        let Some((_, descriptor, image)) = ranked.min_by_key(|(rank, ..)| *rank) else {
            return Err(bundle.broken(&format!("no image in it is for {}", query.platform)));
        };
        self.store.put_images(std::slice::from_ref(&image), &[])?;
        Ok(RemoteImage { digest: found.digest, manifest: descriptor.digest, image })
    }
}

impl Bundle {
    fn read(
        store: Store,
        ladder: Option<Arc<Ladder>>,
        place: &BundlePlace,
        cancel: CancellationToken,
    ) -> Result<Self, Error> {
        let name = match place {
            BundlePlace::Stdin => "-".to_owned(),
            BundlePlace::Path(path) => path.display().to_string(),
        };
        let mut bundle = Self { store, name, files: BTreeMap::new(), ladder, cancel };
        let read = match place {
            BundlePlace::Stdin => bundle.add_tar(Box::new(io::stdin())),
            BundlePlace::Path(path) if path.is_dir() => bundle.add_directory(path, "", 0),
            BundlePlace::Path(path) => {
                let opened = File::open(path).map_err(Error::file("open", path));
                opened.and_then(|file| bundle.add_tar(Box::new(file)))
            }
        };
        if bundle.cancel.is_cancelled() { Err(Error::Cancelled) } else { read.map(|()| bundle) }
    }

    fn add_tar(&mut self, stream: Box<dyn Read + Send>) -> Result<(), Error> {
        let path = PathBuf::from(&self.name);
        let stream = Until { stream, cancel: self.cancel.clone() };
        let decoder = Decoder::new(stream).map_err(Error::file("read", &path))?;
        let mut reader = Reader::new(decoder, Limits::default());
        let mut links = Vec::new();
        let broken = |bundle: &Self, error: layer::tar::TarError| bundle.broken(&error.to_string());
        loop {
            let member = match reader.next() {
                Ok(Some(member)) => member,
                Ok(None) => break,
                Err(error) => return Err(broken(self, error)),
            };
            let name = clean(&member.name);
            match member.kind {
                MemberKind::File { .. } => {
                    let digest = self.add(&name, &mut reader.content())?;
                    self.files.insert(name, digest);
                }
                MemberKind::Symlink { target } | MemberKind::HardLink { target } => links.push((name, target)),
                _ => {}
            }
        }
        // Older Dockers write equal layers once, with links to them.
        for (name, target) in links {
            let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
            let relative = clean(format!("{parent}/{}", String::from_utf8_lossy(&target)).as_bytes());
            let target = self.files.get(&relative).or_else(|| self.files.get(&clean(&target))).copied();
            if let Some(digest) = target {
                self.files.insert(name, digest);
            }
        }
        self.check()
    }

    fn add_directory(&mut self, directory: &Path, prefix: &str, depth: usize) -> Result<(), Error> {
        for entry in fs::read_dir(directory).map_err(Error::file("read", directory))? {
            let entry = entry.map_err(Error::file("read", directory))?;
            let (path, name) = (entry.path(), format!("{prefix}{}", entry.file_name().to_string_lossy()));
            if path.is_dir() && depth < INDEX_DEPTH_MAX {
                self.add_directory(&path, &format!("{name}/"), depth + 1)?;
            } else if path.is_file() {
                let file = File::open(&path).map_err(Error::file("open", &path))?;
                let digest = self.add(&name, &mut Until { stream: file, cancel: self.cancel.clone() })?;
                self.files.insert(name, digest);
            }
        }
        if depth == 0 { self.check() } else { Ok(()) }
    }

    fn add(&self, name: &str, mut content: &mut (dyn Read + Send)) -> Result<Digest, Error> {
        let path = PathBuf::from(&self.name);
        let mut start = Vec::new();
        (&mut content).take(START_BYTES).read_to_end(&mut start).map_err(Error::file("read", &path))?;
        let compression = Compression::detect(&start);
        let looks_like_layer = compression != Compression::None || is_archive(start.as_slice());
        let mut whole = Tee::new(io::Cursor::new(start).chain(content), self.store.blob_writer()?);
        let ladder = self.ladder.as_ref().filter(|_| looks_like_layer && !self.has_blob(name));
        // What is wrong with it is said when an image needs it.
        let unpacked = ladder.and_then(|ladder| executor::unpack_ahead(&self.store, ladder, &mut whole).ok());
        copy(&mut whole, &mut io::sink()).map_err(Error::file("read", &path))?;
        let (digest, size_bytes) = whole.into_blob().commit_any()?;
        if let Some(unpacked) = unpacked {
            unpacked.record_once(&self.store, Descriptor::new(layer_type(compression), digest, size_bytes))?;
        }
        Ok(digest)
    }

    /// Tells whether a file is named by the digest of a blob that the store has: then it has the layer too, most likely.
    fn has_blob(&self, name: &str) -> bool {
        let digest = name.strip_prefix("blobs/sha256/").and_then(Digest::from_hex);
        digest.is_some_and(|digest| self.store.open_blob(&digest).is_ok_and(|blob| blob.is_some()))
    }

    /// Files whose names are digests must be what they are named.
    fn check(&self) -> Result<(), Error> {
        for (name, digest) in &self.files {
            let Some(expected) = name.strip_prefix("blobs/sha256/").and_then(Digest::from_hex) else { continue };
            if expected != *digest {
                let reason = format!("corrupt: its content is {digest}");
                return Err(Error::ArchiveBlob { name: self.name.clone(), digest: expected, reason });
            }
        }
        Ok(())
    }

    fn entries(&self) -> Result<Vec<Entry>, Error> {
        if self.files.contains_key("manifest.json") {
            return self.docker_entries();
        }
        if self.files.contains_key("index.json") {
            return self.layout_entries();
        }
        Err(self.broken("it has neither a `manifest.json` nor an `index.json`"))
    }

    fn docker_entries(&self) -> Result<Vec<Entry>, Error> {
        let manifests: Vec<DockerManifest> = self.json("manifest.json")?;
        let mut entries = Vec::with_capacity(manifests.len());
        for docker in manifests {
            let (text, config) = self.config(&docker.config)?;
            let mut layers = Vec::new();
            for path in docker.layers.unwrap_or_default() {
                layers.push(self.descriptor(&clean(path.as_bytes()))?);
            }
            let descriptor = Descriptor::of(media_type::OCI_CONFIG, text.as_bytes());
            let manifest = Manifest {
                schema_version: oci::manifest::SCHEMA_VERSION,
                media_type: None,
                config: descriptor,
                layers,
                annotations: BTreeMap::new(),
            };
            let mut image = image_record(&manifest, String::new(), &config, text, None);
            image.manifest = None;
            let names = docker.repo_tags.unwrap_or_default();
            let names = names.iter().map(|name| self.name(name)).collect::<Result<Vec<_>, Error>>()?;
            entries.push(Entry { images: vec![image], names });
        }
        Ok(entries)
    }

    fn layout_entries(&self) -> Result<Vec<Entry>, Error> {
        let index: Index = self.json("index.json")?;
        let mut by_digest: BTreeMap<Digest, Entry> = BTreeMap::new();
        for descriptor in &index.manifests {
            let entry = match by_digest.entry(descriptor.digest) {
                Slot::Occupied(entry) => entry.into_mut(),
                Slot::Vacant(slot) => {
                    let images = self.manifests(descriptor, 0)?.into_iter().map(|(_, image)| image).collect();
                    slot.insert(Entry { images, names: Vec::new() })
                }
            };
            entry.names.extend(self.layout_name(descriptor)?);
        }
        let entries: Vec<Entry> = by_digest.into_values().filter(|entry| !entry.images.is_empty()).collect();
        if entries.is_empty() { Err(self.broken("there is no image in it")) } else { Ok(entries) }
    }

    /// Returns the name of an image in a layout: a whole one, or a reference that has more than a tag.
    fn layout_name(&self, descriptor: &Descriptor) -> Result<Option<Reference>, Error> {
        if let Some(name) = descriptor.annotations.get(ANNOTATION_NAME) {
            return self.name(name).map(Some);
        }
        match descriptor.annotations.get(ANNOTATION_REFERENCE) {
            Some(name) if name.contains(['/', ':']) => self.name(name).map(Some),
            _ => Ok(None),
        }
    }

    /// Returns the images that a descriptor leads to, each with the descriptor of its manifest. Those of which a blob is missing are left out of an index.
    fn manifests(&self, descriptor: &Descriptor, depth: usize) -> Result<Vec<(Descriptor, ImageRecord)>, Error> {
        let path = blob_path(&descriptor.digest);
        if media_type::is_index(&descriptor.media_type) {
            if depth == INDEX_DEPTH_MAX {
                return Err(self.broken("its indexes are nested too deeply"));
            }
            let index: Index = self.json(&path)?;
            let mut images = Vec::new();
            for inner in &index.manifests {
                let is_attestation = inner.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
                if !is_attestation && self.files.contains_key(&blob_path(&inner.digest)) {
                    images.extend(self.manifests(inner, depth + 1)?);
                }
            }
            return Ok(images);
        }
        if !media_type::is_manifest(&descriptor.media_type) {
            return Ok(Vec::new());
        }
        let text = self.text(&path)?;
        let manifest: Manifest = self.parse("manifest", &text)?;
        let (config_text, config) = self.config(&blob_path(&manifest.config.digest))?;
        for layer in &manifest.layers {
            self.descriptor(&blob_path(&layer.digest))?;
        }
        Ok(vec![(descriptor.clone(), image_record(&manifest, text, &config, config_text, None))])
    }

    fn config(&self, path: &str) -> Result<(String, ImageConfig), Error> {
        let text = self.text(&clean(path.as_bytes()))?;
        let config = self.parse("config", &text)?;
        Ok((text, config))
    }

    /// Describes a layer, compressed or not.
    fn descriptor(&self, path: &str) -> Result<Descriptor, Error> {
        let digest = self.digest(path)?;
        let missing = || self.broken(&format!("`{path}` is missing"));
        let mut file = self.store.open_blob(&digest)?.ok_or_else(missing)?;
        let size_bytes = file.metadata().map_err(Error::file("look at", Path::new(path)))?.len();
        let mut start = [0; 16];
        let length = file.read(&mut start).map_err(Error::file("read", Path::new(path)))?;
        Ok(Descriptor::new(layer_type(Compression::detect(&start[..length])), digest, size_bytes))
    }

    fn digest(&self, path: &str) -> Result<Digest, Error> {
        self.files.get(path).copied().ok_or_else(|| self.broken(&format!("`{path}` is missing")))
    }

    fn text(&self, path: &str) -> Result<String, Error> {
        let digest = self.digest(path)?;
        let missing = || self.broken(&format!("`{path}` is missing"));
        let file = self.store.open_blob(&digest)?.ok_or_else(missing)?;
        let mut text = String::new();
        file.take(JSON_BYTES_MAX).read_to_string(&mut text).map_err(Error::file("read", Path::new(path)))?;
        Ok(text)
    }

    fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.parse("index", &self.text(path)?)
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, what: &'static str, text: &str) -> Result<T, Error> {
        serde_json::from_str(text).map_err(|source| Error::Malformed { what, name: self.name.clone(), source })
    }

    fn name(&self, text: &str) -> Result<Reference, Error> {
        text.parse().map_err(|source| Error::Name { name: text.to_owned(), source })
    }

    fn broken(&self, reason: &str) -> Error {
        Error::Archive { name: self.name.clone(), reason: reason.to_owned() }
    }
}

fn layer_type(compression: Compression) -> &'static str {
    match compression {
        Compression::Gzip => media_type::OCI_LAYER_GZIP,
        Compression::Zstd => media_type::OCI_LAYER_ZSTD,
        _ => media_type::OCI_LAYER,
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Returns a path of a tar without `.`, `..` and empty parts.
fn clean(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
