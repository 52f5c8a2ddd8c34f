//! Pushing: what is sent, what is not, and what happens when it breaks.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::channel;

use expect_test::{Expect, expect};
use hyper::body::Bytes;
use oci::{Descriptor, Digest, media_type};
use registry::{BlobSource, Client, Config, Credentials, Login, LoginFuture, Notice, RegistryConfig};
use testkit::registry::{Auth, Fault, Image, Options, Registry, image};

use crate::{client, config, text, with};

const LENGTH: usize = 1_000_000;

fn content() -> Bytes {
    (0..LENGTH).map(|position| (position * 7 + position / 256) as u8).collect()
}

fn in_pieces(registry: &Registry) -> Client {
    let settings = RegistryConfig { upload_chunk_bytes: Some(400_000), ..RegistryConfig::default() };
    with(Config { registries: [(registry.host(), settings)].into(), ..config() })
}

/// Pushes a blob of 1 MB to `app`, and shows the outcome and the requests.
#[tokio::main(flavor = "current_thread")]
async fn push(client: &Client, registry: &Registry, source: Arc<dyn BlobSource>, from: Option<&str>) -> String {
    let blob = Descriptor::of(media_type::OCI_LAYER, &content());
    let from = from.map(|name| if name.contains('/') { name.parse().unwrap() } else { registry.reference(name) });
    let outcome = match client.push_blob(&registry.reference("app"), &blob, source, from.as_ref()).await {
        Ok(pushed) => {
            assert_eq!(registry.blob("app", blob.digest).as_deref(), Some(&content()[..]));
            format!("{pushed:?}")
        }
        Err(err) => text(&err),
    };
    format!("{outcome}\n{}", registry.log())
}

#[track_caller]
fn check(prepare: impl FnOnce(&Registry), expected: Expect) {
    let registry = Registry::start();
    prepare(&registry);
    expected.assert_eq(&push(&client(), &registry, Arc::new(content()), None));
}

#[track_caller]
fn check_pieces(prepare: impl FnOnce(&Registry), expected: Expect) {
    let registry = Registry::start();
    prepare(&registry);
    expected.assert_eq(&push(&in_pieces(&registry), &registry, Arc::new(content()), None));
}

