//! `COPY` and `ADD` of files, as the specification counts them: each test has the numbers of its lines.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use expect_test::{Expect, expect};

use crate::archives::tar;
use crate::world::World;

/// Lists files of an image: mode, owner, path, and where a link leads.
const LIST: &str =
    "find $0 | sort | while read f; do l=$(readlink $f); echo $(stat -c '%a %u:%g' $f) $f ${l:+-> $l}; done";

pub(crate) fn world(files: &[(&str, &str)]) -> World {
    let world = World::new();
    fs::create_dir(world.path("ctx")).unwrap();
    files.iter().for_each(|(name, content)| world.write(&format!("ctx/{name}"), content));
    world
}

/// Builds `lines` on busybox with `files` in the context and shows what `command` prints in the image.
#[track_caller]
pub(crate) fn check(files: &[(&str, &str)], lines: &str, command: &str, expected: Expect) {
    check_in(&world(files), lines, command, expected);
}

#[track_caller]
pub(crate) fn check_in(world: &World, lines: &str, command: &str, expected: Expect) {
    build(world, lines);
    expected.assert_eq(&world.in_image("app", command));
}

#[track_caller]
pub(crate) fn build(world: &World, lines: &str) {
    // Beside the context, so that it is not among the files.
    world.write("Dockerfile", format!("FROM busybox\n{lines}\n"));
    world.build(&["-t", "app", "-f", "Dockerfile", "ctx"]);
}

