//! What is in a cache key and what is not: the specification, lines 95 to 106, on the real binary. Lines 95, 96 and 101 are also tested with `COPY` and `--no-cache`.

use std::os::unix::fs::PermissionsExt;

use crate::world::World;

const BASE: &str = "FROM busybox\n";

/// A Dockerfile with options of the command line, built after another.
struct Build<'a> {
    lines: &'a str,
    flags: &'a [&'a str],
}

fn build<'a>(lines: &'a str, flags: &'a [&'a str]) -> Build<'a> {
    Build { lines, flags }
}

impl Build<'_> {
    /// Returns what ran.
    #[track_caller]
    fn ran(&self, world: &World) -> String {
        world.write("ctx/Dockerfile", format!("{BASE}{}", self.lines));
        let args: Vec<&str> = self.flags.iter().copied().chain(["-t", "app", "ctx"]).collect();
        let summary = world.build_summary(&args);
        summary.lines().next().unwrap().trim_start_matches("ran:").trim().to_owned()
    }
}

/// Builds one after the other, and checks what ran the second time.
#[track_caller]
fn check(first: &Build<'_>, second: &Build<'_>, expected: &str) {
    let world = World::new();
    world.write("ctx/f", "f\n");
    first.ran(&world);
    assert_eq!(second.ran(&world), expected);
}

#[track_caller]
fn check_lines(first: &str, second: &str, expected: &str) {
    check(&build(first, &[]), &build(second, &[]), expected);
}

// Spec 97.
#[test]
fn a_copied_file_that_a_step_made_again_as_it_was_is_a_hit() {
    let lines = |made: &str| format!("RUN {made}\nFROM busybox\nCOPY --from=0 /made /\n");
    check_lines(
        &lines("echo 1 > /made; echo 1 > /other"),
        &lines("echo 1 > /made; echo 2 > /other"),
        "RUN echo 1 > /made; echo 2 > /other",
    );
}

// Spec 98.
#[test]
fn what_a_command_sees_counts_and_what_it_does_not_see_does_not() {
    let run = "RUN true\n";
    for line in ["LABEL a=b", "CMD x", "EXPOSE 80", "VOLUME /v", "ENTRYPOINT x", "HEALTHCHECK CMD x"] {
        check_lines(run, &format!("{line}\n{run}"), "");
    }
    for line in ["ENV A=b", "ARG A=b", "USER 33", "SHELL [\"/bin/sh\", \"-ec\"]"] {
        check_lines(run, &format!("{line}\n{run}"), "RUN true");
    }
    check_lines(run, &format!("WORKDIR /w\n{run}"), "RUN true; WORKDIR /w");
    let argument = |value: &'static str| ["--build-arg".to_owned(), format!("A={value}")];
    let (one, two) = (argument("1"), argument("2"));
    let (one, two) = (one.each_ref().map(String::as_str), two.each_ref().map(String::as_str));
    check(&build("ARG A\nCOPY f /\n", &one), &build("ARG A\nCOPY f /\n", &two), "");
    check(&build("ARG A\nRUN true\n", &one), &build("ARG A\nRUN true\n", &two), "RUN true");
}

// Spec 99.
#[test]
fn what_differs_from_machine_to_machine_does_not_count() {
    let run = "RUN true\n";
    check(
        &build(run, &["--build-arg", "HTTP_PROXY=http://a"]),
        &build(run, &["--build-arg", "HTTP_PROXY=http://b"]),
        "",
    );
    check(&build(run, &["--add-host", "db:10.0.0.1"]), &build(run, &["--add-host", "db:10.0.0.2"]), "");
    check(&build(run, &["--add-host", "db:10.0.0.1"]), &build(run, &["--add-host", "cache:10.0.0.1"]), "RUN true");
    let mount = |id: &str| format!("RUN --mount=type=cache,id={id},target=/c true\n");
    let [one, two] = ["a", "b"].map(|id| mount(id).trim_start_matches("RUN ").trim_end().to_owned());
    check_lines(&format!("RUN {one}\n"), &format!("RUN {two}\n"), "");
    let world = World::new();
    let lines = "RUN --mount=type=secret,id=s cat /run/secrets/s > /dev/null\n";
    for (value, expected) in [("1", lines.trim_start_matches("RUN ").trim_end()), ("2", "")] {
        world.write("secret", value);
        let flags = ["--secret", "id=s,src=secret"];
        let expected = if expected.is_empty() { String::new() } else { format!("RUN {expected}") };
        assert_eq!(build(lines, &flags).ran(&world), expected);
    }
}

// Spec 100.
#[test]
fn of_a_mounted_stage_only_what_is_mounted_counts() {
    let lines = |other: &str| {
        format!(
            "FROM busybox AS made\nRUN mkdir /a; echo 1 > /a/f; echo {other} > /b\nFROM busybox\nRUN --mount=from=made,source=/a,target=/m cat /m/f\n"
        )
    };
    check_lines(&lines("1"), &lines("2"), "RUN mkdir /a; echo 1 > /a/f; echo 2 > /b");
}

// Spec 102.
#[test]
fn an_argument_does_not_count_before_it_is_declared() {
    let lines = "RUN true\nARG A\nRUN echo\n";
    check(&build(lines, &["--build-arg", "A=1"]), &build(lines, &["--build-arg", "A=2"]), "RUN echo");
}

// Spec 103.
#[test]
fn equal_steps_of_two_stages_are_one() {
    let world = World::new();
    let lines = "RUN echo same > /f\nFROM busybox\nRUN echo same > /f\nFROM busybox\nCOPY --from=0 /f /a\nCOPY --from=1 /f /b\n";
    assert_eq!(build(lines, &[]).ran(&world), "COPY --from=0 /f /a; COPY --from=1 /f /b; RUN echo same > /f");
}

// Spec 104.
#[test]
fn a_failed_step_runs_again_and_its_cache_mount_is_as_it_left_it() {
    let world = World::new();
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN --mount=type=cache,target=/c echo more >> /c/log; [ $(wc -l < /c/log) = 2 ]\n",
    );
    assert_eq!(world.kiln(&["build", "ctx"]).code, 1);
    world.ok(&["build", "-q", "ctx"]);
}

// Spec 106.
#[test]
fn the_attributes_of_copied_files_count_and_times_do_not() {
    let world = World::new();
    world.write("ctx/d/f", "f\n");
    let path = world.path("ctx/d/f");
    let lines = "COPY d /d/\n";
    let ran = "COPY d /d/";
    assert_eq!(build(lines, &[]).ran(&world), ran);
    let set = |name: &str| rustix::fs::setxattr(&path, name, b"x", rustix::fs::XattrFlags::empty()).unwrap();
    let touched = std::fs::File::options().write(true).open(&path).unwrap();
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(build(lines, &[]).ran(&world), "");
    set("user.kind");
    assert_eq!(build(lines, &[]).ran(&world), ran);
    // Those of the machine's security are left out.
    set("security.kind");
    assert_eq!(build(lines, &[]).ran(&world), "");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4755)).unwrap();
    assert_eq!(build(lines, &[]).ran(&world), ran);
    // Files of a context belong to root, whoever owns them.
    std::os::unix::fs::chown(&path, Some(33), Some(33)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4755)).unwrap();
    assert_eq!(build(lines, &[]).ran(&world), "");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    assert_eq!(build(lines, &[]).ran(&world), ran);
}
