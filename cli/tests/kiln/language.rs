//! What is asked of a Dockerfile instead of building it, and what is told of a wrong one.

use expect_test::{Expect, expect};

use crate::world::{Ended, World, filter};

/// Every stage stands on `scratch`, so that nothing has to be had.
const DOCKERFILE: &str = "\
# base what all stand on
FROM scratch AS base
FROM base AS app
# PORT where it listens
ARG PORT=80
ARG NAME
LABEL name=${NAME:?needed} port=$PORT
RUN --mount=type=secret,id=key,required true
CMD echo hi
FROM scratch AS other
";

/// Runs `kiln build` on a Dockerfile, and returns all that it printed without progress.
fn printed(dockerfile: &str, args: &[&str]) -> String {
    let world = World::empty();
    world.write("ctx/Dockerfile", dockerfile);
    let args: Vec<&str> = ["build", "--progress", "quiet"].iter().chain(args).chain(&["ctx"]).copied().collect();
    let ended = world.kiln(&args);
    format!("{}{}exit code: {}\n", filter(&ended.stdout), filter(&ended.stderr), ended.code)
}

#[track_caller]
fn check(dockerfile: &str, args: &[&str], expected: Expect) {
    expected.assert_eq(&printed(dockerfile, args));
}

#[test]
fn a_file_without_warnings_passes_its_check() {
    let expected = expect![[r#"
        Check complete, no warnings found.
        exit code: 0
    "#]];
    check("FROM scratch\nCMD [\"a\"]\n", &["--check"], expected);
}

#[test]
fn a_check_shows_every_warning_with_its_place_and_its_page() {
    let dockerfile = "FROM scratch\nWORKDIR /\nLABEL a=$undef\nCMD echo hi\n";
    check(
        dockerfile,
        &["--call", "check"],
        expect![[r#"
        Check complete, 2 warnings have been found!

        WARNING: UndefinedVar - https://docs.docker.com/go/dockerfile/rule/undefined-var/
        Usage of undefined variable '$undef'
        Dockerfile:3
        --------------------
           1 |     FROM scratch
           2 |     WORKDIR /
           3 | >>> LABEL a=$undef
             |           ^^^^^^^^
           4 |     CMD echo hi
           5 |     
        --------------------

        WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/
        JSON arguments recommended for CMD to prevent unintended behavior related to OS signals
        Dockerfile:4
        --------------------
           2 |     WORKDIR /
           3 |     LABEL a=$undef
           4 | >>> CMD echo hi
           5 |     
        --------------------
        exit code: 1
    "#]],
    );
    check(
        dockerfile,
        &["--call", "check,ignorestatus=true", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=UndefinedVar"],
        expect![[r#"
            Check complete, 1 warning has been found!

            WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/
            JSON arguments recommended for CMD to prevent unintended behavior related to OS signals
            Dockerfile:4
            --------------------
               2 |     WORKDIR /
               3 |     LABEL a=$undef
               4 | >>> CMD echo hi
               5 |     
            --------------------
            exit code: 0
        "#]],
    );
}

#[test]
fn a_check_of_a_file_that_cannot_be_built_shows_all_its_errors() {
    check(
        "FROM scratch\nCOPYY a b\nADD --chwon=1 a b\n",
        &["--check"],
        expect![[r#"
        ERROR: dockerfile parse error on line 2: unknown instruction: COPYY (did you mean COPY?)
        Dockerfile:2
        --------------------
           1 |     FROM scratch
           2 | >>> COPYY a b
             |     ^^^^^
           3 |     ADD --chwon=1 a b
           4 |     
        --------------------
        ERROR: dockerfile parse error on line 3: unknown flag: --chwon (did you mean chown?)
        Dockerfile:3
        --------------------
           1 |     FROM scratch
           2 |     COPYY a b
           3 | >>> ADD --chwon=1 a b
             |         ^^^^^^^^^
           4 |     
        --------------------
        exit code: 1
    "#]],
    );
}

#[test]
fn a_check_is_json_for_those_who_ask() {
    check(
        "FROM scratch\nMAINTAINER me\n",
        &["--check", "--format", "json"],
        expect![[r#"
        {
          "warnings": [
            {
              "ruleName": "MaintainerDeprecated",
              "description": "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
              "url": "https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/",
              "detail": "Maintainer instruction is deprecated in favor of using label",
              "location": {
                "ranges": [
                  {
                    "start": {
                      "line": 2
                    },
                    "end": {
                      "line": 2
                    }
                  }
                ]
              }
            }
          ],
          "sources": [
            {
              "filename": "Dockerfile",
              "language": "Dockerfile",
              "data": "RlJPTSBzY3JhdGNoCk1BSU5UQUlORVIgbWUK"
            }
          ],
          "diagnostics": [
            {
              "severity": "warning",
              "rule": "MaintainerDeprecated",
              "message": "Maintainer instruction is deprecated in favor of using label",
              "place": {
                "start": {
                  "offset": 13,
                  "line": 2,
                  "column": 1
                },
                "end": {
                  "offset": 27,
                  "line": 3,
                  "column": 1
                }
              },
              "lines": {
                "start": 2,
                "end": 2
              }
            }
          ]
        }
        exit code: 1
    "#]],
    );
}

#[test]
fn an_outline_shows_what_a_target_takes_and_what_it_requires() {
    check(
        DOCKERFILE,
        &["--call", "outline", "--target", "app"],
        expect![[r#"
        TARGET:   app

        BUILD ARG   VALUE     REQUIRED   DESCRIPTION
        PORT        80                   where it listens
        NAME                  true       

        SECRET    REQUIRED
        key       true

        exit code: 0
    "#]],
    );
}

#[test]
fn targets_are_the_stages_with_what_is_said_of_them() {
    check(
        DOCKERFILE,
        &["--call", "targets"],
        expect![[r#"
        TARGET            DESCRIPTION
        base              what all stand on
        app               
        other (default)   
        exit code: 0
    "#]],
    );
}

#[test]
fn a_graph_is_printed_as_text_as_json_and_as_a_drawing() {
    let dockerfile = "FROM scratch\nWORKDIR /a\nCOPY x y\n";
    check(
        dockerfile,
        &["--print", "graph"],
        expect![[r#"
        %0 scratch
        %1 mkdir /a mode=755 on %0  # [1/2] WORKDIR /a
        %2 local context  # [internal] load build context
        %3 copy /a/y from %2{x literal} on %1  # [2/2] COPY x y
        linux/amd64 %3
        exit code: 0
    "#]],
    );
    check(
        dockerfile,
        &["--print", "dot"],
        expect![[r#"
        digraph {
            0 [ label = "scratch"]
            1 [ label = "[1/2] WORKDIR /a"]
            2 [ label = "[internal] load build context"]
            3 [ label = "[2/2] COPY x y"]
            0 -> 1 [ ]
            1 -> 3 [ ]
            2 -> 3 [ ]
        }
        exit code: 0
    "#]],
    );
    let world = World::empty();
    world.write("ctx/Dockerfile", dockerfile);
    let text = world.ok(&["build", "--print", "json", "--platform", "linux/arm64", "ctx"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["vertices"].as_array().unwrap().len(), 4);
    let result = &json["results"][0];
    assert_eq!(
        (&result["platform"], &result["vertex"], &result["config"]["config"]["WorkingDir"]),
        (&"linux/arm64".into(), &3.into(), &"/a".into())
    );
}

#[test]
fn a_strict_build_takes_what_is_misspelt_or_unused_for_errors() {
    let dockerfile = "FROM scratch AS unused\nFROM scratch\nARG VERSION\nLABEL v=$VERSIN\n";
    check(
        dockerfile,
        &["--strict", "--build-arg", "VERSON=1"],
        expect![[r#"
        Dockerfile:1
        --------------------
           1 | >>> FROM scratch AS unused
           2 |     FROM scratch
           3 |     ARG VERSION
        --------------------
        ERROR: failed to build: failed to solve: stage "unused" is not used by any other stage and is not the target

        hint: remove the stage, or name it in a `COPY --from`

        Dockerfile:4
        --------------------
           2 |     FROM scratch
           3 |     ARG VERSION
           4 | >>> LABEL v=$VERSIN
             |           ^^^^^^^^^
           5 |     
        --------------------
        ERROR: Usage of undefined variable '$VERSIN'

        ERROR: One or more build-args [VERSON] were not consumed

        hint: did you mean `VERSION` instead of `VERSON`?
        exit code: 1
    "#]],
    );
}

#[test]
fn a_build_is_one_json_document_for_those_who_ask() {
    check(
        "FROM scratch\nRUNN a\nENV\n",
        &["--format", "json"],
        expect![[r#"
        {
          "images": [],
          "diagnostics": [
            {
              "severity": "error",
              "message": "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)",
              "place": {
                "start": {
                  "offset": 13,
                  "line": 2,
                  "column": 1
                },
                "end": {
                  "offset": 17,
                  "line": 2,
                  "column": 5
                }
              },
              "lines": {
                "start": 2,
                "end": 2
              }
            },
            {
              "severity": "error",
              "message": "dockerfile parse error on line 3: ENV requires at least one argument",
              "place": {
                "start": {
                  "offset": 20,
                  "line": 3,
                  "column": 1
                },
                "end": {
                  "offset": 24,
                  "line": 4,
                  "column": 1
                }
              },
              "lines": {
                "start": 3,
                "end": 3
              }
            }
          ]
        }
        Dockerfile:2
        --------------------
           1 |     FROM scratch
           2 | >>> RUNN a
             |     ^^^^
           3 |     ENV
           4 |     
        --------------------
        ERROR: failed to build: failed to solve: dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)

        Dockerfile:3
        --------------------
           1 |     FROM scratch
           2 |     RUNN a
           3 | >>> ENV
           4 |     
        --------------------
        ERROR: dockerfile parse error on line 3: ENV requires at least one argument
        exit code: 1
    "#]],
    );
    check(
        "FROM scratch\nCMD [\"a\"]\nMAINTAINER me\n",
        &["--format", "json"],
        expect![[r#"
        {
          "images": [
            "[DIGEST]
          ],
          "diagnostics": [
            {
              "severity": "warning",
              "rule": "MaintainerDeprecated",
              "message": "Maintainer instruction is deprecated in favor of using label",
              "place": {
                "start": {
                  "offset": 23,
                  "line": 3,
                  "column": 1
                },
                "end": {
                  "offset": 37,
                  "line": 4,
                  "column": 1
                }
              },
              "lines": {
                "start": 3,
                "end": 3
              }
            }
          ]
        }
        exit code: 0
    "#]],
    );
}

#[test]
fn an_unknown_call_names_those_that_there_are() {
    let text = printed("FROM scratch\n", &["--call", "outlines"]);
    assert!(text.contains("unknown method `outlines`: expected build, check, outline, targets or context"), "{text}");
}

// spec 80: and a file on standard input
#[test]
fn a_dockerfile_on_standard_input_is_checked_too() {
    let world = World::empty();
    world.write("ctx/.dockerignore", "hidden\n");
    world.write("ctx/hidden", "");
    let ended = world.kiln_reading(&["build", "--check", "-q", "-f", "-", "ctx"], b"FROM scratch\nCOPY hidden /\n");
    assert!(ended.stdout.contains("Attempting to Copy file \"hidden\" that is excluded by .dockerignore"), "{ended:?}");
    assert_eq!(ended.code, 1);
}

#[test]
fn the_document_of_a_build_that_a_step_failed_has_the_warnings_too() {
    let world = World::new();
    world.write("ctx/Dockerfile", "FROM busybox\nMAINTAINER me\nRUN exit 3\n");
    let ended = world.kiln(&["build", "--progress", "quiet", "--format", "json", "ctx"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let document: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let found: Vec<String> = document["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| format!("{} {} {} {}", it["severity"], it["rule"], it["lines"]["start"], it["message"]))
        .collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("\"warning\" \"MaintainerDeprecated\" 2 \"Maintainer instruction is"), "{found:?}");
    assert!(found[1].starts_with("\"error\" null 3 ") && found[1].contains("exit code: 3"), "{found:?}");
}

/// What a hostile Dockerfile may take: processor time in seconds and data in KiB, enforced by the kernel; far above what it takes, even without optimisation.
const HOSTILE_CPU_SECONDS: u32 = 60;
const HOSTILE_DATA_KIB: u32 = 768 << 10;

#[test]
fn hostile_files_end_in_an_error_with_little_time_and_memory() {
    let nested = format!("FROM scratch\nENV A={}x{}\n", "${B:-".repeat(10_000), "}".repeat(10_000));
    let folded = format!("FROM scratch\nENV A={}x{}\n", "${B:-\\\n".repeat(100_000), "}\\\n".repeat(100_000));
    let doubled: String = (0..200).map(|step| format!("ENV A{}=$A{step}$A{step}\n", step + 1)).collect();
    let hostile = [
        ("a line", "x".repeat(10 << 20), "dockerfile line greater than max allowed size of 65535"),
        ("nesting", nested, "nested"),
        ("nesting over lines", folded, "nested"),
        ("instructions", format!("FROM scratch\n{}", "RUN x\n".repeat(1_000_000)), "more than 100000 instructions"),
        ("brackets", format!("FROM scratch\nCMD {}\n", "[".repeat(60_000)), ""),
        ("doubling", format!("FROM scratch\nENV A0=xxxxxxxx\n{doubled}"), "bytes"),
    ];
    let world = World::empty();
    for (name, text, expected) in hostile {
        world.write("ctx/Dockerfile", text);
        let limits = format!("ulimit -t {HOSTILE_CPU_SECONDS} && ulimit -d {HOSTILE_DATA_KIB} && exec \"$0\" \"$@\"");
        let kiln = world.command(&["build", "--progress", "quiet", "ctx"]);
        let mut limited = std::process::Command::new("sh");
        limited.stdin(std::process::Stdio::null()).args(["-c", &limits]).arg(kiln.get_program()).args(kiln.get_args());
        limited.env_clear().envs(kiln.get_envs().filter_map(|(key, value)| Some((key, value?))));
        let ended = Ended::of(&limited.current_dir(world.path("")).output().unwrap());
        let is_error = if expected.is_empty() { 0 } else { 1 };
        let said: String = ended.stderr.chars().take(2_000).collect();
        assert_eq!(ended.code, is_error, "{name}: {said}");
        assert!(ended.stderr.contains(expected), "{name}: {said}");
    }
}
