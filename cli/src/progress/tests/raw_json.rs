//! JSON in BuildKit's fields.

use expect_test::expect;

use crate::progress::open::open;
use crate::progress::script::{FAILING_BUILD, Moment, Written, time_of};
use crate::progress::settings::Mode;
use crate::progress::terminal::Screen;
use crate::progress::warnings::Detail;

#[test]
fn each_event_is_one_line_of_a_solve_status() {
    let written = Written::default();
    let mut renderer = open(Mode::RawJson, written.clone(), Screen::None, &|_| None, Detail::Brief).unwrap().renderer;
    for line in FAILING_BUILD.lines().filter(|line| !line.trim().is_empty()) {
        Moment::parse(line).tell(&mut *renderer);
    }
    renderer.finish(time_of("2")).unwrap();
    let text = String::from_utf8(written.take()).unwrap();
    // Whole digests would only make the lines long.
    let digest = |step: &str| oci::Digest::of(step.as_bytes()).to_string();
    let steps = ["def", "base", "cached", "make", "test", "other", "last"];
    let text = steps.iter().fold(text, |text, step| text.replace(&digest(step), &format!("sha256:{step}")));
    expect![[r#"
        {"vertexes":[{"digest":"sha256:def","name":"[internal] load build definition from Dockerfile","started":"2023-11-14T22:13:20Z"}]}
        {"statuses":[{"id":"transferring dockerfile:","vertex":"sha256:def","current":0,"timestamp":"2023-11-14T22:13:20Z","started":"2023-11-14T22:13:20Z"}]}
        {"statuses":[{"id":"transferring dockerfile:","vertex":"sha256:def","current":208,"timestamp":"2023-11-14T22:13:20.01Z","started":"2023-11-14T22:13:20Z","completed":"2023-11-14T22:13:20.01Z"}]}
        {"warnings":[{"vertex":"sha256:def","level":1,"short":"TWFpbnRhaW5lckRlcHJlY2F0ZWQ6IE1haW50YWluZXIgaW5zdHJ1Y3Rpb24gaXMgZGVwcmVjYXRlZCBpbiBmYXZvciBvZiB1c2luZyBsYWJlbCAobGluZSAyKQ==","detail":["V2h5Lg=="],"url":"https://example.com","sourceInfo":{"filename":"Dockerfile","data":"Ck1BSU5UQUlORVIgbWUKUlVOIG1ha2U=","language":"Dockerfile"},"range":[{"start":{"line":2},"end":{"line":2}}]}]}
        {"vertexes":[{"digest":"sha256:def","name":"[internal] load build definition from Dockerfile","started":"2023-11-14T22:13:20Z","completed":"2023-11-14T22:13:20.02Z"}]}
        {"vertexes":[{"digest":"sha256:base","name":"[base 1/2] FROM docker.io/library/debian:12@sha256:0123","started":"2023-11-14T22:13:20.02Z"}]}
        {"vertexes":[{"digest":"sha256:cached","name":"[final 1/3] WORKDIR /src","started":"2023-11-14T22:13:20.02Z"}]}
        {"vertexes":[{"digest":"sha256:cached","name":"[final 1/3] WORKDIR /src","started":"2023-11-14T22:13:20.02Z","completed":"2023-11-14T22:13:20.02Z","cached":true}]}
        {"statuses":[{"id":"sha256:4abc","vertex":"sha256:base","total":3400000,"current":0,"timestamp":"2023-11-14T22:13:20.03Z","started":"2023-11-14T22:13:20.03Z"}]}
        {"statuses":[{"id":"sha256:4abc","vertex":"sha256:base","total":3400000,"current":1048576,"timestamp":"2023-11-14T22:13:20.2Z","started":"2023-11-14T22:13:20.03Z"}]}
        {"statuses":[{"id":"sha256:4abc","vertex":"sha256:base","total":3400000,"current":3400000,"timestamp":"2023-11-14T22:13:20.3Z","started":"2023-11-14T22:13:20.03Z","completed":"2023-11-14T22:13:20.3Z"}]}
        {"vertexes":[{"digest":"sha256:base","name":"[base 1/2] FROM docker.io/library/debian:12@sha256:0123","started":"2023-11-14T22:13:20.02Z","completed":"2023-11-14T22:13:20.4Z"}]}
        {"vertexes":[{"digest":"sha256:make","name":"[base 2/2] RUN make","started":"2023-11-14T22:13:20.41Z"}]}
        {"vertexes":[{"digest":"sha256:test","name":"[final 2/3] RUN make test","started":"2023-11-14T22:13:20.41Z"}]}
        {"logs":[{"vertex":"sha256:make","stream":1,"data":"Y2MgLWMgYS5jCmNjIC1j","timestamp":"2023-11-14T22:13:20.52Z"}]}
        {"logs":[{"vertex":"sha256:test","stream":1,"data":"Y2hlY2tpbmcg4oCm","timestamp":"2023-11-14T22:13:20.6Z"}]}
        {"logs":[{"vertex":"sha256:make","stream":1,"data":"IGIuYwo=","timestamp":"2023-11-14T22:13:20.7Z"}]}
        {"logs":[{"vertex":"sha256:test","stream":2,"data":"b2sK","timestamp":"2023-11-14T22:13:20.81Z"}]}
        {"logs":[{"vertex":"sha256:make","stream":1,"data":"d2FybmluZzogG1szMW11bnVzZWQbWzBtCiAxMCUNIDUwJQ==","timestamp":"2023-11-14T22:13:21Z"}]}
        {"logs":[{"vertex":"sha256:test","stream":1,"data":"YWxsIGdvb2QK","timestamp":"2023-11-14T22:13:21.2Z"}]}
        {"vertexes":[{"digest":"sha256:test","name":"[final 2/3] RUN make test","started":"2023-11-14T22:13:20.41Z","completed":"2023-11-14T22:13:21.3Z"}]}
        {"logs":[{"vertex":"sha256:make","stream":1,"data":"DTEwMCUKbGQ6IGVycm9yCg==","timestamp":"2023-11-14T22:13:21.4Z"}]}
        {"vertexes":[{"digest":"sha256:other","name":"[other 1/1] RUN sleep 100","started":"2023-11-14T22:13:21.5Z"}]}
        {"vertexes":[{"digest":"sha256:make","name":"[base 2/2] RUN make","started":"2023-11-14T22:13:20.41Z","completed":"2023-11-14T22:13:21.55Z","error":"process \"/bin/sh -c make\" did not complete successfully: exit code: 2"}]}
        {"vertexes":[{"digest":"sha256:other","name":"[other 1/1] RUN sleep 100","started":"2023-11-14T22:13:21.5Z","completed":"2023-11-14T22:13:21.56Z","error":"context canceled"}]}
        {"vertexes":[{"digest":"sha256:last","name":"[last] RUN last"}]}
    "#]].assert_eq(&text);
}

#[test]
fn what_a_step_used_has_no_place_in_buildkits_fields() {
    let written = Written::default();
    let mut renderer = open(Mode::RawJson, written.clone(), Screen::None, &|_| None, Detail::Full).unwrap().renderer;
    Moment::parse("0.0 start a [1/1] RUN make").tell(&mut *renderer);
    written.take();
    Moment::parse("0.1 usage a 210000 50000 12300000 4100000 1").tell(&mut *renderer);
    assert_eq!(written.take(), b"");
}
