//! What each kind of text is parsed into.

use super::*;
use crate::ast::{CommandLine, Stage};
use proptest::prelude::*;

#[track_caller]
fn check_errors(text: &str, expected: &[&str]) {
    let parse = parse(text.as_bytes());
    let found: Vec<String> = parse
        .diagnostics
        .iter()
        .map(|error| match &error.place {
            Some(place) => format!("{}:{} {}", place.start.line, place.start.column, error.message),
            None => error.message.clone(),
        })
        .collect();
    assert_eq!(found, expected);
}

#[track_caller]
fn stage(text: &str) -> Stage {
    let parse = parse(format!("FROM a\n{text}").as_bytes());
    assert_eq!(parse.diagnostics, []);
    parse.file.stages.into_iter().next().unwrap()
}

#[track_caller]
fn command(text: &str) -> Command {
    stage(text).instructions.remove(0).command
}

// spec 8
#[test]
fn an_empty_file_and_one_with_only_comments_have_their_own_errors() {
    check_errors("", &["the Dockerfile cannot be empty"]);
    check_errors("# a\n\n", &["file with no instructions"]);
    check_errors("\u{feff}", &["file with no instructions"]);
}

// spec 9
#[test]
fn an_unknown_instruction_is_named_with_what_was_meant() {
    check_errors("FORM x", &["1:1 dockerfile parse error on line 1: unknown instruction: FORM (did you mean FROM?)"]);
    check_errors(
        "FROM x\n\n  rnu y",
        &["3:3 dockerfile parse error on line 3: unknown instruction: rnu (did you mean run?)"],
    );
    check_errors("FROM x\nBADCMD y", &["2:1 dockerfile parse error on line 2: unknown instruction: BADCMD"]);
}

// spec 10
#[test]
fn only_arg_may_stand_in_front_of_the_first_stage() {
    check_errors("ARG A=1\nRUN x\nRUN y\nFROM a", &["2:1 no build stage in current context"]);
    assert_eq!(parse(b"ARG A=1 B\nFROM a").file.global_args[0].args.len(), 2);
}

#[test]
fn a_heredoc_without_an_end_has_all_lines_up_to_the_last_one() {
    let parse = parse(b"FROM a\nRUN <<A\nx\ny\n");
    assert_eq!(parse.diagnostics[0].lines, Some(LineRange { start: 2, end: 4 }));
}

#[test]
fn what_is_wrong_with_the_text_is_told_from_what_is_wrong_with_an_instruction() {
    let misspelt = |text: &str| parse(text.as_bytes()).misspelt;
    assert_eq!(misspelt("FROM a\nBAD\nENV A"), Some(1));
    assert_eq!(misspelt("FROM a\nBAD\nCOPY a"), None);
    assert_eq!(misspelt(""), Some(0));
    assert_eq!(misspelt("RUN x\nRUN <<E"), Some(1));
}

#[test]
fn errors_are_collected_and_parsing_goes_on() {
    check_errors(
        "FROM a b\nFROM x AS 1x\nFROM y\nCOPY z\nVOLUME\nRUN ok",
        &[
            "1:1 dockerfile parse error on line 1: FROM requires either one or three arguments",
            "2:11 dockerfile parse error on line 2: invalid name for build stage: \"1x\", name can't start with a number or contain symbols",
            "4:1 dockerfile parse error on line 4: COPY requires at least two arguments, but only one was provided. Destination could not be determined",
            "5:1 dockerfile parse error on line 5: VOLUME requires at least one argument",
        ],
    );
}

