//! Mounts of commands: from what the graph says of them to what the sandbox gets.

use std::path::PathBuf;

use llb::{Mount, MountKind, SecretMount, SshMount};
use runtime::overlay::Upper;
use runtime::{Access, MountSource, Spec};
use solver::StepError;
use store::CacheDir;
use tokio_util::sync::CancellationToken;

use super::cache_dir;
use super::held::{Bound, Held};
use super::run::Command;
use crate::ExecError;
use crate::ssh::Relay;

impl Command {
    /// Waits until the directories of all cache mounts may be used.
    pub(super) async fn acquire_caches(
        &self,
        cancel: &CancellationToken,
    ) -> Result<Vec<(usize, CacheDir)>, StepError<ExecError>> {
        let mut wanted: Vec<_> = self.exec.mounts.iter().enumerate().collect();
        // In one order for all commands, so that no two wait for each other.
        wanted.sort_by_key(|(_, mount)| match &mount.kind {
            MountKind::Cache(cache) => cache.id.clone(),
            _ => String::new(),
        });
        let mut acquired: Vec<(usize, CacheDir)> = Vec::new();
        let mut last = None;
        for (place, mount) in wanted {
            let MountKind::Cache(cache) = &mount.kind else { continue };
            let seed = cache.input.and_then(|input| self.seeds.iter().find(|(place, _)| *place == input));
            let seed = seed.map(|(_, seed)| seed);
            let same = (cache.id.as_str(), seed.map(|seed| seed.digest));
            // A command that mounts one directory twice must not wait for itself.
            let dir = match (last == Some(same), acquired.last()) {
                (true, Some((_, dir))) => dir.clone(),
                _ => cache_dir::acquire(&self.store, cache, seed, cancel).await?,
            };
            acquired.push((place, dir));
            last = Some(same);
        }
        Ok(acquired)
    }

    /// Adds a mount of the graph, by its place.
    pub(super) fn add_mount(
        &self,
        (place, mount): (usize, &Mount),
        spec: &mut Spec,
        env: &mut Vec<String>,
        held: &mut Held,
    ) -> Result<(), ExecError> {
        let access = if mount.readonly { Access::ReadOnly } else { Access::ReadWrite };
        let (source, subpath, access) = match &mount.kind {
            MountKind::Bind { input } => match self.bound(*input)? {
                Bound::Snapshot { snapshot, subpath } => {
                    // What is written to it goes to memory, and away with the step.
                    let upper = (access == Access::ReadWrite).then_some(Upper::Memory);
                    (MountSource::Overlay(self.ladder.overlay(snapshot, upper)?), PathBuf::from(subpath), access)
                }
                Bound::Inline { content, mode } => {
                    let contents = content.clone().into_bytes();
                    (MountSource::File { contents, mode: *mode, uid: 0, gid: 0 }, PathBuf::new(), Access::ReadOnly)
                }
            },
            MountKind::Cache(_) => {
                let dir = held.caches.iter().find(|(of, _)| *of == place);
                let dir = dir.ok_or_else(|| ExecError::Unknown { what: "cache mount", name: mount.target.clone() })?;
                (MountSource::Path(dir.1.path().to_owned()), PathBuf::new(), access)
            }
            MountKind::Tmpfs { size_bytes } => {
                (MountSource::Tmpfs { size_bytes: *size_bytes, mode: 0o1777 }, PathBuf::new(), access)
            }
            MountKind::Secret(secret) => match self.secret(secret, env)? {
                Some(source) => (source, PathBuf::new(), Access::ReadOnly),
                None => return Ok(()),
            },
            MountKind::Ssh(ssh) => match self.agent(ssh, &mount.target, env, held)? {
                Some(source) => (source, PathBuf::new(), Access::ReadWrite),
                None => return Ok(()),
            },
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

    /// Opens a socket for an agent, and puts its place into the environment.
    fn agent(
        &self,
        ssh: &SshMount,
        target: &str,
        env: &mut Vec<String>,
        held: &mut Held,
    ) -> Result<Option<MountSource>, ExecError> {
        let Some(agent) = self.secrets.agents.get(&ssh.id) else {
            return if ssh.required { Err(ExecError::NoAgent { id: ssh.id.clone() }) } else { Ok(None) };
        };
        if !env.iter().any(|variable| variable.starts_with("SSH_AUTH_SOCK=")) {
            env.push(format!("SSH_AUTH_SOCK={target}"));
        }
        let relay = Relay::start(&self.store.temporary_dir()?, agent.clone(), ssh)?;
        let source = MountSource::Path(relay.socket.clone());
        held.agents.push(relay);
        Ok(Some(source))
    }
}
