//! `RUN`: the command, its heredocs, its environment.

use std::borrow::Cow;

use llb::{Exec, InlineFile, Mount, MountKind, NetworkMode, Op, SecurityMode, Source};

use crate::ast::{CommandLine, NetworkFlag, Run};
use crate::expand::Environment;
use crate::go;
use crate::syntax::{Heredoc, parse_mark};

use super::depend::Sources;
use super::dispatch::At;
use super::error::{Fault, LowerProblem};
use super::mount::{MountFields, MountType};
use super::mounts::Mounts;
use super::names::{own_hints, run_text};
use super::pass::Pass;
use super::stage::{Built, Layer};

const HOSTNAME_ARG: &str = "BUILDKIT_SANDBOX_HOSTNAME";
/// Where scripts are put that name their own interpreter.
const SCRIPTS_DIR: &str = "/dev/pipes";
const SCRIPT_MODE: u32 = 0o755;
const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";
/// What a step's name shows instead of a secret.
const MASK: &str = "****";

/// The command of a `RUN`.
struct Script<'r> {
    args: Vec<String>,
    /// The heredoc that is a script of its own.
    file: Option<(&'r Heredoc, String)>,
    /// The heredoc that is the whole command.
    body: Option<&'r Heredoc>,
}

impl Pass<'_, '_> {
    /// `RUN`.
    pub(super) fn run_command(
        &mut self,
        built: &mut Built,
        at: At<'_>,
        run: &Run,
        sources: &Sources,
    ) -> Result<(), Fault> {
        let fields = self.mount_fields(built, at, run)?;
        let script = script(built, run)?;
        if script.args.is_empty() {
            return Err(LowerProblem::NoCommand.into());
        }
        let mut mounts = Mounts::on(self.session.edge(built.edge)?);
        if let Some((heredoc, body)) = &script.file {
            self.add_script(heredoc, body, &mut mounts)?;
        }
        self.add_mounts(built, at, (run, &fields, sources), &mut mounts)?;
        let name = self.run_name(built, at, &fields, script.body);
        let hints = self.next_hints(built, at, &name);
        let mut history = at.new_history("RUN ");
        built.args.add_to_history(&built.environment, &mut history);
        history.extend([&script.args.join(" "), " # buildkit"]);
        let inputs = std::mem::take(&mut mounts.inputs);
        let exec = self.exec(built, run, script.args, mounts)?;
        built.edge = Some(self.session.add(Op::Exec(Box::new(exec)), inputs, hints)?);
        self.record(built, history, Layer::One)
    }

    fn exec(&mut self, built: &Built, run: &Run, args: Vec<String>, mounts: Mounts) -> Result<Exec, LowerProblem> {
        let request = self.session.request;
        let mut env = built.environment.to_entries();
        if let (Some(socket), None) = (&mounts.agent_socket, built.environment.get(AGENT_VARIABLE)) {
            env.push(format!("{AGENT_VARIABLE}={socket}").into());
        }
        self.session.meter.keep(built.environment_bytes() + args.iter().map(String::len).sum::<usize>())?;
        let hostname =
            request.build_args.get(HOSTNAME_ARG).filter(|name| !name.is_empty()).or(request.hostname.as_ref());
        Ok(Exec {
            args,
            env,
            proxy_env: self.proxies.clone(),
            cwd: built.dir.clone(),
            user: built.config.config.user.clone(),
            hostname: hostname.cloned(),
            mounts: mounts.list,
            network: match run.network {
                None | Some(NetworkFlag::Default) => request.network,
                Some(NetworkFlag::None) => NetworkMode::None,
                Some(NetworkFlag::Host) => NetworkMode::Host,
            },
            security: if run.insecure { SecurityMode::Insecure } else { SecurityMode::Sandbox },
            devices: run.devices.clone(),
            extra_hosts: request.extra_hosts.clone(),
            limits: request.limits.clone(),
            platform: built.platform.clone(),
        })
    }

