//! `SOURCE_DATE_EPOCH`: a number, or something whose time is meant.

use oci::Timestamp;

use crate::MAIN_CONTEXT_NAME;
use crate::ast::{Add, Argument, Command, Stage};
use crate::expand::{Environment, ExpandError, expand_metered};
use crate::known::{Need, TimeQuery};
use crate::request::{MainContext, NamedContext};
use crate::source::Span;

use super::contexts::ContextFiles;
use super::error::{Fault, LowerProblem};
use super::node::SCRATCH;
use super::pass::Pass;
use super::remote::Remote;
use super::session::Stopped;

const EPOCH_ARG: &str = "SOURCE_DATE_EPOCH";

/// What is known of the time.
enum Time {
    /// The time; `None` where there is none.
    Known(Option<Timestamp>),
    /// It is asked for.
    Asked,
}

impl<'a> Pass<'_, 'a> {
    /// Finds the time that is meant, and makes the argument a number.
    pub(super) fn find_epoch(&mut self) -> Result<(), Stopped> {
        let given = self.build_args.get(EPOCH_ARG).map(String::as_str);
        let global = self.globals.environment.get(EPOCH_ARG).filter(|value| !value.is_empty());
        let Some(value) = given.or(global).map(str::to_owned) else { return Ok(()) };
        match self.time_of(&value) {
            Ok(Time::Asked) => return Err(Stopped),
            Ok(Time::Known(time)) => self.epoch = time,
            Err((stage, fault)) => return Err(self.epoch_error(stage, fault)),
        }
        self.set_epoch_arg();
        Ok(())
    }

    fn set_epoch_arg(&mut self) {
        let seconds = self.epoch.map(|time| time.unix_seconds().to_string());
        let is_given = self.build_args.contains_key(EPOCH_ARG);
        let is_global = self.globals.environment.get(EPOCH_ARG).is_some();
        match seconds {
            Some(seconds) => {
                if is_global {
                    self.globals.environment.set(EPOCH_ARG, &seconds);
                }
                if is_given {
                    self.build_args.to_mut().insert(EPOCH_ARG.to_owned(), seconds);
                }
            }
            None => {
                self.globals.environment.remove(EPOCH_ARG);
                if is_given {
                    self.build_args.to_mut().remove(EPOCH_ARG);
                }
            }
        }
    }

    /// Reports an error at the stage that it is about, else where the argument is declared.
    fn epoch_error(&mut self, stage: Option<&Stage>, fault: Fault) -> Stopped {
        if let Some(stage) = stage {
            return self.session.stop(&stage.site, fault);
        }
        match self.global_arg(EPOCH_ARG) {
            Some((arg, span)) if !self.build_args.contains_key(EPOCH_ARG) => {
                self.session.stop(&arg.site, Fault { span: Some(span), ..fault })
            }
            _ => {
                self.session.reports.error_of_file(fault);
                Stopped
            }
        }
    }

    fn time_of(&mut self, value: &str) -> Result<Time, (Option<&'a Stage>, Fault)> {
        let invalid = || LowerProblem::Epoch { value: value.to_owned() };
        if value.is_empty() {
            return Ok(Time::Known(None));
        }
        if let Ok(seconds) = value.parse::<i64>() {
            let time = Timestamp::from_unix(seconds, 0).ok_or_else(|| (None, invalid().into()))?;
            return Ok(Time::Known(Some(time)));
        }
        if value == MAIN_CONTEXT_NAME {
            return Ok(match self.session.request.main_context {
                MainContext::Local | MainContext::Upload | MainContext::Empty => Time::Known(None),
                MainContext::Git(_) | MainContext::Archive(_) | MainContext::File(_) => {
                    self.ask_time(TimeQuery::Context(value.to_owned()))
                }
            });
        }
        let platform = self.target.platform.clone();
        if let Some(key) = self.find_context(value, &platform).map_err(|problem| (None, problem.into()))? {
            return self.time_of_context(key).map_err(|problem| (None, problem.into()));
        }
        let is_meant = |stage: &&Stage| stage.name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(value));
        let stage = self.session.file.stages.iter().find(is_meant).ok_or_else(|| (None, invalid().into()))?;
        let query = self.source_of(stage).map_err(|fault| (Some(stage), fault))?;
        Ok(self.ask_time(query))
    }

    fn ask_time(&mut self, query: TimeQuery) -> Time {
        match self.session.known.times.get(&query) {
            Some(time) => Time::Known(*time),
            None => {
                self.session.ask(Need::Time(query));
                Time::Asked
            }
        }
    }

    fn time_of_context(&mut self, key: String) -> Result<Time, LowerProblem> {
        match self.session.request.contexts.get(&key) {
            Some(NamedContext::Git { .. } | NamedContext::Http(_)) => Ok(self.ask_time(TimeQuery::Context(key))),
            Some(NamedContext::Image(_) | NamedContext::Layout { .. }) => {
                let platform = self.target.platform.clone();
                Ok(match self.load_context(&key, &platform)? {
                    Some(ContextFiles { created, .. }) => Time::Known(created),
                    None => Time::Asked,
                })
            }
            Some(NamedContext::Local { .. } | NamedContext::Scratch) | None => Ok(Time::Known(None)),
        }
    }

    /// Returns the one remote source that a stage is made of.
    fn source_of(&self, stage: &Stage) -> Result<TimeQuery, Fault> {
        let wrong =
            |message: &str, span: Span| Fault::at(LowerProblem::EpochStage { message: message.to_owned() }, span);
        let mut environment = self.globals.environment.clone();
        environment.remove(EPOCH_ARG);
        let base = self.expand_in(&environment, &stage.base.text).map_err(|error| Fault::at(error, stage.base.span))?;
        if base != SCRATCH {
            return Err(wrong("SOURCE_DATE_EPOCH stage must use FROM scratch", stage.base.span));
        }
        let single = "SOURCE_DATE_EPOCH stage must contain exactly one remote ADD";
        let mut source = None;
        for instruction in &stage.instructions {
            let span = instruction.site.span;
            match &instruction.command {
                Command::Arg(arguments) => self.declare(&mut environment, arguments)?,
                Command::Add(_) if source.is_some() => return Err(wrong(single, span)),
                Command::Add(add) => source = Some(self.remote_of(add, &environment, span)?),
                _ => {
                    let keyword = &instruction.site.keyword;
                    let message = format!(
                        "SOURCE_DATE_EPOCH stage does not meet source-only requirements: unsupported {keyword} instruction"
                    );
                    return Err(wrong(&message, span));
                }
            }
        }
        source.ok_or_else(|| wrong(single, stage.site.span))
    }

    fn declare(&self, environment: &mut Environment, arguments: &[Argument]) -> Result<(), Fault> {
        for argument in arguments {
            if let Some(value) = self.build_args.get(&argument.name) {
                environment.set(&argument.name, value);
            } else if let Some(default) = &argument.default {
                let value = self.expand_in(environment, default).map_err(|error| Fault::at(error, argument.span))?;
                environment.set(&argument.name, &value);
            }
        }
        Ok(())
    }

    fn remote_of(&self, add: &Add, environment: &Environment, span: Span) -> Result<TimeQuery, Fault> {
        let wrong = |message: &str| Fault::at(LowerProblem::EpochStage { message: message.to_owned() }, span);
        let ([source], true) = (add.transfer.sources.as_slice(), add.transfer.heredocs.is_empty()) else {
            return Err(wrong("SOURCE_DATE_EPOCH stage must contain exactly one remote ADD source"));
        };
        let address = self.expand_in(environment, &source.text).map_err(|error| Fault::at(error, source.span))?;
        match Remote::parse(&address, add.keep_git_dir.is_some()).map_err(|problem| Fault::at(problem, source.span))? {
            Some(Remote::Git(url)) => Ok(TimeQuery::git(&url.source)),
            Some(Remote::Http(url)) => Ok(TimeQuery::Http { url }),
            None => Err(wrong("SOURCE_DATE_EPOCH stage source must be a single HTTP(S) or Git ADD")),
        }
    }

    fn expand_in(&self, environment: &Environment, text: &str) -> Result<String, ExpandError> {
        expand_metered(text, self.session.style(), environment, self.meter()).map(|expanded| expanded.text)
    }
}
