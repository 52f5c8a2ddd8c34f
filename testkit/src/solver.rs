//! Fakes of the solver's ports, and graphs as text.
//!
//! A graph is a line a step, the last line the target:
//! ```text
//! ctx@a=1,b=2     a source with two files; `ctx{a}` as an input sees only the first
//! x: ctx{a}       a step that makes something of what it sees
//! y=same: x       a step that makes `same` whatever it sees
//! z!2: y x        a step whose operation is another one than that of `z`
//! f=%boom: x      a step that fails with `boom`
//! w=~: x          a step that runs until the build is stopped
//! m=&2: x         a step that runs until two such steps run at the same time
//! n*: x           a step that ignores the cache
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use llb::{Edge, Graph, Hints, HttpSource, Input, Op, Selection, Source, Vertex, VertexId};
use oci::{Digest, Platform};
use solver::{Cache, Execution, Executor, Found, Record, StepError};
use tokio::sync::{Barrier, Notify};
use tokio_util::sync::CancellationToken;

/// A graph and what its steps do.
pub struct World {
    /// The graph.
    pub graph: Graph,
    /// The step of the last line.
    pub target: Edge,
    /// The steps by the names of their lines.
    pub steps: BTreeMap<String, VertexId>,
    contents: BTreeMap<String, String>,
}

impl World {
    /// Reads a graph from text; panics where a line is wrong.
    pub fn parse(text: &str) -> Self {
        let mut graph = Graph::new();
        let mut steps = BTreeMap::new();
        let mut contents = BTreeMap::new();
        let mut target = None;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (head, inputs) = line.split_once(':').unwrap_or((line, ""));
            let (head, content) = match head.split_once(['=', '@']) {
                Some((name, content)) => (name, Some(content)),
                None => (head, None),
            };
            let (label, ignore_cache) = match head.strip_suffix('*') {
                Some(label) => (label, true),
                None => (head, false),
            };
            let name = label.split('!').next().unwrap_or_default().to_owned();
            if let Some(content) = content {
                contents.insert(label.to_owned(), content.to_owned());
            }
            let inputs = inputs.split_whitespace().map(|input| parse_input(input, &steps)).collect();
            let op = if line.contains('@') { source(label) } else { exec(label) };
            let hints = Hints { name: name.clone(), ignore_cache, ..Default::default() };
            let id = graph.add(op, inputs, hints).expect("inputs stand above");
            steps.insert(name, id);
            target = Some(Edge::from(id));
        }
        Self { graph, target: target.expect("a graph has a line"), steps, contents }
    }
}

fn parse_input(text: &str, steps: &BTreeMap<String, VertexId>) -> Input {
    let (name, selection) = match text.strip_suffix('}').and_then(|text| text.split_once('{')) {
        Some((name, path)) => (name, Some(Selection::Path(path.to_owned()))),
        None => (text, None),
    };
    let id = *steps.get(name).unwrap_or_else(|| panic!("no step `{name}` stands above"));
    Input { edge: id.into(), selection }
}

fn source(label: &str) -> Op {
    Op::Source(Source::Http(HttpSource { url: label.to_owned(), checksum: None, filename: None, mode: 0o600 }))
}

fn exec(label: &str) -> Op {
    Op::Exec(Box::new(llb::Exec {
        args: vec![label.to_owned()],
        env: Vec::new(),
        proxy_env: Vec::new(),
        cwd: "/".to_owned(),
        user: String::new(),
        hostname: None,
        mounts: Vec::new(),
        network: llb::NetworkMode::Default,
        security: llb::SecurityMode::Sandbox,
        devices: Vec::new(),
        extra_hosts: Vec::new(),
        limits: llb::Limits::default(),
        platform: Platform::new("linux", "amd64", None),
    }))
}

fn label(vertex: &Vertex) -> &str {
    match &vertex.op {
        Op::Exec(exec) => &exec.args[0],
        Op::Source(Source::Http(http)) => &http.url,
        op => unreachable!("worlds have only commands and URLs, not {op:?}"),
    }
}

