//! Tiny images: layers from names and texts, a config, a manifest, an index.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use oci::manifest::SCHEMA_VERSION;
use oci::{ContainerConfig, Descriptor, Digest, ImageConfig, Index, Manifest, Platform, RootFs, media_type};

use super::server::Registry;

/// An image with all its blobs.
#[derive(Clone, Debug)]
pub struct Image {
    /// What it runs on.
    pub platform: Platform,
    /// The config's bytes.
    pub config: Vec<u8>,
    /// The layers, compressed with gzip, the lowest first.
    pub layers: Vec<Vec<u8>>,
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
}

/// Makes an image for this machine; each layer is a list of paths and contents, and a path that ends with `/` is a directory.
pub fn image(layers: &[&[(&str, &str)]]) -> Image {
    image_for(&Platform::host(), layers)
}

/// Makes an image for `platform`.
pub fn image_for(platform: &Platform, layers: &[&[(&str, &str)]]) -> Image {
    let tars: Vec<Vec<u8>> = layers.iter().map(|entries| tar(entries)).collect();
    let rootfs = RootFs { diff_ids: tars.iter().map(|tar| Digest::of(tar)).collect(), ..RootFs::default() };
    let config = ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        config: ContainerConfig { env: vec!["PATH=/usr/bin:/bin".to_owned()], ..ContainerConfig::default() },
        rootfs,
        ..ImageConfig::default()
    };
    let config = json(&config);
    let layers: Vec<Vec<u8>> = tars.iter().map(|tar| gzip(tar)).collect();
    let manifest = Manifest {
        schema_version: SCHEMA_VERSION,
        media_type: Some(media_type::OCI_MANIFEST.to_owned()),
        config: Descriptor::of(media_type::OCI_CONFIG, &config),
        layers: layers.iter().map(|layer| Descriptor::of(media_type::OCI_LAYER_GZIP, layer)).collect(),
        annotations: Default::default(),
    };
    Image { platform: platform.clone(), manifest: json(&manifest), config, layers }
}

impl Image {
    /// Stores the image under `tag`, or only under its digest where that is empty.
    pub fn push(&self, registry: &Registry, repository: &str, tag: &str) -> Descriptor {
        registry.put_blob(repository, media_type::OCI_CONFIG, self.config.clone());
        for layer in &self.layers {
            registry.put_blob(repository, media_type::OCI_LAYER_GZIP, layer.clone());
        }
        registry.put_manifest(repository, tag, media_type::OCI_MANIFEST, self.manifest.clone())
    }

    /// Describes the manifest.
    pub fn descriptor(&self) -> Descriptor {
        let platform = Some(self.platform.clone());
        Descriptor { platform, ..Descriptor::of(media_type::OCI_MANIFEST, &self.manifest) }
    }
}

/// Stores several images under one tag.
pub fn index(images: &[Image], registry: &Registry, repository: &str, tag: &str) -> Descriptor {
    for image in images {
        image.push(registry, repository, "");
    }
    let index = Index {
        schema_version: SCHEMA_VERSION,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        manifests: images.iter().map(Image::descriptor).collect(),
        annotations: Default::default(),
    };
    registry.put_manifest(repository, tag, media_type::OCI_INDEX, json(&index))
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("values of our own types can be written as JSON")
}

fn tar(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = tar::Header::new_gnu();
        let (kind, mode) =
            if path.ends_with('/') { (tar::EntryType::Directory, 0o755) } else { (tar::EntryType::Regular, 0o644) };
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content.as_bytes()).expect("writing to memory");
    }
    builder.into_inner().expect("writing to memory")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}
