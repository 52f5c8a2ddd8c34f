//! Layers on every rung of the ladder that this kernel has: what a step sees, what is exported and what its digest is do not depend on it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::power::Disk;
use crate::world::{World, root_tar};

const RUNGS: [&str; 4] = ["detached", "attached", "loop", "trees"];

/// Runs a command on one rung.
#[track_caller]
fn on(rung: &str, world: &World, args: &[&str]) -> String {
    let output = world.command(args).env("KILN_LAYERS", rung).stdout(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{rung}: kiln {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A world with a context of every kind of file, all from one day.
fn world() -> World {
    let world = World::empty();
    for (name, content) in [("a/file", "file"), ("a/empty", ""), ("a/deep/er/file", "deeper"), ("b/other", "other")] {
        world.write(&format!("ctx/{name}"), content);
    }
    world.write("ctx/a/large", vec![7; 300_000]);
    let at = |name: &str| world.path("ctx").join(name);
    fs::set_permissions(at("a/file"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(at("a/deep"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::hard_link(at("a/file"), at("a/linked")).unwrap();
    symlink("deep/er", at("a/way")).unwrap();
    world.write("ctx/.dockerignore", "Dockerfile\n.dockerignore\n");
    run("find", &["a", "b", "-exec", "touch", "-h", "-d", "@1500000000.25", "{}", "+"], &world.path("ctx"));
    world
}

fn run(program: &str, args: &[&str], dir: &Path) {
    assert!(Command::new(program).args(args).current_dir(dir).status().unwrap().success());
}

/// Imports the base and builds a Dockerfile on a rung, each rung in a store of its own; returns what `command` prints in the image.
#[track_caller]
fn everywhere(dockerfile: &str, command: &str) -> String {
    let mut shown: Vec<(String, String)> = Vec::new();
    for rung in RUNGS {
        let world = world();
        world.write("ctx/Dockerfile", format!("FROM busybox\n{dockerfile}"));
        on(rung, &world, &["import", root_tar("busybox.tar").to_str().unwrap(), "busybox"]);
        on(rung, &world, &["build", "-q", "-t", "app", "ctx"]);
        let layers = on(rung, &world, &["inspect", "-f", "{{json .RootFS.Layers}}", "app"]);
        shown.push((on(rung, &world, &["run", "--rm", "app", "sh", "-c", command]), layers));
    }
    for (rung, shown_here) in RUNGS.iter().zip(&shown).skip(1) {
        assert_eq!(shown_here.0, shown[0].0, "{rung}");
        // What a command writes has its own times, so only what is copied has one digest.
        if !dockerfile.contains("RUN") {
            assert_eq!(shown_here.1, shown[0].1, "{rung}");
        }
    }
    shown.swap_remove(0).0
}

#[test]
fn every_rung_shows_the_same_files_and_gives_the_same_digests() {
    let shown = everywhere(
        "COPY . /\nCOPY --chown=7:8 --chmod=640 b /\n",
        "cd / && find a other b | sort | xargs stat -c '%n %f %u:%g %h %Y'; cat a/way/file",
    );
    assert!(
        shown.contains("a/file 89c9 0:0 2 1500000000\n") && shown.contains("other 81a0 7:8 1 1500000000\n"),
        "{shown}"
    );
    assert!(shown.ends_with("deeper"), "{shown}");
}

/// Mixed stacks behave as a plain overlay: one file system, in which files are changed, moved and removed.
#[test]
fn stacks_of_both_forms_are_one_file_system() {
    let dockerfile = "COPY . /\nRUN echo new > /a/new && rm /a/empty && mv /a/deep /moved\nCOPY a/file /a/again\nRUN rm -r /b && mkdir /b && echo x > /b/x";
    let shown = everywhere(
        dockerfile,
        "find / -xdev -type f | grep -c '^/a/\\|^/moved/\\|^/b/'; stat -c %d / /a /a/file /a/new /moved /bin/busybox | sort -u | wc -l; \
         du -x -s /a/new | cut -f2; ls /a /b; mv /a/file /b/ && cp /a/large /b/large && cmp /a/large /b/large && cat /b/file; \
         echo more >> /a/again && tail -c 9 /a/again; cp --reflink=auto /a/large /b/copy && cmp /a/large /b/copy; \
         cp --reflink=always /a/large /b/clone 2>/dev/null && cmp /a/large /b/clone && echo cloned || echo not cloned",
    );
    // Whether files can be cloned is up to the file system of the store, and so the same on every rung.
    let shown = shown.strip_suffix("cloned\n").unwrap().trim_end_matches("not ");
    assert_eq!(shown, "7\n1\n/a/new\n/a:\nagain\nfile\nlarge\nlinked\nnew\nway\n\n/b:\nx\nfilefilemore\n");
}

/// What was written on one rung is used on every other: a store may be moved to another kernel.
#[test]
fn layers_of_one_form_are_usable_on_every_rung() {
    for rung in ["detached", "trees"] {
        let world = world();
        world.write("ctx/Dockerfile", "FROM busybox\nCOPY . /\nRUN echo new > /a/new");
        on(rung, &world, &["import", root_tar("busybox.tar").to_str().unwrap(), "busybox"]);
        on(rung, &world, &["build", "-q", "-t", "app", "ctx"]);
        for other in RUNGS {
            let command = "cat /a/new /a/file; stat -c '%a %u %Y' /a/empty";
            let shown = on(other, &world, &["run", "--rm", "app", "sh", "-c", command]);
            assert_eq!(shown, "new\nfile644 0 1500000000\n", "{rung} {other}");
        }
    }
}

/// The rung is found out, and no inode is created for what is copied.
#[test]
fn what_is_copied_is_never_unpacked() {
    let world = world();
    world.ok(&["import", root_tar("busybox.tar").to_str().unwrap(), "busybox"]);
    world.write("ctx/Dockerfile", "FROM busybox\nCOPY . /");
    world.ok(&["build", "-q", "-t", "app", "ctx"]);
    let layers: Vec<_> = fs::read_dir(world.path("store/layers")).unwrap().map(|dir| dir.unwrap().path()).collect();
    assert_eq!(layers.len(), 2);
    for layer in layers {
        assert!(layer.join("index").exists() && layer.join("packs").is_dir() && !layer.join("fs").exists());
    }
    assert_eq!(world.kiln(&["images"]).code, 0);
}

#[test]
fn info_says_which_rung_it_is_and_why() {
    let world = World::empty();
    let root = world.store().canonicalize().unwrap_or_else(|_| world.store());
    let shown = on("loop", &world, &["info"]);
    let version = env!("CARGO_PKG_VERSION");
    let expected =
        format!("Version: {version}\nStore: {}\nLayers: loop\n  not higher: it was asked for\n", root.display());
    assert_eq!(shown, expected);
    // What was found out is found again; a store in memory has no images in files.
    assert_eq!(world.ok(&["info"]), world.ok(&["system", "info"]));
    let in_memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let shown = world.ok(&["--root", in_memory.path().to_str().unwrap(), "info"]);
    assert!(shown.contains("  not higher: mounts no EROFS image from a file: cannot mount the layer image"), "{shown}");
}

#[test]
fn a_rung_that_is_none_is_refused() {
    let world = World::empty();
    let output = world.command(&["images"]).env("KILN_LAYERS", "stairs").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("unknown way to mount layers `stairs`: expected detached, attached, loop or trees"),
        "{said}"
    );
}

/// What was hashed of a tar is not hashed again: who loads the image checks that its digest is right nevertheless.
#[test]
fn the_digest_of_a_changed_copy_is_that_of_its_tar() {
    let world = world();
    world.ok(&["import", root_tar("busybox.tar").to_str().unwrap(), "busybox"]);
    world.write("ctx/Dockerfile", "FROM busybox\nCOPY a /made/on/the/way/");
    for number in 0..120 {
        world.write(&format!("ctx/a/many/{number:03}"), vec![number; 100_000]);
    }
    let made = || world.in_image("app", "stat -c %y /made /made/on/the/way");
    let build = || world.ok(&["build", "-q", "-t", "app", "ctx"]);
    build();
    let first = made();
    for changed in ["many/119", "many/050", "many/new", "empty"] {
        world.write(&format!("ctx/a/{changed}"), changed);
        build();
        assert_eq!(made(), first, "a directory that is made again is as old as it was");
        let other = World::empty();
        world.ok(&["save", "-o", "app.tar", "app"]);
        other.ok(&["load", "-i", world.path("app.tar").to_str().unwrap()]);
        assert_eq!(other.in_image("app", &format!("cat /made/on/the/way/{changed}")), changed);
    }
}

/// The packs of all layers: their lengths, by the names of the files that they are.
fn packs(world: &World) -> Vec<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut packs = std::collections::BTreeMap::new();
    for layer in fs::read_dir(world.path("store/layers")).unwrap() {
        for pack in fs::read_dir(layer.unwrap().path().join("packs")).into_iter().flatten() {
            let found = pack.unwrap().metadata().unwrap();
            packs.insert(found.ino(), found.len());
        }
    }
    packs.into_values().collect()
}

/// One changed file of many is all that is written; the rest stays where it is, for as long as a layer needs it.
#[test]
fn what_did_not_change_is_not_written_again() {
    let world = world();
    world.ok(&["import", root_tar("busybox.tar").to_str().unwrap(), "busybox"]);
    world.write("ctx/Dockerfile", "FROM busybox\nCOPY . /");
    for number in 0..40 {
        world.write(&format!("ctx/a/many/{number}"), vec![number; 100_000]);
    }
    world.ok(&["build", "-q", "-t", "first", "ctx"]);
    let before = packs(&world);
    world.write("ctx/a/many/7", "changed");
    let id = world.ok(&["build", "-q", "-t", "second", "ctx"]);
    let new: Vec<u64> = packs(&world).into_iter().filter(|pack| !before.contains(pack)).collect();
    assert_eq!(new, [512], "the delta has one file");
    let shown = "cat /a/many/7; wc -c < /a/many/8; cat /a/file";
    assert_eq!(world.in_image("second", shown), "changed100000\nfile");
    assert_eq!(world.in_image("first", "wc -c < /a/many/7"), "100000\n");
    // The delta is what a new store makes of the same files.
    let other = World::empty();
    other.ok(&["import", root_tar("busybox.tar").to_str().unwrap(), "busybox"]);
    world.ok(&["save", "-o", "second.tar", "second"]);
    other.ok(&["load", "-i", world.path("second.tar").to_str().unwrap()]);
    assert_eq!(other.in_image("second", shown), "changed100000\nfile");
    assert!(!id.is_empty());
    // The first image goes, and what the second needs of it stays.
    world.ok(&["rmi", "first"]);
    world.ok(&["prune", "-a", "-f"]);
    assert_eq!(world.in_image("second", shown), "changed100000\nfile");
    world.ok(&["rmi", "second"]);
    world.ok(&["prune", "-a", "-f"]);
    assert!(packs(&world).iter().all(|pack| *pack != 512), "{:?}", packs(&world));
}

/// Stores on other file systems than that of this machine, which clone files.
#[test]
fn stores_on_xfs_and_btrfs_build_and_run_the_same_on_every_rung() {
    let dockerfile = "FROM busybox\nCOPY . /\nRUN rm /a/empty && mv /a/deep /moved && echo more >> /a/file && mkfifo /pipe\nRUN rm -r /b && mkdir /b && echo x > /b/x\n";
    let command = "cp --reflink=always /b/x /b/clone && cat /b/clone /a/file; ls /a /b /moved; stat -c '%a %Y' /moved; stat -c %h /a/linked; stat -c %d / /a /b /moved | sort -u | wc -l";
    for (kind, options) in [("xfs", ["-q"].as_slice()), ("btrfs", &["-q", "-m", "single"])] {
        let world = world();
        let image = world.path("disk");
        fs::File::create(&image).unwrap().set_len(512 << 20).unwrap();
        run(&format!("mkfs.{kind}"), &[options, &[image.to_str().unwrap()]].concat(), &world.path(""));
        let disk = Disk::mount(&image, world.path("mounted"));
        world.write("ctx/Dockerfile", dockerfile);
        for rung in RUNGS {
            let store = format!("{}-{rung}", disk.store());
            let on_disk = |args: &[&str]| on(rung, &world, &[&["--root", &store], args].concat());
            on_disk(&["import", root_tar("busybox.tar").to_str().unwrap(), "busybox"]);
            assert!(on_disk(&["info"]).contains(&format!("Layers: {rung}\n")));
            on_disk(&["build", "-q", "-t", "app", "ctx"]);
            assert_eq!(
                on_disk(&["run", "--rm", "app", "sh", "-c", command]),
                "x\nfilemore\n/a:\nfile\nlarge\nlinked\nway\n\n/b:\nclone\nx\n\n/moved:\ner\n1777 1500000000\n2\n1\n",
                "{kind} {rung}"
            );
            assert_eq!(on_disk(&["build", "--progress", "quiet", "-t", "app", "ctx"]).lines().count(), 1);
        }
    }
}

/// As in a container without a volume: an overlay cannot write into another one, so what commands write goes through memory, or through a directory that can be written to.
#[test]
fn a_store_on_an_overlay_builds_and_runs_the_same() {
    let world = world();
    let dockerfile = "FROM busybox\n\
        COPY a /a\n\
        RUN mkdir /d && echo 1 > /d/one && echo 2 > /d/two && chmod 4750 /d/two && chown 5:6 /d/two && ln /d/two /d/too\n\
        RUN rm /d/one /bin/acpid && mv /a /b && rm -r /b/deep && mkdir /b/deep && mkfifo /b/deep/pipe && ln -s one /d/soft\n\
        WORKDIR /made\n\
        RUN rm -r /d && mkdir /d && echo 3 > /d/three && pwd > /pwd\n";
    world.write("ctx/Dockerfile", dockerfile);
    let look = "find /a /b /d /made /pwd /bin/acpid 2>/dev/null | sort | xargs stat -c '%n %f %u:%g'; stat -c %h /b/file; cat /d/* /pwd";
    let script = format!(
        "set -e; mkdir over over/lower over/upper over/work over/merged\n\
         mount -t overlay -o lowerdir=over/lower,upperdir=over/upper,workdir=over/work overlay over/merged\n\
         export KILN_ROOT=over/merged/store; unset KILN_LAYERS; umask 077\n\
         $KILN import $BASE busybox >&2; $KILN build -q -t app ctx >&2; $KILN info\n\
         $KILN run --rm app sh -c \"{look}; echo x > /bin/new\"\n\
         $KILN build --progress plain -t app ctx 2>&1 | grep -c CACHED\n\
         grep -c erofs /proc/mounts || true\n\
         if [ -n \"$KILN_WORK_ROOT\" ]; then ls $KILN_WORK_ROOT; KILN_WORK_ROOT=over/merged/w $KILN build -q --no-cache ctx; fi\n\
         umount over/merged; rm -r over"
    );
    let build_and_run = |work_root: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]).current_dir(world.path(""));
        command.env("KILN", env!("CARGO_BIN_EXE_kiln")).env("BASE", root_tar("busybox.tar"));
        if !work_root.is_empty() {
            command.env("KILN_WORK_ROOT", work_root);
        }
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    // The same on a store that can be written to.
    on("loop", &world, &["import", root_tar("busybox.tar").to_str().unwrap(), "busybox"]);
    on("loop", &world, &["build", "-q", "-t", "app", "ctx"]);
    let expected = on("loop", &world, &["run", "--rm", "app", "sh", "-c", look]);
    assert!(expected.ends_with("3\n/made\n") && !expected.contains("acpid"), "{expected}");
    for (work_root, place) in [("", "memory"), ("outside", "outside")] {
        let (is_built, shown, log) = build_and_run(work_root);
        let (info, shown) = shown.split_once("/b ").unwrap_or((&shown, ""));
        let written = format!("\n  written to {place} first: an overlay cannot write to its file system: ");
        assert!(info.contains("Layers: loop\n") && info.contains(&written), "{info}{log}");
        // Nothing is left in it.
        assert_eq!(format!("/b {shown}"), format!("{expected}6\n0\n"), "{log}");
        let refused = "cannot let commands write beneath `over/merged/w`: an overlay cannot write to its file system: ";
        assert_eq!(is_built, work_root.is_empty(), "{log}");
        assert_eq!(log.contains(refused), !work_root.is_empty(), "{log}");
        let _ = fs::remove_dir_all(world.path("over"));
    }
}

/// Kiln in a container without a volume: its store is on the container's overlay.
#[test]
fn a_container_builds_and_runs_containers() {
    let world = World::new();
    let program = Path::new(env!("CARGO_BIN_EXE_kiln"));
    world.write("ctx/inner/Dockerfile", "FROM base\nRUN echo built inside >/f\n");
    fs::copy(root_tar("busybox.tar"), world.path("ctx/base.tar")).unwrap();
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN --security=insecure --mount=type=bind,from=program,source=kiln,target=/kiln --mount=type=bind,target=/ctx \\\n\
         /kiln import /ctx/base.tar base && /kiln build -q -t app /ctx/inner && /kiln run --rm app cat /f >/shown\n",
    );
    let from = format!("program={}", program.parent().unwrap().display());
    world.ok(&["build", "-q", "--allow", "security.insecure", "--build-context", &from, "-t", "outer", "ctx"]);
    assert_eq!(world.ok(&["run", "--rm", "outer", "cat", "/shown"]), "built inside\n");
}
