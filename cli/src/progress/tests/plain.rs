//! Plain text, to the letter of BuildKit.

use expect_test::{Expect, expect};

use crate::progress::open::open;
use crate::progress::script::{FAILING_BUILD, Moment, Written, time_of};
use crate::progress::settings::Mode;
use crate::progress::terminal::Screen;
use crate::progress::warnings::Detail;

fn plain(script: &str, end: &str, environment: &[(&str, &str)]) -> String {
    plain_in(Detail::Brief, script, end, environment)
}

fn plain_in(detail: Detail, script: &str, end: &str, environment: &[(&str, &str)]) -> String {
    let written = Written::default();
    let lookup =
        |variable: &str| environment.iter().find(|(name, _)| *name == variable).map(|(_, value)| (*value).to_owned());
    let mut renderer = open(Mode::Plain, written.clone(), Screen::None, &lookup, detail).unwrap().renderer;
    for line in script.lines().filter(|line| !line.trim().is_empty()) {
        Moment::parse(line).tell(&mut *renderer);
    }
    renderer.finish(time_of(end)).unwrap();
    String::from_utf8(written.take()).unwrap()
}

/// Prints a stream; carriage returns and escapes are shown.
#[track_caller]
fn check(script: &str, expected: Expect) {
    expected.assert_eq(&plain(script, "999", &[]).replace('\r', "␍").replace('\u{1b}', "␛"));
}

