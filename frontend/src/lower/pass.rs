//! One platform: which stages are needed, what they stand on, and in the end the image's config.

use std::borrow::Cow;
use std::collections::BTreeMap;

use oci::{Platform, Timestamp};

use crate::ast::GlobalArg;
use crate::diagnostic::Place;
use crate::expand::{Expanded, Meter};
use crate::plan::PlanResult;
use crate::source::Span;
use crate::suggest;

use super::args::{self, GlobalScope};
use super::error::{Fault, LowerProblem};
use super::node::{NodeId, Nodes};
use super::session::{Purpose, Session, Stopped};
use super::stage::Built;

/// The platform that a pass is for.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) platform: Platform,
    /// Whether it was asked for; if not, the base decides.
    pub(super) is_chosen: bool,
    /// Whether the names of steps have it.
    pub(super) is_named: bool,
}

/// Lowering for one platform.
pub(super) struct Pass<'s, 'a> {
    pub(super) session: &'s mut Session<'a>,
    pub(super) target: Target,
    /// The build arguments, with `SOURCE_DATE_EPOCH` as a number.
    pub(super) build_args: Cow<'a, BTreeMap<String, String>>,
    pub(super) globals: GlobalScope,
    pub(super) epoch: Option<Timestamp>,
    pub(super) proxies: Vec<String>,
    pub(super) nodes: Nodes<'a>,
    /// What the nodes came to so far.
    pub(super) built: Vec<Option<Built>>,
    /// Which nodes are finished.
    pub(super) done: Vec<bool>,
}

/// The node that is wanted, and which nodes it needs.
#[derive(Clone, Debug)]
pub(super) struct Goal {
    pub(super) node: NodeId,
    pub(super) reachable: Vec<bool>,
}

impl<'s, 'a> Pass<'s, 'a> {
    /// Evaluates the global scope.
    pub(super) fn new(session: &'s mut Session<'a>, target: Target) -> Result<Self, Stopped> {
        let request = session.request;
        let last_stage = session.file.stages.last().and_then(|stage| stage.name.as_deref());
        let target_stage = request.target.as_deref().or(last_stage).unwrap_or_default();
        let mut pass = Self {
            build_args: Cow::Borrowed(&request.build_args),
            globals: GlobalScope::default(),
            epoch: None,
            proxies: args::proxy_environment(&request.build_args),
            nodes: Nodes::default(),
            built: Vec::new(),
            done: Vec::new(),
            target,
            session,
        };
        let defaults =
            args::default_args(&request.build_platform, &pass.target.platform, target_stage, &request.build_args);
        pass.lint_default_bases(&defaults);
        let (escape, meter) = (pass.session.file.escape, &pass.session.meter);
        let scope = args::global_scope(&pass.session.file.global_args, &defaults, &pass.build_args, escape, meter);
        match scope {
            Ok(scope) => pass.globals = scope,
            Err((arg, fault)) => return Err(pass.session.stop(&arg.site, fault)),
        }
        pass.find_epoch()?;
        Ok(pass)
    }

    /// Carries out all instructions that the target needs.
    pub(super) fn run(&mut self) -> Result<Goal, Stopped> {
        self.add_stages()?;
        let node = self.find_target()?;
        self.find_needs()?;
        self.report_unused(node);
        let reachable = self.resolve(node)?;
        self.dispatch(&reachable);
        if self.session.reports.is_broken || !self.session.needs.is_empty() {
            return Err(Stopped);
        }
        Ok(Goal { node, reachable })
    }

    fn find_target(&mut self) -> Result<NodeId, Stopped> {
        let last = self.nodes.stages.checked_sub(1);
        let found = match &self.session.request.target {
            None => last,
            Some(name) => self.nodes.find(name).or_else(|| name.parse().ok().filter(|index| Some(*index) <= last)),
        };
        found.ok_or_else(|| {
            let problem = match &self.session.request.target {
                None => LowerProblem::NoStages,
                Some(name) => {
                    let names = self.nodes.list.iter().map(|node| node.name.as_str());
                    LowerProblem::Target {
                        target: crate::go::quote(name),
                        suggestion: suggest::did_you_mean(name, names),
                    }
                }
            };
            self.session.reports.error_of_file(problem.into());
            Stopped
        })
    }

    /// Returns the nodes that a node needs; all of them where the file is checked as a whole.
    pub(super) fn reachable(&self, node: NodeId) -> Vec<bool> {
        if self.session.purpose == Purpose::Check && self.session.request.target.is_none() {
            return vec![true; self.nodes.list.len()];
        }
        self.nodes.reachable(node)
    }

    /// Returns what the image of the target is.
    pub(super) fn finish(&mut self, goal: &Goal) -> Result<PlanResult, Stopped> {
        let Some(built) = self.built[goal.node].take() else { return Err(Stopped) };
        let edge = match self.session.edge(built.edge) {
            Ok(edge) => edge,
            Err(problem) => return Err(self.session.stop(self.nodes.list[goal.node].site, problem)),
        };
        let (base_history, epoch) = (built.base_history, self.epoch);
        let mut config = built.config;
        config.config.labels.extend(self.session.request.labels.clone());
        self.set_platform(&mut config, &built.platform);
        Ok(PlanResult { platform: config.platform(), edge, config, base_history, epoch })
    }

    /// Makes the config say which platform the image is for: the one that was asked for, else that of the base.
    fn set_platform(&self, config: &mut oci::ImageConfig, base: &Platform) {
        if config.os.is_empty() || config.architecture.is_empty() {
            (config.os, config.architecture) = (base.os.clone(), base.architecture.clone());
        }
        if self.target.is_chosen {
            let wanted = &self.target.platform;
            let is_same = wanted.os == config.os && wanted.architecture == config.architecture;
            (config.os, config.architecture) = (wanted.os.clone(), wanted.architecture.clone());
            if wanted.variant.is_some() || !is_same {
                config.variant.clone_from(&wanted.variant);
            }
            if wanted.os_version.is_some() || !is_same {
                config.os_version.clone_from(&wanted.os_version);
            }
            if !wanted.os_features.is_empty() {
                config.os_features.clone_from(&wanted.os_features);
            }
        }
        let named = Platform::new(&config.os, &config.architecture, config.variant.as_deref());
        (config.os, config.architecture, config.variant) = (named.os, named.architecture, named.variant);
    }

    /// Substitutes the arguments of the global scope.
    pub(super) fn expand_global(&self, text: &str) -> Result<Expanded, crate::expand::ExpandError> {
        crate::expand::expand_metered(text, self.session.style(), &self.globals.environment, self.meter())
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.session.meter
    }

    /// Returns the global `ARG` of a name, the last one.
    pub(super) fn global_arg(&self, name: &str) -> Option<(&'a GlobalArg, Span)> {
        let args = self.session.file.global_args.iter().rev();
        args.flat_map(|arg| arg.args.iter().rev().map(move |argument| (arg, argument)))
            .find(|(_, argument)| argument.name == name)
            .map(|(arg, argument)| (arg, argument.span))
    }

    /// Returns where a node begins in the file.
    pub(super) fn place_of(&self, node: NodeId) -> Place {
        self.session.reports.place(self.nodes.list[node].site.span)
    }

    /// Reports an error about a node.
    pub(super) fn node_error(&mut self, node: NodeId, fault: impl Into<Fault>) {
        self.session.reports.error(self.nodes.list[node].site, fault.into());
    }
}
