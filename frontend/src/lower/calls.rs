//! Lowering to answer questions: the outline of a target, and what the build checks find.

use llb::LineRange;

use crate::ast::Dockerfile;
use crate::calls::{CheckReport, Outline, OutlineAgent, OutlineArgument, OutlineSecret};
use crate::known::Known;
use crate::parse::Parse;
use crate::plan::{LowerError, Lowered};
use crate::request::LowerRequest;

use super::entry::lower_platforms;
use super::lint::lint_above;
use super::node::NodeId;
use super::pass::{Goal, Pass};
use super::session::{Purpose, Session, Stopped};
use super::stage::Outlined;

/// Returns what the target of a request takes from outside: arguments, secrets, SSH agents. A variable that must be set and is not is no error here.
pub fn outline(file: &Dockerfile, request: &LowerRequest, known: &Known) -> Result<Lowered<Outline>, LowerError> {
    let mut session = Session::new(file, request, known, Purpose::Outline);
    let outline = outline_first_platform(&mut session);
    Ok(match session.conclude(outline.ok())? {
        Lowered::Done((outline, _)) => Lowered::Done(outline),
        Lowered::Needs(needs) => Lowered::Needs(needs),
    })
}

fn outline_first_platform(session: &mut Session<'_>) -> Result<Outline, Stopped> {
    let target = session.begin()?.into_iter().next().ok_or(Stopped)?;
    let mut pass = Pass::new(session, target)?;
    let goal = pass.run()?;
    Ok(pass.outline(&goal))
}

/// Returns what the build checks find in a file: in all stages, or in those that the target needs where one is named. A file that cannot be built has a report too:
/// with the warnings up to the first error, as far as the text could be read at all.
pub fn check(parse: &Parse, filename: &str, request: &LowerRequest, known: &Known) -> Lowered<CheckReport> {
    let (file, mut diagnostics) = (&parse.file, parse.diagnostics.clone());
    if let Some(place) = parse.misspelt {
        diagnostics.swap(0, place);
    } else if let Some(first) = diagnostics.first() {
        let mut session = Session::new(file, request, known, Purpose::Check);
        lint_above(file, first.lines.map_or(0, |lines| lines.start), &mut session.reports);
        diagnostics.splice(0..0, session.reports.into_diagnostics());
    } else {
        let mut session = Session::new(file, request, known, Purpose::Check);
        let results = lower_platforms(&mut session);
        match session.conclude(results.ok().map(drop)) {
            Ok(Lowered::Needs(needs)) => return Lowered::Needs(needs),
            Ok(Lowered::Done(((), found))) => diagnostics = found,
            Err(error) => diagnostics = error.diagnostics,
        }
    }
    Lowered::Done(CheckReport::new(filename, &file.source, diagnostics))
}

impl Pass<'_, '_> {
    /// Returns what a target and all that it needs take from outside. What a stage says wins over what those say that it needs.
    fn outline(&self, goal: &Goal) -> Outline {
        let mut all = Outlined::default();
        for id in self.nearest_first(goal) {
            if let Some(built) = &self.built[id] {
                all.merge(&built.outline);
            }
        }
        self.mark_dependencies(&mut all);
        let required = self.meter().required();
        let argument = |record: &super::args::ArgumentRecord| OutlineArgument {
            name: record.name.clone(),
            description: record.description.clone().unwrap_or_default(),
            value: record.value.clone(),
            required: required.contains(&record.name),
            location: record.lines.into(),
        };
        let mut records: Vec<_> = all.args.values().filter(|record| all.used_args.contains(&record.name)).collect();
        records.sort_by_key(|record| record.lines);
        let stage = self.nodes.list[goal.node].stage;
        Outline {
            name: stage.and_then(|stage| stage.name.clone()).unwrap_or_default(),
            description: stage.and_then(|stage| stage.description.clone()).unwrap_or_default(),
            args: records.into_iter().map(argument).collect(),
            secrets: in_order(&all.secrets, |name, required, lines| OutlineSecret {
                name,
                required,
                location: lines.into(),
            }),
            ssh: in_order(&all.ssh, |name, required, lines| OutlineAgent { name, required, location: lines.into() }),
            sources: vec![self.session.file.source.text().to_owned()],
        }
    }

    /// Returns the nodes that a target needs: itself, its base, then all others.
    fn nearest_first(&self, goal: &Goal) -> Vec<NodeId> {
        let mut order = Vec::new();
        let mut next = Some(goal.node);
        while let Some(id) = next {
            order.push(id);
            next = self.nodes.list[id].base;
        }
        let others = (0..self.nodes.list.len()).filter(|id| goal.reachable[*id] && !order.contains(id));
        order.iter().copied().chain(others).collect()
    }

    /// Adds the arguments that the defaults of used arguments name.
    fn mark_dependencies(&self, all: &mut Outlined) {
        let mut open: Vec<String> = all.used_args.iter().cloned().collect();
        while let Some(name) = open.pop() {
            let Some(record) = all.args.get(&name) else { continue };
            open.extend(record.dependencies.iter().filter(|name| all.used_args.insert((*name).clone())).cloned());
        }
    }
}

impl Outlined {
    /// Adds what is not there yet.
    fn merge(&mut self, other: &Self) {
        for (name, record) in &other.args {
            self.args.entry(name.clone()).or_insert_with(|| record.clone());
        }
        self.used_args.extend(other.used_args.iter().cloned());
        for (own, others) in [(&mut self.secrets, &other.secrets), (&mut self.ssh, &other.ssh)] {
            for (name, use_) in others {
                own.entry(name.clone()).or_insert(*use_);
            }
        }
    }
}

type Uses = std::collections::BTreeMap<String, (bool, LineRange)>;

fn in_order<T>(uses: &Uses, entry: impl Fn(String, bool, LineRange) -> T) -> Vec<T> {
    let mut uses: Vec<_> = uses.iter().collect();
    uses.sort_by_key(|(_, (_, lines))| *lines);
    uses.into_iter().map(|(name, (required, lines))| entry(name.clone(), *required, *lines)).collect()
}
