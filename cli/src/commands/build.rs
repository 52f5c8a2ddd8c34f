//! `kiln build`.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use engine::Engine;
use engine::build::{
    BuildOutcome, BuildRequest, ContextSource, DockerfileSource, Received, StepForecast, Strictness, Verdict,
    parse_git_context,
};
use engine::event::{StepReason, Warning};
use engine::export::{Annotation, Destination, Output, PushOutput, StoreOutput, parse_annotations};
use serde_json::{Value, json};

use super::builds::{detail, seconds};
use super::calls;
use super::print;
use super::survey;
use super::watch::{Told, watch};
use crate::args::{BuildArgs, Call, Cli, Form, Method};
use crate::failure::{BuildFailed, BuildRefused};
use crate::format::table::align;
use crate::progress::{self, Mode, Renderer};
use crate::{limits, parse, settings};

/// The variable that asks for warnings in `--metadata-file`; buildx reads the same.
const METADATA_WARNINGS: &str = "BUILDX_METADATA_WARNINGS";

pub(super) fn build(cli: &Cli, args: &BuildArgs) -> anyhow::Result<ExitCode> {
    let mode = if args.quiet { Mode::Quiet } else { args.progress };
    let detail = detail(cli);
    let opened = progress::open_stderr(mode, detail)?;
    for complaint in &opened.complaints {
        warn(complaint);
    }
    let engine = settings::open_engine(cli, args.jobs)?;
    for text in args.ignored.warnings().map_err(BuildRefused)? {
        warn(&text);
    }
    let request = request(args, &engine).map_err(BuildRefused)?;
    let call = call(args);
    let metadata_file = args.metadata_file.as_deref();
    match (args.print, call.method) {
        (Some(form), _) => return calls::show_graph(&engine, &request, form, opened.renderer),
        (None, Method::Check) => {
            let is_full = args.format == Form::Json;
            return calls::check(&engine, &request, (call, is_full), (args, opened.renderer));
        }
        (None, Method::Outline | Method::Targets) => {
            return calls::describe(&engine, &request, call, (metadata_file, opened.renderer));
        }
        (None, Method::Context) => return survey::show(&engine, &request, call.form, opened.renderer),
        (None, Method::Build) if args.dry_run => return forecast(&engine, &request, opened.renderer),
        (None, Method::Build) => {}
    }
    let (built, Told { warnings, reasons }) =
        watch(opened.renderer, async |events, cancel| engine.build(&request, events, cancel).await)?;
    if matches!(mode, Mode::Auto | Mode::Plain | Mode::Tty) {
        // Nobody is there to read them.
        let _ = io::stderr().write_all(progress::warnings(&warnings, detail).as_bytes());
    }
    if args.explain {
        // As above.
        let _ = io::stderr().write_all(explanation(&reasons).as_bytes());
    }
    if args.format == Form::Json {
        print(&document(&built, &warnings))?;
    }
    let written =
        built.map_err(|error| BuildFailed(error).into()).and_then(|outcome| write_results(args, &outcome, &warnings));
    // After everybody has heard of the result, and also after a failure: that may have been for want of room.
    if let Err(error) = engine.collect_by_policy() {
        warn(&format!("no room was given back: {}", engine::chain(&error)));
    }
    written.map(|()| ExitCode::SUCCESS)
}

/// Returns what is asked of the Dockerfile, all flags together.
fn call(args: &BuildArgs) -> Call {
    let method = if args.check { Method::Check } else { args.call.method };
    let form = if args.format == Form::Json { Form::Json } else { args.call.form };
    Call { method, form, ..args.call }
}

/// Returns what a build came to as one JSON document: its images, and all that was found in its Dockerfile. Of a build that a step failed, `warnings` are what was
/// found before.
fn document(built: &Result<BuildOutcome, engine::Error>, warnings: &[Warning]) -> String {
    let (images, diagnostics) = match built {
        Ok(outcome) => (outcome.images.as_slice(), calls::diagnostics(&outcome.findings)),
        Err(engine::Error::Dockerfile { findings }) => (&[][..], calls::diagnostics(findings)),
        Err(error) => {
            let lines = error.excerpt().map(|it| json!({ "start": it.marked_start, "end": it.marked_end }));
            let warning = |warning: &Warning| match &warning.diagnostic {
                Some(diagnostic) => json!(diagnostic),
                None => json!({ "severity": "warning", "message": warning.short }),
            };
            let failure = json!({
                "severity": "error",
                "message": engine::chain(error),
                "lines": lines,
                "hint": error.hint(),
            });
            (&[][..], warnings.iter().map(warning).chain([failure]).collect())
        }
    };
    format!("{:#}\n", json!({ "images": images, "diagnostics": diagnostics }))
}

