//! What is left when something goes wrong: each command fails and is killed at every fault point that it passes, and at places that nobody chose.
//!
//! After each, the store opens, lists and builds, and names are old or new. The points are in the code, see `store::fault`.

use std::collections::BTreeSet;
use std::process::Output;
use std::time::{Duration, Instant};

use testkit::registry::{Registry, image};

use crate::world::{Ended, World};

/// What is interrupted.
#[derive(Clone, Copy, Debug)]
enum Subject {
    Build,
    Pull,
    Tag,
    Prune,
    Run,
    Remove,
    Load,
    Import,
    Save,
}

const SUBJECTS: [Subject; 9] = [
    Subject::Build,
    Subject::Pull,
    Subject::Tag,
    Subject::Prune,
    Subject::Run,
    Subject::Remove,
    Subject::Load,
    Subject::Import,
    Subject::Save,
];

/// What is in the place of a saved image before.
const SAVED_BEFORE: &str = "what was there before";

/// A world in which commands are interrupted one after the other.
struct Fixture {
    world: World,
    registry: Registry,
    round: usize,
}

impl Fixture {
    fn new() -> Self {
        let world = World::new();
        world.write("check/Dockerfile", "FROM busybox\nARG N\nRUN echo $N > /n\n");
        Self { world, registry: Registry::start(), round: 0 }
    }

    /// Makes sure that the next command has something to do, and returns it.
    fn prepare(&mut self, subject: Subject) -> Vec<String> {
        self.round += 1;
        let round = self.round.to_string();
        let text = match subject {
            Subject::Build => {
                self.world.write("ctx/file", &round);
                let mount = format!("--mount=type=cache,id=c{round},target=/c");
                let run = format!("RUN {mount} echo $N > /n; touch /c/$N\nRUN cat /n /file > /m\n");
                self.world.write("ctx/Dockerfile", format!("FROM busybox\nARG N\nCOPY file /\n{run}"));
                format!("build -q -t app --build-arg N={round} ctx")
            }
            Subject::Pull => {
                image(&[&[("etc/motd", &round)], &[("etc/other", "same")]]).push(&self.registry, "app", "latest");
                format!("pull {}/app:latest", self.registry.host())
            }
            Subject::Tag => {
                self.world.ok(&["build", "-q", "-t", "tagged", "--build-arg", &format!("N={round}"), "check"]);
                "tag tagged moving".to_owned()
            }
            Subject::Prune => {
                self.world.ok(&["build", "-q", "-t", "pruned", "--build-arg", &format!("N=p{round}"), "check"]);
                self.world.ok(&["run", "busybox", "true"]);
                "system prune -f".to_owned()
            }
            Subject::Run if self.round.is_multiple_of(2) => "run --rm busybox cat /etc/passwd".to_owned(),
            Subject::Run => "run busybox cat /etc/passwd".to_owned(),
            Subject::Remove => {
                self.world.ok(&["build", "-q", "-t", "removed", "--build-arg", &format!("N=r{round}"), "check"]);
                "rmi removed".to_owned()
            }
            Subject::Load => {
                self.world.write("load/file", &round);
                self.world.write("load/Dockerfile", "FROM scratch\nCOPY file /\n");
                self.world.ok(&["build", "-q", "-o", "type=docker,name=loaded,dest=loaded.tar", "load"]);
                "load -i loaded.tar".to_owned()
            }
            Subject::Import => {
                self.world.write("load/file", &round);
                self.world.write("load/Dockerfile", "FROM scratch\nCOPY file /\n");
                self.world.ok(&["build", "-q", "-o", "type=tar,dest=tree.tar", "load"]);
                "import tree.tar imported".to_owned()
            }
            Subject::Save => {
                self.world.write("saved.tar", SAVED_BEFORE);
                "save -o saved.tar busybox".to_owned()
            }
        };
        text.split(' ').map(str::to_owned).collect()
    }

    fn run(&self, args: &[String], fault: &str) -> Output {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.world.command(&args).env(store::fault::VARIABLE, fault).output().unwrap()
    }

    /// Returns the points that a command passes.
    fn points(&mut self, subject: Subject) -> Vec<String> {
        let args = self.prepare(subject);
        let list = self.world.path("points");
        let ended = self.run(&args, &format!("list:{}", list.display()));
        assert!(ended.status.success(), "{subject:?}: {}", String::from_utf8_lossy(&ended.stderr));
        let points = self.world.read("points").lines().map(str::to_owned).collect();
        std::fs::remove_file(list).unwrap();
        points
    }

