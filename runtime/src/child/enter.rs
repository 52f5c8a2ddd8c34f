//! The order in which a process becomes a sandbox.

use std::ffi::c_int;

use rustix::process::{chdir, ioctl_tiocsctty, setrlimit, setsid, umask};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::report::{During, Report, Result, Step};
use super::{command, identity, mounts};
use crate::nest::Birth;
use crate::plan::{NetworkPlan, Plan, Streams};
use crate::syscall;

/// The permission bits that files of the process do not have, as in every Docker container.
const UMASK: u32 = 0o022;
/// The first descriptor that is not a standard stream.
const FIRST_OTHER: i32 = 3;

/// Becomes the sandbox and runs its program. Returns only on failure, which is then in the report.
pub(crate) fn run(plan: &Plan, report: &Report, birth: Birth) -> c_int {
    let Err(failure) = become_sandbox(plan, birth);
    report.set(failure);
    // Nobody looks at the code: the report is there.
    1
}

fn become_sandbox(plan: &Plan, birth: Birth) -> Result<std::convert::Infallible> {
    umask(rustix::fs::Mode::empty());
    join_group(plan, birth)?;
    syscall::join_new_keyring().during(Step::Keyring)?;
    // Before the mounts, because sysfs shows the network of the process that mounts it.
    join_network(&plan.network)?;
    mounts::enter_root(plan)?;
    mounts::attach_all(plan)?;
    mounts::seal(plan)?;
    umask(rustix::fs::Mode::from_raw_mode(UMASK));
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.as_bytes()).during(Step::HostName)?;
    }
    take_streams(&plan.streams)?;
    // Before anything is resolved for the program: `/proc/self/fd` must lead nowhere outside, neither as a working directory nor as a program.
    close_all_others().during(Step::Descriptors)?;
    chdir(plan.cwd.as_c_str()).during(Step::WorkingDirectory)?;
    for (index, (resource, limit)) in plan.rlimits.iter().enumerate() {
        setrlimit(*resource, *limit).during_each(Step::Rlimit, index)?;
    }
    identity::assume(&plan.identity)?;
    Err(command::execute(&plan.command))
}

/// Joins the control group, of which the process then sees nothing above.
fn join_group(plan: &Plan, birth: Birth) -> Result<()> {
    let Some(group) = &plan.group else { return Ok(()) };
    let unified = group.unified_entrance().filter(|_| birth == Birth::Outside);
    for (index, entrance) in group.entrances().iter().chain(unified).enumerate() {
        rustix::io::write(entrance, b"0").during_each(Step::JoinGroup, index)?;
    }
    // Only now: the root of the new namespace is where the process is when it is made.
    syscall::unshare(UnshareFlags::NEWCGROUP).during(Step::GroupNamespace)
}

fn join_network(network: &NetworkPlan) -> Result<()> {
    match network {
        NetworkPlan::Host => Ok(()),
        NetworkPlan::Namespace(fd) => {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(fd), Some(LinkNameSpaceType::Network))
                .during(Step::JoinNetwork)
        }
        NetworkPlan::New => syscall::raise_loopback().during(Step::Loopback),
    }
}

/// Makes the streams of the plan the standard ones, in a session of the process' own.
fn take_streams(streams: &Streams) -> Result<()> {
    setsid().during(Step::Session)?;
    dup2_stdin(&streams.stdin).during_each(Step::Streams, 0)?;
    dup2_stdout(&streams.stdout).during_each(Step::Streams, 1)?;
    dup2_stderr(&streams.stderr).during_each(Step::Streams, 2)?;
    if streams.is_terminal {
        ioctl_tiocsctty(&streams.stdin).during(Step::Terminal)?;
    }
    Ok(())
}

fn close_all_others() -> rustix::io::Result<()> {
    #[expect(unsafe_code, reason = "closes descriptors by number")]
    // SAFETY: the table of descriptors is this process' own copy. From here on only the standard streams are used; the owners in the shared memory belong to
    // the process that waits, whose table is another.
    unsafe {
        syscall::close_range(FIRST_OTHER, i32::MAX)
    }
}
