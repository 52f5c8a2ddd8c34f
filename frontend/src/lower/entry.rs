//! The whole of one lowering: the checks of the file, then platform by platform.

use oci::Platform;

use crate::ast::Dockerfile;
use crate::diagnostic::Diagnostic;
use crate::go;
use crate::known::Known;
use crate::plan::{LowerError, Lowered, Plan, PlanResult};
use crate::request::LowerRequest;

use super::args::report_unconsumed;
use super::error::LowerProblem;
use super::lint::lint_file;
use super::pass::{Pass, Target};
use super::session::{Purpose, Session, Stopped};
use super::stages::report_unknown_filter;

const MULTI_PLATFORM_ARG: &str = "BUILDKIT_MULTI_PLATFORM";

/// Lowers a file: from the tree to the graph of steps, with the image's config for each platform.
///
/// A pure function of its arguments. Where something of the world must be known first, it says what, and is called again with the answers.
pub fn lower(file: &Dockerfile, request: &LowerRequest, known: &Known) -> Result<Lowered, LowerError> {
    let mut session = Session::new(file, request, known, Purpose::Build);
    let results = lower_platforms(&mut session);
    let graph = std::mem::take(&mut session.graph);
    let lowered = session.conclude(results.ok())?;
    Ok(match lowered {
        Lowered::Done((results, warnings)) => Lowered::Done(Plan { graph, results, warnings }),
        Lowered::Needs(needs) => Lowered::Needs(needs),
    })
}

/// Lowers for each platform of the request.
pub(super) fn lower_platforms(session: &mut Session<'_>) -> Result<Vec<PlanResult>, Stopped> {
    let targets = session.begin()?;
    let mut results = Vec::with_capacity(targets.len());
    for target in targets {
        // What one platform needs to know does not keep the others from saying what they need.
        if let Ok(result) = lower_platform(session, target) {
            results.push(result);
        }
        session.reports.muted = true;
    }
    session.reports.muted = false;
    Ok(results)
}

fn lower_platform(session: &mut Session<'_>, target: Target) -> Result<PlanResult, Stopped> {
    let mut pass = Pass::new(session, target)?;
    let goal = pass.run()?;
    pass.finish(&goal)
}

impl Session<'_> {
    /// Checks the file and the request, and returns the platforms to lower for.
    pub(super) fn begin(&mut self) -> Result<Vec<Target>, Stopped> {
        if self.file.stages.is_empty() {
            self.reports.error_of_file(LowerProblem::NoStages.into());
            return Err(Stopped);
        }
        lint_file(self.file, &mut self.reports);
        let is_named = self.platform_is_named()?;
        let request = self.request;
        let target = |platform: &Platform, is_chosen| Target { platform: platform.clone(), is_chosen, is_named };
        Ok(match request.platforms.as_slice() {
            [] => vec![target(&request.build_platform, false)],
            platforms => platforms.iter().map(|platform| target(platform, true)).collect(),
        })
    }

    /// Tells whether the names of steps have the platform.
    fn platform_is_named(&mut self) -> Result<bool, Stopped> {
        let several = self.request.platforms.len() > 1;
        let Some(text) = self.request.build_args.get(MULTI_PLATFORM_ARG).filter(|text| !text.is_empty()) else {
            return Ok(several);
        };
        let message = match go::parse_bool(text) {
            Some(false) if several => {
                "conflicting config: returning multiple target platforms is not allowed".to_owned()
            }
            Some(is_named) => return Ok(is_named),
            None => format!("invalid boolean value for multi-platform: {text}"),
        };
        self.reports.error_of_file(LowerProblem::MultiPlatform { message }.into());
        Err(Stopped)
    }

    /// Returns the outcome: errors before all else, then what must be known, then the result with the warnings.
    pub(super) fn conclude<T>(mut self, result: Option<T>) -> Result<Lowered<(T, Vec<Diagnostic>)>, LowerError> {
        if !self.needs.is_empty() && !self.reports.is_broken {
            return Ok(Lowered::Needs(self.needs.into_iter().collect()));
        }
        report_unconsumed(self.file, &self.triggered_args, &self.request.build_args, &mut self.reports);
        report_unknown_filter(self.file, &self.request.no_cache, &mut self.reports);
        self.reports.close();
        match result {
            Some(result) if !self.reports.has_errors() => Ok(Lowered::Done((result, self.reports.into_diagnostics()))),
            _ => Err(LowerError { diagnostics: self.reports.into_diagnostics() }),
        }
    }
}
