//! What is mounted beside the kernel's own.

use std::fs;
use std::os::unix::net::UnixListener;

use runtime::overlay::{Overlay, Upper};
use runtime::{Access, Mount, MountSource, Spec};

use crate::world::{World, chain, check_refused, check_spec};

use Access::{ReadOnly, ReadWrite};

fn with_mounts(world: &World, script: &str, mounts: Vec<Mount>) -> Spec {
    let mut spec = world.spec(script);
    spec.mounts = mounts;
    spec
}

fn tmpfs() -> MountSource {
    MountSource::Tmpfs { size_bytes: None, mode: 0o755 }
}

/// Line 86 of the specification, and the same for a directory that keeps what is written.
#[test]
fn a_bound_directory_is_read_only_or_keeps_what_is_written() {
    let world = World::new();
    let dir = world.layer("dir", &["file"]);
    let script = "cat /mnt/file; echo new > /mnt/new; ls /mnt | tr '\\n' ' '";
    let bound = |access| vec![Mount::new("/mnt", MountSource::Path(dir.clone()), access)];
    let refused = "file of dir\n/bin/sh: can't create /mnt/new: Read-only file system\nfile ";
    check_spec(&world, with_mounts(&world, script, bound(ReadOnly)), refused);
    check_spec(&world, with_mounts(&world, script, bound(ReadWrite)), "file of dir\nfile new ");
    assert_eq!(fs::read_to_string(dir.join("new")).unwrap(), "new\n");
}

#[test]
fn files_and_sockets_can_be_bound_and_descriptors_too() {
    let world = World::new();
    let dir = world.layer("dir", &["file", "other"]);
    let _listener = UnixListener::bind(dir.join("socket")).unwrap();
    let opened = fs::File::open(dir.join("other")).unwrap();
    let mounts = vec![
        Mount::new("/a/file", MountSource::Path(dir.join("file")), ReadOnly),
        Mount::new("/a/socket", MountSource::Path(dir.join("socket")), ReadWrite),
        Mount::new("/etc/passwd", MountSource::Fd(opened.into()), ReadWrite),
    ];
    let script = "cat /a/file /etc/passwd; [ -S /a/socket ] && echo socket; echo changed > /etc/passwd";
    check_spec(&world, with_mounts(&world, script, mounts), "file of dir\nother of dir\nsocket\n");
    assert_eq!(fs::read_to_string(dir.join("other")).unwrap(), "changed\n");
}

/// Line 90 of the specification.
#[test]
fn a_directory_in_memory_is_as_large_as_was_asked_for() {
    let world = World::new();
    let source = MountSource::Tmpfs { size_bytes: Some(1 << 20), mode: 0o1770 };
    let script =
        "stat -c %a /tmp; dd if=/dev/zero of=/tmp/x bs=1k count=1025 2>&1 | grep -c 'No space left'; stat -c %s /tmp/x";
    check_spec(&world, with_mounts(&world, script, vec![Mount::new("/tmp", source, ReadWrite)]), "1770\n1\n1048576\n");
}

#[test]
fn files_in_memory_have_mode_and_owner_and_are_on_no_disk() {
    for world in World::on_every_kernel() {
        let secret = |mode, uid, gid| MountSource::File { contents: b"secret".to_vec(), mode, uid, gid };
        let mounts = vec![
            Mount::new("/run/secrets/a", secret(0o400, 0, 0), ReadOnly),
            Mount::new("/run/secrets/b", secret(0o4755, 5, 6), ReadWrite),
            Mount::text("/c", ""),
        ];
        let script = "stat -c '%n %a %u %g %s' /run/secrets/* /c; cat /run/secrets/a; echo x > /run/secrets/a; echo x > /run/secrets/b && cat /run/secrets/b";
        check_spec(
            &world,
            with_mounts(&world, script, mounts),
            "/run/secrets/a 400 0 0 6\n/run/secrets/b 4755 5 6 6\n/c 644 0 0 0\nsecret\
             /bin/sh: can't create /run/secrets/a: Read-only file system\nx\n",
        );
    }
}

