//! The kernel's own file systems in a sandbox, and what of them is masked.

use std::ffi::{CStr, CString};
use std::fs;
use std::sync::Arc;

use rustix::mount::MountAttrFlags;

use super::mounts::{MountPlan, MountSourcePlan};
use super::points::MountPoint;
use crate::error::CreateError;
use crate::kernel::Kernel;
use crate::spec::SystemPaths;

/// What Docker masks: what tells about the host, and what leaks keys.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// What Docker makes read-only: what changes the host.
pub(super) const READ_ONLY: &[&CStr] = &[c"/proc/bus", c"/proc/fs", c"/proc/irq", c"/proc/sys", c"/proc/sysrq-trigger"];
/// Where each processor has a directory, of which Docker masks one part.
const PROCESSORS: &str = "/sys/devices/system/cpu";
const PROCESSOR_PART: &str = "thermal_throttle";

/// Returns the file systems that can be mounted only by the process itself, since they show its namespaces.
pub(super) fn mounts(kernel: &Kernel, paths: SystemPaths) -> Result<Vec<MountPlan>, CreateError> {
    let common =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let shown = match paths {
        SystemPaths::Masked => common | MountAttrFlags::MOUNT_ATTR_RDONLY,
        SystemPaths::Open => common,
    };
    let mut wanted = vec![("/proc", c"proc", common), ("/sys", c"sysfs", shown), ("/dev/mqueue", c"mqueue", common)];
    if kernel.cgroup2 {
        wanted.push(("/sys/fs/cgroup", c"cgroup2", shown));
    }
    let plan = |(path, kind, attributes)| {
        let point = MountPoint::standard(path)?;
        Ok(MountPlan { point, source: MountSourcePlan::FileSystem { kind, attributes } })
    };
    wanted.into_iter().map(plan).collect()
}

/// Returns the paths to mask, which are the same for every sandbox. Those that this kernel does not have are passed over later.
pub(crate) fn masked() -> Arc<[CString]> {
    let fixed = MASKED.iter().map(|path| (*path).to_owned());
    let processors = fs::read_dir(PROCESSORS).into_iter().flatten().flatten();
    let parts = processors.map(|dir| dir.path().join(PROCESSOR_PART)).filter(|part| part.exists());
    let parts = parts.map(|part| part.to_string_lossy().into_owned());
    fixed.chain(parts).filter_map(|path| CString::new(path).ok()).collect()
}
