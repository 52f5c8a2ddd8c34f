//! Sources from elsewhere: git repositories and files behind URLs, in `ADD`, as build contexts and as named contexts; archives on standard input.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use expect_test::expect;
use testkit::registry::{File, Registry};

use crate::world::{World, summary};

/// Runs git in a directory of the world, as somebody.
fn git(world: &World, dir: &str, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "a").env(format!("GIT_{who}_EMAIL"), "a@b");
        command.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let output = command.args(args).current_dir(world.path(dir)).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Makes a repository of the files in `dir` and returns its commit.
pub(crate) fn repository(world: &World, dir: &str) -> String {
    git(world, dir, &["init", "-q", "-b", "main"]);
    git(world, dir, &["add", "-A"]);
    git(world, dir, &["commit", "-q", "-m", "one"]);
    git(world, dir, &["rev-parse", "HEAD"])
}

/// Serves a repository as plain files, and returns its address.
fn serve(world: &World, server: &Registry, dir: &str) -> String {
    serve_as(world, server, dir, None)
}

/// Serves a repository as plain files to those who send `authorization`.
pub(crate) fn serve_as(world: &World, server: &Registry, dir: &str, authorization: Option<&str>) -> String {
    git(world, dir, &["repack", "-q", "-a", "-d"]);
    git(world, dir, &["update-server-info"]);
    let root = world.path(dir).join(".git");
    put_files(server, (&root, &root), dir, authorization);
    format!("http://{}/files/{dir}.git", server.host())
}

fn put_files(server: &Registry, (root, dir): (&Path, &Path), name: &str, authorization: Option<&str>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() {
            put_files(server, (root, &entry.path()), name, authorization);
        } else {
            let below = entry.path().strip_prefix(root).unwrap().to_string_lossy().into_owned();
            let content = fs::read(entry.path()).unwrap();
            let file = File { authorization: authorization.map(str::to_owned), ..File::new(content) };
            server.put_file(&format!("/files/{name}.git/{below}"), file);
        }
    }
}

#[test]
fn repositories_with_long_hashes_are_fetched() {
    let (world, server) = (World::new(), Registry::start());
    world.write("repo/file", "");
    git(&world, "repo", &["init", "-q", "-b", "main", "--object-format=sha256"]);
    let commit = repository(&world, "repo");
    assert_eq!(commit.len(), 64);
    let url = serve(&world, &server, "repo");
    world.write(
        "ctx/Dockerfile",
        format!("FROM busybox\nADD {url}?commit={} /a\nADD {url}#{commit} /b\n", &commit[..9]),
    );
    world.build(&["-t", "app", "ctx"]);
    assert_eq!(world.in_image("app", "ls /a /b"), "/a:\nfile\n\n/b:\nfile\n");
}

fn sample(world: &World) -> String {
    world.write("repo/run.sh", "#!/bin/sh\n");
    world.write("repo/sub/deep/file", "deep\n");
    world.write("repo/Dockerfile", "FROM busybox\nCOPY . /all/\nCOPY sub/deep/file /file\n");
    let mode = fs::Permissions::from_mode(0o775);
    fs::set_permissions(world.path("repo/run.sh"), mode).unwrap();
    repository(world, "repo")
}

