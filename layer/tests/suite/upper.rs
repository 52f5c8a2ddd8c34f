//! Upper directories of real overlays, as the entries of a layer.

use expect_test::{Expect, expect};
use layer::tar::{TarOptions, export_layer, export_stack};
use layer::tree::scan_tree;
use layer::{Stack, digest};

use crate::overlay::Overlay;
use crate::world::{ROOT, World, layer};

/// Runs a script on layers and checks what changed; and that the layers with the changes on top, the mounted file system, and the layer after a
/// journey as a tar are the same file system.
#[track_caller]
fn check(layers: &[&str], script: &str, expected: Expect) {
    let worlds: Vec<World> = layers.iter().map(|lines| layer(lines)).collect();
    let overlay = Overlay::mount(&worlds);
    overlay.run(script);
    let changes = overlay.changes();
    // The times of what the script wrote are those of the test.
    let listing: Vec<String> = changes.entries.iter().map(|entry| timeless(&entry.to_string())).collect();
    expected.assert_eq(&(listing.join("\n") + "\n"));

    let layers: Vec<_> = overlay.below().layers().iter().cloned().chain([changes.clone()]).collect();
    let seen: Vec<String> = Stack::new(layers).walk(ROOT).map(|found| timeless(&found.entry.to_string())).collect();
    let mounted = scan_tree(&overlay.tree()).unwrap();
    let mounted: Vec<String> = mounted.iter().map(|entry| timeless(&entry.to_string())).collect();
    assert_eq!(seen, mounted, "the stack is what the kernel shows");

    let mut bytes = Vec::new();
    let exported = export_layer(&changes, TarOptions::LAYER, &mut bytes).unwrap();
    let directory = crate::world::temporary();
    let pulled = layer::unpack::unpack_layer(bytes.as_slice(), crate::world::open(&directory), Default::default());
    let pulled = pulled.unwrap();
    assert_eq!(pulled.diff_id, exported.digest);
    assert_eq!(
        digest::of_layer(&pulled.entries),
        digest::of_layer(&changes.entries),
        "a tar loses nothing but fractions"
    );
}

/// Leaves the time out, which directories that changed in nothing else may have another of.
fn timeless(line: &str) -> String {
    let time = line.find(" @").map(|at| at..line[at + 2..].find(' ').map_or(line.len(), |end| at + 2 + end));
    match time {
        Some(time) => [&line[..time.start], &line[time.end..]].concat(),
        None => line.to_owned(),
    }
}

const BASE: &str = "f /a/x 1\nf /a/y 2\nf /a/d/deep 3\nf /etc/conf c # 0640 1:2 @77\nd /tmp # 1777 @5\nl /bin -> usr/bin\nf /usr/bin/sh s # 4755";