// spec 12
#[test]
fn flags_are_checked_one_by_one() {
    let line = |text: &str, error: &str| check_errors(&format!("FROM a\n{text}"), &[error]);
    let on = "dockerfile parse error on line 2:";
    line("COPY --link=foo a b", &format!("2:6 {on} expecting boolean value for flag --link, not: foo"));
    line("COPY --link= a b", &format!("2:6 {on} missing a value on flag: --link"));
    line("COPY --chown a b", &format!("2:6 {on} missing a value on flag: --chown"));
    line("COPY --chown=1 --chown=2 a b", &format!("2:16 {on} duplicate flag specified: --chown"));
    line("COPY --chwon=1 a b", &format!("2:6 {on} unknown flag: --chwon (did you mean chown?)"));
    line("ENV --x A=1", &format!("2:5 {on} unknown flag: --x"));
    line("RUN --network=x y", &format!("2:5 {on} invalid network mode \"x\""));
    line("RUN --security=x y", &format!("2:5 {on} security \"x\" is not valid"));
    line(
        "RUN --mount=\\\"a y",
        &format!(
            "2:5 {on} failed to parse csv mounts: parse error on line 1, column 2: extraneous or missing \" in quoted-field"
        ),
    );
    let Command::Copy(copy) = command("COPY --link=FALSE --exclude=a --exclude=b --from=x --parents a b") else {
        panic!()
    };
    assert_eq!(
        (copy.transfer.link, copy.transfer.exclude, copy.parents),
        (false, vec!["a".to_owned(), "b".to_owned()], true)
    );
}

// spec 13
#[test]
fn text_that_is_not_json_is_for_the_shell_and_other_json_is_an_error() {
    assert_eq!(command("CMD [\"a\", 'b']"), Command::Cmd(CommandLine::Shell("[\"a\", 'b']".to_owned())));
    assert_eq!(command("CMD [\"a\", \"b\"]"), Command::Cmd(CommandLine::Exec(vec!["a".to_owned(), "b".to_owned()])));
    check_errors(
        "FROM a\nCMD [\"a\", 1]",
        &["2:5 when using JSON array syntax, arrays must be comprised of strings only"],
    );
    check_errors(
        "FROM a\nONBUILD CMD [1]",
        &["2:13 when using JSON array syntax, arrays must be comprised of strings only"],
    );
}

// spec 14
#[test]
fn commands_may_be_empty() {
    assert_eq!(command("RUN []"), command("RUN [ ]"));
    assert_eq!(command("CMD"), Command::Cmd(CommandLine::Shell(String::new())));
    assert_eq!(command("ENTRYPOINT []"), Command::Entrypoint(CommandLine::Exec(Vec::new())));
}

// spec 15
#[test]
fn shell_must_be_json() {
    check_errors(
        "FROM a\nSHELL bash -c",
        &["2:7 dockerfile parse error on line 2: SHELL requires the arguments to be in JSON form"],
    );
    check_errors("FROM a\nSHELL []", &["2:1 dockerfile parse error on line 2: SHELL requires at least one argument"]);
    assert_eq!(
        parse(b"FROM a\nSHELL [\"c:\\windows\\x.exe\"]").diagnostics[0].hint.as_deref().map(|hint| &hint[..32]),
        Some("JSON requires back-slashes to be")
    );
}

// spec 16
#[test]
fn a_line_has_at_most_65535_bytes() {
    let line = |length: usize| format!("FROM a\nRUN {}\nRUN b", "x".repeat(length - 4));
    check_errors(&line(65_535), &[]);
    check_errors(&line(65_536), &["2:1 dockerfile line greater than max allowed size of 65535"]);
}

// spec 18
#[test]
fn env_without_an_equals_sign_is_one_pair() {
    let Command::Env(pairs) = command("ENV ONE  TWO= THREE=world ") else { panic!() };
    assert_eq!((pairs[0].key.as_str(), pairs[0].value.as_str(), pairs[0].legacy), ("ONE", "TWO= THREE=world", true));
    check_errors("FROM a\nENV A", &["2:5 ENV must have two arguments"]);
    check_errors("FROM a\nENV A=1 B", &["2:9 Syntax error - can't find = in \"B\". Must be of the form: name=value"]);
    check_errors("FROM a\nENV =1", &["2:5 dockerfile parse error on line 2: ENV names can not be blank"]);
    check_errors("FROM a\nLABEL", &["2:1 dockerfile parse error on line 2: LABEL requires at least one argument"]);
}

// spec 30
#[test]
fn the_source_of_a_mount_has_no_variables() {
    let message =
        "2:5 dockerfile parse error on line 2: 'from' doesn't support variable expansion, define alias stage instead";
    check_errors("FROM a\nRUN --mount=from=$X,target=/x y", &[message]);
}

