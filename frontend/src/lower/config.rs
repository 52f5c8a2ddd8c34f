//! Instructions that only say how a container of the image is started.

use llb::pattern::clean_path;
use llb::{FileAction, Input, LineRange, MakeDir, Op};
use oci::HealthCheck;
use oci::config::Empty;

use crate::ast::{CommandLine, Word};
use crate::checks::Rule;
use crate::go;
use crate::source::Span;

use super::dispatch::At;
use super::error::{Fault, LowerProblem};
use super::names::instruction_text;
use super::pass::Pass;
use super::ports::Port;
use super::signals::is_signal;
use super::stage::{Built, Layer};

/// The permission bits of directories that `WORKDIR` makes.
const WORKDIR_MODE: u32 = 0o755;

impl Pass<'_, '_> {
    /// `WORKDIR`, which makes a layer unless it is the root.
    pub(super) fn workdir(&mut self, built: &mut Built, at: At<'_>, path: &Word) -> Result<(), Fault> {
        let wanted = self.word(built, at, path)?;
        if !built.dir_set && !wanted.starts_with('/') {
            let message = format!(
                "Relative workdir {} can have unexpected results if the base image changes",
                go::quote(&wanted)
            );
            self.session.reports.warn(Rule::WorkdirRelativePath, at.site, at.span(path.span), message);
        }
        built.dir_set = true;
        let absolute =
            if wanted.starts_with('/') { wanted } else { go::join_path(&built.config.config.working_dir, &wanted) };
        built.dir = clean_path(&absolute);
        built.config.config.working_dir.clone_from(&absolute);
        let layer = if built.dir == "/" { Layer::None } else { Layer::One };
        if layer == Layer::One {
            self.make_dir(built, at)?;
        }
        self.record(built, ["WORKDIR ", &absolute].concat(), layer)
    }

    fn make_dir(&mut self, built: &mut Built, at: At<'_>) -> Result<(), Fault> {
        let text = instruction_text(at.site.code(), self.session.file.escape, &built.environment, &self.session.meter);
        let hints = self.next_hints(built, at, &text);
        let user = &built.config.config.user;
        let owner = (!user.is_empty()).then(|| user.clone());
        let action = FileAction::MakeDir(MakeDir { path: built.dir.clone(), mode: WORKDIR_MODE, owner });
        let base = self.session.edge(built.edge)?;
        built.edge = Some(self.session.add(Op::File(vec![action]), vec![Input::whole(base)], hints)?);
        Ok(())
    }

    /// `USER`.
    pub(super) fn user(&mut self, built: &mut Built, at: At<'_>, user: &Word) -> Result<(), Fault> {
        let user = self.word(built, at, user)?;
        built.config.config.user.clone_from(&user);
        self.record(built, format!("USER {user}"), Layer::None)
    }

    /// `CMD`.
    pub(super) fn cmd(&mut self, built: &mut Built, at: At<'_>, line: &CommandLine) -> Result<(), Fault> {
        built.once.cmd = Some(self.once(built.once.cmd, at));
        let command = self.start_command(built, at, line);
        let history = format!("CMD {}", go::quote_list(&command));
        let config = &mut built.config.config;
        config.cmd = (!command.is_empty()).then_some(command);
        config.args_escaped = true;
        self.record(built, history, Layer::None)
    }

    /// `ENTRYPOINT`, which forgets the arguments of the base.
    pub(super) fn entrypoint(&mut self, built: &mut Built, at: At<'_>, line: &CommandLine) -> Result<(), Fault> {
        built.once.entrypoint = Some(self.once(built.once.entrypoint, at));
        let command = self.start_command(built, at, line);
        let history = format!("ENTRYPOINT {}", go::quote_list(&command));
        built.config.config.entrypoint = (!command.is_empty()).then_some(command);
        if built.once.cmd.is_none() {
            built.config.config.cmd = None;
        }
        self.record(built, history, Layer::None)
    }

    /// Returns the command of `CMD` or `ENTRYPOINT`.
    fn start_command(&mut self, built: &Built, at: At<'_>, line: &CommandLine) -> Vec<String> {
        match line {
            CommandLine::Exec(list) => list.clone(),
            CommandLine::Shell(text) => {
                if built.config.config.shell.is_empty() {
                    let keyword = &at.site.keyword;
                    let message = format!(
                        "JSON arguments recommended for {keyword} to prevent unintended behavior related to OS signals"
                    );
                    self.session.reports.warn(Rule::JsonArgsRecommended, at.site, at.site.span, message);
                }
                built.with_shell(text)
            }
        }
    }

