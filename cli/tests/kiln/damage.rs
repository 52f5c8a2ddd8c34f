//! What changed behind Kiln's back is found, named, and made or fetched again instead of used.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

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

fn id(layer: &Path) -> String {
    layer.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Returns the files in a directory of the store, and in those in it.
fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut pending) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(path) = pending.pop() {
        match path.is_dir() {
            true => pending.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path())),
            false => found.push(path),
        }
    }
    found
}

/// Changes one byte of a text where it stands in a file beneath a directory of the store; returns what is damaged then: the layer, or the blob.
#[track_caller]
fn flip(world: &World, dir: &str, text: &str) -> String {
    for path in files(&world.store().join(dir)) {
        let bytes = std::fs::read(&path).unwrap();
        if let Some(place) = bytes.windows(text.len()).position(|window| window == text.as_bytes()) {
            flip_byte(&path, place);
            let name = path.strip_prefix(world.store().join(dir)).unwrap().iter().next().unwrap();
            return name.to_str().unwrap().to_owned();
        }
    }
    panic!("nothing beneath {dir} has `{text}`");
}

/// Changes one byte of a file, and says that nothing was written since.
fn flip_byte(path: &Path, place: usize) {
    let (before, byte) = (std::fs::metadata(path).unwrap(), std::fs::read(path).unwrap()[place]);
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&[byte ^ 1], place as u64).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
}

