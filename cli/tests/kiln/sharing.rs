//! Several kilns on one store at the same time: equal steps run once, and nobody takes anything from anybody.

use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::power::is_stopped;
use crate::world::{Ended, World};

/// How many kilns build the same at once.
const BUILDS: usize = 20;

/// A step that leaves a line in a cache mount, which nothing takes back: what the lines say is what ran.
fn counted(name: &str, command: &str) -> String {
    format!("RUN --mount=type=cache,target=/count,sharing=shared echo {name} >> /count/{name}; {command}\n")
}

/// Returns what was counted, a line for each step that ran.
#[track_caller]
fn executions(world: &World) -> String {
    let dockerfile = "FROM busybox\nRUN --mount=type=cache,target=/count cat /count/* | tee /all\n";
    world.write("reading/Dockerfile", dockerfile);
    world.build(&["--no-cache", "-t", "counted", "reading"]);
    world.in_image("counted", "cat /all")
}

fn end(build: Child) -> Ended {
    Ended::of(&build.wait_with_output().unwrap())
}

// Spec 103.
#[test]
fn twenty_builds_at_once_run_every_step_once() {
    let world = World::new();
    let stage = |name: &str| {
        format!(
            "FROM busybox AS {name}\nCOPY file /\n{}{}",
            counted(&format!("{name}1"), "cat /file > /made"),
            counted(&format!("{name}2"), "cat /file >> /made"),
        )
    };
    let last = counted("last", "cat /made /other > /all");
    world.write("ctx/Dockerfile", format!("{}{}COPY --from=one /made /other\n{last}", stage("one"), stage("two")));
    world.write("ctx/file", "content\n");
    let builds: Vec<Child> =
        (0..BUILDS).map(|number| world.spawn(&["build", "-t", &format!("app{number}"), "ctx"])).collect();
    for ended in builds.into_iter().map(end) {
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }
    assert_eq!(executions(&world), "last\none1\none2\ntwo1\ntwo2\n");
    let ids: std::collections::BTreeSet<String> =
        (0..BUILDS).map(|number| world.ok(&["inspect", "-f", "{{.RootFS.Layers}}", &format!("app{number}")])).collect();
    assert_eq!(ids.len(), 1);
}

/// Starts a build whose step waits in its first run, and another build of the same as soon as it does; then the first comes to its end by `stop`.
fn take_over(stop: impl FnOnce(&World, &Child)) -> (Ended, Ended, String) {
    let world = World::new();
    let wait = "if mkdir /count/first; then until [ -e /count/stop ]; do sleep 0.01; done; exit 1; fi; rm -r /count/first /count/stop";
    world.write("ctx/Dockerfile", format!("FROM busybox\n{}", counted("step", wait)));
    let first = world.spawn(&["build", "-t", "first", "ctx"]);
    let mounts = world.store().join("cache-mounts");
    let runs =
        || std::fs::read_dir(&mounts).is_ok_and(|mut dirs| dirs.any(|dir| dir.unwrap().path().join("first").exists()));
    while !runs() {
        std::thread::yield_now();
    }
    let second = world.spawn(&["build", "-t", "second", "ctx"]);
    stop(&world, &first);
    let (first, second) = (end(first), end(second));
    (first, second, executions(&world))
}

fn cache_mount(world: &World) -> std::path::PathBuf {
    std::fs::read_dir(world.store().join("cache-mounts")).unwrap().next().unwrap().unwrap().path()
}

// Spec 104: a failed step is not recorded.
#[test]
fn a_build_that_waited_for_one_that_failed_runs_the_step_itself() {
    let (first, second, ran) = take_over(|world, _| std::fs::write(cache_mount(world).join("stop"), "").unwrap());
    assert_eq!((first.code, second.code), (1, 0), "{}{}", first.stderr, second.stderr);
    assert_eq!(ran, "step\nstep\n");
}