    /// Checks that the store opens and lists, that every name has a whole image, and that what was saved is old or new.
    #[track_caller]
    fn check_lists(&self, what: &str) {
        if let Ok(saved) = std::fs::read(self.world.path("saved.tar"))
            && saved != SAVED_BEFORE.as_bytes()
        {
            let other = World::empty();
            let loaded = other.kiln(&["load", "-i", self.world.path("saved.tar").to_str().unwrap()]);
            assert_eq!((loaded.code, loaded.stdout), (0, "Loaded image: busybox:latest\n".to_owned()), "{what}");
        }
        let listed = self.world.kiln(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        assert_eq!(listed.code, 0, "{what}: {}", listed.stderr);
        for name in listed.stdout.lines().filter(|name| !name.starts_with('<')) {
            let saved = self.world.kiln(&["save", "-o", "/dev/null", name]);
            assert_eq!(saved.code, 0, "{what}: {name}: {}", saved.stderr);
        }
    }

    /// Checks that the store builds and runs.
    #[track_caller]
    fn check_builds(&self, what: &str) {
        let number = format!("N=c{}", self.round);
        let built = self.world.kiln(&["build", "-q", "-t", "check", "--build-arg", &number, "check"]);
        assert_eq!(built.code, 0, "{what}: {}", built.stderr);
        let ran = self.world.kiln(&["run", "--rm", "check", "cat", "/n"]);
        assert_eq!((ran.code, ran.stdout), (0, format!("c{}\n", self.round)), "{what}: {}", ran.stderr);
    }

    /// Checks that the store opens, lists and builds, and every tenth time all that it has.
    #[track_caller]
    fn check_place(&self, place: usize, what: &str) {
        if place % 10 == 9 {
            self.check_lists(what);
            return self.check_builds(what);
        }
        let number = format!("N=c{}", self.round);
        for args in [vec!["images"], vec!["build", "-q", "-t", "check", "--build-arg", &number, "check"]] {
            let ended = self.world.kiln(&args);
            assert_eq!(ended.code, 0, "{what}: {}", ended.stderr);
        }
    }

    /// Removes the containers that were killed, as a user does, and saves once more; `World` looks that nothing else is left.
    #[track_caller]
    fn tidy_up(&self) {
        self.world.ok(&["system", "prune", "-f"]);
        self.world.ok(&["save", "-o", "saved.tar", "busybox"]);
        assert_eq!(self.drafts_of_exports(), [""; 0]);
    }

    /// Returns the names of what was being written where users see it.
    fn drafts_of_exports(&self) -> Vec<String> {
        let there = std::fs::read_dir(self.world.path("")).unwrap();
        let names = there.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".tmp")).collect()
    }
}

/// Fails and dies at each point that a command passes.
#[track_caller]
fn check(subject: Subject, expected_points: &[&str]) {
    let mut fixture = Fixture::new();
    let points: BTreeSet<String> = fixture.points(subject).into_iter().collect();
    for expected in expected_points {
        assert!(points.contains(*expected), "{subject:?} does not pass `{expected}`, only {points:?}");
    }
    for point in &points {
        for action in ["fail", "die"] {
            let fault = format!("{action}:{point}");
            let args = fixture.prepare(subject);
            let ended = Ended::of(&fixture.run(&args, &fault));
            let what = format!("{subject:?} {fault}");
            // Some points are passed only by the first command of a store, or once in ten minutes.
            let must_die = action == "die" && expected_points.contains(&point.as_str());
            assert!(!must_die || ended.code == -1, "{what}: {}", ended.stderr);
            assert!(!ended.stderr.contains("panicked"), "{what}: {}", ended.stderr);
            fixture.check_lists(&what);
            fixture.check_builds(&what);
        }
    }
    fixture.tidy_up();
}

#[test]
fn a_build_may_fail_and_die_at_every_point() {
    check(
        Subject::Build,
        &["step.ran", "layer.keep", "cache.commit", "store.flushed", "meta.commit", "meta.committed"],
    );
}

#[test]
fn a_pull_may_fail_and_die_at_every_point() {
    check(Subject::Pull, &["pull.unpacked", "blob.rename", "blob.renamed", "store.flush", "meta.commit"]);
}

