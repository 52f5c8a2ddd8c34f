//! Checks of the file alone: how it is written, whatever it is built for.

use std::collections::BTreeSet;

use oci::Reference;

use crate::ast::{Argument, Command, Dockerfile, Site, Stage};
use crate::checks::Rule;
use crate::expand::{Environment, expand_metered};
use crate::go;

use super::args;
use super::pass::Pass;
use super::report::Reports;

const RESERVED_NAMES: [&str; 2] = ["context", "scratch"];

/// Runs the checks that look at the file alone.
pub(super) fn lint_file(file: &Dockerfile, reports: &mut Reports<'_>) {
    lint_above(file, u32::MAX, reports);
    lint_stage_names(file, reports);
    lint_casing(file, reports);
}

/// Runs the checks that look at one instruction at a time, for those above a line; what stands below an error is not looked at.
pub(super) fn lint_above(file: &Dockerfile, line: u32, reports: &mut Reports<'_>) {
    let is_above = |site: &Site| site.lines.start < line;
    lint_empty_lines(file, reports);
    for arg in file.global_args.iter().filter(|arg| is_above(&arg.site)) {
        lint_argument_comment(&arg.site, &arg.args, reports);
    }
    for stage in file.stages.iter().filter(|stage| is_above(&stage.site)) {
        lint_from(stage, reports);
        for instruction in stage.instructions.iter().filter(|instruction| is_above(&instruction.site)) {
            match &instruction.command {
                Command::Arg(arguments) => lint_argument_comment(&instruction.site, arguments, reports),
                Command::Maintainer(_) => {
                    let message = "Maintainer instruction is deprecated in favor of using label".to_owned();
                    reports.warn(Rule::MaintainerDeprecated, &instruction.site, instruction.site.span, message);
                }
                _ => {}
            }
        }
    }
}

/// All instructions of a file, in order.
fn sites(file: &Dockerfile) -> impl Iterator<Item = &Site> {
    file.global_args.iter().map(|arg| &arg.site).chain(stage_sites(file))
}

/// The instructions from the first `FROM` on.
fn stage_sites(file: &Dockerfile) -> impl Iterator<Item = &Site> {
    file.stages.iter().flat_map(|stage| {
        std::iter::once(&stage.site).chain(stage.instructions.iter().map(|instruction| &instruction.site))
    })
}

fn lint_empty_lines(file: &Dockerfile, reports: &mut Reports<'_>) {
    for site in sites(file) {
        if let Some(line) = site.hollow_end {
            let lines = llb::LineRange { start: line, end: line };
            reports.warn_lines(
                Rule::NoEmptyContinuation,
                site,
                (site.span, lines),
                "Empty continuation line".to_owned(),
            );
        }
    }
}

fn lint_from(stage: &Stage, reports: &mut Reports<'_>) {
    let site = &stage.site;
    if let Some((keyword, name)) = &stage.written_name {
        if *name != name.to_lowercase() {
            reports.warn(Rule::StageNameCasing, site, site.span, format!("Stage name '{name}' should be lowercase"));
        }
        let from = &site.keyword;
        let matches = if is_lowercase(from) { is_lowercase(keyword) } else { is_uppercase(keyword) };
        if is_consistent(from) && !matches {
            reports.warn(
                Rule::FromAsCasing,
                site,
                site.span,
                format!("'{keyword}' and '{from}' keywords' casing do not match"),
            );
        }
    }
    if let Some(name) = &stage.name {
        lint_comment("FROM", &[name], site, reports);
    }
}

fn lint_argument_comment(site: &Site, arguments: &[Argument], reports: &mut Reports<'_>) {
    let names: Vec<&str> = arguments.iter().map(|argument| argument.name.as_str()).collect();
    lint_comment("ARG", &names, site, reports);
}

/// Reports a comment above an instruction that does not begin with what it would have to describe.
fn lint_comment<N: AsRef<str>>(instruction: &str, names: &[N], site: &Site, reports: &mut Reports<'_>) {
    let Some(comment) = site.comments.last() else { return };
    let first = comment.split(' ').next().unwrap_or_default();
    if names.is_empty() || names.iter().any(|name| name.as_ref() == first) {
        return;
    }
    let example = if names.len() > 1 { "<arg_key>" } else { names[0].as_ref() };
    let message = format!("Comment for {instruction} should follow the format: `# {example} <description>`");
    reports.warn(Rule::InvalidDefinitionDescription, site, site.span, message);
}

fn lint_stage_names(file: &Dockerfile, reports: &mut Reports<'_>) {
    let mut seen = BTreeSet::new();
    for stage in &file.stages {
        let Some(name) = stage.name.as_deref() else { continue };
        if RESERVED_NAMES.contains(&name) {
            let message = format!("Stage name should not use the same name as reserved stage {}", go::quote(name));
            reports.warn(Rule::ReservedStageName, &stage.site, stage.site.span, message);
        }
        if !seen.insert(name) {
            let message = format!("Duplicate stage name {}, stage names should be unique", go::quote(name));
            reports.warn(Rule::DuplicateStageName, &stage.site, stage.site.span, message);
        }
    }
}

/// Tells whether a keyword, which has letters of ASCII only, is in lower case.
fn is_lowercase(keyword: &str) -> bool {
    !keyword.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_uppercase(keyword: &str) -> bool {
    !keyword.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// Tells whether a keyword is in one case throughout.
fn is_consistent(keyword: &str) -> bool {
    is_lowercase(keyword) || is_uppercase(keyword)
}

fn lint_casing(file: &Dockerfile, reports: &mut Reports<'_>) {
    let keywords = || stage_sites(file).map(|site| site.keyword.as_str());
    let lower = keywords().filter(|keyword| is_lowercase(keyword)).count();
    let consistent = keywords().filter(|keyword| is_consistent(keyword)).count();
    let is_lower = 2 * lower > consistent;
    for site in stage_sites(file) {
        let keyword = &site.keyword;
        let (is_wanted, name) =
            if is_lower { (is_lowercase(keyword), "lowercase") } else { (is_uppercase(keyword), "uppercase") };
        if !is_wanted {
            let message = format!("Command '{keyword}' should match the case of the command majority ({name})");
            reports.warn(Rule::ConsistentInstructionCasing, site, site.span, message);
        }
    }
}

impl Pass<'_, '_> {
    /// Reports bases that are no image's name where no build arguments are given.
    pub(super) fn lint_default_bases(&mut self, defaults: &Environment) {
        let file = self.session.file;
        let none = std::collections::BTreeMap::new();
        let Ok(scope) = args::global_scope(&file.global_args, defaults, &none, file.escape, self.meter()) else {
            return;
        };
        for stage in &file.stages {
            let expanded = expand_metered(&stage.base.text, self.session.style(), &scope.environment, self.meter());
            // What cannot be substituted is an error soon.
            let Ok(expanded) = expanded else { return };
            if expanded.text.parse::<Reference>().is_err() {
                let message =
                    format!("Default value for ARG {} results in empty or invalid base image name", stage.base.text);
                self.session.reports.warn(Rule::InvalidDefaultArgInFrom, &stage.site, stage.base.span, message);
            }
        }
    }
}