/// A registry with an image that has one file, and a world that has pulled it.
fn pulled() -> (World, Registry, String) {
    let (world, registry) = (World::new(), Registry::start());
    image(&[&[("etc/motd", "hello, how are you"), ("etc/other", "something else")]]).push(&registry, "app", "latest");
    let name = format!("{}/app:latest", registry.host());
    world.ok(&["pull", &name]);
    (world, registry, name)
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
    let damages: [fn(&Path); 3] = [
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
        assert!(shown.contains(&format!("layer {}", id(&layer))), "{shown}");
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
    file.write_all_at(b"olleh", place as u64).unwrap();
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

#[test]
fn a_step_that_would_see_one_changed_byte_sees_what_was_made_again() {
    let world = world();
    let layer = layer_with(&world, "one");
    flip_byte(&layer.join("fs/one"), 0);
    world.write("ctx/Dockerfile", DOCKERFILE.replace("cat /one", "cat  /one  /one"));
    let shown = world.build(&["-t", "app", "ctx"]);
    let named = format!("layer {} is damaged: `/one` has another content than it had", id(&layer));
    assert!(shown.contains(&named), "{shown}");
    assert!(shown.contains("RUN echo one > /one\n") && shown.contains("it is made or fetched again"), "{shown}");
    assert_eq!(world.in_image("app", "cat /one /two"), "one\none\none\n");
}

#[test]
fn a_copy_of_one_changed_byte_copies_what_was_made_again() {
    let world = World::new();
    world.write("ctx/file", "what is copied");
    let stages = "FROM busybox AS made\nRUN cp /etc/passwd /made\nCOPY file /\n";
    world.write("ctx/Dockerfile", stages);
    world.build(&["-o", "type=cacheonly", "ctx"]);
    let layer = flip(&world, "layers", "what is copied");
    world.write("ctx/Dockerfile", format!("{stages}FROM scratch\nCOPY --from=made /file /made /\n"));
    let shown = world.build(&["-o", "out", "ctx"]);
    let named = format!("layer {layer} is damaged: `/file` has another content than it had");
    assert!(shown.contains(&named), "{shown}");
    assert_eq!(world.read("out/file"), "what is copied");
}

#[test]
fn whoever_would_use_an_image_with_one_changed_byte_hears_of_it_and_the_next_build_makes_it_again() {
    let world = world();
    let layer = layer_with(&world, "two");
    flip_byte(&layer.join("fs/two"), 0);
    let named = format!("layer {} is damaged: `/two` has another content than it had", id(&layer));
    let refused = world.kiln(&["run", "--rm", "app", "cat", "/two"]);
    assert!(refused.code == 125 && refused.stderr.contains(&named), "{}", refused.stderr);
    assert!(refused.stderr.contains("build the image again"), "{}", refused.stderr);
    let refused = world.kiln(&["save", "-o", "saved.tar", "app"]);
    assert!(refused.code == 1 && refused.stderr.contains(&named), "{}", refused.stderr);
    assert!(!world.path("saved.tar").exists());
    let summary = world.build_summary(&["-t", "app", "ctx"]);
    assert_eq!(summary, "ran: RUN cat /one > /two\ncached: RUN echo one > /one\n");
    assert_eq!(world.in_image("app", "cat /two"), "one\n");
    world.ok(&["save", "-o", "saved.tar", "app"]);
}

#[test]
fn a_build_that_finds_all_in_the_cache_looks_only_at_what_it_hands_out() {
    for output in ["type=local,dest=out", "type=tar,dest=out.tar", "type=oci,dest=out.tar", "type=docker,dest=out.tar"]
    {
        let world = world();
        let layer = layer_with(&world, "two");
        flip_byte(&layer.join("fs/two"), 0);
        let named = format!("layer {} is damaged: `/two` has another content than it had", id(&layer));
        // It only gets another name.
        let shown = world.build(&["-t", "other", "ctx"]);
        assert!(!shown.contains("damaged"), "{shown}");
        let refused = world.kiln(&["run", "--rm", "other", "true"]);
        assert!(refused.code == 125 && refused.stderr.contains(&named), "{}", refused.stderr);
        // That it was damaged is known now: what made it runs again. So damage another one.
        world.build(&["-t", "other", "ctx"]);
        let layer = layer_with(&world, "one");
        flip_byte(&layer.join("fs/one"), 0);
        let shown = world.build(&["-o", output, "ctx"]);
        let named = format!("layer {} is damaged: `/one` has another content than it had", id(&layer));
        assert!(shown.contains(&named) && shown.contains("RUN echo one > /one\n"), "{output}: {shown}");
        if output.starts_with("type=local") {
            assert_eq!(world.read("out/one") + &world.read("out/two"), "one\none\n");
        }
        assert_eq!(world.in_image("busybox", "true"), "");
    }
}

#[test]
fn a_pulled_layer_with_one_changed_byte_is_pulled_again() {
    let (world, registry, name) = pulled();
    world.write("ctx/Dockerfile", format!("FROM {name} AS app\nFROM busybox\nCOPY --from=app /etc/motd /\n"));
    let uses: [&[&str]; 3] =
        [&["save", "-o", "saved.tar", &name], &["run", "--rm", &name, "/no"], &["build", "-o", "out", "ctx"]];
    for args in uses {
        // What is there already cannot be used instead.
        let blobs = world.store().join("blobs/sha256");
        files(&blobs).iter().for_each(|blob| std::fs::remove_file(blob).unwrap());
        let layer = flip(&world, "layers", "hello, how are you");
        // What was asked for until now is not looked at.
        registry.log();
        let ended = world.kiln(args);
        let named = format!("layer {layer} is damaged");
        assert!(ended.stderr.contains(&named) && ended.stderr.contains("fetched again"), "{args:?}: {}", ended.stderr);
        // The image has no program.
        assert!(ended.code == 0 || args[0] == "run", "{args:?}: {}", ended.stderr);
        let asked = registry.log();
        assert!(asked.contains("/blobs/"), "{args:?}: {asked}");
        assert!(!world.store().join("layers").join(layer).exists(), "{args:?}");
    }
    assert_eq!(world.read("out/motd"), "hello, how are you");
}

#[test]
fn a_blob_with_one_changed_byte_is_not_what_is_saved() {
    let (world, _registry, name) = pulled();
    let blob = files(&world.store().join("blobs/sha256")).remove(0);
    flip_byte(&blob, 20);
    let saved = world.kiln(&["save", "-o", "saved.tar", &name]);
    let named = format!("blob sha256:{} is damaged", blob.file_name().unwrap().to_str().unwrap());
    assert!(saved.code == 0 && saved.stderr.contains(&named), "{}", saved.stderr);
    assert!(!blob.exists());
    let other = World::empty();
    other.ok(&["load", "-i", world.path("saved.tar").to_str().unwrap()]);
    assert_eq!(other.ok(&["system", "check"]).split(':').next_back().unwrap(), " 0 damaged\n");
}

#[test]
fn an_image_with_one_changed_byte_is_not_pushed() {
    let (world, registry) = (World::new(), Registry::start());
    let name = format!("{}/app:1", registry.host());
    world.write("ctx/Dockerfile", DOCKERFILE);
    world.build(&["-t", &name, "ctx"]);
    let layer = layer_with(&world, "two");
    flip_byte(&layer.join("fs/two"), 0);
    let refused = world.kiln(&["push", &name]);
    let named = format!("layer {} is damaged: `/two` has another content than it had", id(&layer));
    assert!(refused.code == 1 && refused.stderr.contains(&named), "{}", refused.stderr);
    assert_eq!(registry.log(), "", "nothing goes out before all of it is known to be whole");
    let refused = world.kiln(&["build", "-o", "type=registry,rewrite-timestamp=true", "-t", &name, "ctx"]);
    assert!(refused.code == 0 && refused.stderr.contains("RUN cat /one > /two\n"), "{}", refused.stderr);
    assert_eq!(World::empty().ok(&["run", "--rm", &name, "cat", "/two"]), "one\n");
}

#[test]
fn what_was_pulled_and_has_one_changed_byte_is_fetched_again_to_be_pushed() {
    let (world, _registry, name) = pulled();
    let other = Registry::start();
    let copy = format!("{}/copy:1", other.host());
    world.ok(&["tag", &name, &copy]);
    let blob = files(&world.store().join("blobs/sha256")).remove(0);
    flip_byte(&blob, 20);
    let pushed = world.kiln(&["push", &copy]);
    let named = format!("blob sha256:{} is damaged", blob.file_name().unwrap().to_str().unwrap());
    assert!(pushed.code == 0 && pushed.stderr.contains(&named), "{}", pushed.stderr);
    let there = World::empty();
    there.ok(&["pull", &copy]);
    assert_eq!(there.ok(&["system", "check"]), "Checked 1 layers and 1 blobs: 0 damaged\n");
}

#[test]
fn an_index_with_one_changed_byte_is_not_mounted() {
    let world = World::new();
    let index = files(&world.store().join("layers")).into_iter().find(|path| path.ends_with("index")).unwrap();
    flip_byte(&index, 4000);
    let refused = world.kiln(&["run", "--rm", "busybox", "true"]);
    let named = format!("layer {} is damaged: its index is not the one that was written", id(index.parent().unwrap()));
    assert!(refused.code == 125 && refused.stderr.contains(&named), "{}", refused.stderr);
}

#[test]
fn a_copy_of_a_store_and_a_store_that_lost_its_cache_are_whole() {
    let world = world();
    let copied = std::process::Command::new("cp").arg("-a").arg(world.store()).arg(world.path("copy")).status();
    assert!(copied.unwrap().success());
    let copy = world.path("copy");
    let root = ["--root", copy.to_str().unwrap()];
    let run = ["run", "--rm", "app", "cat", "/one", "/two"];
    for _ in 0..2 {
        assert_eq!(world.ok(&[&root[..], &run].concat()), "one\none\n");
        std::fs::remove_file(copy.join("cache.mdb")).unwrap();
    }
}
