//! What somebody inside may try, and what comes of it.

use runtime::cgroup::Hierarchies;
use runtime::{Access, Identity, Kernel, Mount, MountSource};

use crate::world::{World, check, check_spec, check_with};

const REFUSED: &str = "refused\n";

/// Checks that a command fails.
#[track_caller]
fn check_fails(command: &str) {
    check(&format!("{{ {command}; }} >/dev/null 2>&1 || echo refused"), REFUSED);
}

#[test]
fn mounts_are_refused() {
    check_fails("mount -t tmpfs tmpfs /etc");
    check_fails("mount -o bind /bin /etc");
    check_fails("mount -o remount,rw /sys");
    check_fails("umount /proc/keys");
    check_fails("umount /dev/shm");
}

#[test]
fn namespaces_are_refused() {
    check_fails("unshare -U true");
    check_fails("unshare -m true");
    check_fails("unshare -n true");
}

#[test]
fn other_devices_can_be_made_but_not_opened() {
    // 1:1 is the host's memory, 1:3 the device of nothing.
    let script = "mknod /mem c 1 1 && mknod /dev/null2 c 1 3 && echo made; cat /mem; echo > /dev/null2; echo > /dev/null && echo fine";
    for world in World::on_every_hierarchy() {
        check_spec(&world, world.spec(script), "made\ncat: can't open '/mem': Operation not permitted\nfine\n");
        let mut spec = world.spec("mknod /volume/mem c 1 1; cat /volume/mem || true");
        spec.mounts.push(volume());
        check_spec(&world, spec, "cat: can't open '/volume/mem': Operation not permitted\n");
    }
}

/// In a container that may not make control groups, Kiln still keeps others' devices shut.
#[test]
fn without_control_groups_no_device_but_those_of_dev_can_be_opened() {
    let world = World::with_kernel(Kernel { hierarchies: Hierarchies::None, ..Kernel::probe().unwrap() });
    check_spec(
        &world,
        world.spec("mknod /mem c 1 1 && mknod /dev/null2 c 1 3 && echo made; cat /mem; echo > /dev/null2; echo > /dev/null && echo fine"),
        "made\ncat: can't open '/mem': Permission denied\n/bin/sh: can't create /dev/null2: Permission denied\nfine\n",
    );
    let mut spec = world.spec("mknod /volume/mem c 1 1; cat /volume/mem || true");
    spec.mounts.push(volume());
    check_spec(&world, spec, "cat: can't open '/volume/mem': Permission denied\n");
}

fn volume() -> Mount {
    let source = MountSource::Tmpfs { size_bytes: None, mode: 0o755 };
    Mount::new("/volume", source, Access::ReadWrite)
}

#[test]
fn the_root_cannot_be_left() {
    check("ls /.. | tr '\\n' ' '", "bin dev etc proc sys ");
    check("chroot / /bin/sh -c 'cd ../../../..; ls | tr \"\\n\" \" \"'", "bin dev etc proc sys ");
    check("ls /proc/1/root/ | tr '\\n' ' '", "bin dev etc proc sys ");
}

#[test]
fn the_launcher_is_not_seen() {
    check("readlink /proc/1/exe; grep -c launcher /proc/1/environ; true", "/bin/busybox\n0\n");
    check_fails("kill -0 2");
}

#[test]
fn an_ordinary_user_can_do_less() {
    let identity = Identity { uid: 1000, gid: 1000, groups: Vec::new() };
    check_with(
        "touch /etc/x 2>&1; chown 0 /tmp/x 2>&1; mknod /tmp/y c 1 3 2>&1; chroot / true 2>&1; true",
        |spec| {
            spec.identity = identity;
            let source = MountSource::Tmpfs { size_bytes: None, mode: 0o1777 };
            spec.mounts.push(Mount::new("/tmp", source, Access::ReadWrite));
            spec.args[2] = "touch /etc/x 2>&1; touch /tmp/x; chown 0 /tmp/x 2>&1; mknod /tmp/y c 1 3 2>&1; chroot / true 2>&1; true".into();
        },
        "touch: /etc/x: Permission denied\nchown: /tmp/x: Operation not permitted\nmknod: /tmp/y: Operation not permitted\n\
         chroot: can't change root directory to '/': Operation not permitted\n",
    );
}

#[test]
fn a_link_in_the_root_does_not_lead_out_of_it() {
    let world = World::new();
    let host = world.layer("host", &["secret"]);
    let layer = world.layer("links", &["out->../../../../../../../../../../../../../../tmp", "abs->/etc"]);
    let (overlay, _) = world.overlay(&[world.base(), layer]);
    let mut spec = crate::world::shell(overlay, "cat /tmp/in /etc/in; ls /tmp");
    spec.mounts = vec![Mount::text("/out/in", "inside\n"), Mount::text("/abs/in", "too\n")];
    let outcome = world.run(spec);
    assert_eq!(outcome.output, "inside\ntoo\nin\n");
    assert_eq!(std::fs::read_dir(host).unwrap().count(), 1);
}
