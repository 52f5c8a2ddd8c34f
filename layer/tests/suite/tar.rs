//! Tars as they are written, byte by byte and as other programs read them, and tars of other programs as they are read.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;

use expect_test::{Expect, expect};
use layer::pack::write_layer;
use layer::tar::{self, Limits, MemberKind, Reader, TarOptions};
use layer::{ContentHash, Entry, EntryPath, Kind, Layer, Lender, Metadata, Stack, TreeWriter};
use oci::Digest;
use tempfile::{TempDir, tempfile};

use crate::packed::packed_layer;
use crate::world::{ROOT, World, layer, stack, temporary};

fn export(layer: &Layer) -> Vec<u8> {
    let mut bytes = Vec::new();
    let exported = tar::export_layer(layer, TarOptions::LAYER, &mut bytes).unwrap();
    assert_eq!((exported.digest, exported.size_bytes), (Digest::of(&bytes), bytes.len() as u64));
    bytes
}

/// Lists the members of an archive, with the start of their content.
fn listing(archive: &[u8]) -> String {
    let mut reader = Reader::new(archive, Limits::default());
    let mut lines = String::new();
    loop {
        match reader.next() {
            Ok(None) => return lines,
            Err(error) => return lines + &chain(&error),
            Ok(Some(member)) => {
                let name = String::from_utf8_lossy(&member.name);
                let shown = match &member.kind {
                    MemberKind::Directory => "d".to_owned(),
                    MemberKind::File { size_bytes } => {
                        let mut content = Vec::new();
                        match reader.content().take(40).read_to_end(&mut content) {
                            Err(error) => format!("f {size_bytes} {}", chain(&error)),
                            Ok(_) => format!("f {size_bytes} {:?}", String::from_utf8_lossy(&content)),
                        }
                    }
                    MemberKind::HardLink { target } => format!("h {}", String::from_utf8_lossy(target)),
                    MemberKind::Symlink { target } => format!("l {}", String::from_utf8_lossy(target)),
                    other => format!("{other:?}"),
                };
                let metadata = member.metadata.as_metadata();
                let time = (metadata.mtime.seconds, metadata.mtime.nanoseconds);
                let xattrs = if metadata.xattrs.is_empty() { String::new() } else { format!(" {:?}", metadata.xattrs) };
                let (mode, uid, gid) = (metadata.mode, metadata.uid, metadata.gid);
                lines.push_str(&format!("{name} {shown} {mode:04o} {uid}:{gid} {time:?}{xattrs}\n"));
            }
        }
    }
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

#[track_caller]
fn check(lines: &str, expected: Expect) {
    expected.assert_eq(&listing(&export(&layer(lines).layer)));
}

const EVERYTHING: &str = r"d /usr # 0711 1:2 @99
    f /usr/bin/tool #!/bin/sh # 4755 0:5 @1700000000.9 user.k=v\x00\x0a
    h /usr/bin/other = /usr/bin/tool
    l /bin -> usr/bin
    w /usr/lib/gone
    o /opt # 0700
    f /opt/x
    c /dev/null 1:3 # 0666
    b /dev/disk 259:4 # 0660 0:6
    p /pipe # 0600
    f /\xc3\xa4\xff non-ascii
    f /big 1 # 0644 3000000:4000000 @-1";

#[test]
fn everything_is_written_in_order() {
    check(
        EVERYTHING,
        expect![[r##"
        big f 1 "1" 0644 3000000:4000000 (-1, 0)
        bin l usr/bin 0777 0:0 (0, 0)
        dev/ d 0755 0:0 (0, 0)
        dev/disk BlockDevice(Device { major: 259, minor: 4 }) 0660 0:6 (0, 0)
        dev/null CharDevice(Device { major: 1, minor: 3 }) 0666 0:0 (0, 0)
        opt/ d 0700 0:0 (0, 0)
        opt/.wh..wh..opq f 0 "" 0000 0:0 (0, 0)
        opt/x f 0 "" 0644 0:0 (0, 0)
        pipe Fifo 0600 0:0 (0, 0)
        usr/ d 0711 1:2 (99, 0)
        usr/bin/ d 0755 0:0 (0, 0)
        usr/bin/other f 9 "#!/bin/sh" 4755 0:5 (1700000000, 0) {"user.k": "v\\u{0}\\n"}
        usr/bin/tool h usr/bin/other 4755 0:5 (1700000000, 0) {"user.k": "v\\u{0}\\n"}
        usr/lib/ d 0755 0:0 (0, 0)
        usr/lib/.wh.gone f 0 "" 0000 0:0 (0, 0)
        ä� f 9 "non-ascii" 0644 0:0 (0, 0)
    "##]],
    );
}

#[test]
fn times_are_whole_seconds_and_can_be_clamped() {
    let world = layer("f /new 1 # 0644 @200.5\nf /old 1 # 0644 @50.5\nw /gone");
    let options = TarOptions { mtime_seconds_max: Some(100), ..TarOptions::LAYER };
    let mut bytes = Vec::new();
    tar::export_layer(&world.layer, options, &mut bytes).unwrap();
    expect![[r#"
        .wh.gone f 0 "" 0000 0:0 (0, 0)
        new f 1 "1" 0644 0:0 (100, 0)
        old f 1 "1" 0644 0:0 (50, 0)
    "#]]
    .assert_eq(&listing(&bytes));
}

#[test]
fn the_bytes_of_a_layer_are_pinned() {
    let world = layer("f /a hello # 0644 1000:1000 @1700000000\nf /b x # 0600 user.k=v\nw /c");
    let bytes = export(&world.layer);
    let blocks: Vec<String> = bytes.chunks(512).map(dump).collect();
    expect![[r#"
        a | 0000644 | 0001750 | 0001750 | 00000000005 | 14524770400 | 007437 |  0 | ustar | 00 | 0000000 | 0000000
        hello
        ././@PaxHeader | 0000644 | 0000000 | 0000000 | 00000000031 | 00000000000 | 011465 |  x | ustar | 00 | 0000000 | 0000000
        25 SCHILY.xattr.user.k=v\n
        b | 0000600 | 0000000 | 0000000 | 00000000001 | 00000000000 | 007330 |  0 | ustar | 00 | 0000000 | 0000000
        x
        .wh.c | 0000000 | 0000000 | 0000000 | 00000000000 | 00000000000 | 010015 |  0 | ustar | 00 | 0000000 | 0000000

    "#]].assert_eq(&blocks.join("\n"));
    expect!["sha256:1f3dc14e614f8d96a6013b34f07aa709bc3f0f63734ec87d3ba3cf050f835e1d"]
        .assert_eq(&Digest::of(&bytes).to_string());
}

#[test]
fn an_ordinary_root_is_not_written_and_a_layer_without_changes_is_the_known_empty_archive() {
    let empty = export(&layer("").layer);
    assert_eq!(
        Digest::of(&empty).to_string(),
        "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
    );
    let world = layer("d / # 0700 1:2");
    expect![[r#"
        ./ d 0700 1:2 (0, 0)
    "#]]
    .assert_eq(&listing(&export(&world.layer)));
}

/// Shows the fields of a block that are not empty.
fn dump(block: &[u8]) -> String {
    let fields: Vec<String> = block
        .split(|byte| *byte == 0)
        .filter(|field| !field.is_empty())
        .map(|field| String::from_utf8_lossy(field).replace('\n', "\\n"))
        .collect();
    fields.join(" | ")
}

#[test]
fn a_name_that_would_mean_a_deletion_is_refused_in_layers_only() {
    let worlds = [layer("f /a/.wh.b x")];
    let refused = tar::export_layer(&worlds[0].layer, TarOptions::LAYER, std::io::sink()).unwrap_err();
    expect!["cannot put `/a/.wh.b` into an image layer: names that begin with `.wh.` mean deleted files there; rename or delete it"].assert_eq(&refused.to_string());
    let mut bytes = Vec::new();
    tar::export_stack(&stack(&worlds), ROOT, TarOptions::FILE_SYSTEM, &mut bytes).unwrap();
    assert!(listing(&bytes).contains("a/.wh.b f 1"));
}

#[test]
fn a_stack_is_exported_as_one_file_system() {
    let worlds = [layer("f /d/a 1\nh /d/b = /d/a\nh /d/c = /d/a\nf /x 1"), layer("w /d/a\nf /x 2\nl /d/s -> b")];
    let mut bytes = Vec::new();
    tar::export_stack(&stack(&worlds), crate::world::path("/d").as_path(), TarOptions::FILE_SYSTEM, &mut bytes)
        .unwrap();
    expect![[r#"
        b f 1 "1" 0644 0:0 (0, 0)
        c h b 0644 0:0 (0, 0)
        s l b 0777 0:0 (0, 0)
    "#]]
    .assert_eq(&listing(&bytes));
}

/// A layer of many files and sizes, so that reading ahead takes several rounds.
fn many() -> World {
    many_with(3000)
}

/// The same, with one file that has other bytes.
fn many_with(changed: usize) -> World {
    let mut lines = String::new();
    for number in 0..3000 {
        let size = if number % 500 == 0 { 300_000 + 1000 * number } else { number % 1500 };
        let byte = if number == changed { "y" } else { "x" };
        lines.push_str(&format!("f /d{}/f{number} {}\n", number % 13, byte.repeat(size)));
    }
    layer(&lines)
}

#[test]
fn the_digest_of_a_layer_that_begins_like_another_goes_on_from_there() {
    let before = many();
    let digested = |world: &World, like| tar::digest_layer_like(&world.layer, like, || true);
    let known = digested(&before, None).unwrap();
    assert_eq!(known.exported, tar::digest_layer(&before.layer).unwrap());
    let like = Some((&before.layer.entries, &known.checkpoints));
    assert_eq!(digested(&before, like).unwrap(), known, "nothing changed");
    // One in the middle of the list, and the last one.
    for changed in [1000, 2998] {
        let now = many_with(changed);
        let expected = digested(&now, None).unwrap();
        assert_ne!(expected.exported, known.exported);
        let same = digested(&now, like).unwrap();
        assert_eq!(same.exported, expected.exported, "{changed}");
        // The next one goes on from these as well.
        let next = tar::digest_layer_like(&now.layer, Some((&now.layer.entries, &same.checkpoints)), || true);
        assert_eq!(next.unwrap().exported, expected.exported, "{changed}");
        // Only a change at the end leaves the beginning as it was, and unread.
        fs::remove_file(now.directory.path().join("d0/f0")).unwrap();
        assert!(digested(&now, None).is_err());
        assert_eq!(digested(&now, like).is_ok(), changed == 2998, "{changed}");
    }
}

#[test]
fn reading_ahead_changes_nothing() {
    let world = many();
    let mut sequential = tar::Writer::new(Vec::new(), TarOptions::LAYER);
    for (index, entry) in world.layer.entries.iter().enumerate() {
        match world.layer.open(index) {
            Ok(mut range) => sequential.append(&entry, &mut range).unwrap(),
            Err(_) => sequential.append(&entry, &mut std::io::empty()).unwrap(),
        }
    }
    assert!(export(&world.layer) == sequential.finish().unwrap());
}

#[test]
fn a_file_that_is_not_what_its_entry_says_fails_the_export() {
    let world = many();
    fs::write(world.directory.path().join("d3/f3"), "longer than it was").unwrap();
    let error = tar::export_layer(&world.layer, TarOptions::LAYER, std::io::sink()).unwrap_err();
    expect!["damaged layer: `/d3/f3` should have 3 bytes, it has 18"].assert_eq(&error.to_string());
    fs::remove_file(world.directory.path().join("d3/f3")).unwrap();
    let error = tar::export_layer(&world.layer, TarOptions::LAYER, std::io::sink()).unwrap_err();
    assert_eq!(chain(&error), "cannot open `/d3/f3` in a layer: No such file or directory (os error 2)");
}

#[test]
fn files_that_lie_beside_each_other_in_a_pack_are_the_files_that_they_were() {
    let world = many();
    let pack = Arc::new(tempfile().unwrap());
    let written = write_layer(&world.layer, TreeWriter::packed(Arc::clone(&pack), Lender::default(), Stack::default()));
    let written = written.unwrap();
    let places = written.packed.unwrap();
    let packed = packed_layer(&written.entries, &places);
    let tar = export(&packed);
    assert!(tar == export(&world.layer));
    let digest = tar::digest_layer(&packed).unwrap();
    assert_eq!((digest.digest, digest.size_bytes), (Digest::of(&tar), tar.len() as u64));
    assert_eq!(
        chain(&tar::digest_layer_like(&packed, None, || false).unwrap_err()),
        "cannot write the archive: broken pipe"
    );
    // One of them is shorter than it should be: that one is named.
    let offset = |index: &usize| places.extents.get(*index).map(|extent| extent.offset);
    let last = (0..places.extents.count()).max_by_key(offset).unwrap();
    pack.set_len(offset(&last).unwrap() + 1).unwrap();
    let error = tar::digest_layer(&packed).unwrap_err();
    let Entry { path, kind: Kind::File { size_bytes, .. }, .. } = packed.entries.entry(last) else { panic!("a file") };
    assert_eq!(chain(&error), format!("damaged layer: `{path}` should have {size_bytes} bytes, it has 1"));
}

#[test]
fn a_stream_that_fails_ends_the_export() {
    struct Full(usize);
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let error = tar::export_layer(&many().layer, TarOptions::LAYER, Full(1_000_000)).unwrap_err();
    assert_eq!(chain(&error), "cannot write the archive: no storage space");
}

#[test]
fn gnu_tar_reads_what_is_written() {
    let long = format!("/{0}/{0}/{1}", "d".repeat(90), "f".repeat(120));
    let world = layer(&format!("{EVERYTHING}\nf {long} long\nl /long-link -> {}", "t".repeat(150)));
    let unpacked = temporary();
    run_tar(&unpacked, &["--xattrs", "--xattrs-include=*", "-xpf", "-"], &export(&world.layer));
    let shown = |name: &str| fs::symlink_metadata(unpacked.path().join(name)).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::read(unpacked.path().join(&long[1..])).unwrap(), b"long");
    assert_eq!(fs::read_link(unpacked.path().join("long-link")).unwrap().as_os_str().len(), 150);
    assert_eq!((shown("big").uid(), shown("big").gid(), shown("big").mtime()), (3_000_000, 4_000_000, -1));
    assert_eq!((shown("usr/bin/tool").mode(), shown("usr/bin/tool").nlink()), (0o104755, 2));
    assert_eq!(shown("usr/lib/.wh.gone").size(), 0);
    assert_eq!(shown("opt/.wh..wh..opq").size(), 0);
}

fn run_tar(directory: &TempDir, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("tar");
    command.current_dir(directory.path()).args(arguments).env("LC_ALL", "C");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || drop(std::io::Write::write_all(&mut stdin, input)));
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "tar {arguments:?}");
        output.stdout
    })
}

/// Files that each format writes in its own way.
fn source() -> TempDir {
    let directory = temporary();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("d").join("n".repeat(150))).unwrap();
    fs::write(at("d").join("n".repeat(150)).join("f"), "long").unwrap();
    fs::write(at("plain"), "plain").unwrap();
    fs::hard_link(at("plain"), at("zlink")).unwrap();
    std::os::unix::fs::symlink("t".repeat(120), at("symlink")).unwrap();
    std::os::unix::fs::chown(at("plain"), Some(3_000_000), Some(7)).unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", 1 << 20).unwrap();
    sparse.set_len(3 << 20).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_600_000_000, 250_000_000);
    sparse.set_modified(time).unwrap();
    directory
}

#[test]
fn the_formats_of_gnu_tar_are_read() {
    let directory = source();
    let files: Vec<String> = ["gnu", "oldgnu", "pax"]
        .iter()
        .map(|format| {
            let format = format!("--format={format}");
            let order = ["--sort=name", "--mtime=@5.5", "--sparse", "-cf", "-"];
            let archive = run_tar(&directory, &[&[format.as_str()], &order[..], &["."]].concat(), b"");
            listing(&archive)
        })
        .collect();
    expect![[r#"
        ./ d 0755 0:0 (5, 0)
        ./d/ d 0755 0:0 (5, 0)
        ./d/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn/ d 0755 0:0 (5, 0)
        ./d/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn/f f 4 "long" 0644 0:0 (5, 0)
        ./plain f 5 "plain" 0644 3000000:7 (5, 0)
        ./sparse f 3145728 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" 0644 0:0 (5, 0)
        ./symlink l tttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt 0777 0:0 (5, 0)
        ./zlink h ./plain 0644 3000000:7 (5, 0)
    "#]].assert_eq(&files[0]);
    assert_eq!(files[0], files[1]);
    // PAX keeps the fraction of the time.
    assert_eq!(files[0].replace("(5, 0)", "(5, 500000000)"), files[2]);
}

#[test]
fn all_three_kinds_of_pax_sparse_files_are_read() {
    let directory = source();
    for version in ["0.0", "0.1", "1.0"] {
        let version = format!("--sparse-version={version}");
        let arguments = ["--format=pax", &version, "--sparse", "--mtime=@5", "-cf", "-", "sparse"];
        let archive = run_tar(&directory, &arguments, b"");
        assert!(archive.len() < 20_000, "{version} is sparse");
        let mut reader = Reader::new(archive.as_slice(), Limits::default());
        let member = reader.next().unwrap().unwrap();
        assert_eq!(member.name, b"sparse", "{version}");
        assert_eq!(member.kind, MemberKind::File { size_bytes: 3 << 20 }, "{version}");
        let mut content = Vec::new();
        reader.content().read_to_end(&mut content).unwrap();
        assert!(content == fs::read(directory.path().join("sparse")).unwrap(), "{version}");
        assert_eq!(reader.next().unwrap(), None, "{version}");
    }
}

#[test]
fn whether_something_is_an_archive_is_seen_from_its_first_header() {
    let archive = export(&layer("f /a x").layer);
    let is_archive = |bytes: &[u8]| tar::is_archive(bytes);
    assert!(is_archive(&archive));
    assert!(is_archive(&archive[..600]), "what is missing later does not matter");
    assert!(!is_archive(&archive[..500]));
    assert!(!is_archive(b""));
    assert!(!is_archive(&[0; 1024]), "an archive without members is copied as a file");
    assert!(!is_archive(b"#!/bin/sh\n"));
    assert!(!is_archive(&[0x1f, 0x8b, 0x08, 0, 0]));
}

/// One header with a right checksum.
fn header(name: &[u8], type_flag: u8, size: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name);
    block[124..124 + size.len()].copy_from_slice(size);
    block[156] = type_flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn padded(content: &[u8]) -> Vec<u8> {
    let mut content = content.to_vec();
    content.resize(content.len().next_multiple_of(512), 0);
    content
}

#[test]
fn what_is_malformed_is_said() {
    let check = |parts: &[&[u8]], expected: Expect| expected.assert_eq(&listing(&parts.concat()));
    let file = header(b"f", b'0', b"5");
    let mut wrong_sum = file.clone();
    wrong_sum[0] = b'g';
    check(&[&wrong_sum], expect!["invalid tar header at byte 0: the checksum is wrong"]);
    check(
        &[&file, b"123"],
        expect![[r#"
        f f 5 unexpected end of the archive at byte 515: it is truncated 0000 0:0 (0, 0)
        unexpected end of the archive at byte 515: it is truncated"#]],
    );
    check(
        &[&file, b"12345"],
        expect![[r#"
            f f 5 "12345" 0000 0:0 (0, 0)
        "#]],
    );
    check(&[&file[..100]], expect!["unexpected end of the archive at byte 100: it is truncated"]);
    check(&[&[0; 512], &file], expect!["invalid tar header at byte 512: a lone block of zeros is before it"]);
    check(&[&header(b"f", b'0', b"9x")], expect!["invalid tar header at byte 0: a size is out of range"]);
    check(&[&header(b"f", b'0', &[0xff; 12])], expect!["invalid tar header at byte 0: a size is out of range"]);
    check(&[&header(b"f", b'Z', b"0")], expect!["cannot unpack `f`: unsupported tar entry of type `Z`"]);
    check(
        &[&header(b"x", b'x', b"77777777777")],
        expect!["tar extension header too large: at most 1048576 bytes, the one at byte 0 has 8589934591"],
    );
    check(
        &[&header(b"x", b'x', b"11"), &padded(b"9 path=ab")],
        expect!["invalid tar extension header before byte 1024: a record has a wrong length"],
    );
    let sized = |size: &str| {
        let record = format!("size={size}\n");
        let record = format!("{} {record}", record.len() + 3);
        [header(b"x", b'x', format!("{:o}", record.len()).as_bytes()), padded(record.as_bytes()), file.clone()].concat()
    };
    check(&[&sized("18446744073709551615")], expect!["invalid tar header at byte 1024: a size is out of range"]);
    check(
        &[&sized("9000000000000000000")],
        expect!["the files of the archive have more than 1099511627776 bytes in all"],
    );
}

#[test]
fn the_limits_of_the_caller_hold() {
    let archive: Vec<u8> =
        [header(b"a", b'0', b"3"), padded(b"abc"), header(b"b", b'0', b"4"), padded(b"abcd")].concat();
    let read = |limits: Limits| {
        let mut reader = Reader::new(archive.as_slice(), limits);
        loop {
            match reader.next() {
                Ok(Some(_)) => {}
                Ok(None) => return "all".to_owned(),
                Err(error) => return error.to_string(),
            }
        }
    };
    let limits = Limits { entries_max: 2, content_bytes_max: 7, stream_bytes_max: 2048 };
    assert_eq!(read(limits), "all");
    assert_eq!(read(Limits { entries_max: 1, ..limits }), "the archive has more than 1 entries");
    assert_eq!(
        read(Limits { content_bytes_max: 6, ..limits }),
        "the files of the archive have more than 6 bytes in all"
    );
    assert_eq!(read(Limits { stream_bytes_max: 2047, ..limits }), "the archive has more than 2047 bytes");
}

#[test]
fn sizes_beyond_the_octal_field_have_a_record() {
    let kind = Kind::File { size_bytes: 9 << 30, content: ContentHash([0; 32]) };
    let entry = Entry { path: EntryPath::parse(b"huge").unwrap(), kind, metadata: Metadata::default() };
    let mut writer = tar::Writer::new(Vec::new(), TarOptions::LAYER);
    let error = writer.append(&entry, &mut std::io::empty()).unwrap_err();
    assert_eq!(error.to_string(), "damaged layer: `/huge` should have 9663676416 bytes, it has 0");
    let bytes = writer.finish().unwrap();
    let mut reader = Reader::new(bytes.as_slice(), Limits::default());
    assert_eq!(reader.next().unwrap().unwrap().kind, MemberKind::File { size_bytes: 9 << 30 });
}

#[test]
fn old_and_strange_headers_are_understood() {
    let check = |parts: &[&[u8]], expected: Expect| expected.assert_eq(&listing(&parts.concat()));
    // A directory of the time before POSIX, a global header, a volume label, a list of GNU's incremental archives, a contiguous file.
    check(
        &[
            &header(b"old/", 0, b"0"),
            &header(b"g", b'g', b"14"),
            &padded(b"12 path=no!\n"),
            &header(b"label", b'V', b"0"),
            &header(b"dump", b'D', b"3"),
            &padded(b"Yf\0"),
            &header(b"contiguous", b'7', b"1"),
            &padded(b"x"),
            &[0; 1024],
            b"rubbish behind the end",
        ],
        expect![[r#"
            old/ d 0000 0:0 (0, 0)
            dump d 0000 0:0 (0, 0)
            contiguous f 1 "x" 0000 0:0 (0, 0)
        "#]],
    );
}
