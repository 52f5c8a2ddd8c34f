//! `RUN`: a command in a sandbox, whose writes become a layer.

use std::fs::{self, File};
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use layer::{Follow, Stack, upper};
use llb::{CacheMount, Exec, Mount, MountKind, NetworkMode, SecretMount, SecurityMode};
use oci::{Digest, Timestamp};
use runtime::overlay::{Durability, Upper};
use runtime::{Access, Launcher, MountSource, Network, Running, Security, Spec, Stdio};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, pidfd_send_signal};
use solver::StepError;
use store::{Layer, LayerDraft, LayerError, LayerRecord, Snapshot, Store};
use tokio_util::sync::CancellationToken;

use crate::blocking::{blocking, failed};
use crate::report::{Report, Reporter, Stream};
use crate::sandbox::{complete_env, network_files, overlay, resolve_user, root};
use crate::{ExecError, Secrets};

/// The host name of a step that asks for none, as BuildKit has it.
const HOSTNAME_DEFAULT: &str = "buildkitsandbox";
/// How much output is read at once.
const OUTPUT_BYTES: usize = 64 << 10;

/// What a mount of a step shows.
pub(crate) enum Bound {
    /// A snapshot, from `subpath` on.
    Snapshot {
        /// The snapshot.
        snapshot: Snapshot,
        /// A path in it.
        subpath: String,
    },
    /// A file that stands in the Dockerfile.
    Inline {
        /// Its content.
        content: String,
        /// Its permission bits.
        mode: u32,
    },
}

/// A command and all that it needs.
pub(crate) struct Command {
    pub(crate) store: Store,
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
}

impl Command {
    fn line(&self) -> String {
        self.exec.args.join(" ")
    }

    /// Runs the command and returns the snapshot that it leaves.
    pub(crate) async fn run(self, cancel: &CancellationToken) -> Result<Snapshot, StepError<ExecError>> {
        let started = blocking(move || self.start()).await.map_err(failed)?;
        let Started { running, draft, work, command } = started;
        let pidfd: OwnedFd =
            running.as_fd().try_clone_to_owned().map_err(|source| failed(command.wait_error(source)))?;
        let (reporter, step) = (command.reporter.clone(), command.step);
        let mut waiting = tokio::task::spawn_blocking(move || pump(running, &reporter, step));
        let mut is_cancelled = false;
        let ended = tokio::select! {
            ended = &mut waiting => ended,
            () = cancel.cancelled() => {
                is_cancelled = true;
                // That it has ended meanwhile is no error.
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
                waiting.await
            }
        };
        let ended = ended.unwrap_or(Err(io::Error::other("the thread that waits for it panicked")));
        if is_cancelled {
            return Err(StepError::Cancelled);
        }
        let exit = ended.map_err(|source| failed(command.wait_error(source)))?;
        if !exit.status.is_success() {
            return Err(failed(ExecError::Process { command: command.line(), code: exit.status.code() }));
        }
        store::fault::point("step.ran").map_err(|source| failed(command.wait_error(source)))?;
        // The kernel's marks in it are of no use any more; what cannot be removed goes with this process.
        let _ = fs::remove_dir_all(work);
        let layer = finish(draft, command.stack.clone());
        Ok(command.base.with(layer))
    }

    fn wait_error(&self, source: io::Error) -> ExecError {
        ExecError::Wait { command: self.line(), source }
    }

