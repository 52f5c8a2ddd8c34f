//! Arguments of the global scope: the platforms, those in front of the first stage, and which arguments nothing takes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use llb::LineRange;
use oci::Platform;

use crate::ast::{Argument, Command, Dockerfile, GlobalArg};
use crate::expand::{Environment, Meter, Style, expand_metered};
use crate::suggest;
use crate::syntax::Escape;

use super::error::{Fault, LowerProblem};
use super::report::Reports;

/// What `TARGETSTAGE` is where neither the request nor the last stage has a name.
const DEFAULT_STAGE: &str = "default";
/// Arguments that every `RUN` has without an `ARG`.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];
/// Arguments that the builder reads itself, beside those whose name begins with `BUILDKIT_`.
const BUILDER_ARGS: [&str; 1] = ["SOURCE_DATE_EPOCH"];
/// Arguments that are no variables of a command's environment.
pub(super) const NOT_IN_ENVIRONMENT: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// About how many bytes an entry of a list takes besides its text.
pub(super) const ENTRY_BYTES: usize = 96;

/// What is known of an argument for the outline of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ArgumentRecord {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) description: Option<String>,
    pub(super) lines: LineRange,
    /// The arguments that the default names.
    pub(super) dependencies: BTreeSet<String>,
}

/// The arguments that a stage declares: each once, in order, with its last value.
#[derive(Clone, Debug, Default)]
pub(super) struct Declared {
    entries: Vec<(String, Option<String>)>,
    places: HashMap<String, usize>,
}

impl Declared {
    pub(super) fn declare(&mut self, name: &str, value: Option<String>) {
        if let Some(place) = self.places.get(name) {
            self.entries[*place].1 = value;
            return;
        }
        self.places.insert(name.to_owned(), self.entries.len());
        self.entries.push((name.to_owned(), value));
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Adds the arguments as the history of a command has them in front of it: `|2 A=1 B=2 `. A variable that was set since wins.
    pub(super) fn add_to_history(&self, environment: &Environment, history: &mut String) {
        if self.entries.is_empty() {
            return;
        }
        let pairs = self.entries.iter().map(|(name, value)| {
            let value = environment.get(name).or(value.as_deref()).unwrap_or_default();
            (name.as_str(), value)
        });
        let pairs: Vec<(&str, &str)> = pairs.collect();
        history.extend(["|", &pairs.len().to_string(), " "]);
        history.reserve(pairs.iter().map(|(name, value)| name.len() + value.len() + "= ".len()).sum());
        pairs.iter().for_each(|(name, value)| history.extend([name, "=", value, " "]));
    }

    /// Returns about how many bytes a copy takes.
    pub(super) fn size_bytes(&self) -> usize {
        self.entries
            .iter()
            .map(|(name, value)| 2 * name.len() + value.as_ref().map_or(0, String::len) + ENTRY_BYTES)
            .sum()
    }
}

/// Returns the arguments that exist without being declared.
pub(super) fn default_args(
    build: &Platform,
    target: &Platform,
    target_stage: &str,
    build_args: &BTreeMap<String, String>,
) -> Environment {
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    let stage = if target_stage.is_empty() { DEFAULT_STAGE } else { target_stage };
    let list = [
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", optional(&build.os_version)),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", optional(&build.variant)),
        ("TARGETPLATFORM", target.to_string()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", optional(&target.os_version)),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", optional(&target.variant)),
        ("TARGETSTAGE", stage.to_owned()),
    ];
    let mut environment = Environment::new();
    for (name, value) in &list {
        environment.set(name, build_args.get(*name).unwrap_or(value));
    }
    environment
}

/// Arguments of the global scope and how they came about.
#[derive(Clone, Debug, Default)]
pub(super) struct GlobalScope {
    pub(super) environment: Environment,
    pub(super) records: BTreeMap<String, ArgumentRecord>,
}

/// Evaluates the `ARG` instructions in front of the first stage, on top of `defaults`. An error comes with the instruction that it is about.
pub(super) fn global_scope<'a>(
    args: &'a [GlobalArg],
    defaults: &Environment,
    build_args: &BTreeMap<String, String>,
    escape: Escape,
    meter: &Meter,
) -> Result<GlobalScope, (&'a GlobalArg, Fault)> {
    let mut scope = GlobalScope { environment: defaults.clone(), records: BTreeMap::new() };
    for arg in args {
        for argument in &arg.args {
            let record = global_argument(argument, &scope, build_args, escape, meter).map_err(|fault| (arg, fault))?;
            let (value, mut dependencies) = record;
            if dependencies.remove(&argument.name) {
                // `ARG A=${A}x` still hangs on all that the earlier `A` hung on.
                dependencies.extend(
                    scope.records.get(&argument.name).into_iter().flat_map(|earlier| earlier.dependencies.clone()),
                );
            }
            if let Some(value) = &value {
                scope.environment.set(&argument.name, value);
            }
            let (name, description, lines) = (argument.name.clone(), argument.description.clone(), arg.site.lines);
            let record = ArgumentRecord { name, value: value.unwrap_or_default(), description, lines, dependencies };
            scope.records.insert(argument.name.clone(), record);
        }
    }
    Ok(scope)
}

