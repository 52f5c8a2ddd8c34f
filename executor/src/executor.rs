//! The executor that the solver drives: one for each build.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use layer::tar::Checkpoints;
use layer::tree::LostXattrs;
use layer::{KeptFiles, Lender, Stack};
use llb::{
    CacheMount, CopySelection, Exec, FileAction, Graph, Input, LocalSource, MountKind, Op, Selection, Source, Unpack,
    Vertex, VertexId,
};
use oci::{Digest, Hasher};
use runtime::Launcher;
use solver::{Execution, StepError};
use store::{ImageRecord, Layer, Snapshot, StoreError};
use tokio_util::sync::CancellationToken;

use crate::ExecError;
use crate::blocking::{blocking, failed};
use crate::command::{Bound, Command, Seed};
use crate::context::Context;
use crate::context::Scan as ContextScan;
use crate::file::{Changes, CopySource, FileError, apply};
use crate::http;
use crate::layers::{inline, open, stack_digest};
use crate::lenders::{self, AHEAD_FILES_MIN, Lenders, Lent};
use crate::report::Report;
use crate::sandbox::chain_digest;
use crate::select::{self, SelectError};
use crate::sources::Sources;
use crate::ssh::SshAgent;
use crate::tars::TarDigests;

/// How often a step is done again because files of the build context changed under it.
const CONTEXT_ATTEMPTS_MAX: usize = 3;

/// Values that steps may see and that are never recorded.
#[derive(Default)]
pub struct Secrets {
    /// Secrets by id.
    pub values: BTreeMap<String, Vec<u8>>,
    /// SSH agents by id.
    pub agents: BTreeMap<String, Arc<SshAgent>>,
}

/// As many files that were seen are let go of on the way; more are left to another thread.
const SEEN_DROPPED_MAX: usize = 4096;

/// What the steps of one build work with.
pub struct Executor<'a> {
    sources: Arc<Sources>,
    graph: &'a Graph,
    images: BTreeMap<Digest, ImageRecord>,
    contexts: BTreeMap<String, Arc<Context>>,
    launcher: OnceLock<Arc<Launcher>>,
    purpose: Purpose,
    tars: Arc<TarDigests>,
    /// What was seen of local sources, by source and selection: a step copies what its key was computed from.
    scans: Mutex<Scans>,
    lenders: Arc<Lenders>,
}

/// What an executor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Steps may be executed.
    Build,
    /// It is only asked for keys.
    Forecast,
}

type Scans = HashMap<(VertexId, Option<Selection>), Arc<Scan>>;

/// The part of a local source that a step can see.
struct Scan {
    files: ContextScan,
    digest: Digest,
}

impl<'a> Executor<'a> {
    /// Prepares for a build.
    ///
    /// `images` are those that the graph names, by the digest of their manifest; `contexts` the local sources, by name; `tars` gets the layers that are in the results.
    pub fn new(
        sources: Arc<Sources>,
        graph: &'a Graph,
        images: BTreeMap<Digest, ImageRecord>,
        contexts: BTreeMap<String, Arc<Context>>,
        purpose: Purpose,
        tars: Arc<TarDigests>,
    ) -> Self {
        let (launcher, scans, lenders) = (OnceLock::new(), Mutex::default(), Arc::default());
        Self { purpose, tars, sources, graph, images, contexts, launcher, scans, lenders }
    }

    /// Keeps what was read of contexts for the next build.
    pub fn remember(&self) -> Result<(), StoreError> {
        self.contexts.values().try_for_each(|context| context.remember())
    }

    fn launcher(&self) -> Result<Arc<Launcher>, ExecError> {
        if let Some(launcher) = self.launcher.get() {
            return Ok(launcher.clone());
        }
        let launcher = Arc::new(self.sources.shared.ladder.launcher()?);
        Ok(self.launcher.get_or_init(|| launcher).clone())
    }

    fn context(&self, local: &LocalSource) -> Result<Arc<Context>, ExecError> {
        let unknown = || ExecError::Unknown { what: "context", name: local.name.clone() };
        self.contexts.get(&local.name).cloned().ok_or_else(unknown)
    }

    fn image(&self, manifest: &Digest) -> Result<&ImageRecord, ExecError> {
        self.images.get(manifest).ok_or_else(|| ExecError::Unknown { what: "image", name: manifest.to_string() })
    }

