//! What stages stand on: images and named contexts, with their configs.

use llb::{Edge, Hints, ImageOrigin, ImageSource, Op, Source};
use oci::{ImageConfig, Platform, Reference};

use crate::checks::Rule;
use crate::expand::Environment;
use crate::go;
use crate::known::{ImageQuery, KnownImage};
use crate::suggest;

use super::contexts::ContextFiles;
use super::error::{Fault, LowerProblem};
use super::names::Steps;
use super::node::{NodeId, SCRATCH};
use super::pass::Pass;
use super::session::Stopped;
use super::stage::{Built, account_for_layers, empty_config};

/// Images that many files name; what a wrong name was meant to be is looked for among them.
const COMMON_IMAGES: [&str; 7] = ["alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora"];

impl Pass<'_, '_> {
    /// Resolves the bases of all nodes that the target needs, and those that the triggers of these bases need in turn; returns which nodes are needed.
    pub(super) fn resolve(&mut self, target: NodeId) -> Result<Vec<bool>, Stopped> {
        loop {
            let reachable = self.reachable(target);
            self.built.resize_with(self.nodes.list.len(), || None);
            self.done.resize(self.nodes.list.len(), false);
            let mut is_complete = true;
            for (id, is_reachable) in reachable.iter().enumerate() {
                if self.nodes.list[id].base.is_some() || self.built[id].is_some() {
                    continue;
                }
                is_complete &= if *is_reachable { self.resolve_node(id) } else { self.check_name(id) };
            }
            if !is_complete {
                return Err(Stopped);
            }
            if !self.add_triggers(&reachable)? {
                return Ok(reachable);
            }
        }
    }

    /// Resolves the base of a node; tells whether it is known now.
    fn resolve_node(&mut self, id: NodeId) -> bool {
        match self.base_of(id) {
            Ok(Some(built)) => {
                let node = &self.nodes.list[id];
                self.done[id] = node.stage.is_none() || node.context.is_some();
                self.built[id] = Some(built);
                true
            }
            Ok(None) => false,
            Err(fault) => {
                self.node_error(id, fault);
                false
            }
        }
    }

    /// Checks the name of a base that nothing needs: a wrong one is an error all the same. Tells whether it is right.
    fn check_name(&mut self, id: NodeId) -> bool {
        let node = &self.nodes.list[id];
        let is_scratch = node.base_name == SCRATCH && node.context.is_none();
        match self.base_reference(id) {
            Err(fault) if !is_scratch => {
                self.node_error(id, fault);
                false
            }
            _ => true,
        }
    }

    /// Returns the name of a node's base as that of an image.
    fn base_reference(&self, id: NodeId) -> Result<Reference, Fault> {
        let node = &self.nodes.list[id];
        let span = node.stage.map_or(node.site.span, |stage| stage.base.span);
        let problem = |source| LowerProblem::BaseReference { base: go::quote(&node.base_name), source };
        node.base_name.parse().map_err(|source| Fault::at(problem(source), span))
    }

    fn base_of(&mut self, id: NodeId) -> Result<Option<Built>, Fault> {
        let node = &self.nodes.list[id];
        if node.base_name == SCRATCH && node.context.is_none() {
            // Whatever `--platform` says: what is made of nothing is made for the target.
            let platform = self.target.platform.clone();
            return Ok(Some(self.with_steps(id, Built::on(None, empty_config(&platform), platform))));
        }
        let (name, context) = (node.base_name.clone(), node.context.clone());
        let span = node.stage.map_or(node.site.span, |stage| stage.base.span);
        let platform = node.platform.clone().unwrap_or_else(|| self.target.platform.clone());
        let reference = self.base_reference(id)?;
        if let Some(key) = context {
            let files = self.load_context(&key, &platform)?;
            return Ok(files.map(|files| replaced(files, &platform)));
        }
        if let Some(key) = self.find_image_context(&reference, &platform) {
            let files = self.load_context(&key, &platform)?;
            return Ok(files.map(|files| self.with_steps(id, on_context(files, &platform))));
        }
        let query = ImageQuery {
            step_name: self.metadata_name(&reference, &platform),
            reference,
            platform,
            origin: ImageOrigin::StoreOrRegistry,
        };
        match self.session.image(&query) {
            None => Ok(None),
            Some(Ok(image)) => self.on_image(id, query, image).map(Some),
            Some(Err(problem)) => {
                let problem =
                    LowerProblem::Image { suggestion: self.image_suggestion(&name), problem: problem.to_owned(), name };
                Err(Fault::at(problem, span))
            }
        }
    }

    fn metadata_name(&self, reference: &Reference, platform: &Platform) -> String {
        let platform = if self.target.is_named { format!("{platform} ") } else { String::new() };
        format!("[{platform}internal] load metadata for {reference}")
    }

