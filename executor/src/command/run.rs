//! One command, from the graph's words to the layer that it leaves.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use layer::{Follow, Stack, upper};
use llb::{Exec, SecurityMode};
use oci::{Digest, Timestamp};
use runtime::overlay::{Durability, Upper};
use runtime::{Launcher, Root, Running, Security, Spec, Stdio};
use rustix::process::{Signal, pidfd_send_signal};
use solver::StepError;
use store::{CacheDir, Layer, LayerDraft, LayerError, LayerRecord, Snapshot, Store};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::attempts::{StepLimits, Tally};
use super::held::{Bound, Held, Seed};
use super::output::{Pumped, pump};
use crate::blocking::{blocking, failed};
use crate::layers::NewLayer;
use crate::network::{Entered, Networks};
use crate::outside::Outside;
use crate::report::{Report, Reporter, Stream, Usage};
use crate::sandbox::{complete_env, limit, resolve_user, step_files};
use crate::{ExecError, Ladder, Secrets};

/// The host name of a step that asks for none, as BuildKit has it.
const HOSTNAME_DEFAULT: &str = "buildkitsandbox";

/// A command and all that it needs.
pub(crate) struct Command {
    pub(crate) store: Store,
    pub(crate) ladder: Arc<Ladder>,
    pub(crate) launcher: Arc<Launcher>,
    pub(crate) reporter: Reporter,
    pub(crate) secrets: Arc<Secrets>,
    /// The step, for reports.
    pub(crate) step: Digest,
    pub(crate) exec: Exec,
    pub(crate) base: Snapshot,
    /// The base, to be read without mounting it.
    pub(crate) stack: Stack,
    /// What the inputs that are mounted show, by input.
    pub(crate) bound: Vec<(usize, Bound)>,
    /// What new cache mounts are filled with, by input.
    pub(crate) seeds: Vec<(usize, Seed)>,
    pub(crate) networks: Arc<Networks>,
    pub(crate) limits: StepLimits,
}

impl Command {
    fn line(&self) -> String {
        self.exec.args.join(" ")
    }

    /// Runs the command once, on a layer of its own, and returns the snapshot that it leaves. What it left is gone when it failed.
    pub(super) async fn attempt(
        self: Arc<Self>,
        caches: Vec<(usize, CacheDir)>,
        tally: &mut Tally,
        cancel: &CancellationToken,
    ) -> Result<Snapshot, StepError<ExecError>> {
        tally.usage.attempts += 1;
        let command = Arc::clone(&self);
        let (tell, told) = oneshot::channel();
        // All on one thread, so that no other has to be woken in between.
        let mut ending = pin!(blocking(move || self.start(caches)?.wait(tell)));
        let mut stopped = None;
        let stop = async {
            // What does not start ends by itself.
            let pidfd = told.await;
            (pidfd, command.stop(cancel).await)
        };
        let ended = tokio::select! {
            ended = &mut ending => ended,
            (pidfd, stop) = stop => {
                stopped = Some(stop);
                if let Ok(pidfd) = pidfd {
                    // That it has ended meanwhile is no error.
                    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
                }
                ending.await
            }
        };
        if let Some(StepError::Cancelled) = stopped {
            return Err(StepError::Cancelled);
        }
        let (ended, written) = ended.map_err(failed)?;
        tally.usage.add(&ended.exit.usage);
        tally.is_line_open = ended.is_line_open;
        // A command that ended well in the moment that its time was over did end well.
        if !ended.exit.status.is_success() {
            let code = ended.exit.status.code();
            if let (None, Some(limit_bytes), 1..) =
                (&stopped, command.exec.limits.memory_bytes, ended.exit.usage.memory_kills)
            {
                let command = command.line();
                return Err(failed(ExecError::OutOfMemory { command, code, limit_bytes }));
            }
            return Err(stopped.unwrap_or_else(|| failed(ExecError::Process { command: command.line(), code })));
        }
        store::fault::point("step.ran").map_err(|source| failed(command.wait_error(source)))?;
        let layer = match written {
            Written::ToStore(draft) => command.finish(draft, tally.usage),
            Written::Outside(outside) => {
                let (writer, usage) = (command.clone(), tally.usage);
                blocking(move || writer.pack(&outside, usage)).await.map_err(failed)?
            }
        };
        Ok(command.base.with(layer))
    }

    /// Waits until the command is to be stopped, and returns why.
    async fn stop(&self, cancel: &CancellationToken) -> StepError<ExecError> {
        let Some(limit) = self.limits.timeout else {
            cancel.cancelled().await;
            return StepError::Cancelled;
        };
        tokio::select! {
            () = cancel.cancelled() => StepError::Cancelled,
            () = tokio::time::sleep(limit) => failed(ExecError::TimedOut { command: self.line(), limit }),
        }
    }

