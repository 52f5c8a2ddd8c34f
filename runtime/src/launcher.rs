//! From a specification to a process.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use crate::capabilities::Capabilities;
use crate::cgroup::Group;
use crate::child::{self, Report};
use crate::error::{CreateError, StartError, Warning};
use crate::explain::explain;
use crate::kernel::{Kernel, KernelError};
use crate::later::Later;
use crate::nest::{Nest, SpawnError};
use crate::plan::{self, Common, Ends, NetworkPlan, Plan, assemble};
use crate::running::{Remains, Running};
use crate::seccomp::{Architecture, Filter, Profile, Target};
use crate::spec::{Seccomp, Spec, SystemPaths};
use crate::syscall;

/// What all sandboxes of a process have in common: what the kernel can do, filters, and the namespace that makes them end with the process.
///
/// One is enough, for any number of threads. When it is dropped and the last sandbox has ended, nothing is left of it.
#[derive(Debug)]
pub struct Launcher {
    kernel: Kernel,
    filters: Mutex<BTreeMap<Capabilities, Arc<Filter>>>,
    nest: Mutex<Option<Arc<Nest>>>,
    /// The paths that are masked.
    masked: Arc<[CString]>,
    /// The control group of all sandboxes without limits, once it was needed; `Some(None)` where none can be made.
    group: Mutex<Option<Option<Arc<Group>>>>,
    /// What is left of sandboxes that have ended.
    remains: Arc<Remains>,
    /// Whether others of the same user may look into this process, and it leaves a core file.
    dumpable: bool,
}

impl Launcher {
    /// Asks what the kernel can do, as [`Kernel::probe`] says: who may not need a sandbox calls this late.
    pub fn new() -> Result<Self, KernelError> {
        Ok(Self::with_kernel(Kernel::probe()?))
    }

    /// Uses what is known of the kernel.
    pub fn with_kernel(kernel: Kernel) -> Self {
        let dumpable = syscall::is_dumpable();
        Self {
            kernel,
            filters: Mutex::default(),
            nest: Mutex::default(),
            masked: plan::masked(),
            group: Mutex::default(),
            remains: Arc::new(Remains::new()),
            dumpable,
        }
    }

    /// Returns what is known of the kernel, for mounts that have to do with no sandbox.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Returns what drops values that nobody waits for; all are dropped when this is.
    pub fn later(&self) -> &Later {
        self.remains.later()
    }

    /// Prepares a sandbox: all of its mounts are made, but attached nowhere.
    ///
    /// The call blocks for about a millisecond. What is prepared vanishes when it is dropped.
    pub fn create(&self, spec: Spec) -> Result<Created, CreateError> {
        let filter = match spec.security.seccomp {
            Seccomp::Docker => Some(self.filter(spec.security.capabilities)?),
            Seccomp::Unconfined => None,
        };
        let nest = self.nest()?;
        let group = self.group(&spec)?;
        let remains = Arc::clone(&self.remains);
        let common =
            Common { kernel: &self.kernel, filter, masked: Arc::clone(&self.masked), group, remains: &remains };
        let (plan, ends, warnings) = assemble(common, spec)?;
        Ok(Created { plan, ends, nest, warnings, remains, dumpable: self.dumpable })
    }

    /// Returns the filter for capabilities; it is made once.
    fn filter(&self, capabilities: Capabilities) -> Result<Arc<Filter>, CreateError> {
        let capabilities = capabilities.and(self.kernel.capabilities);
        let mut filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(filter) = filters.get(&capabilities) {
            return Ok(Arc::clone(filter));
        }
        let architecture =
            Architecture::host().ok_or(CreateError::Architecture { architecture: std::env::consts::ARCH })?;
        let target = Target { architecture, kernel: self.kernel.version, capabilities };
        let filter = Filter::new(&Profile::docker(), &target).map_err(|source| CreateError::Filter { source })?;
        let filter = Arc::new(filter);
        filters.insert(capabilities, Arc::clone(&filter));
        Ok(filter)
    }