    // Sources.

    /// Looks at the part of a local source that `selection` can name; what was seen before counts until it turns out to have changed.
    async fn scan(
        &self,
        id: VertexId,
        local: &LocalSource,
        selection: Option<&Selection>,
    ) -> Result<Arc<Scan>, ExecError> {
        let key = (id, selection.cloned());
        if let Some(scan) = self.scans.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(scan.clone());
        }
        let (context, wanted) = (self.context(local)?, selection.cloned());
        let (ladder, store, purpose) =
            (self.sources.shared.ladder.clone(), self.sources.shared.store.clone(), self.purpose);
        let borrower = lenders::borrower(self.graph, &self.contexts, id, selection)?;
        let lenders = self.lenders.clone();
        let scan = blocking(move || {
            // What goes wrong here does so again where it matters.
            let is_packed = || ladder.is_packed().unwrap_or_default();
            let pack = || (purpose == Purpose::Build && is_packed()).then(|| store.draft_pack().ok()).flatten();
            let files = context.scan_and_keep(wanted.as_ref(), &pack)?;
            let digest = match &wanted {
                Some(selection) => context.digest(&files, selection, || {
                    let digest = || {
                        let digest = select::digest(files.stack()?, selection);
                        digest.map_err(|error| select_error(error, "build context", Some(&context)))
                    };
                    // The files are others than before, so it is likely that they will be copied.
                    match borrower.filter(|_| purpose == Purpose::Build && files.len() >= AHEAD_FILES_MIN) {
                        Some(key) => lenders.prepare_beside(&ladder, &key, digest),
                        None => digest(),
                    }
                })?,
                None => stack_digest(files.stack()?),
            };
            if purpose == Purpose::Build && files.len() >= AHEAD_FILES_MIN {
                context.remember_beside();
            }
            Ok(Arc::new(Scan { files, digest }))
        });
        let scan = scan.await?;
        self.scans.lock().unwrap_or_else(PoisonError::into_inner).insert(key, scan.clone());
        Ok(scan)
    }

    /// Returns what was seen of a local source through `selection`, if anything was.
    pub(crate) fn seen(&self, source: VertexId, selection: Option<&Selection>) -> Option<Stack> {
        let scans = self.scans.lock().unwrap_or_else(PoisonError::into_inner);
        scans.get(&(source, selection.cloned())).and_then(|scan| scan.files.stack().ok().cloned())
    }

    fn forget(&self, vertex: &Vertex) -> Result<(), ExecError> {
        for Input { edge, .. } in &vertex.inputs {
            if let Some(Source::Local(local)) = self.graph[edge.vertex].op.as_source() {
                self.context(local)?.forget();
            }
        }
        self.scans.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    async fn source(
        &self,
        vertex: &Vertex,
        source: &Source,
        cancel: &CancellationToken,
    ) -> Result<Snapshot, StepError<ExecError>> {
        match source {
            // These are read where they are, by the steps that need them.
            Source::Scratch | Source::Local(_) | Source::Inline(_) => Ok(Snapshot::default()),
            Source::Image(image) => {
                let record = self.image(&image.manifest).map_err(failed)?;
                self.sources.shared.snapshot(record, vertex.digest, cancel).await
            }
            Source::Http(http) => Ok(Snapshot::new([self.sources.http(http, vertex.digest, cancel).await?.layer])),
            Source::Git(git) => Ok(Snapshot::new([self.sources.git(git, vertex.digest, cancel).await?.layer])),
        }
    }

    // File operations.

    async fn file(
        &self,
        vertex: &Vertex,
        actions: &[FileAction],
        inputs: &[Snapshot],
    ) -> Result<Execution<Snapshot>, ExecError> {
        let below = open(&inputs[0]).await?;
        let mut changed = None;
        for attempt in 1..=CONTEXT_ATTEMPTS_MAX {
            let is_last = attempt == CONTEXT_ATTEMPTS_MAX;
            let changes = if is_last { Changes::Taken } else { Changes::Refused };
            let sources = self.copy_sources(vertex, inputs).await?;
            let pin = |digest: Digest| changes.pin(digest);
            let pins = sources
                .iter()
                .filter_map(|(place, source)| Some((*place, pin(source.scan.as_ref()?.digest))))
                .collect();
            let (ladder, lenders) = (self.sources.shared.ladder.clone(), self.lenders.clone());
            let store = self.sources.shared.store.clone();
            let (below, actions) = (below.clone(), actions.to_vec());
            let key = lenders::key(self.graph, &self.contexts, vertex)?;
            let tars = self.graph.find(&vertex.digest).is_some_and(|id| self.tars.wants(id)).then(|| self.tars.clone());
            let applied = blocking(move || {
                let new = ladder.new_layer()?;
                let Lent { last, mut lender } = lenders.take(&ladder, &key)?;
                kept_files(&actions, &sources).into_iter().for_each(|kept| lender.lend_kept(kept));
                let source = |place: usize| match sources.get(&place) {
                    Some(source) => Ok(source.as_copy_source(changes)),
                    None => Err(ExecError::Unknown { what: "input", name: place.to_string() }.into()),
                };
                let before = last.as_ref().map(Layer::open).transpose()?;
                let entries = before.as_ref().map(|before| &before.entries);
                match apply(new.writer(lender, below)?, &actions, entries, source) {
                    Ok(written) => {
                        if let Some((tars, layer)) = tars.zip(new.readable(&written)) {
                            let last = last.clone().zip(before.clone());
                            tars.start(new.id(), layer, move || {
                                let (last, before) = last?;
                                // What cannot be read is found out again.
                                let checkpoints = store.tar_checkpoints(&last.id()).ok()??;
                                Some((before.entries, Checkpoints::decode(&checkpoints)?))
                            });
                        }
                        let (layer, lost) = new.complete(&written)?;
                        ladder.remember(&key, &layer, last.as_ref())?;
                        Ok(Ok((layer, lost)))
                    }
                    Err(FileError::Changed { path }) => Ok(Err(path)),
                    Err(FileError::Failed(error)) => Err(error),
                }
            });
            match applied.await? {
                Ok((layer, lost)) => {
                    self.warn_of_lost(vertex, &lost);
                    return Ok(Execution { outputs: vec![inputs[0].with(layer)], pins });
                }
                Err(path) => {
                    self.forget(vertex)?;
                    changed = Some(path);
                }
            }
        }
        Err(ExecError::ContextChanges { path: changed.unwrap_or_default() })
    }

    /// Says that the layer lacks attributes that its files should have.
    fn warn_of_lost(&self, vertex: &Vertex, lost: &LostXattrs) {
        let Some((path, name)) = &lost.first else { return };
        let count = lost.count;
        let short = format!("extended attributes could not be kept, {count} in all: the first is `{name}` of `{path}`");
        let detail = "the file system of the store, or the rights of this process, do not allow them".to_owned();
        self.sources.shared.reporter.report(Report::Warning { step: vertex.digest, short, detail });
    }

    async fn copy_sources(
        &self,
        vertex: &Vertex,
        inputs: &[Snapshot],
    ) -> Result<BTreeMap<usize, OwnedSource>, ExecError> {
        let mut sources = BTreeMap::new();
        for (place, input) in vertex.inputs.iter().enumerate() {
            let Some(Selection::Copy(selection)) = &input.selection else { continue };
            let from = &self.graph[input.edge.vertex];
            let mut held = Snapshot::default();
            let (stack, scan, name) = match from.op.as_source() {
                Some(Source::Local(local)) => {
                    let scan = self.scan(input.edge.vertex, local, input.selection.as_ref()).await?;
                    let seen = scan.clone();
                    let stack = blocking(move || Ok(seen.files.stack()?.clone())).await?;
                    (stack, Some(scan), "build context".to_owned())
                }
                Some(Source::Inline(files)) => {
                    held = inline(self.sources.shared.ladder.clone(), files).await?;
                    (open(&held).await?, None, "heredoc".to_owned())
                }
                // The scratch that stands for a context that nobody gave has no name.
                _ if from.hints.name.is_empty() => (open(&inputs[place]).await?, None, "build context".to_owned()),
                _ => (open(&inputs[place]).await?, None, from.hints.name.clone()),
            };
            sources.insert(place, OwnedSource { stack, _held: held, scan, selection: selection.clone(), name });
        }
        Ok(sources)
    }

    // Commands.

    async fn command(
        &self,
        vertex: &Vertex,
        exec: &Exec,
        inputs: &[Snapshot],
        cancel: &CancellationToken,
    ) -> Result<Execution<Snapshot>, StepError<ExecError>> {
        let mut attempt = 1;
        let (Mounted { bound, seeds }, pins) = loop {
            let changes = if attempt == CONTEXT_ATTEMPTS_MAX { Changes::Taken } else { Changes::Refused };
            let mut pins = BTreeMap::new();
            match self.mount(vertex, exec, (inputs, changes, &mut pins), cancel).await {
                Err(StepError::Failed(ExecError::ContextChanges { .. })) if changes == Changes::Refused => {
                    self.forget(vertex).map_err(failed)?;
                    attempt += 1;
                }
                mounted => break (mounted?, pins),
            }
        };
        let command = Command {
            store: self.sources.shared.store.clone(),
            ladder: self.sources.shared.ladder.clone(),
            launcher: self.launcher().map_err(failed)?,
            reporter: self.sources.shared.reporter.clone(),
            secrets: self.sources.secrets.clone(),
            step: vertex.digest,
            exec: exec.clone(),
            base: inputs[0].clone(),
            stack: open(&inputs[0]).await.map_err(failed)?,
            bound,
            seeds,
            networks: self.sources.networks.clone(),
            limits: self.sources.limits,
        };
        Ok(Execution { outputs: vec![command.run(cancel).await?], pins })
    }

    /// Makes ready what a command mounts of its inputs; `pins` gets the digests of what was taken of local sources.
    async fn mount(
        &self,
        vertex: &Vertex,
        exec: &Exec,
        (inputs, changes, pins): (&[Snapshot], Changes, &mut BTreeMap<usize, Digest>),
        cancel: &CancellationToken,
    ) -> Result<Mounted, StepError<ExecError>> {
        let mut mounted = Mounted::default();
        for mount in &exec.mounts {
            match &mount.kind {
                MountKind::Bind { input } => {
                    let bound = self.bind(vertex, *input, (inputs, changes, pins)).await.map_err(failed)?;
                    mounted.bound.push((*input, bound));
                }
                MountKind::Cache(CacheMount { input: Some(input), .. }) => {
                    let seed = self.seed(vertex, *input, (inputs, changes, pins), cancel).await?;
                    mounted.seeds.push((*input, seed));
                }
                _ => {}
            }
        }
        Ok(mounted)
    }

    async fn seed(
        &self,
        vertex: &Vertex,
        place: usize,
        from: (&[Snapshot], Changes, &mut BTreeMap<usize, Digest>),
        cancel: &CancellationToken,
    ) -> Result<Seed, StepError<ExecError>> {
        let Bound::Snapshot { snapshot, subpath } = self.bind(vertex, place, from).await.map_err(failed)? else {
            return Err(failed(ExecError::Unknown { what: "directory", name: place.to_string() }));
        };
        let selection = vertex.inputs.get(place).and_then(|input| input.selection.as_ref());
        let digest = solver::Executor::content_digest(self, &snapshot, selection, cancel).await?;
        let stack = open(&snapshot).await.map_err(failed)?;
        Ok(Seed { digest, stack, path: subpath, _held: snapshot })
    }

    async fn bind(
        &self,
        vertex: &Vertex,
        place: usize,
        (inputs, changes, pins): (&[Snapshot], Changes, &mut BTreeMap<usize, Digest>),
    ) -> Result<Bound, ExecError> {
        let unknown = || ExecError::Unknown { what: "input", name: place.to_string() };
        let input = vertex.inputs.get(place).ok_or_else(unknown)?;
        let path = match &input.selection {
            Some(Selection::Path(path)) => path.trim_start_matches('/').to_owned(),
            _ => String::new(),
        };
        match self.graph[input.edge.vertex].op.as_source() {
            Some(Source::Inline(files)) => {
                let file = files.iter().find(|file| file.name == path).ok_or_else(unknown)?;
                Ok(Bound::Inline { content: file.content.clone(), mode: file.mode })
            }
            Some(Source::Local(local)) => {
                let scan = self.scan(input.edge.vertex, local, input.selection.as_ref()).await?;
                pins.insert(place, changes.pin(scan.digest));
                let layer = self.materialise(&scan, &path, changes).await?;
                Ok(Bound::Snapshot { snapshot: Snapshot::new([layer]), subpath: path })
            }
            _ => Ok(Bound::Snapshot { snapshot: inputs[place].clone(), subpath: path }),
        }
    }

    /// Makes a layer of what a step sees of a local source, since the host's own directory is never visible to one. It goes away with the step.
    async fn materialise(&self, scan: &Arc<Scan>, path: &str, changes: Changes) -> Result<Layer, ExecError> {
        let (ladder, scan, path) = (self.sources.shared.ladder.clone(), scan.clone(), path.to_owned());
        let written = blocking(move || {
            let new = ladder.new_layer()?;
            let stack = scan.files.stack()?;
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
            let is_directory = stack.resolve(path.as_bytes(), layer::Follow::All).ok().and_then(|it| it.found);
            let is_directory = is_directory.is_none_or(|found| found.entry.kind.is_directory());
            // A directory is copied as what is in it, a file into its directory.
            let destination = if is_directory { format!("/{path}/") } else { format!("/{parent}/") };
            let selection = CopySelection { pattern: path.clone(), ..CopySelection::default() };
            let copy = llb::Copy { input: 0, destination, owner: None, mode: None, unpack: Unpack::Never };
            let source = |_| Ok(CopySource { stack, selection: &selection, changes, name: "build context" });
            let writer = new.writer(Lender::default(), Stack::default())?;
            match apply(writer, &[FileAction::Copy(copy)], None, source) {
                Ok(written) => Ok(new.complete(&written)?.0),
                Err(FileError::Changed { path }) => Err(ExecError::ContextChanges { path }),
                Err(FileError::Failed(error)) => Err(error),
            }
            .inspect(|_| debug_assert!(is_directory || !name.is_empty()))
        });
        written.await
    }
}

