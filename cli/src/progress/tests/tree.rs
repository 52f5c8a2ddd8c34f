//! What the tree is, as the screen shows it.

use expect_test::{Expect, expect};

use crate::progress::open::open;
use crate::progress::script::{FAILING_BUILD, Moment, Written};
use crate::progress::settings::Mode;
use crate::progress::terminal::{Screen, Size};
use crate::progress::tests::session::{MANY, Session, until};
use crate::progress::virtual_terminal::VirtualTerminal;
use crate::progress::warnings::Detail;

/// The screen at the end of a script.
#[track_caller]
fn check(columns: usize, rows: usize, script: &str, expected: Expect) {
    let mut session = Session::new(columns, rows);
    session.play(script);
    expected.assert_eq(&session.shown());
    assert_eq!(session.terminal.scrolled_off, [""; 0], "nothing was moved off the screen");
}

/// All lines after the end of a build.
#[track_caller]
fn check_finished(columns: usize, rows: usize, script: &str, end: &str, expected: Expect) {
    let mut session = Session::new(columns, rows);
    session.play(script);
    session.finish(end);
    let above: String = session.terminal.scrolled_off.iter().map(|line| format!("{}\n", line.trim_end())).collect();
    expected.assert_eq(&(above + &session.shown()));
    assert!(session.terminal.is_cursor_shown);
}