#[test]
fn a_build_reads_as_buildkit_s() {
    check(
        FAILING_BUILD,
        expect![[r##"
            #1 [internal] load build definition from Dockerfile
            #1 transferring dockerfile: 208B done
            #1 WARN: MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)
            #1 DONE 0.0s

            #2 [final 1/3] WORKDIR /src
            #2 CACHED

            #3 [base 1/2] FROM docker.io/library/debian:12@sha256:0123
            #3 sha256:4abc 1.05MB / 3.40MB 0.2s
            #3 sha256:4abc 3.40MB / 3.40MB 0.3s done
            #3 DONE 0.4s

            #4 [base 2/2] RUN make
            #4 0.110 cc -c a.c
            #4 0.110 cc -c b.c
            #4 0.590 warning: ␛[31munused␛[0m
            #4 0.590  10%␍ 50%
            #4 ...

            #5 [final 2/3] RUN make test
            #5 0.190 checking …ok
            #5 0.790 all good
            #5 DONE 0.9s

            #4 [base 2/2] RUN make
            #4 0.590  10%␍ 50%␍100%
            #4 0.990 ld: error
            #4 ERROR: process "/bin/sh -c make" did not complete successfully: exit code: 2

            #6 [other 1/1] RUN sleep 100
            #6 CANCELED

            #7 [last] RUN last
            #7 NOT RUN
            ------
             > [base 2/2] RUN make:
            0.110 cc -c a.c
            0.110 cc -c b.c
            0.590 warning: ␛[31munused␛[0m
            0.590  10%␍ 50%␍100%
            0.990 ld: error
            ------
        "##]],
    );
}

#[test]
fn a_cached_build_is_printed_step_by_step() {
    check(
        "
        0.000 start a [internal] load build definition from Dockerfile
        0.001 end a done
        0.001 start b [1/2] FROM docker.io/library/alpine
        0.001 start c [2/2] RUN make
        0.002 end b cached
        0.003 end c cached
        0.003 start d exporting to image
        0.003 part d 0/- 0.003-0.004 exporting layers
        0.004 part d 0/- 0.003-0.204 writing image sha256:0123
        0.204 end d done
        ",
        expect![[r#"
            #1 [internal] load build definition from Dockerfile
            #1 DONE 0.0s

            #2 [1/2] FROM docker.io/library/alpine
            #2 CACHED

            #3 [2/2] RUN make
            #3 CACHED

            #4 exporting to image
            #4 exporting layers done
            #4 writing image sha256:0123 0.2s done
            #4 DONE 0.2s
        "#]],
    );
}

#[test]
fn a_long_step_gives_up_its_turn_to_one_that_waited_ten_seconds() {
    check(
        "
        0.0 start a [1/2] RUN a
        0.0 start b [2/2] RUN b
        0.2 out b first of b\\n
        1.0 out a a1\\n
        5.0 out a a2\\n
        10.0 out a a3\\n
        10.3 tick
        10.5 out a a4\\n
        11.0 end b done
        11.2 tick
        12.0 end a done
        ",
        expect![[r#"
            #1 [1/2] RUN a
            #1 1.000 a1
            #1 5.000 a2
            #1 10.00 a3
            #1 ...

            #2 [2/2] RUN b
            #2 0.200 first of b
            #2 ...

            #1 [1/2] RUN a
            #1 10.50 a4
            #1 ...

            #2 [2/2] RUN b
            #2 DONE 11.0s

            #1 [1/2] RUN a
            #1 DONE 12.0s
        "#]],
    );
}

#[test]
fn an_unfinished_line_is_printed_again_after_an_interruption() {
    check(
        "
        0.0 start a [1/2] RUN a
        0.1 out a working
        0.2 start b [2/2] RUN b
        0.2 end b done
        0.3 tick
        0.4 out a  on it
        0.6 out a \\nnext
        0.8 end a done
        ",
        expect![[r#"
            #1 [1/2] RUN a
            #1 0.100 working
            #1 ...

            #2 [2/2] RUN b
            #2 DONE 0.0s

            #1 [1/2] RUN a
            #1 0.100 working on it
            #1 0.600 next
            #1 DONE 0.8s
        "#]],
    );
}

#[test]
fn parts_are_printed_when_they_have_grown_by_a_twentieth_or_after_five_seconds() {
    check(
        "
        0.0 start a [1/1] FROM big
        0.1 part a 0/1000000000 0.1 sha256:aa
        0.3 part a 10000000/1000000000 0.1 sha256:aa
        0.5 part a 60000000/1000000000 0.1 sha256:aa
        0.7 part a 61000000/1000000000 0.1 sha256:aa
        5.9 part a 62000000/1000000000 0.1 sha256:aa
        6.0 part a 500/- 5.9 extracting
        6.2 part a 1000000000/1000000000 0.1-6.1 sha256:aa
        6.4 part a 500/- 5.9-6.3 extracting
        6.5 end a done
        ",
        expect![[r#"
            #1 [1/1] FROM big
            #1 sha256:aa 0B / 1.00GB
            #1 sha256:aa 60.00MB / 1.00GB 0.4s
            #1 sha256:aa 62.00MB / 1.00GB 5.8s
            #1 extracting 500B 0.1s
            #1 sha256:aa 1.00GB / 1.00GB 6.0s done
            #1 extracting 500B 0.4s done
            #1 DONE 6.5s
        "#]],
    );
}

#[test]
fn times_in_the_output_lose_decimals_as_they_grow() {
    check(
        "
        0.0 start a RUN a
        0.0005 out a zero\\n
        9.999 out a nine\\n
        12.345 out a twelve\\n
        123.456 out a hundred\\n
        124.0 end a done
        ",
        expect![[r#"
            #1 RUN a
            #1 0.001 zero
            #1 9.999 nine
            #1 12.35 twelve
            #1 123.5 hundred
            #1 DONE 124.0s
        "#]],
    );
}

#[test]
fn carriage_returns_and_escapes_are_passed_on() {
    check(
        "
        0.0 start a RUN a
        0.2 out a 10%\\r20%\\r\\e[31m100%\\e[0m\\r\\n
        0.3 end a done
        ",
        expect![[r#"
            #1 RUN a
            #1 0.200 10%␍20%␍␛[31m100%␛[0m␍
            #1 DONE 0.3s
        "#]],
    );
}

#[test]
fn a_failed_step_shows_its_last_ten_lines_again() {
    let lines: String = (1..=12).map(|line| format!("line {line}\\n")).collect();
    check(
        &format!("0.0 start a [2/2] RUN exit 3\n0.1 out a {lines}\n0.2 end a failed exit code: 3"),
        expect![[r#"
            #1 [2/2] RUN exit 3
            #1 0.100 line 1
            #1 0.100 line 2
            #1 0.100 line 3
            #1 0.100 line 4
            #1 0.100 line 5
            #1 0.100 line 6
            #1 0.100 line 7
            #1 0.100 line 8
            #1 0.100 line 9
            #1 0.100 line 10
            #1 0.100 line 11
            #1 0.100 line 12
            #1 ERROR: exit code: 3
            ------
             > [2/2] RUN exit 3:
            0.100 line 3
            0.100 line 4
            0.100 line 5
            0.100 line 6
            0.100 line 7
            0.100 line 8
            0.100 line 9
            0.100 line 10
            0.100 line 11
            0.100 line 12
            ------
        "#]],
    );
}

#[test]
fn what_exceeds_the_log_limit_is_clipped_for_each_stream() {
    let script = "
        0.0 start a RUN a
        0.1 out a 12345678
        0.2 out a 9012345
        0.3 out a more
        0.4 err a short
        0.5 end a done
    ";
    let limited = |value| plain(script, "1", &[("BUILDKIT_STEP_LOG_MAX_SIZE", value)]);
    expect![[r#"
        #1 RUN a
        #1 0.100 1234567890
        #1 0.200 [output clipped, log limit 10B reached]
        #1 0.400 short
        #1 DONE 0.5s
    "#]]
    .assert_eq(&limited("10"));
    assert_eq!(limited("0"), limited("-1"));
    expect![[r#"
        #1 RUN a
        #1 0.100 123456789012345moreshort
        #1 DONE 0.5s
    "#]]
    .assert_eq(&limited("0"));
    expect![[r#"
        #1 RUN a
        #1 0.100 1234567890
        #1 0.200 [output clipped, log limit 10B/s reached]
        #1 0.400 short
        #1 DONE 0.5s
    "#]]
    .assert_eq(&plain(script, "1", &[("BUILDKIT_STEP_LOG_MAX_SPEED", "10")]));
}

#[test]
fn two_mebibytes_of_a_stream_are_printed() {
    let line = "x".repeat(1023);
    let mut script = "0.0 start a RUN a\n".to_owned();
    for _ in 0..2100 {
        script.push_str(&format!("0.1 out a {line}\\n\n"));
    }
    let printed = plain(&script, "1", &[]);
    assert_eq!(printed.matches(&line).count(), 2048);
    assert!(
        printed.ends_with("\n#1 0.100 \n#1 0.100 [output clipped, log limit 2MiB reached]\n"),
        "{}",
        &printed[printed.len() - 200..]
    );
}

#[test]
fn long_names_are_cut_where_the_environment_wants_it() {
    let script = format!("0.0 start a {}", "x".repeat(100));
    let printed = plain(&script, "1", &[("PROGRESS_NO_TRUNC", "0")]);
    assert_eq!(printed, format!("#1 {}...\n", "x".repeat(72)));
}

#[test]
fn output_of_a_step_that_waits_is_bounded() {
    let mut script = "0.0 start a RUN a\n0.0 start b RUN b\n".to_owned();
    let line = "x".repeat(65_536);
    for _ in 0..20 {
        script.push_str(&format!("0.01 out b {line}\n"));
    }
    let written = Written::default();
    let unlimited = |variable: &str| (variable == "BUILDKIT_STEP_LOG_MAX_SIZE").then(|| "0".to_owned());
    let mut renderer = open(Mode::Plain, written.clone(), Screen::None, &unlimited, Detail::Brief).unwrap().renderer;
    script.lines().for_each(|line| Moment::parse(line).tell(&mut *renderer));
    assert!(written.take().len() > 1024 * 1024, "printed before its turn");
    renderer.finish(time_of("1")).unwrap();
    let rest = String::from_utf8(written.take()).unwrap();
    assert!(rest.len() < 300_000, "{}", rest.len());
}

/// Steps that used something: one that was run twice, and one that failed and left no layer.
const USED: &str = "0.0 start a [1/2] RUN make\n0.1 usage a 210000 50000 12300000 4100000 2\n0.3 end a done\n\
                    0.4 start b [2/2] RUN false\n0.5 usage b 1000 2000 0 0 1\n0.6 end b failed exit code: 1\n";

#[test]
fn what_a_step_used_is_a_line_of_its_own_for_those_who_debug() {
    check(
        USED,
        expect![[r##"
            #1 [1/2] RUN make
            #1 DONE 0.3s

            #2 [2/2] RUN false
            #2 ERROR: exit code: 1
            ------
             > [2/2] RUN false:
            ------
        "##]],
    );
    expect![[r##"
        #1 [1/2] RUN make
        #1 used 0.26s of CPU (0.21s user, 0.05s system), 12.30MB of memory at most, wrote 4.10MB, in 2 attempts
        #1 DONE 0.3s

        #2 [2/2] RUN false
        #2 used 0.00s of CPU (0.00s user, 0.00s system)
        #2 ERROR: exit code: 1
        ------
         > [2/2] RUN false:
        ------
    "##]]
    .assert_eq(&plain_in(Detail::Full, USED, "999", &[]));
}
