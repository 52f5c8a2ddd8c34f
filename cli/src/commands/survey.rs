//! `kiln build --call context`: which files each step takes of directories of this machine, and which line of an ignore file hides the others.

use std::process::ExitCode;

use engine::Engine;
use engine::build::{BuildRequest, Hidden, StepFiles, Survey};
use serde_json::{Value, json};

use super::print;
use super::watch::watch;
use crate::args::Form;
use crate::failure::BuildFailed;
use crate::format::quantity::human_size;
use crate::format::table::align;
use crate::format::text::printable;
use crate::progress::Renderer;

/// How many digits sizes have.
const SIZE_DIGITS: usize = 3;

/// Prints what the steps of a build would take.
pub(super) fn show(
    engine: &Engine,
    request: &BuildRequest,
    form: Form,
    renderer: Box<dyn Renderer>,
) -> anyhow::Result<ExitCode> {
    let (survey, _) = watch(renderer, async |events, cancel| engine.survey(request, events, cancel).await)?;
    let survey = survey.map_err(BuildFailed)?;
    match form {
        Form::Json => print(&format!("{:#}\n", as_json(&survey)))?,
        Form::Text => print(&as_text(&survey))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn as_text(survey: &Survey) -> String {
    let mut text: String = survey.steps.iter().map(step_text).collect();
    if survey.steps.is_empty() {
        text.push_str("No step takes files of a directory.\n");
    }
    if !survey.hidden.is_empty() {
        let rows: String = survey.hidden.iter().map(hidden_row).collect();
        text.push_str(&format!("\nHidden by ignore files:\n{}", align(&format!("SIZE\tFILES\tPATH\tBY\n{rows}"))));
    }
    text
}

fn step_text(step: &StepFiles) -> String {
    let line = step.lines.map(|lines| format!(", line {}", lines.start)).unwrap_or_default();
    let head = format!("{}{line}, from {}", printable(&step.step), printable(&step.context));
    match &step.files {
        Err(problem) => format!("{head}\n  fails: {}\n", printable(problem)),
        Ok(files) => {
            let size: u64 = files.iter().map(|file| file.size_bytes).sum();
            let rows: String = files
                .iter()
                .map(|file| {
                    format!(
                        "  {}\t{}\t{}\n",
                        human_size(file.size_bytes, SIZE_DIGITS),
                        file.kind,
                        printable(&file.path)
                    )
                })
                .collect();
            let entries = if files.len() == 1 { "entry" } else { "entries" };
            format!("{head}: {} {entries}, {}\n{}", files.len(), human_size(size, SIZE_DIGITS), align(&rows))
        }
    }
}

fn hidden_row(hidden: &Hidden) -> String {
    let Hidden { context, ignore_file, line, pattern, what } = hidden;
    let slash = if what.is_directory { "/" } else { "" };
    let path = format!("{}{slash}", printable(&what.path));
    let size = human_size(what.size_bytes, SIZE_DIGITS);
    let by = format!("{}:{line} {}", printable(ignore_file), printable(pattern));
    let from = if context == "context" { String::new() } else { format!(" of {}", printable(context)) };
    format!("{size}\t{}\t{path}\t{by}{from}\n", what.files)
}

fn as_json(survey: &Survey) -> Value {
    let step = |step: &StepFiles| {
        let files = step.files.as_deref().unwrap_or_default();
        let file =
            |file: &engine::build::TakenFile| json!({ "path": file.path, "kind": file.kind, "size": file.size_bytes });
        json!({
            "step": step.step,
            "line": step.lines.map(|lines| lines.start),
            "context": step.context,
            "error": step.files.as_ref().err(),
            "count": files.len(),
            "size": files.iter().map(|file| file.size_bytes).sum::<u64>(),
            "files": files.iter().map(file).collect::<Vec<_>>(),
        })
    };
    let hidden = |hidden: &Hidden| {
        json!({
            "context": hidden.context,
            "path": hidden.what.path,
            "kind": if hidden.what.is_directory { "directory" } else { "file" },
            "files": hidden.what.files,
            "size": hidden.what.size_bytes,
            "ignoreFile": hidden.ignore_file,
            "line": hidden.line,
            "pattern": hidden.pattern,
        })
    };
    json!({
        "steps": survey.steps.iter().map(step).collect::<Vec<_>>(),
        "hidden": survey.hidden.iter().map(hidden).collect::<Vec<_>>(),
    })
}