    fn start(self) -> Result<Started, ExecError> {
        let draft = self.store.draft_layer()?;
        let tree = draft.tree();
        store::fault::point("step.start").map_err(ExecError::file("open", &tree))?;
        let directory: OwnedFd = File::open(&tree).map_err(ExecError::file("open", &tree))?.into();
        let user = resolve_user(&self.stack, &self.exec.user)
            .map_err(|source| ExecError::CommandUser { command: self.line(), source: Box::new(source) })?;
        let cwd = self.stack.resolve(self.exec.cwd.as_bytes(), Follow::All);
        let has_cwd = cwd.is_ok_and(|cwd| cwd.path.as_path().is_root() || cwd.found.is_some());
        if has_cwd {
            upper::prepare(directory, &self.stack)?;
        } else {
            self.make_cwd(directory, user.identity.uid, user.identity.gid)?;
        }
        let work = self.store.temporary_dir()?;
        let dirs = Upper::Dirs { upper: tree, work: work.clone(), durability: Durability::Volatile };
        let mut spec = Spec::new(root(&self.base, Some(dirs)), &self.exec.args);
        let mut env: Vec<String> = self.exec.env.iter().chain(&self.exec.proxy_env).cloned().collect();
        complete_env(&mut env, &user.home);
        spec.identity = user.identity;
        spec.cwd = PathBuf::from(&self.exec.cwd);
        let hostname = self.exec.hostname.as_deref().unwrap_or(HOSTNAME_DEFAULT);
        spec.hostname = Some(hostname.to_owned());
        let hosts = self.exec.extra_hosts.iter().map(|host| (host.name.as_str(), host.address.as_str()));
        spec.mounts.extend(network_files(hostname, hosts));
        for mount in &self.exec.mounts {
            self.add_mount(mount, &mut spec, &mut env)?;
        }
        spec.env = env.into_iter().map(Into::into).collect();
        if self.exec.network == NetworkMode::None {
            spec.network = Network::None;
        }
        if self.exec.security == SecurityMode::Insecure {
            spec.security = Security::insecure();
        }
        if let Some(bytes) = self.exec.limits.shm_bytes {
            spec.shm_bytes = bytes;
        }
        spec.rlimits = self.rlimits()?;
        let piped = || runtime::Stream::Pipe;
        spec.stdio = Stdio::Streams { stdin: runtime::Stream::Null, stdout: piped(), stderr: piped() };
        let created = self.launcher.create(spec);
        let created = created.map_err(|source| ExecError::Create { command: self.line(), source })?;
        for warning in created.warnings() {
            let bytes = format!("warning: {warning}\n").into_bytes();
            self.reporter.report(Report::Output { step: self.step, stream: Stream::Stderr, bytes });
        }
        let running = created.start().map_err(|source| self.start_error(source))?;
        Ok(Started { running, draft, work, command: self })
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

    fn rlimits(&self) -> Result<Vec<runtime::Rlimit>, ExecError> {
        let limits = self.exec.limits.ulimits.iter().map(|limit| {
            let resource = limit.name.parse().map_err(|source| ExecError::Ulimit { source })?;
            Ok(runtime::Rlimit { resource, soft: limit.soft, hard: limit.hard })
        });
        limits.collect()
    }

    fn add_mount(&self, mount: &Mount, spec: &mut Spec, env: &mut Vec<String>) -> Result<(), ExecError> {
        let access = if mount.readonly { Access::ReadOnly } else { Access::ReadWrite };
        let (source, subpath, access) = match &mount.kind {
            MountKind::Bind { input } => match self.bound(*input)? {
                Bound::Snapshot { snapshot, subpath } => {
                    // What is written to it goes to memory, and away with the step.
                    let upper = (access == Access::ReadWrite).then_some(Upper::Memory);
                    (MountSource::Overlay(overlay(snapshot, upper)), PathBuf::from(subpath), access)
                }
                Bound::Inline { content, mode } => {
                    let contents = content.clone().into_bytes();
                    (MountSource::File { contents, mode: *mode, uid: 0, gid: 0 }, PathBuf::new(), Access::ReadOnly)
                }
            },
            MountKind::Cache(cache) => (MountSource::Path(self.cache_dir(cache)?), PathBuf::new(), access),
            MountKind::Tmpfs { size_bytes } => {
                (MountSource::Tmpfs { size_bytes: *size_bytes, mode: 0o1777 }, PathBuf::new(), access)
            }
            MountKind::Secret(secret) => match self.secret(secret, env)? {
                Some(source) => (source, PathBuf::new(), Access::ReadOnly),
                None => return Ok(()),
            },
            MountKind::Ssh(ssh) => {
                let Some(socket) = self.secrets.agents.get(&ssh.id) else {
                    return if ssh.required { Err(ExecError::NoAgent { id: ssh.id.clone() }) } else { Ok(()) };
                };
                if !env.iter().any(|variable| variable.starts_with("SSH_AUTH_SOCK=")) {
                    env.push(format!("SSH_AUTH_SOCK={}", mount.target));
                }
                (MountSource::Path(socket.clone()), PathBuf::new(), Access::ReadWrite)
            }
        };
        let mut mounted = runtime::Mount::new(&mount.target, source, access);
        mounted.subpath = subpath;
        spec.mounts.push(mounted);
        Ok(())
    }

    fn bound(&self, input: usize) -> Result<&Bound, ExecError> {
        let found = self.bound.iter().find(|(place, _)| *place == input);
        found.map(|(_, bound)| bound).ok_or_else(|| ExecError::Unknown { what: "input", name: input.to_string() })
    }

    /// Puts a secret into the environment, or returns the file that shows it.
    fn secret(&self, secret: &SecretMount, env: &mut Vec<String>) -> Result<Option<MountSource>, ExecError> {
        let Some(value) = self.secrets.values.get(&secret.id) else {
            return if secret.required { Err(ExecError::NoSecret { id: secret.id.clone() }) } else { Ok(None) };
        };
        if let Some(name) = &secret.env {
            env.push(format!("{name}={}", String::from_utf8_lossy(value)));
        }
        let SecretMount { mode, uid, gid, .. } = *secret;
        Ok(secret.file.then(|| MountSource::File { contents: value.clone(), mode, uid, gid }))
    }

    /// Returns the directory of a cache mount, after making it if it is new.
    fn cache_dir(&self, cache: &CacheMount) -> Result<PathBuf, ExecError> {
        Ok(self.store.cache_mount(&cache.id, |dir| {
            let owned = std::os::unix::fs::chown(dir, Some(cache.uid), Some(cache.gid));
            owned.and_then(|()| fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(cache.mode)))
        })?)
    }
}

