//! What lowering must know of the world, and asks for: it never looks for itself.

use std::collections::BTreeMap;

use llb::{GitSource, ImageOrigin};
use oci::{Digest, ImageConfig, Platform, Reference, Timestamp};

/// Something that lowering must know and does not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::large_enum_variant, reason = "there are a few at a time, and most are images")]
pub enum Need {
    /// An image's config and digests.
    Image(ImageQuery),
    /// The ignore file of a local source, by the source's name: `context`, or a named context.
    IgnoreFile(String),
    /// When something was made, for `SOURCE_DATE_EPOCH`.
    Time(TimeQuery),
}

impl Need {
    /// Returns what users see while it is fetched, as a step of the builder's own: `[internal] load metadata for docker.io/library/alpine:latest`.
    pub fn step_name(&self) -> String {
        match self {
            Self::Image(query) => query.step_name.clone(),
            Self::IgnoreFile(name) if name == crate::MAIN_CONTEXT_NAME => "[internal] load .dockerignore".to_owned(),
            Self::IgnoreFile(name) => format!("[context {name}] load .dockerignore"),
            Self::Time(TimeQuery::Context(name)) if name == crate::MAIN_CONTEXT_NAME => {
                "[internal] resolve main build context metadata".to_owned()
            }
            Self::Time(TimeQuery::Context(name)) => {
                format!("[internal] resolve SOURCE_DATE_EPOCH named context {name}")
            }
            Self::Time(TimeQuery::Git { .. } | TimeQuery::Http { .. }) => {
                "[internal] resolve SOURCE_DATE_EPOCH source stage".to_owned()
            }
        }
    }
}

/// Which image lowering asks for.
#[derive(Clone, Debug)]
pub struct ImageQuery {
    /// The image.
    pub reference: Reference,
    /// The platform that it is wanted for; the best match is meant.
    pub platform: Platform,
    /// Where it is to be had.
    pub origin: ImageOrigin,
    /// What users see while it is fetched; no part of what is asked.
    pub step_name: String,
}

impl ImageQuery {
    fn key(&self) -> (&Reference, &Platform, &ImageOrigin) {
        (&self.reference, &self.platform, &self.origin)
    }
}

impl PartialEq for ImageQuery {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for ImageQuery {}

impl PartialOrd for ImageQuery {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ImageQuery {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Whose time lowering asks for. The answer is the commit's time, or `Last-Modified`, or the newest file of an archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeQuery {
    /// A context: `context`, or a named one.
    Context(String),
    /// A commit.
    Git {
        /// The repository's address.
        remote: String,
        /// A branch, tag, commit or full ref; empty is the default branch.
        reference: String,
    },
    /// A file behind a URL.
    Http {
        /// The URL.
        url: String,
    },
}

impl TimeQuery {
    pub(crate) fn git(source: &GitSource) -> Self {
        Self::Git { remote: source.remote.clone(), reference: source.reference.clone() }
    }
}

/// What is known of the world.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Images, or why one cannot be had: the text of an error, which goes behind the image's name.
    pub images: BTreeMap<ImageQuery, Result<KnownImage, String>>,
    /// Ignore files by the name of the local source; `None` where there is none.
    pub ignore_files: BTreeMap<String, Option<IgnoreFile>>,
    /// Times; `None` where there is none.
    pub times: BTreeMap<TimeQuery, Option<Timestamp>>,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownImage {
    /// What the reference led to: the digest of an index, or of the manifest itself.
    pub digest: Digest,
    /// The digest of the manifest for [`Self::platform`].
    pub manifest: Digest,
    /// The platform of that manifest.
    pub platform: Platform,
    /// The config that the manifest names.
    pub config: ImageConfig,
}

/// An ignore file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoreFile {
    /// Its name, as errors show it.
    pub name: String,
    /// Its text.
    pub text: String,
}
