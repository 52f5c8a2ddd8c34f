//! What takes room, and giving it back.

use std::process::Command;

use expect_test::expect;
use serde_json::Value;

use crate::world::World;

/// A world with an image of two steps, a third step that no image needs, and a cache mount.
fn world() -> World {
    let world = World::new();
    let steps = "FROM busybox AS app\nRUN dd if=/dev/zero of=/big bs=1M count=3 2>/dev/null\nRUN --mount=type=cache,id=things,target=/c echo thing > /c/thing; ln /big /bigger\n";
    world.write(
        "ctx/Dockerfile",
        format!("{steps}FROM app AS more\nRUN dd if=/dev/zero of=/more bs=1M count=2 2>/dev/null\n"),
    );
    world.build(&["-t", "app", "--target", "app", "ctx"]);
    world.build(&["-o", "type=cacheonly", "ctx"]);
    world
}

fn records(world: &World, args: &[&str]) -> Vec<Value> {
    let printed = world.ok(&[&["du", "--format", "json"], args].concat());
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns the descriptions and types of the records that fit.
fn described(world: &World, args: &[&str]) -> String {
    let text =
        |record: &Value| format!("{}: {}\n", record["Type"].as_str().unwrap(), record["Description"].as_str().unwrap());
    let mut lines: Vec<String> = records(world, args).iter().map(text).collect();
    lines.sort();
    lines.concat()
}

/// Returns a size that was printed for people.
fn bytes(text: &str) -> f64 {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        unit => panic!("unknown unit {unit}"),
    };
    digits.parse::<f64>().unwrap() * unit
}

#[test]
fn the_sum_is_what_the_file_system_says() {
    let world = world();
    // Layers that share the bytes of a file.
    world.write("shared/file", vec![b'x'; 1 << 20]);
    world.write(
        "shared/Dockerfile",
        "FROM scratch AS a\nCOPY file /a\nFROM scratch\nCOPY --from=a /a /b\nCOPY --from=a /a /c\n",
    );
    world.build(&["-t", "shared", "shared"]);
    world.ok(&["run", "busybox", "sh", "-c", "dd if=/dev/zero of=/x bs=1M count=1 2>/dev/null"]);
    let shown = world.ok(&["du"]);
    let total = shown.lines().find_map(|line| line.strip_prefix("Total:")).unwrap().trim();
    let counted = Command::new("du").args(["-s", "--block-size=1"]).arg(world.store()).output().unwrap();
    let counted: f64 = String::from_utf8(counted.stdout).unwrap().split('\t').next().unwrap().parse().unwrap();
    let difference = (bytes(total) - counted).abs();
    assert!(difference <= counted / 100.0, "{total} is not {counted}: {shown}");
    world.ok(&["container", "prune", "-f"]);
}

#[test]
fn what_is_shown_of_kinds_adds_up_to_the_records() {
    let world = world();
    world.ok(&["run", "busybox", "sh", "-c", "dd if=/dev/zero of=/x bs=1M count=1 2>/dev/null"]);
    let shown = world.ok(&["system", "df", "--format", "{{.Size}}"]);
    let kinds: f64 = shown.lines().map(bytes).sum();
    let containers = bytes(shown.lines().nth(1).unwrap());
    let own = |record: &Value| record["Type"] == "internal";
    let size = |record: &Value| bytes(record["Size"].as_str().unwrap());
    let counted: f64 = records(&world, &[]).iter().filter(|it| !own(it)).map(size).sum::<f64>() + containers;
    assert!((kinds - counted).abs() <= counted / 500.0, "{shown}: {counted}");
    // No image needs it, and nothing uses it.
    let reclaimable = world.ok(&["system", "df", "--format", "{{.Type}} {{.Size}} {{.Reclaimable}}"]);
    let cache = reclaimable.lines().nth(2).unwrap().strip_prefix("Build Cache ").unwrap();
    let (size, reclaimable) = cache.split_once(' ').unwrap();
    assert_eq!(size, reclaimable);
    world.ok(&["container", "prune", "-f"]);
}

