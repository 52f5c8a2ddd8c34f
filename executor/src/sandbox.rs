//! What the sandboxes of build steps and of containers have in common: the files that every container finds, who it runs as, and its usual variables.

use layer::Stack;
use llb::ExtraHost;
use oci::Digest;
use runtime::users::{self, User};
use runtime::{Mount, Rlimit, Spec};

use crate::ExecError;
use crate::file::read_text;
use crate::network::{Entered, HOST_GATEWAY};

/// The `PATH` of a process whose image does not set one.
pub const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Limits what the processes of a sandbox may use.
pub fn limit(spec: &mut Spec, limits: &llb::Limits) -> Result<(), ExecError> {
    if let Some(bytes) = limits.shm_bytes {
        spec.shm_bytes = bytes;
    }
    let rlimits = limits.ulimits.iter().map(|limit| {
        let resource = limit.name.parse().map_err(|source| ExecError::Ulimit { source })?;
        Ok(Rlimit { resource, soft: limit.soft, hard: limit.hard })
    });
    spec.rlimits = rlimits.collect::<Result<_, ExecError>>()?;
    spec.cgroup_parent = limits.cgroup_parent.clone();
    spec.limits = runtime::cgroup::Limits {
        memory_bytes: limits.memory_bytes,
        memory_and_swap_bytes: limits.memory_and_swap_bytes,
        cpu_quota_microseconds: limits.cpu_quota_microseconds,
        cpu_period_microseconds: limits.cpu_period_microseconds,
        cpu_shares: limits.cpu_shares,
        cpuset_cpus: limits.cpuset_cpus.clone(),
        cpuset_mems: limits.cpuset_mems.clone(),
        pids: limits.pids,
    };
    Ok(())
}

/// Returns who `user[:group]` is in an image.
pub fn resolve_user(stack: &Stack, user: &str) -> Result<User, ExecError> {
    let passwd = read_text(stack, "/etc/passwd")?.unwrap_or_default();
    let group = read_text(stack, "/etc/group")?.unwrap_or_default();
    Ok(users::resolve(user, &passwd, &group)?)
}

/// Adds `PATH` and `HOME` where an environment lacks them.
pub fn complete_env(env: &mut Vec<String>, home: &str) {
    let mut add = |name: &str, value: &str| {
        let is_set = env.iter().any(|variable| variable.split_once('=').is_some_and(|(set, _)| set == name));
        if !is_set {
            env.push(format!("{name}={value}"));
        }
    };
    add("PATH", PATH_DEFAULT);
    add("HOME", home);
}

/// Returns `/etc/hosts` and `/etc/resolv.conf` of a step as mounts. `hosts` are names with their addresses.
pub(crate) fn step_files(hostname: &str, hosts: &[ExtraHost], entered: &Entered) -> [Mount; 2] {
    let text = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    network_files(text, hosts, entered)
}

/// Returns the same of a container.
pub fn container_files(hostname: &str, hosts: &[ExtraHost], entered: &Entered) -> [Mount; 2] {
    network_files(entered.container_hosts(hostname), hosts, entered)
}

fn network_files(mut text: String, hosts: &[ExtraHost], entered: &Entered) -> [Mount; 2] {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for ExtraHost { name, address } in hosts {
        let gateway = (address == HOST_GATEWAY).then(|| entered.gateway().to_string());
        text.push_str(&format!("{}\t{name}\n", gateway.as_ref().unwrap_or(address)));
    }
    [Mount::text("/etc/hosts", text), Mount::text("/etc/resolv.conf", entered.resolv_conf())]
}

/// Returns the digest that stands for a snapshot whose layers have these digests, the lowest first: that of the layer above covers those beneath.
pub(crate) fn chain_digest(layers: impl IntoIterator<Item = Digest>) -> Digest {
    let mut chain = Digest::of(b"kiln snapshot 1");
    for layer in layers {
        let mut hasher = oci::Hasher::new();
        hasher.field(chain.as_bytes());
        hasher.field(layer.as_bytes());
        chain = hasher.finish();
    }
    chain
}
