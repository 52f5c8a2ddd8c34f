//! What the build checks found.

use serde::Serialize;

use super::{Location, as_base64};
use crate::diagnostic::{Diagnostic, Severity};
use crate::source::Source;

/// What the build checks found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The warnings, in the order of the checks: those that look at lines, at instructions, at the whole file, at what is built.
    pub warnings: Vec<CheckWarning>,
    /// The file.
    pub sources: Vec<CheckSource>,
    /// Why the file cannot be built, where it cannot.
    #[serde(rename = "buildError", skip_serializing_if = "Option::is_none")]
    pub build_error: Option<BuildError>,
    /// All of it in the order of the file, with what BuildKit's answer has no place for: columns, notes, hints, further errors.
    #[serde(skip)]
    pub diagnostics: Vec<Diagnostic>,
}

/// A warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckWarning {
    /// The name of the check.
    pub rule_name: String,
    /// What the check asks for.
    pub description: String,
    /// The page that documents the check, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What is wrong here.
    pub detail: String,
    /// Where.
    pub location: Location,
}

/// A file that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckSource {
    /// Its name.
    pub filename: String,
    /// Its language.
    pub language: &'static str,
    /// Its text.
    #[serde(serialize_with = "as_base64")]
    pub data: String,
}

/// Why a file cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuildError {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub location: Location,
}

impl CheckReport {
    /// Returns the report of a file from what was found in it, in the order of the checks.
    pub(crate) fn new(filename: &str, source: &Source, mut diagnostics: Vec<Diagnostic>) -> Self {
        let location = |diagnostic: &Diagnostic| diagnostic.lines.map(Location::from).unwrap_or_default();
        let warning = |diagnostic: &Diagnostic| {
            let rule = diagnostic.rule?;
            Some(CheckWarning {
                rule_name: rule.name().to_owned(),
                description: rule.description().to_owned(),
                url: rule.url(),
                detail: diagnostic.message.clone(),
                location: location(diagnostic),
            })
        };
        let error =
            diagnostics.iter().find(|diagnostic| diagnostic.severity == Severity::Error && diagnostic.rule.is_none());
        let build_error = error.map(|error| BuildError { message: error.message.clone(), location: location(error) });
        let sources =
            vec![CheckSource { filename: filename.to_owned(), language: "Dockerfile", data: source.text().to_owned() }];
        let warnings = diagnostics.iter().filter_map(warning).collect();
        diagnostics.sort_by_key(|diagnostic| diagnostic.lines.map_or(0, |lines| lines.start));
        Self { warnings, sources, build_error, diagnostics }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Rule;
    use crate::source::Span;
    use expect_test::expect;

    #[test]
    fn a_report_is_the_json_of_buildkits_subrequest() {
        let source = Source::new("FROM a\nRUN b\n".to_owned());
        let warning = Diagnostic::warning(Rule::UndefinedVar, "detail").at(&source, Span::new(7, 12));
        let error = Diagnostic::error("no");
        let report = CheckReport::new("Dockerfile", &source, vec![warning, error]);
        expect![[r#"{"warnings":[{"ruleName":"UndefinedVar","description":"Variables should be defined before their use","url":"https://docs.docker.com/go/dockerfile/rule/undefined-var/","detail":"detail","location":{"ranges":[{"start":{"line":2},"end":{"line":2}}]}}],"sources":[{"filename":"Dockerfile","language":"Dockerfile","data":"RlJPTSBhClJVTiBiCg=="}],"buildError":{"message":"no","location":{}}}"#]]
            .assert_eq(&serde_json::to_string(&report).unwrap());
    }
}