#[test]
fn records_are_chosen_by_what_they_are() {
    let world = world();
    expect![[r#"
        exec.cachemount: cached mount `things`
        internal: build history
        internal: databases
        internal: work in progress
        regular: [app 2/3] RUN dd if=/dev/zero of=/big bs=1M count=3 2>/dev/null
        regular: [app 3/3] RUN --mount=type=cache,id=things,target=/c echo thing > /c/thing; ln /big /bigger
    "#]]
    .assert_eq(&described(&world, &["--filter", "id~=.", "--filter", "description~=things|history|bases|work|big bs"]));
    expect![[r#"
        regular: [more 1/1] RUN dd if=/dev/zero of=/more bs=1M count=2 2>/dev/null
    "#]]
    .assert_eq(&described(&world, &["--filter", "private", "--filter", "type==regular"]));
    assert_eq!(described(&world, &["--filter", "shared=true", "--filter", "type!=regular"]), "");
    assert_eq!(
        described(&world, &["--filter", "until=1h"]).lines().filter(|line| !line.starts_with("internal")).count(),
        0
    );
    let top = &records(&world, &["--filter", "description~=more"])[0];
    let parent = top["Parents"][0].as_str().unwrap().to_owned();
    assert!(records(&world, &["--filter", &format!("id={parent}")])[0]["Shared"].as_bool().unwrap());
    assert_eq!(described(&world, &["--filter", &format!("parents={parent}")]).lines().count(), 1);
    let refused = world.kiln(&["du", "--filter", "colour=red"]);
    assert!(refused.code == 1 && refused.stderr.contains("invalid filter `colour=red`"), "{}", refused.stderr);
}

#[test]
fn all_that_is_known_of_a_record_is_shown() {
    let world = world();
    let shown = world.ok(&["builder", "du", "--verbose", "--filter", "description~=more"]);
    let known: Vec<&str> =
        shown.lines().filter_map(|line| line.split(':').next()).filter(|it| !it.starts_with(" -")).collect();
    let expected = [
        "ID",
        "Parents",
        "Created at",
        "Mutable",
        "Reclaimable",
        "Shared",
        "Size",
        "Description",
        "Usage count",
        "Last used",
        "Type",
        "",
    ];
    assert_eq!(known, expected);
    assert!(shown.contains("Reclaimable:\ttrue\nShared:\t\tfalse\nSize:\t\t2."), "{shown}");
}

const NOTHING_RAN: &str = "ran: \n";

/// Builds the image again and returns the line that says what ran.
fn ran(world: &World, target: &str) -> String {
    let summary = world.build_summary(&["-o", "type=cacheonly", "--target", target, "ctx"]);
    format!("{}\n", summary.lines().next().unwrap())
}

#[test]
fn pruning_keeps_what_images_need_and_what_was_used_lately() {
    let world = world();
    world.ok(&["prune", "-f", "--filter", "until=24h"]);
    assert_eq!(ran(&world, "more"), NOTHING_RAN);
    world.ok(&["prune", "-f", "--keep-storage", "10GB"]);
    assert_eq!(ran(&world, "more"), NOTHING_RAN);
    let pruned = world.ok(&["buildx", "prune", "-f"]);
    assert!(pruned.starts_with("ID ") && pruned.contains("\nTotal:\t2."), "{pruned}");
    assert_eq!(described(&world, &["--filter", "private", "--filter", "type=regular"]), "");
    assert_eq!(described(&world, &["--filter", "type=exec.cachemount"]), "");
    assert_eq!(ran(&world, "app"), NOTHING_RAN);
    assert_eq!(ran(&world, "more"), "ran: RUN dd if=/dev/zero of=/more bs=1M count=2 2>/dev/null\n");
    world.ok(&["builder", "prune", "-af"]);
    assert_eq!(ran(&world, "app").matches("RUN").count(), 2);
    assert_eq!(world.in_image("app", "ls /bigger"), "/bigger\n");
}

#[test]
fn a_cache_mount_in_use_is_not_pruned() {
    let world = World::new();
    let wait = "touch /c/up; until [ -e /c/go ]; do sleep 0.01; done";
    world.write("ctx/Dockerfile", format!("FROM busybox\nRUN --mount=type=cache,target=/c {wait}\n"));
    let build = world.spawn(&["build", "-t", "app", "ctx"]);
    let mounts = world.store().join("cache-mounts");
    let mount = || std::fs::read_dir(&mounts).ok()?.next()?.ok().map(|entry| entry.path());
    while !mount().is_some_and(|mount| mount.join("up").exists()) {
        std::thread::yield_now();
    }
    world.ok(&["prune", "-af"]);
    std::fs::write(mount().unwrap().join("go"), "").unwrap();
    assert!(build.wait_with_output().unwrap().status.success());
}

#[test]
fn room_is_given_back_by_the_policy_after_a_build() {
    let world = World::new();
    let config = "[[worker.oci.gcpolicy]]\nfilters = [\"type==exec.cachemount\"]\n[[worker.oci.gcpolicy]]\nmaxUsedSpace = \"1MB\"\n";
    world.write("config.toml", config);
    world.write("ctx/Dockerfile", "FROM busybox AS a\nRUN --mount=type=cache,target=/c dd if=/dev/zero of=/big bs=1M count=3\nFROM busybox\nRUN true\n");
    world.ok(&["--config", "config.toml", "build", "--target", "a", "-o", "type=cacheonly", "ctx"]);
    assert_eq!(described(&world, &["--filter", "type=exec.cachemount"]), "");
    assert_eq!(described(&world, &["--filter", "private", "--filter", "type=regular"]), "");
    assert!(world.in_image("busybox", "cat /etc/passwd").starts_with("root:"));
}

#[test]
fn images_and_containers_are_pruned_on_their_own() {
    let world = world();
    world.ok(&["build", "-q", "-t", "app", "--label", "keep=no", "--target", "app", "ctx"]);
    world.ok(&["run", "busybox", "true"]);
    assert_eq!(world.ok(&["container", "prune", "-f", "--filter", "until=1h"]), "Total reclaimed space: 0B\n");
    assert!(world.ok(&["container", "prune", "-f"]).starts_with("Deleted Containers:\n"));
    let pruned = world.ok(&["image", "prune", "-f"]);
    assert!(pruned.starts_with("Deleted Images:\ndeleted: sha256:"), "{pruned}");
    assert_eq!(world.ok(&["image", "prune", "-f"]), "Total reclaimed space: 0B\n");
    assert!(world.ok(&["image", "prune", "-af", "--filter", "label=keep=no"]).contains("untagged: app:latest\n"));
    assert_eq!(world.ok(&["images", "--format", "{{.Repository}}"]), "busybox\n");
    let asked = world.kiln_reading(&["image", "prune", "-a"], b"n\n");
    assert!(asked.stdout.starts_with("WARNING! This will remove all images"), "{}", asked.stdout);
    assert_eq!(world.ok(&["images", "-q"]).lines().count(), 1);
}
