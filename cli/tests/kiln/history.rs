//! Why steps ran, what would run, and the history of builds.

use expect_test::{Expect, expect};

use crate::world::{World, filter};

const DOCKERFILE: &str = "FROM busybox AS build\nARG MODE=fast\nWORKDIR /src\nCOPY src .\nRUN echo $MODE > made && cat *.c >> made\n\
                          FROM busybox\nCOPY --from=build /src/made /made\n";

fn world() -> World {
    let world = World::new();
    world.write("ctx/Dockerfile", DOCKERFILE);
    world.write("ctx/src/a.c", "1\n");
    world.write("ctx/src/b.c", "2\n");
    world
}

/// Returns what `--explain` says of a build.
#[track_caller]
fn explain(world: &World, args: &[&str]) -> String {
    let args = [&["build", "--progress", "none", "--explain"], args, &["ctx"]].concat();
    let ended = world.kiln(&args);
    filter(&ended.stderr.split("\nERROR").next().unwrap_or_default().replace("ERROR: ", ""))
}

/// Builds, changes something, and says why the next build runs what it runs.
#[track_caller]
fn check(change: impl FnOnce(&World), args: &[&str], expected: Expect) {
    let world = world();
    world.build(&["-t", "app", "ctx"]);
    change(&world);
    expected.assert_eq(&explain(&world, args));
}

