//! What `--metadata-file` says of a build, in the keys that buildx writes.

use oci::{Descriptor, Digest};
use serde::Serialize;

/// What `--metadata-file` says of a build.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Metadata {
    /// What the history calls the build: `kiln builds inspect` takes it.
    #[serde(rename = "buildx.build.ref")]
    pub build_ref: String,
    /// The digest of the config, where there is one image.
    #[serde(rename = "containerimage.config.digest", skip_serializing_if = "Option::is_none")]
    pub config_digest: Option<Digest>,
    /// The manifest, or the index of several.
    #[serde(rename = "containerimage.descriptor", skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<Descriptor>,
    /// The digest of the manifest, or of the index of several.
    #[serde(rename = "containerimage.digest", skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The names, joined by commas.
    #[serde(rename = "image.name", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
