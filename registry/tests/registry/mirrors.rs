//! Mirrors: the order of hosts, and what is said when all of them fail.

use std::sync::Arc;
use std::sync::mpsc::channel;

use expect_test::{Expect, expect};
use oci::{Descriptor, Reference, media_type};
use registry::{Client, RegistryConfig, Verification};
use testkit::registry::{Authority, Fault, Options, Registry, Tls, image};

use crate::{config, refusing, text, with, without_ports};

/// Docker Hub as it is seen from the tests: a registry with TLS under Docker Hub's name, and two mirrors.
struct World {
    hub: Registry,
    first: Registry,
    second: Registry,
    client: Client,
}

impl World {
    fn new() -> Self {
        let identity = Authority::new().sign(&["registry-1.docker.io"]);
        let hub = Registry::start_with(Options { tls: Some(Tls { identity, clients: None }), ..Options::default() });
        let (first, second) = (Registry::start(), Registry::start());
        image(&[]).push(&hub, "library/alpine", "latest");
        let mut config = config();
        let mirrors = [format!("http://{}", first.host()), format!("{}/hub", second.host())];
        let mirrors = mirrors.iter().map(|text| text.parse().unwrap()).collect();
        let verification = Some(Verification::Skip);
        let settings = RegistryConfig { mirrors, verification, ..RegistryConfig::default() };
        config.registries.insert("docker.io".to_owned(), settings);
        config.addresses.insert("registry-1.docker.io".to_owned(), vec![hub.address()]);
        Self { hub, first, second, client: with(config) }
    }

    fn log(&self) -> String {
        format!("first:\n{}second:\n{}hub:\n{}", self.first.log(), self.second.log(), self.hub.log())
    }

    #[tokio::main(flavor = "current_thread")]
    async fn resolve(&self) -> String {
        match self.client.resolve(&"alpine".parse().unwrap()).await {
            Ok(_) => "resolved".to_owned(),
            Err(err) => text(&err),
        }
    }

    #[tokio::main(flavor = "current_thread")]
    async fn fetch(&self, blob: &Descriptor) -> String {
        let read = async {
            let mut stream = self.client.fetch_blob(&"alpine".parse::<Reference>().unwrap(), blob).await?;
            while stream.next().await?.is_some() {}
            Ok::<_, registry::Error>(())
        };
        read.await.map_or_else(|err| text(&err), |()| "whole".to_owned())
    }
}

#[track_caller]
fn check(prepare: impl FnOnce(&World), expected: Expect) {
    let world = World::new();
    prepare(&world);
    let outcome = world.resolve();
    expected.assert_eq(&format!("{outcome}\n{}", world.log()));
}

