//! What changed behind Kiln's back is found, named, and made or fetched again instead of used.

use std::path::PathBuf;

use testkit::registry::{Registry, image};

use crate::world::World;

const DOCKERFILE: &str = "FROM busybox\nRUN echo one > /one\nRUN cat /one > /two\n";

fn world() -> World {
    let world = World::new();
    world.write("ctx/Dockerfile", DOCKERFILE);
    world.build(&["-t", "app", "ctx"]);
    world
}

/// Returns the directory of the layer that has a file.
fn layer_with(world: &World, file: &str) -> PathBuf {
    let layers = std::fs::read_dir(world.store().join("layers")).unwrap();
    let mut with = layers.map(|layer| layer.unwrap().path()).filter(|layer| layer.join("fs").join(file).exists());
    with.next().unwrap()
}

fn id(layer: &std::path::Path) -> String {
    layer.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_whole_store_is_said_to_be_whole() {
    let world = world();
    assert_eq!(world.ok(&["system", "check"]), "Checked 3 layers and 0 blobs: 0 damaged\n");
}

#[test]
fn a_file_that_changed_in_a_layer_is_named_and_its_step_runs_again() {
    let world = world();
    let layer = layer_with(&world, "one");
    std::fs::write(layer.join("fs/one"), "eno\n").unwrap();
    let checked = world.kiln(&["system", "check"]);
    let named = format!("layer {}: `/one` has another content than it had\n", id(&layer));
    assert_eq!((checked.code, checked.stdout), (1, format!("{named}Checked 3 layers and 0 blobs: 1 damaged\n")));
    assert!(checked.stderr.contains("kiln system check --repair"), "{}", checked.stderr);
    let repaired = world.ok(&["system", "check", "--repair"]);
    assert!(
        repaired.starts_with(&format!("{named}  forgotten: the images that need it have to be built")),
        "{repaired}"
    );
    let refused = world.kiln(&["run", "--rm", "app", "cat", "/one"]);
    assert!(refused.code == 125 && refused.stderr.contains("is not in the store"), "{}", refused.stderr);
    assert_eq!(world.build_summary(&["-t", "app", "ctx"]), "ran: RUN cat /one > /two; RUN echo one > /one\ncached: \n");
    assert_eq!(world.in_image("app", "cat /one /two"), "one\none\n");
    // The image that had the name before keeps its other layer.
    assert_eq!(world.ok(&["system", "check"]), "Checked 4 layers and 0 blobs: 0 damaged\n");
}

#[test]
fn a_build_that_comes_upon_a_damaged_layer_makes_it_again() {
    let damages: [fn(&std::path::Path); 3] = [
        |layer| std::fs::remove_dir_all(layer).unwrap(),
        |layer| std::fs::remove_file(layer.join("entries")).unwrap(),
        |layer| std::fs::write(layer.join("entries"), "nonsense").unwrap(),
    ];
    for damage in damages {
        let world = world();
        let layer = layer_with(&world, "one");
        damage(&layer);
        world.write("ctx/Dockerfile", DOCKERFILE.replace("cat /one", "cat  /one  /one"));
        let shown = world.build(&["-t", "app", "ctx"]);
        assert!(shown.contains(&format!("layer {} is", id(&layer))), "{shown}");
        assert_eq!(world.in_image("app", "cat /one /two"), "one\none\none\n");
    }
}

#[test]
fn what_was_pulled_is_pulled_again() {
    let (world, registry) = (World::empty(), Registry::start());
    image(&[&[("etc/motd", "hello")]]).push(&registry, "app", "latest");
    let name = format!("{}/app:latest", registry.host());
    world.ok(&["pull", &name]);
    let layer = std::fs::read_dir(world.store().join("layers")).unwrap().next().unwrap().unwrap().path();
    let pack = std::fs::read_dir(layer.join("packs")).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&pack).unwrap();
    let place = bytes.windows(5).position(|window| window == b"hello").unwrap();
    let file = std::fs::File::options().write(true).open(&pack).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"olleh", place as u64).unwrap();
    let blob = std::fs::read_dir(world.store().join("blobs/sha256")).unwrap().next().unwrap().unwrap();
    std::fs::write(blob.path(), "nonsense").unwrap();
    let repaired = world.ok(&["system", "check", "--repair"]);
    let expected = format!(
        "layer {}: `/etc/motd` has another content than it had\n  forgotten: it is fetched again when it is needed\n\
         blob sha256:{}: its bytes have the digest {}\n  forgotten: it is fetched again when it is needed\n\
         Checked 1 layers and 1 blobs: 2 damaged\n",
        id(&layer),
        blob.file_name().to_str().unwrap(),
        oci::Digest::of(b"nonsense"),
    );
    assert_eq!(repaired, expected);
    world.write("ctx/Dockerfile", format!("FROM {name} AS base\nFROM scratch\nCOPY --from=base /etc/motd /\n"));
    world.build(&["-o", "out", "ctx"]);
    assert_eq!(world.read("out/motd"), "hello");
    assert_eq!(world.ok(&["system", "check"]), "Checked 2 layers and 1 blobs: 0 damaged\n");
}