    fn image_suggestion(&self, name: &str) -> String {
        let stages = self.nodes.list.iter().map(|node| node.name.as_str()).filter(|stage| !stage.is_empty());
        suggest::did_you_mean(name, stages.chain(COMMON_IMAGES))
    }

    fn on_image(&mut self, id: NodeId, query: ImageQuery, image: &KnownImage) -> Result<Built, Fault> {
        let node = &self.nodes.list[id];
        let (site, is_stage) = (node.site, node.stage.is_some());
        let platform = match node.platform {
            None if !self.target.is_chosen => self.detected(&image.config, &query.platform),
            _ => query.platform.clone(),
        };
        let mut built = self.with_steps(id, Built::on(None, ImageConfig::default(), platform.clone()));
        let text = format!("FROM {}", pinned(&query.reference, image));
        let (edge, config) = self.image_files(&query, image, || {
            let prefix = built.steps.next_prefix(&platform, &Environment::new(), false);
            built.steps.hints_of_base(format!("{prefix}{text}"), site)
        })?;
        (built.edge, built.base_history, built.config) = (edge, config.history.len(), config);
        if built.edge.is_some() && is_stage {
            self.report_platform_of_base(id, &platform, &image.config);
        }
        Ok(built)
    }

    /// Returns the platform that an image is for, where it is one that can be built for here.
    fn detected(&self, config: &ImageConfig, wanted: &Platform) -> Platform {
        let fits = |platform: &Platform| platform.os == config.os && platform.architecture == config.architecture;
        let build = &self.session.request.build_platform;
        if !fits(wanted) && fits(build) { build.clone() } else { wanted.clone() }
    }

    fn report_platform_of_base(&mut self, id: NodeId, expected: &Platform, config: &ImageConfig) {
        let node = &self.nodes.list[id];
        if expected.os == config.os && expected.architecture == config.architecture {
            return;
        }
        let quoted = |platform: &Platform| go::quote(&platform.to_string());
        let message = format!(
            "Base image {} was pulled with platform {}, expected {} for current build",
            node.base_name,
            quoted(&config.platform()),
            quoted(expected)
        );
        let span = node.stage.map_or(node.site.span, |stage| stage.base.span);
        self.session.reports.warn(Rule::InvalidBaseImagePlatform, node.site, span, message);
    }

    /// Adds the step that brings an image in, unless the image has no layers, and returns its config as that of a base.
    pub(super) fn image_files(
        &mut self,
        query: &ImageQuery,
        image: &KnownImage,
        hints: impl FnOnce() -> Hints,
    ) -> Result<(Option<Edge>, ImageConfig), LowerProblem> {
        let mut config = image.config.clone();
        config.created = None;
        let layers = config.rootfs.diff_ids.len();
        let has_files = layers > 0 || config.history.iter().any(|entry| !entry.empty_layer);
        if layers > 0 {
            account_for_layers(&mut config, layers);
        }
        if !has_files {
            return Ok((None, config));
        }
        let source = ImageSource {
            reference: query.reference.clone(),
            manifest: image.manifest,
            platform: image.platform.clone(),
            origin: query.origin.clone(),
        };
        let edge = self.session.add(Op::Source(Source::Image(Box::new(source))), Vec::new(), hints())?;
        Ok((Some(edge), config))
    }

    fn with_steps(&self, id: NodeId, built: Built) -> Built {
        Built { steps: self.steps_of(id), ..built }
    }

    /// Returns the count of a node's steps, at its beginning.
    pub(super) fn steps_of(&self, id: NodeId) -> Steps {
        let node = &self.nodes.list[id];
        Steps::new(&node.name, node.total, self.target.is_named, node.ignore_cache)
    }
}

/// Returns the image's name with the digest that it led to.
fn pinned(reference: &Reference, image: &KnownImage) -> String {
    let tag = reference.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
    format!("{}/{}{tag}@{}", reference.registry(), reference.repository(), image.digest)
}

/// Returns the stage that a named context replaces as a whole.
fn replaced(files: ContextFiles, platform: &Platform) -> Built {
    let own = files
        .image
        .as_ref()
        .filter(|config| !config.os.is_empty() && !config.architecture.is_empty())
        .map(ImageConfig::platform);
    let config = files.image.unwrap_or_default();
    let mut built = Built::on(files.edge, config, own.unwrap_or_else(|| platform.clone()));
    built.base_history = files.base_history;
    built.config.history.extend(files.layer);
    built
}

/// Returns the stage on top of a named context.
fn on_context(files: ContextFiles, platform: &Platform) -> Built {
    let config = files.image.unwrap_or_else(|| empty_config(platform));
    let mut built = Built::on(files.edge, config, platform.clone());
    built.base_history = files.base_history;
    built.config.history.extend(files.layer);
    built
}
