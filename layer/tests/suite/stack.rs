//! Stacks: what hides what, links inside the root, walking.

use expect_test::{Expect, expect};
use layer::{Follow, Links, Placed, Stack, digest};

use crate::world::{ROOT, World, layer, path, stack};

/// Lists everything visible, with the layer it is from, and checks that single lookups and lists of directories agree.
fn listing(stack: &Stack) -> String {
    let mut lines = String::new();
    for found in stack.walk(ROOT) {
        lines.push_str(&format!("{} {}\n", found.layer, found.entry));
        assert_eq!(stack.lookup(found.entry.path), Some(found), "walk and lookup agree on {}", found.entry.path);
        for child in stack.read_dir(found.entry.path) {
            assert_eq!(stack.lookup(child.entry.path), Some(child), "read_dir and lookup agree");
        }
    }
    let mut pending: Vec<_> = stack.lookup(ROOT).map(|_| ROOT.to_owned()).into_iter().collect();
    let mut listed = 0;
    while let Some(directory) = pending.pop() {
        listed += 1;
        pending.extend(stack.read_dir(directory.as_path()).iter().map(|found| found.entry.path.to_owned()));
    }
    assert_eq!(stack.walk(ROOT).count(), listed, "walk and read_dir see as many files");
    lines
}

#[track_caller]
fn check(layers: &[&str], expected: Expect) {
    let worlds: Vec<World> = layers.iter().map(|lines| layer(lines)).collect();
    expected.assert_eq(&listing(&stack(&worlds)));
}

