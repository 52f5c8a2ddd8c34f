//! `kiln du` and `kiln prune`, which are also `kiln builder du` and `kiln builder prune`.

use std::process::ExitCode;

use anyhow::{Context, bail};
use engine::check::{Damage, Remedy, Repair};
use engine::disk::{CachePrune, DiskRecord, Filter, Limits};
use oci::Timestamp;
use serde_json::{Value, json};

use super::print;
use super::system::{SIZE_DIGITS, is_confirmed};
use crate::args::{CachePruneArgs, CheckArgs, Cli, DuArgs};
use crate::format::list::List;
use crate::format::quantity::{human_duration, human_size};
use crate::{parse, settings};

const RECORDS: List = List {
    // The stars say, as buildx has it, that a record may change, and that its room is shared with images.
    table: "table {{.ID}}{{if .Mutable}}*{{end}}\t{{.Reclaimable}}\t{{.Size}}{{if .Shared}}*{{end}}\t{{.LastUsedAt}}",
    titles: &[
        ("ID", "ID"),
        ("Parents", "PARENTS"),
        ("CreatedAt", "CREATED AT"),
        ("Mutable", ""),
        ("Reclaimable", "RECLAIMABLE"),
        ("Shared", ""),
        ("Size", "SIZE"),
        ("Description", "DESCRIPTION"),
        ("UsageCount", "USAGE COUNT"),
        ("LastUsedAt", "LAST ACCESSED"),
        ("Type", "TYPE"),
        ("InUse", "IN USE"),
    ],
};

pub(super) fn du(cli: &Cli, args: &DuArgs) -> anyhow::Result<ExitCode> {
    let (filters, now) = (filters(&args.filter)?, Timestamp::now());
    let mut records = settings::open_engine(cli, None)?.disk_records()?;
    records.retain(|record| filters.iter().all(|filter| filter.matches(record, now)));
    let format = if args.verbose { "pretty" } else { args.format.as_str() };
    let mut text = show(&mut records, format, now)?;
    if args.filter.is_empty() && matches!(format, "" | "table" | "pretty") {
        text.push_str(&summary(&records));
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn prune(cli: &Cli, args: &CachePruneArgs) -> anyhow::Result<ExitCode> {
    let size = |text: &Option<String>| text.as_deref().map(parse::size_bytes).transpose();
    let limits = Limits {
        reserved_bytes: size(&args.reserved_space)?,
        used_bytes_max: size(&args.max_used_space)?,
        free_bytes_min: size(&args.min_free_space)?,
    };
    let request = CachePrune { all: args.all, filters: filters(&args.filter)?, limits };
    let what = if args.all { "all" } else { "all dangling" };
    let question = format!("WARNING! This will remove {what} build cache. Are you sure you want to continue? [y/N] ");
    if !args.force && !is_confirmed(&question)? {
        return Ok(ExitCode::SUCCESS);
    }
    let mut removed = settings::open_engine(cli, None)?.prune_cache(&request)?;
    let format = if args.verbose { "pretty" } else { "" };
    let mut text = String::new();
    if !removed.is_empty() {
        text.push_str(&show(&mut removed, format, Timestamp::now())?);
    }
    text.push_str(&format!("Total:\t{}\n", size_of(removed.iter())));
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn check(cli: &Cli, args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let repair = if args.repair { Repair::Forget } else { Repair::Nothing };
    let report = settings::open_engine(cli, None)?.check(repair)?;
    let remedy = |remedy| match remedy {
        Remedy::Fetch => "it is fetched again when it is needed",
        Remedy::Build => "the next build makes it again",
        Remedy::BuildImage => "the images that need it have to be built or loaded again",
    };
    let mut text = String::new();
    for Damage { what, reason, remedy: how } in &report.damages {
        text.push_str(&format!("{what}: {reason}\n"));
        if args.repair {
            text.push_str(&format!("  forgotten: {}\n", remedy(*how)));
        }
    }
    let count = report.damages.len();
    text.push_str(&format!("Checked {} layers and {} blobs: {count} damaged\n", report.layers, report.blobs));
    print(&text)?;
    if count > 0 && !args.repair {
        bail!("the store is damaged: `kiln system check --repair` has what is damaged fetched or made again");
    }
    Ok(ExitCode::SUCCESS)
}

fn filters(texts: &[String]) -> anyhow::Result<Vec<Filter>> {
    texts.iter().map(|text| Filter::parse(text).context("invalid --filter")).collect()
}

/// Shows records, the largest first.
fn show(records: &mut [DiskRecord], format: &str, now: Timestamp) -> anyhow::Result<String> {
    records.sort_by(|a, b| (b.size_bytes, &b.id).cmp(&(a.size_bytes, &a.id)));
    if format == "pretty" {
        return Ok(records.iter().map(|record| pretty(record, now)).collect());
    }
    let rows: Vec<Value> = records.iter().map(|record| row(record, now)).collect();
    Ok(RECORDS.render(format, &rows)?)
}

fn row(record: &DiskRecord, now: Timestamp) -> Value {
    json!({
        "ID": record.id,
        "Parents": record.parents,
        "CreatedAt": record.created.map(|at| at.to_string()).unwrap_or_default(),
        "Mutable": record.is_mutable,
        "Reclaimable": record.is_reclaimable(),
        "Shared": record.is_shared,
        "InUse": record.is_in_use,
        "Size": human_size(record.size_bytes, SIZE_DIGITS),
        "Description": record.description,
        "UsageCount": record.usage_count,
        "LastUsedAt": record.used.map(|used| ago(used, now)).unwrap_or_default(),
        "Type": record.kind.as_str(),
    })
}

fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", human_duration(now.since(at)))
}

fn pretty(record: &DiskRecord, now: Timestamp) -> String {
    let mut text = format!("ID:\t\t{}\n", record.id);
    if !record.parents.is_empty() {
        text.push_str("Parents:\n");
        record.parents.iter().for_each(|parent| text.push_str(&format!(" - {parent}\n")));
    }
    let mut line = |name: &str, value: String| text.push_str(&format!("{name}{value}\n"));
    line("Created at:\t", record.created.map(|at| at.to_string()).unwrap_or_default());
    line("Mutable:\t", record.is_mutable.to_string());
    line("Reclaimable:\t", record.is_reclaimable().to_string());
    line("Shared:\t\t", record.is_shared.to_string());
    line("Size:\t\t", human_size(record.size_bytes, SIZE_DIGITS));
    line("Description:\t", record.description.clone());
    line("Usage count:\t", record.usage_count.to_string());
    if let Some(used) = record.used {
        line("Last used:\t", ago(used, now));
    }
    line("Type:\t\t", record.kind.as_str().to_owned());
    text.push('\n');
    text
}

fn summary(records: &[DiskRecord]) -> String {
    let part = |name: &str, size: String| format!("{name}{size}\n");
    [
        part("Shared:\t\t", size_of(records.iter().filter(|record| record.is_shared))),
        part("Private:\t", size_of(records.iter().filter(|record| !record.is_shared))),
        part("Reclaimable:\t", size_of(records.iter().filter(|record| record.is_reclaimable()))),
        part("Total:\t\t", size_of(records.iter())),
    ]
    .concat()
}

fn size_of<'a>(records: impl Iterator<Item = &'a DiskRecord>) -> String {
    human_size(records.map(|record| record.size_bytes).sum(), SIZE_DIGITS)
}
