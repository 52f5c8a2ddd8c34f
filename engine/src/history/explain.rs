//! Why a step ran: the first difference between what it was and what it is.
//!
//! **Invariant:** a pure function of facts: what is known of the step now, of the same step in earlier builds, and of what ran in this build.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use frontend::MAIN_CONTEXT_NAME;
use oci::{Digest, Timestamp};
use serde_json::Value;

use super::facts::{InputFacts, SourceFacts, StepFacts, instruction};
use super::listing;
use super::read::{Former, FormerBuild};
use crate::event::Outcome;

/// How much of a value is shown, in characters.
const SHOWN_CHARS_MAX: usize = 60;

/// Says why steps ran.
pub(crate) struct Explainer<'a> {
    /// The steps of this build.
    pub(crate) steps: &'a [StepFacts],
    /// Those of earlier builds.
    pub(crate) former: &'a Former,
    /// The steps of this build that ran, or would run.
    pub(crate) ran: &'a BTreeSet<Digest>,
    /// When the result under a definition key was pruned, if it was.
    pub(crate) pruned: &'a dyn Fn(&Digest) -> Option<Timestamp>,
    /// Where the listings of build contexts lie.
    pub(crate) history: &'a Path,
}

impl Explainer<'_> {
    /// Says why a step ran, or would run.
    pub(crate) fn reason(&self, now: &StepFacts) -> String {
        if now.ignore_cache {
            return "the cache was not asked (--no-cache)".to_owned();
        }
        if let Some(at) = (self.pruned)(&now.definition).filter(|at| !self.was_built_after(*at, &now.definition)) {
            return format!("pruned on {at}");
        }
        let Some((build, before)) = self.find(now) else { return "never built".to_owned() };
        let difference = op_difference(&before.op, &now.op)
            .or_else(|| self.source_difference(before, now))
            .or_else(|| self.input_that_ran(now));
        difference.unwrap_or_else(|| match build.outcomes.get(&before.step) {
            Some(Outcome::Failed(_)) => "it failed the last time".to_owned(),
            Some(Outcome::Cancelled | Outcome::NotRun) | None => "it never ended".to_owned(),
            Some(Outcome::Done | Outcome::Cached) => "its result is not in the cache any more".to_owned(),
        })
    }

    fn was_built_after(&self, at: Timestamp, definition: &Digest) -> bool {
        let is_later = |build: &&FormerBuild| build.began.is_some_and(|began| began > at);
        let has = |build: &FormerBuild| build.facts.iter().any(|facts| facts.definition == *definition);
        self.former.builds.iter().filter(is_later).any(has)
    }

    /// Returns how long a step took when it was run last.
    pub(crate) fn last_time(&self, now: &StepFacts) -> Option<Duration> {
        self.former.builds.iter().find_map(|build| {
            let before = self.find_in(build, now)?;
            build.times.get(&before.step).copied()
        })
    }

    fn find(&self, now: &StepFacts) -> Option<(&FormerBuild, &StepFacts)> {
        self.former.builds.iter().find_map(|build| Some((build, self.find_in(build, now)?)))
    }

    /// Finds what a step was in a build: the one with the same text in the same stage, else the one in the same place, unless that has moved.
    fn find_in<'b>(&self, build: &'b FormerBuild, now: &StepFacts) -> Option<&'b StepFacts> {
        let is_alike = |before: &&StepFacts| before.kind() == now.kind() && before.stage == now.stage;
        let same_text = |step: &&StepFacts| step.stage == now.stage && step.instruction() == now.instruction();
        // Of several steps with one text, the first is the first.
        let ordinal = self.steps.iter().filter(same_text).position(|step| step.step == now.step).unwrap_or(0);
        let same: Vec<&StepFacts> = build.facts.iter().filter(is_alike).filter(same_text).collect();
        if let Some(before) = same.get(ordinal).or(same.last()) {
            return Some(before);
        }
        let here = |before: &&StepFacts| is_alike(before) && before.place() == now.place();
        let before = build.facts.iter().find(here)?;
        let has_moved =
            self.steps.iter().any(|step| step.name != now.name && step.instruction() == before.instruction());
        (!has_moved).then_some(before)
    }

    fn source_difference(&self, before: &StepFacts, now: &StepFacts) -> Option<String> {
        let mut inputs = before.inputs.iter().zip(&now.inputs).enumerate();
        let changed = inputs.find_map(|(place, (before, now))| self.input_difference(place, before, now));
        changed.or_else(|| (before.inputs.len() != now.inputs.len()).then(|| "it has other inputs".to_owned()))
    }

    fn input_difference(&self, place: usize, before: &InputFacts, now: &InputFacts) -> Option<String> {
        let source = now.source.as_ref()?;
        if before.pin == now.pin {
            return None;
        }
        if before.source.is_none() {
            return Some(format!("it works on {} in place of `{}`", named(source), instruction(&before.name)));
        }
        Some(match (before.source.as_ref()?, source) {
            (SourceFacts::Image(then, _), SourceFacts::Image(name, manifest)) => {
                let what = if place == 0 { "base image" } else { "image" };
                if then == name {
                    format!("{what} {name} moved to {manifest}")
                } else {
                    format!("{what}: {then} → {name}")
                }
            }
            (SourceFacts::Local(then), SourceFacts::Local(name)) if then == name => {
                let context = if name == MAIN_CONTEXT_NAME { "context".to_owned() } else { format!("context {name}") };
                self.context_difference(&context, before, now)
            }
            (SourceFacts::Http(then), SourceFacts::Http(url)) if then == url => format!("{url}: content changed"),
            (SourceFacts::Other, SourceFacts::Other) => format!("{}: changed", source_name(now)),
            (then, source) => format!("{} → {}", named(then), named(source)),
        })
    }

    fn context_difference(&self, context: &str, before: &InputFacts, now: &InputFacts) -> String {
        let listing = |facts: &InputFacts| listing::get(self.history, facts.pin.as_ref()?);
        let difference = match (listing(before), listing(now)) {
            (Some(then), Some(now)) => listing::difference(&then, &now),
            _ => None,
        };
        match (difference, before.selection == now.selection) {
            (Some(difference), _) => format!("{context} file {difference}"),
            (None, true) => format!("{context}: files changed"),
            (None, false) => format!("{context}: other files are selected"),
        }
    }

    fn input_that_ran(&self, now: &StepFacts) -> Option<String> {
        let input = now.inputs.iter().find(|input| self.ran.contains(&input.step) && input.source.is_none())?;
        Some(format!("`{}` made other files", clip(instruction(&input.name))))
    }
}

