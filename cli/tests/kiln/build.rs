//! Instructions, stages, contexts and options of `kiln build`.

use expect_test::expect;

use crate::world::World;

/// Builds a Dockerfile with `files` beside it and returns what `command` prints in the image.
#[track_caller]
fn check(dockerfile: &str, files: &[(&str, &str)], command: &str, expected: expect_test::Expect) {
    let world = World::new();
    world.write("ctx/Dockerfile", dockerfile);
    files.iter().for_each(|(name, content)| world.write(&format!("ctx/{name}"), content));
    world.build(&["-t", "app", "ctx"]);
    expected.assert_eq(&world.in_image("app", command));
}

#[test]
fn every_instruction_does_its_work() {
    let dockerfile = r#"
        ARG BASE=busybox
        FROM ${BASE}
        MAINTAINER somebody
        ARG GREETING=hello
        ENV NAME=world FULL="${GREETING} there"
        LABEL a=b
        WORKDIR /srv/app
        COPY one two/ ./
        ADD archive.txt /added/
        RUN echo "$GREETING $NAME" > said && pwd >> said
        RUN ["/bin/sh", "-c", "echo exec-form >> said"]
        USER 33:33
        RUN id -u >> /tmp/id
        USER root
        EXPOSE 80 53/udp
        VOLUME /data
        STOPSIGNAL SIGINT
        HEALTHCHECK --interval=5s CMD true
        ONBUILD RUN false
        SHELL ["/bin/sh", "-ec"]
        ENTRYPOINT ["/bin/sh", "-c"]
        CMD ["cat said"]
    "#;
    let world = World::new();
    world.write("ctx/Dockerfile", dockerfile);
    world.write("ctx/one", "1\n");
    world.write("ctx/two/deep/three", "3\n");
    world.write("ctx/archive.txt", "plain\n");
    world.build(&["-t", "app", "ctx"]);
    expect![[r#"
        hello world
        /srv/app
        exec-form
    "#]]
    .assert_eq(&world.ok(&["run", "--rm", "app"]));
    let listed = world.ok(&["run", "--rm", "app", "find /srv /added -type f | sort; cat /tmp/id; echo $FULL"]);
    expect![[r#"
        /added/archive.txt
        /srv/app/deep/three
        /srv/app/one
        /srv/app/said
        33
        hello there
    "#]]
    .assert_eq(&listed);
    let config = world.ok(&["inspect", "-f", "{{json .Config}}", "app"]);
    expect![[r#"
        {"User":"root","ExposedPorts":{"53/udp":{},"80/tcp":{}},"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","NAME=world","FULL=hello there"],"Entrypoint":["/bin/sh","-c"],"Cmd":["cat said"],"Volumes":{"/data":{}},"WorkingDir":"/srv/app","Labels":{"a":"b"},"StopSignal":"SIGINT","ArgsEscaped":true,"Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":5000000000},"OnBuild":["RUN false"],"Shell":["/bin/sh","-ec"]}
    "#]]
    .assert_eq(&config);
}

#[test]
fn stages_are_copied_from_by_name_index_and_image() {
    check(
        "FROM busybox AS one\nRUN echo 1 > /a\nFROM busybox\nRUN echo 2 > /b\nFROM busybox\n\
         COPY --from=one /a /x/a\nCOPY --from=1 /b /x/b\nCOPY --from=busybox /etc/group /x/\n",
        &[],
        "cat /x/a /x/b; head -n 1 /x/group",
        expect![[r#"
            1
            2
            root:x:0:
        "#]],
    );
}

#[test]
fn heredocs_are_scripts_and_files() {
    check(
        "FROM busybox\nARG WHO=me\nRUN <<EOF\necho first > /out\necho second >> /out\nEOF\n\
         COPY <<one <<'two' /files/\n$WHO\none\n$WHO\ntwo\nRUN <<X\n#!/bin/cat\nshebang\nX\n",
        &[],
        "cat /out /files/one /files/two",
        expect![[r#"
            first
            second
            me
            $WHO
        "#]],
    );
}

#[test]
fn an_ignore_file_leaves_files_out() {
    check(
        "FROM busybox\nCOPY . /x/\n",
        &[(".dockerignore", "*.log\n!keep.log\nskip\n"), ("a.log", ""), ("keep.log", ""), ("skip/b", ""), ("c", "")],
        "find /x | sort",
        expect![[r#"
            /x
            /x/.dockerignore
            /x/Dockerfile
            /x/c
            /x/keep.log
        "#]],
    );
}

#[test]
fn a_local_tar_is_unpacked_whatever_it_is_compressed_with() {
    let world = World::new();
    world.write("tree/dir/file", "content\n");
    let tar = |option: &str, name: &str| {
        let done = std::process::Command::new("tar")
            .args([option, "-cf", name, "-C", "tree", "dir"])
            .current_dir(world.path(""))
            .status();
        assert!(done.unwrap().success());
    };
    std::fs::create_dir(world.path("ctx")).unwrap();
    for (option, name) in [("-v", "plain"), ("-z", "gz"), ("-j", "bz2"), ("-J", "xz")] {
        tar(option, &format!("ctx/{name}"));
    }
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\nADD plain /plain\nADD gz /gz\nADD bz2 /bz2\nADD xz /xz\nCOPY gz /copied/\n",
    );
    world.build(&["-t", "app", "ctx"]);
    expect![[r#"
        content
        content
        content
        content
        /copied/gz
    "#]]
    .assert_eq(&world.in_image("app", "cat /plain/dir/file /gz/dir/file /bz2/dir/file /xz/dir/file; ls /copied/gz"));
}

#[test]
fn a_url_is_downloaded() {
    let world = World::new();
    let server = testkit::registry::Registry::start();
    let url = server.put_file("/files/tool.txt", testkit::registry::File::new(b"downloaded\n"));
    world.write("ctx/Dockerfile", format!("FROM busybox\nADD {url}?v=1 /opt/\nADD {url} /opt/other\n"));
    world.build(&["-t", "app", "ctx"]);
    expect![[r#"
        -rw------- tool.txt
        -rw------- other
        downloaded
    "#]]
    .assert_eq(
        &world.in_image("app", "for f in tool.txt other; do echo $(stat -c %A /opt/$f) $f; done; cat /opt/other"),
    );
}

#[test]
fn a_dockerfile_may_come_from_standard_input_with_or_without_a_context() {
    let world = World::new();
    world.write("ctx/file", "from the context\n");
    let ended = world.kiln_reading(&["build", "-t", "a", "-f", "-", "ctx"], b"FROM busybox\nCOPY file /f\n");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(world.in_image("a", "cat /f"), "from the context\n");
    let ended = world.kiln_reading(&["build", "-t", "b", "-"], b"FROM busybox\nRUN echo no context > /f\n");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(world.in_image("b", "cat /f"), "no context\n");
}

#[test]
fn options_choose_stage_arguments_labels_and_file() {
    let world = World::new();
    let dockerfile =
        "FROM busybox AS first\nARG A=default\nARG B\nRUN echo \"$A ${B-unset}\" > /out\nFROM busybox\nRUN false\n";
    world.write("ctx/other/Dockerfile.dev", dockerfile);
    let args = ["-t", "app", "-f", "ctx/other/Dockerfile.dev", "--target", "first", "--build-arg", "A=given"];
    let mut output = world.command(&["build"]);
    output.args(args).args(["--build-arg", "B", "--label", "l=1", "ctx"]).env("B", "env");
    assert!(output.status().unwrap().success());
    assert_eq!(world.in_image("app", "cat /out"), "given env\n");
    assert_eq!(world.ok(&["inspect", "-f", "{{json .Config.Labels}}", "app"]), "{\"l\":\"1\"}\n");
}

#[test]
fn an_id_file_a_metadata_file_and_standard_output_name_the_image() {
    let world = World::new();
    world.write("ctx/Dockerfile", "FROM scratch\nLABEL a=b\n");
    let printed = world.ok(&["build", "-q", "-t", "app", "--iidfile", "id", "--metadata-file", "meta", "ctx"]);
    let id = world.ok(&["inspect", "-f", "{{.Id}}", "app"]);
    assert_eq!(printed, id);
    assert_eq!(format!("{}\n", world.read("id")), id);
    let metadata: serde_json::Value = serde_json::from_str(&world.read("meta")).unwrap();
    assert_eq!(metadata["containerimage.config.digest"], id.trim());
    assert_eq!(metadata["image.name"], "docker.io/library/app:latest");
    let build = metadata["buildx.build.ref"].as_str().unwrap();
    assert_eq!(build.split('/').count(), 3, "{build}");
    assert_eq!(
        world.ok(&["builds", "inspect", "--format", "{{.Ref}}", build]).trim(),
        build.rsplit('/').next().unwrap()
    );
}

#[test]
fn a_metadata_file_has_warnings_where_the_environment_asks_for_them() {
    let world = World::empty();
    world.write("ctx/Dockerfile", "from scratch\nMAINTAINER me\n");
    let warnings = |value: &str| {
        let args = ["build", "--progress", "none", "--metadata-file", "meta", "ctx"];
        assert!(world.command(&args).env("BUILDX_METADATA_WARNINGS", value).status().unwrap().success());
        let metadata: serde_json::Value = serde_json::from_str(&world.read("meta")).unwrap();
        metadata["buildx.build.warnings"].clone()
    };
    assert_eq!(warnings("false"), serde_json::Value::Null);
    let found = warnings("true");
    let lines = |it: &serde_json::Value| it["range"][0]["start"]["line"].clone();
    let lines: Vec<_> = found.as_array().unwrap().iter().map(lines).collect();
    assert!(lines.contains(&serde_json::json!(2)), "{found}");
    // What is asked of a Dockerfile instead of building it stands there too.
    let ended = world.kiln(&["build", "--call", "check", "--metadata-file", "check", "ctx"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let checked: serde_json::Value = serde_json::from_str(&world.read("check")).unwrap();
    assert_eq!(checked["result.json"]["warnings"].as_array().map(Vec::len), found.as_array().map(Vec::len));
}

#[test]
fn an_argument_or_a_label_without_a_name_is_refused() {
    let world = World::empty();
    for flag in ["--build-arg", "--label"] {
        let ended = world.kiln(&["build", flag, "=TEST", "."]);
        assert_eq!((ended.code, ended.stderr.as_str()), (1, "ERROR: invalid key-value pair \"=TEST\": empty key\n"));
    }
}

#[test]
fn a_version_of_the_system_belongs_to_a_platform() {
    let world = World::empty();
    world.write(
        "ctx/Dockerfile",
        "FROM scratch\nARG TARGETOSVERSION TARGETPLATFORM\nCOPY <<E /f\n$TARGETOSVERSION $TARGETPLATFORM\nE\n",
    );
    world.build(&["--platform", "windows(1.2.3)/amd64,windows(1.1.0)/amd64", "-o", "out", "ctx"]);
    assert_eq!(world.read("out/windows(1.2.3)_amd64/f"), "1.2.3 windows(1.2.3)/amd64\n");
    assert_eq!(world.read("out/windows(1.1.0)_amd64/f"), "1.1.0 windows(1.1.0)/amd64\n");
}

#[test]
fn an_image_for_another_platform_is_made_of_files_alone() {
    let world = World::empty();
    world.write("ctx/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY f-${TARGETARCH} /f\n");
    world.write("ctx/f-arm64", "arm\n");
    world.build(&["-t", "app", "--platform", "linux/arm64", "ctx"]);
    assert_eq!(world.ok(&["inspect", "-f", "{{.Os}}/{{.Architecture}}", "app"]), "linux/arm64\n");
}

#[test]
fn an_empty_image_has_no_layers() {
    let world = World::empty();
    world.write("ctx/Dockerfile", "FROM scratch\nCMD [\"x\"]\n");
    world.build(&["-t", "app", "ctx"]);
    assert_eq!(
        world.ok(&["inspect", "-f", "{{json .RootFS}} {{json .Created}}", "app"]),
        "{\"Type\":\"layers\",\"Layers\":[]} null\n"
    );
}

// Spec 84: what a sandbox needs leaves no trace in the layer.
#[test]
fn a_step_leaves_no_stubs_behind() {
    let world = World::new();
    world.write(
        "ctx/Dockerfile",
        "FROM scratch\nCOPY --from=busybox /bin/busybox /busybox\nRUN [\"/busybox\", \"true\"]\n",
    );
    world.build(&["-t", "app", "-o", "type=local,dest=out", "ctx"]);
    let names: Vec<_> =
        std::fs::read_dir(world.path("out")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["busybox"]);
}

#[test]
fn steps_see_mounts() {
    check(
        "FROM busybox AS src\nRUN mkdir /d && echo data > /d/f\nFROM busybox\n\
         RUN --mount=type=bind,from=src,source=/d,target=/m cat /m/f > /out\n\
         RUN --mount=target=/ctx cat /ctx/local >> /out && ls /ctx >> /out\n\
         RUN --mount=type=tmpfs,target=/t touch /t/x && ls /t >> /out\n\
         RUN --mount=type=cache,target=/c echo cached > /c/x\n\
         RUN --mount=type=cache,target=/c cat /c/x >> /out\n\
         RUN ls -d /m /ctx /t /c >> /out 2>&1 || true\n",
        &[("local", "from the context\n")],
        "cat /out",
        expect![[r#"
            data
            from the context
            Dockerfile
            local
            x
            cached
            ls: /m: No such file or directory
            ls: /ctx: No such file or directory
            ls: /t: No such file or directory
            ls: /c: No such file or directory
        "#]],
    );
}

#[test]
fn a_secret_is_shown_and_kept_nowhere() {
    let world = World::new();
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN --mount=type=secret,id=token cat /run/secrets/token | md5sum > /sum\n",
    );
    world.write("token", "mellon-4711");
    world.build(&["-t", "app", "--secret", "id=token,src=token", "ctx"]);
    assert_eq!(
        world.in_image("app", "cat /sum; ls /run/secrets 2>&1 || true"),
        "799d07c9d82c0c833613eb506b581d7a  -\nls: /run/secrets: No such file or directory\n"
    );
    let holds_it =
        |path: &std::path::Path| std::fs::read(path).unwrap().windows(11).any(|bytes| bytes == b"mellon-4711");
    let mut directories = vec![world.store()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => directories.push(entry.path()),
                kind if kind.is_file() => {
                    assert!(!holds_it(&entry.path()), "{} has the secret", entry.path().display())
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_dockerfile_in_lower_case_is_found_where_there_is_no_other() {
    let world = World::empty();
    world.write("ctx/dockerfile", "FROM scratch\nLABEL file=lower\n");
    world.build(&["-t", "lower", "ctx"]);
    assert_eq!(world.ok(&["inspect", "-f", "{{.Config.Labels.file}}", "lower"]), "lower\n");
    world.write("ctx/Dockerfile", "FROM scratch\nLABEL file=usual\n");
    world.build(&["-t", "usual", "ctx"]);
    assert_eq!(world.ok(&["inspect", "-f", "{{.Config.Labels.file}}", "usual"]), "usual\n");
}

#[test]
fn flags_of_docker_that_change_nothing_are_taken() {
    let world = World::empty();
    world.write("ctx/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let flags = ["--provenance=false", "--sbom=false", "--builder", "default", "--rm", "--force-rm", "ctx"];
    let ended = world.kiln(&[["build", "--progress", "none"].as_slice(), &flags].concat());
    let warning = "warning: --force-rm is ignored: it changes nothing here\n";
    assert_eq!((ended.code, ended.stderr.as_str()), (0, warning));
    let ended = world.kiln(&["build", "--provenance=mode=max", "ctx"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.starts_with("ERROR: attestations are not supported"), "{}", ended.stderr);
}

#[test]
fn checks_call_the_file_by_the_path_that_was_given() {
    let world = World::empty();
    world.write("ctx/sub/Dockerfile", "FROM scratch as a\nCOPY . /\n");
    let ended = world.kiln(&["build", "--check", "-f", "ctx/sub/Dockerfile", "ctx"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stdout.contains("\nctx/sub/Dockerfile:1\n"), "{}", ended.stdout);
}
