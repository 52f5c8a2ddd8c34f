//! Lists, histories, details, names.

use expect_test::expect;

use crate::world::World;

fn world() -> World {
    let world = World::new();
    let dockerfile = "FROM busybox\nENV A=1\nRUN echo 0123456789 > /f\nCMD [\"cat\", \"/f\"]\n";
    world.write("ctx/Dockerfile", dockerfile);
    world.build(&["-t", "app:1", "-t", "registry.example/team/app:2", "ctx"]);
    world
}

#[test]
fn images_are_listed_as_docker_lists_them() {
    let world = world();
    let table = world.ok(&["images"]);
    let columns: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
    assert_eq!(columns[0], ["REPOSITORY", "TAG"]);
    let mut names: Vec<String> = columns[1..].iter().map(|row| row.join(":")).collect();
    names.sort();
    assert_eq!(names, ["app:1", "busybox:latest", "registry.example/team/app:2"]);
    assert_eq!(world.ok(&["images", "app", "--format", "{{.Repository}}:{{.Tag}}"]), "app:1\n");
    let json: serde_json::Value =
        serde_json::from_str(world.ok(&["images", "app", "--format", "json"]).trim()).unwrap();
    assert_eq!((&json["Repository"], &json["Tag"]), (&"app".into(), &"1".into()));
    assert_eq!(world.ok(&["images", "-q", "app"]).trim().len(), 12);
}

#[test]
fn a_history_has_a_line_an_instruction() {
    let world = world();
    let shown = world.ok(&["history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Size}}|{{.Comment}}", "app:1"]);
    let shown: String = shown.lines().take(3).map(|line| format!("{line}\n")).collect();
    expect![[r#"
        CMD ["cat" "/f"]|0B|buildkit.dockerfile.v0
        RUN /bin/sh -c echo 0123456789 > /f # buildkit|11B|buildkit.dockerfile.v0
        ENV A=1|0B|buildkit.dockerfile.v0
    "#]]
    .assert_eq(&shown);
}

#[test]
fn details_are_found_by_template() {
    let world = world();
    let template = "{{range .Config.Env}}{{println .}}{{end}}{{index .RepoTags 0}} {{len .RootFS.Layers}} {{.Os}}";
    expect![[r#"
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
        A=1
        app:1 2 linux
    "#]]
    .assert_eq(&world.ok(&["inspect", "-f", template, "app:1"]));
    let ended = world.kiln(&["inspect", "nope"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, "[]\n"));
    expect![[r#"
        error: No such image: nope
    "#]]
    .assert_eq(&ended.stderr);
}

#[test]
fn names_are_given_and_taken() {
    let world = world();
    world.ok(&["tag", "app:1", "other"]);
    let id = world.ok(&["inspect", "-f", "{{.Id}}", "other"]);
    assert_eq!(world.ok(&["rmi", "other"]), "Untagged: other:latest\n");
    let short = &id["sha256:".len()..][..6];
    let ended = world.kiln(&["rmi", short]);
    assert!(ended.stderr.contains("image is referenced in multiple repositories"), "{}", ended.stderr);
    assert_eq!(world.ok(&["rmi", "app:1"]), "Untagged: app:1\n");
    let removed = world.ok(&["rmi", short]);
    assert_eq!(removed, format!("Untagged: registry.example/team/app:2\nDeleted: {id}"));
    assert_eq!(world.kiln(&["rmi", "app:1"]).code, 1);
}

#[test]
fn a_rebuilt_name_leaves_its_old_image_without_one() {
    let world = world();
    world.write("ctx/Dockerfile", "FROM busybox\nRUN echo other > /f\n");
    world.build(&["-t", "app:1", "-t", "registry.example/team/app:2", "ctx"]);
    let shown = world.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(shown.lines().any(|line| line == "<none>:<none>"), "{shown}");
    world.ok(&["system", "prune", "-f"]);
    assert!(!world.ok(&["images", "--format", "{{.Repository}}"]).contains("<none>"));
}
