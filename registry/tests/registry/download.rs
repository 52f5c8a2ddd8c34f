//! Files behind URLs.

use expect_test::{Expect, expect};
use registry::{Client, Download, Downloaded, Error, HttpUrl};
use testkit::registry::{Fault, File, Registry};

use crate::{client, text, without_ports};

fn file() -> File {
    File {
        etag: Some("\"v1\"".to_owned()),
        last_modified: Some("Fri, 15 May 2015 15:34:21 GMT".to_owned()),
        ..File::new((0..500_000).map(|position| (position / 251) as u8).collect::<Vec<u8>>())
    }
}

fn url(url: &str) -> Download {
    Download::new(url.parse().unwrap())
}

async fn read(client: &Client, download: &Download) -> Result<String, Error> {
    let mut stream = match client.download(download).await? {
        Downloaded::NotModified(head) => return Ok(format!("not modified: {:?}", head.etag)),
        Downloaded::File(stream) => stream,
    };
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await? {
        all.extend_from_slice(&bytes);
    }
    assert!(stream.next().await?.is_none());
    assert_eq!(stream.offset_bytes(), all.len() as u64);
    let is_whole = if all == file().bytes { "whole" } else { "other" };
    Ok(format!("{} bytes, {is_whole}\n{:?}", all.len(), stream.head()))
}

/// Downloads, and shows the outcome and the requests.
#[tokio::main(flavor = "current_thread")]
async fn download(registry: &Registry, download: &Download) -> String {
    let outcome = read(&client(), download).await.unwrap_or_else(|err| text(&err));
    without_ports(&format!("{outcome}\n{}", registry.log()))
}

#[track_caller]
fn check(prepare: impl FnOnce(&Registry), file: File, expected: Expect) {
    let registry = Registry::start();
    let address = registry.put_file("/files/a.tar", file);
    prepare(&registry);
    expected.assert_eq(&download(&registry, &url(&(address + "?x=1#top"))));
}