#[test]
fn a_step_that_changes_nothing_has_only_the_root() {
    check(
        &[BASE],
        "true",
        expect![[r#"
        directory 0755 0:0 /
    "#]],
    );
    check(
        &[],
        "true",
        expect![[r#"
        directory 0755 0:0 /
    "#]],
    );
    // What is brought up and put back is no change; neither is a file that came and went.
    check(
        &[BASE],
        "touch tmp/f; rm tmp/f; chmod 0640 etc/conf; : >> a/x; touch -h -d @0 bin",
        expect![[r#"
        directory 0755 0:0 /
    "#]],
    );
}

#[test]
fn new_and_changed_files_come_with_their_directories() {
    check(
        &[BASE],
        "echo new > a/d/new; chmod 0600 etc/conf; ln -s x a/link; mkfifo a/pipe; mkdir -m 0700 fresh; touch -d @9 usr/bin/sh",
        expect![[r#"
            directory 0755 0:0 /
            directory 0755 0:0 /a
            directory 0755 0:0 /a/d
            file 0644 0:0 /a/d/new 4 B 79d1d8da
            symlink 0777 0:0 /a/link -> x
            fifo 0644 0:0 /a/pipe
            directory 0755 0:0 /etc
            file 0600 1:2 /etc/conf 1 B ea7aa1fc
            directory 0700 0:0 /fresh
            directory 0755 0:0 /usr
            directory 0755 0:0 /usr/bin
            file 4755 0:0 /usr/bin/sh 1 B 3d1d9223
        "#]],
    );
}

// spec 85
#[test]
fn deletions_are_whiteouts_where_there_was_something() {
    check(
        &[BASE, "w /etc/conf"],
        "rm -r a/d; rm a/x bin; mkdir t; touch t/f; rm -r t",
        expect![[r#"
        directory 0755 0:0 /
        directory 0755 0:0 /a
        whiteout /a/d
        whiteout /a/x
        whiteout /bin
    "#]],
    );
}

#[test]
fn a_directory_that_was_replaced_lists_what_is_gone() {
    check(
        &[BASE, "f /a/z 9"],
        "rm -r a; mkdir -p a/d; echo new > a/x; chmod 0700 a/d",
        expect![[r#"
            directory 0755 0:0 /
            directory 0755 0:0 /a
            directory 0700 0:0 /a/d
            whiteout /a/d/deep
            file 0644 0:0 /a/x 4 B 79d1d8da
            whiteout /a/y
            whiteout /a/z
        "#]],
    );
    // The same directory again, with some of what was in it.
    check(
        &[BASE],
        "cp -a a b; rm -r a; mv b a",
        expect![[r#"
        directory 0755 0:0 /
    "#]],
    );
}

#[test]
fn files_and_directories_take_each_others_places() {
    check(
        &[BASE],
        "rm -r a; echo file > a; rm bin; mkdir bin; echo x > bin/x; rm -r tmp; ln -s a tmp",
        expect![[r#"
            directory 0755 0:0 /
            file 0644 0:0 /a 5 B 1f5addd4
            directory 0755 0:0 /bin
            file 0644 0:0 /bin/x 2 B 44c77418
            symlink 0777 0:0 /tmp -> a
        "#]],
    );
}

#[test]
fn hard_links_are_grouped() {
    check(
        &[BASE],
        "echo one > z; ln z a/linked; ln z b; ln etc/conf etc/conf2",
        expect![[r#"
            directory 0755 0:0 /
            directory 0755 0:0 /a
            file 0644 0:0 /a/linked 4 B e0e63aa4
            hard link 0644 0:0 /b = /a/linked
            directory 0755 0:0 /etc
            file 0640 1:2 /etc/conf 1 B ea7aa1fc
            hard link 0640 1:2 /etc/conf2 = /etc/conf
            hard link 0644 0:0 /z = /a/linked
        "#]],
    );
}

#[test]
fn sockets_are_left_out_and_what_they_replaced_is_gone() {
    // Perl is part of every Debian.
    let perl = |name: &str| {
        format!("perl -MSocket -e 'socket(S,PF_UNIX,SOCK_STREAM,0); bind(S,sockaddr_un(\"{name}\")) or die'")
    };
    check(
        &[BASE],
        &format!("{}; rm a/x; {}", perl("tmp/s"), perl("a/x")),
        expect![[r#"
        directory 0755 0:0 /
        directory 0755 0:0 /a
        whiteout /a/x
    "#]],
    );
}

#[test]
fn extended_attributes_are_kept_but_for_those_of_overlays() {
    check(
        &["f /f x # 0644 user.a=1\nd /d # 0755 trusted.t=1"],
        "touch d/new; echo more >> f",
        expect![[r#"
            directory 0755 0:0 /
            directory 0755 0:0 /d trusted.t=1
            file 0644 0:0 /d/new 0 B af1349b9
            file 0644 0:0 /f 6 B ccd64efe user.a=1
        "#]],
    );
}

#[test]
fn a_whole_file_system_is_what_was_mounted() {
    let worlds = [layer(BASE), layer("w /a/y\nf /a/new 5\no /etc\nf /etc/other 1")];
    let overlay = Overlay::mount(&worlds);
    let mut bytes = Vec::new();
    export_stack(overlay.below(), ROOT, TarOptions::FILE_SYSTEM, &mut bytes).unwrap();
    let seen: Vec<String> = overlay.below().walk(ROOT).map(|found| found.entry.to_string()).collect();
    let mounted: Vec<String> = scan_tree(&overlay.tree()).unwrap().iter().map(|entry| entry.to_string()).collect();
    assert_eq!(seen, mounted);
}