#[test]
fn a_tag_may_fail_and_die_at_every_point() {
    check(Subject::Tag, &["meta.commit", "meta.committed"]);
}

#[test]
fn a_pruning_may_fail_and_die_at_every_point() {
    check(Subject::Prune, &["epoch.end", "collect.bury", "trash.bury", "trash.unlink", "container.discarded"]);
}

#[test]
fn a_container_may_fail_and_die_at_every_point() {
    check(Subject::Run, &["container.made", "meta.commit", "run.start", "run.ended"]);
}

#[test]
fn a_removal_may_fail_and_die_at_every_point() {
    check(Subject::Remove, &["meta.commit", "meta.committed"]);
}

#[test]
fn a_loading_may_fail_and_die_at_every_point() {
    check(Subject::Load, &["blob.rename", "blob.renamed", "meta.commit", "meta.committed"]);
}

#[test]
fn an_import_may_fail_and_die_at_every_point() {
    check(Subject::Import, &["layer.marked", "pull.unpacked", "layer.keep", "store.flushed", "meta.commit"]);
}

#[test]
fn a_saving_may_fail_and_die_at_every_point() {
    check(Subject::Save, &["export.write", "export.rename", "export.linked"]);
}

#[test]
fn a_saving_that_is_killed_leaves_nothing_beside_its_target() {
    let mut fixture = Fixture::new();
    for (point, left) in
        [("export.write", vec![]), ("export.rename", vec![]), ("export.linked", vec![".saved.tar.kiln.tmp"])]
    {
        let args = fixture.prepare(Subject::Save);
        let ended = fixture.run(&args, &format!("die:{point}"));
        assert_eq!(Ended::of(&ended).code, -1, "{point}");
        assert_eq!(fixture.world.read("saved.tar"), SAVED_BEFORE, "{point}");
        assert_eq!(fixture.drafts_of_exports(), left, "{point}");
        fixture.tidy_up();
        // Where nothing is in its place, there is no name for between.
        std::fs::remove_file(fixture.world.path("saved.tar")).unwrap();
        fixture.run(&args, &format!("die:{point}"));
        assert_eq!(fixture.drafts_of_exports(), [""; 0], "{point}");
    }
}

/// How many places each of the tests below takes; there are four of them.
const PLACES: usize = 52;

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

/// Dies at passings of points that nobody chose.
fn die_at_passings(seed: u64) {
    let (mut fixture, mut numbers) = (Fixture::new(), Numbers(seed));
    let passings = SUBJECTS.map(|subject| fixture.points(subject).len());
    for place in 0..PLACES {
        let kind = place % SUBJECTS.len();
        let fault = format!("die:*:{}", 1 + numbers.below(passings[kind]));
        let args = fixture.prepare(SUBJECTS[kind]);
        fixture.run(&args, &fault);
        fixture.check_place(place, &format!("{:?} {fault}", SUBJECTS[kind]));
    }
    fixture.tidy_up();
}

/// Kills after times that nobody chose.
fn kill_after_times(seed: u64) {
    let (mut fixture, mut numbers) = (Fixture::new(), Numbers(seed));
    let times = SUBJECTS.map(|subject| {
        let args = fixture.prepare(subject);
        let began = Instant::now();
        fixture.run(&args, "");
        began.elapsed()
    });
    for place in 0..PLACES {
        let kind = place % SUBJECTS.len();
        let args = fixture.prepare(SUBJECTS[kind]);
        let time = Duration::from_nanos(numbers.below(times[kind].as_nanos() as usize) as u64);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut child = fixture.world.spawn(&args);
        let began = Instant::now();
        // Not to wait for something: the time is what is tested.
        while began.elapsed() < time {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        fixture.check_place(place, &format!("{:?} killed after {time:?}", SUBJECTS[kind]));
    }
    fixture.tidy_up();
}

#[test]
fn commands_may_die_at_any_passing() {
    die_at_passings(0x9e37_79b9_7f4a_7c15);
}

#[test]
fn commands_may_die_at_any_other_passing() {
    die_at_passings(0xd1b5_4a32_d192_ed03);
}

#[test]
fn commands_may_be_killed_at_any_time() {
    kill_after_times(0x2545_f491_4f6c_dd1d);
}

#[test]
fn commands_may_be_killed_at_any_other_time() {
    kill_after_times(0x8cb9_2ba7_2f3d_8dd7);
}
