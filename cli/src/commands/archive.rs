//! `kiln pull`, `push`, `save`, `load`, `import`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use engine::Engine;
use engine::export::{BundleKind, Destination};
use engine::image::{BundlePlace, ImportRequest, PullRequest, SaveRequest};
use oci::Platform;

use super::watch::watch;
use super::{async_runtime, print, warn, warnings};
use crate::args::{Cli, ImportArgs, LoadArgs, PullArgs, PushArgs, SaveArgs};
use crate::interrupt::with_cancel;
use crate::progress::open_download;
use crate::{parse, settings};

fn platform(text: Option<&str>) -> anyhow::Result<Platform> {
    text.map_or_else(|| Ok(Platform::host()), parse::platform)
}

pub(super) fn pull(cli: &Cli, args: &PullArgs) -> anyhow::Result<ExitCode> {
    let request =
        PullRequest { reference: parse::reference(&args.image)?, platform: platform(args.platform.as_deref())? };
    let engine = settings::open_engine(cli, None)?;
    let is_named_in_full = args.image.contains('@') || args.image.rsplit('/').next().is_some_and(|it| it.contains(':'));
    if !args.quiet && !is_named_in_full {
        print("Using default tag: latest\n")?;
    }
    pull_image(&engine, &request, |line| if args.quiet { Ok(()) } else { print(line) })?;
    print(&format!("{}\n", request.reference))?;
    Ok(ExitCode::SUCCESS)
}

/// Pulls an image with progress on standard error, and says so in Docker's words, line by line, to `say`.
pub(super) fn pull_image(
    engine: &Engine,
    request: &PullRequest,
    mut say: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let reference = &request.reference;
    let version = match (reference.tag(), reference.digest()) {
        (Some(tag), _) => tag.to_owned(),
        (None, Some(digest)) => digest.to_string(),
        (None, None) => String::new(),
    };
    say(&format!("{version}: Pulling from {}\n", reference.repository()))?;
    let (pulled, told) = watch(open_download(), async |events, cancel| engine.pull(request, events, cancel).await)?;
    told.warnings.iter().for_each(warn);
    let pulled = pulled?;
    let status = if pulled.is_new { "Downloaded newer image for" } else { "Image is up to date for" };
    say(&format!("Digest: {}\nStatus: {status} {}\n", pulled.digest, reference.familiar()))
}

pub(super) fn push(cli: &Cli, args: &PushArgs) -> anyhow::Result<ExitCode> {
    let name = parse::reference(&args.name)?;
    let Some(tag) = name.tag() else {
        bail!("cannot push `{}`: a name with a tag is needed, and a digest cannot be chosen", args.name);
    };
    let engine = settings::open_engine(cli, None)?;
    if !args.quiet {
        print(&format!("The push refers to repository [{}/{}]\n", name.registry(), name.repository()))?;
    }
    let (pushed, told) = watch(open_download(), async |events, cancel| engine.push_name(&name, events, cancel).await)?;
    told.warnings.iter().for_each(warn);
    let pushed = pushed?;
    if args.quiet {
        print(&format!("{name}\n"))?;
    } else {
        print(&format!("{tag}: digest: {} size: {}\n", pushed.digest, pushed.size_bytes))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn save(cli: &Cli, args: &SaveArgs) -> anyhow::Result<ExitCode> {
    let destination = match &args.output {
        Some(path) => Destination::File(path.clone()),
        None if io::stdout().is_terminal() => bail!("cowardly refusing to save to a terminal; use -o or redirect"),
        None => Destination::Stdout,
    };
    let request = SaveRequest { images: args.images.clone(), destination, kind: BundleKind::Docker };
    let engine = settings::open_engine(cli, None)?;
    let events = warnings();
    async_runtime()?.block_on(with_cancel(async |cancel| engine.save(&request, &events, cancel).await))??;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn load(cli: &Cli, args: &LoadArgs) -> anyhow::Result<ExitCode> {
    let place = match &args.input {
        Some(path) => BundlePlace::Path(path.clone()),
        None if io::stdin().is_terminal() => bail!("requested load from stdin, but stdin is empty"),
        None => BundlePlace::Stdin,
    };
    let engine = settings::open_engine(cli, None)?;
    let events = warnings();
    let loaded =
        async_runtime()?.block_on(with_cancel(async |cancel| engine.load(&place, &events, cancel).await))??;
    for image in loaded {
        for name in &image.names {
            print(&format!("Loaded image: {}\n", name.familiar()))?;
        }
        if image.names.is_empty() {
            for id in &image.ids {
                print(&format!("Loaded image ID: {id}\n"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn import(cli: &Cli, args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let source = match args.file.as_str() {
        "-" => BundlePlace::Stdin,
        path => BundlePlace::Path(PathBuf::from(path)),
    };
    let request = ImportRequest {
        source,
        name: args.name.as_deref().map(parse::reference).transpose()?,
        platform: platform(args.platform.as_deref())?,
        message: args.message.clone(),
    };
    let engine = settings::open_engine(cli, None)?;
    let id = async_runtime()?.block_on(engine.import(&request))?;
    print(&format!("{id}\n"))?;
    Ok(ExitCode::SUCCESS)
}
