//! Why a step failed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use layer::tree::TreeError;
use layer::unpack::UnpackError;
use oci::Digest;
use runtime::overlay::OverlayError;
use store::{LayerError, StoreError};

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The command ended with something else than 0; the text is the one that users of Docker search for.
    #[error("process \"{command}\" did not complete successfully: exit code: {code}")]
    Process {
        /// The program and its arguments, joined by blanks.
        command: String,
        /// The exit code; 128 and the signal's number where a signal ended it.
        code: i32,
    },
    /// Nothing that commands write could become a layer of the store.
    #[error("cannot keep layers in the store `{}`: {reason}, and no loop device mounts images from it; put the store on ext4, XFS, Btrfs or a tmpfs with --root, or on a volume if this is a container", root.display())]
    StoreFileSystem {
        /// The store.
        root: PathBuf,
        /// What the kernel says.
        reason: String,
    },
    /// There is no place for what a command writes.
    #[error("cannot make a place in memory for what a command writes")]
    Scratch {
        /// What the kernel says.
        source: OverlayError,
    },
    /// No overlay can write into the work root.
    #[error("cannot let commands write beneath `{}`: {reason}; name a directory on ext4, XFS, Btrfs or a tmpfs with --work-root", root.display())]
    WorkRoot {
        /// The work root.
        root: PathBuf,
        /// What the kernel says.
        reason: String,
    },
    /// The command took longer than it may, and was killed.
    #[error("process \"{command}\" did not complete successfully: killed after {limit:?}, the time limit of a step")]
    TimedOut {
        /// The program and its arguments, joined by blanks.
        command: String,
        /// How long it may take.
        limit: Duration,
    },
    /// A process of the command was killed because the limit of memory was reached; the text is BuildKit's.
    #[error("process \"{command}\" did not complete successfully: exit code: {code}: cannot allocate memory")]
    OutOfMemory {
        /// The program and its arguments, joined by blanks.
        command: String,
        /// The exit code of the command, which may have gone on after the kill.
        code: i32,
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// The sandbox of a command could not be made.
    #[error("cannot prepare a sandbox for \"{command}\"")]
    Create {
        /// The program and its arguments, joined by blanks.
        command: String,
        /// Why not.
        source: runtime::CreateError,
    },
    /// The command cannot be executed: it ends like one that a shell did not find, with the text and the code that users search for.
    #[error("process \"{command}\" did not complete successfully: exit code: {}", source.exit_code())]
    Execute {
        /// The program and its arguments, joined by blanks.
        command: String,
        /// Why not.
        source: runtime::StartError,
    },
    /// The command could not be started.
    #[error("cannot start process \"{command}\"")]
    Start {
        /// The program and its arguments, joined by blanks.
        command: String,
        /// Why not.
        source: runtime::StartError,
    },
    /// A command that runs could not be waited for.
    #[error("cannot wait for process \"{command}\"")]
    Wait {
        /// The program and its arguments, joined by blanks.
        command: String,
        /// Why not.
        source: io::Error,
    },
    /// A limit has a name that none has.
    #[error(transparent)]
    Ulimit {
        /// What is wrong with it.
        source: runtime::ResourceParseError,
    },
    /// The sandbox of a command has no network.
    #[error("cannot set up the network for \"{command}\"")]
    Network {
        /// The program and its arguments, joined by blanks.
        command: String,
        /// Why not.
        source: network::NetworkError,
    },
    /// A device that a step needs cannot be given to it.
    #[error("required device \"{name}\" is not available: devices by CDI names are not supported")]
    NoDevice {
        /// The device.
        name: String,
    },
    /// A secret that a step needs was not given.
    #[error("secret {id}: not found")]
    NoSecret {
        /// The secret.
        id: String,
    },
    /// An SSH agent that a step needs was not given.
    #[error("no SSH key \"{id}\" forwarded from the client")]
    NoAgent {
        /// The agent.
        id: String,
    },
    /// What a command wrote cannot be read.
    #[error(transparent)]
    Scan(#[from] layer::tree::ScanError),
    /// The user that a step's command is to run as does not exist.
    #[error("process \"{command}\" did not complete successfully")]
    CommandUser {
        /// The program and its arguments, joined by blanks.
        command: String,
        /// Why not.
        source: Box<ExecError>,
    },
    /// The user that a command is to run as does not exist.
    #[error(transparent)]
    User(#[from] runtime::users::UserError),
    /// A file that a step selects is not there.
    #[error("failed to compute cache key: failed to calculate checksum of ref {source_name}: \"{path}\": not found")]
    NotFound {
        /// Where it was looked for: `build context`, or a stage's or image's name.
        source_name: String,
        /// The path, absolute within its source.
        path: String,
        /// Whether an ignore file hides it.
        is_ignored: bool,
    },
    /// A path of the source or destination leads nowhere.
    #[error("cannot copy to `{path}`")]
    Resolve {
        /// The path.
        path: String,
        /// Why.
        source: layer::ResolveError,
    },
    /// A path that would come about is too long.
    #[error("cannot copy to `{path}`")]
    Path {
        /// The path.
        path: String,
        /// Why not.
        source: layer::PathError,
    },
    /// A file of an image could not be read.
    #[error("cannot read `{path}` in the image")]
    ReadImage {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A directory cannot take the place of a file.
    #[error("cannot copy to non-directory: {path}")]
    NotADirectory {
        /// The destination.
        path: String,
    },
    /// A file cannot take the place of a directory.
    #[error("cannot replace to directory {path} with file")]
    IsADirectory {
        /// The destination.
        path: String,
    },
    /// An owner is neither a number nor a name that the image knows.
    #[error("invalid user index: -1")]
    OwnerUnknown {
        /// The owner as it was written.
        owner: String,
    },
    /// A directory or file of this machine could not be read.
    #[error("cannot {action} `{path}`")]
    File {
        /// What was to be done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The patterns of an ignore file are wrong.
    #[error("bug: the frontend let through an ignore pattern: {reason}")]
    Ignore {
        /// What is wrong.
        reason: String,
    },
    /// Files of the build context change faster than they can be read.
    #[error("`{path}` in the build context keeps changing while it is read")]
    ContextChanges {
        /// One of them.
        path: String,
    },
    /// A layer's files could not be written.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// An archive could not be unpacked.
    #[error("cannot unpack `{name}`")]
    Unpack {
        /// The archive.
        name: String,
        /// Why.
        source: UnpackError,
    },
    /// A layer cannot be read.
    #[error(transparent)]
    Content(#[from] layer::ContentError),
    /// Entries that were made do not form a list.
    #[error("bug: the entries of a layer are not a valid list")]
    Entries(#[from] layer::EntriesError),
    /// A layer could not be finished.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// This machine cannot run sandboxes.
    #[error(transparent)]
    Kernel(#[from] runtime::KernelError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something could not be had from a registry or by HTTP.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// A layer is not what the image's config says.
    #[error("layer {expected} is corrupt: blob {blob} unpacks to {actual}")]
    DiffIdMismatch {
        /// The blob.
        blob: Digest,
        /// What the config says.
        expected: Digest,
        /// What the layer's tar hashes to.
        actual: Digest,
    },
    /// A layer is neither here nor can be fetched.
    #[error("layer {diff_id} is not in the store, and it is not known where it came from")]
    LayerUnavailable {
        /// The layer.
        diff_id: Digest,
    },
    /// The build names an image or a context that the request does not have.
    #[error("bug: {what} `{name}` was not given to the executor")]
    Unknown {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A URL cannot be downloaded from.
    #[error(transparent)]
    Url {
        /// What is wrong with it.
        source: registry::download::HttpUrlParseError,
    },
    /// Downloaded content has another checksum than the Dockerfile says.
    #[error("digest mismatch {actual}: expected {expected} for `{url}`")]
    Checksum {
        /// What was downloaded.
        url: String,
        /// What the Dockerfile says.
        expected: String,
        /// What the content hashes to.
        actual: String,
    },
    /// The git program cannot be run.
    #[error("cannot run `git`, which sources from git repositories need")]
    GitProgram {
        /// Why not.
        source: io::Error,
    },
    /// The git program failed.
    #[error("cannot {action}: {complaint}")]
    Git {
        /// What it was to do.
        action: String,
        /// The last of what it said.
        complaint: String,
    },
    /// A repository has no such branch, tag or commit.
    #[error("repository does not contain ref {reference}: `{remote}`")]
    GitReference {
        /// The repository.
        remote: String,
        /// The ref.
        reference: String,
    },
    /// A ref names another commit than the Dockerfile expects.
    #[error("expected checksum to match {expected}, got {actual} for `{remote}`")]
    GitChecksum {
        /// The repository.
        remote: String,
        /// The beginning of the commit's hash.
        expected: String,
        /// The commit.
        actual: String,
    },
    /// A layer cannot be read as a tar.
    #[error("cannot read the layer")]
    Export {
        /// Why not.
        source: layer::tar::ExportError,
    },
    /// A thread of ours panicked.
    #[error("bug: a thread ended without a result")]
    Thread,
}

impl ExecError {
    /// Returns in a few words how the command itself failed; `None` where something else did, which would fail again.
    pub(crate) fn failure_of_command(&self) -> Option<String> {
        match self {
            Self::Process { code, .. } => Some(format!("exit code: {code}")),
            Self::TimedOut { limit, .. } => Some(format!("killed after {limit:?}")),
            _ => None,
        }
    }

    /// Returns a closure that says what was to be done to which file.
    pub(crate) fn file<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source: source.into() }
    }
}