/// What a command mounts of its inputs, each with the place of the input.
#[derive(Default)]
struct Mounted {
    bound: Vec<(usize, Bound)>,
    seeds: Vec<(usize, Seed)>,
}

/// Returns what was kept of the sources of actions while they were read, each once.
fn kept_files<'s>(actions: &[FileAction], sources: &'s BTreeMap<usize, OwnedSource>) -> Vec<&'s KeptFiles> {
    let of_action = |action: &FileAction| match action {
        FileAction::Copy(copy) => Some((copy.input, sources.get(&copy.input)?.kept(copy.unpack)?)),
        FileAction::MakeDir(_) => None,
    };
    let by_source: BTreeMap<usize, &KeptFiles> = actions.iter().filter_map(of_action).collect();
    by_source.into_values().collect()
}

/// Something that is copied from, owned by the thread that copies.
struct OwnedSource {
    stack: Stack,
    /// Keeps the layers of the stack that nobody else does.
    _held: Snapshot,
    scan: Option<Arc<Scan>>,
    selection: CopySelection,
    name: String,
}

impl OwnedSource {
    fn as_copy_source(&self, changes: Changes) -> CopySource<'_> {
        let changes = if self.scan.is_some() { changes } else { Changes::Impossible };
        CopySource { stack: &self.stack, selection: &self.selection, changes, name: &self.name }
    }

    /// Returns the files that were kept while they were read, if a layer takes at least half of them: what nobody needs would be kept for ever.
    fn kept(&self, unpack: Unpack) -> Option<&KeptFiles> {
        let kept = self.scan.as_ref()?.files.kept()?;
        let takes_all = unpack == Unpack::Never && self.selection.takes_all_that_is_named();
        // Archives are not taken as they are; whatever is named itself may be one.
        let is_worth = || select::bytes_in_directories(&self.stack, &self.selection) >= kept.size_bytes() / 2;
        (takes_all || is_worth()).then_some(kept)
    }
}

