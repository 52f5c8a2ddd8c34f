//! From a specification to a plan.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{Gid, Uid};
use rustix::mount::MountAttrFlags;
use rustix::process::{Resource, Rlimit as KernelRlimit, getrlimit};
use rustix::thread::CapabilitySet;

use super::command::{self, CommandPlan, c_string};
use super::devices::{self, Devices};
use super::mounts::{MountPlan, MountSourcePlan, points_in_root, sort};
use super::points::{MountPoint, PointKind};
use super::sources::Planner;
use super::streams::{self, Ends, Streams};
use super::{root, system};
use crate::capabilities::Capabilities;
use crate::cgroup::{Group, mount_view};
use crate::error::{CreateError, Warning};
use crate::kernel::Kernel;
use crate::running::Remains;
use crate::seccomp::Filter;
use crate::spec::{Access, Identity, Network, Rlimit, Security, Spec, SystemPaths};
use crate::syscall::set_attributes_of_tree;

/// All that a sandbox is made of.
pub(crate) struct Plan {
    pub(crate) root: OwnedFd,
    pub(crate) root_read_only: bool,
    pub(crate) mounts: Vec<MountPlan>,
    pub(crate) sealed: Option<SealedPaths>,
    /// The control group that the process joins, and that has to live as long as it.
    pub(crate) group: Option<Arc<Group>>,
    pub(crate) network: NetworkPlan,
    pub(crate) hostname: Option<String>,
    pub(crate) streams: Streams,
    pub(crate) cwd: CString,
    pub(crate) rlimits: Vec<(Resource, KernelRlimit)>,
    pub(crate) identity: IdentityPlan,
    pub(crate) command: CommandPlan,
    /// Mounts that the others were made of. The kernel takes its time to let go of them, so that is not done before the process runs.
    pub(crate) leftovers: Vec<OwnedFd>,
}

/// What the process is not to see or to change.
pub(crate) struct SealedPaths {
    /// `/dev/null`, which is mounted over masked files.
    pub(crate) null: OwnedFd,
    /// What keeps other devices from being opened where no control group does.
    pub(crate) devices: Option<SealedDevices>,
    pub(crate) masked: Arc<[CString]>,
    pub(crate) read_only: &'static [&'static CStr],
}

/// A `/dev` in which no other nodes can be opened.
pub(crate) struct SealedDevices {
    /// `/dev`.
    pub(crate) mount: OwnedFd,
    /// The devices in it.
    pub(crate) nodes: Vec<OwnedFd>,
}

/// Which network the process is in.
pub(crate) enum NetworkPlan {
    Host,
    Namespace(OwnedFd),
    /// A new namespace, which the process begins in.
    New,
}

/// Who the process is, and what it may do.
pub(crate) struct IdentityPlan {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    pub(crate) groups: Vec<Gid>,
    /// The most that the process and its descendants can have.
    pub(crate) capabilities: CapabilitySet,
    /// What it has.
    pub(crate) effective: CapabilitySet,
    pub(crate) no_new_privileges: bool,
    pub(crate) filter: Option<Arc<Filter>>,
}

/// What is the same for many sandboxes.
pub(crate) struct Common<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) filter: Option<Arc<Filter>>,
    pub(crate) masked: Arc<[CString]>,
    pub(crate) group: Option<Arc<Group>>,
    pub(crate) remains: &'a Remains,
}

/// A plan, the ends of the streams that the caller gets, and what could not be had.
pub(crate) type Assembled = (Plan, Ends, Vec<Warning>);

/// Prepares everything; `common` is what is the same for every sandbox.
pub(crate) fn assemble(common: Common<'_>, spec: Spec) -> Result<Assembled, CreateError> {
    let Common { kernel, filter, masked, group, remains } = common;
    let command = command::plan(spec.args, spec.env)?;
    if !spec.cwd.is_absolute() {
        return Err(CreateError::WorkingDirectory { path: spec.cwd });
    }
    let cwd = c_string(spec.cwd.into_os_string(), "a working directory")?;
    let (rlimits, warnings) = plan_rlimits(kernel, spec.rlimits)?;
    let identity = plan_identity(kernel, spec.identity, &spec.security, filter)?;

    let paths = spec.security.system_paths;
    let mut devices = devices::make(paths)?;
    let terminals = devices::make_terminals()?;
    let (streams, ends) = streams::open(spec.stdio, &devices, &terminals, identity.uid)?;
    let confined = group.as_ref().is_some_and(|group| group.confines_devices());
    let (sealed, attributes) = match paths {
        SystemPaths::Masked if confined => (Some(mask(&devices, masked)?), MountAttrFlags::empty()),
        SystemPaths::Masked => (Some(seal(&mut devices, masked)?), MountAttrFlags::MOUNT_ATTR_NODEV),
        SystemPaths::Open => (None, MountAttrFlags::empty()),
    };
    let mut mounts = system::mounts(kernel, paths)?;
    if let Some(view) =
        mount_view(kernel, group.as_deref(), paths).map_err(|source| CreateError::GroupView { source })?
    {
        let point = MountPoint::standard("/sys/fs/cgroup")?;
        mounts.push(MountPlan { point, source: MountSourcePlan::Detached(view) });
    }
    mounts.extend(plan_devices(devices, terminals, spec.shm_bytes)?);
    if streams.is_terminal {
        mounts.push(plan_console(&streams)?);
    }
    let mut planner = Planner::new(kernel, attributes);
    spec.mounts.into_iter().try_for_each(|mount| planner.add(mount))?;
    let (asked_for, mut leftovers) = planner.finish()?;
    mounts.extend(asked_for);
    sort(&mut mounts);

    // Layers that are still mounted as what another sandbox has written must not be in a second mount.
    remains.wait_for_mounts();
    let root = root::mount(kernel, spec.root, &points_in_root(&mounts), &mut leftovers)?;
    set_attributes_of_tree(&root, attributes).map_err(|err| CreateError::RootAttributes { source: err.into() })?;
    let plan = Plan {
        root,
        root_read_only: spec.root_access == Access::ReadOnly,
        mounts,
        sealed,
        group,
        network: plan_network(spec.network),
        hostname: spec.hostname,
        streams,
        cwd,
        rlimits,
        identity,
        command,
        leftovers,
    };
    Ok((plan, ends, warnings))
}