#[test]
fn a_file_comes_with_what_the_server_says_about_it() {
    let disposition = Some("attachment; filename=\"../b.tar\"".to_owned());
    check(
        |_| {},
        File { disposition, ..file() },
        expect![[r#"
            500000 bytes, whole
            FileHead { url: "http://127.0.0.1:PORT/files/a.tar?x=1", etag: Some("\"v1\""), last_modified: Some(2015-05-15T15:34:21Z), filename: Some("b.tar"), content_type: None, size_bytes: Some(500000) }
            GET /files/a.tar?x=1 200
        "#]],
    );
    check(
        |registry| registry.fail("GET", 1, Fault::Chunked),
        File::new("text"),
        expect![[r#"
            4 bytes, other
            FileHead { url: "http://127.0.0.1:PORT/files/a.tar?x=1", etag: None, last_modified: None, filename: None, content_type: None, size_bytes: None }
            GET /files/a.tar?x=1 200
        "#]],
    );
}

#[test]
fn what_is_missing_is_told_by_its_status() {
    let registry = Registry::start();
    let address = format!("http://alice:secret@{}/nope?token=secret", registry.host());
    expect![[r#"
        failed to load `http://127.0.0.1:PORT/nope`: 127.0.0.1:PORT: invalid response status 404
        GET /nope?token=secret 404 (basic)
    "#]]
    .assert_eq(&download(&registry, &url(&address)));
}

#[test]
fn what_is_no_url_is_refused() {
    for address in ["ftp://h/x", "no url", "http://"] {
        let refused = address.parse::<HttpUrl>().err().unwrap().to_string();
        assert_eq!(refused, format!("invalid URL `{address}`: expected `http://` or `https://` and a host"));
    }
}

#[test]
fn a_version_that_is_there_is_not_sent_again() {
    let registry = Registry::start();
    let address = registry.put_file("/a", file());
    let etags = vec!["\"v0\"".to_owned(), "\"v1\"".to_owned()];
    expect![[r#"
        not modified: Some("\"v1\"")
        GET /a 304
    "#]]
    .assert_eq(&download(&registry, &Download { etags, ..url(&address) }));
    let modified_since = Some("2015-05-15T15:34:21Z".parse().unwrap());
    expect![[r#"
        not modified: Some("\"v1\"")
        GET /a 304
    "#]]
    .assert_eq(&download(&registry, &Download { modified_since, ..url(&address) }));
}

#[test]
fn redirects_are_followed() {
    let registry = Registry::start();
    let target = registry.put_file("/there/b.tar", file());
    let address = registry.put_file("/here", File { redirect: Some(target), ..File::default() });
    expect![[r#"
        500000 bytes, whole
        FileHead { url: "http://127.0.0.1:PORT/there/b.tar", etag: Some("\"v1\""), last_modified: Some(2015-05-15T15:34:21Z), filename: None, content_type: None, size_bytes: Some(500000) }
        GET /here 302
        GET /there/b.tar 200
    "#]].assert_eq(&download(&registry, &url(&address)));
    registry.put_file("/here", File { redirect: Some("file:///etc/passwd".to_owned()), ..File::default() });
    expect![[r#"
        failed to load `http://127.0.0.1:PORT/here`: 127.0.0.1:PORT: unexpected answer: redirect to something that is not an http URL
        GET /here 302
    "#]].assert_eq(&download(&registry, &url(&address)));
}

#[test]
fn a_login_is_sent_from_the_url_or_as_a_header_and_stays_with_its_host() {
    let (registry, elsewhere) = (Registry::start(), Registry::start());
    let guarded = |authorization: &str| File { authorization: Some(authorization.to_owned()), ..File::new("text") };
    let address = registry.put_file("/a", guarded("Basic YWxpY2U6cyBjcmV0"));
    let with_login = address.replace("http://", "http://alice:s%20cret@");
    expect![[r#"
        4 bytes, other
        FileHead { url: "http://127.0.0.1:PORT/a", etag: None, last_modified: None, filename: None, content_type: None, size_bytes: Some(4) }
        GET /a 200 (basic)
    "#]].assert_eq(&download(&registry, &url(&with_login)));
    let address = registry.put_file("/a", guarded("Bearer token"));
    let authorization = Some("Bearer token".to_owned());
    expect![[r#"
        4 bytes, other
        FileHead { url: "http://127.0.0.1:PORT/a", etag: None, last_modified: None, filename: None, content_type: None, size_bytes: Some(4) }
        GET /a 200 (bearer)
    "#]].assert_eq(&download(&registry, &Download { authorization: authorization.clone(), ..url(&address) }));
    expect![[r#"
        failed to load `http://127.0.0.1:PORT/a`: 127.0.0.1:PORT: invalid response status 401
        GET /a 401
    "#]]
    .assert_eq(&download(&registry, &url(&address)));
    let there = elsewhere.put_file("/a", guarded("Bearer token"));
    let address = registry.put_file("/moved", File { redirect: Some(there), ..File::default() });
    expect![[r#"
        failed to load `http://127.0.0.1:PORT/moved`: 127.0.0.1:PORT: invalid response status 401
        GET /moved 302 (bearer)
    "#]]
    .assert_eq(&download(&registry, &Download { authorization, ..url(&address) }));
}

#[test]
fn a_broken_download_goes_on_if_it_is_still_the_same_file() {
    check(
        |registry| registry.fail("GET", 1, Fault::CutAfter(200_000)),
        file(),
        expect![[r#"
            500000 bytes, whole
            FileHead { url: "http://127.0.0.1:PORT/files/a.tar?x=1", etag: Some("\"v1\""), last_modified: Some(2015-05-15T15:34:21Z), filename: None, content_type: None, size_bytes: Some(500000) }
            GET /files/a.tar?x=1 200
            GET /files/a.tar?x=1 206 (range bytes=200000-)
        "#]],
    );
    check(
        |registry| registry.fail("GET", 1, Fault::CutAfter(200_000)),
        File { etag: None, ..file() },
        expect![[r#"
            500000 bytes, whole
            FileHead { url: "http://127.0.0.1:PORT/files/a.tar?x=1", etag: None, last_modified: Some(2015-05-15T15:34:21Z), filename: None, content_type: None, size_bytes: Some(500000) }
            GET /files/a.tar?x=1 200
            GET /files/a.tar?x=1 206 (range bytes=200000-)
        "#]],
    );
    let weak = File { etag: Some("W/\"v1\"".to_owned()), last_modified: None, ..file() };
    check(
        |registry| registry.fail("GET", 1, Fault::CutAfter(200_000)),
        weak,
        expect![[r#"
        failed to load `http://127.0.0.1:PORT/files/a.tar`: 127.0.0.1:PORT: connection broken after 200000 bytes: error reading a body from connection: end of file before message length reached
        GET /files/a.tar?x=1 200
    "#]],
    );
    let changed = |registry: &Registry| {
        registry.fail("GET", 1, Fault::CutAfter(200_000));
        registry.fail("GET", 1, Fault::IgnoreRange);
    };
    check(
        changed,
        file(),
        expect![[r#"
        failed to load `http://127.0.0.1:PORT/files/a.tar`: 127.0.0.1:PORT (attempt 2): unexpected answer: the file changed while it was downloaded
        GET /files/a.tar?x=1 200
        GET /files/a.tar?x=1 200 (range bytes=200000-)
    "#]],
    );
}

#[test]
fn a_server_in_trouble_is_asked_again() {
    check(
        |registry| registry.fail("GET", 2, Fault::StatusRetryAfter(503, 0)),
        File::new("text"),
        expect![[r#"
            4 bytes, other
            FileHead { url: "http://127.0.0.1:PORT/files/a.tar?x=1", etag: None, last_modified: None, filename: None, content_type: None, size_bytes: Some(4) }
            GET /files/a.tar?x=1 503
            GET /files/a.tar?x=1 503
            GET /files/a.tar?x=1 200
        "#]],
    );
    check(
        |registry| registry.fail("GET", 9, Fault::Status(500)),
        File::new("text"),
        expect![[r#"
        failed to load `http://127.0.0.1:PORT/files/a.tar`: 127.0.0.1:PORT (attempt 3): invalid response status 500
        GET /files/a.tar?x=1 500
        GET /files/a.tar?x=1 500
        GET /files/a.tar?x=1 500
    "#]],
    );
}

#[track_caller]
fn check_head(prepare: impl FnOnce(&Registry), etag: &str, expected: Expect) {
    #[tokio::main(flavor = "current_thread")]
    async fn run(download: &Download) -> String {
        match client().check(download).await {
            Ok(None) => "not modified".to_owned(),
            Ok(Some(head)) => format!("{:?} {:?} {:?}", head.etag, head.last_modified, head.size_bytes),
            Err(err) => text(&err),
        }
    }
    let registry = Registry::start();
    let address = registry.put_file("/a", file());
    prepare(&registry);
    let outcome = run(&Download { etags: vec![etag.to_owned()], ..url(&address) });
    expected.assert_eq(&format!("{outcome}\n{}", registry.log()));
}

#[test]
fn a_check_needs_no_bytes() {
    check_head(
        |_| {},
        "\"v1\"",
        expect![[r#"
        not modified
        HEAD /a 304
    "#]],
    );
    check_head(
        |_| {},
        "\"v0\"",
        expect![[r#"
        Some("\"v1\"") Some(2015-05-15T15:34:21Z) Some(500000)
        HEAD /a 200
    "#]],
    );
    check_head(
        |registry| registry.fail("HEAD", 1, Fault::Status(405)),
        "\"v1\"",
        expect![[r#"
        not modified
        HEAD /a 405
        GET /a 304
    "#]],
    );
    check_head(
        |registry| registry.fail("HEAD", 1, Fault::Status(403)),
        "\"v0\"",
        expect![[r#"
        Some("\"v1\"") Some(2015-05-15T15:34:21Z) Some(500000)
        HEAD /a 403
        GET /a 200
    "#]],
    );
    check_head(
        |registry| {
            registry.fail("HEAD", 1, Fault::Status(403));
            registry.fail("GET", 1, Fault::Status(403));
        },
        "\"v0\"",
        expect![[r#"
            failed to load `http://127.0.0.1:PORT/a`: 127.0.0.1:PORT: invalid response status 403
            HEAD /a 403
            GET /a 403
        "#]],
    );
}
