//! `ADD` of archives: what is one, what becomes of it, and that hostile ones neither lead out nor grow without a bound.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use expect_test::expect;

use crate::copy::{build, check_error, check_in, list, set_mode, world};
use crate::world::World;

/// Runs GNU tar in the directory of a world.
pub(crate) fn tar(world: &World, args: &[&str]) {
    let done = Command::new("tar").args(args).current_dir(world.path("")).status();
    assert!(done.unwrap().success());
}

// Spec 75.
#[test]
fn an_archive_keeps_its_owners_and_modes() {
    let world = world(&[]);
    world.write("tree/deep/file", "content\n");
    set_mode(&world, "tree/deep/file", 0o640);
    fs::hard_link(world.path("tree/deep/file"), world.path("tree/deep/second")).unwrap();
    // Without the directory, which is implied then.
    tar(&world, &["--owner=3", "--group=4", "-cf", "ctx/a.tar", "-C", "tree", "deep/file", "deep/second"]);
    check_in(
        &world,
        "ADD a.tar /kept/\nADD --chown=7:8 a.tar /owned/\nADD --chmod=777 a.tar /moded/\nADD --unpack=false a.tar /packed/",
        &format!("{}; stat -c %h /kept/deep/file", list("/kept /owned /moded /packed")),
        expect![[r#"
            755 0:0 /kept
            755 0:0 /kept/deep
            640 3:4 /kept/deep/file
            640 3:4 /kept/deep/second
            755 0:0 /moded
            755 0:0 /moded/deep
            640 3:4 /moded/deep/file
            640 3:4 /moded/deep/second
            755 7:8 /owned
            755 0:0 /owned/deep
            640 7:8 /owned/deep/file
            640 7:8 /owned/deep/second
            755 0:0 /packed
            644 0:0 /packed/a.tar
            2
        "#]],
    );
}

// Spec 76.
#[test]
fn what_is_an_archive_is_seen_from_its_content() {
    let world = world(&[("empty.tar.gz", ""), ("text.tar", "no archive\n")]);
    world.write("tree/f", "inside\n");
    tar(&world, &["-czf", "ctx/picture.png", "-C", "tree", "f"]);
    tar(&world, &["-czf", "whole.tar.gz", "-C", "tree", "f"]);
    let whole = fs::read(world.path("whole.tar.gz")).unwrap();
    world.write("ctx/cut.tar.gz", &whole[..20]);
    check_in(
        &world,
        "ADD picture.png empty.tar.gz text.tar cut.tar.gz /x/",
        "ls /x",
        expect![[r#"
        cut.tar.gz
        empty.tar.gz
        f
        text.tar
    "#]],
    );
}

#[test]
fn an_archive_that_leads_out_is_refused() {
    let world = world(&[]);
    world.write("tree/f", "inside\n");
    symlink("/etc", world.path("tree/out")).unwrap();
    tar(&world, &["--transform=s,^f,../../f,", "-P", "-cf", "ctx/up.tar", "-C", "tree", "f"]);
    tar(&world, &["--transform=s,^f$,out/passwd,", "-cf", "ctx/link.tar", "-C", "tree", "out", "f"]);
    check_error(&world, "ADD up.tar /x/", "../../f");
    // A link in an archive leads no further than the directory that it is unpacked into.
    check_in(
        &world,
        "ADD link.tar /x/",
        "cat /x/etc/passwd; head -n 1 /etc/passwd | cut -c 1-4",
        expect![[r#"
        inside
        root
    "#]],
    );
}

#[test]
fn attributes_that_cannot_be_kept_are_told() {
    let world = world(&[]);
    world.write("tree/f", "");
    let pax = "--pax-option=SCHILY.xattr.nowhere.name:=value";
    tar(&world, &["--format=pax", pax, "-cf", "ctx/a.tar", "-C", "tree", "f"]);
    world.write("Dockerfile", "FROM busybox\nADD a.tar /x/\n");
    let shown = world.build(&["-f", "Dockerfile", "ctx"]);
    assert!(
        shown.contains("extended attributes could not be kept, 1 in all: the first is `nowhere.name` of `/x/f`"),
        "{shown}"
    );
}

// Spec, section 1.5: an archive is told by its content, whatever it is compressed with.
#[test]
fn archives_of_all_compressions_are_unpacked() {
    let world = world(&[]);
    world.write("tree/f", "inside\n");
    tar(&world, &["-cf", "plain.tar", "-C", "tree", "f"]);
    let plain = fs::read(world.path("plain.tar")).unwrap();
    fs::write(world.path("ctx/plain"), &plain).unwrap();
    fs::write(world.path("ctx/zstd"), zstd_of(&plain)).unwrap();
    for (option, name) in [("-z", "gzip"), ("-j", "bzip2"), ("-J", "xz")] {
        tar(&world, &[option, "-cf", &format!("ctx/{name}"), "-C", "tree", "f"]);
    }
    let names = ["plain", "gzip", "bzip2", "xz", "zstd"];
    let lines: String = names.map(|name| format!("ADD {name} /{name}/\n")).concat();
    build(&world, &lines);
    assert_eq!(world.in_image("app", "cat /plain/f /gzip/f /bzip2/f /xz/f /zstd/f"), "inside\n".repeat(5));
}

/// Returns bytes as a zstd frame that is not compressed: magic, header of a frame of known size, one raw block for each 64 KiB.
fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000];
    frame.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
    let chunks: Vec<&[u8]> = bytes.chunks(64 << 10).collect();
    for (place, chunk) in chunks.iter().enumerate() {
        let header = (chunk.len() << 3) | usize::from(place + 1 == chunks.len());
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.extend_from_slice(chunk);
    }
    frame
}

#[test]
fn devices_of_an_archive_are_left_out() {
    let world = world(&[]);
    world.write("tree/f", "");
    let node = |name: &str, kind: &str, numbers: &[&str]| {
        let path = world.path(name);
        let args = [&[path.to_str().unwrap(), kind], numbers].concat();
        assert!(Command::new("mknod").args(args).status().unwrap().success());
    };
    node("tree/disk", "b", &["8", "0"]);
    node("tree/null", "c", &["1", "3"]);
    node("tree/fifo", "p", &[]);
    tar(&world, &["-cf", "ctx/a.tar", "-C", "tree", "."]);
    build(&world, "ADD a.tar /x/");
    assert_eq!(world.in_image("app", "ls /x"), "f\n");
}

/// Returns a header of a member without content, and what pads it.
fn header(name: &str, kind: u8, link: &str, size: u64) -> Vec<u8> {
    let mut block = [0u8; 512];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\x000000000\x000000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0        ");
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.to_vec()
}

#[test]
fn links_of_an_archive_lead_nowhere_outside() {
    let world = world(&[]);
    let end = vec![0; 1024];
    let archive = |members: &[Vec<u8>]| [members.concat(), end.clone()].concat();
    let file = |name: &str| header(name, b'0', "", 0);
    let link = |name: &str, target: &str| header(name, b'2', target, 0);
    world.write("ctx/relative", archive(&[link("out", "../../../../etc"), file("out/one")]));
    world.write("ctx/chain", archive(&[link("a", "b"), link("b", "/"), file("a/etc/two")]));
    world.write("ctx/absolute", archive(&[file("/etc/three")]));
    build(&world, "ADD relative /x/\nADD chain /x/\nADD absolute /x/");
    assert_eq!(
        world.in_image("app", "ls /x/etc; ls /etc/one /etc/two /etc/three 2>/dev/null || true"),
        "one\nthree\ntwo\n"
    );
    world.write("ctx/loop", archive(&[link("a", "b"), link("b", "a"), file("a/x")]));
    check_error(&world, "ADD loop /x/", "too many levels of symbolic links in `a`");
    world.write("ctx/hard", archive(&[header("h", b'1', "/etc/passwd", 0)]));
    check_error(&world, "ADD hard /x/", "`/x/etc/passwd` is not a file of the same layer");
    world.write("ctx/above", archive(&[header("h", b'1', "../../etc/passwd", 0)]));
    check_error(&world, "ADD above /x/", "the path is outside of the directory that the archive is unpacked into");
}

#[test]
fn an_archive_that_promises_too_much_stops_at_the_limit() {
    let world = world(&[]);
    // A sparse file of two terabytes, all of it a hole.
    let mut member = header("f", b'S', "", 0);
    member[483..495].copy_from_slice(&[&[0x80, 0, 0, 0][..], &(2u64 << 40).to_be_bytes()].concat());
    member[148..156].copy_from_slice(b"        ");
    let sum: u32 = member.iter().map(|byte| u32::from(*byte)).sum();
    member[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    world.write("ctx/bomb", [header("first", b'0', "", 0), member, vec![0; 1024]].concat());
    check_error(&world, "ADD bomb /x/", "the files of the archive have more than 1099511627776 bytes in all");
}
