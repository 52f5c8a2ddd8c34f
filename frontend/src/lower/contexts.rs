//! Contexts: where the files of `COPY` come from, and what stands in for images and stages.

use llb::pattern::clean_path;
use llb::{
    Copy, CopySelection, Edge, FileAction, HttpSource, ImageOrigin, Input, LocalSource, Op, Selection, Source, Unpack,
};
use oci::{ImageConfig, Platform, Reference};

use crate::MAIN_CONTEXT_NAME;
use crate::checks::Rule;
use crate::go;
use crate::known::ImageQuery;
use crate::request::{MainContext, NamedContext};
use crate::source::Span;

use super::dispatch::At;
use super::error::LowerProblem;
use super::names::own_hints;
use super::node::SCRATCH;
use super::pass::Pass;
use super::stage::foreign_layer;

const KEEP_GIT_DIR_ARG: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";
/// The permission bits of a downloaded file.
pub(super) const HTTP_MODE: u32 = 0o600;

/// The files of a named context, and the config of the image where it is one.
#[derive(Clone, Debug)]
pub(super) struct ContextFiles {
    pub(super) edge: Option<Edge>,
    pub(super) image: Option<ImageConfig>,
    /// How many entries of the config's history are the image's.
    pub(super) base_history: usize,
    /// When the image was made.
    pub(super) created: Option<oci::Timestamp>,
    /// The history of the layer where the files are no image's.
    pub(super) layer: Option<oci::History>,
}

impl Pass<'_, '_> {
    /// Finds the named context that stands in for what is called `name`, and returns its key in the request.
    pub(super) fn find_context(&self, name: &str, platform: &Platform) -> Result<Option<String>, LowerProblem> {
        if name.eq_ignore_ascii_case(SCRATCH) || name.eq_ignore_ascii_case(MAIN_CONTEXT_NAME) {
            return Ok(None);
        }
        let reference: Reference =
            name.parse().map_err(|source| LowerProblem::ContextName { name: name.to_owned(), source })?;
        Ok(self.find_image_context(&reference, platform))
    }

    /// Finds the named context that stands in for an image; one for the platform wins over one for all.
    pub(super) fn find_image_context(&self, reference: &Reference, platform: &Platform) -> Option<String> {
        let contexts = &self.session.request.contexts;
        if contexts.is_empty() {
            return None;
        }
        let name = context_name(reference);
        let of_platform = format!("{name}::{platform}");
        let is_named = |wanted: &str| {
            contexts.keys().find(|key| *key == wanted || normalised(key).is_some_and(|key| key == wanted)).cloned()
        };
        is_named(&of_platform).or_else(|| is_named(&name))
    }

    /// Returns the files of the main context.
    pub(super) fn main_context(&mut self) -> Result<Edge, LowerProblem> {
        if let Some(edge) = self.session.main_context {
            return Ok(edge);
        }
        let edge = match &self.session.request.main_context {
            MainContext::Local => self.local(MAIN_CONTEXT_NAME, "[internal] load build context".to_owned())?,
            MainContext::Git(source) => {
                let mut source = source.clone();
                let keep = self.session.request.build_args.get(KEEP_GIT_DIR_ARG).and_then(|text| go::parse_bool(text));
                source.keep_git_dir = keep.unwrap_or(source.keep_git_dir);
                let hints = own_hints(format!("[internal] load git source {}", git_text(&source)));
                self.session.add(Op::Source(Source::Git(source)), Vec::new(), hints)?
            }
            MainContext::File(url) => self.remote_file(url)?,
            MainContext::Archive(url) => {
                let archive = self.remote_file(url)?;
                self.unpack(archive)?
            }
            MainContext::Upload => {
                let source = LocalSource { name: MAIN_CONTEXT_NAME.to_owned(), ignore: Vec::new() };
                let hints = own_hints("[internal] load remote build context");
                let archive = self.session.add(Op::Source(Source::Local(source)), Vec::new(), hints)?;
                self.unpack(archive)?
            }
            MainContext::Empty => self.session.edge(None)?,
        };
        self.session.main_context = Some(edge);
        Ok(edge)
    }

    /// Returns the directory of this machine that has a name in the request.
    fn local(&mut self, name: &str, step_name: String) -> Result<Edge, LowerProblem> {
        let ignore = self.session.local_ignore(name)?.patterns.clone();
        let source = LocalSource { name: name.to_owned(), ignore };
        self.session.add(Op::Source(Source::Local(source)), Vec::new(), own_hints(step_name))
    }

    /// Reports a source that the ignore file leaves out, where that is certain: without patterns that let in.
    pub(super) fn report_ignored(
        &mut self,
        at: At<'_>,
        what: &str,
        source: &str,
        span: Span,
    ) -> Result<(), LowerProblem> {
        if self.session.request.main_context != MainContext::Local
            || !self.session.reports.wants(Rule::CopyIgnoredFile, at.site)
        {
            return Ok(());
        }
        let rules = &self.session.local_ignore(MAIN_CONTEXT_NAME)?.rules;
        let path = clean_path(source);
        let is_root = matches!(path.as_str(), "." | "/");
        let leaves_out_root = || rules.leaving_out().any(|pattern| matches!(pattern, "*" | "**" | "**/*"));
        if rules.has_negations() || (is_root && !leaves_out_root()) || !rules.is_ignored(&path) {
            return Ok(());
        }
        let message = format!("Attempting to {what} file {} that is excluded by .dockerignore", go::quote(&path));
        self.session.reports.warn(Rule::CopyIgnoredFile, at.site, at.span(span), message);
        Ok(())
    }