#[test]
fn a_build_that_waited_for_one_that_was_killed_runs_the_step_itself() {
    let (first, second, ran) = take_over(|world, first| {
        kill_process(Pid::from_child(first), Signal::KILL).unwrap();
        std::fs::write(cache_mount(world).join("stop"), "").unwrap();
    });
    assert_eq!((first.code, second.code), (-1, 0), "{}{}", first.stderr, second.stderr);
    assert_eq!(ran, "step\nstep\n");
}

/// How often each of those who disturb each other does its work.
const ROUNDS: usize = 12;

#[test]
fn builds_a_pruning_and_containers_at_once_never_break_each_other() {
    let world = World::new();
    world.write("one/Dockerfile", "FROM busybox\nARG N\nRUN echo $N > /n\nRUN --mount=type=cache,target=/c cat /n | tee /c/n > /m\nRUN cat /m /n > /k\n");
    world.write(
        "two/Dockerfile",
        "FROM busybox AS a\nRUN echo a > /a\nFROM busybox\nARG N\nCOPY --from=a /a /\nRUN echo $N > /n\n",
    );
    let work = |name: &str, round: usize| {
        let argument = format!("N={}", round % 3);
        match name {
            "build one" => world.ok(&["build", "-q", "-t", "one", "--build-arg", &argument, "one"]),
            "build two" => world.ok(&["build", "-q", "-t", "two", "--build-arg", &argument, "two"]),
            "prune" if round.is_multiple_of(2) => world.ok(&["system", "prune", "-f"]),
            "prune" => world.ok(&["builder", "prune", "-af"]),
            _ => world.ok(&["run", "--rm", "busybox", "cat", "/etc/passwd"]),
        }
    };
    std::thread::scope(|scope| {
        for name in ["build one", "build two", "prune", "run"] {
            let work = &work;
            scope.spawn(move || (0..ROUNDS).for_each(|round| drop(work(name, round))));
        }
    });
    let last = format!("{}\n", (ROUNDS - 1) % 3);
    assert_eq!(world.in_image("one", "cat /m"), last);
    assert_eq!(world.in_image("two", "cat /a /n"), format!("a\n{last}"));
}

/// Stops a command at a fault point until another one is over, and returns what it comes to.
#[track_caller]
fn stopped_meanwhile(world: &World, args: &[&str], point: &str, other: &[&str]) -> Ended {
    let stopped = world.command(args).env(store::fault::VARIABLE, format!("stop:{point}")).spawn().unwrap();
    assert!(is_stopped(&stopped), "{args:?} does not pass `{point}`");
    world.ok(other);
    kill_process(Pid::from_child(&stopped), Signal::CONT).unwrap();
    let ended = end(stopped);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended
}

#[test]
fn a_directory_that_was_taken_for_that_of_a_dead_process_is_made_again() {
    let world = World::new();
    world.write("ctx/Dockerfile", "FROM busybox\nARG N\nRUN echo $N > /n\n");
    let build = ["build", "-q", "-t", "app", "--build-arg", "N=1", "ctx"];
    let other = ["build", "-q", "-t", "other", "--build-arg", "N=2", "ctx"];
    // Nobody holds the directory yet: whoever writes next tidies up.
    stopped_meanwhile(&world, &build, "drafts.made", &other);
    let run = ["run", "--rm", "app", "cat", "/n"];
    assert_eq!(stopped_meanwhile(&world, &run, "container.made", &["system", "prune", "-f"]).stdout, "1\n");
}

#[test]
fn a_cache_mount_that_was_pruned_before_it_was_held_is_made_again() {
    let world = World::new();
    world.write("ctx/Dockerfile", "FROM busybox\nARG N\nRUN --mount=type=cache,target=/c echo $N > /c/n; cp /c/n /n\n");
    world.ok(&["build", "-q", "-t", "before", "--build-arg", "N=1", "ctx"]);
    let build = ["build", "-q", "-t", "app", "--build-arg", "N=2", "ctx"];
    stopped_meanwhile(&world, &build, "cache-mount.open", &["prune", "-af"]);
    assert_eq!(world.in_image("app", "cat /n"), "2\n");
}

