//! `kiln builds ls|inspect|logs|rm|export`.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use engine::Engine;
use engine::event::{Outcome, StepUsage};
use engine::history::{BuildDetails, BuildStatus, BuildStep, BuildSummary};
use oci::Timestamp;
use serde_json::{Value, json};

use super::print;
use crate::args::{
    BuildsCommand, BuildsExportArgs, BuildsInspectArgs, BuildsLogsArgs, BuildsLsArgs, BuildsRmArgs, Cli,
};
use crate::format::inspect::inspect as render;
use crate::format::list::List;
use crate::format::quantity::{human_duration, human_size};
use crate::format::table::align;
use crate::progress::{self, Detail};
use crate::settings;

/// How many digits of a size are shown.
const SIZE_DIGITS: usize = 3;
/// How many digits of an id are shown; enough to name a build.
const SHORT_ID_DIGITS: usize = 12;

const BUILDS: List = List {
    table: "table {{.ID}}\t{{.Name}}\t{{.Status}}\t{{.CreatedAt}}\t{{.Duration}}",
    titles: &[
        ("ID", "BUILD ID"),
        ("Name", "NAME"),
        ("Status", "STATUS"),
        ("CreatedAt", "CREATED AT"),
        ("Duration", "DURATION"),
        ("Ref", "REF"),
        ("Steps", "STEPS"),
        ("Cached", "CACHED"),
    ],
};