/// What a fake step left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeSnapshot {
    /// The name of the step and the number of the run that made it, counted over all builds of an executor.
    pub made_by: String,
    /// What is in it.
    pub content: String,
}

impl FakeSnapshot {
    fn see(&self, selection: Option<&Selection>) -> String {
        let Some(Selection::Path(path)) = selection else { return self.content.clone() };
        let file = |part: &str| part.split_once('=').filter(|(name, _)| name == path).map(|(_, file)| file.to_owned());
        self.content.split(',').find_map(file).unwrap_or_default()
    }
}

/// Why a fake step failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FakeError(pub String);

/// Makes text of text, and remembers which steps ran.
#[derive(Default)]
pub struct FakeExecutor {
    contents: Mutex<BTreeMap<String, String>>,
    runs: Mutex<Vec<String>>,
    count: AtomicUsize,
    barriers: Mutex<BTreeMap<usize, std::sync::Arc<Barrier>>>,
    /// What a source's content becomes between being pinned and being read.
    pub changes: Mutex<BTreeMap<String, String>>,
}

impl FakeExecutor {
    /// Takes over what the steps of `world` make.
    pub fn enter(&self, world: &World) {
        *self.contents.lock().expect("no test panics while it holds this") = world.contents.clone();
    }

    /// Returns the names of the steps that ran since the last call, sorted, without sources.
    pub fn take_runs(&self) -> Vec<String> {
        let mut runs = std::mem::take(&mut *self.runs.lock().expect("no test panics while it holds this"));
        runs.sort();
        runs
    }

    fn content_of(&self, vertex: &Vertex) -> Option<String> {
        self.contents.lock().expect("no test panics while it holds this").get(label(vertex)).cloned()
    }

    fn start(&self, vertex: &Vertex) -> String {
        let name = vertex.hints.name.clone();
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        if vertex.op.as_source().is_none() {
            self.runs.lock().expect("no test panics while it holds this").push(name.clone());
        }
        format!("{name}#{number}")
    }

    async fn behave(&self, content: &str, cancel: &CancellationToken) -> Result<(), StepError<FakeError>> {
        if let Some(message) = content.strip_prefix('%') {
            return Err(StepError::Failed(FakeError(message.to_owned())));
        }
        if content == "~" {
            cancel.cancelled().await;
            return Err(StepError::Cancelled);
        }
        if let Some(count) = content.strip_prefix('&') {
            let count = count.parse().expect("a number of steps stands behind `&`");
            let barrier = {
                let mut barriers = self.barriers.lock().expect("no test panics while it holds this");
                barriers.entry(count).or_insert_with(|| std::sync::Arc::new(Barrier::new(count))).clone()
            };
            barrier.wait().await;
        }
        Ok(())
    }
}

impl Executor for FakeExecutor {
    type Snapshot = FakeSnapshot;
    type Error = FakeError;

    async fn pin(
        &self,
        source: &Vertex,
        selection: Option<&Selection>,
        _cancel: &CancellationToken,
    ) -> Result<Digest, StepError<FakeError>> {
        let content = self.content_of(source).unwrap_or_default();
        if let Some(message) = content.strip_prefix('%') {
            return Err(StepError::Failed(FakeError(message.to_owned())));
        }
        let snapshot = FakeSnapshot { made_by: String::new(), content };
        Ok(Digest::of(snapshot.see(selection).as_bytes()))
    }

    async fn content_digest(
        &self,
        snapshot: &FakeSnapshot,
        selection: Option<&Selection>,
        _cancel: &CancellationToken,
    ) -> Result<Digest, StepError<FakeError>> {
        Ok(Digest::of(snapshot.see(selection).as_bytes()))
    }

