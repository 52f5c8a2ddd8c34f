//! `kiln images`, `history`, `inspect`, `tag`, `rmi`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::bail;
use engine::image::{ImageDetails, ImageSummary, Removed};
use oci::{Reference, Timestamp};
use serde_json::{Value, json};

use super::print;
use crate::args::{Cli, HistoryArgs, ImagesArgs, InspectArgs, RmiArgs, TagArgs};
use crate::format::inspect::inspect as render;
use crate::format::list::List;
use crate::format::quantity::{human_duration, human_size};
use crate::format::text::ellipsis;
use crate::{parse, settings};

const NONE: &str = "<none>";
/// How much of an instruction the history shows, as Docker's client.
const CREATED_BY_COLUMNS: usize = 45;
/// The exit code of Docker's client for a template that cannot be parsed.
const SIZE_DIGITS: usize = 3;

const IMAGES: List = List {
    table: "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}",
    titles: IMAGE_TITLES,
};
const IMAGES_WITH_DIGESTS: List = List {
    table: "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}",
    titles: IMAGE_TITLES,
};
const IMAGE_TITLES: &[(&str, &str)] = &[
    ("Containers", "CONTAINERS"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("SharedSize", "SHARED SIZE"),
    ("Size", "SIZE"),
    ("Tag", "TAG"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "SIZE"),
];
const HISTORY: List = List {
    table: "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    titles: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
};

pub(super) fn list(cli: &Cli, args: &ImagesArgs) -> anyhow::Result<ExitCode> {
    let mut images = settings::open_engine(cli, None)?.images()?;
    if let Some(wanted) = &args.repository {
        images.retain(|image| image.name.as_ref().is_some_and(|name| is_wanted(name, wanted)));
    }
    if args.quiet {
        let mut seen = BTreeSet::new();
        let ids = images.iter().filter(|image| seen.insert(image.id));
        let id = |image: &ImageSummary| if args.no_trunc { image.id.to_string() } else { image.id.short() };
        print(&ids.map(|image| format!("{}\n", id(image))).collect::<String>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::now();
    let rows: Vec<Value> = images.iter().map(|image| image_row(image, args, now)).collect();
    let list = if args.digests { IMAGES_WITH_DIGESTS } else { IMAGES };
    print(&list.render(&args.format, &rows)?)?;
    Ok(ExitCode::SUCCESS)
}

/// `alpine` is every tag of the repository, `alpine:3` that one.
fn is_wanted(name: &Reference, wanted: &str) -> bool {
    name.familiar_name() == wanted || name.familiar() == wanted || name.to_string() == wanted
}

fn image_row(image: &ImageSummary, args: &ImagesArgs, now: Timestamp) -> Value {
    let id = if args.no_trunc { image.id.to_string() } else { image.id.short() };
    let since = image.created.map(|created| format!("{} ago", human_duration(now.since(created))));
    let digest = image.digest.map_or_else(|| NONE.to_owned(), |digest| digest.to_string());
    json!({
        "Containers": image.containers.to_string(),
        "CreatedAt": image.created.map(created_at).unwrap_or_default(),
        "CreatedSince": since.unwrap_or_default(),
        "Digest": digest,
        "ID": id,
        "Repository": image.name.as_ref().map_or_else(|| NONE.to_owned(), Reference::familiar_name),
        "SharedSize": "N/A",
        "Size": human_size(image.size_bytes, SIZE_DIGITS),
        "Tag": image.name.as_ref().and_then(Reference::tag).unwrap_or(NONE),
        "UniqueSize": "N/A",
        "VirtualSize": human_size(image.size_bytes, SIZE_DIGITS),
    })
}

/// `2026-01-31 12:00:00 +0000 UTC`, as Go writes a time.
fn created_at(time: Timestamp) -> String {
    let text = Timestamp::from_unix(time.unix_seconds(), 0).unwrap_or(time).to_string();
    format!("{} +0000 UTC", text.replace('T', " ").trim_end_matches('Z'))
}

pub(super) fn history(cli: &Cli, args: &HistoryArgs) -> anyhow::Result<ExitCode> {
    let entries = settings::open_engine(cli, None)?.history(&args.image)?;
    let now = Timestamp::now();
    let id = |id: Option<oci::Digest>| match id {
        Some(id) if args.no_trunc => id.to_string(),
        Some(id) => id.short(),
        None => "<missing>".to_owned(),
    };
    if args.quiet {
        print(&entries.iter().map(|entry| format!("{}\n", id(entry.id))).collect::<String>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |entry: &engine::image::HistoryEntry| {
        let created_by = entry.created_by.replace('\t', " ");
        let created_by =
            if args.no_trunc { created_by } else { ellipsis(&created_by, CREATED_BY_COLUMNS).into_owned() };
        let since = entry.created.map(|created| match args.human {
            true => format!("{} ago", human_duration(now.since(created))),
            false => created.to_string(),
        });
        let size = if args.human { human_size(entry.size_bytes, SIZE_DIGITS) } else { entry.size_bytes.to_string() };
        json!({
            "ID": id(entry.id),
            "CreatedSince": since.unwrap_or_else(|| "N/A".to_owned()),
            "CreatedAt": entry.created.map(|created| created.to_string()).unwrap_or_default(),
            "CreatedBy": created_by,
            "Size": size,
            "Comment": entry.comment,
        })
    };
    let rows: Vec<Value> = entries.iter().map(row).collect();
    print(&HISTORY.render(&args.format, &rows)?)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn inspect(cli: &Cli, args: &InspectArgs) -> anyhow::Result<ExitCode> {
    if let Some(kind) = args.kind.as_deref().filter(|kind| *kind != "image") {
        bail!("\"{kind}\" is not a valid value for --type: expected image");
    }
    let engine = settings::open_engine(cli, None)?;
    let mut values = Vec::with_capacity(args.names.len());
    let mut missing = None;
    for name in &args.names {
        match engine.inspect_image(name) {
            Ok(details) => values.push(details_value(&details)?),
            // What is there is shown before what is not is told.
            Err(error) => missing = missing.or(Some(error)),
        }
    }
    print(&render(&args.format, &values)?)?;
    match missing {
        Some(error) => Err(error.into()),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Returns what `docker image inspect` shows, in its order.
fn details_value(details: &ImageDetails) -> anyhow::Result<Value> {
    let (image, config) = (&details.image, &details.config);
    let tags: Vec<String> = details.names.iter().map(|(name, _)| name.familiar()).collect();
    let digests: Vec<String> = details
        .names
        .iter()
        .filter_map(|(name, record)| Some(format!("{}@{}", name.familiar_name(), record.digest?)))
        .collect();
    let tagged = details.names.iter().map(|(_, record)| record.updated).max();
    let mut value = json!({
        "Id": image.id.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": config.history.last().map(|entry| entry.comment.clone()).unwrap_or_default(),
        "Created": config.created.map(|created| created.to_string()),
        "DockerVersion": "",
        "Author": config.author.clone().unwrap_or_default(),
        "Config": serde_json::to_value(&config.config)?,
        "Architecture": config.architecture,
    });
    let Some(fields) = value.as_object_mut() else { bail!("bug: an object is not an object") };
    if let Some(variant) = &config.variant {
        fields.insert("Variant".to_owned(), json!(variant));
    }
    fields.insert("Os".to_owned(), json!(config.os));
    fields.insert("Size".to_owned(), json!(details.size_bytes));
    let layers: Vec<String> = config.rootfs.diff_ids.iter().map(ToString::to_string).collect();
    fields.insert("RootFS".to_owned(), json!({ "Type": "layers", "Layers": layers }));
    fields.insert("Metadata".to_owned(), json!({ "LastTagTime": tagged.map(|time| time.to_string()) }));
    Ok(value)
}

pub(super) fn tag(cli: &Cli, args: &TagArgs) -> anyhow::Result<ExitCode> {
    let target = parse::reference(&args.target)?;
    settings::open_engine(cli, None)?.tag(&args.source, &target)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn remove(cli: &Cli, args: &RmiArgs) -> anyhow::Result<ExitCode> {
    let engine = settings::open_engine(cli, None)?;
    let mut failure = None;
    for name in &args.images {
        match engine.remove_image(name, args.force) {
            Ok(removed) => print(&removed.iter().map(removed_line).collect::<String>())?,
            // The others are removed all the same.
            Err(engine::Error::NoSuchImage { .. }) if args.force => {}
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// What `docker rmi` prints of one thing that is gone.
pub(super) fn removed_line(removed: &Removed) -> String {
    match removed {
        Removed::Name(name) => format!("Untagged: {}\n", name.familiar()),
        Removed::Image(id) => format!("Deleted: {id}\n"),
    }
}
