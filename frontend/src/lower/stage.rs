//! A stage in the making: its file system so far, its config, its variables.

use std::collections::BTreeMap;

use llb::Edge;
use oci::{History, ImageConfig, Platform, Timestamp};

use crate::expand::{Environment, Meter};
use crate::source::Span;

use super::args::{ArgumentRecord, Declared, ENTRY_BYTES};
use super::error::LowerProblem;
use super::names::Steps;

/// What the history of an image says of its builder; that of BuildKit, since both make the same.
const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";
/// What a history says of layers that no instruction accounts for.
const EXPORTER_COMMENT: &str = "buildkit.exporter.image.v0";
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A stage in the making.
#[derive(Clone, Debug)]
pub(super) struct Built {
    /// The file system; `None` is the empty one.
    pub(super) edge: Option<Edge>,
    pub(super) config: ImageConfig,
    pub(super) platform: Platform,
    /// Variables of substitution and of commands: those of the config, and arguments.
    pub(super) environment: Environment,
    /// The arguments that were declared.
    pub(super) args: Declared,
    /// The absolute directory of commands.
    pub(super) dir: String,
    /// How many entries of the history are the base image's.
    pub(super) base_history: usize,
    /// Whether the file has set the directory.
    pub(super) dir_set: bool,
    /// Where the stage has `CMD`, `ENTRYPOINT` and `HEALTHCHECK`.
    pub(super) once: Once,
    pub(super) steps: Steps,
    pub(super) outline: Outlined,
}

/// Where a stage has what counts only once.
#[derive(Clone, Debug, Default)]
pub(super) struct Once {
    pub(super) cmd: Option<(Span, llb::LineRange)>,
    pub(super) entrypoint: Option<(Span, llb::LineRange)>,
    pub(super) health_check: Option<(Span, llb::LineRange)>,
}

/// What a stage takes from outside, for the outline of a target.
#[derive(Clone, Debug, Default)]
pub(super) struct Outlined {
    /// The arguments that can be used here, by name.
    pub(super) args: BTreeMap<String, ArgumentRecord>,
    /// The names of those that are.
    pub(super) used_args: std::collections::BTreeSet<String>,
    /// Secrets by id, with whether they are required.
    pub(super) secrets: BTreeMap<String, (bool, llb::LineRange)>,
    /// SSH agents by id, with whether they are required.
    pub(super) ssh: BTreeMap<String, (bool, llb::LineRange)>,
}

impl Built {
    /// Returns a stage on top of a base.
    pub(super) fn on(edge: Option<Edge>, config: ImageConfig, platform: Platform) -> Self {
        Self {
            edge,
            platform,
            environment: Environment::new(),
            args: Declared::default(),
            dir: "/".to_owned(),
            base_history: config.history.len(),
            config,
            dir_set: false,
            once: Once::default(),
            steps: Steps::default(),
            outline: Outlined::default(),
        }
    }

    /// Returns the stage whose base this one is.
    pub(super) fn child(&self) -> Self {
        let mut child = Self { once: Once::default(), steps: Steps::default(), ..self.clone() };
        // Triggers are for the direct child alone, which has them among its instructions.
        child.config.config.on_build.clear();
        child
    }

    /// Gets ready for instructions: sets what the base's config says.
    pub(super) fn begin(&mut self) {
        let config = &mut self.config.config;
        let has_path = config.env.iter().any(|entry| entry == "PATH" || entry.starts_with("PATH="));
        if !has_path && self.platform.os != "windows" {
            config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        for entry in &config.env {
            let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
            self.environment.set(key, value);
        }
        if !config.working_dir.is_empty() {
            self.dir = crate::go::join_path("/", &config.working_dir);
        }
    }

    /// Sets a variable of the image.
    pub(super) fn set_env(&mut self, key: &str, value: &str) {
        self.environment.set(key, value);
        let entry = [key, "=", value].concat();
        let env = &mut self.config.config.env;
        let name = |entry: &str| entry.find('=').unwrap_or(entry.len());
        match env.iter_mut().find(|entry| entry.starts_with(key) && name(entry) == key.len()) {
            Some(earlier) => *earlier = entry,
            None => env.push(entry),
        }
    }

    /// Returns about how many bytes a copy takes.
    pub(super) fn size_bytes(&self) -> usize {
        let history: usize = self.config.history.iter().map(|entry| entry.created_by.len() + ENTRY_BYTES).sum();
        history + self.args.size_bytes() + 2 * self.environment_bytes()
    }

    /// Returns about how many bytes the variables of a command take.
    pub(super) fn environment_bytes(&self) -> usize {
        self.environment.size_bytes() + self.environment.len() * ENTRY_BYTES
    }

    /// Adds an entry to the history.
    pub(super) fn record(
        &mut self,
        created_by: String,
        layer: Layer,
        epoch: Option<Timestamp>,
        meter: &Meter,
    ) -> Result<(), LowerProblem> {
        meter.keep(created_by.len())?;
        let empty_layer = layer == Layer::None;
        let comment = HISTORY_COMMENT.to_owned();
        self.config.history.push(History { created: epoch, created_by, author: String::new(), comment, empty_layer });
        Ok(())
    }

    /// Returns a command for the shell of the image.
    pub(super) fn with_shell(&self, line: &str) -> Vec<String> {
        let shell = &self.config.config.shell;
        match (shell.is_empty(), self.config.os.as_str()) {
            (false, _) => shell.iter().cloned().chain([line.to_owned()]).collect(),
            (true, "windows") => ["cmd", "/S", "/C", line].map(str::to_owned).into(),
            (true, _) => ["/bin/sh", "-c", line].map(str::to_owned).into(),
        }
    }
}

/// Whether an instruction makes a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    One,
    None,
}

/// Returns the config of an image without anything.
pub(super) fn empty_config(platform: &Platform) -> ImageConfig {
    let mut config = ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        os_version: platform.os_version.clone(),
        os_features: platform.os_features.clone(),
        variant: platform.variant.clone(),
        ..ImageConfig::default()
    };
    config.config.working_dir = "/".to_owned();
    // Windows has a path of its own already.
    if platform.os != "windows" {
        config.config.env = vec![format!("PATH={DEFAULT_PATH}")];
    }
    config
}

/// Makes the history account for each layer: entries are added at the end for those that it does not name, and the first of those that are too many become empty.
pub(super) fn account_for_layers(config: &mut ImageConfig, layers: usize) {
    let named = config.history.iter().filter(|entry| !entry.empty_layer).count();
    config
        .history
        .iter_mut()
        .filter(|entry| !entry.empty_layer)
        .take(named.saturating_sub(layers))
        .for_each(|entry| entry.empty_layer = true);
    for _ in named..layers {
        config.history.push(History { comment: EXPORTER_COMMENT.to_owned(), ..History::default() });
    }
}

/// Returns the entry of a layer that is no instruction's, such as that of a named context.
pub(super) fn foreign_layer(created_by: &str) -> History {
    History { created_by: created_by.to_owned(), comment: EXPORTER_COMMENT.to_owned(), ..History::default() }
}