    async fn execute(
        &self,
        vertex: &Vertex,
        mut inputs: Vec<FakeSnapshot>,
        cancel: &CancellationToken,
    ) -> Result<Execution<FakeSnapshot>, StepError<FakeError>> {
        let made_by = self.start(vertex);
        let mut pins = BTreeMap::new();
        for (place, (input, snapshot)) in vertex.inputs.iter().zip(&mut inputs).enumerate() {
            let source = snapshot.made_by.split('#').next().unwrap_or_default();
            if let Some(now) = self.changes.lock().expect("no test panics while it holds this").get(source) {
                snapshot.content.clone_from(now);
                pins.insert(place, Digest::of(snapshot.see(input.selection.as_ref()).as_bytes()));
            }
        }
        let content = self.content_of(vertex);
        self.behave(content.as_deref().unwrap_or_default(), cancel).await?;
        let content = content.unwrap_or_else(|| {
            let seen = vertex.inputs.iter().zip(&inputs).map(|(input, it)| it.see(input.selection.as_ref()));
            format!("{}({})", label(vertex), seen.collect::<Vec<_>>().join(" "))
        });
        Ok(Execution { outputs: vec![FakeSnapshot { made_by, content }], pins })
    }
}

/// Remembers results in memory; equal content is one snapshot.
#[derive(Default)]
pub struct FakeCache {
    results: Mutex<BTreeMap<Digest, Vec<FakeSnapshot>>>,
    ops: Mutex<BTreeSet<Digest>>,
    snapshots: Mutex<BTreeMap<Digest, FakeSnapshot>>,
    held: Mutex<BTreeSet<Digest>>,
    released: std::sync::Arc<Notify>,
}

/// A held key of a [`FakeCache`].
pub struct FakeLock<'a> {
    cache: &'a FakeCache,
    key: Digest,
}

impl Drop for FakeLock<'_> {
    fn drop(&mut self) {
        self.cache.held.lock().expect("no test panics while it holds this").remove(&self.key);
        self.cache.released.notify_waiters();
    }
}

impl<'a> Cache for &'a FakeCache {
    type Snapshot = FakeSnapshot;
    type Lock = FakeLock<'a>;

    fn find(&self, key: &Digest) -> Option<Found<FakeSnapshot>> {
        let results = self.results.lock().expect("no test panics while it holds this");
        results.get(key).cloned().map(|outputs| Found { outputs })
    }

    fn knows(&self, op: &Digest) -> bool {
        self.ops.lock().expect("no test panics while it holds this").contains(op)
    }

    async fn lock(&self, key: &Digest, cancel: &CancellationToken) -> Option<FakeLock<'a>> {
        loop {
            // Enabled before the key is tried, so that a release between the two is not missed.
            let mut released = std::pin::pin!(self.released.notified());
            released.as_mut().enable();
            if self.held.lock().expect("no test panics while it holds this").insert(*key) {
                return Some(FakeLock { cache: self, key: *key });
            }
            tokio::select! {
                () = released => {}
                () = cancel.cancelled() => return None,
            }
        }
    }

    fn alias(&self, definition: &Digest, content: &Digest) {
        let mut results = self.results.lock().expect("no test panics while it holds this");
        if let Some(outputs) = results.get(content).cloned() {
            results.insert(*definition, outputs);
        }
    }

    async fn record(&self, record: Record<FakeSnapshot>) -> Vec<FakeSnapshot> {
        let mut snapshots = self.snapshots.lock().expect("no test panics while it holds this");
        let keep = |(snapshot, digest): (FakeSnapshot, Digest)| {
            if record.replace {
                snapshots.insert(digest, snapshot.clone());
                return snapshot;
            }
            snapshots.entry(digest).or_insert(snapshot).clone()
        };
        let outputs: Vec<FakeSnapshot> = record.outputs.into_iter().map(keep).collect();
        let mut results = self.results.lock().expect("no test panics while it holds this");
        results.insert(record.definition, outputs.clone());
        results.insert(record.content, outputs.clone());
        self.ops.lock().expect("no test panics while it holds this").insert(record.op);
        outputs
    }
}