    fn wait_error(&self, source: io::Error) -> ExecError {
        ExecError::Wait { command: self.line(), source }
    }

    fn start(self: Arc<Self>, caches: Vec<(usize, CacheDir)>) -> Result<Started, ExecError> {
        let (written, work, directory) = self.place_to_write()?;
        let user = resolve_user(&self.stack, &self.exec.user)
            .map_err(|source| ExecError::CommandUser { command: self.line(), source: Box::new(source) })?;
        let cwd = self.stack.resolve(self.exec.cwd.as_bytes(), Follow::All);
        let has_cwd = cwd.is_ok_and(|cwd| cwd.path.as_path().is_root() || cwd.found.is_some());
        if has_cwd {
            upper::prepare(directory, &self.stack)?;
        } else {
            self.make_cwd(directory, user.identity.uid, user.identity.gid)?;
        }
        let upper = written.upper(work.as_ref());
        let mut spec = Spec::new(Root::Overlay(self.ladder.overlay(&self.base, Some(upper))?), &self.exec.args);
        let shared = self.exec.env.iter().map(|variable| variable.to_string());
        let mut env: Vec<String> = shared.chain(self.exec.proxy_env.iter().cloned()).collect();
        complete_env(&mut env, &user.home);
        spec.identity = user.identity;
        spec.cwd = PathBuf::from(&self.exec.cwd);
        let hostname = self.exec.hostname.as_deref().unwrap_or(HOSTNAME_DEFAULT);
        spec.hostname = Some(hostname.to_owned());
        self.check_devices()?;
        let mut held = Held { network: self.enter_network()?, caches, agents: Vec::new() };
        spec.network = held.network.network().map_err(|source| self.wait_error(source))?;
        spec.mounts.extend(step_files(hostname, &self.exec.extra_hosts, &held.network));
        for mount in self.exec.mounts.iter().enumerate() {
            self.add_mount(mount, &mut spec, &mut env, &mut held)?;
        }
        spec.env = env.into_iter().map(Into::into).collect();
        if self.exec.security == SecurityMode::Insecure {
            spec.security = Security::insecure();
            held.network.spoil();
        }
        limit(&mut spec, &self.exec.limits)?;
        let piped = || runtime::Stream::Pipe;
        spec.stdio = Stdio::Streams { stdin: runtime::Stream::Null, stdout: piped(), stderr: piped() };
        let created = self.launcher.create(spec);
        let created = created.map_err(|source| ExecError::Create { command: self.line(), source })?;
        for warning in created.warnings() {
            let bytes = format!("warning: {warning}\n").into_bytes();
            self.reporter.report(Report::Output { step: self.step, stream: Stream::Stderr, bytes });
        }
        let running = created.start().map_err(|source| self.start_error(source))?;
        Ok(Started { running, written, work, command: self, held })
    }

    /// Makes the directory that the command writes into, and opens it.
    fn place_to_write(&self) -> Result<(Written, Option<Work>, OwnedFd), ExecError> {
        if let Some(outside) = self.ladder.outside()? {
            let directory = outside.open().map_err(|source| self.wait_error(source))?;
            return Ok((Written::Outside(outside), None, directory));
        }
        let draft = self.store.draft_layer()?;
        let tree = draft.tree();
        store::fault::point("step.start").map_err(ExecError::file("open", &tree))?;
        let directory: OwnedFd = File::open(&tree).map_err(ExecError::file("open", &tree))?.into();
        let work = Work(self.store.temporary_dir()?);
        Ok((Written::ToStore(draft), Some(work), directory))
    }

    /// Fails if the command needs a device, and says which it does without.
    fn check_devices(&self) -> Result<(), ExecError> {
        for (name, is_required) in &self.exec.devices {
            if *is_required {
                return Err(ExecError::NoDevice { name: name.clone() });
            }
            let short = format!("RUN does not have the device {name}");
            let detail = "devices by CDI names are not supported".to_owned();
            self.reporter.report(Report::Warning { step: self.step, short, detail });
        }
        Ok(())
    }

    /// Returns the network that the command gets, after telling what it is not.
    fn enter_network(&self) -> Result<Entered, ExecError> {
        let entered = self.networks.enter(self.exec.network);
        let entered = entered.map_err(|source| ExecError::Network { command: self.line(), source })?;
        if let Some(error) = entered.lost() {
            let short = "RUN has the network of this machine, not one of its own".to_owned();
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            self.reporter.report(Report::Warning { step: self.step, short, detail: format!("{error}{cause}") });
        }
        Ok(entered)
    }