fn named(source: &SourceFacts) -> String {
    match source {
        SourceFacts::Image(name, _) => format!("image {name}"),
        SourceFacts::Local(name) => format!("context {name}"),
        SourceFacts::Http(url) => url.clone(),
        SourceFacts::Other => "another source".to_owned(),
    }
}

fn source_name(input: &InputFacts) -> &str {
    if input.name.is_empty() { "files in the Dockerfile" } else { &input.name }
}

/// Returns the first difference between two operations, in the order in which users would look: the command, the environment, the rest.
fn op_difference(before: &str, now: &str) -> Option<String> {
    if before == now {
        return None;
    }
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let (before, now) = (parse(before), parse(now));
    let (then, exec) = (&before["exec"], &now["exec"]);
    let difference = match exec.is_object() && then.is_object() {
        true => command_difference(then, exec).or_else(|| env_difference(then, exec)),
        false => None,
    };
    difference.or_else(|| first_difference("", &before, &now)).or_else(|| Some("the instruction changed".to_owned()))
}

fn command_difference(before: &Value, now: &Value) -> Option<String> {
    let words = |exec: &Value| -> Vec<String> {
        exec["args"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let (then, args) = (words(before), words(now));
    if then == args {
        return None;
    }
    // A script behind the same shell: its first line that is different says the most.
    let is_script = then.len() == args.len() && then[..then.len() - 1] == args[..args.len() - 1];
    let (then, args) = match (is_script, then.last(), args.last()) {
        (true, Some(then), Some(args)) => {
            let mut lines = then.lines().zip(args.lines()).filter(|(then, now)| then != now);
            lines.next().map_or_else(|| (then.clone(), args.clone()), |(a, b)| (a.to_owned(), b.to_owned()))
        }
        _ => (then.join(" "), args.join(" ")),
    };
    Some(format!("command: {} → {}", clip(&then), clip(&args)))
}

fn env_difference(before: &Value, now: &Value) -> Option<String> {
    let variables = |exec: &Value| -> BTreeMap<String, String> {
        let env = exec["env"].as_array().into_iter().flatten().filter_map(Value::as_str);
        env.filter_map(|it| it.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let (then, env) = (variables(before), variables(now));
    let names: BTreeSet<&String> = then.keys().chain(env.keys()).collect();
    let name = names.into_iter().find(|name| then.get(*name) != env.get(*name))?;
    let shown = |value: Option<&String>| value.map_or_else(|| "not set".to_owned(), |value| clip(value));
    Some(format!("ENV {name}: {} → {}", shown(then.get(name)), shown(env.get(name))))
}

/// Returns the first leaf that is different, by its name.
fn first_difference(name: &str, before: &Value, now: &Value) -> Option<String> {
    match (before, now) {
        _ if before == now => None,
        (Value::Object(then), Value::Object(fields)) => {
            let names: BTreeSet<&String> = then.keys().chain(fields.keys()).collect();
            let null = Value::Null;
            names.into_iter().find_map(|name| {
                first_difference(name, then.get(name).unwrap_or(&null), fields.get(name).unwrap_or(&null))
            })
        }
        (Value::Array(then), Value::Array(items)) if then.len() == items.len() => {
            then.iter().zip(items).find_map(|(then, item)| first_difference(name, then, item))
        }
        _ => Some(format!("{}: {} → {}", label(name), shown(before), shown(now))),
    }
}

/// What users call a field.
fn label(name: &str) -> &str {
    match name {
        "cwd" => "WORKDIR",
        "user" => "USER",
        "owner" => "--chown",
        "" => "instruction",
        other => other,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "not set".to_owned(),
        Value::String(text) => clip(text),
        other => clip(&other.to_string()),
    }
}

fn clip(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let is_whole = line.len() == text.len() && line.chars().count() <= SHOWN_CHARS_MAX;
    if is_whole { line.to_owned() } else { line.chars().take(SHOWN_CHARS_MAX - 1).chain(['…']).collect() }
}
