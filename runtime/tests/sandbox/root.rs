//! The root: its layers, the mount points that they lack, and what is left in the upper directory.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use runtime::overlay::{Durability, Overlay, Upper};
use runtime::{Access, Mount, MountSource, Root, Spec};

use crate::world::{World, chain, check_spec, shell};

/// Lists what is in a directory, with all that a layer would record.
fn list(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let (name, kind) = (entry.file_name().into_string().unwrap(), entry.file_type().unwrap());
        if kind.is_char_device() {
            found.push(format!("{name} removed"));
        } else if kind.is_dir() {
            let inside = list(&entry.path());
            found.push(format!("{name}/"));
            found.extend(inside.into_iter().map(|path| format!("{name}/{path}")));
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

/// Mounts that lie where an image has nothing.
fn usual_mounts(world: &World) -> Vec<Mount> {
    vec![
        Mount::text("/etc/hosts", "127.0.0.1 localhost\n"),
        Mount::text("/etc/resolv.conf", "nameserver 1.2.3.4\n"),
        Mount::new("/root/.cache/deep/er", MountSource::Path(world.layer("cache", &["file"])), Access::ReadWrite),
        Mount::text("/run/secrets/id", "secret"),
        Mount::new("/bin", MountSource::Path(world.base().join("bin")), Access::ReadOnly),
    ]
}

/// Line 84 of the specification.
#[test]
fn a_step_that_changes_nothing_leaves_an_empty_upper_directory() {
    for world in World::on_every_kernel() {
        let empty = world.layer("empty", &[]);
        let (overlay, upper) = world.overlay(&[empty]);
        let mut spec = shell(overlay, "true");
        spec.mounts = usual_mounts(&world);
        check_spec(&world, spec, "");
        assert_eq!(list(&upper), Vec::<String>::new());
    }
}

#[test]
fn a_root_of_no_layers_will_do() {
    for world in World::on_every_kernel() {
        let (overlay, upper) = world.overlay(&[]);
        let mut spec = shell(overlay, "ls / | tr '\\n' ' '; cat /run/secrets/id; echo made > /made");
        spec.mounts = usual_mounts(&world);
        check_spec(&world, spec, "bin dev etc proc root run sys secret");
        assert_eq!(list(&upper), ["made"]);
    }
}

#[test]
fn only_what_a_step_changes_is_in_the_upper_directory() {
    for world in World::on_every_kernel() {
        let image = world.layer("image", &["etc/app.conf", "etc/old", "usr/share/doc/", "var/lib/x/y"]);
        let (overlay, upper) = world.overlay(&[world.base(), image]);
        let script =
            "echo a >> /etc/app.conf; rm /etc/old; mkdir -p /usr/share/new; rm -r /var/lib/x; touch /root/.cache/mine";
        let mut spec = shell(overlay, script);
        spec.mounts = usual_mounts(&world);
        check_spec(&world, spec, "");
        assert_eq!(
            list(&upper),
            [
                "etc/",
                "etc/app.conf",
                "etc/old removed",
                "root/",
                "root/.cache/",
                "root/.cache/mine",
                "usr/",
                "usr/share/",
                "usr/share/new/",
                "var/",
                "var/lib/",
                "var/lib/x removed",
            ]
        );
    }
}

/// A layer in between has removed the mount point, has made its directory anew, or has a link there that leads nowhere.
#[test]
fn mount_points_that_a_layer_hides_are_found_all_the_same() {
    for world in World::on_every_kernel() {
        let image = world.layer(
            "image",
            &["etc/hosts", "opt/tool/bin/x", "etc/resolv.conf->../run/systemd/resolve/stub-resolv.conf"],
        );
        let (overlay, changes) = world.overlay(&[world.base(), image.clone()]);
        let spec =
            shell(overlay, "rm /etc/hosts; rm -r /opt/tool; mkdir /opt/tool; chmod 751 /opt/tool; chown 3:4 /opt");
        check_spec(&world, spec, "");
        let looks = |path: &str| {
            let stat = fs::metadata(changes.join(path)).unwrap();
            (stat.mode(), stat.uid(), stat.gid(), stat.mtime(), stat.mtime_nsec())
        };
        let before = [looks("opt"), looks("opt/tool")];

        let (overlay, upper) = world.overlay(&[world.base(), image, changes.clone()]);
        let script =
            "cat /etc/hosts /etc/resolv.conf /opt/tool/bin/secret; ls /opt/tool/bin; stat -c '%a %u %g' /opt /opt/tool";
        let mut spec = shell(overlay, script);
        spec.mounts = vec![
            Mount::text("/etc/hosts", "hosts\n"),
            Mount::text("/etc/resolv.conf", "resolv\n"),
            Mount::text("/opt/tool/bin/secret", "secret\n"),
        ];
        check_spec(&world, spec, "hosts\nresolv\nsecret\nsecret\n755 3 4\n751 0 0\n");
        assert_eq!(list(&upper), Vec::<String>::new());
        assert_eq!([looks("opt"), looks("opt/tool")], before);
    }
}

/// What covers a directory looks like it, so that a step that copies the directory up records what was there.
#[test]
fn directories_above_a_hidden_mount_point_keep_their_looks() {
    let world = World::new();
    let image = world.layer("image", &["srv/link->data", "srv/data/"]);
    fs::set_permissions(image.join("srv/data"), fs::Permissions::from_mode(0o2775)).unwrap();
    std::os::unix::fs::chown(image.join("srv/data"), Some(7), Some(8)).unwrap();
    fs::set_permissions(image.join("srv/data"), fs::Permissions::from_mode(0o2775)).unwrap();
    rustix::fs::setxattr(image.join("srv/data"), "trusted.note", b"kept", rustix::fs::XattrFlags::empty()).unwrap();
    let before = fs::metadata(image.join("srv/data")).unwrap();
    let (overlay, upper) = world.overlay(&[world.base(), image]);
    let mut spec = shell(overlay, "stat -c '%a %u %g %Y' /srv/data; touch /srv/data/new");
    spec.mounts = vec![Mount::text("/srv/link/secret", "")];
    check_spec(&world, spec, &format!("2775 7 8 {}\n", before.mtime()));
    assert_eq!(list(&upper), ["srv/", "srv/data/", "srv/data/new"]);
    let after = fs::metadata(upper.join("srv/data")).unwrap();
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), 7, 8));
    let mut value = [0; 16];
    assert_eq!(rustix::fs::getxattr(upper.join("srv/data"), "trusted.note", &mut value).unwrap(), 4);
}

