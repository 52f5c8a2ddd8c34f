//! What users see of a step: `[build 2/4] RUN make`.

use llb::Hints;
use oci::Platform;

use crate::ast::Site;
use crate::expand::{Environment, Meter, Quotes, Style, Unset, expand_metered};
use crate::syntax::Escape;

/// How long the prefix of a step is at most, if the stage has no long name.
const PREFIX_BYTES_USUAL: usize = 48;

/// Counts the steps of a stage.
#[derive(Clone, Debug, Default)]
pub(super) struct Steps {
    /// The stage's name; empty where the file has only one and needs none.
    pub(super) stage: String,
    /// Whether the platform is part of the name.
    pub(super) with_platform: bool,
    pub(super) ignore_cache: bool,
    total: usize,
    count: usize,
}

impl Steps {
    pub(super) fn new(stage: &str, total: usize, with_platform: bool, ignore_cache: bool) -> Self {
        Self { stage: stage.to_owned(), with_platform, ignore_cache, total, count: 0 }
    }

    /// Counts more steps, those of triggers.
    pub(super) fn grow(&mut self, steps: usize) {
        self.total += steps;
    }

    /// Returns what stands in front of the next step's text.
    pub(super) fn next_prefix(&mut self, platform: &Platform, environment: &Environment, on_build: bool) -> String {
        if self.total == 0 {
            return String::new();
        }
        self.count += 1;
        let mut prefix = String::with_capacity(PREFIX_BYTES_USUAL);
        prefix.push('[');
        if self.with_platform {
            prefix.push_str(&format!("{platform}{} ", cross_target(platform, environment)));
        }
        if !self.stage.is_empty() {
            prefix.extend([&self.stage, " "]);
        }
        let (count, total) = (self.count.to_string(), self.total.to_string());
        prefix.extend(std::iter::repeat_n(' ', total.len().saturating_sub(count.len())));
        prefix.extend([&count, "/", &total, "] "]);
        if on_build {
            prefix.push_str("ONBUILD ");
        }
        prefix
    }

    /// Returns the hints of the step that brings in the base.
    pub(super) fn hints_of_base(&self, name: String, site: &Site) -> Hints {
        // What is asked for by name is fetched again anyway where that was asked for: only steps on top of it ignore the cache.
        Hints { ignore_cache: false, ..self.hints(name, site) }
    }

    /// Returns the hints of a step of an instruction.
    pub(super) fn hints(&self, name: String, site: &Site) -> Hints {
        let stage = (!self.stage.is_empty()).then(|| self.stage.clone());
        Hints { name, stage, lines: Some(site.lines), ignore_cache: self.ignore_cache }
    }
}

/// Returns the hints of one of the builder's own steps.
pub(super) fn own_hints(name: impl Into<String>) -> Hints {
    Hints { name: name.into(), ..Hints::default() }
}

/// Returns an instruction as a step's name shows it: the keyword in upper case and the variables substituted; where that is not possible, as it is written.
pub(super) fn instruction_text(code: &str, escape: Escape, environment: &Environment, meter: &Meter) -> String {
    let style = Style { escape, ..Style::default() };
    uppercase_keyword(substituted(code, style, environment, meter))
}

/// Returns a `RUN` as a step's name shows it: quotes stay, and so do variables that the builder does not know, since they are the shell's.
pub(super) fn run_text(code: &str, escape: Escape, environment: &Environment, meter: &Meter) -> String {
    let style = Style { escape, quotes: Quotes::Keep, unset: Unset::Keep, ..Style::default() };
    uppercase_keyword(substituted(code, style, environment, meter))
}

fn substituted(code: &str, style: Style, environment: &Environment, meter: &Meter) -> String {
    expand_metered(code, style, environment, meter).map_or_else(|_| code.to_owned(), |expanded| expanded.text)
}

fn uppercase_keyword(text: String) -> String {
    let (keyword, rest) = text.split_at(text.find(' ').unwrap_or(text.len()));
    if keyword.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return text;
    }
    [keyword.to_uppercase().as_str(), rest].concat()
}

/// Returns what a step that builds for another platform than it runs on is marked with: `->arm64`, or nothing.
fn cross_target(base: &Platform, environment: &Environment) -> String {
    let Some(target) = target_platform(base, environment) else { return String::new() };
    if target.os != base.os {
        return format!("->{target}");
    }
    if target.architecture == base.architecture {
        return String::new();
    }
    let variant = target.variant.iter().map(|variant| format!("/{variant}")).collect::<String>();
    format!("->{}{variant}", target.architecture)
}

/// Reads the platform that the stage's arguments name.
fn target_platform(base: &Platform, environment: &Environment) -> Option<Platform> {
    let (mut os, mut architecture, mut variant) = (None, None, None);
    for key in environment.keys() {
        match key {
            "TARGETPLATFORM" => {
                if let Some(platform) = environment.get(key).and_then(|text| text.parse().ok()) {
                    return Some(platform);
                }
            }
            "TARGETOS" => os = environment.get(key),
            "TARGETARCH" => architecture = environment.get(key),
            "TARGETVARIANT" => variant = environment.get(key),
            _ => {}
        }
    }
    if os.is_none() && architecture.is_none() && variant.is_none() {
        return None;
    }
    let or = |value: Option<&str>, default: &str| value.filter(|value| !value.is_empty()).unwrap_or(default).to_owned();
    Some(Platform::new(&or(os, &base.os), &or(architecture, &base.architecture), variant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_named_by_stage_and_number() {
        let platform = Platform::new("linux", "amd64", None);
        let prefix = |stage: &str, total, with_platform, environment: &[&str]| {
            let mut steps = Steps::new(stage, total, with_platform, false);
            steps.next_prefix(&platform, &Environment::from_entries(environment.iter().copied()), false)
        };
        assert_eq!(prefix("", 3, false, &[]), "[1/3] ");
        assert_eq!(prefix("build", 12, false, &[]), "[build  1/12] ");
        assert_eq!(prefix("build", 0, false, &[]), "");
        assert_eq!(prefix("build", 2, true, &[]), "[linux/amd64 build 1/2] ");
        assert_eq!(prefix("build", 2, true, &["TARGETPLATFORM=linux/arm64"]), "[linux/amd64->arm64 build 1/2] ");
        assert_eq!(prefix("", 2, true, &["TARGETARCH=arm", "TARGETVARIANT=v6"]), "[linux/amd64->arm/v6 1/2] ");
        assert_eq!(prefix("", 2, true, &["TARGETOS=windows"]), "[linux/amd64->windows/amd64 1/2] ");
    }

    #[test]
    fn the_text_of_a_step_has_its_variables_substituted() {
        let environment = Environment::from_entries(["A=1"]);
        let meter = Meter::default();
        assert_eq!(instruction_text("copy \"$A\" $B /x", Escape::Backslash, &environment, &meter), "COPY 1  /x");
        assert_eq!(instruction_text("copy 'a", Escape::Backslash, &environment, &meter), "COPY 'a");
        assert_eq!(
            run_text("Run echo \"$A $B\" ${C:-x}", Escape::Backslash, &environment, &meter),
            "RUN echo \"1 $B\" ${C:-x}"
        );
    }
}
