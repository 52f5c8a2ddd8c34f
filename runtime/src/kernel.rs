//! What the running kernel can do: the one place that asks.

use std::io;

use rustix::fs::statfs;
use rustix::system::uname;
use rustix::thread::{CapabilitySet, capabilities};

use crate::capabilities::Capabilities;
use crate::cgroup::Hierarchies;
use crate::{memory, overlay};

/// The oldest kernel that Kiln runs on: from 5.12 a mount's attributes can be changed with all that is mounted beneath it.
pub const VERSION_MIN: (u32, u32) = (5, 12);

/// The first kernel that takes mounts that are attached nowhere for layers, and clones parts of them.
const VERSION_WITH_DETACHED_MOUNTS: (u32, u32) = (6, 15);
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// What the running kernel can do, and what Kiln may do with it.
///
/// All fields are public so that a test can take away what this machine's kernel has and so run what an older one would.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The first two numbers of the version.
    pub version: (u32, u32),
    /// What can be done with mounts that are attached nowhere.
    pub mounts: MountSupport,
    /// Whether `/sys/fs/cgroup` is the one hierarchy of control groups version 2.
    pub cgroup2: bool,
    /// Where control groups can be made.
    pub hierarchies: Hierarchies,
    /// What this process may do, and so the most that it can leave to others.
    pub capabilities: Capabilities,
}

/// What can be done with mounts that are attached nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountSupport {
    /// All: they can be layers, and parts of them can be mounted (Linux 6.15).
    Detached,
    /// They can be attached. For the rest, a mount namespace is made each time, to attach them in.
    Attached,
}

/// Why this machine cannot run a sandbox.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel is too old.
    #[error("the kernel is Linux {release}, which is too old: sandboxes need Linux {}.{} or later", VERSION_MIN.0, VERSION_MIN.1)]
    TooOld {
        /// What the kernel says its version is.
        release: String,
    },
    /// The process is not root, or is root without root's rights.
    #[error(
        "the process lacks the capability CAP_SYS_ADMIN, without which there is no mount and no namespace (run Kiln as root; in a container, give it `--privileged`)"
    )]
    Privileges,
    /// The process' own rights cannot be read.
    #[error("cannot read the capabilities of the process")]
    Capabilities {
        /// What the kernel says.
        source: io::Error,
    },
}

impl Kernel {
    /// Asks the running kernel. On one that is older than 6.15, this tries out what it can do, which takes about half a millisecond.
    pub fn probe() -> Result<Self, KernelError> {
        let release = uname().release().to_string_lossy().into_owned();
        let version = parse_version(&release).unwrap_or_default();
        if version < VERSION_MIN {
            return Err(KernelError::TooOld { release });
        }
        let own = capabilities(None).map_err(|err| KernelError::Capabilities { source: err.into() })?;
        if !own.effective.contains(CapabilitySet::SYS_ADMIN) {
            return Err(KernelError::Privileges);
        }
        // Distributions add to their older kernels what newer ones have, so there the version does not tell.
        let detached = version >= VERSION_WITH_DETACHED_MOUNTS
            || (overlay::accepts_detached_layers() && memory::clones_detached_parts());
        let mounts = if detached { MountSupport::Detached } else { MountSupport::Attached };
        let cgroup2 = statfs("/sys/fs/cgroup").is_ok_and(|found| found.f_type == CGROUP2_MAGIC);
        let hierarchies = Hierarchies::find();
        Ok(Self { version, mounts, cgroup2, hierarchies, capabilities: Capabilities::from_set(own.permitted) })
    }
}

/// Reads `6.1` from the likes of `6.1.0-28-cloud-amd64`.
fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_every_distribution_are_understood() {
        assert_eq!(parse_version("6.1.0-28-cloud-amd64"), Some((6, 1)));
        assert_eq!(parse_version("5.14.0-503.11.1.el9_5.x86_64"), Some((5, 14)));
        assert_eq!(parse_version("7.0-rc1"), Some((7, 0)));
        assert_eq!(parse_version("unknown"), None);
    }

    /// What is assumed of a version and what is tried out must agree, wherever this runs.
    #[test]
    fn the_version_tells_what_can_be_done_with_mounts() {
        let Ok(kernel) = Kernel::probe() else { panic!("this test needs root's rights") };
        let tried = overlay::accepts_detached_layers() && memory::clones_detached_parts();
        assert_eq!(kernel.mounts == MountSupport::Detached, tried);
        assert!(tried || kernel.version < VERSION_WITH_DETACHED_MOUNTS);
    }

    #[test]
    fn refusals_say_what_to_do() {
        let old = KernelError::TooOld { release: "4.18.0-80.el8".into() };
        assert_eq!(
            old.to_string(),
            "the kernel is Linux 4.18.0-80.el8, which is too old: sandboxes need Linux 5.12 or later"
        );
    }
}