#[test]
fn an_upper_directory_can_be_used_again() {
    for world in World::on_every_kernel() {
        let (upper, work) = (world.layer("upper", &[]), world.layer("work", &[]));
        for round in 1..=3 {
            let overlay = world.overlay_on(&[world.base()], &upper, &work);
            let mut spec = shell(overlay, "echo x >> /etc/log; wc -l < /etc/log; mount | grep -c secret");
            spec.args[2] =
                "echo x >> /etc/log; wc -l < /etc/log; cat /gone/secret; rm -rf /gone 2>/dev/null; ls /gone".into();
            spec.mounts = vec![Mount::text("/gone/secret", "s\n")];
            check_spec(&world, spec, &format!("{round}\ns\nsecret\n"));
        }
        assert_eq!(list(&upper), ["etc/", "etc/log"]);
    }
}

/// When the upper directory itself hides a mount point, it is made there: a container that removed it needs it again.
#[test]
fn an_upper_directory_that_hides_a_mount_point_gets_it() {
    for world in World::on_every_kernel() {
        let (upper, work) = (world.layer("upper", &[]), world.layer("work", &[]));
        let image = world.layer("image", &["run/old/file"]);
        let overlay = || world.overlay_on(&[world.base(), image.clone()], &upper, &work);
        check_spec(&world, shell(overlay(), "rm -r /run/old /run; mkdir -p /run/old"), "");
        let mut spec = shell(overlay(), "cat /run/old/secret; ls /run/old");
        spec.mounts = vec![Mount::text("/run/old/secret", "s\n")];
        check_spec(&world, spec, "s\nsecret\n");
    }
}

#[test]
fn a_read_only_root_is_read_only_but_not_what_is_mounted_in_it() {
    for world in World::on_every_kernel() {
        let mut spec =
            world.spec("echo a > /etc/a; echo b > /tmp/b && cat /tmp/b; echo c > /dev/shm/c && cat /dev/shm/c");
        spec.root_access = Access::ReadOnly;
        let tmpfs = MountSource::Tmpfs { size_bytes: None, mode: 0o1777 };
        spec.mounts = vec![Mount::new("/tmp", tmpfs, Access::ReadWrite)];
        check_spec(&world, spec, "/bin/sh: can't create /etc/a: Read-only file system\nb\nc\n");

        let overlay = Overlay { lowers: vec![world.base().into()], upper: None };
        let mut spec = shell(overlay, "echo a > /etc/a; cat /new/secret");
        spec.mounts = vec![Mount::text("/new/secret", "s\n")];
        check_spec(&world, spec, "/bin/sh: can't create /etc/a: Read-only file system\ns\n");
    }
}

#[test]
fn what_is_written_into_memory_vanishes() {
    for world in World::on_every_kernel() {
        let overlay = Overlay { lowers: vec![world.base().into()], upper: Some(Upper::Memory) };
        let spec = shell(overlay, "echo a > /etc/a; cat /etc/a; stat -c %a /");
        check_spec(&world, spec, "a\n755\n");
        assert_eq!(list(&world.base().join("etc")), ["passwd"]);
    }
}

#[test]
fn a_directory_can_be_a_root() {
    let world = World::new();
    let mut spec = world.spec("");
    spec.root = Root::Directory(world.base());
    spec.args[2] = "echo made > /etc/made; cat /a/b".into();
    spec.mounts = vec![Mount::text("/a/b", "b\n")];
    check_spec(&world, spec, "b\n");
    // Unlike those of layers, mount points that a directory lacks are made in it.
    assert_eq!(fs::read_to_string(world.base().join("etc/made")).unwrap(), "made\n");
    assert_eq!(fs::read_to_string(world.base().join("a/b")).unwrap(), "");

    let spec = Spec::new(Root::Directory("/nowhere".into()), ["/bin/sh"]);
    let err = world.launcher.create(spec).unwrap_err();
    assert_eq!(chain(&err), "cannot use `/nowhere` as the root file system: No such file or directory (os error 2)");
}

