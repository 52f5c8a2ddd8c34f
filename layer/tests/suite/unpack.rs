//! Unpacking: layers in overlay form, archives into a layer, and whatever wants to get out.

use std::fs;
use std::io::Write;

use expect_test::{Expect, expect};
use layer::compression::Compression;
use layer::tar::{Limits, TarOptions, Writer, export_layer};
use layer::tree::{Tree, scan_tree};
use layer::unpack::{ArchiveOptions, UnpackError, UnpackedLayer, unpack_archive, unpack_layer};
use layer::{Content, ContentHash, Entry, Kind, Layer, Metadata, TreeWriter};
use oci::Digest;

use crate::packed::{assert_same, pack};
use crate::world::{World, layer, layer_on, metadata, open, path, stack, temporary};

/// Makes a tar of members as they are, names and order included. A line is as in [`crate::world`], the name may be anything.
fn archive(lines: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (line, attributes) = line.split_once(" # ").unwrap_or((line, ""));
        let (kind, rest) = line.split_once(' ').unwrap();
        let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let metadata = metadata(attributes, if kind == "d" { 0o755 } else { 0o644 });
        let (type_flag, content, link) = match kind {
            "d" => (b'5', "", ""),
            "f" => (b'0', rest, ""),
            "h" => (b'1', "", &rest[2..]),
            "l" => (b'2', "", &rest[3..]),
            "c" => (b'3', "", ""),
            "p" => (b'6', "", ""),
            other => panic!("unknown kind `{other}`"),
        };
        let mut block = [0u8; 512];
        let mut put = |at: usize, field: &[u8]| block[at..at + field.len()].copy_from_slice(field);
        put(0, name.as_bytes());
        put(100, format!("{:07o}", metadata.mode).as_bytes());
        put(108, format!("{:07o}", metadata.uid).as_bytes());
        put(116, format!("{:07o}", metadata.gid).as_bytes());
        put(124, format!("{:011o}", content.len()).as_bytes());
        put(136, format!("{:011o}", metadata.mtime.seconds).as_bytes());
        put(148, b"        ");
        put(156, &[type_flag]);
        put(157, link.as_bytes());
        put(257, b"ustar\x0000");
        if kind == "c" {
            let (major, minor) = rest.split_once(':').unwrap();
            put(329, format!("{:07o}", major.parse::<u32>().unwrap()).as_bytes());
            put(337, format!("{:07o}", minor.parse::<u32>().unwrap()).as_bytes());
        }
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes.extend_from_slice(&block);
        bytes.extend_from_slice(content.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut error = error.source();
    while let Some(cause) = error {
        text.push_str(&format!(": {cause}"));
        error = cause.source();
    }
    text
}

fn unpack(bytes: &[u8]) -> Result<(World, UnpackedLayer), UnpackError> {
    let directory = temporary();
    let packed = pack(bytes);
    let unpacked = unpack_layer(bytes, open(&directory), Limits::default());
    let unpacked = unpacked.inspect_err(|error| assert_eq!(chain(&packed.as_ref().unwrap_err()), chain(error)))?;
    let content = Content::Tree(Tree::new(open(&directory)));
    let layer = Layer { entries: unpacked.entries.clone(), content };
    let (in_packs, packed) = packed.unwrap();
    assert_eq!((packed.diff_id, packed.size_bytes), (unpacked.diff_id, unpacked.size_bytes));
    assert_same(&layer, &in_packs);
    Ok((World { directory, layer }, unpacked))
}

/// Unpacks a layer, and checks that the tree is what the list says.
#[track_caller]
fn check(lines: &str, expected: Expect) {
    let bytes = archive(lines);
    match unpack(&bytes) {
        Err(error) => expected.assert_eq(&chain(&error)),
        Ok((world, unpacked)) => {
            assert_eq!((unpacked.diff_id, unpacked.size_bytes), (Digest::of(&bytes), bytes.len() as u64));
            expected.assert_eq(&unpacked.entries.to_string());
            assert_eq!(scan_tree(&Tree::new(open(&world.directory))).unwrap(), unpacked.entries);
        }
    }
}

#[test]
fn directories_may_come_late_or_never() {
    check(
        "f ./a/b/late x\nd a/b/ # 0700 @5\nf implied/by/this y\nd ./ # 0711 3:3 @9",
        expect![[r#"
        directory 0711 3:3 / @9
        directory 0755 0:0 /a @0
        directory 0700 0:0 /a/b @5
        file 0644 0:0 /a/b/late 1 B 3ae7d805 @0
        directory 0755 0:0 /implied @0
        directory 0755 0:0 /implied/by @0
        file 0644 0:0 /implied/by/this 1 B 08112a9e @0
    "#]],
    );
}

#[test]
fn of_two_entries_with_one_path_the_later_counts() {
    check(
        "f a 1\nf a 22\nd b\nf b/in x\nf b 3\nf c 4\nd c # 0700\nf c/in x\nd c # 0750\nl d -> a\nf d 5",
        expect![[r#"
            directory 0755 0:0 / @0
            file 0644 0:0 /a 2 B 93aed7df @0
            file 0644 0:0 /b 1 B 58d6fd3d @0
            directory 0750 0:0 /c @0
            file 0644 0:0 /c/in 1 B 3ae7d805 @0
            file 0644 0:0 /d 1 B b3372b58 @0
        "#]],
    );
}

#[test]
fn whiteouts_delete_what_is_beneath_and_nothing_of_their_own_layer() {
    check(
        "f .wh.gone\nf d/.wh.x\nf d/y 1\nf kept 1\nf .wh.kept\nf .wh.anew\nd anew\nf anew/z 1\nd before\nf .wh.before\n\
         f .wh.file\nf file 1\nf deep/.wh.dir\nf deep/dir/implied 1\nf twice/.wh.a\nf twice/.wh.a",
        expect![[r#"
            directory 0755 0:0 / @0
            opaque directory 0755 0:0 /anew @0
            file 0644 0:0 /anew/z 1 B d63bd9a8 @0
            opaque directory 0755 0:0 /before @0
            directory 0755 0:0 /d @0
            whiteout /d/x
            file 0644 0:0 /d/y 1 B d63bd9a8 @0
            directory 0755 0:0 /deep @0
            opaque directory 0755 0:0 /deep/dir @0
            file 0644 0:0 /deep/dir/implied 1 B d63bd9a8 @0
            file 0644 0:0 /file 1 B d63bd9a8 @0
            whiteout /gone
            file 0644 0:0 /kept 1 B d63bd9a8 @0
            directory 0755 0:0 /twice @0
            whiteout /twice/a
        "#]],
    );
}

#[test]
fn opaque_markers_and_the_bookkeeping_of_aufs() {
    check(
        "d d\nf d/x 1\nf d/.wh..wh..opq\nf implied/.wh..wh..opq\nd .wh..wh.aufs\nf .wh..wh.plnk 1\nf .wh..wh.orph/1 1\nc over 0:0",
        expect![[r#"
            directory 0755 0:0 / @0
            opaque directory 0755 0:0 /d @0
            file 0644 0:0 /d/x 1 B d63bd9a8 @0
            opaque directory 0755 0:0 /implied @0
            whiteout /over
        "#]],
    );
}

#[test]
fn a_whiteout_of_nothing_is_refused() {
    for name in [".wh.", ".wh..", ".wh...", "d/.wh."] {
        let error = unpack(&archive(&format!("f {name}"))).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot unpack `{name}`: invalid whiteout name"));
    }
}

#[test]
fn links_of_the_layer_are_followed_inside_the_root() {
    check(
        "d usr/lib\nl lib -> usr/lib\nf lib/x 1\nl abs -> /usr\nf abs/lib/y 1\nl up -> ../../../../usr\nf up/z 1\n\
         l new -> not/yet\nf new/n 1\nh linked = abs/lib/y\nf lib/.wh.w",
        expect![[r#"
            directory 0755 0:0 / @0
            symlink 0777 0:0 /abs -> /usr @0
            symlink 0777 0:0 /lib -> usr/lib @0
            file 0644 0:0 /linked 1 B d63bd9a8 @0
            symlink 0777 0:0 /new -> not/yet @0
            directory 0755 0:0 /not @0
            directory 0755 0:0 /not/yet @0
            file 0644 0:0 /not/yet/n 1 B d63bd9a8 @0
            symlink 0777 0:0 /up -> ../../../../usr @0
            directory 0755 0:0 /usr @0
            directory 0755 0:0 /usr/lib @0
            whiteout /usr/lib/w
            file 0644 0:0 /usr/lib/x 1 B d63bd9a8 @0
            hard link 0644 0:0 /usr/lib/y = /linked @0
            file 0644 0:0 /usr/z 1 B d63bd9a8 @0
        "#]],
    );
}

#[test]
fn nothing_ever_leaves_the_root() {
    let outside = temporary();
    fs::write(outside.path().join("victim"), "safe").unwrap();
    let target = outside.path().display();
    let world = |lines: &str| unpack(&archive(lines)).map(|(world, _)| world);
    let lines = format!(
        "l out -> {target}\nf out/victim evil\nf out/new evil\nf ../../../..{target}/victim evil\nf {target}/victim evil\n\
         l victim -> {target}/victim\nf victim evil\nl dir -> {target}\nd dir\nh dir/hard = {target}/victim\nf out/.wh.victim"
    );
    let world = world(&lines).unwrap();
    assert_eq!(fs::read_to_string(outside.path().join("victim")).unwrap(), "safe");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    // What was meant for outside is at the same place inside.
    let inside = path(&format!("{target}/new"));
    assert!(world.layer.entries.get(inside.as_path()).is_some());
}

#[test]
fn what_cannot_be_unpacked_is_said() {
    check("h a = missing", expect!["cannot create the hard link `/a`: `/missing` is not a file of the same layer"]);
    check("d d\nh a = d", expect!["cannot create the hard link `/a`: `/d` is not a file of the same layer"]);
    check("f a 1\nf a/b 2", expect!["cannot create `/a/b`: `/a` is not a directory"]);
    check(
        "l a -> b\nl b -> a\nf a/x 1",
        expect!["cannot unpack `a/x`: too many levels of symbolic links in `a`: more than 255"],
    );
    check("f . x", expect!["cannot unpack `.`: it would replace the root directory"]);
    let error = unpack(b"\x1f\x8b\x08garbage that is not gzip").map(|_| ()).unwrap_err();
    expect!["cannot read the archive at byte 0: cannot decompress the gzip stream: invalid gzip header"]
        .assert_eq(&chain(&error));
    let whole = archive("f a 12345");
    let error = unpack(&whole[..514]).map(|_| ()).unwrap_err();
    expect!["cannot read the content of `/a`: unexpected end of the archive at byte 514: it is truncated"]
        .assert_eq(&chain(&error));
}

#[test]
fn a_pulled_layer_is_hashed_as_it_travelled() {
    let tar = archive("f a 1\nf b 2");
    // What is behind the end belongs to the digest.
    let tar = [tar.as_slice(), &[0; 9216]].concat();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let (_, unpacked) = unpack(&gzip.finish().unwrap()).unwrap();
    assert_eq!((unpacked.diff_id, unpacked.size_bytes), (Digest::of(&tar), tar.len() as u64));
    assert_eq!(unpacked.compression, Compression::Gzip);
}

#[test]
fn an_empty_stream_is_an_empty_layer() {
    let (world, unpacked) = unpack(b"").unwrap();
    assert_eq!(unpacked.diff_id, Digest::of(b""));
    expect![[r#"
        directory 0755 0:0 / @0
    "#]]
    .assert_eq(&world.layer.entries.to_string());
}

#[test]
fn a_stream_that_breaks_is_an_error() {
    struct Broken(Vec<u8>);
    impl std::io::Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Err(std::io::Error::new(std::io::ErrorKind::ConnectionReset, "connection reset"));
            }
            let count = buffer.len().min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0.drain(..count);
            Ok(count)
        }
    }
    let tar = archive("f a 1\nf b 2");
    for cut in [0, 100, 512, 700, 1024, tar.len()] {
        let error = unpack_layer(Broken(tar[..cut].to_vec()), open(&temporary()), Limits::default()).unwrap_err();
        assert!(chain(&error).ends_with(": connection reset"), "{cut}: {}", chain(&error));
    }
}

#[test]
fn large_and_small_files_and_links_between_them_come_in_any_order() {
    let mut writer = Writer::new(Vec::new(), TarOptions::LAYER);
    let metadata = Metadata { mode: 0o644, ..Metadata::IMPLIED_DIRECTORY };
    let mut expected = Vec::new();
    for number in 0..700u32 {
        let name = format!("d{}/f{number}", number % 5);
        let at = path(&name);
        let size = if number % 100 == 7 { 1_500_000 } else { number as usize * 13 };
        let bytes: Vec<u8> = (0..size).map(|at| (at as u32 * number) as u8).collect();
        let content = ContentHash::of(&bytes);
        let kind = Kind::File { size_bytes: size as u64, content };
        writer.append(&Entry { path: at.as_path(), kind, metadata }, &mut bytes.as_slice()).unwrap();
        expected.push((at.clone(), size as u64, content));
        if number % 3 == 0 {
            // A link to a file that may still be on its way, a file that replaces one that may be.
            let link = path(&format!("{name}-link"));
            let kind = Kind::HardLink { target: at.as_path() };
            writer.append(&Entry { path: link.as_path(), kind, metadata }, &mut std::io::empty()).unwrap();
            let again = path(&format!("again{}", number % 2));
            let kind = Kind::File { size_bytes: 1, content };
            writer.append(&Entry { path: again.as_path(), kind, metadata }, &mut b"x".as_slice()).unwrap();
        }
    }
    let (world, unpacked) = unpack(&writer.finish().unwrap()).unwrap();
    for (at, size_bytes, content) in expected {
        let index = match unpacked.entries.find(at.as_path()) {
            layer::Place::At(index) => unpacked.entries.target(index),
            missing => panic!("{at}: {missing:?}"),
        };
        assert_eq!(unpacked.entries.entry(index).kind, Kind::File { size_bytes, content }, "{at}");
    }
    assert_eq!(scan_tree(&Tree::new(open(&world.directory))).unwrap(), unpacked.entries);
}

#[test]
fn a_million_empty_entries_stop_at_the_limit() {
    let mut member = archive("f x");
    member.truncate(512);
    struct Forever(Vec<u8>, u64);
    impl std::io::Read for Forever {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let at = (self.1 % 512) as usize;
            let count = buffer.len().min(512 - at);
            buffer[..count].copy_from_slice(&self.0[at..at + count]);
            self.1 += count as u64;
            Ok(count)
        }
    }
    let limits = Limits { entries_max: 500, ..Limits::default() };
    let error = unpack_layer(Forever(member, 0), open(&temporary()), limits).unwrap_err();
    assert_eq!(error.to_string(), "the archive has more than 500 entries");
}

/// Unpacks an archive on top of a layer into a directory of it.
#[track_caller]
fn check_archive(base: &str, destination: &str, lines: &str, options: ArchiveOptions, expected: Expect) {
    let base = [layer(base)];
    let directory = temporary();
    let writer = TreeWriter::new(open(&directory), stack(&base)).unwrap();
    let bytes = archive(lines);
    match unpack_archive(bytes.as_slice(), &writer, path(destination).as_path(), options) {
        Err(error) => expected.assert_eq(&chain(&error)),
        Ok(unpacked) => {
            let entries = writer.finish().unwrap().entries;
            assert_eq!(scan_tree(&Tree::new(open(&directory))).unwrap(), entries);
            let left_out =
                unpacked.first_left_out.map(|first| format!(", {} left out, first {first}", unpacked.left_out));
            expected.assert_eq(&format!("{entries}{} entries{}\n", unpacked.entries, left_out.unwrap_or_default()));
        }
    }
}

#[test]
fn an_archive_is_files_whatever_their_names() {
    check_archive(
        "d /etc",
        "/",
        "d ./ # 0700\nf etc/.wh.passwd x\nf .wh..wh..opq x\nf bin/sh x # 4755 1:2 @7\nl usr -> etc # 0777 5:6\nc dev/null 1:3\np pipe",
        ArchiveOptions::default(),
        expect![[r#"
            directory 0755 0:0 / @0
            file 0644 0:0 /.wh..wh..opq 1 B 3ae7d805 @0
            directory 0755 0:0 /bin @0
            file 4755 1:2 /bin/sh 1 B 3ae7d805 @7
            directory 0755 0:0 /etc @0
            file 0644 0:0 /etc/.wh.passwd 1 B 3ae7d805 @0
            symlink 0777 5:6 /usr -> etc @0
            4 entries, 2 left out, first /dev/null
        "#]],
    );
}

#[test]
fn an_archive_goes_through_the_links_of_the_image_and_stays_in_its_destination() {
    check_archive(
        "d /usr/lib\nl /lib -> usr/lib\nd /app/data\nl /app/link -> /data\nl /app/up -> ../../../data",
        "/",
        "f lib/x 1\nh y = lib/x",
        ArchiveOptions::default(),
        expect![[r#"
            directory 0755 0:0 / @0
            directory 0755 0:0 /usr @0
            directory 0755 0:0 /usr/lib @0
            file 0644 0:0 /usr/lib/x 1 B d63bd9a8 @0
            hard link 0644 0:0 /y = /usr/lib/x @0
            2 entries
        "#]],
    );
    check_archive(
        "d /data\nd /app/data\nl /app/link -> /data\nl /app/up -> ../../../data",
        "/app",
        "f link/x 1\nf up/y 1\nl evil -> ../../..\nf evil/z 1",
        ArchiveOptions::default(),
        expect![[r#"
            directory 0755 0:0 / @0
            directory 0755 0:0 /app @0
            directory 0755 0:0 /app/data @0
            file 0644 0:0 /app/data/x 1 B d63bd9a8 @0
            file 0644 0:0 /app/data/y 1 B d63bd9a8 @0
            symlink 0777 0:0 /app/evil -> ../../.. @0
            file 0644 0:0 /app/z 1 B d63bd9a8 @0
            4 entries
        "#]],
    );
}

#[test]
fn an_archive_replaces_what_is_in_its_way() {
    check_archive(
        "f /d/deep/x 1\nf /f 1\nl /l -> d\nf /same 1",
        "/",
        "f d now-a-file\nd f # 0700\nf l now-a-file\nf same 2\nd new\nf new 1\nd new\nf new/x 1",
        ArchiveOptions::default(),
        expect![[r#"
            directory 0755 0:0 / @0
            file 0644 0:0 /d 10 B 6e804110 @0
            directory 0700 0:0 /f @0
            file 0644 0:0 /l 10 B 6e804110 @0
            directory 0755 0:0 /new @0
            file 0644 0:0 /new/x 1 B d63bd9a8 @0
            file 0644 0:0 /same 1 B 813e9b72 @0
            8 entries
        "#]],
    );
}

#[test]
fn a_given_owner_is_for_entries_and_not_for_implied_directories() {
    check_archive(
        "",
        "/",
        "f implied/x 1 # 0600 5:5\nd listed # 0711 5:5\nl s -> x",
        ArchiveOptions { owner: Some((7, 8)), ..ArchiveOptions::default() },
        expect![[r#"
            directory 0755 0:0 / @0
            directory 0755 0:0 /implied @0
            file 0600 7:8 /implied/x 1 B d63bd9a8 @0
            directory 0711 7:8 /listed @0
            symlink 0777 7:8 /s -> x @0
            3 entries
        "#]],
    );
}

#[test]
fn an_archive_that_leads_out_of_its_destination_is_refused() {
    let refused =
        |lines: &str, expected: Expect| check_archive("d /a", "/a", lines, ArchiveOptions::default(), expected);
    refused(
        "f ../x 1",
        expect!["cannot unpack `../x`: the path is outside of the directory that the archive is unpacked into"],
    );
    refused(
        "f x/../../y 1",
        expect!["cannot unpack `x/../../y`: the path is outside of the directory that the archive is unpacked into"],
    );
    refused(
        "f x 1\nh y = ../../etc/passwd",
        expect![
            "cannot unpack `../../etc/passwd`: the path is outside of the directory that the archive is unpacked into"
        ],
    );
    refused(
        "h y = /a/missing",
        expect!["cannot create the hard link `/a/y`: `/a/a/missing` is not a file of the same layer"],
    );
    refused("f x 1\nf x/y 1", expect!["cannot create `/a/x/y`: `/a/x` is not a directory"]);
}

#[test]
fn what_a_layer_looks_like_does_not_depend_on_how_it_came_to_be() {
    let below = [layer("f /a/old 1\nf /gone 1")];
    let made = layer_on(&stack(&below), "f /a/new 2 # 4755 1:2 @5 user.k=v\nh /a/z = /a/new\nw /gone\nl /s -> a\np /p");
    let mut bytes = Vec::new();
    let exported = export_layer(&made.layer, TarOptions::LAYER, &mut bytes).unwrap();
    let (pulled, unpacked) = unpack(&bytes).unwrap();
    assert_eq!(unpacked.diff_id, exported.digest);
    assert_eq!(pulled.layer.entries, made.layer.entries);
    assert_eq!(layer::digest::of_layer(&pulled.layer.entries), layer::digest::of_layer(&made.layer.entries));
    let mut again = Vec::new();
    export_layer(&pulled.layer, TarOptions::LAYER, &mut again).unwrap();
    assert!(again == bytes);
}
