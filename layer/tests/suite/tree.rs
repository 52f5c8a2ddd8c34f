//! Writing trees: attributes, replacing, removing, links, holes, threads.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use expect_test::{Expect, expect};
use layer::tar::{Limits, TarOptions, export_layer};
use layer::tree::{Tree, scan_tree};
use layer::unpack::unpack_layer;
use layer::{ContentHash, FileRange, FileSource, Follow, Metadata, MetadataBuf, Stack, TreeError, TreeWriter};
use tempfile::TempDir;

use crate::world::{ROOT, World, layer, layer_on, metadata, open, path, stack, temporary};

const FILE: Metadata<'static> = Metadata { mode: 0o644, ..Metadata::IMPLIED_DIRECTORY };

/// Checks the entries of a layer, and that reading its tree back gives the same.
#[track_caller]
fn check(world: &World, expected: Expect) {
    expected.assert_eq(&world.layer.entries.to_string());
    let read_back = scan_tree(&Tree::new(open(&world.directory))).unwrap();
    assert_eq!(read_back.to_string(), world.layer.entries.to_string());
}

fn writer(directory: &TempDir) -> TreeWriter {
    TreeWriter::new(open(directory), Stack::default()).unwrap()
}

#[test]
fn every_kind_of_file_gets_its_attributes() {
    check(
        &layer(
            r"f /bin/su root # 4755 0:7 @1700000000.123456789 user.note=x security.capability=\x01\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00
            f /empty
            d /tmp # 1777 5:6 @12 user.d=1 trusted.t=2
            l /link -> /bin/su # 0777 8:9 @-5.25
            c /dev/null 1:3 # 0666 1:2 @7 trusted.c=x
            b /dev/disk 259:65537 # 0660
            p /pipe # 0600 3:3
            h /bin/sudo = /bin/su
            f /odd\xff\x0aname x",
        ),
        expect![[r#"
            directory 0755 0:0 / @0
            directory 0755 0:0 /bin @0
            file 4755 0:7 /bin/su 4 B 92a2b787 @1700000000.123456789 security.capability=\u{1}\u{0}\u{0}\u{2}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0} user.note=x
            hard link 4755 0:7 /bin/sudo = /bin/su @1700000000.123456789 security.capability=\u{1}\u{0}\u{0}\u{2}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0} user.note=x
            directory 0755 0:0 /dev @0
            block device 0660 0:0 /dev/disk 259:65537 @0
            character device 0666 1:2 /dev/null 1:3 @7 trusted.c=x
            file 0644 0:0 /empty 0 B af1349b9 @0
            symlink 0777 8:9 /link -> /bin/su @-5.250000000
            file 0644 0:0 /odd�\nname 1 B 3ae7d805 @0
            fifo 0600 3:3 /pipe @0
            directory 1777 5:6 /tmp @12 trusted.t=2 user.d=1
        "#]],
    );
}

#[test]
fn the_mask_of_the_process_and_the_rules_of_the_directory_do_not_matter() {
    let expected = layer("f /d/x 1 # 0666\nd /d # 2777 1:1\np /p # 0622\nf /s 1 # 6755 5:5");
    let directory = temporary();
    // A directory that passes its group on, in a process that takes most bits away.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o2777)).unwrap();
    std::os::unix::fs::chown(directory.path(), Some(3), Some(3)).unwrap();
    let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let writer = writer(&directory);
    let put = |name: &str, attributes| {
        writer
            .make_file(path(name).as_path(), &metadata(attributes, 0).as_metadata(), FileSource::Bytes(b"1"))
            .unwrap();
    };
    writer.make_directory(path("d").as_path(), &metadata("2777 1:1", 0).as_metadata()).unwrap();
    put("d/x", "0666");
    put("s", "6755 5:5");
    writer.make_special(path("p").as_path(), layer::Special::Fifo, &metadata("0622", 0).as_metadata()).unwrap();
    assert_eq!(writer.finish().unwrap().entries, expected.layer.entries);
    rustix::process::umask(mask);
    let mode = |name: &str| fs::symlink_metadata(directory.path().join(name)).unwrap().mode() & 0o7777;
    assert_eq!([mode(""), mode("d"), mode("d/x"), mode("p"), mode("s")], [0o755, 0o2777, 0o666, 0o622, 0o6755]);
}

