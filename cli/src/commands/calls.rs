//! `kiln build --call` and `--print`: what is asked of a Dockerfile instead of building it. Answers go to standard output, in the shapes that buildx gives them.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use engine::build::{BuildRequest, Checked, GraphFormat, Outline, Targets};
use engine::{Engine, Finding};
use serde_json::{Value, json};

use super::build::write_file;
use super::print;
use super::watch::watch;
use crate::args::{BuildArgs, Call, Form, GraphForm, Method};
use crate::failure::BuildFailed;
use crate::format::table::align;
use crate::format::text::printable;
use crate::progress::{self, Renderer};

/// Prints what is wrong with the Dockerfile. Anything that is makes the exit code 1, unless the call leaves that alone.
pub(super) fn check(
    engine: &Engine,
    request: &BuildRequest,
    (call, is_full): (Call, bool),
    (args, renderer): (&BuildArgs, Box<dyn Renderer>),
) -> anyhow::Result<ExitCode> {
    let (checked, _) = watch(renderer, async |events, cancel| engine.check_dockerfile(request, events, cancel).await)?;
    let Checked { report, mut findings } = checked.map_err(BuildFailed)?;
    name_as_given(&mut findings, args.file.as_deref());
    let mut answer = serde_json::to_value(&report)?;
    if is_full {
        answer["diagnostics"] = diagnostics(&findings);
    }
    write_metadata(args.metadata_file.as_deref(), &answer)?;
    match call.form {
        Form::Json => print(&format!("{answer:#}\n"))?,
        Form::Text => print(&warnings(&findings))?,
    }
    // Nobody may be there to read it: the exit code says the same.
    let _ = io::stderr().write_all(errors(&findings).as_bytes());
    let is_clean = report.warnings.is_empty() && report.build_error.is_none();
    let ignores = call.ignores_status && report.build_error.is_none();
    Ok(if is_clean || ignores { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Calls the Dockerfile of excerpts by the path that the user gave, which editors and terminals can open.
fn name_as_given(findings: &mut [Finding], file: Option<&str>) {
    let Some(file) = file.filter(|file| *file != "-") else { return };
    for excerpt in findings.iter_mut().filter_map(|finding| finding.excerpt.as_mut()) {
        file.clone_into(&mut excerpt.file);
    }
}

/// Prints what the target takes from outside, or what can be built.
pub(super) fn describe(
    engine: &Engine,
    request: &BuildRequest,
    call: Call,
    (metadata_file, renderer): (Option<&Path>, Box<dyn Renderer>),
) -> anyhow::Result<ExitCode> {
    let (text, answer) = if call.method == Method::Targets {
        let (targets, _) = watch(renderer, async |events, cancel| engine.targets(request, events, cancel).await)?;
        let targets = targets.map_err(BuildFailed)?;
        (targets_text(&targets), serde_json::to_value(&targets)?)
    } else {
        let (outline, _) = watch(renderer, async |events, cancel| engine.outline(request, events, cancel).await)?;
        let outline = outline.map_err(BuildFailed)?;
        (outline_text(&outline), serde_json::to_value(&outline)?)
    };
    write_metadata(metadata_file, &answer)?;
    match call.form {
        Form::Text => print(&text)?,
        Form::Json => print(&format!("{answer:#}\n"))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes what `--metadata-file` says of an answer.
fn write_metadata(file: Option<&Path>, answer: &Value) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    write_file(file, &serde_json::to_vec_pretty(&json!({ "result.json": answer }))?)
}

/// Prints the steps of a build.
pub(super) fn show_graph(
    engine: &Engine,
    request: &BuildRequest,
    form: GraphForm,
    renderer: Box<dyn Renderer>,
) -> anyhow::Result<ExitCode> {
    let format = match form {
        GraphForm::Graph => GraphFormat::Text,
        GraphForm::Json => GraphFormat::Json,
        GraphForm::Dot => GraphFormat::Dot,
    };
    let (graph, _) = watch(renderer, async |events, cancel| engine.graph(format, request, events, cancel).await)?;
    let graph = graph.map_err(BuildFailed)?;
    let graph = if form == GraphForm::Graph {
        graph.lines().map(|line| format!("{}\n", printable(line))).collect()
    } else {
        graph
    };
    print(&graph)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns findings as JSON, without their excerpts.
pub(super) fn diagnostics(findings: &[Finding]) -> Value {
    findings.iter().map(|finding| json!(finding.diagnostic)).collect()
}

fn warnings(findings: &[Finding]) -> String {
    let warnings: Vec<&Finding> = findings.iter().filter(|finding| finding.diagnostic.rule.is_some()).collect();
    let mut text = match warnings.len() {
        0 if findings.iter().any(Finding::is_error) => return String::new(),
        0 => return "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    for finding in warnings {
        let page = |url: Option<String>| url.map(|url| format!(" - {url}")).unwrap_or_default();
        let rule = finding.diagnostic.rule.map(|rule| format!("{rule}{}", page(rule.url()))).unwrap_or_default();
        text.push_str(&format!("\nWARNING: {rule}\n{}\n{}", printable(&finding.diagnostic.message), place(finding)));
        text.push_str(&hint(finding));
    }
    text
}

fn errors(findings: &[Finding]) -> String {
    let errors = findings.iter().filter(|finding| finding.is_error() && finding.diagnostic.rule.is_none());
    errors
        .map(|error| format!("ERROR: {}\n{}{}", printable(&error.diagnostic.message), place(error), hint(error)))
        .collect()
}

fn place(finding: &Finding) -> String {
    finding.excerpt.as_ref().map(progress::excerpt).unwrap_or_default()
}

fn hint(finding: &Finding) -> String {
    finding.diagnostic.hint.iter().map(|hint| format!("hint: {}\n", printable(hint))).collect()
}

fn targets_text(targets: &Targets) -> String {
    let row = |target: &engine::build::Target| {
        let name = match (target.name.as_str(), target.default) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        format!("{name}\t{}\n", target.description)
    };
    align(&format!("TARGET\tDESCRIPTION\n{}", targets.targets.iter().map(row).collect::<String>()))
}

fn outline_text(outline: &Outline) -> String {
    let mut sections = Vec::new();
    if !outline.name.is_empty() || !outline.description.is_empty() {
        let name = if outline.name.is_empty() { "(default)" } else { &outline.name };
        let description = Some(&outline.description).filter(|text| !text.is_empty());
        let description = description.map(|text| format!("DESCRIPTION:\t{text}\n")).unwrap_or_default();
        sections.push(format!("TARGET:\t{name}\n{description}"));
    }
    if !outline.args.is_empty() {
        // buildx has no column for this, and where nothing is required there is none here.
        let tells = outline.args.iter().any(|argument| argument.required);
        let required = |is: &str| if tells { format!("\t{is}") } else { String::new() };
        let row = |argument: &engine::build::OutlineArgument| {
            let is_required = required(if argument.required { "true" } else { "" });
            format!("{}\t{}{is_required}\t{}\n", argument.name, argument.value, argument.description)
        };
        let rows: String = outline.args.iter().map(row).collect();
        sections.push(format!("BUILD ARG\tVALUE{}\tDESCRIPTION\n{rows}", required("REQUIRED")));
    }
    let row = |name: &str, required: bool| format!("{name}\t{}\n", if required { "true" } else { "" });
    let secrets: String = outline.secrets.iter().map(|secret| row(&secret.name, secret.required)).collect();
    let agents: String = outline.ssh.iter().map(|agent| row(&agent.name, agent.required)).collect();
    for (title, rows) in [("SECRET", secrets), ("SSH", agents)] {
        if !rows.is_empty() {
            sections.push(format!("{title}\tREQUIRED\n{rows}"));
        }
    }
    sections.iter().map(|section| align(section) + "\n").collect()
}
