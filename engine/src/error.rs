//! Why a use case failed: for whom it is, where, and what to do about it.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use executor::ExecError;
use frontend::diagnostic::{Diagnostic, Severity};
use oci::Digest;
use store::StoreError;

use crate::build::Entitlement;
use crate::check::damaged;
use crate::event::Excerpt;

/// What to do when a disk is full.
const DISK_FULL_HINT: &str =
    "the disk is full; if it is that of the store, `kiln system prune` frees what nothing needs";
const DAMAGED_HINT: &str = "build the image again, or pull or load it again after `kiln system check --repair`, which forgets all that is damaged";

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Dockerfile has errors.
    #[error("{}", first_message(findings))]
    Dockerfile {
        /// All of them in the order in which they were found, and the warnings that were found too.
        findings: Vec<Finding>,
    },
    /// There is no Dockerfile.
    #[error("failed to read dockerfile: open {name}: no such file or directory")]
    NoDockerfile {
        /// The path as the user gave it, or its default.
        name: String,
        /// The directory that was looked in.
        context: PathBuf,
    },
    /// The build context is no directory.
    #[error("unable to prepare context: path \"{path}\" not found")]
    NoContext {
        /// The path as the user gave it.
        path: PathBuf,
    },
    /// A step failed.
    #[error("{source}")]
    Step {
        /// The step's name.
        name: String,
        /// Its lines in the Dockerfile.
        excerpt: Option<Box<Excerpt>>,
        /// Why.
        #[source]
        source: Box<ExecError>,
    },
    /// A step does something that the user has not allowed.
    #[error("entitlement {entitlement} is not allowed")]
    NotAllowed {
        /// What it does.
        entitlement: Entitlement,
        /// Its lines in the Dockerfile.
        excerpt: Option<Box<Excerpt>>,
    },
    /// The build was stopped by the user.
    #[error("canceled")]
    Cancelled,
    /// An image could not be had from its registry.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// An image is not for the platform that is wanted.
    #[error("no match for platform {platform} in manifest of {reference}: it has {available}")]
    Platform {
        /// The image.
        reference: String,
        /// What is wanted.
        platform: String,
        /// What there is.
        available: String,
    },
    /// A manifest or config is not what it should be.
    #[error("cannot read the {what} of {name}")]
    Malformed {
        /// A manifest, an index or a config.
        what: &'static str,
        /// Of which image or file.
        name: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A manifest is of a kind that is not an image.
    #[error("{name} is not an image: its media type is `{media_type}`")]
    NotAnImage {
        /// What was asked for.
        name: String,
        /// What it is.
        media_type: String,
    },
    /// No image has a name or id.
    #[error("No such image: {name}")]
    NoSuchImage {
        /// What was asked for.
        name: String,
    },
    /// Several images have ids that begin like this.
    #[error("multiple IDs found with provided prefix: {prefix}")]
    Ambiguous {
        /// The beginning.
        prefix: String,
    },
    /// An image cannot be removed as long as containers were made of it.
    #[error(
        "conflict: unable to remove repository reference \"{name}\" (must force) - container {container} is using its referenced image {image}"
    )]
    ImageInUse {
        /// What was to be removed.
        name: String,
        /// A container, by the beginning of its id.
        container: String,
        /// The image, by the beginning of its id.
        image: String,
    },
    /// An image has several names, and removing by id would take all of them.
    #[error("conflict: unable to delete {image} (must be forced) - image is referenced in multiple repositories")]
    ManyNames {
        /// The image, by the beginning of its id.
        image: String,
    },
    /// No build of the history has an id that begins like this.
    #[error("no record found for {}", if id.is_empty() { "the last build" } else { id })]
    NoSuchBuild {
        /// What was asked for; empty is the newest build.
        id: String,
    },
    /// A build that runs cannot be removed from the history.
    #[error("cannot remove build {id}: it is running")]
    BuildRuns {
        /// The build.
        id: String,
    },
    /// A name is not a reference.
    #[error("invalid tag \"{name}\"")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: oci::ReferenceParseError,
    },
    /// An output asks for something that does not fit.
    #[error("invalid output: {reason}")]
    Output {
        /// What does not fit.
        reason: String,
    },
    /// An archive that is to be loaded is not one of images.
    #[error("cannot load `{name}`: {reason}")]
    Archive {
        /// The file.
        name: String,
        /// What is missing or wrong.
        reason: String,
    },
    /// A blob that an archive names is not in it, or is another one.
    #[error("cannot load `{name}`: blob {digest} is {reason}")]
    ArchiveBlob {
        /// The file.
        name: String,
        /// The blob.
        digest: Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// The archive that is to be the build context cannot be read.
    #[error("cannot read the build context: {reason}")]
    Context {
        /// What is wrong with it.
        reason: String,
    },
    /// A Dockerfile is too long to be one.
    #[error("{name} is neither an archive nor a Dockerfile: a Dockerfile has at most {bytes_max} bytes")]
    TooLong {
        /// Where it came from.
        name: String,
        /// How long it may be.
        bytes_max: u64,
    },
    /// A file could not be used.
    #[error("cannot {action} `{path}`")]
    File {
        /// What was to be done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of settings is not what it should be.
    #[error("cannot read the settings in `{path}`")]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A layer could not be written as a tar.
    #[error("cannot export layer {id}")]
    Export {
        /// The layer.
        id: store::LayerId,
        /// Why not.
        source: layer::tar::ExportError,
    },
    /// The container could not be started.
    #[error(transparent)]
    Start(#[from] runtime::StartError),
    /// The container's sandbox could not be made.
    #[error(transparent)]
    Create(#[from] runtime::CreateError),
    /// The container has no network.
    #[error(transparent)]
    Network(#[from] network::NetworkError),
    /// The command line of a container is wrong.
    #[error("{reason}")]
    Run {
        /// What is wrong.
        reason: String,
    },
    /// A step of the engine itself failed.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The settings for registries cannot be used.
    #[error(transparent)]
    RegistryConfig(#[from] registry::ConfigError),
    /// Something that cannot be; please report it.
    #[error("bug: {0}")]
    Bug(String),
}

/// Something that is wrong with a Dockerfile, and the lines that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub diagnostic: Diagnostic,
    /// The lines, with some around them.
    pub excerpt: Option<Excerpt>,
}

impl Finding {
    /// Tells whether the file cannot be built because of it.
    pub fn is_error(&self) -> bool {
        self.diagnostic.severity == Severity::Error
    }
}

/// For whom an error is; it decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The user can mend it in the Dockerfile or on the command line, or on the machine.
    User,
    /// The user stopped it.
    Cancelled,
    /// We have to mend it.
    Bug,
}

impl Error {
    /// Returns a closure that says what was to be done to which file.
    pub(crate) fn file<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source: source.into() }
    }

    /// Tells for whom the error is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Bug(_) => ErrorKind::Bug,
            _ => ErrorKind::User,
        }
    }

    /// Returns the lines of the Dockerfile that it is about.
    pub fn excerpt(&self) -> Option<&Excerpt> {
        match self {
            Self::Dockerfile { findings } => first_error(findings)?.excerpt.as_ref(),
            Self::Step { excerpt, .. } | Self::NotAllowed { excerpt, .. } => excerpt.as_deref(),
            _ => None,
        }
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Dockerfile { findings } => first_error(findings)?.diagnostic.hint.clone(),
            Self::NoDockerfile { context, .. } => {
                Some(format!("looked in `{}`; name another file with `-f`", context.display()))
            }
            Self::Step { source, .. } => exec_hint(source),
            Self::Exec(source) => exec_hint(source),
            Self::Start(source) => emulator_hint(source),
            Self::NotAllowed { entitlement, .. } => {
                Some(format!("if you trust this Dockerfile, allow it with `--allow {entitlement}`"))
            }
            Self::Registry(source) => source.hint(),
            Self::NoSuchBuild { .. } => Some("`kiln builds ls` lists the builds that are kept".to_owned()),
            Self::ManyNames { .. } => Some("use `kiln rmi --force`, or remove the names one by one".to_owned()),
            _ => None,
        }
        .or_else(|| is_disk_full(self).then(|| DISK_FULL_HINT.to_owned()))
        .or_else(|| damaged(self).map(|_| DAMAGED_HINT.to_owned()))
    }
}