#[test]
fn the_tree_shows_what_runs_and_its_last_output() {
    check(
        80,
        24,
        &until("0.12"),
        expect![[r#"
            [+] Building 0.1s (2/3)
             => [internal] load build definition from Dockerfile                       0.0s
             => => transferring dockerfile: 208B                                       0.0s
             => WARN: MaintainerDeprecated: Maintainer instruction is deprecated in f  0.0s
             => [base 1/2] FROM docker.io/library/debian:12@sha256:0123                0.1s
             => => sha256:4abc 0B / 3.40MB                                             0.1s
             => CACHED [final 1/3] WORKDIR /src                                        0.0s
        "#]],
    );
    check(
        80,
        24,
        &until("0.25"),
        expect![[r#"
            [+] Building 0.2s (2/3)
             => [internal] load build definition from Dockerfile                       0.0s
             => => transferring dockerfile: 208B                                       0.0s
             => WARN: MaintainerDeprecated: Maintainer instruction is deprecated in f  0.0s
             => [base 1/2] FROM docker.io/library/debian:12@sha256:0123                0.2s
             => => sha256:4abc 1.05MB / 3.40MB                                         0.2s
             => CACHED [final 1/3] WORKDIR /src                                        0.0s
        "#]],
    );
    check(
        80,
        24,
        &until("1.15"),
        expect![[r#"
            [+] Building 1.1s (3/5)
             => [internal] load build definition from Dockerfile                       0.0s
             => => transferring dockerfile: 208B                                       0.0s
             => WARN: MaintainerDeprecated: Maintainer instruction is deprecated in f  0.0s
             => [base 1/2] FROM docker.io/library/debian:12@sha256:0123                0.4s
             => => sha256:4abc 3.40MB / 3.40MB                                         0.3s
             => CACHED [final 1/3] WORKDIR /src                                        0.0s
             => [base 2/2] RUN make                                                    0.7s
             => => # cc -c a.c
             => => # cc -c b.c
             => => # warning: unused
             => => #  50%
             => [final 2/3] RUN make test                                              0.7s
             => => # checking …ok
        "#]],
    );
}

#[test]
fn a_finished_tree_is_complete_and_followed_by_the_failure() {
    check_finished(
        80,
        40,
        FAILING_BUILD,
        "1.6",
        expect![[r#"
            [+] Building 1.6s (6/7)
             => [internal] load build definition from Dockerfile                       0.0s
             => => transferring dockerfile: 208B                                       0.0s
             => WARN: MaintainerDeprecated: Maintainer instruction is deprecated in f  0.0s
             => [base 1/2] FROM docker.io/library/debian:12@sha256:0123                0.4s
             => => sha256:4abc 3.40MB / 3.40MB                                         0.3s
             => CACHED [final 1/3] WORKDIR /src                                        0.0s
             => ERROR [base 2/2] RUN make                                              1.1s
             => [final 2/3] RUN make test                                              0.9s
             => CANCELED [other 1/1] RUN sleep 100                                     0.1s
             => NOT RUN [last] RUN last                                                0.0s
            ------
             > [base 2/2] RUN make:
            0.110 cc -c a.c
            0.110 cc -c b.c
            0.590 warning: unused
            0.590 100%
            0.990 ld: error
            ------
        "#]],
    );
}

#[test]
fn a_build_without_failure_ends_finished() {
    check_finished(
        60,
        24,
        "0.0 start a [1/2] FROM x\n0.0 end a cached\n0.1 start b [2/2] RUN make\n12.34 end b done",
        "12.4",
        expect![[r#"
            [+] Building 12.4s (2/2) FINISHED
             => CACHED [1/2] FROM x                                0.0s
             => [2/2] RUN make                                    12.2s
        "#]],
    );
}

#[test]
fn what_does_not_fit_goes_in_the_order_of_its_weight() {
    check(
        40,
        30,
        MANY,
        expect![[r#"
            [+] Building 0.6s (3/5)
             => [1/9] RUN a                    0.1s
             => [2/9] RUN b                    0.1s
             => [3/9] RUN c                    0.4s
             => => # c3
             => => # c4
             => => # c5
             => => # c6
             => => # c7
             => => # c8
             => => sha256:aa 5B / 10B          0.4s
             => => sha256:bb 5B / 10B          0.4s
             => [4/9] RUN d                    0.4s
             => => # d1
             => => # d2
             => [5/9] RUN e                    0.0s
        "#]],
    );
    check(
        40,
        14,
        MANY,
        expect![[r#"
            [+] Building 0.6s (3/5)
             => [1/9] RUN a                    0.1s
             => [2/9] RUN b                    0.1s
             => [3/9] RUN c                    0.4s
             => => # c6
             => => # c7
             => => # c8
             => => sha256:aa 5B / 10B          0.4s
             => => sha256:bb 5B / 10B          0.4s
             => [4/9] RUN d                    0.4s
             => => # d1
             => => # d2
             => [5/9] RUN e                    0.0s
        "#]],
    );
    check(
        40,
        9,
        MANY,
        expect![[r#"
            [+] Building 0.6s (3/5)
             => [3/9] RUN c                    0.4s
             => => # c8
             => => sha256:aa 5B / 10B          0.4s
             => => sha256:bb 5B / 10B          0.4s
             => [4/9] RUN d                    0.4s
             => => # d2
             => [5/9] RUN e                    0.0s
        "#]],
    );
    check(
        40,
        5,
        MANY,
        expect![[r#"
            [+] Building 0.6s (3/5)
             => [3/9] RUN c                    0.4s
             => => sha256:aa 5B / 10B          0.4s
             => [4/9] RUN d                    0.4s
        "#]],
    );
    check(
        40,
        3,
        MANY,
        expect![[r#"
            [+] Building 0.6s (3/5)
             => [3/9] RUN c                    0.4s
        "#]],
    );
    check(
        40,
        2,
        MANY,
        expect![[r#"
            [+] Building 0.6s (3/5)
        "#]],
    );
    check(40, 1, MANY, expect![[""]]);
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let script = "
        0.0 start a [1/2] RUN 日本語日本語日本語日本語日本語日本語日本語日本語 and more and more
        0.0 part a 1048576/3400000 0.0 sha256:0123456789abcdef0123456789abcdef0123456789abcdef
        0.1 out a wide: 日本語日本語日本語日本語日本語日本語日本語日本語 👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦\\n\\e[2J\\e[Hescaped
        0.4 tick
    ";
    check(
        60,
        24,
        script,
        expect![[r#"
            [+] Building 0.4s (0/1)
             => [1/2] RUN 日本語日本語日本語日本語日本語日本語日   0.4s
             => => # wide: 日本語日本語日本語日本語日本語日本語日本語日
             => => # escaped
             => => sha256:0123456789abcdef0123456 1.05MB / 3.40MB  0.4s
        "#]],
    );
    check(
        30,
        24,
        script,
        expect![[r#"
            [+] Building 0.4s (0/1)
             => [1/2] RUN 日本語日   0.4s
             => => # wide: 日本語日本語日
             => => # escaped
             => => sha256:012345678  0.4s
        "#]],
    );
    for columns in 1..100 {
        Session::new(columns, 10).play(script);
    }
}

#[test]
fn the_failure_of_a_step_with_much_output_shows_its_end() {
    let mut session = Session::new(80, 200);
    session.play("0.0 start a RUN a");
    for at in 0..5000 {
        session.play(&format!("0.1 out a line {at}\\n"));
    }
    session.play("0.2 end a failed exit code: 1");
    session.finish("0.3");
    let lines: Vec<_> = session.terminal.scrolled_off.iter().map(|line| line.trim_end()).collect();
    let head = lines.iter().position(|line| *line == " > RUN a:").unwrap();
    assert_eq!(
        lines[head + 1..head + 3],
        ["[3000 earlier lines are left out; --progress plain shows all]", "0.100 line 3000"]
    );
    assert!(session.shown().ends_with("0.100 line 4999\n------\n"));
}

#[test]
fn a_failed_step_without_output_has_an_empty_box() {
    check_finished(
        40,
        10,
        "0.0 start a RUN a\n0.1 end a failed no such file",
        "0.2",
        expect![[r#"
            [+] Building 0.2s (1/1) FINISHED
             => ERROR RUN a                    0.1s
            ------
             > RUN a:
            ------
        "#]],
    );
}

#[test]
fn the_environment_decides_how_much_output_is_shown() {
    let written = Written::default();
    let size = Size { columns: 30, rows: 10 };
    let lookup = |variable: &str| (variable == "BUILDKIT_TTY_LOG_LINES").then(|| "2".to_owned());
    let screen = Screen::Terminal(Box::new(move || Some(size)));
    let mut renderer = open(Mode::Tty, written.clone(), screen, &lookup, Detail::Brief).unwrap().renderer;
    ["0.0 start a RUN a", "0.2 out a 1\\n2\\n3\\n"].iter().for_each(|line| Moment::parse(line).tell(&mut *renderer));
    let mut terminal = VirtualTerminal::new(size);
    terminal.write(&written.take());
    expect![[r#"
        [+] Building 0.2s (0/1)
         => RUN a                0.2s
         => => # 2
         => => # 3
    "#]]
    .assert_eq(&terminal.shown());
}

#[test]
fn what_a_step_used_is_shown_where_its_name_leaves_room() {
    let script = "0.0 start a [1/2] RUN make\n0.1 usage a 210000 50000 12300000 4100000 1\n0.3 end a done\n\
                  0.4 start b [2/2] RUN true\n0.4 usage b 1000 2000 0 0 1\n0.4 end b done\n";
    let shown = |columns| {
        let mut session = Session::new(columns, 24);
        session.play(script);
        session.finish("0.5");
        session.shown()
    };
    expect![[r#"
        [+] Building 0.5s (2/2) FINISHED
         => [1/2] RUN make              cpu 0.3s, 12.30MB, wrote 4.10MB  0.3s
         => [2/2] RUN true                                               0.0s
    "#]]
    .assert_eq(&shown(70));
    expect![[r#"
        [+] Building 0.5s (2/2) FINISHED
         => [1/2] RUN make                   0.3s
         => [2/2] RUN true                   0.0s
    "#]]
    .assert_eq(&shown(42));
}
