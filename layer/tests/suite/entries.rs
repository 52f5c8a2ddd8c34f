//! Lists of entries: order, groups, form on disk, and what is refused.

use expect_test::{Expect, expect};
use layer::{
    ContentHash, Entries, EntriesBuilder, EntriesError, Entry, EntryPath, Kind, Metadata, Mtime, Place, XattrsBuf,
};
use proptest::prelude::*;

const METADATA: Metadata<'static> = Metadata { mode: 0o644, ..Metadata::IMPLIED_DIRECTORY };

fn at(path: &str) -> EntryPath<'_> {
    EntryPath::parse(path.as_bytes()).unwrap()
}

fn directory(path: &str) -> Entry<'_> {
    Entry { path: at(path), kind: Kind::Directory { opaque: false }, metadata: Metadata::IMPLIED_DIRECTORY }
}

fn file(path: &str) -> Entry<'_> {
    let kind = Kind::File { size_bytes: path.len() as u64, content: ContentHash::of(path.as_bytes()) };
    Entry { path: at(path), kind, metadata: METADATA }
}

fn link<'a>(path: &'a str, target: &'a str) -> Entry<'a> {
    Entry { path: at(path), kind: Kind::HardLink { target: at(target) }, metadata: METADATA }
}

fn list(entries: &[Entry<'_>]) -> Result<Entries, EntriesError> {
    let mut builder = EntriesBuilder::new();
    entries.iter().try_for_each(|entry| builder.push(entry))?;
    builder.finish()
}

#[track_caller]
fn check(entries: &[Entry<'_>], expected: Expect) {
    match list(entries) {
        Ok(entries) => {
            assert_eq!(Entries::from_bytes(entries.as_bytes().to_vec()).as_ref(), Ok(&entries));
            expected.assert_eq(&entries.to_string());
        }
        Err(error) => expected.assert_eq(&error.to_string()),
    }
}

#[test]
fn entries_are_sorted_by_components() {
    let paths = ["a-b", "a/b", "", "a/b-c", "a/b/c"];
    check(
        &[file("a-b"), directory("a/b"), file("a/b-c"), directory("a"), directory(""), file("a/b/c")],
        expect![[r#"
            directory 0755 0:0 / @0
            directory 0755 0:0 /a @0
            directory 0755 0:0 /a/b @0
            file 0644 0:0 /a/b/c 5 B f6c1ac59 @0
            file 0644 0:0 /a/b-c 5 B dc381c26 @0
            file 0644 0:0 /a-b 3 B ab628bfc @0
        "#]],
    );
    assert!(paths.iter().all(|path| EntryPath::parse(path.as_bytes()).is_ok()));
}

#[test]
fn the_first_path_of_a_group_is_the_file_whatever_the_links_said() {
    let special = Metadata { mode: 0o4755, uid: 7, ..METADATA };
    check(
        &[directory(""), link("c", "b"), Entry { metadata: special, ..file("b") }, link("a", "b")],
        expect![[r#"
            directory 0755 0:0 / @0
            file 4755 7:0 /a 1 B 10e5cf3d @0
            hard link 4755 7:0 /b = /a @0
            hard link 4755 7:0 /c = /a @0
        "#]],
    );
}

#[test]
fn what_breaks_a_rule_is_refused() {
    let root = directory("");
    check(&[root, file("a"), file("a")], expect!["bug: `/a` is twice in a layer"]);
    check(&[root, file("a/b")], expect!["bug: `/a/b` is in a layer without the directory that it is in"]);
    check(&[file("a")], expect!["bug: `/a` is in a layer without the directory that it is in"]);
    check(&[root, file("a"), file("a/b")], expect!["bug: `/a/b` is in a layer without the directory that it is in"]);
    check(
        &[root, directory("d"), link("a", "d")],
        expect!["bug: the hard link `/a` leads to `/d`, which is not a file of the same layer"],
    );
    check(
        &[root, link("a", "b"), link("b", "a")],
        expect!["bug: the hard link `/a` leads to `/b`, which is not a file of the same layer"],
    );
    let symlink = Entry { kind: Kind::Symlink { target: b"" }, ..file("a") };
    check(&[root, symlink], expect!["bug: the entry `/a` cannot be kept: a symbolic link leads nowhere"]);
}

#[test]
fn a_path_is_found_or_what_is_nearest_above_it() {
    let entries =
        list(&[directory(""), directory("a"), file("a/b"), directory("a/c"), file("a/c/d"), file("a-b")]).unwrap();
    let place = |path: &str| match entries.find(at(path)) {
        Place::At(index) => format!("{}", entries.path(index)),
        Place::Missing { nearest } => format!("missing below {}", entries.path(nearest)),
    };
    let asked = ["", "a", "a/b", "a/b/x", "a/c/d", "a/c/e", "a/c/0", "a/x/y/z", "a-b", "b", "0"];
    let answers: Vec<String> = asked.iter().map(|path| format!("/{path}: {}", place(path))).collect();
    expect![[r#"
        /: /
        /a: /a
        /a/b: /a/b
        /a/b/x: missing below /a/b
        /a/c/d: /a/c/d
        /a/c/e: missing below /a/c
        /a/c/0: missing below /a/c
        /a/x/y/z: missing below /a
        /a-b: /a-b
        /b: missing below /
        /0: missing below /"#]]
    .assert_eq(&answers.join("\n"));
    let children = |path: &str| {
        let Place::At(index) = entries.find(at(path)) else { panic!("{path}") };
        entries.children(index).map(|child| entries.path(child).to_text()).collect::<Vec<_>>()
    };
    assert_eq!(children(""), ["/a", "/a-b"]);
    assert_eq!(children("a"), ["/a/b", "/a/c"]);
    assert_eq!(children("a/b"), Vec::<String>::new());
}

#[test]
fn the_form_on_disk_is_pinned() {
    let xattrs = XattrsBuf::from_iter([("user.k", "v")]);
    let mtime = Mtime { seconds: -1, nanoseconds: 5 };
    let metadata = Metadata { mode: 0o4755, uid: 1, gid: 2, mtime, xattrs: xattrs.as_xattrs() };
    let symlink = Entry { kind: Kind::Symlink { target: b"f" }, ..file("l") };
    let entries = list(&[directory(""), Entry { metadata, ..file("f") }, link("g", "f"), symlink]).unwrap();
    let lines: Vec<String> = entries.as_bytes().chunks(32).map(hex).collect();
    expect![[r#"
        4b494c4e2d454e54010000000400000022000000000000000000000000000000
        eaac75d915d66c9e330a77f5087d6793434a4c61291dfb07817bee6a9bdba39a
        000000000000000000000000040000000000ed01000000000000000000000000
        0000000000000000000000000000000000000000000000000000000000000000
        0000000000000000000000000000000000000000000000000000000000000000
        000000000100000000000000020000000102ed09010000000200000005000000
        ffffffffffffffff01000000000000000000000000000000010000000f000000
        9ab388bedc43eaf44150107d17ad090f6b1c34610f5740778ddb95d9f06576ee
        100000000100000000000000030000000200ed09010000000200000005000000
        ffffffffffffffff01000000000000000000000000000000110000000f000000
        9ab388bedc43eaf44150107d17ad090f6b1c34610f5740778ddb95d9f06576ee
        200000000100000000000000040000000300ff01000000000000000000000000
        0000000000000000000000000000000021000000010000000000000000000000
        0000000000000000000000000000000000000000000000000000000000000000
        660600000001000000757365722e6b76670600000001000000757365722e6b76
        6c66"#]]
    .assert_eq(&lines.join("\n"));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn damage_is_noticed() {
    let entries = list(&[directory(""), file("a"), link("b", "a")]).unwrap();
    let bytes = entries.as_bytes();
    let error = |bytes: Vec<u8>| Entries::from_bytes(bytes).unwrap_err().to_string();
    for at in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 0x40;
        error(damaged);
        error(bytes[..at].to_vec());
    }
    let mut damaged = bytes.to_vec();
    damaged[100] ^= 1;
    expect!["damaged list of entries: its checksum does not match"].assert_eq(&error(damaged));
    expect!["not a list of entries: expected it to begin with `KILN-ENT`"].assert_eq(&error(b"PK".to_vec()));
    let mut newer = bytes.to_vec();
    newer[8] = 2;
    expect!["unsupported version of a list of entries: expected 1, found 2; a newer kiln wrote it"]
        .assert_eq(&error(newer));
    expect!["damaged list of entries: expected 354 bytes, found 300"].assert_eq(&error(bytes[..300].to_vec()));
}

/// Puts a right checksum on wrong bytes, as somebody would who wants to harm.
fn seal(bytes: &mut [u8]) {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..32]);
    hasher.update(&bytes[64..]);
    bytes[32..64].copy_from_slice(hasher.finalize().as_bytes());
}

proptest! {
    #![proptest_config(crate::random::config(256))]

    #[test]
    fn hostile_bytes_never_panic(changes in prop::collection::vec((8usize..500, any::<u8>()), 1..6)) {
        let symlink = Entry { kind: Kind::Symlink { target: b"f" }, ..file("l") };
        let entries = [directory(""), directory("d"), file("d/a"), link("d/b", "d/a"), symlink];
        let mut bytes = list(&entries).unwrap().as_bytes().to_vec();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        seal(&mut bytes);
        if let Ok(entries) = Entries::from_bytes(bytes) {
            // What is accepted can be used in every way.
            let shown = entries.to_string();
            prop_assert_eq!(shown.lines().count(), entries.count());
            for index in 0..entries.count() {
                prop_assert_eq!(entries.find(entries.path(index)), Place::At(index));
                entries.children(index).for_each(|child| assert_eq!(entries.parent(child), index));
            }
            layer::digest::of_layer(&entries);
        }
    }
}
