//! What runs again and what does not.

use expect_test::{Expect, expect};

use crate::world::World;

const DOCKERFILE: &str = "FROM busybox AS build\nWORKDIR /src\nCOPY a .\nRUN cat a > made\nCOPY b .\nRUN cat b >> made\n\
                          FROM busybox\nCOPY --from=build /src/made /made\nCMD [\"cat\", \"/made\"]\n";

fn world() -> World {
    let world = World::new();
    world.write("ctx/Dockerfile", DOCKERFILE);
    world.write("ctx/a", "1\n");
    world.write("ctx/b", "2\n");
    world.write("ctx/unrelated", "");
    world
}

/// Builds, changes something, builds again, and says what ran then.
#[track_caller]
fn check(change: impl FnOnce(&World), expected: Expect) {
    let world = world();
    world.build(&["-t", "app", "ctx"]);
    change(&world);
    expected.assert_eq(&world.build_summary(&["-t", "app", "ctx"]));
}

#[test]
fn a_second_build_runs_nothing_and_makes_the_same_image() {
    let world = world();
    expect![[r#"
        ran: COPY --from=build /src/made /made; COPY a .; COPY b .; RUN cat a > made; RUN cat b >> made; WORKDIR /src
        cached: 
    "#]]
    .assert_eq(&world.build_summary(&["-t", "app", "ctx"]));
    let first = world.ok(&["inspect", "-f", "{{.Id}}", "app"]);
    expect![[r#"
        ran: 
        cached: COPY --from=build /src/made /made; COPY a .; COPY b .; RUN cat a > made; RUN cat b >> made; WORKDIR /src
    "#]]
    .assert_eq(&world.build_summary(&["-t", "app", "ctx"]));
    assert_eq!(world.ok(&["inspect", "-f", "{{.Id}}", "app"]), first);
    assert_eq!(world.ok(&["run", "--rm", "app"]), "1\n2\n");
}

// Spec 95: unrelated files and times do not count.
#[test]
fn times_and_unrelated_files_do_not_count() {
    check(
        |world| {
            world.write("ctx/unrelated", "changed");
            let file = std::fs::File::options().write(true).open(world.path("ctx/a")).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        },
        expect![[r#"
            ran: 
            cached: COPY --from=build /src/made /made; COPY a .; COPY b .; RUN cat a > made; RUN cat b >> made; WORKDIR /src
        "#]],
    );
}

#[test]
fn a_change_runs_again_exactly_what_depends_on_it() {
    check(
        |world| world.write("ctx/b", "3\n"),
        expect![[r#"
        ran: COPY --from=build /src/made /made; COPY b .; RUN cat b >> made
        cached: COPY a .; RUN cat a > made; WORKDIR /src
    "#]],
    );
    check(
        |world| world.write("ctx/a", "3\n"),
        expect![[r#"
        ran: COPY --from=build /src/made /made; COPY a .; COPY b .; RUN cat a > made; RUN cat b >> made
        cached: WORKDIR /src
    "#]],
    );
}

// Early cutoff: a step that ran again and made the same files lets what follows hit.
#[test]
fn the_same_files_from_a_step_that_ran_again_stop_the_rebuild() {
    check(
        |world| world.write("ctx/Dockerfile", DOCKERFILE.replace("RUN cat a > made", "RUN cat  a  >  made")),
        expect![[r#"
            ran: RUN cat  a  >  made
            cached: COPY --from=build /src/made /made; COPY a .; COPY b .; RUN cat b >> made; WORKDIR /src
        "#]],
    );
}

// A result is a whole snapshot: new sources never come under old objects, or `make` would make everything anew.
#[test]
fn behind_an_early_cutoff_files_are_as_old_as_they_were() {
    let world = World::new();
    let make = |year: u16, command: &str| {
        let source = format!("RUN echo source > /source && touch -t {year}01010000 /source\n");
        let object = "RUN cp /source /object && touch -t 201001010000 /object\n";
        let again = format!("RUN if [ /source -nt /object ]; then echo anew; fi > /made && {command}\n");
        world.write("ctx/Dockerfile", format!("FROM busybox\n{source}{object}{again}"));
    };
    make(2001, "true");
    world.build(&["-t", "app", "ctx"]);
    make(2020, "echo changed");
    expect![[r#"
        ran: RUN echo source > /source && touch -t 202001010000 /source; RUN if [ /source -nt /object ]; then echo anew; fi > /made && echo changed
        cached: RUN cp /source /object && touch -t 201001010000 /object
    "#]]
    .assert_eq(&world.build_summary(&["-t", "app", "ctx"]));
    assert_eq!(world.in_image("app", "cat /made; ls -l /source | grep -c 2001"), "1\n");
}

// Spec 98.
#[test]
fn what_changes_only_the_config_runs_nothing() {
    check(
        |world| {
            let more = format!("{DOCKERFILE}LABEL x=y\nEXPOSE 80\nENTRYPOINT [\"/bin/sh\"]\n");
            world.write("ctx/Dockerfile", more);
        },
        expect![[r#"
            ran: 
            cached: COPY --from=build /src/made /made; COPY a .; COPY b .; RUN cat a > made; RUN cat b >> made; WORKDIR /src
        "#]],
    );
}

// Spec 105.
#[test]
fn comments_and_line_breaks_do_not_count() {
    check(
        |world| {
            let wrapped = DOCKERFILE.replace("RUN cat a > made", "# why\nRUN cat a \\\n# how\n> made");
            world.write("ctx/Dockerfile", wrapped);
        },
        expect![[r#"
            ran: 
            cached: COPY --from=build /src/made /made; COPY a .; COPY b .; RUN cat a > made; RUN cat b >> made; WORKDIR /src
        "#]],
    );
}

// Spec 101.
#[test]
fn no_cache_runs_everything_and_a_filter_only_its_stage() {
    let world = world();
    world.build(&["-t", "app", "ctx"]);
    expect![[r#"
        ran: COPY --from=build /src/made /made; COPY a .; COPY b .; RUN cat a > made; RUN cat b >> made; WORKDIR /src
        cached: 
    "#]]
    .assert_eq(&world.build_summary(&["--no-cache", "-t", "app", "ctx"]));
    expect![[r#"
        ran: COPY a .; COPY b .; RUN cat a > made; RUN cat b >> made; WORKDIR /src
        cached: COPY --from=build /src/made /made
    "#]]
    .assert_eq(&world.build_summary(&["--no-cache-filter", "build", "-t", "app", "ctx"]));
}

#[test]
fn pruning_forgets_what_no_image_needs() {
    let world = world();
    world.build(&["-t", "app", "ctx"]);
    assert!(world.ok(&["system", "df"]).contains("Build Cache"));
    let pruned = world.ok(&["system", "prune", "-f"]);
    assert!(pruned.contains("Deleted build cache objects:"), "{pruned}");
    assert_eq!(world.ok(&["run", "--rm", "app"]), "1\n2\n");
    expect![[r#"
        ran: 
        cached: COPY --from=build /src/made /made; COPY a .; COPY b .; RUN cat a > made; RUN cat b >> made; WORKDIR /src
    "#]]
    .assert_eq(&world.build_summary(&["-t", "app", "ctx"]));
    world.ok(&["system", "prune", "-af"]);
    assert_eq!(world.ok(&["images", "-q"]), "");
    let layers = std::fs::read_dir(world.store().join("layers")).unwrap().count();
    assert_eq!(layers, 0);
}

#[test]
fn two_builds_at_once_share_their_steps() {
    let world = World::new();
    world.write("ctx/Dockerfile", "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id && sleep 0.2\n");
    let builds: Vec<_> = ["a", "b", "c", "d"].map(|tag| world.spawn(&["build", "-t", tag, "ctx"])).into();
    for build in builds {
        assert!(build.wait_with_output().unwrap().status.success());
    }
    let ids: std::collections::BTreeSet<String> = ["a", "b", "c", "d"].map(|tag| world.in_image(tag, "cat /id")).into();
    assert_eq!(ids.len(), 1);
}

#[test]
fn independent_steps_run_at_the_same_time() {
    let world = World::new();
    // Each waits for the other: alone, neither would end.
    let meet = "RUN --mount=type=cache,target=/c touch /c/";
    let wait = "until [ -e /c/";
    let dockerfile = format!(
        "FROM busybox AS a\n{meet}a; {wait}b ]; do sleep 0.01; done; echo a > /a\n\
         FROM busybox AS b\n{meet}b; {wait}a ]; do sleep 0.01; done; echo b > /b\n\
         FROM busybox\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
    );
    world.write("ctx/Dockerfile", dockerfile);
    world.build(&["-t", "app", "ctx"]);
    assert_eq!(world.in_image("app", "cat /a /b"), "a\nb\n");
}