    /// Notes where an instruction stands that counts only once, and reports the earlier one, which counts for nothing.
    fn once(&mut self, earlier: Option<(Span, LineRange)>, at: At<'_>) -> (Span, LineRange) {
        if let Some((span, lines)) = earlier {
            let keyword = &at.site.keyword;
            let message = format!(
                "Multiple {keyword} instructions should not be used in the same stage because only the last one will be used"
            );
            self.session.reports.warn_lines(Rule::MultipleInstructionsDisallowed, at.site, (span, lines), message);
        }
        (at.site.span, at.site.lines)
    }

    /// `HEALTHCHECK`.
    pub(super) fn health_check(&mut self, built: &mut Built, at: At<'_>, check: &HealthCheck) -> Result<(), Fault> {
        built.once.health_check = Some(self.once(built.once.health_check, at));
        let durations = [
            check.interval_nanoseconds,
            check.timeout_nanoseconds,
            check.start_period_nanoseconds,
            check.start_interval_nanoseconds,
        ];
        let durations = durations.map(|nanoseconds| go::quote(&go::duration(nanoseconds))).join(" ");
        let history =
            format!("HEALTHCHECK &{{{} {durations} {}}}", go::quote_list(&check.test), go::quote_number(check.retries));
        built.config.config.healthcheck = Some(check.clone());
        self.record(built, history, Layer::None)
    }

    /// `EXPOSE`; each word may become several.
    pub(super) fn expose(&mut self, built: &mut Built, at: At<'_>, words: &[Word]) -> Result<(), Fault> {
        let mut ports = Vec::new();
        for word in words {
            let (style, environment) = (self.session.style(), &built.environment);
            let words = crate::expand::split_metered(&word.text, style, environment, &self.session.meter);
            for raw in words.map_err(|error| Fault::at(error, word.span))? {
                let port = Port::parse(&raw)
                    .map_err(|source| Fault::at(LowerProblem::Port { raw: go::quote(&raw), source }, word.span))?;
                self.report_port(at, &port, &raw, word.span);
                self.session.meter.keep(port.count() * raw.len())?;
                ports.extend(port.exposed());
            }
        }
        let history = format!("EXPOSE {}", go::list(&ports));
        built.config.config.exposed_ports.extend(ports.into_iter().map(|port| (port, Empty {})));
        self.record(built, history, Layer::None)
    }

    fn report_port(&mut self, at: At<'_>, port: &Port, raw: &str, span: Span) {
        let reports = &mut self.session.reports;
        if port.is_miscased {
            let message = format!("Defined protocol '{raw}' in EXPOSE instruction should be lowercase");
            reports.warn(Rule::ExposeProtoCasing, at.site, at.span(span), message);
        }
        if port.is_mapping {
            let message =
                format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{raw}'");
            reports.warn(Rule::ExposeInvalidFormat, at.site, at.span(span), message);
        }
    }

    /// `VOLUME`.
    pub(super) fn volume(&mut self, built: &mut Built, at: At<'_>, words: &[Word]) -> Result<(), Fault> {
        let mut volumes = Vec::with_capacity(words.len());
        for word in words {
            let volume = self.word(built, at, word)?;
            if volume.is_empty() {
                return Err(Fault::at(LowerProblem::VolumeEmpty, word.span));
            }
            volumes.push(volume);
        }
        let history = format!("VOLUME {}", go::list(&volumes));
        built.config.config.volumes.extend(volumes.into_iter().map(|volume| (volume, Empty {})));
        self.record(built, history, Layer::None)
    }

    /// `STOPSIGNAL`.
    pub(super) fn stop_signal(&mut self, built: &mut Built, at: At<'_>, word: &Word) -> Result<(), Fault> {
        let signal = self.word(built, at, word)?;
        if !is_signal(&signal) {
            return Err(Fault::at(LowerProblem::Signal { signal }, word.span));
        }
        built.config.config.stop_signal.clone_from(&signal);
        self.record(built, format!("STOPSIGNAL {signal}"), Layer::None)
    }

    /// `SHELL`.
    pub(super) fn shell(&mut self, built: &mut Built, shell: &[String]) -> Result<(), Fault> {
        built.config.config.shell = shell.to_vec();
        self.record(built, format!("SHELL {}", go::list(shell)), Layer::None)
    }

    /// `MAINTAINER`.
    pub(super) fn maintainer(&mut self, built: &mut Built, name: &str) -> Result<(), Fault> {
        built.config.author = Some(name.to_owned());
        self.record(built, format!("MAINTAINER {name}"), Layer::None)
    }
}