#[test]
fn directories_merge_and_files_replace() {
    check(
        &["f /a/x 1\nf /a/y 1\nf /b/z 1", "f /a/y 22\nf /c 22", "d /a # 0700"],
        expect![[r#"
            2 directory 0755 0:0 / @0
            2 directory 0700 0:0 /a @0
            0 file 0644 0:0 /a/x 1 B d63bd9a8 @0
            1 file 0644 0:0 /a/y 2 B 93aed7df @0
            0 directory 0755 0:0 /b @0
            0 file 0644 0:0 /b/z 1 B d63bd9a8 @0
            1 file 0644 0:0 /c 2 B 93aed7df @0
        "#]],
    );
}

#[test]
fn whiteouts_delete_whole_trees_and_later_layers_start_anew() {
    check(
        &["f /a/b/x 1\nf /a/c 1", "w /a", "f /a/b/y 1"],
        expect![[r#"
            2 directory 0755 0:0 / @0
            2 directory 0755 0:0 /a @0
            2 directory 0755 0:0 /a/b @0
            2 file 0644 0:0 /a/b/y 1 B d63bd9a8 @0
        "#]],
    );
}

#[test]
fn files_over_directories_hide_what_is_in_them() {
    check(
        &["f /a/b/x 1\nf /z 1", "f /a 1", "d /z"],
        expect![[r#"
            2 directory 0755 0:0 / @0
            1 file 0644 0:0 /a 1 B d63bd9a8 @0
            2 directory 0755 0:0 /z @0
        "#]],
    );
    check(
        &["f /a/b/x 1", "f /a 1", "f /a/b/y 1"],
        expect![[r#"
            2 directory 0755 0:0 / @0
            2 directory 0755 0:0 /a @0
            2 directory 0755 0:0 /a/b @0
            2 file 0644 0:0 /a/b/y 1 B d63bd9a8 @0
        "#]],
    );
}

#[test]
fn opaque_directories_hide_at_every_depth() {
    check(
        &["f /a/b/x 1\nf /a/c 1", "o /a\nf /a/b/y 1", "f /a/b/z 1"],
        expect![[r#"
            2 directory 0755 0:0 / @0
            2 directory 0755 0:0 /a @0
            2 directory 0755 0:0 /a/b @0
            1 file 0644 0:0 /a/b/y 1 B d63bd9a8 @0
            2 file 0644 0:0 /a/b/z 1 B d63bd9a8 @0
        "#]],
    );
}

#[test]
fn a_stack_without_layers_has_nothing() {
    check(&[], expect![""]);
    assert_eq!(Stack::default().lookup(ROOT), None);
}

#[test]
fn walking_starts_at_a_path() {
    let worlds = [layer("f /a/x 1\nf /a/d/e 1\nf /b 1"), layer("w /a/x\nf /a/y 1")];
    let stack = stack(&worlds);
    let walk =
        |from: &str| stack.walk(path(from).as_path()).map(|found| found.entry.path.to_text()).collect::<Vec<_>>();
    assert_eq!(walk("/a"), ["/a", "/a/d", "/a/d/e", "/a/y"]);
    assert_eq!(walk("/a/d/e"), ["/a/d/e"]);
    assert_eq!(walk("/a/x"), Vec::<String>::new());
    assert_eq!(walk("/nope"), Vec::<String>::new());
}

#[test]
fn links_are_followed_inside_the_root() {
    let worlds = [
        layer(
            "f /real/f x\nl /abs -> /real\nl /rel -> real/../real\nl /up -> ../../../real\nl /one -> /two\nl /two -> /one",
        ),
        layer("l /real/self -> ../abs/f\nl /dangling -> /no/where\nl /r -> /\nl /slash -> real/"),
    ];
    let stack = stack(&worlds);
    let resolve = |written: &str, follow| match stack.resolve(written.as_bytes(), follow) {
        Ok(resolved) => format!("{}{}", resolved.path, if resolved.found.is_some() { "" } else { " (missing)" }),
        Err(error) => error.to_string(),
    };
    let asked = [
        "/",
        "abs/f",
        "/rel//f",
        "up/./f",
        "../../up/f",
        "real/self",
        "one",
        "dangling",
        "no/../abs/f",
        "real/f/",
        "real/f/x",
        "r/r/r/abs/f",
        "slash/f",
        "abs/nope/x",
        "abs/..",
    ];
    let answers: Vec<String> =
        asked.iter().map(|written| format!("{written}: {}", resolve(written, Follow::All))).collect();
    expect![[r#"
        /: /
        abs/f: /real/f
        /rel//f: /real/f
        up/./f: /real/f
        ../../up/f: /real/f
        real/self: /real/f
        one: too many levels of symbolic links in `one`: more than 255
        dangling: /no/where (missing)
        no/../abs/f: /real/f
        real/f/: cannot follow `real/f/`: `/real/f` is not a directory
        real/f/x: cannot follow `real/f/x`: `/real/f` is not a directory
        r/r/r/abs/f: /real/f
        slash/f: /real/f
        abs/nope/x: /real/nope/x (missing)
        abs/..: /"#]]
    .assert_eq(&answers.join("\n"));
    assert_eq!(resolve("abs", Follow::Parents), "/abs");
    assert_eq!(resolve("abs/", Follow::Parents), "/real");
    assert_eq!(resolve("abs/self", Follow::Parents), "/real/self");
}

#[test]
fn content_is_read_through_hard_links_whose_first_path_is_hidden() {
    let worlds = [layer("f /a hello\nh /b = /a\nh /c = /a"), layer("w /a")];
    let stack = stack(&worlds);
    let found = stack.lookup(path("/b").as_path()).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stack.open(&found).unwrap(), &mut text).unwrap();
    assert_eq!(text, "hello");
    let mut links = Links::new(&stack);
    let places: Vec<String> = stack
        .walk(ROOT)
        .map(|found| match links.place(&found, found.entry.path) {
            Placed::File(file) => format!("{} is {}", found.entry.path, file.entry.path),
            Placed::LinkTo(first) => format!("{} = {first}", found.entry.path),
        })
        .collect();
    assert_eq!(places, ["/ is /", "/b is /a", "/c = /b"]);
}

/// The digest of what is beneath `/src`, with paths relative to it.
fn selected(layers: &[&str]) -> oci::Digest {
    let worlds: Vec<World> = layers.iter().map(|lines| layer(lines)).collect();
    let stack = stack(&worlds);
    let root = path("/src");
    let found: Vec<_> = stack.walk(root.as_path()).collect();
    digest::of_selection(
        &stack,
        found.into_iter().map(|found| (found.entry.path.relative_to(root.as_path()).unwrap(), found)),
    )
}

#[test]
fn a_selection_is_its_content_wherever_it_comes_from() {
    let one = selected(&["f /src/a 1\nf /src/b 2\nf /else x"]);
    assert_eq!(one, selected(&["f /src/b 2\nf /src/c 3", "f /src/a 1\nw /src/c"]), "layers do not matter");
    assert_eq!(one, selected(&["f /src/a 1 # @5\nf /src/b 2 # @7.5\nd /src # @9"]), "times do not matter");
    assert_eq!(
        one,
        selected(&["f /src/a 1\nf /src/b 2\nf /0 1\nh /src/z = /0", "w /src/z"]),
        "what is hidden does not matter"
    );
    assert_eq!(
        one,
        selected(&["f /src/c 1", "o /src\nf /src/a 1\nf /src/b 2"]),
        "how something is hidden does not matter"
    );
    assert_ne!(one, selected(&["f /src/a 1\nf /src/b 3"]));
    assert_ne!(one, selected(&["f /src/a 1 # 0600\nf /src/b 2"]));
    assert_ne!(one, selected(&["f /src/a 1 # 0644 1:0\nf /src/b 2"]));
    assert_ne!(one, selected(&["f /src/a 1\nf /src/b2 2"]));
}

#[test]
fn a_selection_knows_its_own_hard_links_only() {
    let two_files = selected(&["f /src/a 1\nf /src/b 1"]);
    let linked = selected(&["f /src/a 1\nh /src/b = /src/a"]);
    assert_ne!(two_files, linked);
    assert_eq!(linked, selected(&["f /0 1\nh /src/a = /0\nh /src/b = /0"]), "the first path outside does not matter");
    assert_eq!(selected(&["f /src/a 1"]), selected(&["f /0 1\nh /src/a = /0"]), "one path is no group");
}
