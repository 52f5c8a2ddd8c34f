//! What a build asks of the frontend: everything that lowering depends on besides the text.

use std::collections::BTreeMap;

use llb::{ExtraHost, GitSource, Limits, NetworkMode};
use oci::{Digest, Platform, Reference};

use crate::checks::CheckOptions;

/// What a build asks of the frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LowerRequest {
    /// The stage to build, by name or by number; `None` is the last one.
    pub target: Option<String>,
    /// Build arguments. One that was given without a value has that of the caller's environment, and is left out where that has none.
    pub build_args: BTreeMap<String, String>,
    /// Labels that win over those of the file.
    pub labels: BTreeMap<String, String>,
    /// The platforms to build for; none is [`Self::build_platform`], or whatever the base is made for.
    pub platforms: Vec<Platform>,
    /// The platform that the builder runs on.
    pub build_platform: Platform,
    /// Named contexts by name, or by `name::platform` for one platform.
    pub contexts: BTreeMap<String, NamedContext>,
    /// Where the files of `COPY` come from.
    pub main_context: MainContext,
    /// The steps whose earlier results are not to be used.
    pub no_cache: NoCache,
    /// The network of commands that say nothing of it.
    pub network: NetworkMode,
    /// Names added to `/etc/hosts` of every command.
    pub extra_hosts: Vec<ExtraHost>,
    /// What every command may use.
    pub limits: Limits,
    /// The host name of every command; the build argument `BUILDKIT_SANDBOX_HOSTNAME` wins over it.
    pub hostname: Option<String>,
    /// How the build checks run; the build argument `BUILDKIT_DOCKERFILE_CHECK` and the file's directive win over `None`, in this order.
    pub checks: Option<CheckOptions>,
    /// How strictly the file is read.
    pub strictness: Strictness,
}

impl LowerRequest {
    /// Returns a request for the last stage on the platform of the builder, with the local context and nothing else.
    pub fn new(build_platform: Platform) -> Self {
        Self {
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            platforms: Vec::new(),
            build_platform,
            contexts: BTreeMap::new(),
            main_context: MainContext::Local,
            no_cache: NoCache::Nothing,
            network: NetworkMode::Default,
            extra_hosts: Vec::new(),
            limits: Limits::default(),
            hostname: None,
            checks: None,
            strictness: Strictness::Docker,
        }
    }
}

/// How strictly a file is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// As Docker reads it.
    #[default]
    Docker,
    /// Build arguments that no `ARG` takes, variables that are not set, and stages that nothing uses are errors.
    Strict,
}

/// The steps whose earlier results are not to be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NoCache {
    /// None.
    #[default]
    Nothing,
    /// Those of every stage.
    Everything,
    /// Those of stages with these names, whatever the case.
    Stages(Vec<String>),
}

/// Where the files of `COPY` come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MainContext {
    /// A directory of this machine, the local source `context`.
    #[default]
    Local,
    /// A git repository.
    Git(GitSource),
    /// An archive behind a URL; it is unpacked.
    Archive(String),
    /// A file behind a URL that is no archive: the Dockerfile itself, which is all that the context has.
    File(String),
    /// An archive that was received: the file `context` of the local source `context`; it is unpacked.
    Upload,
    /// Nothing.
    Empty,
}

/// What stands in for an image or a stage of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory of this machine, the local source of the context's name.
    Local {
        /// The directory.
        path: String,
    },
    /// An image: `docker-image://alpine:3.20`.
    Image(Reference),
    /// Nothing: `docker-image://scratch`.
    Scratch,
    /// An image in an OCI layout: `oci-layout://path[:tag|@digest]`.
    Layout {
        /// The layout's directory.
        path: String,
        /// The tag to look for.
        tag: Option<String>,
        /// The digest to look for.
        digest: Option<Digest>,
    },
    /// A git repository.
    Git {
        /// The address as it was given.
        url: String,
        /// What it says.
        source: GitSource,
    },
    /// A file behind a URL.
    Http(String),
}

/// Why a text is not a named context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamedContextParseError {
    /// The image's name is wrong.
    #[error(transparent)]
    Reference(#[from] oci::ReferenceParseError),
    /// The digest of a layout is wrong.
    #[error(transparent)]
    Digest(#[from] oci::DigestParseError),
    /// The address of a git repository is wrong.
    #[error(transparent)]
    Git(#[from] crate::git_url::GitUrlError),
    /// Nothing is there.
    #[error("a build context needs a value: `--build-context name=path`")]
    Empty,
}

impl std::str::FromStr for NamedContext {
    type Err = NamedContextParseError;

    /// Parses what stands behind `name=` in `--build-context`.
    fn from_str(text: &str) -> Result<Self, NamedContextParseError> {
        if text.is_empty() {
            return Err(NamedContextParseError::Empty);
        }
        if let Some(image) = text.strip_prefix("docker-image://") {
            return Ok(if image == "scratch" { Self::Scratch } else { Self::Image(image.parse()?) });
        }
        if let Some(layout) = text.strip_prefix("oci-layout://") {
            return parse_layout(layout);
        }
        if let Some(source) = crate::git_url::parse_git_context(text)? {
            return Ok(Self::Git { url: text.to_owned(), source });
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Self::Http(text.to_owned()));
        }
        Ok(Self::Local { path: text.to_owned() })
    }
}

fn parse_layout(layout: &str) -> Result<NamedContext, NamedContextParseError> {
    let (rest, digest) = match layout.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest.parse()?)),
        None => (layout, None),
    };
    // A colon belongs to a tag only in the last part of the path.
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
        _ => (rest, None),
    };
    Ok(NamedContext::Layout { path: path.to_owned(), tag, digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_context_is_what_its_beginning_says() {
        let parse = |text: &str| text.parse::<NamedContext>();
        assert_eq!(parse("docker-image://alpine"), Ok(NamedContext::Image("alpine:latest".parse().unwrap())));
        assert_eq!(parse("docker-image://scratch"), Ok(NamedContext::Scratch));
        let layout = |path: &str, tag: Option<&str>, digest| NamedContext::Layout {
            path: path.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        };
        assert_eq!(parse("oci-layout://a/b:c"), Ok(layout("a/b", Some("c"), None)));
        assert_eq!(parse("oci-layout:///a:b/c"), Ok(layout("/a:b/c", None, None)));
        let digest = Digest::of(b"x");
        assert_eq!(parse(&format!("oci-layout://a:t@{digest}")), Ok(layout("a", Some("t"), Some(digest))));
        assert_eq!(parse("https://a/b.tar"), Ok(NamedContext::Http("https://a/b.tar".to_owned())));
        assert!(
            matches!(parse("https://a/b.git#main:dir"), Ok(NamedContext::Git { source, .. }) if source.reference == "main" && source.subdir == "dir")
        );
        assert_eq!(parse("../lib"), Ok(NamedContext::Local { path: "../lib".to_owned() }));
        assert_eq!(parse(""), Err(NamedContextParseError::Empty));
    }
}
