//! Who the process is, and what it may do.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::report::{During, Result, Step};
use crate::plan::IdentityPlan;
use crate::syscall;

/// Gives up the identity and the rights of the process that started this one.
pub(super) fn assume(identity: &IdentityPlan) -> Result<()> {
    if identity.no_new_privileges {
        set_no_new_privs(true).during(Step::NoNewPrivileges)?;
    }
    drop_all_but(identity.capabilities).during(Step::BoundingSet)?;
    clear_ambient_capability_set().during(Step::BoundingSet)?;
    // Before the capabilities go: without CAP_SYS_ADMIN, only a process with no_new_privs may have a filter, which Docker's default is without.
    if let Some(filter) = &identity.filter {
        syscall::install_filter(filter.instructions()).during(Step::Filter)?;
    }
    set_thread_groups(&identity.groups).during(Step::Groups)?;
    let (uid, gid) = (identity.uid, identity.gid);
    set_thread_res_gid(gid, gid, gid).during(Step::Group)?;
    set_thread_res_uid(uid, uid, uid).during(Step::User)?;
    let (effective, permitted) = (identity.effective, identity.effective);
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective, permitted, inheritable }).during(Step::Capabilities)
}

/// Makes sure that no program, not even a set-user-ID one, gets capabilities but these.
fn drop_all_but(kept: CapabilitySet) -> rustix::io::Result<()> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The first that the kernel does not know; numbers are given out without gaps.
            Err(Errno::INVAL) => break,
            Err(err) => return Err(err),
        }
    }
    Ok(())
}