#[test]
fn the_first_mirror_that_has_it_serves_it() {
    check(
        |world| drop(image(&[]).push(&world.first, "library/alpine", "latest")),
        expect![[r#"
        resolved
        first:
        GET /v2/library/alpine/manifests/latest?ns=docker.io 200
        second:
        hub:
    "#]],
    );
    check(
        |world| drop(image(&[]).push(&world.second, "hub/library/alpine", "latest")),
        expect![[r#"
        resolved
        first:
        GET /v2/library/alpine/manifests/latest?ns=docker.io 404
        second:
        GET /v2/hub/library/alpine/manifests/latest?ns=docker.io 200
        hub:
    "#]],
    );
}

#[test]
fn what_no_mirror_has_comes_from_the_registry() {
    check(
        |_| {},
        expect![[r#"
        resolved
        first:
        GET /v2/library/alpine/manifests/latest?ns=docker.io 404
        second:
        GET /v2/hub/library/alpine/manifests/latest?ns=docker.io 404
        hub:
        GET /v2/library/alpine/manifests/latest 200
    "#]],
    );
}

#[test]
fn a_mirror_in_trouble_is_passed_over_at_once() {
    check(
        |world| {
            world.first.fail("GET", 9, Fault::Status(503));
            world.second.fail("GET", 9, Fault::StatusRetryAfter(429, 60));
        },
        expect![[r#"
            resolved
            first:
            GET /v2/library/alpine/manifests/latest?ns=docker.io 503
            second:
            GET /v2/hub/library/alpine/manifests/latest?ns=docker.io 429
            hub:
            GET /v2/library/alpine/manifests/latest 200
        "#]],
    );
}

#[test]
fn every_host_that_failed_is_named() {
    check(
        |world| {
            world.first.fail("GET", 9, Fault::Status(503));
            world.hub.fail("GET", 9, Fault::Status(500));
        },
        expect![[r#"
            failed to resolve reference `docker.io/library/alpine:latest`: 127.0.0.1:PORT: unexpected status from GET request to http://127.0.0.1:PORT/v2/library/alpine/manifests/latest: 503 Service Unavailable; 127.0.0.1:PORT: name unknown: repository name not known to registry: not found; registry-1.docker.io (attempt 3): unexpected status from GET request to https://registry-1.docker.io/v2/library/alpine/manifests/latest: 500 Internal Server Error
            first:
            GET /v2/library/alpine/manifests/latest?ns=docker.io 503
            second:
            GET /v2/hub/library/alpine/manifests/latest?ns=docker.io 404
            hub:
            GET /v2/library/alpine/manifests/latest 500
            GET /v2/library/alpine/manifests/latest 500
            GET /v2/library/alpine/manifests/latest 500
        "#]],
    );
}

#[test]
fn a_mirror_that_cannot_be_reached_is_not_asked_again_soon() {
    let refusing = refusing();
    let mut world = World::new();
    let mut config = config();
    let mirrors = vec![
        format!("http://{}", refusing.address).parse().unwrap(),
        format!("http://{}", world.first.host()).parse().unwrap(),
    ];
    config.registries.insert("docker.io".to_owned(), RegistryConfig { mirrors, ..RegistryConfig::default() });
    image(&[]).push(&world.first, "library/alpine", "latest");
    let (sender, notices) = channel();
    world.client = with(config).reporting(move |notice| sender.send(notice).unwrap());
    assert_eq!((world.resolve(), world.resolve()), ("resolved".to_owned(), "resolved".to_owned()));
    let told: Vec<String> = notices.try_iter().map(|notice| without_ports(&format!("{notice:?}"))).collect();
    expect![[r#"PassedOver { host: "127.0.0.1:PORT", cause: Connect(Refused { address: "127.0.0.1:PORT" }) }"#]]
        .assert_eq(&told.join("\n"));
}

#[test]
fn what_to_do_is_told_about_docker_hub_by_its_short_name() {
    #[tokio::main(flavor = "current_thread")]
    async fn hint(world: &World) -> Option<String> {
        world.client.resolve(&"alpine".parse().unwrap()).await.unwrap_err().hint()
    }
    let world = World::new();
    world.hub.fail("GET", 9, Fault::Status(403));
    expect!["check the name; if `docker.io` wants a login: docker login docker.io"].assert_eq(&hint(&world).unwrap());
}

#[test]
fn a_blob_that_breaks_off_goes_on_at_the_next_host() {
    let world = World::new();
    let bytes = vec![7; 500_000];
    let blob = world.first.put_blob("library/alpine", media_type::OCI_LAYER, bytes.clone());
    world.hub.put_blob("library/alpine", media_type::OCI_LAYER, bytes);
    world.first.fail("GET", 1, Fault::CutAfter(100_000));
    assert_eq!(world.fetch(&blob), "whole");
    expect![[r#"
        first:
        GET /v2/library/alpine/blobs/sha256:78a54f7e6645?ns=docker.io 200
        second:
        GET /v2/hub/library/alpine/blobs/sha256:78a54f7e6645?ns=docker.io 404 (range bytes=100000-)
        hub:
        GET /v2/library/alpine/blobs/sha256:78a54f7e6645 206 (range bytes=100000-)
    "#]]
    .assert_eq(&world.log());
}

#[test]
fn a_host_that_sent_wrong_bytes_is_asked_last_from_then_on() {
    let world = World::new();
    let blob = world.first.put_blob("library/alpine", media_type::OCI_LAYER, "layer");
    world.hub.put_blob("library/alpine", media_type::OCI_LAYER, "layer");
    world.first.fail("GET", 9, Fault::Corrupt);
    expect!["failed to fetch blob `sha256:dac1d7cfa950` of `alpine`: 127.0.0.1:PORT: content is corrupt: expected sha256:dac1d7cfa950, got sha256:583ceb50df10 (5 bytes)"].assert_eq(&world.fetch(&blob));
    assert_eq!(world.fetch(&blob), "whole");
    expect![[r#"
        first:
        GET /v2/library/alpine/blobs/sha256:dac1d7cfa950?ns=docker.io 200
        second:
        GET /v2/hub/library/alpine/blobs/sha256:dac1d7cfa950?ns=docker.io 404
        hub:
        GET /v2/library/alpine/blobs/sha256:dac1d7cfa950 200
    "#]]
    .assert_eq(&world.log());
}

#[test]
fn a_mirror_is_pulled_from_with_its_own_name_for_the_hub() {
    let world = World::new();
    let reference: Reference = "alpine".parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    image(&[]).push(&world.second, "hub/library/alpine", "latest");
    let descriptor = runtime.block_on(world.client.resolve_descriptor(&reference)).unwrap();
    assert_eq!(descriptor.media_type, media_type::OCI_MANIFEST);
    expect![[r#"
        first:
        HEAD /v2/library/alpine/manifests/latest?ns=docker.io 404
        second:
        HEAD /v2/hub/library/alpine/manifests/latest?ns=docker.io 200
        hub:
    "#]]
    .assert_eq(&world.log());
}

/// Waits until the registry has written something down.
async fn until(registry: &Registry, outcome: &str) {
    while !registry.log().contains(outcome) {
        tokio::task::yield_now().await;
    }
}

#[test]
fn dropping_an_operation_ends_it() {
    let world = World::new();
    world.first.fail("GET", 9, Fault::Silence);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = Arc::new(world.client.clone());
    runtime.block_on(async {
        let task = tokio::spawn(async move { client.resolve(&"alpine".parse().unwrap()).await.is_ok() });
        until(&world.first, "silence").await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        until(&world.first, "gone").await;
    });
    assert_eq!(world.hub.log(), "");
}
