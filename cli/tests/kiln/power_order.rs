//! Power loss at moments that nobody chose, with a disk that writes in an order of its own: of what was not flushed, any blocks may be there.

use std::process::Command;

use testkit::registry::{Registry, image};

use crate::power::{Disk, later, run};
use crate::recorded_disk::RecordedDisk;
use crate::world::{World, root_tar};

/// The size of the disk.
const DISK_BYTES: u64 = 48 << 20;

/// How many moments each kind of command gets.
const MOMENTS: usize = 8;

const DOCKERFILE: &str = "FROM busybox\nRUN echo built > /n && cat /n /n > /m\n";

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn between(&mut self, first: usize, last: usize) -> usize {
        first + usize::try_from(self.next() % (last - first + 1) as u64).unwrap()
    }
}

/// A world whose store is on a disk that remembers.
struct Recorded {
    // Unmounted in this order.
    mounted: Disk,
    disk: RecordedDisk,
    world: World,
}

impl Recorded {
    fn new() -> Self {
        let world = World::empty();
        let empty = world.path("empty");
        std::fs::File::create(&empty).unwrap().set_len(DISK_BYTES).unwrap();
        run(Command::new("mkfs.ext4").arg("-q").arg(&empty));
        world.write("ctx/Dockerfile", DOCKERFILE);
        let disk = RecordedDisk::serve(&empty, world.path("disk"));
        let mounted = Disk::mount(&world.path("disk"), world.path("recorded"));
        let recorded = Self { mounted, disk, world };
        recorded.ok(&["import", root_tar("busybox.tar").to_str().unwrap(), "busybox"]);
        recorded
    }

    /// Carries a command out, and returns how much had reached the disk when it was over.
    #[track_caller]
    fn ok(&self, args: &[&str]) -> usize {
        self.world.ok(&[&["--root", &self.mounted.store()], args].concat());
        self.disk.length()
    }

    /// Starts the machine again after the power failed at a moment, and returns the names that there are. Those have to work, and so has a build.
    #[track_caller]
    fn names_after(&self, moment: usize, numbers: &mut Numbers) -> Vec<String> {
        let (image, place) = (self.world.path("after"), self.world.path("now"));
        // Anything from hardly a block to nearly all of them.
        let share = numbers.next() % 9;
        self.disk.cut(moment, &image, || numbers.next() % 8 < share);
        let names = {
            let disk = Disk::mount(&image, place.clone());
            let later = |args: &[&str]| later(&self.world, &disk, args);
            // First, since whoever uses something damaged may have it made or fetched again.
            let checked = later(&["system", "check"]);
            assert!(checked.ends_with(" 0 damaged\n"), "{moment}: {checked}");
            let listed = later(&["images", "--format", "{{.Repository}}"]);
            let names: Vec<String> = listed.lines().map(str::to_owned).collect();
            for name in &names {
                match name.as_str() {
                    "app" => assert_eq!(later(&["run", "--rm", name, "cat", "/m"]), "built\nbuilt\n", "{moment}"),
                    "busybox" => assert_eq!(later(&["run", "--rm", name, "echo", "runs"]), "runs\n", "{moment}"),
                    // It has no program.
                    _ => drop(later(&["save", "-o", "/dev/null", name])),
                }
            }
            for args in [["builds", "ls"].as_slice(), &["du"], &["container", "prune", "-f"]] {
                later(args);
            }
            later(&["build", "-q", "-t", "again", "ctx"]);
            assert_eq!(later(&["run", "--rm", "again", "cat", "/m"]), "built\nbuilt\n", "{moment}");
            names
        };
        std::fs::remove_dir(place).unwrap();
        std::fs::remove_file(image).unwrap();
        // A registry has another port each time.
        names.into_iter().map(|name| name.rsplit('/').next().unwrap_or_default().to_owned()).collect()
    }
}

/// Carries a command out, cuts the power at moments of it and right after it, and checks what names there are: those before or those after, and in the end those after.
#[track_caller]
fn check(seed: u64, before: &[&[&str]], args: &[&str], names: (&str, &str)) {
    check_in(&Recorded::new(), seed, before, args, names);
}

#[track_caller]
fn check_in(recorded: &Recorded, seed: u64, before: &[&[&str]], args: &[&str], (old, new): (&str, &str)) {
    let mut numbers = Numbers(seed);
    let mut began = recorded.disk.length();
    for args in before {
        began = recorded.ok(args);
    }
    let ended = recorded.ok(args);
    let mut names_after = |moment| {
        let mut names = recorded.names_after(moment, &mut numbers);
        names.sort_unstable();
        names.join(" ")
    };
    assert_eq!(names_after(began), old, "before {args:?}");
    assert_eq!(names_after(ended), new, "after {args:?}");
    let mut moments = Numbers(seed);
    for _ in 0..MOMENTS {
        let moment = moments.between(began, ended);
        let names = names_after(moment);
        assert!([old, new].contains(&names.as_str()), "{args:?}, {} of {}: {names}", moment - began, ended - began);
    }
}

const BUILD: &[&str] = &["build", "-q", "-t", "app", "ctx"];

#[test]
fn a_build_is_there_when_it_is_over_and_before_all_or_nothing_of_it() {
    check(0x9e37_79b9_7f4a_7c15, &[], BUILD, ("busybox", "app busybox"));
}

#[test]
fn a_removal_is_done_when_it_is_over_and_before_all_or_nothing_of_it() {
    check(0x2545_f491_4f6c_dd1d, &[BUILD], &["rmi", "app"], ("app busybox", "busybox"));
}

#[test]
fn a_pruning_takes_nothing_whenever_it_is_cut_off() {
    let gone: &[&str] = &["build", "-q", "-o", "type=cacheonly", "--build-arg", "A=1", "ctx"];
    check(0xd1b5_4a32_d192_ed03, &[BUILD, gone], &["system", "prune", "-f"], ("app busybox", "app busybox"));
}

#[test]
fn what_is_pulled_is_there_when_it_is_over_and_before_all_or_nothing_of_it() {
    let (recorded, registry) = (Recorded::new(), Registry::start());
    image(&[&[("etc/motd", "hello")], &[("etc/other", "there")]]).push(&registry, "pulled", "latest");
    let name = format!("{}/pulled:latest", registry.host());
    check_in(&recorded, 0x8cb9_2ba7_2f3d_8dd7, &[], &["pull", &name], ("busybox", "busybox pulled"));
}

#[test]
fn what_is_loaded_is_there_when_it_is_over_and_before_all_or_nothing_of_it() {
    let recorded = Recorded::new();
    let save: &[&str] = &["build", "-q", "-o", "type=docker,name=loaded,compression=zstd,dest=saved.tar", "ctx"];
    check_in(&recorded, 0xa076_1d64_78bd_642f, &[save], &["load", "-i", "saved.tar"], ("busybox", "busybox loaded"));
}

#[test]
fn a_container_takes_nothing_with_it_whenever_it_is_cut_off() {
    let run: &[&str] = &["run", "busybox", "sh", "-c", "echo more > /more"];
    check(0xe703_7ed1_a0b4_28db, &[BUILD], run, ("app busybox", "app busybox"));
}
