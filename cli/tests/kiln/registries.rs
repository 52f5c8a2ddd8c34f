//! Bases from registries: in memory with faults, and Debian's real one.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use expect_test::expect;
use testkit::registry::{Fault, Registry};

use crate::world::World;

/// Puts `busybox` from a world's store into a registry.
fn push(world: &World, host: &str, name: &str) {
    world.ok(&["save", "-o", "push.tar", "busybox"]);
    let dir = world.path("pushed");
    std::fs::create_dir_all(&dir).unwrap();
    let unpacked = Command::new("tar").args(["-xf", "../push.tar"]).current_dir(&dir).status().unwrap();
    assert!(unpacked.success());
    let blob = |digest: &oci::Digest| std::fs::read(dir.join("blobs/sha256").join(digest.hex())).unwrap();
    let index: oci::Index = serde_json::from_slice(&std::fs::read(dir.join("index.json")).unwrap()).unwrap();
    let manifest_bytes = blob(&index.manifests[0].digest);
    let manifest: oci::Manifest = serde_json::from_slice(&manifest_bytes).unwrap();
    let reference: oci::Reference = format!("{host}/{name}").parse().unwrap();
    let client = registry::Client::new(registry::Config::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for descriptor in manifest.layers.iter().chain([&manifest.config]) {
            let content: Arc<dyn registry::BlobSource> = Arc::new(bytes::Bytes::from(blob(&descriptor.digest)));
            client.push_blob(&reference, descriptor, content, None).await.unwrap();
        }
        client.push_manifest(&reference, &index.manifests[0].media_type, manifest_bytes.into()).await.unwrap();
    });
}

#[test]
fn a_base_is_pulled_once_and_only_when_a_step_needs_it() {
    let (world, registry) = (World::new(), Registry::start());
    push(&world, &registry.host(), "team/base:1");
    let base = format!("{}/team/base:1", registry.host());
    let other = World::empty();
    other.write("ctx/Dockerfile", format!("FROM {base} AS unused\nRUN true\nFROM scratch\nCOPY Dockerfile /\n"));
    other.build(&["-t", "app", "ctx"]);
    assert_eq!(other.ok(&["images", "--format", "{{.Repository}}"]), "app\n", "what nothing needs is not asked for");
    other.write("ctx/Dockerfile", format!("FROM {base}\nRUN echo built > /f\nCMD [\"cat\", \"/f\"]\n"));
    other.build(&["-t", "app", "ctx"]);
    assert_eq!(other.ok(&["run", "--rm", "app"]), "built\n");
    // From here on the registry is not needed any more.
    drop(registry);
    other.write("ctx/Dockerfile", format!("FROM {base}\nRUN echo again > /f\nCMD [\"cat\", \"/f\"]\n"));
    other.build(&["-t", "app", "ctx"]);
    assert_eq!(other.ok(&["run", "--rm", "app"]), "again\n");
}