fn plan_network(network: Network) -> NetworkPlan {
    match network {
        Network::Host => NetworkPlan::Host,
        Network::Namespace(fd) => NetworkPlan::Namespace(fd),
        Network::None => NetworkPlan::New,
    }
}

fn mask(devices: &Devices, masked: Arc<[CString]>) -> Result<SealedPaths, CreateError> {
    Ok(SealedPaths { null: devices.null()?, devices: None, masked, read_only: system::READ_ONLY })
}

/// The same, and no other devices can be opened.
fn seal(devices: &mut Devices, masked: Arc<[CString]>) -> Result<SealedPaths, CreateError> {
    let mount = devices.mount.try_clone().map_err(|source| CreateError::Device { name: "/dev", source })?;
    let sealed = mask(devices, masked)?;
    let nodes = std::mem::take(&mut devices.nodes);
    Ok(SealedPaths { devices: Some(SealedDevices { mount, nodes }), ..sealed })
}

/// Plans `/dev` and what is mounted in it.
fn plan_devices(devices: Devices, terminals: OwnedFd, shm_bytes: u64) -> Result<Vec<MountPlan>, CreateError> {
    let shm = devices::make_shared_memory(shm_bytes)?;
    let wanted = [("/dev", devices.mount), ("/dev/pts", terminals), ("/dev/shm", shm)];
    let plan =
        |(path, mount)| Ok(MountPlan { point: MountPoint::standard(path)?, source: MountSourcePlan::Detached(mount) });
    wanted.into_iter().map(plan).collect()
}

/// Plans the terminal's other name, which programs write to that have lost their own.
fn plan_console(streams: &Streams) -> Result<MountPlan, CreateError> {
    let inside = streams.stdin.try_clone().map_err(|source| CreateError::Terminal { source })?;
    let point = MountPoint { kind: PointKind::File, ..MountPoint::standard("/dev/console")? };
    Ok(MountPlan { point, source: MountSourcePlan::Attached(inside) })
}

fn plan_identity(
    kernel: &Kernel,
    identity: Identity,
    security: &Security,
    filter: Option<Arc<Filter>>,
) -> Result<IdentityPlan, CreateError> {
    let Identity { uid, gid, groups } = identity;
    // The kernel takes the highest number for "leave it as it is", which would be root.
    if [uid, gid].iter().chain(&groups).any(|id| *id == u32::MAX) {
        return Err(CreateError::Identity);
    }
    let capabilities = security.capabilities.and(kernel.capabilities);
    let effective = if uid == 0 { capabilities } else { Capabilities::NONE };
    Ok(IdentityPlan {
        uid: Uid::from_raw(uid),
        gid: Gid::from_raw(gid),
        groups: groups.into_iter().map(Gid::from_raw).collect(),
        capabilities: capabilities.as_set(),
        effective: effective.as_set(),
        no_new_privileges: security.no_new_privileges,
        filter,
    })
}

type PlannedRlimits = (Vec<(Resource, KernelRlimit)>, Vec<Warning>);

/// Lowers limits to what this process may set.
fn plan_rlimits(kernel: &Kernel, rlimits: Vec<Rlimit>) -> Result<PlannedRlimits, CreateError> {
    const UNLIMITED: u64 = u64::MAX;
    let may_raise = Capabilities::from_name("SYS_RESOURCE").is_some_and(|it| kernel.capabilities.contains(it));
    let (mut planned, mut warnings) = (Vec::new(), Vec::new());
    for Rlimit { resource, soft, hard } in rlimits {
        let (soft, asked) = (soft.unwrap_or(UNLIMITED), hard.unwrap_or(UNLIMITED));
        if soft > asked {
            return Err(CreateError::Rlimit { resource });
        }
        let possible = if may_raise { UNLIMITED } else { getrlimit(resource.0).maximum.unwrap_or(UNLIMITED) };
        let given = asked.min(possible);
        if given < asked {
            warnings.push(Warning::RlimitLowered { resource, asked: hard, given });
        }
        let limit = |value: u64| Some(value).filter(|value| *value != UNLIMITED);
        planned.push((resource.0, KernelRlimit { current: limit(soft.min(given)), maximum: limit(given) }));
    }
    Ok((planned, warnings))
}