#[test]
fn a_blob_is_sent_in_one_piece() {
    check(
        |_| {},
        expect![[r#"
            Uploaded
            HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
            POST /v2/app/blobs/uploads/ 202
            PUT /v2/app/blobs/uploads/upload-1?_state=0&digest=sha256:c40f2bb6506b 201
        "#]],
    );
}

#[test]
fn a_blob_that_is_there_is_not_sent() {
    check(
        |registry| drop(registry.put_blob("app", "", content())),
        expect![[r#"
        Existed
        HEAD /v2/app/blobs/sha256:c40f2bb6506b 200
    "#]],
    );
}

#[test]
fn a_blob_of_another_repository_is_taken_over() {
    let registry = Registry::start();
    registry.put_blob("base", "", content());
    expect![[r#"
        Mounted
        HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
        POST /v2/app/blobs/uploads/?mount=sha256:c40f2bb6506b&from=base 201
    "#]]
    .assert_eq(&push(&client(), &registry, Arc::new(content()), Some("base")));
}

#[test]
fn a_blob_that_the_other_repository_lacks_is_sent() {
    let registry = Registry::start();
    expect![[r#"
        Uploaded
        HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
        POST /v2/app/blobs/uploads/?mount=sha256:c40f2bb6506b&from=base 202
        PUT /v2/app/blobs/uploads/upload-1?_state=0&digest=sha256:c40f2bb6506b 201
    "#]]
    .assert_eq(&push(&client(), &registry, Arc::new(content()), Some("base")));
    let registry = Registry::start();
    expect![[r#"
        Uploaded
        HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
        POST /v2/app/blobs/uploads/ 202
        PUT /v2/app/blobs/uploads/upload-1?_state=0&digest=sha256:c40f2bb6506b 201
    "#]]
    .assert_eq(&push(&client(), &registry, Arc::new(content()), Some("docker.io/library/base")));
}

#[test]
fn a_broken_upload_begins_again() {
    check(
        |registry| registry.fail("PUT", 2, Fault::CutAfter(300_000)),
        expect![[r#"
            Uploaded
            HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
            POST /v2/app/blobs/uploads/ 202
            PUT /v2/app/blobs/uploads/upload-1?_state=0&digest=sha256:c40f2bb6506b cut
            HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
            POST /v2/app/blobs/uploads/ 202
            PUT /v2/app/blobs/uploads/upload-2?_state=0&digest=sha256:c40f2bb6506b cut
            HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
            POST /v2/app/blobs/uploads/ 202
            PUT /v2/app/blobs/uploads/upload-3?_state=0&digest=sha256:c40f2bb6506b 201
        "#]],
    );
    check(
        |registry| registry.fail("PUT", 1, Fault::Status(503)),
        expect![[r#"
            Existed
            HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
            POST /v2/app/blobs/uploads/ 202
            PUT /v2/app/blobs/uploads/upload-1?_state=0&digest=sha256:c40f2bb6506b 503
            HEAD /v2/app/blobs/sha256:c40f2bb6506b 200
        "#]],
    );
    check(
        |registry| registry.fail("POST", 9, Fault::Status(503)),
        expect![[r#"
        failed to push blob `sha256:c40f2bb6506b` to `127.0.0.1:PORT/app`: 127.0.0.1:PORT (attempt 3): unexpected status from POST request to http://127.0.0.1:PORT/v2/app/blobs/uploads/: 503 Service Unavailable
        HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
        POST /v2/app/blobs/uploads/ 503
        HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
        POST /v2/app/blobs/uploads/ 503
        HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
        POST /v2/app/blobs/uploads/ 503
    "#]],
    );
}

#[test]
fn pieces_follow_one_another() {
    check_pieces(
        |_| {},
        expect![[r#"
            Uploaded
            HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
            POST /v2/app/blobs/uploads/ 202
            PATCH /v2/app/blobs/uploads/upload-1?_state=0 202 (content-range 0-399999)
            PATCH /v2/app/blobs/uploads/upload-1?_state=400000 202 (content-range 400000-799999)
            PATCH /v2/app/blobs/uploads/upload-1?_state=800000 202 (content-range 800000-999999)
            PUT /v2/app/blobs/uploads/upload-1?_state=1000000&digest=sha256:c40f2bb6506b 201
        "#]],
    );
    check_pieces(
        |registry| registry.fail("POST", 1, Fault::Header("oci-chunk-min-length", "600000".to_owned())),
        expect![[r#"
            Uploaded
            HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
            POST /v2/app/blobs/uploads/ 202
            PATCH /v2/app/blobs/uploads/upload-1?_state=0 202 (content-range 0-599999)
            PATCH /v2/app/blobs/uploads/upload-1?_state=600000 202 (content-range 600000-999999)
            PUT /v2/app/blobs/uploads/upload-1?_state=1000000&digest=sha256:c40f2bb6506b 201
        "#]],
    );
}

#[test]
fn a_broken_upload_in_pieces_goes_on_where_it_broke() {
    check_pieces(
        |registry| {
            registry.fail("PATCH", 1, Fault::Pass);
            registry.fail("PATCH", 1, Fault::CutAfter(100_000));
        },
        expect![[r#"
            Uploaded
            HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
            POST /v2/app/blobs/uploads/ 202
            PATCH /v2/app/blobs/uploads/upload-1?_state=0 202 (content-range 0-399999)
            PATCH /v2/app/blobs/uploads/upload-1?_state=400000 cut (content-range 400000-799999)
            GET /v2/app/blobs/uploads/upload-1?_state=400000 204
            PATCH /v2/app/blobs/uploads/upload-1?_state=400000 202 (content-range 400000-799999)
            PATCH /v2/app/blobs/uploads/upload-1?_state=800000 202 (content-range 800000-999999)
            PUT /v2/app/blobs/uploads/upload-1?_state=1000000&digest=sha256:c40f2bb6506b 201
        "#]],
    );
    check_pieces(
        |registry| {
            registry.fail("PATCH", 1, Fault::CutAfter(100_000));
            registry.fail("GET", 1, Fault::Status(404));
        },
        expect![[r#"
            Uploaded
            HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
            POST /v2/app/blobs/uploads/ 202
            PATCH /v2/app/blobs/uploads/upload-1?_state=0 cut (content-range 0-399999)
            GET /v2/app/blobs/uploads/upload-1?_state=0 404
            HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
            POST /v2/app/blobs/uploads/ 202
            PATCH /v2/app/blobs/uploads/upload-2?_state=0 202 (content-range 0-399999)
            PATCH /v2/app/blobs/uploads/upload-2?_state=400000 202 (content-range 400000-799999)
            PATCH /v2/app/blobs/uploads/upload-2?_state=800000 202 (content-range 800000-999999)
            PUT /v2/app/blobs/uploads/upload-2?_state=1000000&digest=sha256:c40f2bb6506b 201
        "#]],
    );
}

#[test]
fn a_registry_that_takes_nothing_is_given_up() {
    check_pieces(
        |registry| registry.fail("PATCH", 9, Fault::Header("range", "0-0".to_owned())),
        expect![[r#"
        failed to push blob `sha256:c40f2bb6506b` to `127.0.0.1:PORT/app`: 127.0.0.1:PORT: unexpected answer: the registry took nothing of the piece it was sent
        HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
        POST /v2/app/blobs/uploads/ 202
        PATCH /v2/app/blobs/uploads/upload-1?_state=0 202 (content-range 0-399999)
    "#]],
    );
    check(
        |registry| registry.fail("POST", 9, Fault::WithoutHeader("location")),
        expect![[r#"
        failed to push blob `sha256:c40f2bb6506b` to `127.0.0.1:PORT/app`: 127.0.0.1:PORT: unexpected answer: the registry did not say where to upload to (no Location)
        HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
        POST /v2/app/blobs/uploads/ 202
    "#]],
    );
}

#[test]
fn a_registry_that_does_not_get_the_blob_it_was_promised_refuses_it() {
    let registry = Registry::start();
    let other: Bytes = vec![0; LENGTH].into();
    expect![[r#"
        failed to push blob `sha256:c40f2bb6506b` to `127.0.0.1:PORT/app`: 127.0.0.1:PORT: unexpected status from PUT request to http://127.0.0.1:PORT/v2/app/blobs/uploads/upload-1: 400 Bad Request: digest invalid: provided digest did not match uploaded content
        HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
        POST /v2/app/blobs/uploads/ 202
        PUT /v2/app/blobs/uploads/upload-1?_state=0&digest=sha256:c40f2bb6506b 400
    "#]].assert_eq(&push(&client(), &registry, Arc::new(other), None));
}

/// Bytes that cannot be read.
struct Unreadable;

impl BlobSource for Unreadable {
    fn open(&self, _: u64) -> io::Result<Box<dyn io::Read + Send>> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

#[test]
fn content_that_cannot_be_read_is_the_cause() {
    // When the registry notices, the client is done: only the outcome is certain.
    let outcome = |source: Arc<dyn BlobSource>| {
        let text = push(&client(), &Registry::start(), source, None);
        text.lines().next().map(str::to_owned)
    };
    let failed = "failed to push blob `sha256:c40f2bb6506b` to `127.0.0.1:PORT/app`: 127.0.0.1:PORT: cannot read the content to push";
    assert_eq!(outcome(Arc::new(Unreadable)), Some(format!("{failed}: permission denied")));
    let short = content().slice(..10);
    assert_eq!(outcome(Arc::new(short)), Some(format!("{failed}: it is shorter than its descriptor says")));
}

#[test]
fn a_user_is_told_how_much_was_sent() {
    let registry = Registry::start();
    let (sender, notices) = channel();
    let client = in_pieces(&registry).reporting(move |notice| sender.send(notice).unwrap());
    push(&client, &registry, Arc::new(content()), None);
    let mut last = 0;
    for notice in notices.try_iter() {
        let Notice::Sent { done_bytes, total_bytes, .. } = notice else { panic!("{notice:?}") };
        assert!(done_bytes > last && total_bytes == LENGTH as u64);
        last = done_bytes;
    }
    assert_eq!(last, LENGTH as u64);
}

struct Alice;

impl Credentials for Alice {
    fn find<'a>(&'a self, _: &'a str) -> LoginFuture<'a> {
        Box::pin(async { Ok(Some(Login::Password { username: "alice".into(), password: "secret".into() })) })
    }
}

fn guarded() -> Registry {
    let (username, password) = ("alice".to_owned(), "secret".to_owned());
    let auth = Auth::Token { username, password, private: BTreeSet::new() };
    Registry::start_with(Options { auth, ..Options::default() })
}

#[test]
fn pushing_asks_for_the_permission_to_push() {
    let registry = guarded();
    registry.put_blob("base", "", content());
    let alice = with(Config { credentials: Arc::new(Alice), ..config() });
    expect![[r#"
        Mounted
        HEAD /v2/app/blobs/sha256:c40f2bb6506b 401
        GET /token?service=test&scope=repository%3Aapp%3Apull%2Cpush&account=alice&client_id=kiln 200 (basic)
        HEAD /v2/app/blobs/sha256:c40f2bb6506b 404 (bearer)
        GET /token?service=test&scope=repository%3Aapp%3Apull%2Cpush&scope=repository%3Abase%3Apull&account=alice&client_id=kiln 200 (basic)
        POST /v2/app/blobs/uploads/?mount=sha256:c40f2bb6506b&from=base 201 (bearer)
    "#]].assert_eq(&push(&alice, &registry, Arc::new(content()), Some("base")));
    let registry = guarded();
    expect![[r#"
        failed to push blob `sha256:c40f2bb6506b` to `127.0.0.1:PORT/app`: 127.0.0.1:PORT: push access denied, repository does not exist or may require authorization: insufficient_scope: unauthorized: authentication required
        HEAD /v2/app/blobs/sha256:c40f2bb6506b 401
        GET /token?service=test&scope=repository%3Aapp%3Apull%2Cpush&client_id=kiln 200
        HEAD /v2/app/blobs/sha256:c40f2bb6506b 404 (bearer)
        POST /v2/app/blobs/uploads/ 401 (bearer)
        GET /token?service=test&scope=repository%3Aapp%3Apull%2Cpush&client_id=kiln 200
        POST /v2/app/blobs/uploads/ 401 (bearer)
    "#]].assert_eq(&push(&client(), &registry, Arc::new(content()), None));
}

#[test]
fn a_user_who_may_not_read_the_other_repository_sends_the_blob() {
    let registry = Registry::start();
    registry.put_blob("base", "", content());
    registry.fail("POST", 1, Fault::Status(403));
    expect![[r#"
        Uploaded
        HEAD /v2/app/blobs/sha256:c40f2bb6506b 404
        POST /v2/app/blobs/uploads/?mount=sha256:c40f2bb6506b&from=base 403
        POST /v2/app/blobs/uploads/ 202
        PUT /v2/app/blobs/uploads/upload-1?_state=0&digest=sha256:c40f2bb6506b 201
    "#]]
    .assert_eq(&push(&client(), &registry, Arc::new(content()), Some("base")));
}

/// Pushes a whole image, and shows the outcome of the manifest.
#[tokio::main(flavor = "current_thread")]
async fn push_image(registry: &Registry, image: &Image, name: &str, with_layers: bool) -> String {
    let (client, reference) = (client(), registry.reference(name));
    let layers = image.layers.iter().filter(|_| with_layers);
    for bytes in layers.chain([&image.config]) {
        let blob = Descriptor::of("", bytes);
        let source = Arc::new(Bytes::from(bytes.clone()));
        client.push_blob(&reference, &blob, source, None).await.unwrap();
    }
    registry.log();
    let pushed = client.push_manifest(&reference, media_type::OCI_MANIFEST, image.manifest.clone().into()).await;
    let outcome = match pushed {
        Ok(descriptor) => {
            assert_eq!(client.resolve(&reference).await.unwrap().descriptor, descriptor);
            format!("{} {}", descriptor.digest.short(), descriptor.media_type)
        }
        Err(err) => text(&err),
    };
    format!("{outcome}\n{}", registry.log())
}

#[test]
fn an_image_is_its_blobs_and_then_its_manifest() {
    let (registry, image) = (Registry::start(), image(&[&[("a", "b")]]));
    expect![[r#"
        9bf3eddec3ab application/vnd.oci.image.manifest.v1+json
        PUT /v2/app/manifests/v1 201
        GET /v2/app/manifests/v1 200
    "#]]
    .assert_eq(&push_image(&registry, &image, "app:v1", true));
    let digest = Digest::of(&image.manifest);
    expect![[r#"
        9bf3eddec3ab application/vnd.oci.image.manifest.v1+json
        PUT /v2/app/manifests/sha256:9bf3eddec3ab 201
        GET /v2/app/manifests/sha256:9bf3eddec3ab 200
    "#]]
    .assert_eq(&push_image(&registry, &image, &format!("app@{digest}"), true));
}

#[test]
fn a_manifest_without_its_blobs_is_refused() {
    let (registry, image) = (Registry::start(), image(&[&[("a", "b")]]));
    expect![[r#"
        failed to push `127.0.0.1:PORT/app:v1`: 127.0.0.1:PORT: unexpected status from PUT request to http://127.0.0.1:PORT/v2/app/manifests/v1: 400 Bad Request: manifest blob unknown: blob unknown to registry
        PUT /v2/app/manifests/v1 400
    "#]].assert_eq(&push_image(&registry, &image, "app:v1", false));
    let wrong = Fault::Header("docker-content-digest", Digest::of(b"x").to_string());
    registry.fail("PUT /v2/app/manifests/", 1, wrong);
    registry.put_blob("app", "", image.layers[0].clone());
    expect![[r#"
        failed to push `127.0.0.1:PORT/app:v1`: 127.0.0.1:PORT: content is corrupt: expected sha256:9bf3eddec3ab, got sha256:2d711642b726 (400 bytes)
        PUT /v2/app/manifests/v1 201
    "#]].assert_eq(&push_image(&registry, &image, "app:v1", false));
}
