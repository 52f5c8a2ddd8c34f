//! Flags of `docker build` that scripts give and that change nothing here.

use anyhow::bail;
use clap::{ArgAction, Args};

/// What `--builder` may say: there is one builder, and it is this program.
const BUILDER: &str = "default";

#[derive(Debug, Default, Args)]
pub(crate) struct IgnoredArgs {
    #[arg(long, hide = true)]
    builder: Option<String>,
    #[arg(long, hide = true)]
    cache_from: Vec<String>,
    #[arg(long, hide = true)]
    cache_to: Vec<String>,
    #[arg(long, hide = true)]
    provenance: Option<String>,
    #[arg(long, hide = true)]
    sbom: Option<String>,
    #[arg(long, hide = true)]
    attest: Vec<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = ArgAction::Set)]
    rm: bool,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set)]
    force_rm: bool,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set)]
    compress: bool,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set)]
    squash: bool,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = ArgAction::Set)]
    disable_content_trust: bool,
    #[arg(long, hide = true)]
    isolation: Option<String>,
    #[arg(long, hide = true)]
    security_opt: Vec<String>,
}

impl IgnoredArgs {
    /// Returns what is to be said of flags that change nothing, or refuses those whose absence would be missed.
    pub(crate) fn warnings(&self) -> anyhow::Result<Vec<String>> {
        if let Some(name) = self.builder.as_deref().filter(|name| !matches!(*name, BUILDER | "")) {
            bail!("no builder \"{name}\" found: there is only `{BUILDER}`");
        }
        if let Some(text) = self.cache_to.first() {
            bail!("cache export is not supported: --cache-to \"{text}\"");
        }
        if let Some(text) = self.attestation() {
            bail!("attestations are not supported: {text}; leave it out, or say --provenance=false");
        }
        let given = [
            (!self.cache_from.is_empty(), "--cache-from"),
            (self.compress, "--compress"),
            (self.force_rm, "--force-rm"),
            (self.isolation.is_some(), "--isolation"),
            (!self.security_opt.is_empty(), "--security-opt"),
            (self.squash, "--squash"),
        ];
        let ignored = |flag: &str| format!("{flag} is ignored: it changes nothing here");
        Ok(given.into_iter().filter(|(is_given, _)| *is_given).map(|(_, flag)| ignored(flag)).collect())
    }

    /// Returns the first flag that asks for an attestation.
    fn attestation(&self) -> Option<String> {
        let asks = |value: &str| !matches!(value, "false" | "0" | "") && !is_disabled(value);
        let flag = |name: &str, value: &Option<String>| {
            value.as_deref().filter(|value| asks(value)).map(|value| format!("--{name}={value}"))
        };
        let attest = self.attest.iter().find(|value| !is_disabled(value)).map(|value| format!("--attest {value}"));
        flag("provenance", &self.provenance).or_else(|| flag("sbom", &self.sbom)).or(attest)
    }
}

fn is_disabled(value: &str) -> bool {
    value.split(',').any(|field| matches!(field, "disabled" | "disabled=true" | "disabled=1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(args: IgnoredArgs, expected: &str) {
        let said = args.warnings().map_or_else(|error| format!("refused: {error}"), |warnings| warnings.join("\n"));
        assert_eq!(said, expected);
    }

    #[test]
    fn what_would_be_missed_is_refused_and_the_rest_is_told() {
        let text = |text: &str| Some(text.to_owned());
        let list = |text: &str| vec![text.to_owned()];
        check(IgnoredArgs { builder: text("default"), rm: true, ..Default::default() }, "");
        check(IgnoredArgs { squash: true, ..Default::default() }, "--squash is ignored: it changes nothing here");
        check(
            IgnoredArgs { cache_from: list("app"), ..Default::default() },
            "--cache-from is ignored: it changes nothing here",
        );
        check(
            IgnoredArgs { builder: text("big"), ..Default::default() },
            "refused: no builder \"big\" found: there is only `default`",
        );
        check(
            IgnoredArgs { cache_to: list("type=inline"), ..Default::default() },
            "refused: cache export is not supported: --cache-to \"type=inline\"",
        );
    }

    #[test]
    fn attestations_can_be_declined() {
        let text = |text: &str| Some(text.to_owned());
        let disabled = vec!["type=sbom,disabled=true".to_owned()];
        check(IgnoredArgs { provenance: text("false"), attest: disabled, ..Default::default() }, "");
        check(
            IgnoredArgs { sbom: text("true"), ..Default::default() },
            "refused: attestations are not supported: --sbom=true; leave it out, or say --provenance=false",
        );
    }
}