/// A command that runs.
struct Started {
    running: Running,
    draft: LayerDraft,
    work: PathBuf,
    command: Command,
}

/// Hands on what a command writes until nobody can write any more, and waits for its end.
fn pump(mut running: Running, reporter: &Reporter, step: Digest) -> io::Result<runtime::Exit> {
    let stream = |fd: Option<OwnedFd>, stream| fd.map(|fd| (PipeReader::from(fd), stream));
    let streams = [stream(running.stdout.take(), Stream::Stdout), stream(running.stderr.take(), Stream::Stderr)];
    let mut open: Vec<(PipeReader, Stream)> = streams.into_iter().flatten().collect();
    let mut buffer = vec![0; OUTPUT_BYTES];
    while !open.is_empty() {
        let mut polled: Vec<PollFd<'_>> = open.iter().map(|(pipe, _)| PollFd::new(pipe, PollFlags::IN)).collect();
        match poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let is_ready: Vec<bool> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
        let mut ready = is_ready.into_iter();
        open.retain_mut(|(pipe, stream)| {
            if !ready.next().unwrap_or_default() {
                return true;
            }
            match pipe.read(&mut buffer) {
                Ok(0) | Err(_) => false,
                Ok(count) => {
                    reporter.report(Report::Output { step, stream: *stream, bytes: buffer[..count].to_vec() });
                    true
                }
            }
        });
    }
    running.wait()
}

/// Makes a layer of what a command wrote. Its files can be mounted at once; what they are is found out on another thread meanwhile.
fn finish(draft: LayerDraft, below: Stack) -> Layer {
    let (id, tree, entries) = (draft.id(), draft.tree(), draft.entries_path());
    let created = Timestamp::now();
    let scanned = tokio::task::spawn_blocking(move || {
        let directory: OwnedFd = File::open(&tree).map_err(ExecError::file("open", &tree))?.into();
        let found = upper::scan(&layer::Tree::new(directory), &below)?;
        fs::write(&entries, found.as_bytes()).map_err(ExecError::file("write", &entries))?;
        Ok(LayerRecord {
            id,
            content: layer::digest::of_layer(&found),
            diff_id: None,
            tar_bytes: None,
            origin: None,
            size_bytes: found.size_bytes(),
            created,
        })
    });
    Layer::finishing(draft, async move { scanned.await.unwrap_or(Err(ExecError::Thread)).map_err(LayerError::new) })
}