/// Builds and shows which error comes of it.
#[track_caller]
pub(crate) fn check_error(world: &World, lines: &str, expected: &str) {
    world.write("Dockerfile", format!("FROM busybox\n{lines}\n"));
    let ended = world.kiln(&["build", "--progress", "plain", "-f", "Dockerfile", "ctx"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains(expected), "expected {expected}: {}", ended.stderr);
}

pub(crate) fn list(path: &str) -> String {
    LIST.replace("$0", path)
}

pub(crate) fn set_mode(world: &World, name: &str, mode: u32) {
    fs::set_permissions(world.path(name), fs::Permissions::from_mode(mode)).unwrap();
}

// Spec 55, 56, 57.
#[test]
fn directories_give_their_content_and_wildcards_what_they_match() {
    let files = [("d/one", "1"), ("d/e/two", "2"), ("xa", "a"), ("xb", "b"), ("w1/f", "1"), ("w2/g", "2")];
    let lines = "COPY d /x\nCOPY x* /f\nCOPY w* /flat/\nCOPY nothing* /none/\nCOPY x? /q/";
    let command = "find /x /f /flat /q | sort; cat /f; ls -d /none 2>&1 || true";
    check(
        &files,
        lines,
        command,
        expect![[r#"
            /f
            /flat
            /flat/f
            /flat/g
            /q
            /q/xa
            /q/xb
            /x
            /x/e
            /x/e/two
            /x/one
            bls: /none: No such file or directory
        "#]],
    );
    check_error(&world(&[]), "COPY nope /x", "\"/nope\": not found");
}

// Spec 58, 59.
#[test]
fn sources_stay_in_the_context_and_brackets_can_be_escaped() {
    check(
        &[("a", "in the context\n"), ("arr[0].txt", "brackets\n"), ("arr0.txt", "none\n")],
        "COPY ../a /1\nCOPY /a /2\nCOPY ../../../a /3\nCOPY arr[[]0].txt /4",
        "cat /1 /2 /3 /4",
        expect![[r#"
            in the context
            in the context
            in the context
            brackets
        "#]],
    );
}

// Spec 60.
#[test]
fn a_link_is_followed_where_it_is_named_and_kept_in_a_directory() {
    let world = world(&[("target", "content\n"), ("d/file", "")]);
    symlink("target", world.path("ctx/link")).unwrap();
    symlink("../target", world.path("ctx/d/inner")).unwrap();
    symlink("nowhere", world.path("ctx/dangling")).unwrap();
    symlink("d", world.path("ctx/dir")).unwrap();
    check_in(
        &world,
        "COPY link /a/\nCOPY lin* /b/\nCOPY d /c\nCOPY dir /d",
        &format!("{}; cat /a/link /b/link", list("/a /b /c /d")),
        expect![[r#"
            755 0:0 /a
            644 0:0 /a/link
            755 0:0 /b
            644 0:0 /b/link
            755 0:0 /c
            644 0:0 /c/file
            777 0:0 /c/inner -> ../target
            755 0:0 /d
            644 0:0 /d/file
            777 0:0 /d/inner -> ../target
            content
            content
        "#]],
    );
    check_error(&world, "COPY dangling /x", "\"/dangling\": not found");
}

// Spec 61.
#[test]
fn a_destination_behind_a_link_is_where_the_link_leads_unless_linked() {
    let base = "RUN mkdir /real /real2 && ln -s /real /lnk && ln -s /real2 /lnk2\n";
    check(
        &[("a", "")],
        &format!("{base}COPY a /lnk/\nCOPY --link a /lnk2/"),
        "find /real /real2 /lnk /lnk2; ls /lnk2",
        expect![[r#"
            /real
            /real/a
            /real2
            /lnk
            /lnk2
            /lnk2/a
            a
        "#]],
    );
}

// Spec 62.
#[test]
fn files_and_directories_do_not_take_each_others_place() {
    let world = world(&[("d/x", "x\n"), ("x", "file\n")]);
    check_error(&world, "COPY x /place\nCOPY d /place", "cannot copy to non-directory");
    check_error(&world, "RUN mkdir -p /o/x\nCOPY x /o/", "cannot replace to directory");
    check_in(
        &world,
        "RUN mkdir /o\nCOPY x /o",
        "cat /o/x",
        expect![[r#"
        file
    "#]],
    );
}

// Spec 63, 64, 65.
#[test]
fn chmod_is_octal_or_symbolic_and_not_for_directories_that_are_implied() {
    let world = world(&[("f", ""), ("d/sub/g", ""), ("s", "")]);
    set_mode(&world, "ctx/f", 0o640);
    set_mode(&world, "ctx/s", 0o4755);
    check_in(
        &world,
        "COPY --chmod=+x f /x/plus\nCOPY --chmod=u=rwX,go=rX f d /x/sym/\nCOPY --chmod=700 d /x/octal/deep/\nCOPY s /x/",
        &list("/x"),
        expect![[r#"
            755 0:0 /x
            755 0:0 /x/octal
            755 0:0 /x/octal/deep
            700 0:0 /x/octal/deep/sub
            700 0:0 /x/octal/deep/sub/g
            751 0:0 /x/plus
            4755 0:0 /x/s
            755 0:0 /x/sym
            644 0:0 /x/sym/f
            755 0:0 /x/sym/sub
            644 0:0 /x/sym/sub/g
        "#]],
    );
    for (mode, expected) in [("888", "chmod"), ("10000", "chmod"), ("foo", "chmod")] {
        check_error(&world, &format!("COPY --chmod={mode} f /x"), expected);
    }
}

// Spec 66, 67, 69.
#[test]
fn chown_takes_numbers_and_names_of_the_destination_and_owns_made_parents() {
    let users = "RUN printf 'root:x:0:0::/:\\nsomebody:x:7:8::/:\\n' > /etc/passwd && printf 'root:x:0:\\nteam:x:9:\\n' > /etc/group\n";
    check(
        &[("f", "")],
        &format!(
            "{users}USER 33\nCOPY f /a/\nCOPY --chown=5 f /b/q/\nCOPY --chown=somebody f /c\nCOPY --chown=somebody:team f /d\n\
             COPY --chown=3:team f /e\nCOPY --chown=nobody-knows f /g\nUSER root"
        ),
        &list("/a /b /c /d /e /g"),
        expect![[r#"
            755 0:0 /a
            644 0:0 /a/f
            755 5:5 /b
            755 5:5 /b/q
            644 5:5 /b/q/f
            644 7:8 /c
            644 7:9 /d
            644 3:9 /e
            644 0:0 /g
        "#]],
    );
    let world = world(&[("f", "")]);
    world.write("Dockerfile", "FROM scratch\nCOPY --chown=name f /\n");
    let ended = world.kiln(&["build", "-f", "Dockerfile", "ctx"]);
    assert!(ended.stderr.contains("invalid user index: -1"), "{}", ended.stderr);
}

// Spec 68.
#[test]
fn copies_between_stages_keep_owners_but_not_of_the_directory_itself() {
    check(
        &[],
        "RUN mkdir -p /d/sub && touch /d/sub/f && chown -R 5:6 /d && chmod 700 /d /d/sub\nFROM busybox\nCOPY --from=0 /d /copy",
        &list("/copy"),
        expect![[r#"
            755 0:0 /copy
            700 5:6 /copy/sub
            644 5:6 /copy/sub/f
        "#]],
    );
}

// Spec 70, 95.
#[test]
fn times_are_kept_and_mean_nothing_for_the_cache() {
    let world = world(&[("f", ""), ("other", "")]);
    let at = |seconds: u64| std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    let touch =
        |seconds| fs::File::options().write(true).open(world.path("ctx/f")).unwrap().set_modified(at(seconds)).unwrap();
    touch(1_000_000);
    check_in(
        &world,
        "COPY f /f",
        "stat -c %Y /f",
        expect![[r#"
        1000000
    "#]],
    );
    touch(2_000_000);
    world.write("ctx/other", "changed");
    let again = || world.build_summary(&["-f", "Dockerfile", "ctx"]);
    assert_eq!(again(), "ran: \ncached: COPY f /f\n");
    set_mode(&world, "ctx/f", 0o600);
    assert_eq!(again(), "ran: COPY f /f\ncached: \n");
    world.write("ctx/f", "changed");
    assert_eq!(again(), "ran: COPY f /f\ncached: \n");
}

// Spec 71.
#[test]
fn parents_keep_the_path_behind_the_pivot() {
    let files = [("a", ""), ("d/sub/z", ""), ("d/sub/t.txt", ""), ("e/f/u.txt", "")];
    let lines = "COPY --parents a d/sub/z /o/\nCOPY --parents ./d/./sub/z /p/\nCOPY --parents **/*.txt /q/\nCOPY --parents no/*.x /r/";
    check(
        &files,
        lines,
        "find /o /p /q /r | sort",
        expect![[r#"
            /o
            /o/a
            /o/d
            /o/d/sub
            /o/d/sub/z
            /p
            /p/sub
            /p/sub/z
            /q
            /q/d
            /q/d/sub
            /q/d/sub/t.txt
            /q/e
            /q/e/f
            /q/e/f/u.txt
            /r
        "#]],
    );
    check_error(&world(&[]), "COPY --parents no/such /x/", "not found");
    // What stands before the pivot may have wildcards too.
    check(
        &[("a/b1/c/one", ""), ("a/b2/c/two", ""), ("a/b2/d/three", ""), ("a/b3", "")],
        "COPY --parents a/b*/./c/** /o/\nCOPY --parents a/x*/./c /p/",
        "find /o -type f | sort; ls -d /p 2>&1 || true",
        expect![[r#"
            /o/c/one
            /o/c/two
            ls: /p: No such file or directory
        "#]],
    );
}

// Spec, section 1.5: a socket of a build context is an empty file.
#[test]
fn sockets_of_a_context_are_empty_files() {
    let world = world(&[]);
    std::os::unix::net::UnixListener::bind(world.path("ctx/socket")).unwrap();
    set_mode(&world, "ctx/socket", 0o600);
    check_in(
        &world,
        "COPY . /all/\nCOPY socket /one",
        "stat -c '%n %F %a' /all/socket /one",
        expect![[r#"
            /all/socket regular empty file 600
            /one regular empty file 600
        "#]],
    );
}

// Spec 72.
#[test]
fn exclude_is_relative_to_the_source() {
    let files = [("d/a.txt", ""), ("d/b", ""), ("d/sub/c.txt", ""), ("d/x/y", "")];
    let lines = "COPY --exclude=*.txt d /o/\nCOPY --exclude=**/*.txt d /p/\nCOPY --exclude=d/x . /q/\nCOPY --exclude=* --exclude=!b d /r/";
    check(
        &files,
        lines,
        "find /o /p /q /r -type f | sort",
        expect![[r#"
            /o/b
            /o/sub/c.txt
            /o/x/y
            /p/b
            /p/x/y
            /q/d/a.txt
            /q/d/b
            /q/d/sub/c.txt
            /r/b
        "#]],
    );
}

// Spec 79, 80.
#[test]
fn ignore_files_have_their_own_language() {
    let files = [
        ("d/keep", ""),
        ("d/drop", ""),
        ("e/x/y", ""),
        ("a.md", ""),
        ("b.md", ""),
        ("# x", ""),
        ("Dockerfile.own.dockerignore", ""),
    ];
    let world = world(&files);
    let list = |ignore: &str| {
        world.write("ctx/.dockerignore", ignore);
        build(&world, "COPY . /x/");
        world.in_image("app", "cd /x; find . | sort | grep -v 'ignore$' | tr '\\n' ' '")
    };
    assert_eq!(list("/d/\ne/**\n# c\n"), ". ./# x ./a.md ./b.md ./e ");
    assert_eq!(list("d/*\n!d/keep\ne\n*.md\n!b.md\n  # x\n"), ". ./b.md ./d ./d/keep ");
    assert_eq!(list("*\n!a.md\n"), ". ./a.md ");
    assert_eq!(list("*.md\n!*.md\nb.md  \n../a.md\n\\a.md\n*x\n?\n"), ". ./a.md ");
    world.write("Dockerfile.dockerignore", "*\n!b.md\n");
    assert_eq!(list("b.md\n"), ". ./b.md ");
    world.write("Dockerfile.dockerignore", "!\n");
    check_error(&world, "COPY . /x/", "illegal exclusion pattern: \"!\"");
}

#[test]
fn a_survey_of_the_context_says_what_steps_take_and_what_is_hidden() {
    let world = world(&[("src/a.c", "12"), ("src/b.log", "1"), ("deps/x", "123"), ("deps/y/z", "4")]);
    world.write("ctx/.dockerignore", "# what is made\ndeps\n*/*.log\n.dockerignore\n");
    world.write("Dockerfile", "FROM scratch\nCOPY src /s/\nCOPY nope /n\nFROM scratch\nCOPY --from=0 /s /t\n");
    let shown = world.ok(&["build", "-q", "--call", "context", "-f", "Dockerfile", "--target", "0", "ctx"]);
    expect![[r#"
        [stage-0 1/2] COPY src /s/, line 2, from context: 1 entry, 2B
          2B      file      src/a.c
        [stage-0 2/2] COPY nope /n, line 3, from context
          fails: failed to compute cache key: failed to calculate checksum of ref build context: "/nope": not found

        Hidden by ignore files:
        SIZE      FILES     PATH            BY
        42B       1         .dockerignore   .dockerignore:4 .dockerignore
        4B        2         deps/           .dockerignore:2 deps
        1B        1         src/b.log       .dockerignore:3 */*.log
    "#]]
    .assert_eq(&shown);
    let json = world.ok(&["build", "-q", "--call", "context,format=json", "-f", "Dockerfile", "--target", "0", "ctx"]);
    for expected in [r#""path": "src/a.c""#, r#""ignoreFile": ".dockerignore""#, r#""pattern": "deps""#] {
        assert!(json.contains(expected), "{json}");
    }
}

// Spec 96.
#[test]
fn the_name_of_a_file_counts_and_that_of_a_directory_does_not() {
    let world = world(&[("d/f", "1"), ("a", "2")]);
    build(&world, "COPY d /d\nCOPY a /f");
    let rename = |from: &str, to: &str| fs::rename(world.path(from), world.path(to)).unwrap();
    rename("ctx/d", "ctx/other");
    rename("ctx/a", "ctx/bb");
    world.write("Dockerfile", "FROM busybox\nCOPY other /d\nCOPY bb /f\n");
    assert_eq!(world.build_summary(&["-f", "Dockerfile", "ctx"]), "ran: COPY bb /f\ncached: COPY other /d\n");
}

// Spec 113.
#[test]
fn a_linked_copy_has_its_own_directories() {
    check(
        &[("a", "")],
        "COPY a /tmp/plain/\nRUN stat -c %a /tmp > /before\nCOPY --link a /tmp/x/",
        "cat /before; stat -c %a /tmp",
        expect![[r#"
            1777
            755
        "#]],
    );
}

#[test]
fn the_layer_of_a_linked_copy_does_not_depend_on_what_is_beneath() {
    let world = world(&[("a", "content")]);
    let last_layer = |run: &str| {
        build(&world, &format!("RUN {run}\nCOPY --link a /x/"));
        let layers = world.ok(&["inspect", "-f", "{{json .RootFS.Layers}}", "app"]);
        layers.trim_end_matches("\"]\n").rsplit('"').next().unwrap().to_owned()
    };
    let first = last_layer("echo 1 > /one");
    assert_eq!(first, last_layer("echo 2 > /two"));
}

#[test]
fn sparse_files_hard_links_and_attributes_survive() {
    let world = world(&[("d/a", "linked\n")]);
    fs::hard_link(world.path("ctx/d/a"), world.path("ctx/d/b")).unwrap();
    let sparse = fs::File::create(world.path("ctx/sparse")).unwrap();
    sparse.set_len(256 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", (256 << 20) - 3).unwrap();
    build(&world, "COPY sparse d /x/\nFROM busybox\nCOPY --from=0 /x /y");
    let command = "stat -c '%s %h' /y/sparse /y/a; tail -c 3 /y/sparse";
    assert_eq!(world.in_image("app", command), "268435456 1\n7 2\nend");
    let kept = Command::new("du").args(["-s", "-B1M"]).arg(world.path("store/layers")).output().unwrap();
    let megabytes: u64 = String::from_utf8_lossy(&kept.stdout).split('\t').next().unwrap().parse().unwrap();
    assert!(megabytes < 20, "{megabytes} MB are kept of files that are holes");
}

/// Returns how many bytes of the disk a store's layers take.
fn layers_bytes(world: &World) -> u64 {
    let kept = Command::new("du").args(["-s", "-B1"]).arg(world.path("store/layers")).output().unwrap();
    String::from_utf8_lossy(&kept.stdout).split('\t').next().unwrap().parse().unwrap()
}

#[test]
fn a_large_context_is_read_and_written_once() {
    let large = "0123456789abcde\n".repeat(300_000);
    let world = world(&[("d/large", &large), ("d/small", "small\n")]);
    fs::hard_link(world.path("ctx/d/large"), world.path("ctx/d/again")).unwrap();
    let before = layers_bytes(&world);
    build(&world, "COPY --chown=7:8 d /x/\nADD d /y/");
    let kept = layers_bytes(&world) - before;
    assert!(
        (4_800_000..6_000_000).contains(&kept),
        "{kept} bytes are kept of one file that has two names, in two layers"
    );
    let command =
        "cd /x; md5sum large again /y/large | cut -d ' ' -f 1 | uniq | wc -l; cat small; stat -c '%u %g' again";
    assert_eq!(world.in_image("app", command), "1\nsmall\n7 8\n");
}

/// What a cold COPY may take at its peak, in KiB, whatever the length of the files: a fixed part, and some for each file (`docs/budgets.md`).
const PEAK_KIB_MAX: u64 = 64 << 10;
const PEAK_KIB_MAX_OF_FILE: u64 = 2;

/// Runs what stands in its arguments, with what it says on standard error, and tells the peak of its memory in KiB.
const PEAK_OF: &str = "import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))";

#[test]
fn memory_does_not_grow_with_the_length_of_files() {
    let files = 2000;
    let world = World::new();
    world.write("ctx/large", "0123456789abcde\n".repeat(8 << 20));
    for number in 0..files {
        world.write(&format!("ctx/{}/{number}", number % 50), format!("{number}\n").repeat(500));
    }
    world.write("Dockerfile", "FROM busybox\nCOPY ctx /x/\n");
    let built = world.command(&["build", "-q", "-t", "app", "."]);
    let mut measured = Command::new("python3");
    measured.args(["-c", PEAK_OF]).arg(built.get_program()).args(built.get_args());
    let variables = built.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let output = measured.env_clear().envs(variables).current_dir(world.path("")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let peak_kib: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    assert!(peak_kib < PEAK_KIB_MAX + files * PEAK_KIB_MAX_OF_FILE, "{peak_kib} KiB");
}

#[test]
fn an_archive_that_is_unpacked_is_not_kept_besides() {
    let world = world(&[("t/large", &"0123456789abcde\n".repeat(300_000)), ("small", "small\n")]);
    tar(&world, &["-cf", "ctx/t.tar", "-C", "ctx/t", "large"]);
    let before = layers_bytes(&world);
    build(&world, "ADD t.tar small /x/");
    let kept = layers_bytes(&world) - before;
    assert!((4_800_000..6_000_000).contains(&kept), "{kept} bytes are kept of an archive with one file");
    assert_eq!(world.in_image("app", "wc -c < /x/large; cat /x/small"), "4800000\nsmall\n");
}

#[test]
fn a_hundred_and_fifty_layers_are_one_image() {
    let world = world(&[("a", "")]);
    let lines: String = (0..150).map(|number| format!("COPY a /d/{number}\n")).collect();
    build(&world, &lines);
    assert_eq!(world.in_image("app", "ls /d | wc -l"), "150\n");
}

/// Returns the digests of the layers of an image that is built from scratch in a world of its own.
fn layers_of(make: impl Fn(&World)) -> String {
    let world = World::empty();
    make(&world);
    world.write("Dockerfile", "FROM scratch\nCOPY a d /x/\nADD --chown=1:2 t.tar /y/\nCOPY --link d /z/\nWORKDIR /w\n");
    let args = ["build", "-f", "Dockerfile", "--build-arg", "SOURCE_DATE_EPOCH=1700000000"];
    let output = ["-o", "type=oci,dest=out.tar,tar=true,rewrite-timestamp=true", "ctx"];
    world.ok(&[args.as_slice(), &output].concat());
    let listed = Command::new("tar").args(["-xOf", "out.tar", "index.json"]).current_dir(world.path("")).output();
    String::from_utf8(listed.unwrap().stdout).unwrap()
}

#[test]
fn two_machines_make_the_same_layers_if_times_are_rewritten() {
    let make = |mode: u32, seconds: u64, reverse: bool| {
        move |world: &World| {
            let mut files = vec![("ctx/a", "1"), ("ctx/d/b", "2"), ("ctx/d/c/e", "3"), ("tree/f", "4")];
            if reverse {
                files.reverse();
            }
            for (name, content) in files {
                world.write(name, content);
                set_mode(world, name, 0o644);
            }
            for dir in ["ctx/d", "ctx/d/c", "ctx"] {
                set_mode(world, dir, 0o755);
                let at = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
                fs::File::open(world.path(dir)).unwrap().set_modified(at).unwrap();
            }
            // The store's own directory, and where it lies, mean nothing.
            fs::create_dir_all(world.store()).unwrap();
            set_mode(world, "store", mode);
            tar(world, &["--mtime=@5", "--owner=0", "--group=0", "-cf", "ctx/t.tar", "-C", "tree", "f"]);
            set_mode(world, "ctx/t.tar", 0o644);
        }
    };
    let one = layers_of(make(0o700, 1_800_000_000, false));
    assert!(one.contains("sha256:"), "{one}");
    assert_eq!(one, layers_of(make(0o755, 1_900_000_000, true)));
}