#[test]
fn later_layers_win_and_there_can_be_498() {
    for world in World::on_every_kernel() {
        let mut lowers = vec![world.base()];
        lowers.extend(
            (1..498).map(|number| world.layer(&format!("layer{number}"), &["top", &format!("files/{number}")])),
        );
        let (overlay, _) = world.overlay(&lowers);
        check_spec(&world, shell(overlay, "cat /top; ls /files | wc -l"), "top of layer497\n497\n");

        lowers.push(world.layer("more", &[]));
        let (overlay, _) = world.overlay(&lowers);
        let err = world.launcher.create(shell(overlay, "")).unwrap_err();
        assert_eq!(
            chain(&err),
            "cannot mount the root file system: cannot mount 499 layers: the kernel stacks at most 498"
        );
    }
}

#[test]
fn layers_with_awkward_names_can_be_mounted() {
    for world in World::on_every_kernel() {
        let long = "x".repeat(200);
        let names = ["a:b", "c,d", "e\\f", "g h", &format!("{long}/{long}/deep")];
        let mut lowers = vec![world.base()];
        lowers.extend(names.iter().enumerate().map(|(index, name)| world.layer(name, &[&format!("all/{index}")])));
        let (upper, work) = (world.layer("up:per,\\", &[]), world.layer("wo:rk,\\", &[]));
        let overlay = world.overlay_on(&lowers, &upper, &work);
        check_spec(&world, shell(overlay, "ls /all | tr '\\n' ' '; touch /made"), "0 1 2 3 4 ");
        assert_eq!(list(&upper), ["made"]);
    }
}

#[test]
fn layers_can_be_descriptors_and_are_not_used_up() {
    for world in World::on_every_kernel() {
        let plain = fs::File::open(world.layer("plain", &["a"])).unwrap();
        let mut inner = Overlay { lowers: vec![world.layer("inner", &["b"]).into()], upper: None };
        let detached = inner.mount(world.launcher.kernel()).unwrap();
        let mut overlay =
            Overlay { lowers: vec![std::os::fd::OwnedFd::from(plain).into(), detached.into()], upper: None };
        for _ in 0..2 {
            let mount = overlay.mount(world.launcher.kernel()).unwrap();
            let shown = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&mount)));
            assert_eq!(list(&shown), ["a", "b"]);
        }
    }
}

#[test]
fn what_is_wrong_with_layers_is_said() {
    for world in World::on_every_kernel() {
        let kernel = world.launcher.kernel();
        let refused = |mut overlay: Overlay| {
            chain(&overlay.mount(kernel).unwrap_err()).replace(&*world.path("").to_string_lossy(), "")
        };
        let file = world.layer("plain", &["file"]).join("file");
        let lowers = |path: &Path| vec![world.base().into(), path.to_owned().into()];
        let missing = world.path("missing");
        assert_eq!(
            refused(Overlay { lowers: lowers(&missing), upper: None }),
            "cannot use `missing` as a layer: No such file or directory (os error 2)"
        );
        assert_eq!(
            refused(Overlay { lowers: lowers(&file), upper: None }),
            "cannot use `plain/file` as a layer: Not a directory (os error 20)"
        );
        let dirs = |upper: &Path, work: &Path| {
            let upper = Upper::Dirs { upper: upper.to_owned(), work: work.to_owned(), durability: Durability::Synced };
            Overlay { lowers: vec![world.base().into()], upper: Some(upper) }
        };
        let good = world.layer("good", &[]);
        assert_eq!(
            refused(dirs(&missing, &good)),
            "cannot use `missing` as the upper directory of an overlay: No such file or directory (os error 2)"
        );
        assert_eq!(
            refused(dirs(&good, &missing)),
            "cannot use `missing` as the work directory of an overlay: No such file or directory (os error 2)"
        );
        assert_eq!(
            refused(dirs(&good, Path::new("/dev/shm"))),
            "cannot mount an overlay of 1 layers (the upper and the work directory have to be on one file system, which is not an overlay itself; the \
             kernel's log may say more): Invalid argument (os error 22)"
        );
    }
}

/// The next step of a build reads the directory that this one wrote.
#[test]
fn an_upper_directory_is_free_when_the_sandbox_has_ended() {
    let world = World::new();
    let mut lowers = vec![world.base()];
    for number in 0..20 {
        let (overlay, upper) = world.overlay(&lowers);
        check_spec(
            &world,
            shell(overlay, &format!("echo {number} > /f{number}; ls / | grep -c ^f")),
            &format!("{}\n", number + 1),
        );
        fs::remove_dir_all(world.path(&format!("work{number}"))).unwrap();
        lowers.push(upper);
    }
}