#[test]
fn add_takes_the_files_of_a_commit() {
    let (world, server) = (World::new(), Registry::start());
    let commit = sample(&world);
    git(&world, "repo", &["tag", "-a", "-m", "tag", "v1"]);
    let url = serve(&world, &server, "repo");
    let dockerfile = format!(
        "FROM busybox\nADD {url} /head/\nADD {url}#v1:sub /sub\nADD --keep-git-dir --checksum={} {url}#main /kept\n",
        &commit[..7]
    );
    world.write("ctx/Dockerfile", &dockerfile);
    world.build(&["-t", "app", "ctx"]);
    expect![[r#"
        /head 755
        /head/Dockerfile 644
        /head/run.sh 755
        /head/sub 755
        /head/sub/deep 755
        /head/sub/deep/file 644
        /sub 755
        /sub/deep 755
        /sub/deep/file 644
        /kept/.git/HEAD
    "#]]
    .assert_eq(&world.in_image(
        "app",
        "find /head /sub | sort | while read f; do echo $f $(stat -c %a $f); done; ls /kept/.git/HEAD",
    ));
    let shown = world.ok(&["du", "--filter", "type==source.git.checkout", "--format", "{{.Description}}"]);
    let mut commits: Vec<&str> = shown.lines().collect();
    commits.sort_unstable();
    let commit = |reference: &str| format!("git snapshot for {url}{reference}");
    assert_eq!(commits, [commit(""), commit("#main"), commit("#v1")]);
    // The branch moves: what follows it is done again, what names the tag is not.
    world.write("repo/new", "");
    git(&world, "repo", &["add", "-A"]);
    git(&world, "repo", &["commit", "-q", "-m", "two"]);
    serve(&world, &server, "repo");
    world.write("ctx/Dockerfile", format!("FROM busybox\nADD {url}#v1:sub /sub\n"));
    world.build(&["ctx"]);
    server.log();
    assert!(world.build_summary(&["ctx"]).starts_with("ran: \ncached: "));
    assert!(!server.log().contains("objects/"), "a commit that is here is not fetched again");
    world.write("ctx/Dockerfile", format!("FROM busybox\nADD {url} /head/\n"));
    assert!(world.build_summary(&["ctx"]).starts_with("ran: ADD"));
}

#[test]
fn submodules_come_along() {
    let (world, server) = (World::new(), Registry::start());
    world.write("inner/file", "of the submodule\n");
    repository(&world, "inner");
    let inner = serve(&world, &server, "inner");
    world.write("repo/own", "");
    repository(&world, "repo");
    git(&world, "repo", &["submodule", "add", "-q", &inner, "lib"]);
    git(&world, "repo", &["commit", "-q", "-m", "two"]);
    let url = serve(&world, &server, "repo");
    world.write("ctx/Dockerfile", format!("FROM busybox\nADD {url} /a\nADD {url}?submodules=false /b\n"));
    world.build(&["-t", "app", "ctx"]);
    let listed = world.in_image("app", "cat /a/lib/file; ls -A /a/lib /b/lib");
    assert_eq!(listed, "of the submodule\n/a/lib:\nfile\n\n/b/lib:\n");
}

#[test]
fn what_is_wrong_with_a_repository_is_said() {
    let (world, server) = (World::new(), Registry::start());
    sample(&world);
    let url = serve(&world, &server, "repo");
    let fails = |source: &str, expected: &str| {
        world.write("ctx/Dockerfile", format!("FROM busybox\nADD {source} /a\n"));
        let ended = world.kiln(&["build", "--progress", "plain", "ctx"]);
        assert_eq!(ended.code, 1);
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    };
    fails(&format!("{url}#nope"), "does not contain ref nope");
    fails(&format!("--checksum=0123456 {url}"), "expected checksum to match 0123456, got ");
    fails(&format!("{url}?commit=0123456"), "expected checksum to match 0123456, got ");
    fails(&format!("{url}?branch=v1"), "repository does not contain ref refs/heads/v1");
    fails(&format!("--checksum=xyz {url}"), "invalid checksum \"xyz\" for Git source, expected hex commit hash");
    fails(&format!("{url}#main:nope"), "\"/nope\": not found");
    fails(&format!("http://{}/files/none.git", server.host()), "cannot look up `HEAD` in");
}

#[test]
fn a_repository_is_a_build_context() {
    let (world, server) = (World::new(), Registry::start());
    sample(&world);
    world.write("repo/sub/Dockerfile", "FROM busybox\nCOPY . /sub/\n");
    world.write("repo/sub/.dockerignore", "deep\n");
    git(&world, "repo", &["add", "-A"]);
    git(&world, "repo", &["commit", "-q", "-m", "two"]);
    let url = serve(&world, &server, "repo");
    world.build(&["-t", "whole", &url]);
    assert_eq!(world.in_image("whole", "cat /file; ls -A /all"), "deep\nDockerfile\nrun.sh\nsub\n");
    assert_eq!(world.build_summary(&[&url]), "ran: \ncached: COPY . /all/; COPY sub/deep/file /file\n");
    // Ignore files are for directories (specification, section 1.7).
    world.build(&["-t", "sub", &format!("{url}#main:sub")]);
    assert_eq!(world.in_image("sub", "ls -A /sub"), ".dockerignore\nDockerfile\ndeep\n");
    let ended = world.kiln(&["build", "-f", "other", &url]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.stderr.contains("failed to read dockerfile: open other: no such file or directory"),
        "{}",
        ended.stderr
    );
}

fn archive(world: &World, option: &str) -> Vec<u8> {
    let done =
        Command::new("tar").args([option, "-cf", "archive", "-C", "tree", "."]).current_dir(world.path("")).status();
    assert!(done.unwrap().success());
    fs::read(world.path("archive")).unwrap()
}

#[test]
fn an_archive_behind_a_url_is_a_build_context_and_is_asked_for_by_its_version() {
    let (world, server) = (World::new(), Registry::start());
    world.write("tree/Dockerfile", "FROM busybox\nCOPY file /f\n");
    world.write("tree/file", "in the archive\n");
    let file = File { etag: Some("\"1\"".to_owned()), ..File::new(archive(&world, "-z")) };
    let url = server.put_file("/files/context", file);
    world.build(&["-t", "app", &url]);
    assert_eq!(world.in_image("app", "cat /f"), "in the archive\n");
    server.log();
    assert_eq!(world.build_summary(&[&url]), "ran: \ncached: COPY file /f\n");
    let asked = server.log();
    assert!(asked.contains("304") && !asked.contains("200"), "{asked}");
}

#[test]
fn a_text_behind_a_url_is_a_dockerfile() {
    let (world, server) = (World::new(), Registry::start());
    let url = server.put_file("/files/text", File::new(b"FROM busybox\nRUN echo here > /f\n"));
    world.build(&["-t", "app", &url]);
    assert_eq!(world.in_image("app", "cat /f"), "here\n");
}

#[test]
fn an_archive_on_standard_input_is_a_build_context() {
    let world = World::new();
    world.write("tree/Dockerfile", "FROM busybox\nCOPY file /f\n");
    world.write("tree/other/Dockerfile", "FROM busybox\nCOPY --chown=1:1 file /other\n");
    world.write("tree/file", "in the archive\n");
    for option in ["-v", "-z", "-J"] {
        let ended = world.kiln_reading(&["build", "-t", "app", "-"], &archive(&world, option));
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert_eq!(world.in_image("app", "cat /f"), "in the archive\n");
    }
    let again = world.kiln_reading(&["build", "--progress", "plain", "-"], &archive(&world, "-v"));
    assert_eq!(summary(&crate::world::filter(&again.stderr)), "ran: \ncached: COPY file /f\n");
    let ended = world.kiln_reading(&["build", "-t", "app", "-f", "other/Dockerfile", "-"], &archive(&world, "-v"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(world.in_image("app", "cat /other"), "in the archive\n");
    fs::remove_file(world.path("tree/Dockerfile")).unwrap();
    let ended = world.kiln_reading(&["build", "-"], &archive(&world, "-v"));
    assert_eq!(ended.code, 1);
    assert!(
        ended.stderr.contains("failed to read dockerfile: open Dockerfile: no such file or directory"),
        "{}",
        ended.stderr
    );
}

#[test]
fn named_contexts_are_repositories_and_urls_that_nobody_asks_who_does_not_need_them() {
    let (world, server) = (World::new(), Registry::start());
    sample(&world);
    let repo = format!("src={}", serve(&world, &server, "repo"));
    let file = format!("tool={}", server.put_file("/files/tool", File::new(b"tool\n")));
    world.write("ctx/Dockerfile", "FROM busybox AS used\nCOPY --from=src /sub/deep/file /a\nCOPY --from=tool /tool /b\nFROM busybox AS other\nRUN true\n");
    let contexts = ["--build-context", &repo, "--build-context", &file];
    server.log();
    world.build(&[contexts.as_slice(), &["--target", "other", "ctx"]].concat());
    assert_eq!(server.log(), "");
    world.build(&[contexts.as_slice(), &["-t", "app", "--target", "used", "ctx"]].concat());
    assert_eq!(world.in_image("app", "cat /a /b"), "deep\ntool\n");
}

// Spec 77.
#[test]
fn a_downloaded_file_has_name_mode_and_time_and_is_unpacked_only_if_asked() {
    let (world, server) = (World::new(), Registry::start());
    world.write("tree/inside", "");
    let modified = Some("Wed, 21 Oct 2015 07:28:00 GMT".to_owned());
    let file = File { last_modified: modified, ..File::new(archive(&world, "-z")) };
    let url = server.put_file("/files/a.tar.gz", file);
    world.write("ctx/Dockerfile", format!("FROM busybox\nADD {url}?x=/y /as-is/\nADD --unpack {url} /unpacked/\n"));
    world.build(&["-t", "app", "ctx"]);
    assert_eq!(
        world.in_image("app", "stat -c '%n %a %Y' /as-is/*; ls /unpacked"),
        "/as-is/a.tar.gz 600 1445412480\ninside\n"
    );
    // What the server still has is not fetched again.
    server.log();
    assert!(world.build_summary(&["ctx"]).starts_with("ran: \n"));
    let asked = server.log();
    assert!(asked.contains("304") && !asked.contains("200"), "{asked}");
}

// Spec 107. What has no time of its own has that of the newest file in it.
#[test]
fn an_archive_has_a_time_that_a_build_can_take() {
    let (world, server) = (World::empty(), Registry::start());
    world.write("tree/Dockerfile", "FROM scratch\nCOPY file /\n");
    world.write("tree/file", "");
    let pack = |seconds: &str, name: &str| {
        let pack = ["--mtime", seconds, "-rf", "a.tar", "-C", "tree", name];
        assert!(Command::new("tar").args(pack).current_dir(world.path("")).status().unwrap().success());
    };
    pack("@1700000302", "file");
    pack("@1700000002", "Dockerfile");
    let archive = fs::read(world.path("a.tar")).unwrap();
    let created = |file: File| {
        let url = server.put_file("/files/a.tar", file);
        let ended = world.kiln(&["build", "-t", "app", "--build-arg", "SOURCE_DATE_EPOCH=context", &url]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        world.ok(&["inspect", "-f", "{{.Created}}", "app"])
    };
    let stated = Some("Tue, 14 Nov 2023 22:16:41 GMT".to_owned());
    assert_eq!(created(File::new(archive.clone())), "2023-11-14T22:18:22Z\n");
    assert_eq!(created(File { last_modified: stated, ..File::new(archive) }), "2023-11-14T22:16:41Z\n");
}

// Spec 77.
#[test]
fn a_checksum_says_what_a_url_must_have() {
    let (world, server) = (World::new(), Registry::start());
    let url = server.put_file("/files/a", File::new(b"content\n"));
    let right = oci::Digest::of(b"content\n");
    world.write("ctx/Dockerfile", format!("FROM busybox\nADD --checksum={right} {url} /a\n"));
    world.build(&["-t", "app", "ctx"]);
    server.log();
    world.build(&["-t", "app", "ctx"]);
    assert_eq!(server.log(), "", "what the checksum names is here");
    let wrong = oci::Digest::of(b"other");
    world.write("ctx/Dockerfile", format!("FROM busybox\nADD --checksum={wrong} {url} /a\n"));
    let ended = world.kiln(&["build", "ctx"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains(&format!("digest mismatch {right}: expected {wrong}")), "{}", ended.stderr);
    world.write("ctx/Dockerfile", format!("FROM busybox\nADD {url}/none /a\n"));
    let ended = world.kiln(&["build", "ctx"]);
    assert!(ended.stderr.contains("404"), "{}", ended.stderr);
}
