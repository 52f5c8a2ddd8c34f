//! Descriptors, manifests and indexes, in the JSON of the OCI image specification; Docker's schema 2 has the same shape.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, Platform};

/// The value of `schemaVersion` in every manifest and index of today.
pub const SCHEMA_VERSION: u32 = 2;

/// Names a blob: what it is, which one, and how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is; see [`crate::media_type`].
    #[serde(default)]
    pub media_type: String,
    /// Which blob it is.
    pub digest: Digest,
    /// The length of the blob in bytes.
    #[serde(rename = "size")]
    pub size_bytes: u64,
    /// Where else the blob can be had; foreign layers have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free-form notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What the image behind the blob runs on; manifests in an index have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// Describes `bytes`.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// Describes a blob whose digest and length are known.
    pub fn new(media_type: &str, digest: Digest, size_bytes: u64) -> Self {
        let media_type = media_type.to_owned();
        Self { media_type, digest, size_bytes, urls: Vec::new(), annotations: BTreeMap::new(), platform: None }
    }
}

/// One image: its config and its layers, the lowest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Whether this is OCI's or Docker's manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The image config.
    pub config: Descriptor,
    /// The layers; `null` in JSON where an image has none, as Docker writes it.
    #[serde(with = "null_when_empty")]
    pub layers: Vec<Descriptor>,
    /// Free-form notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Several manifests under one digest: one image for several platforms, or the images of a layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Whether this is OCI's index or Docker's manifest list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What the index holds.
    #[serde(with = "null_when_empty")]
    pub manifests: Vec<Descriptor>,
    /// Free-form notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// Returns the manifest that serves `wanted` best, or `None` where none does.
    ///
    /// A manifest without a platform serves every request, but only where no other does.
    pub fn select(&self, wanted: &Platform) -> Option<&Descriptor> {
        let ranked = self.manifests.iter().filter_map(|descriptor| {
            let rank = match &descriptor.platform {
                Some(platform) => wanted.rank(platform)?,
                None => usize::MAX,
            };
            Some((rank, descriptor))
        });
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, descriptor)| descriptor)
    }

    /// Returns the platforms that the index offers, in its order; those of attestations are left out.
    pub fn platforms(&self) -> Vec<&Platform> {
        self.manifests.iter().filter_map(|it| it.platform.as_ref()).filter(|it| it.os != "unknown").collect()
    }
}

/// Go writes a list that was never filled as `null`, and readers that compare bytes depend on it.
mod null_when_empty {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(list: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        if list.is_empty() { serializer.serialize_none() } else { list.serialize(serializer) }
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_type;

    fn descriptor(platform: Option<&str>, content: &str) -> Descriptor {
        let platform = platform.map(|text| text.parse().unwrap());
        Descriptor { platform, ..Descriptor::of(media_type::OCI_MANIFEST, content.as_bytes()) }
    }

    #[test]
    fn an_index_serves_the_best_platform() {
        let offered = [Some("linux/386"), Some("linux/amd64"), Some("linux/arm64"), None];
        let manifests: Vec<_> = offered.iter().zip(["a", "b", "c", "d"]).map(|(p, c)| descriptor(*p, c)).collect();
        let index = Index { schema_version: 2, media_type: None, manifests, annotations: BTreeMap::new() };
        let selected = |wanted: &str| index.select(&wanted.parse().unwrap()).map(|it| it.digest);
        assert_eq!(selected("linux/amd64"), Some(Digest::of(b"b")));
        assert_eq!(selected("linux/arm64"), Some(Digest::of(b"c")));
        assert_eq!(selected("linux/386"), Some(Digest::of(b"a")));
        assert_eq!(selected("linux/s390x"), Some(Digest::of(b"d")));
    }

    #[test]
    fn an_empty_list_of_layers_is_null() {
        let config = descriptor(None, "config");
        let manifest =
            Manifest { schema_version: 2, media_type: None, config, layers: Vec::new(), annotations: BTreeMap::new() };
        let json = serde_json::to_string(&manifest).unwrap();
        assert!(json.ends_with(r#""layers":null}"#), "{json}");
        assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
    }
}
