//! What a build is asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use llb::GitSource;
use oci::{Platform, Reference};

pub use executor::{SshAgent, StepLimits};
pub use frontend::request::Strictness;
pub use llb::{ExtraHost, Limits, NetworkMode, Ulimit};

use super::entitlement::Entitlement;
use super::remote::Upload;
use crate::export::Output;

/// What a build is asked for.
#[derive(Clone, Debug, Default)]
pub struct BuildRequest {
    /// Where the files of `COPY` come from.
    pub context: ContextSource,
    /// Where the Dockerfile is.
    pub dockerfile: DockerfileSource,
    /// The stage to build; `None` is the last one.
    pub target: Option<String>,
    /// Build arguments; those without a value on the command line have that of the environment, or are left out.
    pub build_args: BTreeMap<String, String>,
    /// Labels that win over those of the file.
    pub labels: BTreeMap<String, String>,
    /// The platforms to build for; none is that of this machine.
    pub platforms: Vec<Platform>,
    /// Names for the image.
    pub tags: Vec<Reference>,
    /// Where the result goes; none is the store.
    pub outputs: Vec<Output>,
    /// Whether no earlier result is used.
    pub no_cache: bool,
    /// The stages whose earlier results are not used.
    pub no_cache_filter: Vec<String>,
    /// Whether bases are asked for at their registries although the store has them.
    pub pull: bool,
    /// Named contexts: what stands behind `name=`, by name.
    pub contexts: BTreeMap<String, String>,
    /// How strictly the Dockerfile is read.
    pub strictness: Strictness,
    /// The network of steps that say nothing of it.
    pub network: NetworkMode,
    /// What steps may do that they may not otherwise.
    pub allowed: Vec<Entitlement>,
    /// Names added to `/etc/hosts` of every step.
    pub extra_hosts: Vec<ExtraHost>,
    /// What every step may use.
    pub limits: Limits,
    /// How long steps may take, and how often they are run again.
    pub step_limits: StepLimits,
    /// Secrets by id.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// SSH agents by id.
    pub ssh_agents: BTreeMap<String, Arc<SshAgent>>,
}

/// Where the files of `COPY` come from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ContextSource {
    /// A directory.
    Directory(PathBuf),
    /// A git repository.
    Git(GitSource),
    /// What is behind a URL: an archive, or a Dockerfile.
    Url(String),
    /// An archive behind a URL.
    UrlArchive(String),
    /// An archive that was received.
    Upload(Arc<Upload>),
    /// There are none.
    #[default]
    Empty,
}

/// Where the Dockerfile is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum DockerfileSource {
    /// `Dockerfile` in the context.
    #[default]
    Default,
    /// This file.
    File(PathBuf),
    /// This text, read from standard input.
    Text(Vec<u8>),
}
