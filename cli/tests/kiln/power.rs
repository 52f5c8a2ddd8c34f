//! Power loss: what a disk holds while a command is at a fault point is all that is left of it, and the machine starts anew.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, WaitOptions, waitpid};

use crate::world::{World, root_tar};

/// The size of the disk.
const DISK_BYTES: u64 = 96 << 20;

/// A file system of its own on a block device; unmounted with the test.
pub(crate) struct Disk {
    mounted: PathBuf,
}

impl Disk {
    pub(crate) fn mount(image: &Path, mounted: PathBuf) -> Self {
        std::fs::create_dir(&mounted).unwrap();
        run(Command::new("mount").args(["-o", "loop"]).args([image, &mounted]));
        Self { mounted }
    }

    pub(crate) fn store(&self) -> String {
        self.mounted.join("store").to_str().unwrap().to_owned()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What was killed with its kiln may take a moment to let go.
        while !Command::new("umount")
            .arg("--quiet")
            .arg(&self.mounted)
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
        {
            std::thread::yield_now();
        }
    }
}

#[track_caller]
pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn is_stopped(child: &std::process::Child) -> bool {
    let (_, status) = waitpid(Some(Pid::from_child(child)), WaitOptions::UNTRACED).unwrap().unwrap();
    status.stopped()
}

/// Cuts the power while `args` is at a fault point, and returns the world and the disk as it is after the next start.
#[track_caller]
fn cut(point: &str, args: &[&str]) -> (World, Disk) {
    cut_after(&[], point, args)
}

#[track_caller]
fn cut_after(before: &[&[&str]], point: &str, args: &[&str]) -> (World, Disk) {
    let world = World::empty();
    let image = world.path("disk");
    std::fs::File::create(&image).unwrap().set_len(DISK_BYTES).unwrap();
    run(Command::new("mkfs.ext4").arg("-q").arg(&image));
    world.write("ctx/Dockerfile", "FROM busybox\nRUN echo built > /n && cat /n /n > /m\n");
    world.write("ctx/gone/Dockerfile", "FROM busybox\nRUN echo gone > /gone\n");
    let after = world.path("after");
    {
        let disk = Disk::mount(&image, world.path("before"));
        world.ok(&["--root", &disk.store(), "import", root_tar("busybox.tar").to_str().unwrap(), "busybox"]);
        for args in [["build", "-q", "-t", "gone", "ctx/gone"].as_slice(), &["rmi", "gone"]].iter().chain(before) {
            world.ok(&[&["--root", &disk.store()], *args].concat());
        }
        let mut command = world.command(&[&["--root", &disk.store()], args].concat());
        let mut child = command.env(store::fault::VARIABLE, format!("stop:{point}")).spawn().unwrap();
        assert!(is_stopped(&child), "{args:?} does not pass `{point}`");
        // What the file system has not written to its device by now is lost.
        std::fs::copy(&image, &after).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let disk = Disk::mount(&after, world.path("now"));
    (world, disk)
}

/// Runs a command after the machine was started again.
#[track_caller]
pub(crate) fn later(world: &World, disk: &Disk, args: &[&str]) -> String {
    let mut command = world.command(&[&["--root", &disk.store()], args].concat());
    let output = command.env(store::fault::VARIABLE, "boot:the next one").output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Cuts the power and checks that what had a name works, that the store builds, and which names there are.
#[track_caller]
fn check(point: &str, args: &[&str], names: &str) {
    let (world, disk) = cut(point, args);
    let listed = later(&world, &disk, &["images", "--format", "{{.Repository}}"]);
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed.join(" "), names, "{point}");
    let listing = later(&world, &disk, &["run", "--rm", "busybox", "cat", "/etc/passwd"]);
    assert!(listing.starts_with("root:"), "{listing}");
    if names.contains("app") {
        assert_eq!(later(&world, &disk, &["run", "--rm", "app", "cat", "/m"]), "built\nbuilt\n");
    }
    later(&world, &disk, &["build", "-q", "-t", "again", "ctx"]);
    assert_eq!(later(&world, &disk, &["run", "--rm", "again", "cat", "/m"]), "built\nbuilt\n");
}

const BUILD: &[&str] = &["build", "-q", "-t", "app", "ctx"];

#[test]
fn a_build_that_had_not_named_its_image_is_forgotten() {
    for point in ["step.ran", "cache.committed", "store.flush"] {
        check(point, BUILD, "busybox");
    }
}

#[test]
fn an_image_that_was_flushed_is_there_once_it_has_its_name() {
    check("store.flushed", BUILD, "busybox");
    check("meta.commit", BUILD, "busybox");
    check("meta.committed", BUILD, "app busybox");
}

#[test]
fn a_tag_is_there_as_soon_as_it_is_said_to_be() {
    check("meta.commit", &["tag", "busybox", "other"], "busybox");
    check("meta.committed", &["tag", "busybox", "other"], "busybox other");
}

#[test]
fn a_pruning_takes_nothing_that_has_a_name() {
    for point in ["cache.committed", "trash.bury", "trash.unlink"] {
        check(point, &["system", "prune", "-f"], "busybox");
    }
}

#[test]
fn a_container_takes_nothing_with_it() {
    check("run.ended", &["run", "busybox", "true"], "busybox");
}

// The name of a blob may reach the disk before its bytes do.
#[test]
fn a_blob_gets_its_name_when_it_is_known_that_the_store_was_not_flushed() {
    let maker = World::empty();
    let archive = |name: &str| {
        maker.write("ctx/Dockerfile", format!("FROM scratch\nLABEL name={name}\nCOPY Dockerfile /\n"));
        maker.ok(&["build", "-q", "-o", &format!("type=docker,name={name},dest={name}.tar"), "ctx"]);
        maker.path(&format!("{name}.tar")).to_str().unwrap().to_owned()
    };
    let (first, second) = (archive("first"), archive("second"));
    let load = |archive| ["load", "-i", archive];
    let (_world, disk) = cut_after(&[&load(&first)], "blob.rename", &load(&second));
    let state = std::fs::read_to_string(disk.mounted.join("store/cache.state")).unwrap();
    assert_ne!(state.trim_end(), "clean");
}
