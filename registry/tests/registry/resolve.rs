//! From references to manifests.

use expect_test::{Expect, expect};
use oci::{Digest, Reference, media_type};
use testkit::registry::{Fault, Registry, image, image_for, index};

use crate::{client, text};

/// Resolves a reference of a registry that has `app:latest`, and shows the result and the requests.
#[track_caller]
fn check(prepare: impl FnOnce(&Registry), name: &str, expected: Expect) {
    let registry = Registry::start();
    image(&[&[("etc/motd", "hello")]]).push(&registry, "app", "latest");
    prepare(&registry);
    expected.assert_eq(&resolve(&registry, &registry.reference(name)));
}

#[tokio::main(flavor = "current_thread")]
async fn resolve(registry: &Registry, reference: &Reference) -> String {
    let outcome = match client().resolve(reference).await {
        Ok(resolved) => {
            assert_eq!(Digest::of(&resolved.bytes), resolved.descriptor.digest);
            assert_eq!(resolved.bytes.len() as u64, resolved.descriptor.size_bytes);
            format!("{} {}", resolved.descriptor.digest.short(), resolved.descriptor.media_type)
        }
        Err(err) => text(&err) + if err.is_not_found() { " [not found]" } else { "" },
    };
    format!("{outcome}\n{}", registry.log())
}