    /// What cannot be executed at all ends like a process that did not find its program, as with BuildKit.
    fn start_error(&self, source: runtime::StartError) -> ExecError {
        let message = format!("{source}\n");
        self.reporter.report(Report::Output { step: self.step, stream: Stream::Stderr, bytes: message.into_bytes() });
        let command = self.line();
        if source.is_about_the_program() {
            return ExecError::Execute { command, source };
        }
        ExecError::Start { command, source }
    }

    /// The directory that a step starts in is made for it, as BuildKit does; it belongs to the step's user.
    fn make_cwd(&self, upper: OwnedFd, uid: u32, gid: u32) -> Result<(), ExecError> {
        let writer = layer::TreeWriter::new(upper, self.stack.clone())?;
        crate::file::make_working_dir(&writer, &self.exec.cwd, uid, gid)?;
        writer.finish()?;
        Ok(())
    }

    /// Makes a layer of what the command wrote outside of the store. It blocks.
    fn pack(&self, outside: &Outside, usage: Usage) -> Result<Layer, ExecError> {
        let tree = layer::Tree::new(outside.open().map_err(|source| self.wait_error(source))?);
        let entries = upper::scan(&tree, &self.stack)?;
        let written_bytes = Some(entries.size_bytes());
        self.reporter.report(Report::Usage { step: self.step, usage: Usage { written_bytes, ..usage } });
        let new = NewLayer::packed(&self.store)?;
        let found = layer::Layer { entries, content: layer::Content::Tree(tree) };
        let written = layer::pack::write_layer(&found, new.writer(layer::Lender::default(), Stack::default())?)?;
        Ok(new.complete(&written)?.0)
    }

    /// Makes a layer of what the command wrote. Its files can be mounted at once; what they are is found out on another thread meanwhile.
    fn finish(&self, draft: LayerDraft, usage: Usage) -> Layer {
        let (id, tree, entries, below) = (draft.id(), draft.tree(), draft.entries_path(), self.stack.clone());
        let dir = draft.dir().to_owned();
        let (reporter, step) = (self.reporter.clone(), self.step);
        let created = Timestamp::now();
        let scanned = tokio::task::spawn_blocking(move || {
            let directory: OwnedFd = File::open(&tree).map_err(ExecError::file("open", &tree))?.into();
            let found = upper::scan(&layer::Tree::new(directory), &below)?;
            fs::write(&entries, found.as_bytes()).map_err(ExecError::file("write", &entries))?;
            let size_bytes = found.size_bytes();
            reporter.report(Report::Usage { step, usage: Usage { written_bytes: Some(size_bytes), ..usage } });
            let record = LayerRecord {
                id,
                content: layer::digest::of_layer(&found),
                diff_id: None,
                tar_bytes: None,
                origin: None,
                packed: None,
                size_bytes,
                created,
                seal: None,
            };
            Ok(record.sealed(&dir)?)
        });
        Layer::finishing(draft, async move { scanned.await.unwrap_or(Err(ExecError::Thread)).map_err(LayerError::new) })
    }
}

/// The directory that the kernel works in for a mount. Its marks are of no use afterwards; what cannot be removed goes with this process.
struct Work(PathBuf);

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where a command writes.
enum Written {
    /// Into the tree of a layer in the making.
    ToStore(LayerDraft),
    /// Somewhere else, as the store has no place for it.
    Outside(Outside),
}

impl Written {
    fn upper(&self, work: Option<&Work>) -> Upper {
        let work = work.map(|work| work.0.clone()).unwrap_or_default();
        match self {
            Self::ToStore(draft) => Upper::Dirs { upper: draft.tree(), work, durability: Durability::Volatile },
            Self::Outside(outside) => outside.upper(),
        }
    }
}

/// A command that runs.
struct Started {
    running: Running,
    written: Written,
    work: Option<Work>,
    command: Arc<Command>,
    /// Let go of when nothing of the command is left.
    held: Held,
}

impl Started {
    /// Hands on what the command writes until it has ended, and lets go of what it had. `tell` is who may end it.
    fn wait(self, tell: oneshot::Sender<OwnedFd>) -> Result<(Pumped, Written), ExecError> {
        let Self { running, written, work, command, held } = self;
        let failed = |source| command.wait_error(source);
        // That nobody listens any more is no error: then nobody ends it.
        let _ = tell.send(running.as_fd().try_clone_to_owned().map_err(failed)?);
        let ended = pump(running, &command.reporter, command.step);
        drop(held);
        command.launcher.later().release(work);
        Ok((ended.map_err(failed)?, written))
    }
}