    fn remote_file(&mut self, url: &str) -> Result<Edge, LowerProblem> {
        let filename = Some(MAIN_CONTEXT_NAME.to_owned());
        let source = HttpSource { url: url.to_owned(), checksum: None, filename, mode: HTTP_MODE };
        self.session.add(
            Op::Source(Source::Http(source)),
            Vec::new(),
            own_hints("[internal] load remote build context"),
        )
    }

    fn unpack(&mut self, archive: Edge) -> Result<Edge, LowerProblem> {
        let base = self.session.edge(None)?;
        let copy = Copy { input: 1, destination: "/".to_owned(), owner: None, mode: None, unpack: Unpack::Archives };
        let selection = CopySelection { pattern: MAIN_CONTEXT_NAME.to_owned(), ..CopySelection::default() };
        let inputs = vec![Input::whole(base), Input::selected(archive, Selection::Copy(selection))];
        self.session.add(
            Op::File(vec![FileAction::Copy(copy)]),
            inputs,
            own_hints("[internal] unpack remote build context"),
        )
    }

    /// Returns what a named context has; `Ok(None)` means that something is asked for.
    pub(super) fn load_context(
        &mut self,
        key: &str,
        platform: &Platform,
    ) -> Result<Option<ContextFiles>, LowerProblem> {
        let Some(context) = self.session.request.contexts.get(key) else { return Ok(None) };
        let files = |edge, layer: String| ContextFiles {
            edge,
            image: None,
            base_history: 0,
            created: None,
            layer: Some(foreign_layer(&layer)),
        };
        match context {
            NamedContext::Scratch => {
                Ok(Some(ContextFiles { edge: None, image: None, base_history: 0, created: None, layer: None }))
            }
            NamedContext::Image(reference) => {
                let step_name = format!("[context {key}] load metadata for {reference}");
                let name = format!("[context {key}] {}", reference.familiar());
                let query = ImageQuery {
                    reference: reference.clone(),
                    platform: platform.clone(),
                    origin: ImageOrigin::StoreOrRegistry,
                    step_name,
                };
                self.context_image(query, name)
            }
            NamedContext::Layout { tag, digest, .. } => {
                let reference = layout_reference(key, tag.as_deref(), *digest)?;
                let step_name = format!("[context {key}] load metadata for {reference}");
                let origin = ImageOrigin::Layout(key.to_owned());
                let query = ImageQuery { reference, platform: platform.clone(), origin, step_name };
                self.context_image(query, format!("[context {key}] OCI load from client"))
            }
            NamedContext::Local { .. } => {
                let name = format!("[context {key}] load from client");
                let edge = self.local(key, name.clone())?;
                Ok(Some(files(Some(edge), name)))
            }
            NamedContext::Git { url, source } => {
                let name = format!("[internal] load git source {url}");
                let edge =
                    self.session.add(Op::Source(Source::Git(source.clone())), Vec::new(), own_hints(name.clone()))?;
                Ok(Some(files(Some(edge), name)))
            }
            NamedContext::Http(url) => {
                let name = format!("[context {key}] {url}");
                let source = HttpSource { url: url.clone(), checksum: None, filename: None, mode: HTTP_MODE };
                let edge = self.session.add(Op::Source(Source::Http(source)), Vec::new(), own_hints(name.clone()))?;
                Ok(Some(files(Some(edge), name)))
            }
        }
    }

    fn context_image(&mut self, query: ImageQuery, name: String) -> Result<Option<ContextFiles>, LowerProblem> {
        let image = match self.session.image(&query) {
            None => return Ok(None),
            Some(Err(problem)) => {
                let (name, problem) = (query.reference.to_string(), problem.to_owned());
                return Err(LowerProblem::Image { name, problem, suggestion: String::new() });
            }
            Some(Ok(image)) => image,
        };
        let (edge, config) = self.image_files(&query, image, || own_hints(name))?;
        let (base_history, created) = (config.history.len(), image.config.created);
        Ok(Some(ContextFiles { edge, image: Some(config), base_history, created, layer: None }))
    }
}

/// Returns the name that contexts for an image have: `alpine`, `alpine:3.20`, `ghcr.io/a/b`.
fn context_name(reference: &Reference) -> String {
    let familiar = reference.familiar();
    familiar.strip_suffix(":latest").map(str::to_owned).unwrap_or(familiar)
}

/// Returns the key of a context as it would be if the image in it were written in the shortest way.
fn normalised(key: &str) -> Option<String> {
    let (name, platform) = match key.split_once("::") {
        Some((name, platform)) => (name, Some(platform)),
        None => (key, None),
    };
    let name = context_name(&name.parse().ok()?);
    Some(match platform {
        Some(platform) => format!("{name}::{platform}"),
        None => name,
    })
}

/// Returns the reference of an image in a layout: the context's name stands for the repository.
fn layout_reference(key: &str, tag: Option<&str>, digest: Option<oci::Digest>) -> Result<Reference, LowerProblem> {
    let named = |source| LowerProblem::ContextName { name: key.to_owned(), source };
    let name = key.split_once("::").map_or(key, |(name, _)| name);
    let mut text = name.parse::<Reference>().map_err(named)?.familiar_name();
    text.extend(tag.iter().flat_map(|tag| [":", tag]));
    if let Some(digest) = digest {
        text.push_str(&format!("@{digest}"));
    }
    text.parse().map_err(named)
}

/// Returns the address of a repository with its fragment.
fn git_text(source: &llb::GitSource) -> String {
    match (source.reference.as_str(), source.subdir.as_str()) {
        ("", "") => source.remote.clone(),
        (reference, "") => format!("{}#{reference}", source.remote),
        (reference, subdir) => format!("{}#{reference}:{subdir}", source.remote),
    }
}