#[test]
fn directories_that_are_only_beneath_are_brought_up_as_they_are() {
    let base = [layer("d /usr # 0711 1:2 @99 user.a=b\nd /usr/local # 1777\nf /usr/local/x old")];
    check(
        &layer_on(&stack(&base), "f /usr/local/x new"),
        expect![[r#"
        directory 0755 0:0 / @0
        directory 0711 1:2 /usr @99 user.a=b
        directory 1777 0:0 /usr/local @0
        file 0644 0:0 /usr/local/x 3 B b20ab0a0 @0
    "#]],
    );
}

#[test]
fn what_is_removed_is_deleted_beneath_and_stays_so_in_new_directories() {
    let base = [layer("f /a/b/x 1\nf /a/b/y 1\nf /a/c 1\nf /f 1")];
    let below = stack(&base);
    let directory = temporary();
    let writer = TreeWriter::new(open(&directory), below.clone()).unwrap();
    let remove = |name: &str| writer.remove(path(name).as_path()).unwrap();
    assert!(remove("a/b"), "beneath only");
    assert!(!remove("a/b"), "gone already");
    assert!(!remove("nope/x"));
    assert!(remove("f"));
    assert_eq!(writer.lookup(path("a/b/x").as_path()), None);
    let directory_metadata = Metadata::IMPLIED_DIRECTORY;
    writer.make_directory(path("a/b").as_path(), &directory_metadata).unwrap();
    assert_eq!(writer.lookup(path("a/b/x").as_path()), None, "what was deleted does not come back");
    writer.make_file(path("a/b/y").as_path(), &FILE, FileSource::Bytes(b"2")).unwrap();
    writer.make_file(path("n/o").as_path(), &FILE, FileSource::Bytes(b"")).unwrap_err();
    writer.make_directory(path("n").as_path(), &directory_metadata).unwrap();
    writer.make_file(path("n/o").as_path(), &FILE, FileSource::Bytes(b"")).unwrap();
    assert!(remove("n"), "here only");
    let entries = writer.finish().unwrap().entries;
    expect![[r#"
        directory 0755 0:0 / @0
        directory 0755 0:0 /a @0
        directory 0755 0:0 /a/b @0
        whiteout /a/b/x
        file 0644 0:0 /a/b/y 1 B 813e9b72 @0
        whiteout /f
    "#]]
    .assert_eq(&entries.to_string());
    assert_eq!(scan_tree(&Tree::new(open(&directory))).unwrap(), entries);
}

#[test]
fn files_replace_files_and_links_keep_what_they_led_to() {
    let directory = temporary();
    let writer = writer(&directory);
    let file =
        |name: &str, text: &str| writer.make_file(path(name).as_path(), &FILE, FileSource::Bytes(text.as_bytes()));
    let link = |name: &str, target: &str| writer.make_hard_link(path(name).as_path(), path(target).as_path());
    file("b", "one").unwrap();
    link("c", "b").unwrap();
    link("d", "c").unwrap();
    link("a", "b").unwrap();
    link("a", "a").unwrap();
    // The old file lives on under its other names.
    file("b", "two").unwrap();
    file("c", "three").unwrap();
    writer.make_symlink(path("s").as_path(), b"a", &FILE).unwrap();
    link("t", "s").unwrap();
    let entries = writer.finish().unwrap().entries;
    expect![[r#"
        directory 0755 0:0 / @0
        file 0644 0:0 /a 3 B d33fb48a @0
        file 0644 0:0 /b 3 B dc770fff @0
        file 0644 0:0 /c 5 B dbec0e68 @0
        hard link 0644 0:0 /d = /a @0
        symlink 0777 0:0 /s -> a @0
        hard link 0777 0:0 /t = /s @0
    "#]]
    .assert_eq(&entries.to_string());
    assert_eq!(scan_tree(&Tree::new(open(&directory))).unwrap(), entries);
}

#[test]
fn a_link_to_a_file_beneath_brings_it_up() {
    let base = [layer("f /usr/x content # 4755 1:1 @5\nl /sym -> x")];
    check(
        &layer_on(&stack(&base), "h /y = /usr/x"),
        expect![[r#"
        directory 0755 0:0 / @0
        directory 0755 0:0 /usr @0
        file 4755 1:1 /usr/x 7 B 3fba5250 @5
        hard link 4755 1:1 /y = /usr/x @5
    "#]],
    );
}

#[test]
fn what_cannot_be_done_is_said() {
    let base = [layer("f /beneath/file x\nl /sym -> beneath")];
    let directory = temporary();
    let writer = TreeWriter::new(open(&directory), stack(&base)).unwrap();
    writer.make_file(path("file").as_path(), &FILE, FileSource::Bytes(b"")).unwrap();
    let file = |name: &str| writer.make_file(path(name).as_path(), &FILE, FileSource::Bytes(b"")).unwrap_err();
    let directory = |name: &str| writer.make_directory(path(name).as_path(), &FILE).unwrap_err();
    let link =
        |name: &str, target: &str| writer.make_hard_link(path(name).as_path(), path(target).as_path()).unwrap_err();
    let errors = [
        file("missing/x"),
        file("file/x"),
        file("beneath/file/x"),
        file("sym/x"),
        file("beneath"),
        file(""),
        directory("file"),
        directory("beneath/file"),
        directory("sym"),
        link("l", "beneath"),
        link("l", "missing"),
        link("beneath", "file"),
        writer.make_whiteout(path("file").as_path()).unwrap_err(),
        writer.remove(ROOT).unwrap_err(),
        TreeWriter::new(open(&base[0].directory), Stack::default()).map(|_| ()).unwrap_err(),
    ];
    let texts: Vec<String> = errors.iter().map(TreeError::to_string).collect();
    expect![[r#"
        cannot create `/missing/x`: no such file or directory: `/missing`
        cannot create `/file/x`: `/file` is not a directory
        cannot create `/beneath/file/x`: `/beneath/file` is not a directory
        cannot create `/sym/x`: `/sym` is not a directory
        cannot create the file `/beneath`: there is a directory already
        cannot create the file `/`: there is a directory already
        cannot create the directory `/file`: there is a file already
        cannot create the directory `/beneath/file`: there is a file already
        cannot create the directory `/sym`: there is a symlink already
        cannot create the hard link `/l`: `/beneath` is not a file of the same layer
        cannot create the hard link `/l`: `/missing` is not a file of the same layer
        cannot create the hard link `/beneath`: there is a directory already
        cannot create the whiteout `/file`: there is a file already
        cannot remove `/` from a layer
        cannot use the root directory of a new layer"#]]
    .assert_eq(&texts.join("\n"));
}

#[test]
fn attributes_that_the_file_system_does_not_take_stay_in_the_list() {
    let directory = temporary();
    let writer = writer(&directory);
    let metadata = metadata("0644 user.note=1 unknown.namespace=2", 0);
    writer.make_file(path("file").as_path(), &metadata.as_metadata(), FileSource::Bytes(b"")).unwrap();
    // Only files and directories have attributes of users.
    writer.make_symlink(path("link").as_path(), b"file", &metadata.as_metadata()).unwrap();
    let finished = writer.finish().unwrap();
    assert_eq!(finished.lost_xattrs.count, 3);
    assert_eq!(finished.lost_xattrs.first, Some(("/file".to_owned(), "unknown.namespace".to_owned())));
    expect![[r#"
        directory 0755 0:0 / @0
        file 0644 0:0 /file 0 B af1349b9 @0 unknown.namespace=2 user.note=1
        symlink 0777 0:0 /link -> file @0 unknown.namespace=2 user.note=1
    "#]]
    .assert_eq(&finished.entries.to_string());
    let read_back = scan_tree(&Tree::new(open(&directory))).unwrap();
    assert_eq!(read_back.get(path("file").as_path()).unwrap().metadata.xattrs.get(b"user.note"), Some(b"1".as_slice()));
}

#[test]
fn a_source_that_is_not_what_it_should_be_leaves_nothing() {
    let directory = temporary();
    let mut source = tempfile::tempfile().unwrap();
    source.write_all(b"content").unwrap();
    let writer = writer(&directory);
    let write = |range: FileRange, content| {
        let made = writer.make_file(path("x").as_path(), &FILE, FileSource::Range { range: &range, content });
        made.unwrap_err().to_string()
    };
    let range = |size_bytes| FileRange::new(source.try_clone().unwrap(), 0, size_bytes);
    let errors = [write(range(9), None), write(range(7), Some(ContentHash::of(b"other")))];
    expect![[r#"
        `/x` changed while it was copied: expected 9 bytes, got 7
        damaged layer: the content of `/x` should have the hash 3f796163ebf94718de1cd7582655c012f995c06f1e6970ea2bdc15bcd88a324a, it has 3fba5250be9ac259c56e7250c526bc83bacb4be825f2799d3d59e5b4878dd74e"#]].assert_eq(&errors.join("\n"));
    struct Failing;
    impl std::io::Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the network is down"))
        }
    }
    let failed = writer.make_file(path("x").as_path(), &FILE, FileSource::Reader(&mut Failing)).unwrap_err();
    assert_eq!(failed.to_string(), "cannot read the content of `/x`");
    drop(writer.file_slot(path("y").as_path(), &FILE).unwrap());
    assert_eq!(writer.finish().unwrap().entries.count(), 1);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn holes_stay_holes() {
    const MIB: u64 = 1 << 20;
    let directory = temporary();
    let source = tempfile::tempfile().unwrap();
    source.write_all_at(b"start", 0).unwrap();
    source.write_all_at(b"middle", 20 * MIB).unwrap();
    source.set_len(50 * MIB).unwrap();
    let mut bytes = vec![0; 50 << 20];
    source.read_at(&mut bytes, 0).unwrap();
    let content = ContentHash::of(&bytes);
    let range = FileRange::whole(source).unwrap();
    let writer = writer(&directory);
    let sources = [
        FileSource::Bytes(&bytes),
        FileSource::Reader(&mut bytes.as_slice()),
        FileSource::Range { range: &range, content: None },
        FileSource::Range { range: &range, content: Some(content) },
    ];
    for (number, source) in sources.into_iter().enumerate() {
        let name = format!("f{number}");
        let written = writer.make_file(path(&name).as_path(), &FILE, source).unwrap();
        assert_eq!((written.size_bytes, written.content), (50 * MIB, content), "{name}");
        let file = File::open(directory.path().join(&name)).unwrap();
        assert!(file.metadata().unwrap().blocks() * 512 < MIB, "{name} has holes");
        let mut copy = vec![1; 50 << 20];
        file.read_exact_at(&mut copy, 0).unwrap();
        assert!(copy == bytes, "{name} has the same bytes");
    }
}

#[test]
fn large_files_are_copied_whole_whichever_way() {
    let directory = temporary();
    let source = tempfile::tempfile().unwrap();
    let bytes: Vec<u8> = (0..9_000_001u32).map(|at| (at % 251) as u8).collect();
    source.write_all_at(&bytes, 0).unwrap();
    let writer = writer(&directory);
    let (start, size_bytes) = (4096, 8_500_000);
    let piece = &bytes[start as usize..(start + size_bytes) as usize];
    let content = ContentHash::of(piece);
    let range = FileRange::new(source, start, size_bytes);
    for known in [None, Some(content)] {
        let source = FileSource::Range { range: &range, content: known };
        let written = writer.make_file(path("x").as_path(), &FILE, source).unwrap();
        assert_eq!((written.size_bytes, written.content), (size_bytes, content));
        assert!(fs::read(directory.path().join("x")).unwrap() == piece);
    }
    let longer = FileRange::new(File::open(directory.path().join("x")).unwrap(), 0, size_bytes + 3_000_000);
    let source = FileSource::Range { range: &longer, content: None };
    let refused = writer.make_file(path("y").as_path(), &FILE, source).unwrap_err();
    assert_eq!(refused.to_string(), "`/y` changed while it was copied: expected 11500000 bytes, got 8500000");
}

#[test]
fn paths_longer_than_a_system_call_takes_work() {
    let name = "n".repeat(200);
    let mut deep = path("");
    let directory = temporary();
    let writer = writer(&directory);
    for _ in 0..40 {
        deep = deep.as_path().child(name.as_bytes()).unwrap();
    }
    let file = deep.as_path().child(b"file").unwrap();
    writer.make_parents(file.as_path(), &Metadata::IMPLIED_DIRECTORY).unwrap();
    writer.make_file(file.as_path(), &FILE, FileSource::Bytes(b"deep")).unwrap();
    writer.make_hard_link(deep.as_path().child(b"link").unwrap().as_path(), file.as_path()).unwrap();
    let entries = writer.finish().unwrap().entries;
    let tree = Tree::new(open(&directory));
    assert_eq!(scan_tree(&tree).unwrap(), entries);
    let world = layer::Layer { entries, content: layer::Content::Tree(tree) };
    let below = Stack::new(vec![world]);
    let found = below.lookup(file.as_path()).unwrap();
    assert_eq!(below.open(&found).unwrap().size_bytes(), 4);
    let mut tar = Vec::new();
    export_layer(&below.layers()[0], TarOptions::LAYER, &mut tar).unwrap();
    let pulled = temporary();
    let unpacked = unpack_layer(tar.as_slice(), open(&pulled), Limits::default()).unwrap();
    assert_eq!(unpacked.entries, below.layers()[0].entries);
    // Removing works too.
    let above = temporary();
    let writer = TreeWriter::new(open(&above), below).unwrap();
    assert!(writer.remove(path(&name).as_path()).unwrap());
    let too_deep = "x/".repeat(8200);
    let refused = layer::EntryPath::parse(&too_deep.as_bytes()[..too_deep.len() - 1]).unwrap_err();
    assert!(refused.to_string().starts_with("path too long"), "{refused}");
}

#[test]
fn threads_write_side_by_side() {
    let directory = temporary();
    let one = temporary();
    let (parallel, sequential) = (writer(&directory), writer(&one));
    let put = |writer: &TreeWriter, thread: usize| {
        for number in 0..60 {
            let at = path(&format!("d{}/e/f{thread}-{number}", number % 7));
            writer.make_parents(at.as_path(), &Metadata::IMPLIED_DIRECTORY).unwrap();
            let text = format!("{thread} {number}");
            writer.make_file(at.as_path(), &FILE, FileSource::Bytes(text.as_bytes())).unwrap();
            // All threads fight for this one.
            writer.make_file(path("shared").as_path(), &FILE, FileSource::Bytes(b"same")).unwrap();
        }
    };
    std::thread::scope(|scope| {
        let put = &put;
        let parallel = &parallel;
        (0..4).for_each(|thread| drop(scope.spawn(move || put(parallel, thread))));
    });
    (0..4).for_each(|thread| put(&sequential, thread));
    assert_eq!(parallel.finish().unwrap().entries, sequential.finish().unwrap().entries);
}

#[test]
fn paths_are_resolved_in_the_merged_view() {
    let base = [layer("l /lib -> usr/lib\nd /usr/lib\nf /srv/x 1\nl /var/srv -> /srv")];
    let directory = temporary();
    let writer = TreeWriter::new(open(&directory), stack(&base)).unwrap();
    let metadata = MetadataBuf::default();
    writer.make_symlink(path("usr/lib/here").as_path(), b"../../opt", &metadata.as_metadata()).unwrap();
    writer.remove(path("srv").as_path()).unwrap();
    let resolve = |written: &str| writer.resolve(written.as_bytes(), Follow::All).unwrap().to_string();
    assert_eq!(resolve("lib/x"), "/usr/lib/x");
    assert_eq!(resolve("lib/here/y"), "/opt/y");
    assert_eq!(resolve("var/srv/x"), "/srv/x");
    let within = |root: &str, written: &str| {
        writer.resolve_within(path(root).as_path(), written.as_bytes(), Follow::All).unwrap().to_string()
    };
    assert_eq!(within("usr", "lib/here/z"), "/usr/opt/z");
    assert_eq!(within("usr/lib", "../../here/./z"), "/usr/lib/opt/z");
}
