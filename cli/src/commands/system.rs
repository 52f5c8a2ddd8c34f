//! `kiln system df` and `kiln system prune`.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use engine::prune::{KindUsage, PruneRequest};
use serde_json::{Value, json};

use super::image::removed_line;
use super::print;
use crate::args::{Cli, DfArgs, PruneArgs};
use crate::format::list::List;
use crate::format::quantity::human_size;
use crate::settings;

/// `system df` shows sizes with one digit more than lists.
const SIZE_DIGITS: usize = 4;

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
    if !args.force && !is_confirmed(args.all)? {
        return Ok(ExitCode::SUCCESS);
    }
    let pruned = settings::open_engine(cli, None)?.prune(PruneRequest { all: args.all })?;
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
    if pruned.results > 0 {
        text.push_str(&format!("Deleted build cache objects: {}\n\n", pruned.results));
    }
    text.push_str(&format!("Total reclaimed space: {}\n", human_size(pruned.reclaimed_bytes, SIZE_DIGITS)));
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn is_confirmed(all: bool) -> anyhow::Result<bool> {
    let images = if all { "all images without at least one container" } else { "all dangling images" };
    let cache = if all { "all build cache" } else { "all build cache that no image needs" };
    let question = format!(
        "WARNING! This will remove:\n  - all stopped containers\n  - {images}\n  - {cache}\n\nAre you sure you want to continue? [y/N] "
    );
    print(&question)?;
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