fn exec_hint(error: &ExecError) -> Option<String> {
    match error {
        ExecError::NotFound { path, is_ignored: true, .. } => {
            Some(format!("`{path}` exists, but the ignore file leaves it out"))
        }
        ExecError::OutOfMemory { limit_bytes, .. } => {
            Some(format!("the step needs more than its limit of {limit_bytes} bytes; raise it with `--memory`"))
        }
        ExecError::TimedOut { .. } => {
            Some("give steps more time with `--step-timeout`, or run them again with `--step-retries`".to_owned())
        }
        ExecError::Registry(source) => source.hint(),
        ExecError::Execute { source, .. } => emulator_hint(source),
        _ => None,
    }
}

fn emulator_hint(error: &runtime::StartError) -> Option<String> {
    if let runtime::StartError::NoEmulator { architecture, .. } = error {
        return Some(format!(
            "register the emulator for {architecture} with the flag `F`, as `qemu-user-static` does, so that it is opened once and for all images"
        ));
    }
    let architecture = error.foreign_architecture()?;
    Some(format!(
        "programs for {architecture} need an emulator that is registered with binfmt_misc: install `qemu-user-static`, or build for this machine with `--platform local`"
    ))
}

/// Tells whether an error, or what caused it, is that a disk is full.
fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| match cause.downcast_ref::<io::Error>() {
        Some(error) => matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded),
        None => cause.downcast_ref::<StoreError>().is_some_and(StoreError::is_disk_full),
    })
}

/// Returns an error and what caused it, in one line; a text that an error repeats from its cause comes once.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if next != last && !last.ends_with(&next) {
            // Writing to a string cannot fail.
            let _ = write!(text, ": {next}");
        }
        last = next;
        cause = error.source();
    }
    text
}

fn first_error(findings: &[Finding]) -> Option<&Finding> {
    findings.iter().find(|finding| finding.is_error())
}

fn first_message(findings: &[Finding]) -> &str {
    first_error(findings).map_or("the Dockerfile has errors", |finding| &finding.diagnostic.message)
}
