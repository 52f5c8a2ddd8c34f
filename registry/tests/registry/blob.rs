//! Blobs: whole, resumed, checked.

use std::io::Read;

use expect_test::{Expect, expect};
use oci::{Descriptor, Digest, media_type};
use registry::{Client, Config, Error, Notice, Timeouts};
use testkit::registry::{Fault, File, Registry};

use crate::{client, config, text, with, without_ports};

const MEBIBYTE: usize = 1024 * 1024;

/// Bytes that are nowhere equal.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|position| (position * 31 + position / 251) as u8).collect()
}

async fn read(client: &Client, registry: &Registry, blob: &Descriptor) -> Result<Vec<u8>, Error> {
    let mut stream = client.fetch_blob(&registry.reference("app"), blob).await?;
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await? {
        all.extend_from_slice(&bytes);
    }
    assert_eq!(stream.offset_bytes(), stream.size_bytes());
    assert!(stream.next().await?.is_none());
    Ok(all)
}

/// Fetches a blob of 1 MiB from a registry with faults, and shows the outcome and the requests.
#[track_caller]
fn check(prepare: impl FnOnce(&Registry), expected: Expect) {
    let registry = Registry::start();
    let bytes = content(MEBIBYTE);
    let blob = registry.put_blob("app", media_type::OCI_LAYER, bytes.clone());
    prepare(&registry);
    let outcome = run(&client(), &registry, &blob, &bytes);
    expected.assert_eq(&format!("{outcome}\n{}", registry.log()));
}

#[tokio::main(flavor = "current_thread")]
async fn run(client: &Client, registry: &Registry, blob: &Descriptor, expected: &[u8]) -> String {
    match read(client, registry, blob).await {
        Ok(bytes) if bytes == expected => "whole".to_owned(),
        Ok(bytes) => format!("{} other bytes", bytes.len()),
        Err(err) => text(&err),
    }
}