#[test]
fn layers_can_be_mounted_and_written_to_without_a_trace() {
    for world in World::on_every_kernel() {
        let (one, two) = (world.layer("one", &["both", "a/x"]), world.layer("two", &["both", "a/y"]));
        let overlay =
            |upper| MountSource::Overlay(Overlay { lowers: vec![one.clone().into(), two.clone().into()], upper });
        let mounts = vec![
            Mount::new("/ro", overlay(None), ReadOnly),
            Mount::new("/rw", overlay(Some(Upper::Memory)), ReadWrite),
        ];
        let script = "cat /ro/both; ls /rw/a | tr '\\n' ' '; echo n > /rw/a/n && cat /rw/a/n; echo n > /ro/n";
        let expected = "both of two\nx y n\n/bin/sh: can't create /ro/n: Read-only file system\n";
        let outcome = world.run(with_mounts(&world, script, mounts));
        assert_eq!(outcome.output, expected);
        assert!(!one.join("a/n").exists() && !two.join("a/n").exists());
    }
}

#[test]
fn a_part_of_a_source_can_be_mounted_and_links_stay_in_the_source() {
    for world in World::on_every_kernel() {
        let dir = world.layer("dir", &["etc/passwd", "usr/share/x", "link->/etc", "up->../../../../etc/passwd"]);
        let part = |target: &str, source: MountSource, subpath: &str, access| Mount {
            target: target.into(),
            source,
            subpath: subpath.into(),
            access,
        };
        let overlay = || MountSource::Overlay(Overlay { lowers: vec![dir.clone().into()], upper: Some(Upper::Memory) });
        let mounts = vec![
            part("/1", MountSource::Path(dir.clone()), "usr/share", ReadOnly),
            part("/2", MountSource::Path(dir.clone()), "/link/passwd", ReadOnly),
            part("/3", MountSource::Path(dir.clone()), "up", ReadOnly),
            part("/4", overlay(), "/usr/share", ReadWrite),
            part("/5", overlay(), "link", ReadOnly),
            part("/6", overlay(), "up", ReadWrite),
        ];
        let script =
            "ls /1; cat /2 /3; echo w > /4/w; ls /4 | tr '\\n' ' '; ls /5; echo w > /5/w; echo w > /6 && cat /6";
        check_spec(
            &world,
            with_mounts(&world, script, mounts),
            "x\netc/passwd of dir\netc/passwd of dir\nw x passwd\n/bin/sh: can't create /5/w: Read-only file system\nw\n",
        );
        assert_eq!(fs::read_to_string(dir.join("etc/passwd")).unwrap(), "etc/passwd of dir\n");
    }
}

#[test]
fn outer_mounts_come_before_inner_ones() {
    for world in World::on_every_kernel() {
        let mounts = vec![
            Mount::text("/a/b/c", "c\n"),
            Mount::new("/a", tmpfs(), ReadWrite),
            Mount::text("/a/b/d", "d\n"),
            Mount::text("/etc/hosts", "hosts\n"),
            Mount::new("/etc", MountSource::Path(world.layer("etc", &["x"])), ReadWrite),
            Mount::new("/dev/mine", tmpfs(), ReadWrite),
            Mount::text("/twice", "first\n"),
            Mount::text("/twice", "second\n"),
        ];
        let script = "cat /a/b/c /a/b/d /etc/hosts /twice; ls /a /etc | tr '\\n' ' '; ls -d /dev/mine";
        check_spec(
            &world,
            with_mounts(&world, script, mounts),
            "c\nd\nhosts\nsecond\n/a: b  /etc: hosts x /dev/mine\n",
        );
    }
}

