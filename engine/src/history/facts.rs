//! What is known of a step: enough to say later what has changed.

use llb::{Graph, Input, Op, Selection, VertexId};
use oci::Digest;
use serde::{Deserialize, Serialize};
use solver::StepKeys;

/// What is known of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepFacts {
    /// Names the step in its build.
    pub(crate) step: Digest,
    /// `[build 2/4] RUN make`.
    pub(crate) name: String,
    /// Its stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stage: Option<String>,
    /// The operation as its keys see it: JSON.
    pub(crate) op: String,
    /// The definition key.
    pub(crate) definition: Digest,
    /// Whether it ignored the cache.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) ignore_cache: bool,
    /// What it needs.
    pub(crate) inputs: Vec<InputFacts>,
}

/// What is known of an input of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InputFacts {
    /// The step that makes it, or the source.
    pub(crate) step: Digest,
    /// Its name.
    pub(crate) name: String,
    /// Of a source: its kind, and for images the reference and the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<SourceFacts>,
    /// Of a source: the digest of what the step saw of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pin: Option<Digest>,
    /// Which files of it the step sees: a pattern or a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) selection: Option<String>,
}

/// What is known of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SourceFacts {
    /// An image, by its name and its manifest.
    Image(String, Digest),
    /// A build context, by its name.
    Local(String),
    /// A file behind a URL.
    Http(String),
    /// Anything else: what it is stands in the operation.
    Other,
}

impl StepFacts {
    /// Gathers what is known of a step that is no source.
    pub(crate) fn of(graph: &Graph, id: VertexId, keys: &StepKeys) -> Self {
        let vertex = &graph[id];
        let op = match &vertex.op {
            Op::Exec(exec) => serde_json::to_string(&Op::Exec(Box::new(exec.keyed()))),
            op => serde_json::to_string(op),
        };
        let pins = keys.pins.iter().copied().chain(std::iter::repeat(None));
        let inputs = vertex.inputs.iter().zip(pins).map(|(input, pin)| InputFacts::of(graph, input, pin));
        Self {
            step: vertex.digest,
            name: vertex.hints.name.clone(),
            stage: vertex.hints.stage.clone(),
            op: op.expect("operations have string keys and no floats, so JSON cannot fail"),
            definition: keys.definition,
            ignore_cache: vertex.hints.ignore_cache,
            inputs: inputs.collect(),
        }
    }

    /// Returns the instruction without the step's place: `RUN make` of `[build 2/4] RUN make`.
    pub(crate) fn instruction(&self) -> &str {
        instruction(&self.name)
    }

    /// Returns the step's place without the number of steps: `build 2` of `[build 2/4] RUN make`.
    pub(crate) fn place(&self) -> &str {
        let place = self.name.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or("", |(place, _)| place);
        place.rsplit_once('/').map_or(place, |(place, _)| place)
    }

    /// Returns the kind of the operation: `exec`, `file`, `merge`.
    pub(crate) fn kind(&self) -> &str {
        self.op.trim_start_matches(['{', '"']).split('"').next().unwrap_or_default()
    }
}

impl InputFacts {
    fn of(graph: &Graph, input: &Input, pin: Option<Digest>) -> Self {
        let vertex = &graph[input.edge.vertex];
        let selection = input.selection.as_ref().map(|selection| match selection {
            Selection::Path(path) => path.clone(),
            Selection::Copy(copy) => copy.pattern.clone(),
        });
        let source = vertex.op.as_source().map(|source| match source {
            llb::Source::Image(image) => SourceFacts::Image(image.reference.familiar(), image.manifest),
            llb::Source::Local(local) => SourceFacts::Local(local.name.clone()),
            llb::Source::Http(http) => SourceFacts::Http(http.url.clone()),
            llb::Source::Scratch | llb::Source::Inline(_) | llb::Source::Git(_) => SourceFacts::Other,
        });
        Self { step: vertex.digest, name: vertex.hints.name.clone(), source, pin, selection }
    }
}

/// Returns the instruction of a step's name, without its place.
pub(crate) fn instruction(name: &str) -> &str {
    match name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((_, instruction)) => instruction,
        None => name,
    }
}