#[test]
fn a_tag_is_resolved_by_one_request() {
    check(
        |_| {},
        "app:latest",
        expect![[r#"
        4bdd0a4ee745 application/vnd.oci.image.manifest.v1+json
        GET /v2/app/manifests/latest 200
    "#]],
    );
}

#[test]
fn a_digest_is_asked_for_instead_of_its_tag() {
    let registry = Registry::start();
    let descriptor = image(&[]).push(&registry, "app", "latest");
    let reference = registry.reference(&format!("app:old@{}", descriptor.digest));
    expect![[r#"
        f88d6aa515c3 application/vnd.oci.image.manifest.v1+json
        GET /v2/app/manifests/sha256:f88d6aa515c3 200
    "#]]
    .assert_eq(&resolve(&registry, &reference));
}

#[test]
fn an_index_is_returned_as_it_is() {
    let registry = Registry::start();
    let images = ["linux/amd64", "linux/arm64"].map(|platform| image_for(&platform.parse().unwrap(), &[]));
    index(&images, &registry, "app", "multi");
    expect![[r#"
        870aa155f83f application/vnd.oci.image.index.v1+json
        GET /v2/app/manifests/multi 200
    "#]]
    .assert_eq(&resolve(&registry, &registry.reference("app:multi")));
}

#[test]
fn what_is_missing_is_not_found() {
    check(
        |_| {},
        "app:nope",
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:nope`: 127.0.0.1:PORT: manifest unknown: not found [not found]
        GET /v2/app/manifests/nope 404
    "#]],
    );
    check(
        |_| {},
        "nope",
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/nope:latest`: 127.0.0.1:PORT: name unknown: repository name not known to registry: not found [not found]
        GET /v2/nope/manifests/latest 404
    "#]],
    );
}

#[test]
fn bytes_that_are_not_those_of_the_digest_are_refused() {
    check(
        |registry| registry.fail("GET", 1, Fault::Corrupt),
        "app:latest",
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT: content is corrupt: expected sha256:4bdd0a4ee745, got sha256:a10f924b90d5 (400 bytes)
        GET /v2/app/manifests/latest 200
    "#]],
    );
    let registry = Registry::start();
    let descriptor = image(&[]).push(&registry, "app", "latest");
    registry.fail("GET", 1, Fault::All(vec![Fault::Corrupt, Fault::WithoutHeader("docker-content-digest")]));
    expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app@sha256:f88d6aa515c3`: 127.0.0.1:PORT: content is corrupt: expected sha256:f88d6aa515c3, got sha256:294a7d0c6b95 (250 bytes)
        GET /v2/app/manifests/sha256:f88d6aa515c3 200
    "#]].assert_eq(&resolve(&registry, &registry.reference(&format!("app@{}", descriptor.digest))));
}

#[test]
fn a_host_that_announces_another_digest_is_refused() {
    let wrong = Fault::Header("docker-content-digest", Digest::of(b"x").to_string());
    check(
        |registry| registry.fail("GET", 1, wrong),
        "app:latest",
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT: content is corrupt: expected sha256:2d711642b726, got sha256:4bdd0a4ee745 (400 bytes)
        GET /v2/app/manifests/latest 200
    "#]],
    );
    let garbage = Fault::Header("docker-content-digest", "sha256:zz".to_owned());
    check(
        |registry| registry.fail("GET", 1, garbage),
        "app:latest",
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT: unexpected answer: Docker-Content-Digest: invalid digest `sha256:zz`: expected `sha256:` and 64 hexadecimal digits
        GET /v2/app/manifests/latest 200
    "#]],
    );
    let other = Fault::Header("docker-content-digest", "sha512:zz".to_owned());
    check(
        |registry| registry.fail("GET", 1, other),
        "app:latest",
        expect![[r#"
        4bdd0a4ee745 application/vnd.oci.image.manifest.v1+json
        GET /v2/app/manifests/latest 200
    "#]],
    );
}

#[test]
fn manifests_of_other_kinds_are_refused() {
    let put = |media_type: &'static str, text: &'static str| {
        move |registry: &Registry| drop(registry.put_manifest("app", "odd", media_type, text))
    };
    check(
        put("application/vnd.docker.distribution.manifest.v1+prettyjws", r#"{"schemaVersion":1}"#),
        "app:odd",
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:odd`: 127.0.0.1:PORT: unsupported manifest: expected schema version 2, got 1, which Docker stopped to support
        GET /v2/app/manifests/odd 200
    "#]],
    );
    check(
        put("text/html", "<html>please log in</html>"),
        "app:odd",
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:odd`: 127.0.0.1:PORT: unsupported manifest: expected JSON
        GET /v2/app/manifests/odd 200
    "#]],
    );
}

#[test]
fn a_manifest_without_end_is_not_read() {
    let long = format!(r#"{{"schemaVersion":2,"x":"{}"}}"#, "x".repeat(9 * 1024 * 1024));
    check(
        |registry| drop(registry.put_manifest("app", "long", media_type::OCI_INDEX, long)),
        "app:long",
        expect![[r#"
            failed to resolve reference `127.0.0.1:PORT/app:long`: 127.0.0.1:PORT: manifest is larger than 8388608 bytes
            GET /v2/app/manifests/long 200
        "#]],
    );
}

#[test]
fn a_host_in_trouble_is_asked_again() {
    check(
        |registry| registry.fail("GET", 2, Fault::Status(503)),
        "app:latest",
        expect![[r#"
        4bdd0a4ee745 application/vnd.oci.image.manifest.v1+json
        GET /v2/app/manifests/latest 503
        GET /v2/app/manifests/latest 503
        GET /v2/app/manifests/latest 200
    "#]],
    );
    check(
        |registry| registry.fail("GET", 1, Fault::Close),
        "app:latest",
        expect![[r#"
        4bdd0a4ee745 application/vnd.oci.image.manifest.v1+json
        GET /v2/app/manifests/latest closed
        GET /v2/app/manifests/latest 200
    "#]],
    );
    check(
        |registry| registry.fail("GET", 1, Fault::CutAfter(20)),
        "app:latest",
        expect![[r#"
        4bdd0a4ee745 application/vnd.oci.image.manifest.v1+json
        GET /v2/app/manifests/latest 200
        GET /v2/app/manifests/latest 200
    "#]],
    );
    check(
        |registry| registry.fail("GET", 1, Fault::StatusRetryAfter(429, 0)),
        "app:latest",
        expect![[r#"
        4bdd0a4ee745 application/vnd.oci.image.manifest.v1+json
        GET /v2/app/manifests/latest 429
        GET /v2/app/manifests/latest 200
    "#]],
    );
}

#[test]
fn patience_ends() {
    check(
        |registry| registry.fail("GET", 9, Fault::Status(503)),
        "app:latest",
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT (attempt 3): unexpected status from GET request to http://127.0.0.1:PORT/v2/app/manifests/latest: 503 Service Unavailable
        GET /v2/app/manifests/latest 503
        GET /v2/app/manifests/latest 503
        GET /v2/app/manifests/latest 503
    "#]],
    );
    check(
        |registry| registry.fail("GET", 9, Fault::StatusRetryAfter(429, 3600)),
        "app:latest",
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT: toomanyrequests
        GET /v2/app/manifests/latest 429
    "#]],
    );
    let limit = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#;
    check(
        |registry| registry.fail("GET", 9, Fault::Answer(429, limit.to_owned())),
        "app:latest",
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT (attempt 3): toomanyrequests: You have reached your pull rate limit.
        GET /v2/app/manifests/latest 429
        GET /v2/app/manifests/latest 429
        GET /v2/app/manifests/latest 429
    "#]],
    );
}

#[test]
fn what_does_not_pass_is_not_tried_again() {
    check(
        |registry| registry.fail("GET", 9, Fault::Answer(418, "I am a teapot".to_owned())),
        "app:latest",
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT: unexpected status from GET request to http://127.0.0.1:PORT/v2/app/manifests/latest: 418 I'm a teapot: I am a teapot
        GET /v2/app/manifests/latest 418
    "#]],
    );
}

#[test]
fn the_head_alone_tells_the_digest_of_today() {
    head(
        |_| {},
        expect![[r#"
        4bdd0a4ee745 400 application/vnd.oci.image.manifest.v1+json
        HEAD /v2/app/manifests/latest 200
    "#]],
    );
}

#[test]
fn where_the_head_tells_too_little_the_manifest_is_fetched() {
    head(
        |registry| registry.fail("HEAD", 1, Fault::WithoutHeader("docker-content-digest")),
        expect![[r#"
        4bdd0a4ee745 400 application/vnd.oci.image.manifest.v1+json
        HEAD /v2/app/manifests/latest 200
        GET /v2/app/manifests/latest 200
    "#]],
    );
    head(
        |registry| registry.fail("HEAD", 1, Fault::Status(405)),
        expect![[r#"
        4bdd0a4ee745 400 application/vnd.oci.image.manifest.v1+json
        HEAD /v2/app/manifests/latest 405
        GET /v2/app/manifests/latest 200
    "#]],
    );
    head(
        |registry| registry.fail("HEAD", 1, Fault::Header("content-type", "text/plain".into())),
        expect![[r#"
        4bdd0a4ee745 400 application/vnd.oci.image.manifest.v1+json
        HEAD /v2/app/manifests/latest 200
        GET /v2/app/manifests/latest 200
    "#]],
    );
}

#[track_caller]
fn head(prepare: impl FnOnce(&Registry), expected: Expect) {
    #[tokio::main(flavor = "current_thread")]
    async fn run(reference: &Reference) -> String {
        let descriptor = client().resolve_descriptor(reference).await.unwrap();
        format!("{} {} {}", descriptor.digest.short(), descriptor.size_bytes, descriptor.media_type)
    }
    let registry = Registry::start();
    image(&[&[("etc/motd", "hello")]]).push(&registry, "app", "latest");
    prepare(&registry);
    let outcome = run(&registry.reference("app:latest"));
    expected.assert_eq(&format!("{outcome}\n{}", registry.log()));
}