#[test]
fn a_first_build_runs_what_was_never_built() {
    expect![[r#"

        Why steps ran:
          [build 2/4] WORKDIR /src
            never built
          [build 3/4] COPY src .
            never built
          [build 4/4] RUN echo fast > made && cat *.c >> made
            never built
          [stage-1 2/2] COPY --from=build /src/made /made
            never built
    "#]]
    .assert_eq(&explain(&world(), &[]));
}

#[test]
fn a_cached_build_says_that_nothing_ran() {
    check(
        |_| {},
        &[],
        expect![[r#"

        No step had to run.
    "#]],
    );
}

#[test]
fn a_file_of_the_context_is_named_that_changed() {
    check(
        |world| world.write("ctx/src/a.c", "3\n"),
        &[],
        expect![[r#"

        Why steps ran:
          [build 3/4] COPY src .
            context file src/a.c: content changed
          [build 4/4] RUN echo fast > made && cat *.c >> made
            `COPY src .` made other files
          [stage-1 2/2] COPY --from=build /src/made /made
            `RUN echo fast > made && cat *.c >> made` made other files
    "#]],
    );
    check(
        |world| {
            world.write("ctx/src/new.c", "3\n");
            std::fs::remove_file(world.path("ctx/src/b.c")).unwrap();
        },
        &[],
        expect![[r#"

            Why steps ran:
              [build 3/4] COPY src .
                context file src/b.c: removed (and 1 more)
              [build 4/4] RUN echo fast > made && cat *.c >> made
                `COPY src .` made other files
              [stage-1 2/2] COPY --from=build /src/made /made
                `RUN echo fast > made && cat *.c >> made` made other files
        "#]],
    );
}

#[test]
fn a_variable_and_a_command_are_shown_as_they_were_and_are() {
    check(
        |_| {},
        &["--build-arg", "MODE=slow"],
        expect![[r#"

        Why steps ran:
          [build 4/4] RUN echo slow > made && cat *.c >> made
            ENV MODE: fast → slow
          [stage-1 2/2] COPY --from=build /src/made /made
            `RUN echo slow > made && cat *.c >> made` made other files
    "#]],
    );
    let change = |from: &'static str, to: &'static str| {
        move |world: &World| world.write("ctx/Dockerfile", DOCKERFILE.replace(from, to))
    };
    check(
        change("cat *.c >>", "cat a.c b.c >>"),
        &[],
        expect![[r#"

        Why steps ran:
          [build 4/4] RUN echo fast > made && cat a.c b.c >> made
            command: echo $MODE > made && cat *.c >> made → echo $MODE > made && cat a.c b.c >> made
    "#]],
    );
    check(
        change("WORKDIR /src", "WORKDIR /src\nRUN true"),
        &[],
        expect![[r#"

        Why steps ran:
          [build 3/5] RUN true
            never built
          [build 4/5] COPY src .
            `RUN true` made other files
          [build 5/5] RUN echo fast > made && cat *.c >> made
            `COPY src .` made other files
    "#]],
    );
}

#[test]
fn a_base_image_is_named_that_moved() {
    check(
        |world| {
            world.write("base/Dockerfile", "FROM busybox\nRUN echo moved > /moved\n");
            world.ok(&["build", "-t", "busybox", "base"]);
        },
        &[],
        expect![[r#"

            Why steps ran:
              [build 2/4] WORKDIR /src
                base image busybox:latest moved to [DIGEST]
              [build 3/4] COPY src .
                `WORKDIR /src` made other files
              [build 4/4] RUN echo fast > made && cat *.c >> made
                `COPY src .` made other files
              [stage-1 2/2] COPY --from=build /src/made /made
                base image busybox:latest moved to [DIGEST]
        "#]],
    );
}

#[test]
fn ignoring_the_cache_and_pruning_are_reasons() {
    check(
        |_| {},
        &["--no-cache-filter", "build"],
        expect![[r#"

        Why steps ran:
          [build 2/4] WORKDIR /src
            the cache was not asked (--no-cache)
          [build 3/4] COPY src .
            the cache was not asked (--no-cache)
          [build 4/4] RUN echo fast > made && cat *.c >> made
            the cache was not asked (--no-cache)
    "#]],
    );
    let world = world();
    world.build(&["ctx"]);
    world.ok(&["system", "prune", "-f"]);
    let said = explain(&world, &[]);
    assert!(said.contains("COPY src .\n    pruned on "), "{said}");
}

#[test]
fn a_failed_step_is_not_said_to_be_lost() {
    let world = World::new();
    world.write("ctx/Dockerfile", "FROM busybox\nRUN exit 3\n");
    world.kiln(&["build", "ctx"]);
    let said = explain(&world, &[]);
    assert!(said.contains("RUN exit 3\n    it failed the last time\n"), "{said}");
}

#[test]
fn a_dry_run_says_what_would_run_and_runs_nothing() {
    let world = world();
    world.build(&["-t", "app", "ctx"]);
    world.write("ctx/src/a.c", "3\n");
    let dry_run = |world: &World| {
        let said = world.ok(&["build", "--progress", "none", "--dry-run", "ctx"]);
        let squeezed = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n");
        filter(&squeezed.collect::<String>())
    };
    let before = world.ok(&["builds", "ls", "-q"]);
    expect![[r#"
        STATE LAST TIME STEP WHY
        maybe [build 1/4] FROM docker.io/library/busybox:latest@[DIGEST]
        cached [build 2/4] WORKDIR /src
        run [TIME] [build 3/4] COPY src . context file src/a.c: content changed
        maybe [TIME] [build 4/4] RUN echo fast > made && cat *.c >> made `COPY src .` made other files
        maybe [TIME] [stage-1 2/2] COPY --from=build /src/made /made `RUN echo fast > made && cat *.c >> made` made other files
    "#]]
    .assert_eq(&dry_run(&world));
    assert!(dry_run(&world).contains("src/a.c"));
    assert_eq!(world.ok(&["builds", "ls", "-q"]), before);
}

#[test]
fn builds_are_kept_with_their_steps_and_all_that_they_wrote() {
    let world = World::new();
    world.write("ctx/Dockerfile", "FROM busybox\nRUN echo hello; seq 1 400000\nRUN echo there >&2; exit 3\n");
    assert_eq!(world.kiln(&["build", "--progress", "plain", "-t", "app", "ctx"]).code, 1);
    world.write("ctx/Dockerfile", "FROM busybox\nRUN echo hello; seq 1 400000\n");
    world.build(&["-t", "app", "ctx"]);

    let listed = world.ok(&["builds", "ls", "--format", "{{.Name}} {{.Status}} {{.Steps}} {{.Cached}}"]);
    expect![[r#"
        ctx Completed 5 2
        ctx Error 5 0
    "#]]
    .assert_eq(&listed);
    let ids = world.ok(&["builder", "history", "ls", "-q", "--no-trunc"]);
    let (last, first) = ids.trim().split_once('\n').unwrap();

    let inspected = world.ok(&["builds", "inspect", "--format", "{{.Status}} {{.Error}} {{.NumTotalSteps}}", first]);
    expect![[r#"
        error process "/bin/sh -c echo there >&2; exit 3" did not complete successfully: exit code: 3 5
    "#]]
    .assert_eq(&inspected);
    let shown = world.ok(&["builds", "inspect", last]);
    assert!(shown.contains("cached") && shown.contains("[2/2] RUN echo hello"), "{shown}");

    // The screen cuts what is longer than two megabytes; the history does not.
    let log = world.ok(&["builds", "logs", first]);
    assert!(log.contains(" hello\n") && log.contains(" 400000\n") && log.contains(" there\n"));
    let exported = world.ok(&["builds", "export", first]);
    assert!(exported.starts_with("{\"begin\":{\"id\":\"") && exported.lines().last().unwrap().starts_with("{\"end\":"));

    world.ok(&["builds", "rm", first]);
    assert_eq!(world.ok(&["builds", "ls", "-q", "--no-trunc"]), format!("{last}\n"));
    world.ok(&["builds", "rm", "--all"]);
    assert_eq!(world.ok(&["builds", "ls", "-q"]), "");
    let none = world.kiln(&["builds", "inspect"]);
    expect![[r#"
        1 error: no record found for the last build

        hint: `kiln builds ls` lists the builds that are kept
    "#]]
    .assert_eq(&format!("{} {}", none.code, none.stderr));
}

#[test]
fn where_the_result_of_a_build_went_and_what_it_warned_of_is_kept() {
    let world = World::new();
    world.write("ctx/Dockerfile", "FROM busybox AS Base\nRUN echo hello > /f\n");
    let outputs = ["-o", "type=tar,dest=out.tar", "-o", "type=local,dest=out", "-o", "type=image"];
    world.ok(&[&["build", "-q", "-t", "app"], &outputs[..], &["ctx"]].concat());
    let kept = world.ok(&["builds", "inspect", "--format", "{{json .Outputs}} {{json .Tags}} {{json .Warnings}}"]);
    let (tar, directory) = (world.path("out.tar"), world.path("out"));
    assert_eq!(
        kept,
        format!(
            "[\"type=tar,dest={}\",\"type=local,dest={}\",\"type=image\"] [\"docker.io/library/app:latest\"] \
             [\"StageNameCasing: Stage name 'Base' should be lowercase (line 1)\"]\n",
            tar.display(),
            directory.display()
        )
    );
    let shown = world.ok(&["builds", "inspect"]);
    assert!(shown.contains(&format!("Output:       type=local,dest={}\n", directory.display())), "{shown}");
    assert!(shown.contains("\nwarning: StageNameCasing"), "{shown}");
}

#[test]
fn a_build_that_was_killed_is_said_to_be() {
    let world = World::new();
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN --mount=type=cache,target=/c touch /c/up && while true; do sleep 1; done\n",
    );
    let mut child = world.spawn(&["build", "ctx"]);
    let mounts = world.store().join("cache-mounts");
    let is_up =
        || std::fs::read_dir(&mounts).is_ok_and(|dirs| dirs.flatten().any(|dir| dir.path().join("up").exists()));
    while !is_up() {
        std::thread::yield_now();
    }
    let status = || world.ok(&["builds", "ls", "--format", "{{.Status}}"]);
    assert_eq!(status(), "Running\n");
    assert!(world.kiln(&["builds", "rm", world.ok(&["builds", "ls", "-q"]).trim()]).stderr.contains("it is running"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(status(), "Killed\n");
    // The next process that writes tidies up.
    world.write("ctx/Dockerfile", "FROM busybox\nRUN true\n");
    world.build(&["ctx"]);
}
