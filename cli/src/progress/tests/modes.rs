//! Which renderer is chosen, and the two that hardly print.

use expect_test::{Expect, expect};

use crate::progress::open::open;
use crate::progress::script::{FAILING_BUILD, Moment, Numbers, Written, time_of};
use crate::progress::settings::Mode;
use crate::progress::terminal::{Screen, Size};
use crate::progress::warnings::Detail;

fn run(mode: Mode, screen: Screen, environment: &[(&str, &str)]) -> Result<(String, Vec<String>), String> {
    let written = Written::default();
    let lookup =
        |variable: &str| environment.iter().find(|(name, _)| *name == variable).map(|(_, value)| (*value).to_owned());
    let opened = open(mode, written.clone(), screen, &lookup, Detail::Brief).map_err(|error| error.to_string())?;
    let mut renderer = opened.renderer;
    for line in FAILING_BUILD.lines().filter(|line| !line.trim().is_empty()) {
        Moment::parse(line).tell(&mut *renderer);
    }
    renderer.finish(time_of("2")).unwrap();
    Ok((String::from_utf8(written.take()).unwrap(), opened.complaints))
}

fn terminal() -> Screen {
    Screen::Terminal(Box::new(|| Some(Size { columns: 80, rows: 24 })))
}

/// How the output of a mode begins.
#[track_caller]
fn check(mode: Mode, screen: Screen, environment: &[(&str, &str)], expected: &str) {
    let result = run(mode, screen, environment).map(|(text, complaints)| {
        assert_eq!(complaints, [""; 0]);
        let kind = match text.chars().next() {
            None => "nothing",
            Some('\u{1b}') => "tree",
            Some('{') => "json",
            Some('#') => "plain",
            Some('-') => "failures",
            Some(_) => "?",
        };
        kind.to_owned()
    });
    assert_eq!(result.unwrap_or_else(|error| error), expected);
}

#[test]
fn a_terminal_gets_the_tree_and_anything_else_plain_text() {
    check(Mode::Auto, terminal(), &[], "tree");
    check(Mode::Auto, Screen::None, &[], "plain");
    check(Mode::Tty, terminal(), &[("TERM", "xterm")], "tree");
    check(Mode::Plain, terminal(), &[], "plain");
    check(Mode::RawJson, terminal(), &[], "json");
    check(Mode::None, terminal(), &[], "nothing");
    check(Mode::Quiet, terminal(), &[], "failures");
}

#[test]
fn a_dumb_terminal_gets_plain_text() {
    check(Mode::Auto, terminal(), &[("TERM", "dumb")], "plain");
    check(Mode::Tty, terminal(), &[("TERM", "dumb")], "plain");
}

#[test]
fn a_tree_without_a_terminal_is_refused() {
    let refused = "cannot show progress as `tty`: the output is not a terminal; use `--progress plain`";
    check(Mode::Tty, Screen::None, &[], refused);
}

#[test]
fn the_environment_decides_what_auto_is() {
    check(Mode::Auto, terminal(), &[("BUILDKIT_PROGRESS", "plain")], "plain");
    check(Mode::Auto, terminal(), &[("BUILDKIT_PROGRESS", "")], "tree");
    check(Mode::Tty, terminal(), &[("BUILDKIT_PROGRESS", "plain")], "tree");
    let refused =
        "invalid progress mode `fancy` in BUILDKIT_PROGRESS: expected auto, none, plain, quiet, rawjson or tty";
    check(Mode::Auto, terminal(), &[("BUILDKIT_PROGRESS", "fancy")], refused);
}

#[test]
fn quiet_shows_only_why_a_step_failed() {
    let (text, _) = run(Mode::Quiet, Screen::None, &[]).unwrap();
    expect![[r#"
        ------
         > [base 2/2] RUN make:
        0.110 cc -c a.c
        0.110 cc -c b.c
        0.590 warning: ␛[31munused␛[0m
        0.590  10%␍ 50%␍100%
        0.990 ld: error
        ------
    "#]]
    .assert_eq(&text.replace('\r', "␍").replace('\u{1b}', "␛"));
}

#[track_caller]
fn check_complaints(environment: &[(&str, &str)], expected: Expect) {
    expected.assert_eq(&run(Mode::None, Screen::None, environment).unwrap().1.join("\n"));
}

#[test]
fn what_is_wrong_in_the_environment_is_said_and_ignored() {
    check_complaints(
        &[
            ("BUILDKIT_STEP_LOG_MAX_SIZE", "2MB"),
            ("BUILDKIT_STEP_LOG_MAX_SPEED", ""),
            ("BUILDKIT_TTY_LOG_LINES", "many"),
            ("BUILDKIT_COLORS", "run=pink:cancel=blue"),
        ],
        expect![[r#"
            cannot use BUILDKIT_TTY_LOG_LINES: expected a whole number, got `many`
            cannot use BUILDKIT_STEP_LOG_MAX_SIZE: expected a whole number, got `2MB`
            cannot use `run=pink` in BUILDKIT_COLORS: expected the name of a colour, or three numbers from 0 to 255 with commas between them"#]],
    );
}

#[test]
fn no_stream_of_events_stops_any_mode() {
    for mode in [Mode::Plain, Mode::Tty, Mode::RawJson, Mode::Quiet, Mode::None] {
        for seed in 0..50 {
            let mut renderer = open(mode, Written::default(), terminal(), &|_| None, Detail::Brief).unwrap().renderer;
            Numbers(seed).moments(200).iter().for_each(|moment| moment.tell(&mut *renderer));
            renderer.finish(time_of("30")).unwrap();
        }
    }
}

#[test]
fn what_is_said_about_an_unknown_step_is_ignored() {
    for mode in [Mode::Plain, Mode::Tty, Mode::RawJson, Mode::Quiet] {
        let written = Written::default();
        let mut renderer = open(mode, written.clone(), terminal(), &|_| None, Detail::Brief).unwrap().renderer;
        let script = ["0.0 out a text\\n", "0.1 part a 1/2 0.0 part", "0.2 warn a W", "5.0 tick"];
        script.iter().for_each(|line| Moment::parse(line).tell(&mut *renderer));
        renderer.finish(time_of("6")).unwrap();
        assert_eq!(String::from_utf8(written.take()).unwrap(), "");
    }
}
