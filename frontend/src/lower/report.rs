//! Warnings and errors in the making: which checks run where, what `--strict` turns into errors, and what the diagnostics look like in the end.

use llb::LineRange;

use crate::ast::{Dockerfile, Site};
use crate::checks::{CheckOptions, Rule};
use crate::diagnostic::{Diagnostic, Place, Severity};
use crate::limits::DIAGNOSTICS_MAX;
use crate::request::Strictness;
use crate::source::Span;

use super::error::{Fault, LowerProblem};

/// What was found so far.
pub(super) struct Reports<'a> {
    file: &'a Dockerfile,
    options: CheckOptions,
    strictness: Strictness,
    /// Whether warnings count: only for the first of several platforms, or each would be there several times.
    pub(super) muted: bool,
    /// Whether there are errors that leave nothing to go on with, unlike those that are only warnings taken strictly.
    pub(super) is_broken: bool,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Reports<'a> {
    pub(super) fn new(file: &'a Dockerfile, options: CheckOptions, strictness: Strictness) -> Self {
        Self { file, options, strictness, muted: false, is_broken: false, diagnostics: Vec::new() }
    }

    /// Tells whether a warning of a check about an instruction would be taken.
    pub(super) fn wants(&self, rule: Rule, site: &Site) -> bool {
        !self.muted && self.diagnostics.len() < DIAGNOSTICS_MAX && self.options_at(site).runs(rule)
    }

    /// Adds the warning of a check about an instruction. A comment above the instruction may say that the check is skipped.
    pub(super) fn warn(&mut self, rule: Rule, site: &Site, span: Span, message: String) {
        if !self.wants(rule, site) {
            return;
        }
        let strict =
            self.strictness == Strictness::Strict && matches!(rule, Rule::UndefinedVar | Rule::UndefinedArgInFrom);
        let warning = Diagnostic::warning(rule, message);
        let severity = if strict { Severity::Error } else { Severity::Warning };
        self.push(Diagnostic { severity, ..warning }.in_lines(site.lines).at(&self.file.source, span));
    }

    /// Adds the warning of a check about lines that are not those of the instruction whose comments count.
    pub(super) fn warn_lines(&mut self, rule: Rule, site: &Site, (span, lines): (Span, LineRange), message: String) {
        if self.wants(rule, site) {
            self.push(Diagnostic::warning(rule, message).in_lines(lines).at(&self.file.source, span));
        }
    }

    /// Adds a warning that is no check's, without a place.
    pub(super) fn warn_build(&mut self, problem: LowerProblem, hint: Option<String>) {
        if self.muted {
            return;
        }
        let diagnostic = Diagnostic { hint, ..Diagnostic::error(&problem) };
        self.push(match self.strictness {
            Strictness::Strict => diagnostic,
            // As Docker shows it: the mark is part of the text.
            Strictness::Docker => {
                Diagnostic { severity: Severity::Warning, message: format!("[Warning] {problem}"), ..diagnostic }
            }
        });
    }

    /// Adds an error that is there only because the file is read strictly.
    pub(super) fn error_of_strictness(&mut self, site: &Site, fault: Fault) {
        if !self.muted {
            let is_broken = self.is_broken;
            self.error(site, fault);
            self.is_broken = is_broken;
        }
    }

    /// Adds an error about an instruction.
    pub(super) fn error(&mut self, site: &Site, fault: Fault) {
        let span = fault.span.unwrap_or(site.span);
        self.error_at(site.lines, Fault { span: Some(span), ..fault });
    }

    /// Adds an error about lines that are not those of one instruction.
    pub(super) fn error_at(&mut self, lines: LineRange, fault: Fault) {
        self.is_broken = true;
        let diagnostic = Diagnostic::error(fault.problem).in_lines(lines);
        let diagnostic = match fault.span {
            Some(span) => diagnostic.at(&self.file.source, span),
            None => diagnostic,
        };
        self.push(Diagnostic { hint: fault.hint, notes: fault.notes, ..diagnostic });
    }

    /// Adds an error about the file as a whole.
    pub(super) fn error_of_file(&mut self, fault: Fault) {
        self.is_broken = true;
        self.push(Diagnostic { hint: fault.hint, notes: fault.notes, ..Diagnostic::error(fault.problem) });
    }

    fn push(&mut self, diagnostic: Diagnostic) {
        let again = diagnostic.severity == Severity::Error && self.diagnostics.contains(&diagnostic);
        if !again && self.diagnostics.len() < DIAGNOSTICS_MAX {
            self.diagnostics.push(diagnostic);
        }
    }

    /// Returns where a part of the file is.
    pub(super) fn place(&self, span: Span) -> Place {
        Place::of(&self.file.source, span)
    }

    fn options_at(&self, site: &Site) -> std::borrow::Cow<'_, CheckOptions> {
        let said = site.comments.iter().filter_map(|comment| comment.strip_prefix("check="));
        let said: Vec<CheckOptions> = said.filter_map(|options| options.parse().ok()).collect();
        if said.is_empty() {
            return std::borrow::Cow::Borrowed(&self.options);
        }
        let mut options = self.options.clone();
        said.iter().for_each(|more| options.merge(more));
        std::borrow::Cow::Owned(options)
    }

    /// Tells whether there is an error.
    pub(super) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Adds the error that all warnings together are, where the options want it.
    pub(super) fn close(&mut self) {
        let mut rules: Vec<&str> = Vec::new();
        for rule in self.diagnostics.iter().filter_map(|diagnostic| diagnostic.rule) {
            if !rules.contains(&rule.name()) {
                rules.push(rule.name());
            }
        }
        if !self.options.error || rules.is_empty() {
            return;
        }
        let problem = LowerProblem::Lint { rules: rules.join(", ") };
        let first = self.diagnostics.iter().find(|diagnostic| diagnostic.rule.is_some());
        let (place, lines) = first.map_or((None, None), |first| (first.place, first.lines));
        self.push(Diagnostic { place, lines, ..Diagnostic::error(problem) });
    }

    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }
}