/// Prints what a build would do, and does nothing of it.
fn forecast(engine: &Engine, request: &BuildRequest, renderer: Box<dyn Renderer>) -> anyhow::Result<ExitCode> {
    let (steps, _) = watch(renderer, async |events, cancel| engine.forecast(request, events, cancel).await)?;
    let steps = steps.map_err(BuildFailed)?;
    let row = |step: &StepForecast| {
        let verdict = match step.verdict {
            Verdict::Cached => "cached",
            Verdict::Runs => "run",
            Verdict::MayRun => "maybe",
        };
        let time = step.last_time.filter(|_| step.verdict != Verdict::Cached).map(seconds).unwrap_or_default();
        format!("{verdict}\t{time}\t{}\t{}\n", step.name.replace('\t', " "), step.reason)
    };
    let rows: String = steps.iter().map(row).collect();
    print(&align(&format!("STATE\tLAST TIME\tSTEP\tWHY\n{rows}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Says for each step that ran why it did.
fn explanation(reasons: &[StepReason]) -> String {
    if reasons.is_empty() {
        return "\nNo step had to run.\n".to_owned();
    }
    let line = |reason: &StepReason| format!("  {}\n    {}\n", reason.name, reason.reason);
    format!("\nWhy steps ran:\n{}", reasons.iter().map(line).collect::<String>())
}

fn warn(text: &str) {
    // Nobody is there to read it.
    let _ = writeln!(io::stderr(), "warning: {text}");
}

fn write_results(args: &BuildArgs, outcome: &BuildOutcome, warnings: &[Warning]) -> anyhow::Result<()> {
    let id = outcome.images.first().map(ToString::to_string).unwrap_or_default();
    if let Some(path) = &args.iidfile {
        write_file(path, id.as_bytes())?;
    }
    if let Some(path) = &args.metadata_file {
        write_file(path, &serde_json::to_vec_pretty(&metadata(outcome, warnings)?)?)?;
    }
    // A result that itself goes to standard output must stay alone there.
    let is_taken = args.format == Form::Json
        || args.output.iter().filter_map(|text| text.parse().ok()).any(|output| is_stdout(&output));
    if is_taken { Ok(()) } else { print(&format!("{id}\n")) }
}

/// Returns what `--metadata-file` says; as with buildx, warnings only where the environment asks for them.
fn metadata(outcome: &BuildOutcome, warnings: &[Warning]) -> anyhow::Result<Value> {
    let mut metadata = serde_json::to_value(&outcome.metadata)?;
    let wants_warnings = env::var(METADATA_WARNINGS).is_ok_and(|value| matches!(value.as_str(), "1" | "t" | "true"));
    if wants_warnings && !warnings.is_empty() {
        metadata["buildx.build.warnings"] = progress::warnings_json(warnings)?;
    }
    Ok(metadata)
}

fn is_stdout(output: &Output) -> bool {
    match output {
        Output::Bundle(bundle) => bundle.destination == Destination::Stdout,
        Output::Files(files) => files.destination == Destination::Stdout,
        Output::Store(_) | Output::Nowhere => false,
    }
}

pub(super) fn write_file(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write `{}`", path.display()))
}

fn request(args: &BuildArgs, engine: &Engine) -> anyhow::Result<BuildRequest> {
    let (context, dockerfile) = sources(args, engine)?;
    Ok(BuildRequest {
        context,
        dockerfile,
        target: args.target.clone().filter(|target| !target.is_empty()),
        build_args: parse::variables(&args.build_arg)?,
        labels: parse::pairs(&args.label)?,
        platforms: parse::platforms(&args.platform)?,
        tags: parse::references(&args.tag)?,
        outputs: outputs(args)?,
        no_cache: args.no_cache,
        no_cache_filter: args.no_cache_filter.clone(),
        pull: args.pull,
        contexts: parse::contexts(&args.build_context)?,
        network: parse::network(&args.network)?,
        allowed: parse::entitlements(&args.allow)?,
        strictness: if args.strict { Strictness::Strict } else { Strictness::Docker },
        extra_hosts: parse::hosts(&args.add_host)?,
        limits: limits::parse(&args.limits)?,
        step_limits: parse::step_limits(args.step_timeout.as_deref(), args.step_retries)?,
        secrets: parse::secrets(&args.secret)?,
        ssh_agents: parse::ssh_agents(&args.ssh)?,
    })
}

/// Returns where the result goes, with the annotations of the command line.
fn outputs(args: &BuildArgs) -> anyhow::Result<Vec<Output>> {
    let mut outputs = args.output.iter().map(|text| text.parse()).collect::<Result<Vec<Output>, _>>()?;
    if args.load && !outputs.iter().any(|output| matches!(output, Output::Store(_))) {
        outputs.push(Output::Store(StoreOutput::default()));
    }
    if args.push {
        push(&mut outputs);
    }
    for text in &args.annotation {
        let annotations = parse_annotations(text)?;
        let mut is_kept = false;
        for kept in outputs.iter_mut().filter_map(annotations_of) {
            kept.extend(annotations.iter().cloned());
            is_kept = true;
        }
        if !is_kept {
            bail!(
                "cannot keep the annotation \"{text}\": it stands in a manifest, which only --push, -o type=oci and -o type=docker,dest=PATH write"
            );
        }
    }
    Ok(outputs)
}

/// Has every image of the store pushed, or, if no output is one, adds one that is.
fn push(outputs: &mut Vec<Output>) {
    let mut is_pushed = false;
    for output in outputs.iter_mut() {
        if let Output::Store(store) = output {
            store.push.get_or_insert_default();
            is_pushed = true;
        }
    }
    if !is_pushed {
        outputs.push(Output::Store(StoreOutput { push: Some(PushOutput::default()), ..StoreOutput::default() }));
    }
}

/// Returns the annotations of an output that writes manifests.
fn annotations_of(output: &mut Output) -> Option<&mut Vec<Annotation>> {
    match output {
        Output::Bundle(bundle) => Some(&mut bundle.annotations),
        Output::Store(StoreOutput { push: Some(push), .. }) => Some(&mut push.annotations),
        Output::Store(_) | Output::Files(_) | Output::Nowhere => None,
    }
}

/// Returns where the context and the Dockerfile are.
fn sources(args: &BuildArgs, engine: &Engine) -> anyhow::Result<(ContextSource, DockerfileSource)> {
    let named = |file: &String| DockerfileSource::File(PathBuf::from(file));
    match (args.context.as_str(), args.file.as_deref()) {
        ("-", Some("-")) => bail!("invalid argument: can't use stdin for both build context and dockerfile"),
        ("-", file) => match (engine.receive(io::stdin().lock())?, file) {
            (Received::Archive(context), _) => {
                Ok((context, args.file.as_ref().map_or(DockerfileSource::Default, named)))
            }
            (Received::Dockerfile(_), Some(_)) => {
                bail!("a Dockerfile on standard input is the only one: leave `-f` out")
            }
            (Received::Dockerfile(dockerfile), None) => Ok((ContextSource::Empty, dockerfile)),
        },
        (context, Some("-")) => Ok((context_source(context)?, DockerfileSource::Text(read_stdin()?))),
        (context, _) => Ok((context_source(context)?, args.file.as_ref().map_or(DockerfileSource::Default, named))),
    }
}

/// Returns what a build context is: a directory, if there is one of this name, else what its address says.
fn context_source(text: &str) -> anyhow::Result<ContextSource> {
    if !Path::new(text).exists() {
        if let Some(source) = parse_git_context(text)? {
            return Ok(ContextSource::Git(source));
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(ContextSource::Url(text.to_owned()));
        }
    }
    Ok(ContextSource::Directory(PathBuf::from(text)))
}

fn read_stdin() -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    io::stdin().read_to_end(&mut text).context("failed to read the Dockerfile from standard input")?;
    Ok(text)
}
