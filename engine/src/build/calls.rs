//! What can be asked of a Dockerfile instead of building it: what is wrong with it, what it takes, what it can build, which steps it has.

use std::fmt::Write as _;

use frontend::known::Known;
use frontend::plan::{LowerError, Lowered, Plan};
use frontend::request::LowerRequest;
use serde_json::json;
use tokio_util::sync::CancellationToken;

pub use frontend::calls::{CheckReport, CheckWarning, Outline, OutlineArgument, Target, Targets};

use super::definition::Definition;
use super::request::BuildRequest;
use crate::event_sink::EventSink;
use crate::{Engine, Error, Finding};

/// What the build checks found in a Dockerfile.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The answer as BuildKit gives it.
    pub report: CheckReport,
    /// The same with what that has no place for, in the order of the file.
    pub findings: Vec<Finding>,
}

/// How a graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphFormat {
    /// A line for each step, and one for each result.
    Text,
    /// An object with the steps and the results.
    Json,
    /// The language of Graphviz.
    Dot,
}

impl Engine {
    /// Checks the Dockerfile of a request: all of its stages, or those that the target needs where one is named. A file that cannot be built has an answer too.
    pub async fn check_dockerfile(
        &self,
        request: &BuildRequest,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<Checked, Error> {
        let ask = |definition: &Definition, request: &LowerRequest, known: &Known| {
            Ok(frontend::check(definition.parse(), definition.name(), request, known))
        };
        let (report, definition) = self.ask(ask, Definition::read, request, (events, cancel)).await?;
        let findings = report.diagnostics.iter().map(|found| definition.finding(found.clone())).collect();
        Ok(Checked { report, findings })
    }

    /// Returns what the target of a request takes from outside.
    pub async fn outline(
        &self,
        request: &BuildRequest,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<Outline, Error> {
        let ask = |definition: &Definition, request: &LowerRequest, known: &Known| {
            frontend::outline(definition.file(), request, known)
        };
        Ok(self.ask(ask, Definition::load, request, (events, cancel)).await?.0)
    }

    /// Returns the stages of the Dockerfile of a request.
    pub async fn targets(
        &self,
        request: &BuildRequest,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<Targets, Error> {
        let ask = |definition: &Definition, _: &LowerRequest, _: &Known| {
            Ok(Lowered::Done(frontend::targets(definition.file())))
        };
        Ok(self.ask(ask, Definition::load, request, (events, cancel)).await?.0)
    }

    /// Returns the steps of a build as text.
    pub async fn graph(
        &self,
        format: GraphFormat,
        request: &BuildRequest,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<String, Error> {
        let ask = |definition: &Definition, request: &LowerRequest, known: &Known| {
            frontend::lower(definition.file(), request, known)
        };
        let (plan, definition) = self.ask(ask, Definition::load, request, (events, cancel)).await?;
        plan.warnings.iter().for_each(|warning| events.send(definition.warning_event(warning)));
        Ok(show(&plan, format))
    }

    /// Reads the Dockerfile of a request and lowers it with `ask`. Nothing is executed and no layer is fetched.
    async fn ask<T>(
        &self,
        ask: impl Fn(&Definition, &LowerRequest, &Known) -> Result<Lowered<T>, LowerError>,
        read: impl Fn(&BuildRequest, &EventSink) -> Result<Definition, Error>,
        request: &BuildRequest,
        (events, cancel): (&EventSink, &CancellationToken),
    ) -> Result<(T, Definition), Error> {
        let _epoch = self.store.hold_epoch()?;
        let sources = self.sources(request, events);
        let resolved = self.resolve_context(request, &sources, events, cancel).await?;
        let request = resolved.as_ref().unwrap_or(request);
        let definition = read(request, events)?;
        let lower = |request: &LowerRequest, known: &Known| ask(&definition, request, known);
        let answer = self.lower_as(lower, &definition, request, (&sources, events), cancel).await?.plan;
        Ok((answer, definition))
    }
}

fn show(plan: &Plan, format: GraphFormat) -> String {
    match format {
        GraphFormat::Text => {
            let mut text = plan.graph.to_string();
            for result in &plan.results {
                writeln!(text, "{} {:?}", result.platform, result.edge.vertex).expect("a string takes everything");
            }
            text
        }
        GraphFormat::Dot => llb::print::to_dot(&plan.graph),
        GraphFormat::Json => {
            let result = |result: &frontend::plan::PlanResult| {
                json!({
                    "platform": result.platform.to_string(),
                    "vertex": result.edge.vertex.index(),
                    "config": result.config,
                })
            };
            let results: Vec<serde_json::Value> = plan.results.iter().map(result).collect();
            let shown = json!({ "vertices": llb::print::to_json(&plan.graph), "results": results });
            format!("{shown:#}\n")
        }
    }
}
