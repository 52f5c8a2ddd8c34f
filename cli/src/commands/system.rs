//! `kiln system df`, and the prunings of all, of images and of containers.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use anyhow::bail;
use engine::prune::{ImagePrune, KindUsage, PruneRequest, Pruned};
use serde_json::{Value, json};

use super::image::removed_line;
use super::print;
use crate::args::{Cli, ContainerPruneArgs, DfArgs, ImagePruneArgs, PruneArgs};
use crate::format::list::List;
use crate::format::quantity::human_size;
use crate::{parse, settings};

/// `system df` shows sizes with one digit more than lists.
pub(super) const SIZE_DIGITS: usize = 4;

const DF: List = List {
    table: "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    titles: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
};

pub(super) fn info(cli: &Cli) -> anyhow::Result<ExitCode> {
    let engine = settings::open_engine(cli, None)?;
    let standing = engine.layer_standing()?;
    let mut text = format!("Version: {}\n", env!("CARGO_PKG_VERSION"));
    text.push_str(&format!("Store: {}\nLayers: {}\n", engine.root().display(), standing.rung.name()));
    standing.reasons.iter().for_each(|reason| text.push_str(&format!("  not higher: {reason}\n")));
    if let Some(reason) = &standing.outside {
        let place = cli.work_root.as_ref().map_or_else(|| "memory".to_owned(), |root| root.display().to_string());
        text.push_str(&format!("  written to {place} first: {reason}\n"));
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn df(cli: &Cli, args: &DfArgs) -> anyhow::Result<ExitCode> {
    let usage = settings::open_engine(cli, None)?.disk_usage()?;
    let rows: Vec<Value> = [("Images", usage.images), ("Containers", usage.containers), ("Build Cache", usage.cache)]
        .map(|(kind, usage)| row(kind, &usage))
        .to_vec();
    print(&DF.render(&args.format, &rows)?)?;
    Ok(ExitCode::SUCCESS)
}

fn row(kind: &str, usage: &KindUsage) -> Value {
    let reclaimable = human_size(usage.reclaimable_bytes, SIZE_DIGITS);
    let reclaimable = match (usage.reclaimable_bytes * 100).checked_div(usage.size_bytes) {
        Some(percent) if kind != "Build Cache" => format!("{reclaimable} ({percent}%)"),
        _ => reclaimable,
    };
    json!({
        "Type": kind,
        "TotalCount": usage.total.to_string(),
        "Active": usage.active.to_string(),
        "Size": human_size(usage.size_bytes, SIZE_DIGITS),
        "Reclaimable": reclaimable,
    })
}

pub(super) fn prune(cli: &Cli, args: &PruneArgs) -> anyhow::Result<ExitCode> {
    let images = if args.all { "all images without at least one container" } else { "all dangling images" };
    let cache = if args.all { "all build cache" } else { "all build cache that no image needs" };
    let question = format!(
        "WARNING! This will remove:\n  - all stopped containers\n  - {images}\n  - {cache}\n\nAre you sure you want to continue? [y/N] "
    );
    if !args.force && !is_confirmed(&question)? {
        return Ok(ExitCode::SUCCESS);
    }
    let pruned = settings::open_engine(cli, None)?.prune(PruneRequest { all: args.all })?;
    print_pruned(&pruned)
}

pub(super) fn prune_images(cli: &Cli, args: &ImagePruneArgs) -> anyhow::Result<ExitCode> {
    let mut request = ImagePrune { all: args.all, ..ImagePrune::default() };
    for filter in &args.filter {
        match filter.split_once('=') {
            Some(("until", age)) => request.age = Some(parse::age(age)?),
            Some(("label", label)) => {
                let (key, value) = label.split_once('=').map_or((label, None), |(key, value)| (key, Some(value)));
                request.labels.push((key.to_owned(), value.map(str::to_owned)));
            }
            Some(("dangling", "true" | "1")) => {}
            Some(("dangling", "false" | "0")) => request.all = true,
            _ => bail!("invalid filter '{filter}': expected until=AGE, label=KEY[=VALUE] or dangling=BOOL"),
        }
    }
    let question = if request.all {
        "WARNING! This will remove all images without at least one container associated to them.\nAre you sure you want to continue? [y/N] "
    } else {
        "WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] "
    };
    if !args.force && !is_confirmed(question)? {
        return Ok(ExitCode::SUCCESS);
    }
    print_pruned(&settings::open_engine(cli, None)?.prune_images(&request)?)
}

pub(super) fn prune_containers(cli: &Cli, args: &ContainerPruneArgs) -> anyhow::Result<ExitCode> {
    let mut least_age = None;
    for filter in &args.filter {
        match filter.split_once('=') {
            Some(("until", age)) => least_age = Some(parse::age(age)?),
            _ => bail!("invalid filter '{filter}': expected until=AGE"),
        }
    }
    let question = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] ";
    if !args.force && !is_confirmed(question)? {
        return Ok(ExitCode::SUCCESS);
    }
    print_pruned(&settings::open_engine(cli, None)?.prune_containers(least_age)?)
}

fn print_pruned(pruned: &Pruned) -> anyhow::Result<ExitCode> {
    let mut text = String::new();
    if !pruned.containers.is_empty() {
        text.push_str("Deleted Containers:\n");
        pruned.containers.iter().for_each(|id| text.push_str(&format!("{id}\n")));
        text.push('\n');
    }
    if !pruned.images.is_empty() {
        text.push_str("Deleted Images:\n");
        pruned.images.iter().for_each(|removed| text.push_str(&removed_line(removed).to_lowercase()));
        text.push('\n');
    }
    if !pruned.records.is_empty() {
        text.push_str("Deleted build cache objects:\n");
        pruned.records.iter().for_each(|record| text.push_str(&format!("{}\n", record.id)));
        text.push('\n');
    }
    text.push_str(&format!("Total reclaimed space: {}\n", human_size(pruned.reclaimed_bytes, SIZE_DIGITS)));
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Asks whether to go on; what is not a yes is a no.
pub(super) fn is_confirmed(question: &str) -> anyhow::Result<bool> {
    print(question)?;
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