fn global_argument(
    argument: &Argument,
    scope: &GlobalScope,
    build_args: &BTreeMap<String, String>,
    escape: Escape,
    meter: &Meter,
) -> Result<(Option<String>, BTreeSet<String>), Fault> {
    if let Some(value) = build_args.get(&argument.name) {
        return Ok((Some(value.clone()), BTreeSet::new()));
    }
    let Some(default) = &argument.default else { return Ok((None, BTreeSet::new())) };
    let style = Style { escape, ..Style::default() };
    let expanded =
        expand_metered(default, style, &scope.environment, meter).map_err(|error| Fault::at(error, argument.span))?;
    Ok((Some(expanded.text), expanded.used.into_iter().collect()))
}

/// Returns the proxy settings of commands, in the form `KEY=value`, sorted.
///
/// What is given stays as it is given; where only one case of a name is, the other gets the same value, since programs read the one or the other.
pub(super) fn proxy_environment(build_args: &BTreeMap<String, String>) -> Vec<String> {
    let mut found: BTreeMap<String, &str> = BTreeMap::new();
    for name in PROXIES {
        let given = build_args.iter().filter(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_empty());
        for (key, value) in given {
            found.insert(key.clone(), value);
            let other = if *key == name { name.to_ascii_lowercase() } else { name.to_owned() };
            if !build_args.contains_key(&other) {
                found.insert(other, value);
            }
        }
    }
    found.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

/// Warns of build arguments that no `ARG` takes and that the builder does not read itself.
pub(super) fn report_unconsumed(
    file: &Dockerfile,
    triggered: &BTreeSet<String>,
    build_args: &BTreeMap<String, String>,
    reports: &mut Reports<'_>,
) {
    let mut declared: BTreeSet<&str> = triggered.iter().map(String::as_str).collect();
    declared.extend(file.global_args.iter().flat_map(|arg| &arg.args).map(|argument| argument.name.as_str()));
    for instruction in file.stages.iter().flat_map(|stage| &stage.instructions) {
        if let Command::Arg(args) = &instruction.command {
            declared.extend(args.iter().map(|argument| argument.name.as_str()));
        }
    }
    let unconsumed: Vec<&str> = build_args
        .keys()
        .map(String::as_str)
        .filter(|name| !declared.contains(name) && !is_read_by_builder(name))
        .collect();
    if unconsumed.is_empty() {
        return;
    }
    let meant: Vec<String> = unconsumed
        .iter()
        .filter_map(|name| {
            suggest::nearest(name, declared.iter().copied())
                .map(|meant| format!("did you mean `{meant}` instead of `{name}`?"))
        })
        .collect();
    let hint = (!meant.is_empty()).then(|| meant.join(" "));
    reports.warn_build(LowerProblem::Unconsumed { names: unconsumed.join(" ") }, hint);
}

fn is_read_by_builder(name: &str) -> bool {
    let platform = name.strip_prefix("BUILD").or_else(|| name.strip_prefix("TARGET"));
    let is_platform =
        platform.is_some_and(|rest| ["PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT", "STAGE"].contains(&rest));
    is_platform
        || name.starts_with("BUILDKIT_")
        || BUILDER_ARGS.contains(&name)
        || PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    // spec 27
    #[test]
    fn platforms_are_arguments_and_build_arguments_win() {
        let (build, target) = (Platform::new("linux", "amd64", None), Platform::new("linux", "arm", Some("v7")));
        let environment = default_args(&build, &target, "", &args(&[("TARGETARCH", "x")]));
        let get = |name: &str| environment.get(name).unwrap().to_owned();
        assert_eq!(
            ["BUILDPLATFORM", "TARGETPLATFORM", "TARGETARCH", "TARGETVARIANT", "TARGETSTAGE"].map(get),
            ["linux/amd64", "linux/arm/v7", "x", "v7", "default"]
        );
    }

    // spec 28
    #[test]
    fn proxies_are_there_in_both_cases_and_as_they_are_given() {
        let proxies = |list| proxy_environment(&args(list));
        assert_eq!(
            proxies(&[("HTTP_PROXY", "a"), ("http_proxy", "b"), ("OTHER", "c")]),
            ["HTTP_PROXY=a", "http_proxy=b"]
        );
        assert_eq!(proxies(&[("no_proxy", "x")]), ["NO_PROXY=x", "no_proxy=x"]);
        assert_eq!(proxies(&[("https_proxy", "")]), [""; 0]);
    }

    #[test]
    fn what_the_builder_reads_itself_is_consumed() {
        assert!(
            [
                "HTTP_PROXY",
                "all_proxy",
                "TARGETARCH",
                "BUILDOSVERSION",
                "TARGETSTAGE",
                "BUILDKIT_X",
                "SOURCE_DATE_EPOCH"
            ]
            .map(is_read_by_builder)
            .iter()
            .all(|it| *it)
        );
        assert!(!is_read_by_builder("TARGETFOO") && !is_read_by_builder("BUILD"));
    }
}