// spec 43
#[test]
fn health_checks_have_their_own_errors() {
    let line = |text: &str, error: &str| check_errors(&format!("FROM a\n{text}"), &[error]);
    let on = "dockerfile parse error on line 2:";
    line("HEALTHCHECK --interval=1us CMD a", &format!("2:13 {on} Interval \"interval\" cannot be less than 1ms"));
    line("HEALTHCHECK --timeout=5 CMD a", &format!("2:13 {on} time: missing unit in duration \"5\""));
    line("HEALTHCHECK --retries=-1 CMD a", &format!("2:13 {on} --retries cannot be negative (-1)"));
    line("HEALTHCHECK --retries=x CMD a", &format!("2:13 {on} strconv.ParseInt: parsing \"x\": invalid syntax"));
    line("HEALTHCHECK FOO", &format!("2:13 {on} Unknown type \"FOO\" in HEALTHCHECK (try CMD)"));
    line("HEALTHCHECK CMD", &format!("2:1 {on} Missing command after HEALTHCHECK CMD"));
    line("HEALTHCHECK NONE x", &format!("2:13 {on} HEALTHCHECK NONE takes no arguments"));
    line("HEALTHCHECK", &format!("2:1 {on} HEALTHCHECK requires at least one argument"));
    let Command::HealthCheck(check) = command("HEALTHCHECK --interval=5m --retries=3 cmd [\"a\", \"b\"]") else {
        panic!()
    };
    assert_eq!(
        (check.test.join(" "), check.interval_nanoseconds, check.retries),
        ("CMD a b".to_owned(), 300_000_000_000, 3)
    );
}

// spec 53
#[test]
fn onbuild_keeps_its_instruction_as_text_with_heredocs() {
    assert_eq!(
        command("onbuild  COPY <<A <<-B /x/\na\nA\n\tb\n\tB\n"),
        Command::OnBuild("COPY <<A <<-B /x/\na\nA\n\tb\nB".to_owned())
    );
    let line = |text: &str, error: &str| check_errors(&format!("FROM a\n{text}"), &[error]);
    let on = "dockerfile parse error on line 2:";
    line("ONBUILD ONBUILD RUN x", &format!("2:9 {on} Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"));
    line("ONBUILD FROM x", &format!("2:9 {on} FROM isn't allowed as an ONBUILD trigger"));
    line("ONBUILD maintainer x", &format!("2:9 {on} MAINTAINER isn't allowed as an ONBUILD trigger"));
    line("ONBUILD", &format!("2:1 {on} ONBUILD requires at least one argument"));
    // What the instruction says is looked at where it is carried out.
    assert_eq!(command("ONBUILD ENV"), Command::OnBuild("ENV".to_owned()));
    assert_eq!(command("ONBUILD LABEL --x =1"), Command::OnBuild("LABEL --x =1".to_owned()));
    line("ONBUILD ENV A", "2:13 ENV must have two arguments");
}

// spec 73
#[test]
fn heredocs_are_sources_and_no_destinations() {
    let Command::Copy(copy) = command("COPY a <<A <<'B' /o/\none\nA\ntwo\r\nB\nRUN next") else { panic!() };
    let bodies: Vec<(&str, &str, bool)> =
        copy.transfer.heredocs.iter().map(|it| (it.name.as_str(), it.content.as_str(), it.expand)).collect();
    assert_eq!(bodies, [("A", "one\n", true), ("B", "two\r\n", false)]);
    assert_eq!(copy.transfer.sources.iter().map(|word| word.text.as_str()).collect::<Vec<_>>(), ["a"]);
    check_errors(
        "FROM a\nCOPY x <<A\nA\n",
        &["2:8 dockerfile parse error on line 2: COPY cannot accept a heredoc as a destination"],
    );
    check_errors("FROM a\nRUN <<A\nx\n", &["2:1 unterminated heredoc"]);
    check_errors(
        "FROM a\nRUN <<'A\nA\n",
        &["3:1 dockerfile parse error on line 3: unknown instruction: A (did you mean ADD?)"],
    );
    let Command::Copy(copy) = command("COPY [\"<<A\", \"/x\"]") else { panic!() };
    assert_eq!(copy.transfer.sources[0].text, "<<A");
}

// spec 88
#[test]
fn devices_are_names_with_fields() {
    let Command::Run(run) = command("RUN --device=vendor.com/class=gpu,required --device=name=x,required=false y")
    else {
        panic!()
    };
    assert_eq!(run.devices, [("vendor.com/class=gpu".to_owned(), true), ("x".to_owned(), false)]);
}

