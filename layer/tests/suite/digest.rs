//! Content digests of layers: pinned, and what they see and do not see. Hashes of files.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use expect_test::expect;
use layer::digest::of_layer;
use layer::hash::hash_range;
use layer::{ContentHash, FileRange};
use oci::Digest;

use crate::world::layer;

fn digest(lines: &str) -> Digest {
    of_layer(&layer(lines).layer.entries)
}

const EVERYTHING: &str = r"d /usr # 0711 1:2 @99
    f /usr/bin/tool text # 4755 0:5 @7 user.k=v security.capability=\x01\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00
    h /usr/bin/other = /usr/bin/tool
    l /bin -> usr/bin
    w /gone
    o /opt
    c /null 1:3
    b /disk 8:1
    p /pipe";

#[test]
fn the_digest_of_a_layer_is_pinned() {
    expect!["sha256:55c207d2ac8c28e4d4cdaea34609d77f9d86fd4a1d136a913a3f99b13549b0ea"]
        .assert_eq(&digest("").to_string());
    expect!["sha256:115e5b63466b8824b81c5e084cd394287b7bcaf632b08e3ec2a804158dd06367"]
        .assert_eq(&digest(EVERYTHING).to_string());
}

#[test]
fn times_and_access_control_lists_do_not_count() {
    // One with a user of its own: a list that says no more than the mode is none to some file systems.
    let acl = r"system.posix_acl_access=\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\x07\x00\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff";
    assert_eq!(digest("f /a x\nd /d\nl /l -> x"), digest("f /a x # 0644 @5\nd /d # 0755 @7.5\nl /l -> x # 0777 @9"));
    assert_eq!(digest("f /a x"), digest(&format!("f /a x # 0644 {acl}")));
}

#[test]
fn everything_else_counts() {
    let variants = [
        "f /a x",
        "f /a y",
        "f /b x",
        "f /a x # 0600",
        "f /a x # 0644 1:0",
        "f /a x # 0644 0:1",
        "f /a x # 0644 user.a=1",
        "f /a x # 0644 user.a=2",
        "f /a x # 0644 user.b=1",
        "f /a x # 0644 user.a= user.b=1",
        "f /a xx",
        "d /a",
        "o /a",
        "d /a # 0700",
        "p /a",
        "l /a -> x",
        "l /a -> y",
        "l /a -> x # 0777 1:0",
        "w /a",
        "c /a 1:3",
        "c /a 1:4",
        "c /a 2:3",
        "b /a 1:3",
        "f /a x\nf /b x",
        "f /a x\nh /b = /a",
        "f /a x\nf /b x\nf /c x",
        "f /a x\nh /b = /a\nh /c = /a",
        "f /a x\nf /b x\nh /c = /a",
        "f /a x\nf /b x\nh /c = /b",
        "d / # 0700",
    ];
    let digests: std::collections::BTreeSet<Digest> = variants.iter().map(|lines| digest(lines)).collect();
    assert_eq!(digests.len(), variants.len());
}

#[test]
fn the_order_of_writing_does_not_count() {
    assert_eq!(digest("f /a x\nf /b y\nh /c = /b"), digest("f /b y\nf /c y\nh /c = /b\nf /a x"));
    assert_eq!(digest("f /z y\nh /a = /z"), digest("f /a y\nh /z = /a"));
}

#[test]
fn long_files_have_the_hash_of_their_bytes_whoever_hashes_which_piece() {
    const PIECE: usize = 1 << 20;
    let bytes: Vec<u8> = (0..5 * PIECE + 3000).map(|at| (at % 251 + at / PIECE) as u8).collect();
    let file = Arc::new(tempfile::tempfile().unwrap());
    file.write_all_at(&bytes, 0).unwrap();
    let lengths = (0..=5).flat_map(|pieces| [0, 1, 1023, 1025, 3000].map(|more| pieces * PIECE + more));
    for length in lengths {
        for start in [0, 4096.min(bytes.len() - length)] {
            let range = FileRange::new(Arc::clone(&file), start as u64, length as u64);
            let expected = (length as u64, ContentHash(*blake3::hash(&bytes[start..start + length]).as_bytes()));
            assert_eq!(hash_range(&range).unwrap(), expected, "{length} bytes from {start}");
        }
    }
    // Shorter than was said.
    for length in [4 * PIECE + 1, 3 * PIECE, PIECE, 4000, 0] {
        file.set_len(length as u64).unwrap();
        let range = FileRange::new(Arc::clone(&file), 0, bytes.len() as u64);
        let expected = (length as u64, ContentHash(*blake3::hash(&bytes[..length]).as_bytes()));
        assert_eq!(hash_range(&range).unwrap(), expected, "{length} bytes are left");
    }
}
