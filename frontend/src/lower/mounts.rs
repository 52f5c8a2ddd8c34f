//! Mounts of commands: which input each has, and where it goes.

use llb::pattern::clean_path;
use llb::{CacheMount, CacheSharing, Edge, Input, Mount, MountKind, SecretMount, Selection, SshMount};

use crate::ast::{Run, Word};
use crate::go;

use super::depend::Sources;
use super::dispatch::At;
use super::error::{Fault, LowerProblem};
use super::mount::{MountFields, MountType};
use super::pass::Pass;
use super::session::Purpose;
use super::stage::Built;

const CACHE_NAMESPACE_ARG: &str = "BUILDKIT_CACHE_MOUNT_NS";
const CACHE_MODE: u32 = 0o755;
const SECRET_MODE: u32 = 0o400;
const SECRETS_DIR: &str = "/run/secrets";
const SSH_MODE: u32 = 0o600;
const SSH_SOCKET: &str = "/run/buildkit/ssh_agent";
const DEFAULT_AGENT: &str = "default";

/// The mounts of a command and what they need.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) list: Vec<Mount>,
    /// The inputs of the command; the first is its root.
    pub(super) inputs: Vec<Input>,
    /// How many agents are forwarded.
    agents: usize,
    /// Where the first agent's socket is.
    pub(super) agent_socket: Option<String>,
}

impl Mounts {
    /// Returns no mounts of a command with a root.
    pub(super) fn on(root: Edge) -> Self {
        Self { inputs: vec![Input::whole(root)], ..Self::default() }
    }

    /// Adds an input and returns its place.
    pub(super) fn input(&mut self, edge: Edge, path: &str) -> usize {
        let path = path.trim_start_matches('/');
        let selection = (!path.is_empty()).then(|| Selection::Path(path.to_owned()));
        self.inputs.push(Input { edge, selection });
        self.inputs.len() - 1
    }
}

impl Pass<'_, '_> {
    /// Reads the mounts of a command, their variables substituted.
    pub(super) fn mount_fields(&mut self, built: &Built, at: At<'_>, run: &Run) -> Result<Vec<MountFields>, Fault> {
        let mut all = Vec::with_capacity(run.mounts.len());
        for Word { text, span } in &run.mounts {
            let parsed = MountFields::parse(text, |value| self.text(built, at, value, *span));
            all.push(parsed.map_err(|fault| Fault { span: Some(*span), ..fault })?);
        }
        Ok(all)
    }

    /// Adds the mounts that a command asks for.
    pub(super) fn add_mounts(
        &mut self,
        built: &mut Built,
        at: At<'_>,
        (run, fields, sources): (&Run, &[MountFields], &Sources),
        mounts: &mut Mounts,
    ) -> Result<(), Fault> {
        for ((word, mount), source) in run.mounts.iter().zip(fields).zip(sources) {
            let in_place = |fault: Fault| Fault { span: fault.span.or(Some(word.span)), ..fault };
            match mount.kind {
                MountType::Secret => self.secret(built, at, mount, mounts),
                MountType::Ssh => self.ssh(built, at, mount, mounts),
                MountType::Bind | MountType::Cache | MountType::Tmpfs => {
                    self.directory(built, mount, *source, mounts).map_err(in_place)?
                }
            }
        }
        Ok(())
    }

    fn directory(
        &mut self,
        built: &Built,
        mount: &MountFields,
        source: Option<usize>,
        mounts: &mut Mounts,
    ) -> Result<(), Fault> {
        if let Some(node) = source
            && !self.done[node]
        {
            let (from, target) = (go::quote(&mount.from), go::quote(&mount.target));
            let fault = Fault::from(LowerProblem::MountFromLater { from, target });
            return Err(fault.with_note("the stage begins here", self.place_of(node)));
        }
        let target = go::join_path(&built.dir, &mount.target);
        if target == "/" {
            return Err(LowerProblem::Mount { message: format!("invalid mount target {}", go::quote(&target)) }.into());
        }
        let path = go::join_path("/", &mount.source);
        let kind = match mount.kind {
            MountType::Tmpfs => MountKind::Tmpfs { size_bytes: mount.size_bytes },
            MountType::Cache => {
                let input = match source {
                    Some(node) => Some(mounts.input(self.files_of(node)?, &path)),
                    None => None,
                };
                MountKind::Cache(self.cache(mount, input))
            }
            _ => {
                let edge = match source {
                    Some(node) => self.files_of(node)?,
                    None => self.main_context()?,
                };
                MountKind::Bind { input: mounts.input(edge, &path) }
            }
        };
        mounts.list.push(Mount { target, readonly: mount.readonly, kind });
        Ok(())
    }

    /// Returns the files of a finished node.
    pub(super) fn files_of(&mut self, node: usize) -> Result<Edge, LowerProblem> {
        let edge = self.built[node].as_ref().and_then(|built| built.edge);
        self.session.edge(edge)
    }

    fn cache(&self, mount: &MountFields, input: Option<usize>) -> CacheMount {
        let id = if mount.id.is_empty() { clean_path(&mount.target) } else { mount.id.clone() };
        let namespace = self.build_args.get(CACHE_NAMESPACE_ARG).filter(|namespace| !namespace.is_empty());
        CacheMount {
            id: namespace.map_or_else(|| id.clone(), |namespace| format!("{namespace}/{id}")),
            input,
            sharing: mount.sharing.unwrap_or(CacheSharing::Shared),
            mode: mount.mode.unwrap_or(CACHE_MODE),
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
        }
    }

    fn secret(&self, built: &mut Built, at: At<'_>, mount: &MountFields, mounts: &mut Mounts) {
        let named = [&mount.source, &mount.id].into_iter().find(|name| !name.is_empty());
        let id = named.cloned().unwrap_or_else(|| go::base_name(&mount.target).to_owned());
        let target = if mount.target.is_empty() {
            format!("{SECRETS_DIR}/{}", go::base_name(&id))
        } else {
            mount.target.clone()
        };
        if self.session.purpose == Purpose::Outline {
            built.outline.secrets.entry(id.clone()).or_insert((mount.required, at.site.lines));
        }
        let secret = SecretMount {
            id,
            required: mount.required,
            env: mount.env.clone(),
            file: mount.env.is_none() || !mount.target.is_empty(),
            mode: mount.mode.unwrap_or(SECRET_MODE),
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
        };
        let target = go::join_path(&built.dir, &target);
        mounts.list.push(Mount { target, readonly: mount.readonly, kind: MountKind::Secret(secret) });
    }

    fn ssh(&self, built: &mut Built, at: At<'_>, mount: &MountFields, mounts: &mut Mounts) {
        let id = if mount.id.is_empty() { DEFAULT_AGENT.to_owned() } else { mount.id.clone() };
        let target = if mount.target.is_empty() {
            format!("{SSH_SOCKET}.{}", mounts.agents)
        } else {
            go::join_path(&built.dir, &mount.target)
        };
        mounts.agents += 1;
        mounts.agent_socket.get_or_insert_with(|| target.clone());
        if self.session.purpose == Purpose::Outline {
            built.outline.ssh.entry(id.clone()).or_insert((mount.required, at.site.lines));
        }
        let ssh = SshMount {
            id,
            required: mount.required,
            mode: mount.mode.unwrap_or(SSH_MODE),
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
        };
        mounts.list.push(Mount { target, readonly: mount.readonly, kind: MountKind::Ssh(ssh) });
    }
}