#[test]
fn comments_above_describe_and_an_empty_one_forgets() {
    let text = "# old\n#\n# base the base\n\nFROM a AS base\n# A is it\nARG A=1 B\n";
    let stage = &parse(text.as_bytes()).file.stages[0];
    assert_eq!(
        (stage.description.as_deref(), stage.site.comments.as_slice()),
        (Some("the base"), ["base the base".to_owned()].as_slice())
    );
    let Command::Arg(args) = &stage.instructions[0].command else { panic!() };
    assert_eq!((args[0].description.as_deref(), args[1].description.as_deref()), (Some("is it"), None));
}

#[test]
fn places_are_those_of_the_file_and_not_of_the_joined_line() {
    let stage = stage("COPY a \\\n# x\n  bb \\\n  /c\nRUN <<E\nE\n");
    let Command::Copy(copy) = &stage.instructions[0].command else { panic!() };
    let text = "FROM a\nCOPY a \\\n# x\n  bb \\\n  /c\nRUN <<E\nE\n";
    let part = |span: Span| &text[span.start..span.end];
    assert_eq!((part(copy.transfer.sources[1].span), part(copy.transfer.destination.span)), ("bb", "/c"));
    let lines: Vec<_> = stage.instructions.iter().map(|it| (it.site.lines.start, it.site.lines.end)).collect();
    assert_eq!(lines, [(2, 5), (6, 7)]);
    assert_eq!(stage.instructions[0].site.code(), "COPY a   bb   /c");
}

#[test]
fn hostile_files_end_quickly_in_an_error() {
    check_errors(&"RUN x\n".repeat(100), &["1:1 no build stage in current context"]);
    check_errors(
        &format!("FROM a\n{}", "X\n".repeat(200_000)).replace('X', "RUN x"),
        &["100001:1 the Dockerfile has more than 100000 instructions"],
    );
    check_errors(&"x".repeat(17 << 20), &["the Dockerfile exceeds maximum allowed size of 16777216 bytes"]);
    check_errors(&"x".repeat(10 << 20), &["1:1 dockerfile line greater than max allowed size of 65535"]);
    check_errors("FROM a\0", &["1:7 the Dockerfile contains a NUL byte"]);
    assert_eq!(parse(&b"X\n".repeat(1_000_000)).diagnostics.len(), DIAGNOSTICS_MAX);
    check_errors(&format!("FROM a\nRUN {}", "a \\\n".repeat(300_000)), &[]);
}

#[test]
fn text_that_is_no_utf_8_is_read_as_well_as_it_can_be() {
    let parse = parse(b"# caf\xe9\nFROM a\nLABEL x=\xe9");
    assert_eq!(parse.diagnostics, []);
}

/// Checks that the pieces are the text, and that whatever has a place in it is within it.
fn check_cover(text: &str) -> Result<(), TestCaseError> {
    let parse = parse(text.as_bytes());
    let mut at = 0;
    for piece in &parse.file.pieces {
        prop_assert_eq!(piece.span.start, at);
        prop_assert!(piece.span.end >= at);
        at = piece.span.end;
    }
    prop_assert!(at == parse.file.source.text().len() || parse.file.pieces.is_empty() && text.is_empty());
    for stage in &parse.file.stages {
        for instruction in &stage.instructions {
            let span = instruction.site.span;
            prop_assert!(span.start <= span.end && span.end <= at);
            prop_assert!(parse.file.source.text().get(span.start..span.end).is_some());
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_parses_to_pieces_that_cover_it(text in "\\PC*") {
        check_cover(&text)?;
    }

    #[test]
    fn any_text_of_dockerfile_parts_parses_to_pieces_that_cover_it(
        parts in proptest::collection::vec(prop::sample::select(&[
            "FROM a", "RUN x", "COPY <<A b", "A", "ENV A=\"", "# escape=`\n", "# c", "\\\n", "`\n", "\n", "\r\n", " ", "\t", "\\", "<<-'E' ", "ONBUILD ", "--x=", "[\"", "\"]", "'",
        ][..]), 0..30),
    ) {
        check_cover(&parts.concat())?;
    }
}
