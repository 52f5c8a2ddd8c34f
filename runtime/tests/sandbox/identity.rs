//! Who the process is, and what it may do.

use runtime::{Capabilities, Identity, Kernel, Security, users};

use crate::world::{World, alone, check, check_with};

const SHOW: &str = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr '\\t' ' '";

#[test]
fn root_has_dockers_fourteen_capabilities_and_its_filter() {
    check(
        SHOW,
        "Uid: 0 0 0 0\nGid: 0 0 0 0\nGroups:  \nCapInh: 0000000000000000\nCapPrm: 00000000a80425fb\nCapEff: 00000000a80425fb\n\
         CapBnd: 00000000a80425fb\nCapAmb: 0000000000000000\nNoNewPrivs: 0\nSeccomp: 2\n",
    );
}

#[test]
fn other_users_have_none_but_may_get_them() {
    check_with(
        SHOW,
        |spec| spec.identity = Identity { uid: 1000, gid: 1001, groups: vec![10, 29] },
        "Uid: 1000 1000 1000 1000\nGid: 1001 1001 1001 1001\nGroups: 10 29 \nCapInh: 0000000000000000\nCapPrm: 0000000000000000\n\
         CapEff: 0000000000000000\nCapBnd: 00000000a80425fb\nCapAmb: 0000000000000000\nNoNewPrivs: 0\nSeccomp: 2\n",
    );
}

#[test]
fn insecure_is_all_that_the_caller_has() {
    let all = format!("{:016x}", Kernel::probe().unwrap().capabilities.bits());
    check_with(
        SHOW,
        |spec| spec.security = Security::insecure(),
        &format!(
            "Uid: 0 0 0 0\nGid: 0 0 0 0\nGroups:  \nCapInh: 0000000000000000\nCapPrm: {all}\nCapEff: {all}\nCapBnd: {all}\n\
             CapAmb: 0000000000000000\nNoNewPrivs: 0\nSeccomp: 0\n"
        ),
    );
}

#[test]
fn capabilities_and_new_privileges_can_be_taken_away() {
    check_with(
        "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status | tr '\\t' ' '",
        |spec| {
            spec.security.capabilities = Capabilities::from_name("CHOWN").unwrap();
            spec.security.no_new_privileges = true;
        },
        "CapEff: 0000000000000001\nCapBnd: 0000000000000001\nNoNewPrivs: 1\n",
    );
}

/// Lines 49 and 50 of the specification, from inside.
#[test]
fn users_are_who_the_images_files_say() {
    let passwd = "root:x:0:0::/root:\napp:x:1000:1001::/home/app:\n";
    let group = "wheel:x:10:root,app\napp:x:1001:\n";
    for (name, expected) in [
        ("", "0\n0\n0 10\n"),
        ("app", "1000\n1001\n1001 10\n"),
        ("app:wheel", "1000\n10\n10\n"),
        ("4242", "4242\n0\n0\n"),
    ] {
        let user = users::resolve(name, passwd, group).unwrap();
        check_with("id -u; id -g; id -G", |spec| spec.identity = user.identity, expected);
    }
}

#[test]
fn the_number_that_the_kernel_takes_for_none_is_refused() {
    let world = World::new();
    for identity in [
        Identity { uid: u32::MAX, ..Identity::default() },
        Identity { gid: u32::MAX, ..Identity::default() },
        Identity { groups: vec![u32::MAX], ..Identity::default() },
    ] {
        let mut spec = world.spec("id");
        spec.identity = identity;
        let err = world.launcher.create(spec).unwrap_err();
        assert_eq!(err.to_string(), "invalid user or group: 4294967295 is the number of nobody");
    }
}

/// The kernel marks shared memory as untouchable when somebody in it becomes another user.
#[test]
fn another_user_inside_does_not_change_the_launcher() {
    alone("identity::another_user_inside_does_not_change_the_launcher", become_another_user);
}

fn become_another_user() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new();
    let mut spec = world.spec("true");
    spec.identity = Identity { uid: 1000, gid: 1000, groups: Vec::new() };
    let before = rustix::process::dumpable_behavior().unwrap();
    world.run(spec);
    assert_eq!(rustix::process::dumpable_behavior().unwrap(), before);
    assert_eq!(std::fs::metadata("/proc/self/environ").unwrap().uid(), 0);
}