impl Drop for Executor<'_> {
    /// Leaves many files that were seen to another thread, which takes milliseconds. Those that were kept go at once: something on the disk goes with them.
    fn drop(&mut self) {
        let scans = std::mem::take(self.scans.get_mut().unwrap_or_else(PoisonError::into_inner));
        let is_large = scans.values().any(|scan| scan.files.len() >= SEEN_DROPPED_MAX);
        if is_large && scans.values().all(|scan| scan.files.kept().is_none()) {
            let memories: Vec<_> = self.contexts.values().map(|context| context.take_memory()).collect();
            rayon::spawn(move || drop((scans, memories)));
        }
    }
}

impl solver::Executor for Executor<'_> {
    type Snapshot = Snapshot;
    type Error = ExecError;

    async fn pin(
        &self,
        source: &Vertex,
        selection: Option<&Selection>,
        cancel: &CancellationToken,
    ) -> Result<Digest, StepError<ExecError>> {
        match source.op.as_source() {
            Some(Source::Image(image)) => {
                let record = self.image(&image.manifest).map_err(failed)?;
                Ok(chain_digest(record.layers.iter().map(|layer| layer.diff_id)))
            }
            Some(Source::Local(local)) => {
                let id = self.graph.find(&source.digest);
                let id = id.ok_or_else(|| failed(ExecError::Unknown { what: "source", name: local.name.clone() }))?;
                let name = source.hints.name.clone();
                let step = Digest::of(name.as_bytes());
                let internal = |is_done| Report::Internal { step, name: name.clone(), is_done };
                self.sources.shared.reporter.report(internal(false));
                let scan = self.scan(id, local, selection).await;
                self.sources.shared.reporter.report(internal(true));
                Ok(scan.map_err(failed)?.digest)
            }
            Some(Source::Http(http)) => {
                if let Some(pin) = http::known_pin(http, selection) {
                    return Ok(pin);
                }
                let layer = self.sources.http(http, source.digest, cancel).await?.layer;
                self.content_digest(&Snapshot::new([layer]), selection, cancel).await
            }
            Some(Source::Git(git)) => self.sources.git_pin(git, selection, cancel).await,
            // What they are stands in the operation itself.
            Some(Source::Scratch | Source::Inline(_)) | None => {
                let mut hasher = Hasher::new();
                hasher.field(source.key_digest.as_bytes());
                hasher.field(
                    selection.map(Selection::digest).as_ref().map_or(&[], |digest| digest.as_bytes().as_slice()),
                );
                Ok(hasher.finish())
            }
        }
    }

    async fn content_digest(
        &self,
        snapshot: &Snapshot,
        selection: Option<&Selection>,
        _cancel: &CancellationToken,
    ) -> Result<Digest, StepError<ExecError>> {
        let mut layers = Vec::with_capacity(snapshot.layers.len());
        for layer in snapshot.layers.iter() {
            layers.push(layer.record().await.map_err(failed)?.content);
        }
        let whole = chain_digest(layers);
        let Some(selection) = selection else { return Ok(whole) };
        let key = select::digest_key(&whole, selection);
        let store = &self.sources.shared.store;
        // What cannot be remembered is computed again.
        if let Ok(Some(digest)) = store.selected_digest(&key) {
            return Ok(digest);
        }
        let (stack, wanted) = (open(snapshot).await.map_err(failed)?, selection.clone());
        let digest =
            blocking(move || select::digest(&stack, &wanted).map_err(|error| select_error(error, "stage", None)));
        let digest = digest.await.map_err(failed)?;
        if self.purpose == Purpose::Build {
            // As above.
            let _ = store.put_selected_digest(&key, &digest);
        }
        Ok(digest)
    }

    async fn execute(
        &self,
        vertex: &Vertex,
        inputs: Vec<Snapshot>,
        cancel: &CancellationToken,
    ) -> Result<Execution<Snapshot>, StepError<ExecError>> {
        let output = match &vertex.op {
            Op::Source(source) => self.source(vertex, source, cancel).await?,
            Op::Exec(exec) => return self.command(vertex, exec, &inputs, cancel).await,
            Op::File(actions) => return self.file(vertex, actions, &inputs).await.map_err(failed),
            Op::Merge => merge(&inputs),
        };
        Ok(Execution { outputs: vec![output], pins: BTreeMap::new() })
    }
}

/// Stacks the layers of the further inputs, each made on nothing, on top of the first.
fn merge(inputs: &[Snapshot]) -> Snapshot {
    Snapshot::new(inputs.iter().flat_map(|input| input.layers.iter().cloned()).collect::<Vec<_>>())
}

pub(crate) fn select_error(error: SelectError, source_name: &str, context: Option<&Context>) -> ExecError {
    match error {
        SelectError::NotFound(path) => {
            let is_ignored = context.is_some_and(|context| context.hides(&path));
            ExecError::NotFound { source_name: source_name.to_owned(), path, is_ignored }
        }
        SelectError::Resolve(source) => ExecError::Resolve { path: String::new(), source },
    }
}
