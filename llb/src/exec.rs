//! A command in a sandbox: its environment, its mounts, its limits.

use oci::Platform;
use serde::Serialize;

use crate::Variable;

/// Runs a command on top of input 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exec {
    /// The program and its arguments; never empty.
    pub args: Vec<String>,
    /// Variables in the form `KEY=value`, in order; build arguments are among them.
    pub env: Vec<Variable>,
    /// Variables that are set but are in no key: proxy settings and nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proxy_env: Vec<String>,
    /// The absolute directory that the command starts in.
    pub cwd: String,
    /// `user[:group]`, by names or numbers; empty is root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The host name; `None` is the builder's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Mounts beside the root, in the order in which they are mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Which network the command sees.
    #[serde(default, skip_serializing_if = "NetworkMode::is_default")]
    pub network: NetworkMode,
    /// How the command is confined.
    #[serde(default, skip_serializing_if = "SecurityMode::is_default")]
    pub security: SecurityMode,
    /// Devices by their CDI names, with whether each is required.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<(String, bool)>,
    /// Names added to `/etc/hosts`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<ExtraHost>,
    /// What the command may use; it is in no key, since it does not change what the command makes.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
    /// The platform that the command is built for.
    pub platform: Platform,
}

impl Exec {
    /// Returns the command as the keys of the cache see it: without all that may change and still give the same result.
    ///
    /// This is the one list of what is left out; `docs/cache-keys.md` gives the reasons.
    pub fn keyed(&self) -> Self {
        let mut keyed = Self { proxy_env: Vec::new(), limits: Limits::default(), ..self.clone() };
        keyed.extra_hosts.iter_mut().for_each(|host| host.address.clear());
        for mount in &mut keyed.mounts {
            if let MountKind::Cache(cache) = &mut mount.kind {
                cache.id.clear();
                cache.sharing = CacheSharing::default();
            }
        }
        keyed
    }

    /// Tells whether [`Exec::keyed`] would leave out nothing, without making it.
    pub(crate) fn is_keyed(&self) -> bool {
        self.proxy_env.is_empty()
            && self.limits.is_default()
            && self.extra_hosts.is_empty()
            && self.mounts.iter().all(|mount| !matches!(mount.kind, MountKind::Cache(_)))
    }
}

/// A name in `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// Its address; it is in no key, as it differs from machine to machine.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
}

/// What a command may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// The size of `/dev/shm`; `None` is 64 MiB.
    pub shm_bytes: Option<u64>,
    /// Limits by [`Ulimit`].
    pub ulimits: Vec<Ulimit>,
    /// The control group that the command's own is made in.
    pub cgroup_parent: Option<String>,
    /// Most memory; `None` is no limit.
    pub memory_bytes: Option<u64>,
    /// Most memory and swap together; [`u64::MAX`] is no limit, and `None` twice the memory.
    pub memory_and_swap_bytes: Option<u64>,
    /// Processor time in each period, in microseconds; `None` is no limit.
    pub cpu_quota_microseconds: Option<u64>,
    /// The period, in microseconds; `None` is 100,000.
    pub cpu_period_microseconds: Option<u64>,
    /// The weight against other groups; `None` is 1,024.
    pub cpu_shares: Option<u64>,
    /// Which processors: `0-2,5`; `None` is all.
    pub cpuset_cpus: Option<String>,
    /// Which memory nodes; `None` is all.
    pub cpuset_mems: Option<String>,
    /// Most processes and threads; `None` is no limit.
    pub pids: Option<u64>,
}

impl Limits {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A limit of setrlimit(2), by Docker's names (`nofile`, `nproc` …).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ulimit {
    /// The resource.
    pub name: String,
    /// The limit that applies; `None` is unlimited.
    pub soft: Option<u64>,
    /// The limit that the soft one may be raised to; `None` is unlimited.
    pub hard: Option<u64>,
}

/// Which network a command sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// The builder's usual one.
    #[default]
    Default,
    /// Only the loopback interface.
    None,
    /// The host's own.
    Host,
}

impl NetworkMode {
    fn is_default(&self) -> bool {
        *self == Self::Default
    }
}

/// How a command is confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityMode {
    /// Docker's capabilities, system call list and masked paths.
    #[default]
    Sandbox,
    /// All capabilities and no masks; needs the entitlement `security.insecure`.
    Insecure,
}

impl SecurityMode {
    fn is_default(&self) -> bool {
        *self == Self::Sandbox
    }
}