#[test]
fn a_blob_comes_whole_by_one_request() {
    check(
        |_| {},
        expect![[r#"
        whole
        GET /v2/app/blobs/sha256:dc6e5c46329e 200
    "#]],
    );
    check(
        |registry| registry.fail("GET", 1, Fault::Chunked),
        expect![[r#"
        whole
        GET /v2/app/blobs/sha256:dc6e5c46329e 200
    "#]],
    );
}

#[test]
fn a_broken_connection_goes_on_where_it_broke() {
    check(
        |registry| registry.fail("GET", 1, Fault::CutAfter(300_000)),
        expect![[r#"
        whole
        GET /v2/app/blobs/sha256:dc6e5c46329e 200
        GET /v2/app/blobs/sha256:dc6e5c46329e 206 (range bytes=300000-)
    "#]],
    );
    check(
        |registry| registry.fail("GET", 1, Fault::CutAfter(MEBIBYTE - 1)),
        expect![[r#"
        whole
        GET /v2/app/blobs/sha256:dc6e5c46329e 200
        GET /v2/app/blobs/sha256:dc6e5c46329e 206 (range bytes=1048575-)
    "#]],
    );
    check(
        |registry| registry.fail("GET", 1, Fault::CutAfter(0)),
        expect![[r#"
        whole
        GET /v2/app/blobs/sha256:dc6e5c46329e 200
        GET /v2/app/blobs/sha256:dc6e5c46329e 200
    "#]],
    );
}

#[test]
fn a_host_that_begins_again_is_read_from_its_start() {
    check(
        |registry| {
            registry.fail("GET", 1, Fault::CutAfter(300_000));
            registry.fail("GET", 2, Fault::IgnoreRange);
        },
        expect![[r#"
            whole
            GET /v2/app/blobs/sha256:dc6e5c46329e 200
            GET /v2/app/blobs/sha256:dc6e5c46329e 200 (range bytes=300000-)
        "#]],
    );
}

#[test]
fn a_connection_that_breaks_again_and_again_is_no_failure_while_it_gives_much() {
    check(
        |registry| registry.fail("GET", 9, Fault::CutAfter(200_000)),
        expect![[r#"
        whole
        GET /v2/app/blobs/sha256:dc6e5c46329e 200
        GET /v2/app/blobs/sha256:dc6e5c46329e 206 (range bytes=200000-)
        GET /v2/app/blobs/sha256:dc6e5c46329e 206 (range bytes=400000-)
        GET /v2/app/blobs/sha256:dc6e5c46329e 206 (range bytes=600000-)
        GET /v2/app/blobs/sha256:dc6e5c46329e 206 (range bytes=800000-)
        GET /v2/app/blobs/sha256:dc6e5c46329e 206 (range bytes=1000000-)
    "#]],
    );
    check(
        |registry| registry.fail("GET", 9, Fault::CutAfter(1000)),
        expect![[r#"
        failed to fetch blob `sha256:dc6e5c46329e` of `127.0.0.1:PORT/app`: 127.0.0.1:PORT (attempt 3): connection broken after 3000 bytes: error reading a body from connection: end of file before message length reached
        GET /v2/app/blobs/sha256:dc6e5c46329e 200
        GET /v2/app/blobs/sha256:dc6e5c46329e 206 (range bytes=1000-)
        GET /v2/app/blobs/sha256:dc6e5c46329e 206 (range bytes=2000-)
    "#]],
    );
}

#[test]
fn trouble_while_resuming_is_waited_out() {
    check(
        |registry| {
            registry.fail("GET", 1, Fault::CutAfter(300_000));
            registry.fail("GET", 3, Fault::Status(502));
        },
        expect![[r#"
            failed to fetch blob `sha256:dc6e5c46329e` of `127.0.0.1:PORT/app`: 127.0.0.1:PORT (attempt 3): unexpected status from GET request to http://127.0.0.1:PORT/v2/app/blobs/sha256:dc6e5c46329e: 502 Bad Gateway
            GET /v2/app/blobs/sha256:dc6e5c46329e 200
            GET /v2/app/blobs/sha256:dc6e5c46329e 502 (range bytes=300000-)
            GET /v2/app/blobs/sha256:dc6e5c46329e 502 (range bytes=300000-)
        "#]],
    );
}

#[test]
fn a_host_that_falls_silent_is_given_up() {
    let registry = Registry::start();
    let bytes = content(MEBIBYTE);
    let blob = registry.put_blob("app", media_type::OCI_LAYER, bytes.clone());
    registry.fail("GET", 1, Fault::StallAfter(100_000));
    let idle = std::time::Duration::from_millis(100);
    let timeouts = Timeouts { idle, connect: idle };
    let client = with(Config { timeouts, ..config() });
    assert_eq!(run(&client, &registry, &blob, &bytes), "whole");
    expect![[r#"
        GET /v2/app/blobs/sha256:dc6e5c46329e 200
        GET /v2/app/blobs/sha256:dc6e5c46329e 206 (range bytes=100000-)
    "#]]
    .assert_eq(&registry.log());
    registry.fail("GET", 9, Fault::Silence);
    expect!["failed to fetch blob `sha256:dc6e5c46329e` of `127.0.0.1:PORT/app`: 127.0.0.1:PORT (attempt 3): i/o timeout: nothing came for 0.1 s while an answer was waited for"].assert_eq(&run(&client, &registry, &blob, &bytes));
}

#[test]
fn wrong_bytes_are_never_taken_for_the_blob() {
    check(
        |registry| registry.fail("GET", 1, Fault::Corrupt),
        expect![[r#"
        failed to fetch blob `sha256:dc6e5c46329e` of `127.0.0.1:PORT/app`: 127.0.0.1:PORT: content is corrupt: expected sha256:dc6e5c46329e, got sha256:ef587bb87c6f (1048576 bytes)
        GET /v2/app/blobs/sha256:dc6e5c46329e 200
    "#]],
    );
}

#[test]
fn a_wrong_length_is_refused_before_it_is_read() {
    check(
        |registry| registry.fail("GET", 1, Fault::Answer(200, "short".to_owned())),
        expect![[r#"
        failed to fetch blob `sha256:dc6e5c46329e` of `127.0.0.1:PORT/app`: 127.0.0.1:PORT: content has the wrong size: expected 1048576 bytes, got 5
        GET /v2/app/blobs/sha256:dc6e5c46329e 200
    "#]],
    );
    check(
        |registry| registry.fail("GET", 1, Fault::TooLong),
        expect![[r#"
        failed to fetch blob `sha256:dc6e5c46329e` of `127.0.0.1:PORT/app`: 127.0.0.1:PORT: content has the wrong size: expected 1048576 bytes, got 1048580
        GET /v2/app/blobs/sha256:dc6e5c46329e 200
    "#]],
    );
    check(
        |registry| {
            registry.fail("GET", 1, Fault::All(vec![Fault::Answer(200, "short".to_owned()), Fault::Chunked]));
            registry.fail("GET", 9, Fault::Status(404));
        },
        expect![[r#"
            failed to fetch blob `sha256:dc6e5c46329e` of `127.0.0.1:PORT/app`: 127.0.0.1:PORT (attempt 2): not found
            GET /v2/app/blobs/sha256:dc6e5c46329e 200
            GET /v2/app/blobs/sha256:dc6e5c46329e 404 (range bytes=5-)
        "#]],
    );
}

#[test]
fn a_range_that_was_not_asked_for_is_refused() {
    check(
        |registry| {
            registry.fail("GET", 1, Fault::CutAfter(300_000));
            registry.fail("GET", 1, Fault::Header("content-range", "bytes 400000-1048575/1048576".to_owned()));
        },
        expect![[r#"
            failed to fetch blob `sha256:dc6e5c46329e` of `127.0.0.1:PORT/app`: 127.0.0.1:PORT (attempt 2): unexpected answer: expected the bytes from 300000 on, got those from 400000 on
            GET /v2/app/blobs/sha256:dc6e5c46329e 200
            GET /v2/app/blobs/sha256:dc6e5c46329e 206 (range bytes=300000-)
        "#]],
    );
}

#[test]
fn an_empty_blob_is_a_blob() {
    let registry = Registry::start();
    let blob = registry.put_blob("app", media_type::OCI_LAYER, "");
    assert_eq!(run(&client(), &registry, &blob, &[]), "whole");
    let wrong = Descriptor::new("", Digest::of(b"x"), 0);
    registry.fail("GET", 1, Fault::Answer(200, String::new()));
    expect!["failed to fetch blob `sha256:2d711642b726` of `127.0.0.1:PORT/app`: 127.0.0.1:PORT: content is corrupt: expected sha256:2d711642b726, got sha256:e3b0c44298fc (0 bytes)"].assert_eq(&run(&client(), &registry, &wrong, &[]));
}

#[test]
fn a_missing_blob_is_not_found() {
    let registry = Registry::start();
    let blob = Descriptor::of(media_type::OCI_LAYER, b"missing");
    expect!["failed to fetch blob `sha256:ffa63583dfa6` of `127.0.0.1:PORT/app`: 127.0.0.1:PORT: blob unknown to registry: not found"].assert_eq(&run(&client(), &registry, &blob, &[]));
}

#[test]
fn redirects_are_followed_to_where_the_bytes_are() {
    let (registry, cdn) = (Registry::start(), Registry::start());
    let bytes = content(MEBIBYTE);
    let blob = registry.put_blob("app", media_type::OCI_LAYER, bytes.clone());
    cdn.put_blob("app", media_type::OCI_LAYER, bytes.clone());
    registry.fail("GET", 9, Fault::Redirect(format!("http://{}", cdn.host())));
    cdn.fail("GET", 1, Fault::CutAfter(300_000));
    assert_eq!(run(&client(), &registry, &blob, &bytes), "whole");
    expect![[r#"
        GET /v2/app/blobs/sha256:dc6e5c46329e 307
        GET /v2/app/blobs/sha256:dc6e5c46329e 307 (range bytes=300000-)
    "#]]
    .assert_eq(&registry.log());
    expect![[r#"
        GET /v2/app/blobs/sha256:dc6e5c46329e 200
        GET /v2/app/blobs/sha256:dc6e5c46329e 206 (range bytes=300000-)
    "#]]
    .assert_eq(&cdn.log());
    cdn.fail("GET", 1, Fault::Status(403));
    expect!["failed to fetch blob `sha256:dc6e5c46329e` of `127.0.0.1:PORT/app`: 127.0.0.1:PORT: unexpected status from GET request to http://127.0.0.1:PORT/v2/app/blobs/sha256:dc6e5c46329e: 403 Forbidden"].assert_eq(&run(&client(), &registry, &blob, &bytes));
    registry.fail("GET", 99, Fault::Redirect(format!("http://{}", registry.host())));
    expect!["whole"].assert_eq(&run(&client(), &registry, &blob, &bytes));
}

#[test]
fn a_foreign_layer_is_fetched_from_its_own_place() {
    let (registry, elsewhere) = (Registry::start(), Registry::start());
    let url = elsewhere.put_file("/layer.tar", File::new("layer"));
    let blob = Descriptor { urls: vec!["ftp://no".to_owned(), url], ..Descriptor::of(media_type::OCI_LAYER, b"layer") };
    assert_eq!(run(&client(), &registry, &blob, b"layer"), "whole");
    expect![[r#"
        GET /v2/app/blobs/sha256:dac1d7cfa950 404
        GET /layer.tar 200
    "#]]
    .assert_eq(&format!("{}{}", registry.log(), elsewhere.log()));
    let gone = Descriptor { urls: vec![elsewhere.put_file("/x", File::default()) + "y"], ..blob };
    expect!["failed to fetch blob `sha256:dac1d7cfa950` of `127.0.0.1:PORT/app`: 127.0.0.1:PORT: blob unknown to registry: not found; 127.0.0.1:PORT: 404 page not found: not found"].assert_eq(&run(&client(), &registry, &gone, b"layer"));
}

#[test]
fn a_user_is_told_when_an_attempt_is_made_again() {
    let registry = Registry::start();
    let blob = registry.put_blob("app", media_type::OCI_LAYER, "layer");
    registry.fail("GET", 1, Fault::StatusRetryAfter(503, 0));
    let (sender, notices) = std::sync::mpsc::channel();
    let client = client().reporting(move |notice| sender.send(notice).unwrap());
    run(&client, &registry, &blob, b"layer");
    let told: Vec<String> = notices
        .try_iter()
        .map(|notice| match notice {
            Notice::Retrying { host, attempt, delay, cause } => {
                without_ports(&format!("{host} attempt {attempt}, again in {delay:?}: {cause}"))
            }
            other => format!("{other:?}"),
        })
        .collect();
    expect!["127.0.0.1:PORT attempt 1, again in 0ns: unexpected status from GET request to http://127.0.0.1:PORT/v2/app/blobs/sha256:dac1d7cfa950: 503 Service Unavailable"].assert_eq(&told.join("\n"));
}

#[test]
fn code_that_blocks_reads_a_blob_too() {
    let registry = Registry::start();
    let bytes = content(MEBIBYTE);
    let blob = registry.put_blob("app", media_type::OCI_LAYER, bytes.clone());
    registry.fail("GET", 1, Fault::CutAfter(300_000));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let read = |blob: &Descriptor| {
        runtime.block_on(async {
            let stream = client().fetch_blob(&registry.reference("app"), blob).await?;
            let mut reader = stream.into_reader();
            let reading = tokio::task::spawn_blocking(move || {
                let mut all = Vec::new();
                reader.read_to_end(&mut all).map(|_| all)
            });
            Ok::<_, Error>(reading.await.unwrap())
        })
    };
    assert_eq!(read(&blob).unwrap().unwrap(), bytes);
    registry.fail("GET", 9, Fault::CutAfter(1000));
    let error = read(&blob).unwrap().unwrap_err();
    expect!["failed to fetch blob `sha256:dc6e5c46329e` of `127.0.0.1:PORT/app`: 127.0.0.1:PORT (attempt 3): connection broken after 3000 bytes: error reading a body from connection: end of file before message length reached"].assert_eq(&text(error.get_ref().unwrap().downcast_ref().unwrap()));
}