#[test]
fn no_more_steps_run_at_once_than_are_allowed_to() {
    let world = World::new();
    let stage = |name: usize| {
        format!(
            "FROM busybox AS s{name}\nRUN --mount=type=cache,target=/c mkdir /c/alone && sleep 0.02 && rmdir /c/alone && echo {name} > /f\n"
        )
    };
    let copies: String = (0..4).map(|name| format!("COPY --from=s{name} /f /{name}\n")).collect();
    world.write("ctx/Dockerfile", format!("{}FROM busybox\n{copies}", (0..4).map(stage).collect::<String>()));
    world.build(&["--jobs", "1", "-t", "app", "ctx"]);
}

#[test]
fn what_did_not_end_well_is_never_said_to_be_cached() {
    let world = World::new();
    world.write(
        "ctx/Dockerfile",
        "FROM busybox AS a\nRUN echo done > /f\nFROM a AS b\nRUN --mount=type=cache,target=/c until [ -e /c/up ]; do sleep 0.01; done; exit 3\n\
         FROM a AS c\nRUN --mount=type=cache,target=/c touch /c/up; sleep 86396\nRUN echo never\n\
         FROM busybox\nCOPY --from=b /f /\nCOPY --from=c /f /\n",
    );
    let ended = world.kiln(&["build", "--progress", "plain", "ctx"]);
    assert_eq!(ended.code, 1);
    let outcome = |step: &str| {
        let number = ended.stderr.lines().find(|line| line.ends_with(step)).and_then(|line| line.split(' ').next());
        let lines =
            ended.stderr.lines().filter(|line| number.is_some_and(|number| line.starts_with(&format!("{number} "))));
        let words = ["DONE", "CACHED", "ERROR", "CANCELED"];
        lines
            .filter_map(|line| line.split(' ').nth(1))
            .find(|word| words.contains(&word.trim_end_matches(':')))
            .map(str::to_owned)
    };
    assert_eq!(outcome("RUN echo done > /f").as_deref(), Some("DONE"));
    assert_eq!(outcome("exit 3").as_deref(), Some("ERROR:"));
    assert_eq!(outcome("sleep 86396").as_deref(), Some("CANCELED"));
    assert_eq!(outcome("RUN echo never"), None);
    let listed = world.ok(&["builds", "inspect", "--format", "{{range .Steps}}{{.Name}}: {{.Status}}\n{{end}}"]);
    assert!(listed.contains("RUN echo never: not run"), "{listed}");
}

/// Starts a kiln that is process 1 of a PID namespace of its own, as in a container.
fn spawn_as_init(world: &World, args: &[&str]) -> Child {
    let kiln = world.command(args);
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(kiln.get_program()).args(kiln.get_args());
    command.env_clear().envs(kiln.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(world.path("")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn kilns_that_are_all_process_1_share_a_store() {
    let world = World::new();
    let steps: String =
        (0..5).map(|number| counted(&format!("step{number}"), &format!("echo {number} >> /made"))).collect();
    world.write("ctx/Dockerfile", format!("FROM busybox\n{steps}"));
    let build = |tag: &str| spawn_as_init(&world, &["build", "-t", tag, "ctx"]);
    let mut kilns: Vec<Child> = ["a", "b", "c", "d"].into_iter().map(build).collect();
    kilns.push(spawn_as_init(&world, &["prune", "-f", "--filter", "type=regular"]));
    kilns.push(spawn_as_init(&world, &["run", "--rm", "busybox", "true"]));
    kilns.push(spawn_as_init(&world, &["tag", "busybox", "other"]));
    for ended in kilns.into_iter().map(end) {
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }
    let first = executions(&world);
    // The pruning may have come between two steps; then one of them ran again.
    let ran: std::collections::BTreeSet<&str> = first.lines().collect();
    assert_eq!(ran.len(), 5, "{first}");
    assert_eq!(world.in_image("d", "cat /made"), "0\n1\n2\n3\n4\n");
}