/// A mount beside the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// The absolute path that it is mounted on.
    pub target: String,
    /// Whether writes fail.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub readonly: bool,
    /// What is mounted.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// What the input's selection names; writes are thrown away.
    Bind {
        /// The vertex's input.
        input: usize,
    },
    /// A directory that outlives the build.
    Cache(CacheMount),
    /// An empty file system in memory.
    Tmpfs {
        /// Its size; `None` is the kernel's default.
        size_bytes: Option<u64>,
    },
    /// A file or variable whose value is never recorded.
    Secret(SecretMount),
    /// A forwarded SSH agent.
    Ssh(SshMount),
}

/// A directory that outlives the build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CacheMount {
    /// Which directory; it is in no key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The input whose selection fills the directory when it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<usize>,
    /// Who may use it at the same time; it is in no key.
    #[serde(default)]
    pub sharing: CacheSharing,
    /// The permission bits of a new directory.
    pub mode: u32,
    /// The owner of a new directory.
    pub uid: u32,
    /// The group of a new directory.
    pub gid: u32,
}

/// Who may use a cache mount at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheSharing {
    /// Everybody, in the same directory.
    #[default]
    Shared,
    /// Everybody, each in a directory of their own.
    Private,
    /// One after the other.
    Locked,
}

/// A value that is never recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretMount {
    /// Which secret.
    pub id: String,
    /// Whether a missing secret is an error.
    pub required: bool,
    /// The variable that the value is put into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Whether the value is a file at the mount's target.
    pub file: bool,
    /// The file's permission bits.
    pub mode: u32,
    /// The file's owner.
    pub uid: u32,
    /// The file's group.
    pub gid: u32,
}

/// A forwarded SSH agent's socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SshMount {
    /// Which agent.
    pub id: String,
    /// Whether a missing agent is an error.
    pub required: bool,
    /// The socket's permission bits.
    pub mode: u32,
    /// The socket's owner.
    pub uid: u32,
    /// The socket's group.
    pub gid: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Op;

    fn command() -> Exec {
        let cache =
            CacheMount { id: "a".into(), input: None, sharing: CacheSharing::Shared, mode: 0o755, uid: 0, gid: 0 };
        Exec {
            args: vec!["make".into()],
            env: vec!["A=1".to_owned().into()],
            proxy_env: vec!["http_proxy=a".into()],
            cwd: "/".into(),
            user: String::new(),
            hostname: None,
            mounts: vec![Mount { target: "/c".into(), readonly: false, kind: MountKind::Cache(cache) }],
            network: NetworkMode::Default,
            security: SecurityMode::Sandbox,
            devices: Vec::new(),
            extra_hosts: vec![ExtraHost { name: "db".into(), address: "10.0.0.1".into() }],
            limits: Limits::default(),
            platform: Platform::new("linux", "amd64", None),
        }
    }

    /// Returns whether a change changes the step's identity, and whether it changes the key.
    fn changed(change: impl FnOnce(&mut Exec)) -> (bool, bool) {
        let (before, mut after) = (command(), command());
        change(&mut after);
        let (before, after) = (Op::Exec(Box::new(before)), Op::Exec(Box::new(after)));
        (before.digest() != after.digest(), before.key_digest() != after.key_digest())
    }

    #[test]
    fn what_does_not_change_the_result_is_in_no_key() {
        let only_identity = (true, false);
        assert_eq!(changed(|exec| exec.proxy_env.clear()), only_identity);
        assert_eq!(changed(|exec| exec.limits.shm_bytes = Some(1)), only_identity);
        assert_eq!(changed(|exec| exec.extra_hosts[0].address = "10.0.0.2".into()), only_identity);
        let cache = |change: fn(&mut CacheMount)| {
            changed(|exec| match &mut exec.mounts[0].kind {
                MountKind::Cache(cache) => change(cache),
                kind => unreachable!("the first mount is a cache, not {kind:?}"),
            })
        };
        assert_eq!(cache(|cache| cache.id = "b".into()), only_identity);
        assert_eq!(cache(|cache| cache.sharing = CacheSharing::Locked), only_identity);
        assert_eq!(cache(|cache| cache.mode = 0o700), (true, true));
    }

    #[test]
    fn what_may_change_the_result_is_in_the_key() {
        let both = (true, true);
        assert_eq!(changed(|exec| exec.args.push("-j".into())), both);
        assert_eq!(changed(|exec| exec.env.push("B=2".to_owned().into())), both);
        assert_eq!(changed(|exec| exec.cwd = "/w".into()), both);
        assert_eq!(changed(|exec| exec.user = "5".into()), both);
        assert_eq!(changed(|exec| exec.hostname = Some("h".into())), both);
        assert_eq!(changed(|exec| exec.network = NetworkMode::None), both);
        assert_eq!(changed(|exec| exec.security = SecurityMode::Insecure), both);
        assert_eq!(changed(|exec| exec.extra_hosts[0].name = "other".into()), both);
        assert_eq!(changed(|exec| exec.mounts[0].target = "/d".into()), both);
    }
}
