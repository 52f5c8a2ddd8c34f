//! The lines of the file of a build.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci::{Digest, Hasher, Timestamp};
use serde::{Deserialize, Serialize};

use super::facts::StepFacts;
use crate::build::{BuildRequest, ContextSource, DockerfileSource};
use crate::event::Event;
use crate::export::{BundleKind, Destination, Output, StoreOutput};

/// The longest text of an error that the history keeps, so that the last line of a file can be read without the others.
const ERROR_BYTES_MAX: usize = 2048;

/// A line of the file of a build.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// The first: what was asked for.
    Begin(BuildBegin),
    /// Something that happened.
    Event(Event),
    /// What is known of a step, for those who explain why a later build runs it again.
    Facts(StepFacts),
    /// The last: what came of it.
    End(BuildEnd),
}

/// What a build was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuildBegin {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) context: String,
    pub(crate) dockerfile: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) platforms: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) outputs: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) build_args: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) no_cache: Vec<String>,
    pub(crate) began: Timestamp,
}

/// What came of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildEnd {
    /// When it ended.
    pub at: Timestamp,
    /// Why it failed; `None` where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether it was stopped by the user.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cancelled: bool,
    /// The ids of the images that it made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Digest>,
    /// How many steps ended, those of the builder's own among them.
    pub steps: usize,
    /// How many of them were found in the cache.
    pub cached: usize,
}

impl BuildBegin {
    /// Says what a request asks for.
    pub(crate) fn of(request: &BuildRequest, id: String, began: Timestamp) -> Self {
        let context = match &request.context {
            ContextSource::Directory(path) => absolute(path).to_string_lossy().into_owned(),
            ContextSource::Git(source) => source.remote.clone(),
            ContextSource::Url(url) | ContextSource::UrlArchive(url) => url.clone(),
            // What comes on standard input has no place.
            ContextSource::Upload(_) | ContextSource::Empty => String::new(),
        };
        let dockerfile = match &request.dockerfile {
            DockerfileSource::Default => "Dockerfile".to_owned(),
            DockerfileSource::File(path) => absolute(path).to_string_lossy().into_owned(),
            DockerfileSource::Text(_) => "-".to_owned(),
        };
        let folder = Path::new(&context).file_name().map(|name| name.to_string_lossy().into_owned());
        let mut name = folder.unwrap_or_else(|| "-".to_owned());
        if let Some(target) = &request.target {
            name = format!("{name} ({target})");
        }
        let no_cache = if request.no_cache { vec!["*".to_owned()] } else { request.no_cache_filter.clone() };
        Self {
            id,
            name,
            context,
            dockerfile,
            target: request.target.clone(),
            platforms: request.platforms.iter().map(ToString::to_string).collect(),
            tags: request.tags.iter().map(ToString::to_string).collect(),
            outputs: request.outputs.iter().map(described).collect(),
            build_args: request.build_args.clone(),
            no_cache,
            began,
        }
    }

    /// Returns what stands for context and Dockerfile in the file's name: 16 hexadecimal digits.
    pub(crate) fn project(&self) -> String {
        let mut hasher = Hasher::new();
        hasher.field(self.context.as_bytes());
        hasher.field(self.dockerfile.as_bytes());
        hasher.finish().hex()[..16].to_owned()
    }
}

/// Says where a result goes, in the words of `--output`.
fn described(output: &Output) -> String {
    let (kind, destination) = match output {
        Output::Store(StoreOutput { push: None, .. }) => ("image", None),
        Output::Store(StoreOutput { push: Some(_), .. }) => ("registry", None),
        Output::Bundle(bundle) if bundle.kind == BundleKind::Oci => ("oci", Some(&bundle.destination)),
        Output::Bundle(bundle) => ("docker", Some(&bundle.destination)),
        Output::Files(files) if matches!(files.destination, Destination::Directory(_)) => {
            ("local", Some(&files.destination))
        }
        Output::Files(files) => ("tar", Some(&files.destination)),
        Output::Nowhere => ("cacheonly", None),
    };
    let path = destination.map(|destination| match destination {
        Destination::File(path) | Destination::Directory(path) => absolute(path).display().to_string(),
        Destination::Stdout => "-".to_owned(),
    });
    path.map_or_else(|| format!("type={kind}"), |path| format!("type={kind},dest={path}"))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Returns what stands for the context and the Dockerfile of a request.
pub(crate) fn project_of(request: &BuildRequest) -> String {
    BuildBegin::of(request, String::new(), Timestamp::EPOCH).project()
}

/// Cuts the text of an error to what the history keeps.
pub(crate) fn clip_error(mut text: String) -> String {
    if text.len() > ERROR_BYTES_MAX {
        let end = (0..=ERROR_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
