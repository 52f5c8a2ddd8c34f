//! Lowering, and fetching what it asks for: again and again until it needs nothing any more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use executor::{Remote, Sources};
use frontend::MAIN_CONTEXT_NAME;
use frontend::diagnostic::Severity;
use frontend::known::{ImageQuery, Known, KnownImage, Need, TimeQuery};
use frontend::plan::{LowerError, Lowered, Plan};
use frontend::request::{LowerRequest, MainContext, NamedContext, NoCache};
use llb::{GitSource, HttpSource, ImageOrigin};
use oci::{Digest, Platform, Timestamp};
use store::ImageRecord;
use tokio_util::sync::CancellationToken;

use super::definition::Definition;
use super::remote::archive_time;
use super::request::{BuildRequest, ContextSource};
use crate::event_sink::{EventSink, OwnStep};
use crate::image::RemoteImage;
use crate::{Engine, Error};

/// How often lowering may ask: each time it learns of bases that it did not know of, and a chain of bases is no longer than the stages of a file.
const ROUNDS_MAX: usize = 10_000;
/// The mode of a file behind a URL.
const HTTP_MODE: u32 = 0o600;

/// What lowering came to.
pub(crate) struct Lowering<T = Plan> {
    /// What is to be built, or the answer to what was asked.
    pub(crate) plan: T,
    /// The images that it names, by the digests of their manifests.
    pub(crate) images: BTreeMap<Digest, ImageRecord>,
    /// The directories that it names.
    pub(crate) contexts: BTreeMap<String, PathBuf>,
}

