//! What users read when a build fails: where, why, and what to do.

use expect_test::{Expect, expect};

use crate::world::{World, filter};

/// Builds what must fail, and returns what was printed without progress.
#[track_caller]
fn check(dockerfile: Option<&str>, args: &[&str], expected: Expect) {
    let world = World::new();
    std::fs::create_dir_all(world.path("ctx")).unwrap();
    if let Some(text) = dockerfile {
        world.write("ctx/Dockerfile", text);
    }
    let args: Vec<&str> = ["build", "--progress", "quiet"].iter().chain(args).chain(&["ctx"]).copied().collect();
    let ended = world.kiln(&args);
    expected.assert_eq(&format!("{}exit code: {}\n", filter(&ended.stderr), ended.code));
    assert_eq!(ended.stdout, "");
    assert_eq!(world.ok(&["images", "--format", "{{.Repository}}"]), "busybox\n", "nothing is lost");
}

// spec 93, 111
#[test]
fn a_failed_command_shows_its_line_its_output_and_its_exit_code() {
    let dockerfile = "FROM busybox\n# a comment\nRUN echo about to fail && exit 3\nRUN echo never\n";
    check(
        Some(dockerfile),
        &[],
        expect![[r#"
        ------
         > [2/3] RUN echo about to fail && exit 3:
        [TIME] about to fail
        ------
        Dockerfile:3
        --------------------
           1 |     FROM busybox
           2 |     # a comment
           3 | >>> RUN echo about to fail && exit 3
           4 |     RUN echo never
           5 |     
        --------------------
        ERROR: failed to build: failed to solve: process "/bin/sh -c echo about to fail && exit 3" did not complete successfully: exit code: 3
        exit code: 1
    "#]],
    );
}

#[test]
fn a_missing_dockerfile_says_where_it_was_looked_for() {
    check(
        None,
        &[],
        expect![[r#"
        ------
         > [internal] load build definition from Dockerfile:
        ------
        ERROR: failed to build: failed to solve: failed to read dockerfile: open Dockerfile: no such file or directory

        hint: looked in `ctx`; name another file with `-f`
        exit code: 1
    "#]],
    );
    check(
        None,
        &["-f", "ctx/other"],
        expect![[r#"
        ------
         > [internal] load build definition from other:
        ------
        ERROR: failed to build: failed to solve: failed to read dockerfile: open other: no such file or directory

        hint: looked in `ctx`; name another file with `-f`
        exit code: 1
    "#]],
    );
}

#[test]
fn an_empty_dockerfile_is_refused() {
    check(
        Some(""),
        &[],
        expect![[r#"
        ERROR: failed to build: failed to solve: the Dockerfile cannot be empty
        exit code: 1
    "#]],
    );
    check(
        Some("# only a comment\n"),
        &[],
        expect![[r#"
        ERROR: failed to build: failed to solve: file with no instructions

        hint: begin with `FROM image`
        exit code: 1
    "#]],
    );
}

#[test]
fn an_unknown_instruction_names_the_one_that_was_meant() {
    check(
        Some("FORM busybox\n"),
        &[],
        expect![[r#"
            Dockerfile:1
            --------------------
               1 | >>> FORM busybox
                 |     ^^^^
               2 |     
            --------------------
            ERROR: failed to build: failed to solve: dockerfile parse error on line 1: unknown instruction: FORM (did you mean FROM?)
            exit code: 1
        "#]],
    );
    check(
        Some("FROM busybox\nCOPYY a b\n"),
        &[],
        expect![[r#"
            Dockerfile:2
            --------------------
               1 |     FROM busybox
               2 | >>> COPYY a b
                 |     ^^^^^
               3 |     
            --------------------
            ERROR: failed to build: failed to solve: dockerfile parse error on line 2: unknown instruction: COPYY (did you mean COPY?)
            exit code: 1
        "#]],
    );
}

#[test]
fn a_missing_file_is_named() {
    check(
        Some("FROM busybox\nRUN echo slow\nCOPY nope /x\n"),
        &[],
        expect![[r#"
        ------
         > [3/3] COPY nope /x:
        ------
        Dockerfile:3
        --------------------
           1 |     FROM busybox
           2 |     RUN echo slow
           3 | >>> COPY nope /x
           4 |     
        --------------------
        ERROR: failed to build: failed to solve: failed to compute cache key: failed to calculate checksum of ref build context: "/nope": not found
        exit code: 1
    "#]],
    );
}

#[test]
fn a_missing_stage_and_a_missing_target_are_named() {
    check(
        Some("FROM busybox AS build\n"),
        &["--target", "bulid"],
        expect![[r#"
        ERROR: failed to build: failed to solve: target stage "bulid" could not be found (did you mean build?)
        exit code: 1
    "#]],
    );
}

#[test]
fn a_missing_base_says_which_host_was_asked() {
    let registry = testkit::registry::Registry::start();
    let world = World::empty();
    world.write("ctx/Dockerfile", format!("FROM {}/nope:1\nRUN true\n", registry.host()));
    let ended = world.kiln(&["build", "--progress", "quiet", "ctx"]);
    assert_eq!(ended.code, 1);
    let marks = "^".repeat(registry.host().len() + "/nope:1".len());
    let shown = filter(&ended.stderr).replace(&registry.host(), "[HOST]").replace(&marks, "^^^");
    expect![[r#"
        Dockerfile:1
        --------------------
           1 | >>> FROM [HOST]/nope:1
             |          ^^^
           2 |     RUN true
           3 |     
        --------------------
        ERROR: failed to build: failed to solve: [HOST]/nope:1: [HOST]: name unknown: repository name not known to registry: not found
    "#]].assert_eq(&shown);
}

#[test]
fn a_command_that_does_not_exist_ends_like_one_that_failed() {
    check(
        Some("FROM busybox\nRUN [\"/nope\"]\n"),
        &[],
        expect![[r#"
        ------
         > [2/2] RUN ["/nope"]:
        [TIME] exec: "/nope": stat /nope: no such file or directory
        ------
        Dockerfile:2
        --------------------
           1 |     FROM busybox
           2 | >>> RUN ["/nope"]
           3 |     
        --------------------
        ERROR: failed to build: failed to solve: process "/nope" did not complete successfully: exit code: 127: exec: "/nope": stat /nope: no such file or directory
        exit code: 1
    "#]],
    );
    check(
        Some("FROM busybox\nRUN nope\n"),
        &[],
        expect![[r#"
        ------
         > [2/2] RUN nope:
        [TIME] /bin/sh: nope: not found
        ------
        Dockerfile:2
        --------------------
           1 |     FROM busybox
           2 | >>> RUN nope
           3 |     
        --------------------
        ERROR: failed to build: failed to solve: process "/bin/sh -c nope" did not complete successfully: exit code: 127
        exit code: 1
    "#]],
    );
}

#[test]
fn a_warning_above_an_error_is_not_taken_for_it() {
    check(
        Some("FROM busybox AS Base\nEXPOSE 80/foo\n"),
        &[],
        expect![[r#"
            Dockerfile:2
            --------------------
               1 |     FROM busybox AS Base
               2 | >>> EXPOSE 80/foo
                 |            ^^^^^^
               3 |     
            --------------------
            ERROR: failed to build: failed to solve: invalid port: "80/foo": invalid proto: foo
            exit code: 1
        "#]],
    );
}

#[test]
fn an_unknown_user_is_named_when_a_step_needs_it() {
    check(
        Some("FROM busybox\nUSER nope\nRUN true\n"),
        &[],
        expect![[r#"
        ------
         > [2/2] RUN true:
        ------
        Dockerfile:3
        --------------------
           1 |     FROM busybox
           2 |     USER nope
           3 | >>> RUN true
           4 |     
        --------------------
        ERROR: failed to build: failed to solve: process "/bin/sh -c true" did not complete successfully: unable to find user nope: no matching entries in passwd file
        exit code: 1
    "#]],
    );
}

#[test]
fn a_wrong_command_line_says_what_was_expected() {
    let world = World::empty();
    let failed = |args: &[&str]| {
        let ended = world.kiln(args);
        format!("{}exit code: {}\n", ended.stderr, ended.code)
    };
    world.write("ctx/Dockerfile", "FROM scratch\n");
    expect![[r#"
        ERROR: invalid tag "a:b:c": invalid reference format: `a:b:c`
        exit code: 1
    "#]]
    .assert_eq(&failed(&["build", "-t", "a:b:c", "ctx"]));
    expect![[r#"
        ERROR: failed to build: unable to prepare context: path "nowhere" not found
        exit code: 1
    "#]]
    .assert_eq(&failed(&["build", "nowhere"]));
    expect![[r#"
        ERROR: unsupported output type `floppy`: expected image, registry, docker, oci, tar, local or cacheonly
        exit code: 1
    "#]]
    .assert_eq(&failed(&["build", "-o", "type=floppy", "ctx"]));
    expect![[r#"
        error: unexpected argument '--no-such-flag' found

          tip: a similar argument exists: '--no-cache-filter'

        Usage: kiln build --no-cache-filter <STAGE> <PATH|->

        For more information, try '--help'.
        exit code: 125
    "#]]
    .assert_eq(&failed(&["build", "--no-such-flag", "ctx"]));
}

// The issue's word: no disk space gets a clear error, and nothing is lost.
#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    let world = World::new();
    let disk = SmallDisk::mount(&world, 16 << 20);
    let store = disk.path.join("store");
    world.write("ctx/Dockerfile", "FROM scratch\nCOPY small /\n");
    world.write("ctx/small", "x");
    let root = store.to_str().unwrap();
    world.ok(&["--root", root, "build", "-t", "small", "ctx"]);
    world.write("big/Dockerfile", "FROM scratch\nCOPY . /\n");
    std::fs::write(world.path("big/data"), vec![1; 24 << 20]).unwrap();
    let ended = world.kiln(&["--root", root, "build", "--progress", "quiet", "-t", "big", "big"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("No space left on device"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("hint: the disk is full; if it is that of the store, `kiln system prune`"),
        "{}",
        ended.stderr
    );
    assert_eq!(world.ok(&["--root", root, "images", "--format", "{{.Repository}}"]), "small\n");
    assert!(std::fs::read_dir(store.join("drafts")).unwrap().next().is_none());
}

#[test]
fn a_full_disk_can_be_pruned() {
    let world = World::new();
    let disk = SmallDisk::mount(&world, 16 << 20);
    let root = disk.path.join("store").to_str().unwrap().to_owned();
    world.write("ctx/Dockerfile", "FROM scratch\nCOPY data /\n");
    world.write("ctx/data", vec![1; 4 << 20]);
    world.ok(&["--root", &root, "build", "-t", "app", "ctx"]);
    let mut filler = std::fs::File::create(disk.path.join("filler")).unwrap();
    while std::io::Write::write(&mut filler, &[1; 4096]).is_ok_and(|written| written > 0) {}
    assert!(world.ok(&["--root", &root, "images", "-q"]).lines().count() == 1);
    world.ok(&["--root", &root, "rmi", "app"]);
    let pruned = world.ok(&["--root", &root, "prune", "-af"]);
    assert!(pruned.contains("Total:\t4."), "{pruned}");
    world.ok(&["--root", &root, "build", "-t", "again", "ctx"]);
}

/// A file system of its own, in memory, that is unmounted with the test.
struct SmallDisk {
    path: std::path::PathBuf,
}

impl SmallDisk {
    fn mount(world: &World, size_bytes: u64) -> Self {
        let path = world.path("disk");
        std::fs::create_dir(&path).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size_bytes}"), "tmpfs"])
            .arg(&path)
            .status();
        assert!(mounted.unwrap().success());
        Self { path }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg(&self.path).status();
        assert!(std::thread::panicking() || unmounted.unwrap().success());
    }
}
