//! How the tree behaves on a screen: it moves nothing else, it follows the size, it is drawn as seldom as possible, and it leaves no trace.

use expect_test::{Expect, expect};

use crate::progress::open::open;
use crate::progress::script::{Moment, Numbers, Written, time_of};
use crate::progress::settings::Mode;
use crate::progress::terminal::{Screen, Size};
use crate::progress::tests::session::{MANY, Session, until};
use crate::progress::warnings::Detail;

#[test]
fn nothing_on_the_screen_moves_while_lines_come_and_go() {
    let mut session = Session::new(60, 16);
    session.terminal.write(b"$ kiln build .\r\n");
    session.play(&until("1.0"));
    let before = session.shown();
    assert!(before.starts_with("$ kiln build .\n"), "{before}");
    session.play("1.2 end make done\n1.2 end test done\n1.4 tick\n");
    expect![[r#"
        $ kiln build .
        [+] Building 1.4s (5/5)
         => [internal] load build definition from Dockerfile   0.0s
         => => transferring dockerfile: 208B                   0.0s
         => WARN: MaintainerDeprecated: Maintainer instructio  0.0s
         => [base 1/2] FROM docker.io/library/debian:12@sha25  0.4s
         => => sha256:4abc 3.40MB / 3.40MB                     0.3s
         => CACHED [final 1/3] WORKDIR /src                    0.0s
         => [base 2/2] RUN make                                0.8s
         => [final 2/3] RUN make test                          0.8s
    "#]]
    .assert_eq(&session.shown());
}

#[test]
fn a_tree_at_the_bottom_of_the_screen_grows_upwards_once() {
    let mut session = Session::new(60, 6);
    (0..5).for_each(|line| session.terminal.write(format!("old {line}\r\n").as_bytes()));
    session.play(MANY);
    expect![[r#"
        [+] Building 0.6s (3/5)
         => [3/9] RUN c                                        0.4s
         => => sha256:aa 5B / 10B                              0.4s
         => => sha256:bb 5B / 10B                              0.4s
         => [4/9] RUN d                                        0.4s
    "#]]
    .assert_eq(&session.shown());
    let scrolled = session.terminal.scrolled_off.clone();
    session.play("0.8 tick\n1.0 tick\n1.2 end c done\n1.4 tick");
    assert_eq!(session.terminal.scrolled_off, scrolled, "no frame moves the screen again");
}

#[test]
fn a_terminal_that_becomes_narrower_is_drawn_anew() {
    let mut session = Session::new(80, 24);
    session.terminal.write(b"$ kiln build .\r\n");
    session.play(&until("1.0"));
    session.resize(40, 24);
    session.play("1.2 tick");
    expect![[r#"
        $ kiln build .
        [+] Building 1.2s (3/5)
         => [internal] load build definit  0.0s
         => => transferring dockerfi 208B  0.0s
         => WARN: MaintainerDeprecated: M  0.0s
         => [base 1/2] FROM docker.io/lib  0.4s
         => => sha256:4ab 3.40MB / 3.40MB  0.3s
         => CACHED [final 1/3] WORKDIR /s  0.0s
         => [base 2/2] RUN make            0.8s
         => => # cc -c a.c
         => => # cc -c b.c
         => => # warning: unused
         => => #  50%
         => [final 2/3] RUN make test      0.8s
         => => # checking …ok
    "#]]
    .assert_eq(&session.shown());
    session.resize(100, 12);
    session.play("1.4 tick");
    expect![[r#"
        [+] Building 1.4s (3/5)
         => WARN: MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label   0.0s
         => [base 1/2] FROM docker.io/library/debian:12@sha256:0123                                    0.4s
         => => sha256:4abc 3.40MB / 3.40MB                                                             0.3s
         => CACHED [final 1/3] WORKDIR /src                                                            0.0s
         => [base 2/2] RUN make                                                                        1.0s
         => => # cc -c b.c
         => => # warning: unused
         => => #  50%
         => [final 2/3] RUN make test                                                                  1.0s
         => => # checking …ok
    "#]]
    .assert_eq(&session.shown());
}

#[test]
fn frames_are_drawn_at_most_ten_times_a_second() {
    let mut session = Session::new(80, 24);
    let mut frames = 0;
    session.play("0.0 start a RUN a");
    for at in 0..1000 {
        let line = format!("{:.3} out a line {at}\\n", f64::from(at) / 1000.0);
        Moment::parse(&line).tell(session.renderer.as_deref_mut().unwrap());
        frames += usize::from(!session.written.take().is_empty());
    }
    assert_eq!(frames, 9);
}

#[test]
fn a_frame_that_changes_nothing_is_not_written() {
    let mut session = Session::new(80, 24);
    session.play("0.0 start a RUN a\n0.2 end a done\n");
    session.play("0.4 tick");
    let renderer = session.renderer.as_deref_mut().unwrap();
    renderer.tick(time_of("0.41")).unwrap();
    assert_eq!(session.written.take(), b"");
}

#[test]
fn the_cursor_comes_back_when_a_build_is_abandoned() {
    let mut session = Session::new(80, 24);
    session.play("0.0 start a RUN a");
    assert!(!session.terminal.is_cursor_shown);
    session.renderer = None;
    session.terminal.write(&session.written.take());
    assert!(session.terminal.is_cursor_shown);
}

#[test]
fn an_empty_build_draws_nothing() {
    let mut session = Session::new(80, 24);
    session.play("0.0 tick\n5.0 tick");
    session.finish("6");
    assert_eq!(session.shown(), "");
}

/// The bytes of the first frame and of the last.
#[track_caller]
fn check_bytes(environment: &[(&str, &str)], expected: Expect) {
    let written = Written::default();
    let screen = Screen::Terminal(Box::new(|| Some(Size { columns: 30, rows: 10 })));
    let lookup =
        |variable: &str| environment.iter().find(|(name, _)| *name == variable).map(|(_, value)| (*value).to_owned());
    let mut renderer = open(Mode::Tty, written.clone(), screen, &lookup, Detail::Brief).unwrap().renderer;
    let script = [
        "0.0 start a RUN a",
        "0.2 out a o\\n",
        "0.21 end a cached",
        "0.21 start b RUN b",
        "0.21 warn b W",
        "0.22 end b failed no",
        "0.23 end c cancelled",
    ];
    script.iter().for_each(|line| Moment::parse(line).tell(&mut *renderer));
    renderer.finish(time_of("0.3")).unwrap();
    let text = String::from_utf8(written.take()).unwrap();
    expected.assert_eq(&text.replace('\u{1b}', "␛").replace('\r', "␍"));
}

#[test]
fn colours_tell_how_a_step_ended() {
    check_bytes(
        &[],
        expect![[r#"
        ␛[?25l␛[?7l␍[+] Building 0.0s (0/1)␛[K␍
         => RUN a                0.0s␛[K␍
        ␛[J␛[?7h␛[?7l␛[2A␍[+] Building 0.2s (0/1)␛[K␍
         => RUN a                0.2s␛[K␍
        ␛[2m => => # o␛[0m␛[K␍
        ␛[J␛[?7h␛[?7l␛[3A␍[+] Building 0.3s (3/3) FINIS␛[K␍
        ␛[34m => CACHED RUN a         0.2s␛[0m␛[K␍
        ␛[31m => ERROR RUN b          0.0s␛[0m␛[K␍
        ␛[33m => WARN: W              0.0s␛[0m␛[K␍
        ␛[33m => CANCELED [c] RUN c   0.0s␛[0m␛[K␍
        ␛[J␛[?7h------
         > RUN b:
        ------
        ␛[?25h"#]],
    );
    check_bytes(
        &[("BUILDKIT_COLORS", "run=green:error=1,2,200")],
        expect![[r#"
        ␛[?25l␛[?7l␍[+] Building 0.0s (0/1)␛[K␍
         => RUN a                0.0s␛[K␍
        ␛[J␛[?7h␛[?7l␛[2A␍[+] Building 0.2s (0/1)␛[K␍
         => RUN a                0.2s␛[K␍
        ␛[2m => => # o␛[0m␛[K␍
        ␛[J␛[?7h␛[?7l␛[3A␍[+] Building 0.3s (3/3) FINIS␛[K␍
        ␛[32m => CACHED RUN a         0.2s␛[0m␛[K␍
        ␛[38;5;20m => ERROR RUN b          0.0s␛[0m␛[K␍
        ␛[33m => WARN: W              0.0s␛[0m␛[K␍
        ␛[33m => CANCELED [c] RUN c   0.0s␛[0m␛[K␍
        ␛[J␛[?7h------
         > RUN b:
        ------
        ␛[?25h"#]],
    );
}

#[test]
fn no_colours_where_the_environment_wants_none() {
    check_bytes(
        &[("NO_COLOR", "1"), ("BUILDKIT_COLORS", "run=green")],
        expect![[r#"
        ␛[?25l␛[?7l␍[+] Building 0.0s (0/1)␛[K␍
         => RUN a                0.0s␛[K␍
        ␛[J␛[?7h␛[?7l␛[2A␍[+] Building 0.2s (0/1)␛[K␍
         => RUN a                0.2s␛[K␍
         => => # o␛[K␍
        ␛[J␛[?7h␛[?7l␛[3A␍[+] Building 0.3s (3/3) FINIS␛[K␍
         => CACHED RUN a         0.2s␛[K␍
         => ERROR RUN b          0.0s␛[K␍
         => WARN: W              0.0s␛[K␍
         => CANCELED [c] RUN c   0.0s␛[K␍
        ␛[J␛[?7h------
         > RUN b:
        ------
        ␛[?25h"#]],
    );
}

#[test]
fn no_stream_of_events_breaks_the_screen() {
    for seed in 0..200 {
        let mut numbers = Numbers(seed);
        let mut session = Session::new(1 + numbers.below(100), 1 + numbers.below(30));
        for moment in numbers.moments(100) {
            moment.tell(session.renderer.as_deref_mut().unwrap());
            session.terminal.write(&session.written.take());
            if numbers.below(10) == 0 {
                session.resize(1 + numbers.below(100), 1 + numbers.below(30));
            }
        }
        session.renderer = None;
        session.terminal.write(&session.written.take());
        assert!(session.terminal.is_cursor_shown);
    }
}