impl Engine {
    pub(crate) async fn lower(
        &self,
        definition: &Definition,
        request: &BuildRequest,
        sources: &Sources,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<Lowering, Error> {
        let lower = |request: &LowerRequest, known: &Known| frontend::lower(definition.file(), request, known);
        self.lower_as(lower, definition, request, (sources, events), cancel).await
    }

    /// Lowers with one of the functions that ask for what they must know, until it asks no more.
    pub(crate) async fn lower_as<T>(
        &self,
        lower: impl Fn(&LowerRequest, &Known) -> Result<Lowered<T>, LowerError>,
        definition: &Definition,
        request: &BuildRequest,
        (sources, events): (&Sources, &EventSink),
        cancel: &CancellationToken,
    ) -> Result<Lowering<T>, Error> {
        let lower_request = lower_request(request)?;
        let contexts = directories(request, &lower_request);
        let (mut known, mut images) = (Known::default(), BTreeMap::new());
        for _ in 0..ROUNDS_MAX {
            let needs = match lower(&lower_request, &known) {
                Ok(Lowered::Done(plan)) => return Ok(Lowering { plan, images, contexts }),
                Ok(Lowered::Needs(needs)) => needs,
                Err(error) => {
                    let warnings = error.diagnostics.iter().filter(|it| it.severity == Severity::Warning);
                    warnings.for_each(|warning| events.send(definition.warning_event(warning)));
                    return Err(definition.error(error.diagnostics));
                }
            };
            for need in needs {
                let step = events.step(need.step_name());
                if let Need::Time(query) = need {
                    let time = remote_time(&query, &lower_request, sources, &step, cancel).await;
                    known.times.insert(query, step.end(time)?);
                    continue;
                }
                let met = tokio::select! {
                    met = self.meet(need, definition, request, &contexts, &mut known, &mut images) => met,
                    () = cancel.cancelled() => return Err(Error::Cancelled),
                };
                step.end(met)?;
            }
        }
        Err(Error::Bug("lowering asks without end".to_owned()))
    }

    /// Finds out what lowering asks for and adds it to what is known.
    async fn meet(
        &self,
        need: Need,
        definition: &Definition,
        request: &BuildRequest,
        contexts: &BTreeMap<String, PathBuf>,
        known: &mut Known,
        images: &mut BTreeMap<Digest, ImageRecord>,
    ) -> Result<(), Error> {
        match need {
            Need::Image(query) => {
                let answer = match self.base(&query, request).await {
                    Ok(base) => {
                        let image = known_image(&base)?;
                        images.insert(base.manifest, base.image);
                        Ok(image)
                    }
                    // That an image cannot be had is told where the Dockerfile names it.
                    Err(Error::Registry(source)) => Err(source.failures().to_string()),
                    Err(error @ (Error::Platform { .. } | Error::NotAnImage { .. })) => Err(error.to_string()),
                    Err(error) => return Err(error),
                };
                known.images.insert(query, answer);
            }
            Need::IgnoreFile(name) => {
                let file = match contexts.get(&name) {
                    Some(directory) => definition.ignore_file(directory, name == MAIN_CONTEXT_NAME)?,
                    None => None,
                };
                known.ignore_files.insert(name, file);
            }
            // Answered where sources are at hand.
            Need::Time(_) => {}
        }
        Ok(())
    }

    /// Returns a base: from the store, unless the user wants to know what its registry has today; else from its registry, and it is in the store from then on.
    async fn base(&self, query: &ImageQuery, request: &BuildRequest) -> Result<RemoteImage, Error> {
        if let ImageOrigin::Layout(name) = &query.origin {
            return self.layout_image(name, query, request);
        }
        if !request.pull
            && let Some(image) = self.named_image(&query.reference, &query.platform)?
        {
            let digest = self.name_record(&query.reference)?.and_then(|record| record.digest).unwrap_or(image.id);
            return Ok(RemoteImage { digest, manifest: image.id, image });
        }
        let remote = self.fetch_image(&query.reference, &query.platform).await?;
        let image = self.store.image(&remote.image.id)?.unwrap_or(remote.image);
        self.name_remote(&query.reference, remote.digest, &image)?;
        Ok(RemoteImage { image, ..remote })
    }
}

/// Returns when something that is fetched from elsewhere was made. `None` means that nobody knows.
async fn remote_time(
    query: &TimeQuery,
    request: &LowerRequest,
    sources: &Sources,
    step: &OwnStep,
    cancel: &CancellationToken,
) -> Result<Option<Timestamp>, Error> {
    let git = |source: GitSource| async move { sources.git(&source, step.digest(), cancel).await };
    let http = |url: &str, filename: Option<&str>| {
        let filename = filename.map(str::to_owned);
        let source = HttpSource { url: url.to_owned(), checksum: None, filename, mode: HTTP_MODE };
        async move { sources.http(&source, step.digest(), cancel).await }
    };
    let remote = match query {
        TimeQuery::Git { remote, reference } => {
            let (remote, reference) = (remote.clone(), reference.clone());
            git(GitSource { remote, reference, ..GitSource::default() }).await
        }
        TimeQuery::Http { url } => http(url, None).await,
        TimeQuery::Context(name) if name == MAIN_CONTEXT_NAME => match &request.main_context {
            MainContext::Git(source) => git(source.clone()).await,
            MainContext::Archive(url) | MainContext::File(url) => http(url, Some(MAIN_CONTEXT_NAME)).await,
            MainContext::Local | MainContext::Upload | MainContext::Empty => return Ok(None),
        },
        TimeQuery::Context(name) => match request.contexts.get(name) {
            Some(NamedContext::Git { source, .. }) => git(source.clone()).await,
            Some(NamedContext::Http(url)) => http(url, None).await,
            _ => return Ok(None),
        },
    };
    match remote {
        Ok(Remote { time: Some(time), .. }) => Ok(Some(time)),
        // A commit has a time: this was downloaded.
        Ok(Remote { layer, time: None }) => archive_time(layer).await,
        Err(solver::StepError::Cancelled) => Err(Error::Cancelled),
        Err(solver::StepError::Failed(error)) => Err(error.into()),
    }
}

fn known_image(base: &RemoteImage) -> Result<KnownImage, Error> {
    let config = crate::image::config_of(&base.image)?;
    let platform = base.image.platform.clone();
    Ok(KnownImage { digest: base.digest, manifest: base.manifest, platform, config })
}

fn lower_request(request: &BuildRequest) -> Result<LowerRequest, Error> {
    let mut contexts = BTreeMap::new();
    for (name, value) in &request.contexts {
        let context = value.parse::<NamedContext>();
        let context =
            context.map_err(|error| Error::Run { reason: format!("invalid build context {name}: {error}") })?;
        contexts.insert(name.clone(), context);
    }
    let no_cache = match (request.no_cache, request.no_cache_filter.is_empty()) {
        (true, _) => NoCache::Everything,
        (false, true) => NoCache::Nothing,
        (false, false) => NoCache::Stages(request.no_cache_filter.clone()),
    };
    let main_context = match &request.context {
        ContextSource::Directory(_) => MainContext::Local,
        ContextSource::Empty => MainContext::Empty,
        ContextSource::Git(source) => MainContext::Git(source.clone()),
        ContextSource::Url(url) => MainContext::File(url.clone()),
        ContextSource::UrlArchive(url) => MainContext::Archive(url.clone()),
        ContextSource::Upload(_) => MainContext::Upload,
    };
    Ok(LowerRequest {
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        labels: request.labels.clone(),
        platforms: request.platforms.clone(),
        contexts,
        main_context,
        no_cache,
        strictness: request.strictness,
        network: request.network,
        extra_hosts: request.extra_hosts.clone(),
        limits: request.limits.clone(),
        ..LowerRequest::new(Platform::host())
    })
}

/// Returns the directories of the request, by the names that the graph has for them.
fn directories(request: &BuildRequest, lowered: &LowerRequest) -> BTreeMap<String, PathBuf> {
    let mut directories = BTreeMap::new();
    match &request.context {
        ContextSource::Directory(path) => drop(directories.insert(MAIN_CONTEXT_NAME.to_owned(), path.clone())),
        ContextSource::Upload(upload) => {
            directories.insert(MAIN_CONTEXT_NAME.to_owned(), upload.dir().to_owned());
        }
        _ => {}
    }
    for (name, context) in &lowered.contexts {
        if let NamedContext::Local { path } | NamedContext::Layout { path, .. } = context {
            directories.insert(name.clone(), Path::new(path).to_owned());
        }
    }
    directories
}