    /// Mounts a script; it is at hand while the command runs, and leaves nothing behind.
    fn add_script(&mut self, heredoc: &Heredoc, body: &str, mounts: &mut Mounts) -> Result<(), Fault> {
        let name = file_name(&heredoc.name)?;
        self.session.meter.keep(body.len())?;
        let file = InlineFile { name: name.clone(), content: body.to_owned(), mode: SCRIPT_MODE };
        let hints = own_hints("[internal] preparing inline document");
        let edge = self.session.add(Op::Source(Source::Inline(vec![file])), Vec::new(), hints)?;
        let input = mounts.input(edge, &name);
        let target = format!("{SCRIPTS_DIR}/{name}");
        mounts.list.push(Mount { target, readonly: true, kind: MountKind::Bind { input } });
        Ok(())
    }

    /// Returns the command as its step shows it: with the beginning of a script that is a heredoc, and without secrets.
    fn run_name(&self, built: &Built, at: At<'_>, fields: &[MountFields], body: Option<&Heredoc>) -> String {
        let code = match body {
            Some(heredoc) => Cow::Owned([at.site.code(), " (", &summary(&heredoc.content), ")"].concat()),
            None => Cow::Borrowed(at.site.code()),
        };
        let secrets: Vec<&String> = fields
            .iter()
            .filter(|mount| mount.kind == MountType::Secret)
            .filter_map(|mount| mount.env.as_ref())
            .collect();
        let (escape, meter) = (self.session.file.escape, &self.session.meter);
        if secrets.is_empty() {
            return run_text(&code, escape, &built.environment, meter);
        }
        let mut masked: Environment = built.environment.clone();
        secrets.into_iter().for_each(|name| masked.set(name, MASK));
        run_text(&code, escape, &masked, meter)
    }
}

/// Returns the command that a `RUN` runs.
fn script<'r>(built: &Built, run: &'r Run) -> Result<Script<'r>, Fault> {
    let line = match &run.command {
        CommandLine::Exec(list) if run.heredocs.is_empty() => {
            return Ok(Script { args: list.clone(), file: None, body: None });
        }
        CommandLine::Exec(list) => return Err(LowerProblem::HeredocCommand { command: go::list(list) }.into()),
        CommandLine::Shell(line) => line,
    };
    let Some(first) = run.heredocs.first() else {
        return Ok(Script { args: built.with_shell(line), file: None, body: None });
    };
    if !matches!(parse_mark(line), Ok(Some(_))) {
        // The shell reads the heredocs itself.
        let heredocs = run.heredocs.iter().map(|heredoc| format!("\n{}{}", heredoc.content, heredoc.name));
        let text = std::iter::once(line.clone()).chain(heredocs).collect::<String>();
        return Ok(Script { args: built.with_shell(&text), file: None, body: None });
    }
    let body = first.body();
    // The tabs that `<<-` drops count here: a script that is indented is one for the shell.
    if first.content.starts_with("#!") && built.config.os != "windows" {
        let path = format!("{SCRIPTS_DIR}/{}", file_name(&first.name)?);
        return Ok(Script { args: built.with_shell(&path), file: Some((first, body)), body: Some(first) });
    }
    Ok(Script { args: built.with_shell(&body), file: None, body: Some(first) })
}

/// Returns the name of the file that a heredoc becomes.
pub(super) fn file_name(heredoc: &str) -> Result<String, LowerProblem> {
    let path = go::join_path("/", heredoc);
    let name = path.trim_start_matches('/');
    if name.is_empty() || name.contains('/') {
        Err(LowerProblem::HeredocName { name: heredoc.to_owned() })
    } else {
        Ok(name.to_owned())
    }
}

/// Returns the first line of a script, with dots where there are more.
fn summary(script: &str) -> String {
    let mut lines = script.trim().lines();
    let first = lines.next().unwrap_or_default();
    if lines.next().is_some() { format!("{first}...") } else { first.to_owned() }
}