    /// Returns the control group for a sandbox: one of its own if it has limits, else that which says what devices can be opened.
    fn group(&self, spec: &Spec) -> Result<Option<Arc<Group>>, CreateError> {
        let confine_devices = spec.security.system_paths == SystemPaths::Masked;
        if !spec.limits.is_empty() || spec.cgroup_parent.is_some() {
            let parent = spec.cgroup_parent.as_deref();
            let group = Group::limited(&self.kernel.hierarchies, parent, &spec.limits, confine_devices)?;
            return Ok(Some(Arc::new(group)));
        }
        if !confine_devices {
            return Ok(None);
        }
        let mut group = self.group.lock().unwrap_or_else(PoisonError::into_inner);
        let group = group.get_or_insert_with(|| Group::for_devices(&self.kernel.hierarchies).map(Arc::new));
        Ok(group.clone())
    }

    /// Returns the namespace for sandboxes, and makes it where it is missing or was killed.
    fn nest(&self) -> Result<Arc<Nest>, CreateError> {
        let mut current = self.nest.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some(nest) if nest.is_alive() => Ok(Arc::clone(nest)),
            _ => {
                let nest = Arc::new(Nest::new().map_err(|source| CreateError::Nest { source })?);
                *current = Some(Arc::clone(&nest));
                Ok(nest)
            }
        }
    }
}

/// A sandbox that is prepared and does not run yet.
pub struct Created {
    plan: Plan,
    ends: Ends,
    nest: Arc<Nest>,
    warnings: Vec<Warning>,
    remains: Arc<Remains>,
    dumpable: bool,
}

impl fmt::Debug for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Created").field("command", &self.plan.command.name).finish_non_exhaustive()
    }
}

impl Created {
    /// Returns what the sandbox will run without although it was asked for.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Starts the program.
    ///
    /// The call blocks for about a millisecond, until the program runs or has turned out not to. Any thread may call it and may end afterwards: the sandbox
    /// ends with the process, not with the thread.
    pub fn start(self) -> Result<Running, StartError> {
        let Self { plan, ends, nest, remains, dumpable, .. } = self;
        let group = plan.group.clone();
        let shared = Arc::new((plan, Report::default()));
        let spawned = spawn(&nest, Arc::clone(&shared));
        if dumpable {
            // The kernel took this away if the new process, with our memory, became another user.
            syscall::set_dumpable();
        }
        let running = Running::new(spawned?, nest, group, ends, Arc::clone(&remains));
        let (plan, report) = &*shared;
        match report.failure() {
            None => {
                // Whoever reads what the process writes waits until nobody else has the other end.
                if let Some((plan, _)) = Arc::into_inner(shared) {
                    drop(plan.streams);
                    remains.add((plan.root, plan.mounts, plan.sealed, plan.leftovers));
                }
                Ok(running)
            }
            Some(failure) => {
                // Reaped first: until then, the root is in use.
                drop(running);
                Err(explain(plan, failure))
            }
        }
    }
}

/// Starts the process; returns when it runs its program or has failed.
fn spawn(nest: &Nest, shared: Arc<(Plan, Report)>) -> Result<OwnedFd, StartError> {
    let group = shared.0.group.clone();
    let birthplace = group.as_ref().and_then(|group| group.birthplace());
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if shared.0.group.is_none() {
        flags |= libc::CLONE_NEWCGROUP;
    }
    if matches!(shared.0.network, NetworkPlan::New) {
        flags |= libc::CLONE_NEWNET;
    }
    #[expect(unsafe_code, reason = "runs a process that shares this one's memory")]
    // SAFETY: `child::run` keeps to what is asked of it.
    let spawned = unsafe { nest.spawn(flags, birthplace, move |birth| child::run(&shared.0, &shared.1, birth)) };
    spawned.map_err(|err| match err {
        SpawnError::Nest(source) => StartError::Nest { source },
        SpawnError::Clone(source) => StartError::Clone { source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_can_be_moved_to_another_thread() {
        fn check<T: Send + 'static>() {}
        check::<Spec>();
        check::<Created>();
        check::<Running>();
        check::<Arc<Launcher>>();
    }
}