pub(super) fn builds(cli: &Cli, command: &BuildsCommand) -> anyhow::Result<ExitCode> {
    let engine = settings::open_engine(cli, None)?;
    match command {
        BuildsCommand::Ls(args) => list(&engine, args)?,
        BuildsCommand::Inspect(args) => inspect(&engine, args)?,
        BuildsCommand::Logs(args) => logs(&engine, args, detail(cli))?,
        BuildsCommand::Rm(args) => remove(&engine, args)?,
        BuildsCommand::Export(args) => export(&engine, args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns how much is told.
pub(super) fn detail(cli: &Cli) -> Detail {
    if cli.debug { Detail::Full } else { Detail::Brief }
}

fn list(engine: &Engine, args: &BuildsLsArgs) -> anyhow::Result<()> {
    let (builds, now) = (engine.builds()?, Timestamp::now());
    let id = |build: &BuildSummary| if args.no_trunc { build.id.clone() } else { short(&build.id).to_owned() };
    if args.quiet {
        return print(&builds.iter().map(|build| format!("{}\n", id(build))).collect::<String>());
    }
    let row = |build: &BuildSummary| {
        let (steps, cached) = match &build.status {
            BuildStatus::Ended(end) => (end.steps.to_string(), end.cached.to_string()),
            BuildStatus::Running | BuildStatus::Killed => (String::new(), String::new()),
        };
        json!({
            "ID": id(build),
            "Ref": build.id,
            "Name": build.name,
            "Status": status(&build.status),
            "CreatedAt": format!("{} ago", human_duration(now.since(build.began))),
            "Duration": build.duration(now).map(seconds).unwrap_or_default(),
            "Steps": steps,
            "Cached": cached,
        })
    };
    print(&BUILDS.render(&args.format, &builds.iter().map(row).collect::<Vec<Value>>())?)
}

fn short(id: &str) -> &str {
    id.get(..SHORT_ID_DIGITS).unwrap_or(id)
}

fn status(status: &BuildStatus) -> &'static str {
    match status {
        BuildStatus::Running => "Running",
        BuildStatus::Killed => "Killed",
        BuildStatus::Ended(end) if end.is_cancelled => "Canceled",
        BuildStatus::Ended(end) if end.error.is_some() => "Error",
        BuildStatus::Ended(_) => "Completed",
    }
}

/// Returns a span of time as progress shows it: `0.1s`, and from a minute on `2m 5s`.
pub(super) fn seconds(time: Duration) -> String {
    match (time.as_secs() / 60, time.as_secs() % 60) {
        (0, _) => format!("{:.1}s", time.as_secs_f64()),
        (minutes, seconds) => format!("{minutes}m {seconds}s"),
    }
}

fn find(engine: &Engine, build: Option<&String>) -> anyhow::Result<BuildSummary> {
    Ok(engine.find_build(build.map_or("", String::as_str))?)
}

fn inspect(engine: &Engine, args: &BuildsInspectArgs) -> anyhow::Result<()> {
    let details = engine.build_details(find(engine, args.build.as_ref())?)?;
    match args.format.as_str() {
        "" | "pretty" => print(&pretty(&details)),
        "json" => print(&format!("{}\n", serde_json::to_string_pretty(&as_json(&details))?)),
        template => print(&render(template, &[as_json(&details)])?),
    }
}

fn pretty(details: &BuildDetails) -> String {
    let build = &details.summary;
    let mut lines = vec![("Name", build.name.clone())];
    lines.push(("Context", build.context.clone()));
    lines.push(("Dockerfile", build.dockerfile.clone()));
    lines.extend(build.target.iter().map(|target| ("Target", target.clone())));
    lines.push(("Platforms", build.platforms.join(", ")));
    lines.push(("Tags", build.tags.join(", ")));
    lines.extend(build.outputs.iter().map(|output| ("Output", output.clone())));
    lines.push(("Started", build.began.to_string()));
    lines.push(("Duration", build.duration(Timestamp::now()).map(seconds).unwrap_or_default()));
    lines.push(("Status", status(&build.status).to_owned()));
    if let BuildStatus::Ended(end) = &build.status {
        lines.push(("Steps", format!("{} ({} cached)", end.steps, end.cached)));
        lines.extend(end.error.iter().map(|error| ("Error", error.clone())));
        lines.extend(end.images.iter().map(|image| ("Image", image.to_string())));
    }
    lines.retain(|(_, value)| !value.is_empty());
    let mut text = align(&lines.iter().map(|(name, value)| format!("{name}:\t{value}\n")).collect::<String>());
    if !build.build_args.is_empty() {
        let rows: String = build.build_args.iter().map(|(name, value)| format!("{name}\t{value}\n")).collect();
        text.push_str(&align(&format!("\nBUILD ARG\tVALUE\n{rows}")));
    }
    let rows: String = details.steps.iter().map(step_row).collect();
    text.push_str(&align(&format!("\nSTATUS\tTIME\tCPU\tMEMORY\tWRITTEN\tSTEP\tWHY\n{rows}")));
    for warning in &details.warnings {
        text.push_str(&format!("\nwarning: {}\n", warning.short));
    }
    text
}

fn step_row(step: &BuildStep) -> String {
    let time = match (step.started, &step.ended) {
        (Some(started), Some((Outcome::Done | Outcome::Failed(_) | Outcome::Cancelled, ended))) => {
            seconds(ended.since(started))
        }
        _ => String::new(),
    };
    let used = used(step.usage.as_ref());
    format!("{}\t{time}\t{used}\t{}\t{}\n", outcome(step), step.name, step.reason.as_deref().unwrap_or_default())
}

/// The columns of what a step's command used: CPU time, the peak of memory, the size of the layer.
fn used(usage: Option<&StepUsage>) -> String {
    let size = |bytes: Option<u64>| bytes.map(|bytes| human_size(bytes, SIZE_DIGITS)).unwrap_or_default();
    usage.map_or("\t\t".to_owned(), |usage| {
        format!("{}\t{}\t{}", seconds(usage.cpu()), size(usage.memory_peak_bytes), size(usage.written_bytes))
    })
}

/// What a step's command used, with times in nanoseconds like all spans of time in this JSON.
fn usage_json(usage: &StepUsage) -> Value {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    json!({
        "CPUUser": nanos(usage.cpu_user()),
        "CPUSystem": nanos(usage.cpu_system()),
        "MemoryPeak": usage.memory_peak_bytes,
        "Written": usage.written_bytes,
        "Attempts": usage.attempts,
    })
}

fn outcome(step: &BuildStep) -> &'static str {
    match &step.ended {
        Some((Outcome::Done, _)) => "done",
        Some((Outcome::Cached, _)) => "cached",
        Some((Outcome::Failed(_), _)) => "failed",
        Some((Outcome::Cancelled, _)) => "canceled",
        Some((Outcome::NotRun, _)) => "not run",
        None => "unfinished",
    }
}

fn as_json(details: &BuildDetails) -> Value {
    let build = &details.summary;
    let (end, time) = match &build.status {
        BuildStatus::Ended(end) => (Some(end), build.duration(end.at)),
        BuildStatus::Running | BuildStatus::Killed => (None, None),
    };
    let step = |step: &BuildStep| {
        json!({
            "Name": step.name,
            "Status": outcome(step),
            "Started": step.started,
            "Completed": step.ended.as_ref().map(|(_, at)| *at),
            "Error": match &step.ended { Some((Outcome::Failed(error), _)) => Some(error), _ => None },
            "Reason": step.reason,
            "Usage": step.usage.as_ref().map(usage_json),
        })
    };
    json!({
        "Ref": build.id,
        "Name": build.name,
        "Context": build.context,
        "Dockerfile": build.dockerfile,
        "Target": build.target,
        "Platform": build.platforms,
        "Tags": build.tags,
        "Outputs": build.outputs,
        "BuildArgs": build.build_args,
        "StartedAt": build.began,
        "CompletedAt": end.map(|end| end.at),
        "Duration": time.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
        "Status": status(&build.status).to_lowercase(),
        "Error": end.and_then(|end| end.error.clone()),
        "NumTotalSteps": end.map(|end| end.steps),
        "NumCachedSteps": end.map(|end| end.cached),
        "Images": end.map(|end| end.images.clone()),
        "Steps": details.steps.iter().map(step).collect::<Vec<Value>>(),
        "Warnings": details.warnings.iter().map(|warning| warning.short.clone()).collect::<Vec<String>>(),
    })
}

fn logs(engine: &Engine, args: &BuildsLogsArgs, detail: Detail) -> anyhow::Result<()> {
    let build = find(engine, args.build.as_ref())?;
    let mut renderer = progress::open_log(args.progress, io::stdout(), detail);
    let mut shown = Ok(());
    let mut last = build.began;
    engine.replay_build(&build, |event| {
        if let engine::event::Event::Finished(finished) = &event {
            last = finished.at;
        }
        if shown.is_ok() {
            shown = renderer.event(&event);
        }
    })?;
    match shown.and_then(|()| renderer.finish(last)) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        shown => Ok(shown?),
    }
}

fn remove(engine: &Engine, args: &BuildsRmArgs) -> anyhow::Result<()> {
    if args.all {
        let ended = engine.builds()?.into_iter().filter(|build| build.status != BuildStatus::Running);
        for build in ended {
            engine.remove_build(&build)?;
        }
        return Ok(());
    }
    for id in &args.builds {
        engine.remove_build(&engine.find_build(id)?)?;
        print(&format!("{id}\n"))?;
    }
    Ok(())
}

fn export(engine: &Engine, args: &BuildsExportArgs) -> anyhow::Result<()> {
    let bytes = engine.export_build(&find(engine, args.build.as_ref())?)?;
    match &args.output {
        Some(path) => {
            std::fs::write(path, bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        None if io::stdout().is_terminal() => bail!("refusing to write to a terminal: use -o, or redirect"),
        None => io::stdout().lock().write_all(&bytes)?,
    }
    Ok(())
}