#[test]
fn what_is_pulled_is_said_in_dockers_words() {
    let (world, registry) = (World::new(), Registry::start());
    push(&world, &registry.host(), "team/base:1");
    let host = registry.host();
    let other = World::empty();
    let plain = |text: &str| {
        let digest = text.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap_or("no digest").to_owned();
        text.replace(&host, "HOST").replace(&digest, "DIGEST")
    };
    let pull = |args: &[&str]| plain(&other.ok(&[&["pull"], args].concat()));
    let name = format!("{host}/team/base:1");
    let missing = other.kiln(&["run", "--rm", &name, "echo", "there"]);
    assert_eq!((missing.code, missing.stdout.as_str()), (0, "there\n"));
    expect![[r#"
        Unable to find image 'HOST/team/base:1' locally
        1: Pulling from team/base
        Digest: DIGEST
        Status: Downloaded newer image for HOST/team/base:1
    "#]]
    .assert_eq(&plain(&missing.stderr));
    expect![[r#"
        1: Pulling from team/base
        Digest: DIGEST
        Status: Image is up to date for HOST/team/base:1
        HOST/team/base:1
    "#]]
    .assert_eq(&pull(&[&name]));
    expect!["HOST/team/base:1\n"].assert_eq(&pull(&["-q", &name]));
    let untagged = other.kiln(&["pull", &format!("{host}/team/base")]);
    assert_eq!((untagged.code, untagged.stdout.lines().next()), (1, Some("Using default tag: latest")));
}

#[test]
fn pulling_again_sees_that_a_tag_moved() {
    let (world, registry) = (World::new(), Registry::start());
    push(&world, &registry.host(), "base:1");
    let other = World::empty();
    other.write("ctx/Dockerfile", format!("FROM {}/base:1\nRUN cat /etc/os > /f || true\n", registry.host()));
    other.build(&["-t", "app", "ctx"]);
    world.write("new/Dockerfile", "FROM busybox\nRUN echo new > /etc/os\n");
    world.build(&["-t", "busybox", "new"]);
    push(&world, &registry.host(), "base:1");
    let summary = other.build_summary(&["-t", "app", "ctx"]);
    assert!(summary.starts_with("ran: \n"), "{summary}");
    let summary = other.build_summary(&["--pull", "-t", "app", "ctx"]);
    assert!(summary.starts_with("ran: RUN cat"), "{summary}");
    assert_eq!(other.in_image("app", "cat /f"), "new\n");
}

#[test]
fn a_mirror_is_asked_first_by_flag_and_by_settings_file() {
    let (world, mirror) = (World::new(), Registry::start());
    push(&world, &mirror.host(), "library/tiny:1");
    let other = World::empty();
    let url = format!("http://{}", mirror.host());
    other.ok(&["--registry-mirror", &url, "pull", "tiny:1"]);
    assert_eq!(other.ok(&["run", "--rm", "tiny:1", "echo", "mirrored"]), "mirrored\n");
    let third = World::empty();
    third.write("config.toml", format!("[registry.\"docker.io\"]\nmirrors = [\"{url}\"]\n"));
    third.ok(&["--config", "config.toml", "pull", "tiny:1"]);
    assert_eq!(third.ok(&["run", "--rm", "tiny:1", "echo", "mirrored"]), "mirrored\n");
}

/// Debian's docker-registry on a port of its own, ended with the test.
struct RealRegistry {
    child: Child,
    host: String,
    _dir: tempfile::TempDir,
}

impl RealRegistry {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n",
            dir.path().display()
        );
        let path = dir.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("docker-registry is missing: run `make roots`");
        let registry = Self { child, host, _dir: dir };
        while std::net::TcpStream::connect(&registry.host).is_err() {
            std::thread::yield_now();
        }
        registry
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_base_comes_from_a_real_registry() {
    let (world, registry) = (World::new(), RealRegistry::start());
    push(&world, &registry.host, "base:1");
    let other = World::empty();
    other
        .write("ctx/Dockerfile", format!("FROM {}/base:1\nRUN echo real > /f\nCMD [\"cat\", \"/f\"]\n", registry.host));
    other.build(&["-t", "app", "ctx"]);
    assert_eq!(other.ok(&["run", "--rm", "app"]), "real\n");
    let digests = other.ok(&["inspect", "-f", "{{index .RepoDigests 0}}", &format!("{}/base:1", registry.host)]);
    assert!(digests.starts_with(&format!("{}/base@sha256:", registry.host)), "{digests}");
}

#[test]
fn what_was_built_is_pushed_to_the_registries_of_its_names() {
    let (world, registry, real) = (World::new(), Registry::start(), RealRegistry::start());
    world.write("ctx/Dockerfile", "FROM busybox\nRUN echo pushed > /f\nCMD [\"cat\", \"/f\"]\n");
    let names = [format!("{}/app:1", registry.host()), format!("{}/other/app", real.host)];
    let tags = ["-t", &names[0], "-t", &names[1]];
    world.build(&[tags.as_slice(), &["--push", "--metadata-file", "meta", "ctx"]].concat());
    let metadata: serde_json::Value = serde_json::from_str(&world.read("meta")).unwrap();
    for name in &names {
        let other = World::empty();
        other.ok(&["pull", name]);
        assert_eq!(other.ok(&["run", "--rm", name]), "pushed\n");
        assert_eq!(world.ok(&["run", "--rm", name]), "pushed\n", "the store has it too");
        let digest = other.ok(&["inspect", "-f", "{{index .RepoDigests 0}}", name]);
        assert!(digest.trim().ends_with(metadata["containerimage.digest"].as_str().unwrap()), "{digest}");
    }
    // What the registry has is not sent again.
    registry.log();
    world.build(&[tags.as_slice(), &["--push", "ctx"]].concat());
    let log = registry.log();
    assert!(log.contains("PUT /v2/app/manifests/1") && !log.contains("POST"), "{log}");
}

#[test]
fn an_index_is_pushed_with_its_images_and_annotations() {
    let (world, registry) = (World::empty(), Registry::start());
    world.write("ctx/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY <<EOF /arch\n$TARGETARCH\nEOF\n");
    let output = format!("type=registry,name={}/multi,annotation-index.a=1", registry.host());
    world.build(&["--platform", "linux/amd64,linux/arm64", "-o", &output, "--annotation", "b=2", "ctx"]);
    let index: serde_json::Value = serde_json::from_slice(&registry.manifest("multi", "latest").unwrap()).unwrap();
    assert_eq!(index["annotations"].to_string(), r#"{"a":"1"}"#);
    for image in index["manifests"].as_array().unwrap() {
        let manifest = registry.manifest("multi", image["digest"].as_str().unwrap()).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(manifest["annotations"].to_string(), r#"{"b":"2"}"#);
        let layer = manifest["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
        assert!(registry.blob("multi", layer).is_some());
    }
}

#[test]
fn a_push_without_a_name_or_a_registry_fails() {
    let world = World::empty();
    world.write("ctx/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let ended = world.kiln(&["build", "--push", "ctx"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("tag is needed when pushing to registry"), "{}", ended.stderr);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ended = world.kiln(&["build", "--push", "-t", &format!("127.0.0.1:{port}/app"), "ctx"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains(&format!("127.0.0.1:{port}")), "{}", ended.stderr);
}

#[test]
fn an_image_of_the_store_is_pushed_by_its_name() {
    let (world, registry) = (World::empty(), Registry::start());
    let name = format!("{}/app:1", registry.host());
    world.write("ctx/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY <<EOF /arch\n$TARGETARCH\nEOF\n");
    world.build(&["-t", &name, "--platform", "linux/amd64,linux/arm64", "ctx"]);
    let said = world.ok(&["push", &name]);
    let index = registry.manifest("app", "1").unwrap();
    let digest = oci::Digest::of(&index);
    let expected =
        format!("The push refers to repository [{}/app]\n1: digest: {digest} size: {}\n", registry.host(), index.len());
    assert_eq!(said, expected);
    // What came from a registry goes to another one as it was.
    let (other, second) = (World::empty(), Registry::start());
    other.ok(&["pull", &name]);
    let copy = format!("{}/copy:2", second.host());
    other.ok(&["tag", &name, &copy]);
    assert_eq!(other.ok(&["image", "push", "-q", &copy]), format!("{copy}\n"));
    let index: oci::Index = serde_json::from_slice(&index).unwrap();
    assert_eq!(oci::Digest::of(&second.manifest("copy", "2").unwrap()), index.manifests[0].digest);
    let ended = world.kiln(&["push", "none:1"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (1, "error: No such image: none:1\n"));
}

#[test]
fn a_layer_that_its_registry_has_is_not_compressed_again() {
    let (world, registry) = (World::new(), Registry::start());
    world.write("ctx/Dockerfile", "FROM busybox\nRUN echo a > /a\n");
    // How many files are written to be pushed.
    let written = |name: &str| {
        let name = format!("{}/{name}", registry.host());
        world.build(&["-t", &name, "ctx"]);
        let list = world.path("points");
        let _ = std::fs::remove_file(&list);
        let mut push = world.command(&["push", &name]);
        let ended = push.env("KILN_FAULT", format!("list:{}", list.display())).output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        std::fs::read_to_string(list).unwrap().lines().filter(|point| *point == "export.write").count()
    };
    let all = written("team/one:1");
    assert_eq!(written("team/one:2"), all - 2, "both layers are there");
    assert_eq!(written("team/two:1"), all, "no layer is there");
    registry.fail("HEAD /v2/team/one/blobs/", 1, Fault::Status(500));
    assert_eq!(written("team/one:3"), all, "the registry does not say");
    registry.fail("PUT /v2/team/one/manifests/4", 1, Fault::Status(404));
    assert_eq!(written("team/one:4"), 2 * all - 2, "the registry lacks what it said it had");
    let pulled = World::empty();
    pulled.ok(&["pull", &format!("{}/team/one:2", registry.host())]);
    assert_eq!(pulled.in_image(&format!("{}/team/one:2", registry.host()), "cat /a"), "a\n");
}
