//! `ARG`, `ENV` and `LABEL`: what has a key and a value.

use std::collections::BTreeSet;

use crate::ast::{Argument, Pair};
use crate::checks::Rule;
use crate::go;
use crate::source::Span;

use super::args::{ArgumentRecord, NOT_IN_ENVIRONMENT};
use super::dispatch::At;
use super::error::Fault;
use super::node::NodeId;
use super::pass::Pass;
use super::session::Purpose;
use super::stage::{Built, Layer};

/// Words in the name of a variable that has a secret, and words that say that it has none.
const SECRET_WORDS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
const OPEN_WORDS: [&str; 3] = ["public", "file", "version"];

impl Pass<'_, '_> {
    /// `ARG`: a build argument wins over the default, and the default over the global scope.
    pub(super) fn arg(&mut self, built: &mut Built, at: At<'_>, arguments: &[Argument]) -> Result<(), Fault> {
        let mut history = at.new_history("ARG");
        for argument in arguments {
            self.report_secret(at, "ARG", &argument.name, argument.span);
            let given = self.build_args.get(&argument.name).cloned();
            let is_inherited = given.is_none() && argument.default.is_none();
            let value = match (given, &argument.default) {
                (Some(value), _) => Some(value),
                (None, Some(default)) => Some(self.text(built, at, default, argument.span)?),
                (None, None) => self.globals.environment.get(&argument.name).map(str::to_owned),
            };
            if let Some(value) = &value
                && !NOT_IN_ENVIRONMENT.contains(&argument.name.as_str())
            {
                built.environment.set(&argument.name, value);
            }
            self.outline_argument(built, at, argument, value.as_deref(), is_inherited);
            history.extend([" ", &argument.name]);
            if let Some(value) = &value {
                self.session.meter.keep(value.len())?;
                history.extend(["=", value]);
            }
            built.args.declare(&argument.name, value);
        }
        self.record(built, history, Layer::None)
    }

    /// Notes a declared argument for the outline; one that the global scope gives a value is that of the global scope.
    fn outline_argument(
        &self,
        built: &mut Built,
        at: At<'_>,
        argument: &Argument,
        value: Option<&str>,
        is_inherited: bool,
    ) {
        if self.session.purpose != Purpose::Outline {
            return;
        }
        built.outline.used_args.insert(argument.name.clone());
        if is_inherited && value.is_some() {
            return;
        }
        let record = ArgumentRecord {
            name: argument.name.clone(),
            value: value.unwrap_or_default().to_owned(),
            description: argument.description.clone(),
            lines: at.site.lines,
            dependencies: BTreeSet::new(),
        };
        built.outline.args.insert(argument.name.clone(), record);
    }

    /// Notes for the outline what a stage has from the global scope.
    pub(super) fn outline_stage(&self, id: NodeId, built: &mut Built) {
        if self.session.purpose != Purpose::Outline {
            return;
        }
        let node = &self.nodes.list[id];
        if node.base.is_none() {
            built.outline.args = self.globals.records.clone();
        }
        built.outline.used_args.extend(node.used_args.iter().cloned());
    }

    /// `ENV`: all values see the variables from before the line.
    pub(super) fn env(&mut self, built: &mut Built, at: At<'_>, pairs: &[Pair]) -> Result<(), Fault> {
        let pairs = self.pairs(built, at, pairs)?;
        let mut history = at.new_history("ENV");
        for (key, value, pair) in &pairs {
            self.report_legacy(at, pair);
            self.report_secret(at, "ENV", key, pair.span);
            history.extend([" ", key, "=", value]);
            built.set_env(key, value);
        }
        self.record(built, history, Layer::None)
    }

    /// `LABEL`.
    pub(super) fn label(&mut self, built: &mut Built, at: At<'_>, pairs: &[Pair]) -> Result<(), Fault> {
        let pairs = self.pairs(built, at, pairs)?;
        let mut history = at.new_history("LABEL");
        for (key, value, pair) in pairs {
            self.report_legacy(at, pair);
            history.extend([" ", &key, "=", &value]);
            built.config.config.labels.insert(key, value);
        }
        self.record(built, history, Layer::None)
    }

    /// Substitutes the variables of keys and values.
    fn pairs<'p>(
        &mut self,
        built: &Built,
        at: At<'_>,
        pairs: &'p [Pair],
    ) -> Result<Vec<(String, String, &'p Pair)>, Fault> {
        let mut expanded = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let key = self.text(built, at, &pair.key, pair.span)?;
            let value = self.text(built, at, &pair.value, pair.span)?;
            self.session.meter.keep(key.len() + value.len())?;
            expanded.push((key, value, pair));
        }
        Ok(expanded)
    }

    fn report_legacy(&mut self, at: At<'_>, pair: &Pair) {
        if pair.legacy {
            let keyword = &at.site.keyword;
            let message =
                format!("\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format");
            self.session.reports.warn(Rule::LegacyKeyValueFormat, at.site, at.span(pair.span), message);
        }
    }

    fn report_secret(&mut self, at: At<'_>, instruction: &str, key: &str, span: Span) {
        if is_secret(key) {
            let message =
                format!("Do not use ARG or ENV instructions for sensitive data ({instruction} {})", go::quote(key));
            self.session.reports.warn(Rule::SecretsUsedInArgOrEnv, at.site, at.span(span), message);
        }
    }
}

/// Tells whether a variable seems to have a secret: one of its words says so, and none says otherwise.
fn is_secret(key: &str) -> bool {
    let has = |words: &[&str]| key.split('_').any(|word| words.iter().any(|known| known.eq_ignore_ascii_case(word)));
    has(&SECRET_WORDS) && !has(&OPEN_WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_told_by_a_word_of_its_name() {
        let secrets = ["TOKEN", "api_key", "DATABASE_PASSWORD", "x_Secret_y", "_auth_"].map(is_secret);
        let others = ["KEYS", "MONKEY", "PUBLIC_KEY", "KEY_FILE", "TOKEN_VERSION", "tokenizer", ""].map(is_secret);
        assert_eq!((secrets, others), ([true; 5], [false; 7]));
    }
}