#[test]
fn what_is_mounted_over_the_kernels_own_hides_it() {
    let world = World::new();
    let mounts = vec![
        Mount::new("/dev/shm", MountSource::Tmpfs { size_bytes: Some(4096), mode: 0o700 }, ReadWrite),
        Mount::text("/dev/null", "text\n"),
    ];
    let script = "stat -c %a /dev/shm; cat /dev/null";
    check_spec(&world, with_mounts(&world, script, mounts), "700\ntext\n");
}

/// Line 82 of the specification: a script of the Dockerfile's own.
#[test]
fn a_script_in_memory_can_be_run() {
    for world in World::on_every_kernel() {
        let script = MountSource::File { contents: b"#!/bin/sh\necho $0\n".to_vec(), mode: 0o755, uid: 0, gid: 0 };
        let mut spec = with_mounts(&world, "", vec![Mount::new("/dev/pipes/E", script, ReadOnly)]);
        spec.args = vec!["/dev/pipes/E".into()];
        check_spec(&world, spec, "/dev/pipes/E\n");
    }
}

/// `-v /dev/null:/file` hides a file, under Docker too.
#[test]
fn a_common_device_can_be_bound() {
    let world = World::new();
    let mounts = vec![Mount::new("/etc/passwd", MountSource::Path("/dev/null".into()), ReadWrite)];
    check_spec(&world, with_mounts(&world, "cat /etc/passwd; echo x > /etc/passwd", mounts), "");
}

#[test]
fn read_only_means_all_that_is_mounted_beneath_too() {
    testkit::require_root();
    let world = World::new();
    let dir = world.layer("dir", &["sub/"]);
    let inner = world.layer("inner", &["file"]);
    // In a mount namespace of this thread only, so that nothing is mounted for others.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
            use rustix::thread::UnshareFlags;
            #[expect(unsafe_code, reason = "the call is only dangerous for tables of descriptors")]
            // SAFETY: the table of descriptors stays shared.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.unwrap();
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            mount_bind(&inner, dir.join("sub")).unwrap();
            let mounts = vec![Mount::new("/mnt", MountSource::Path(dir.clone()), ReadOnly)];
            let script = "cat /mnt/sub/file; echo x > /mnt/sub/x";
            check_spec(
                &world,
                with_mounts(&world, &format!("{script}; true"), mounts),
                "file of inner\n/bin/sh: can't create /mnt/sub/x: Read-only file system\n",
            );
        });
    });
}

#[test]
fn what_cannot_be_mounted_is_said() {
    for world in World::on_every_kernel() {
        let here = world.path("").to_string_lossy().into_owned();
        let refused = |mount: Mount, expected: &str| {
            let err = world.launcher.create(with_mounts(&world, "", vec![mount])).unwrap_err();
            assert_eq!(chain(&err).replace(&here, ""), expected);
        };
        let path = |name: &str| MountSource::Path(world.path(name));
        refused(
            Mount::new("/x", path("missing"), ReadOnly),
            "cannot mount `missing` on `/x`: bind source path does not exist or cannot be opened: No such file or directory (os error 2)",
        );
        refused(Mount::new("/", path("base"), ReadOnly), "invalid mount target \"/\"");
        refused(Mount::new("x", path("base"), ReadOnly), "invalid mount target \"x\"");
        refused(
            Mount { subpath: "no/such".into(), ..Mount::new("/x", tmpfs(), ReadOnly) },
            "cannot mount on `/x`: `no/such` is not in the source: No such file or directory (os error 2)",
        );
        refused(
            Mount::text("/etc/passwd/x", ""),
            "cannot mount on `/etc/passwd/x` in the root: each part of the path has to be a directory, and of `/proc`, `/sys` and `/dev` none may be \
             a link: Not a directory (os error 20)",
        );
        let spec = with_mounts(&world, "", vec![Mount::new("/etc/passwd", tmpfs(), ReadOnly)]);
        check_refused(
            &world,
            spec,
            125,
            "cannot mount on `/etc/passwd`: a directory goes only on a directory, and a file only on a file: Invalid argument (os error 22)",
        );
    }
}
