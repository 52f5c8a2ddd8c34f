//! Indexes, as the kernel reads them and as the tools of EROFS do: they show what the tree shows that the layer was written to.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;

use expect_test::expect;
use layer::entries::EntriesBuilder;
use layer::erofs::{BlockSize, Extent, ExtentList, IndexError, WrittenIndex, write_index};
use layer::tree::{Tree, scan_tree};
use layer::{ContentHash, Entries, Entry, Kind, Layer, Metadata, Stack, XattrsBuf};
use proptest::prelude::*;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};
use tempfile::TempDir;

use crate::random::{config, line};
use crate::world::{ROOT, layer, lenient_on, path, temporary};

/// An index beside the packs that it points into.
pub(crate) struct Indexed {
    pub(crate) directory: TempDir,
    pub(crate) written: WrittenIndex,
}

impl Indexed {
    /// Copies the files of a layer into a pack.
    fn new(layer: &Layer, block: BlockSize) -> Self {
        let directory = temporary();
        let mut pack = File::create(directory.path().join("pack")).unwrap();
        let align = if block == BlockSize::Bytes512 { 512 } else { 4096 };
        let mut end = 0u64;
        let extents: Vec<Extent> = layer
            .entries
            .iter()
            .enumerate()
            .map(|(index, entry)| match entry.kind {
                Kind::File { size_bytes, .. } if size_bytes > 0 => {
                    let offset = end;
                    pack.seek(SeekFrom::Start(offset)).unwrap();
                    std::io::copy(&mut layer.open(index).unwrap(), &mut pack).unwrap();
                    end = (offset + size_bytes).next_multiple_of(align);
                    Extent { pack: 0, offset }
                }
                _ => Extent::default(),
            })
            .collect();
        pack.set_len(end).unwrap();
        Self::with_extents(directory, &layer.entries, &ExtentList::new(extents), &[end], block)
    }

    fn with_extents(
        directory: TempDir,
        entries: &Entries,
        extents: &ExtentList,
        packs: &[u64],
        block: BlockSize,
    ) -> Self {
        let index = File::create(directory.path().join("index")).unwrap();
        let written = write_index(entries, extents, packs, block, &index).unwrap();
        assert_eq!(index.metadata().unwrap().len(), written.size_bytes);
        Self { directory, written }
    }

    fn at(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Mounts it, attached nowhere.
    pub(crate) fn mount(&self) -> Mounted {
        let mount = (|| {
            let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_set_string(&context, "source", self.at("index"))?;
            let names = ["pack".to_owned()].into_iter().chain((0..).map(|number| format!("pack{number}")));
            for name in names.skip_while(|name| name == "pack" && !fs::exists(self.at(name)).unwrap()) {
                if !fs::exists(self.at(&name)).unwrap() {
                    break;
                }
                fsconfig_set_string(&context, "device", self.at(&name))?;
            }
            fsconfig_create(&context)?;
            fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        })();
        Mounted(mount.unwrap())
    }

    fn run(&self, program: &str, args: &[&str]) -> String {
        let device = format!("--device={}", self.at("pack"));
        let output = Command::new(program).args(args).args([&device, &self.at("index")]).output().unwrap();
        assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stdout).unwrap()
    }
}

pub(crate) struct Mounted(OwnedFd);

impl Mounted {
    fn path(&self, name: &str) -> std::path::PathBuf {
        format!("/proc/self/fd/{}/{name}", self.0.as_raw_fd()).into()
    }

    pub(crate) fn entries(&self) -> Entries {
        scan_tree(&Tree::new(File::open(self.path("")).unwrap().into())).unwrap()
    }
}

#[track_caller]
fn check(lines: &str) {
    let world = layer(lines);
    for block in [BlockSize::Bytes512, BlockSize::Bytes4096] {
        let indexed = Indexed::new(&world.layer, block);
        assert_eq!(indexed.mount().entries().to_string(), world.layer.entries.to_string(), "{block:?}");
        assert_eq!(indexed.written.lost_xattrs.count, 0);
        if block == BlockSize::Bytes4096 {
            indexed.run("fsck.erofs", &["--extract"]);
        }
    }
}

#[test]
fn every_kind_of_entry_is_what_the_tree_has() {
    check(
        r"
        d /bin # 2755 4294967294:65536 @1700000000.123456789
        f /bin/su hello # 4755 1000:1000 @-7.5 security.capability=\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00
        f /bin/empty  # 0000 70000:70000 @8589934592
        h /bin/sh = /bin/su
        h /also = /bin/su
        l /lib -> usr/lib # 0777 5:6 @1
        l /long -> /very/long
        p /fifo # 0600
        h /fifo2 = /fifo
        c /null 1:3 # 0666
        b /disk 259:1048575
        w /gone
        w /bin/gone
        o /opt # 0700 user.a=b
        f /opt/file text
        f /acl x # 0664 system.posix_acl_access=\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\x07\x00\x00\x00\x04\x00\x06\x00\xff\xff\xff\xff\x10\x00\x06\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff
        d /d # 0755 system.posix_acl_default=\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x04\x00\x05\x00\xff\xff\xff\xff\x20\x00\x05\x00\xff\xff\xff\xff
        f /x y # 0644 trusted.t=\x00\xff user.empty= user.z=zzzzzzzzzzzzzzz
        ",
    );
}

#[test]
fn an_empty_layer_is_an_empty_directory() {
    check("");
    check("f /empty ");
    let world = layer("d /a\nl /b -> a");
    let alone =
        Indexed::with_extents(temporary(), &world.layer.entries, &ExtentList::default(), &[], BlockSize::Bytes512);
    assert_eq!(alone.mount().entries(), world.layer.entries);
}

#[test]
fn directories_of_any_size_with_names_of_any_length_are_found_name_by_name() {
    let mut lines = String::new();
    for number in 0..3000 {
        lines.push_str(&format!("f /d/{number:0width$} {number}\n", width = 1 + number % 255));
    }
    for name in ["!", "+x", "-", ".a", "..b", "...", ","] {
        lines.push_str(&format!("d /d/{name}\n"));
    }
    let world = layer(&lines);
    for block in [BlockSize::Bytes512, BlockSize::Bytes4096] {
        let mounted = Indexed::new(&world.layer, block).mount();
        assert_eq!(mounted.entries(), world.layer.entries);
        // Each name by itself too: listing a directory and looking a name up are different code in the kernel.
        for number in (0..3000).step_by(7) {
            let name = format!("d/{number:0width$}", width = 1 + number % 255);
            assert_eq!(fs::read_to_string(mounted.path(&name)).unwrap(), number.to_string(), "{name}");
        }
        assert!(!fs::exists(mounted.path("d/nobody")).unwrap());
        let directory = fs::metadata(mounted.path("d")).unwrap();
        assert_eq!(directory.nlink(), 2 + 7);
        assert!(directory.ino() != 0);
    }
}

#[test]
fn links_and_attributes_of_any_length_fit_wherever_they_fall() {
    let mut lines = String::new();
    for length in (1..700).step_by(13).chain([4095]) {
        lines.push_str(&format!("l /l{length:04} -> {}\n", "x".repeat(length)));
    }
    for length in (0..2000).step_by(97) {
        lines.push_str(&format!("f /x{length} {length} # 0644 user.v={}\n", "v".repeat(length)));
        lines.push_str(&format!("d /y{length} # 0755 trusted.v={}\n", "v".repeat(length)));
    }
    check(&lines);
}

#[test]
fn a_file_of_more_than_four_gibibytes_is_read_where_it_is() {
    let directory = temporary();
    let (size_bytes, offset) = ((5u64 << 30) + 3, 512 * 7);
    let pack = File::create(directory.path().join("pack")).unwrap();
    pack.set_len((offset + size_bytes).next_multiple_of(512)).unwrap();
    pack.write_all_at(b"start", offset).unwrap();
    pack.write_all_at(b"end", offset + size_bytes - 3).unwrap();
    let mut builder = EntriesBuilder::new();
    let kind = Kind::File { size_bytes, content: ContentHash::of(b"") };
    let file = path("/large");
    builder
        .push(&Entry { path: ROOT, kind: Kind::Directory { opaque: false }, metadata: Metadata::default() })
        .unwrap();
    builder.push(&Entry { path: file.as_path(), kind, metadata: Metadata::default() }).unwrap();
    let entries = builder.finish().unwrap();
    let extents = ExtentList::new([Extent::default(), Extent { pack: 0, offset }]);
    let packs = [pack.metadata().unwrap().len()];
    let mounted = Indexed::with_extents(directory, &entries, &extents, &packs, BlockSize::Bytes512).mount();
    let file = File::open(mounted.path("large")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), size_bytes);
    let mut bytes = [1; 8];
    file.read_exact_at(&mut bytes[..5], 0).unwrap();
    assert_eq!(&bytes[..5], b"start");
    assert_eq!(file.read_at(&mut bytes, size_bytes - 5).unwrap(), 5);
    assert_eq!(&bytes[..5], b"\0\0end");
}

#[test]
fn what_the_format_cannot_say_is_an_error_or_said_to_be_lost() {
    let file = |extent: Extent, packs: &[u64], metadata: Metadata<'_>| {
        let mut builder = EntriesBuilder::new();
        let kind = Kind::File { size_bytes: 600, content: ContentHash::of(b"") };
        let at = path("/f");
        let root = Kind::Directory { opaque: false };
        builder.push(&Entry { path: ROOT, kind: root, metadata: Metadata::default() }).unwrap();
        builder.push(&Entry { path: at.as_path(), kind, metadata }).unwrap();
        let extents = ExtentList::new([Extent::default(), extent]);
        write_index(&builder.finish().unwrap(), &extents, packs, BlockSize::Bytes512, std::io::sink())
    };
    let message = |extent, packs: &[u64]| file(extent, packs, Metadata::default()).unwrap_err().to_string();
    expect!["bug: the index of a layer cannot say where `/f` is"]
        .assert_eq(&message(Extent { pack: 0, offset: 512 }, &[1024]));
    expect!["bug: the index of a layer cannot say where `/f` is"]
        .assert_eq(&message(Extent { pack: 1, offset: 0 }, &[1024]));
    expect!["a layer is too large: its files, or the list of them, take more than 2199023255040 bytes"]
        .assert_eq(&message(Extent { pack: 0, offset: 1 << 41 }, &[1 << 42]));
    expect!["bug: a layer lies in 65 packs, it can lie in at most 64"]
        .assert_eq(&message(Extent::default(), &[1024; 65]));
    let xattrs = XattrsBuf::from_iter([("system.nfs4_acl", "x"), ("user.a", "b")]);
    let metadata = Metadata { xattrs: xattrs.as_xattrs(), ..Metadata::default() };
    let lost = file(Extent::default(), &[1024], metadata).unwrap().lost_xattrs;
    assert_eq!((lost.count, lost.first), (1, Some(("/f".into(), "system.nfs4_acl".into()))));
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let entries = layer("d /a").layer.entries;
    let written = write_index(&entries, &ExtentList::default(), &[], BlockSize::Bytes512, Full);
    assert!(matches!(written, Err(IndexError::Output { .. })));
}

#[test]
fn the_tools_of_erofs_read_it() {
    let world = layer("d /d # 0750 1:2 @1700000000\nf /d/f hello # 0640 70000:3 user.a=b\nl /l -> d/f\nf /e ");
    let indexed = Indexed::new(&world.layer, BlockSize::Bytes4096);
    let out = indexed.at("out");
    indexed.run("fsck.erofs", &[&format!("--extract={out}"), "--preserve"]);
    let extracted = scan_tree(&Tree::new(File::open(&out).unwrap().into())).unwrap();
    let lines = |entries: &Entries| -> Vec<String> {
        // It does not extract attributes, nor the times of directories.
        let line = |entry: Entry<'_>| entry.to_string().split(" @").next().unwrap_or_default().to_owned();
        entries.iter().skip(1).map(line).collect()
    };
    assert_eq!(lines(&extracted), lines(&world.layer.entries));
    let shown = indexed.run("dump.erofs", &["-s"]);
    let shown: Vec<&str> =
        shown.lines().filter(|line| line.contains("inode count") || line.contains("features")).collect();
    expect![[r#"
        Filesystem inode count:                       5
        Filesystem features:                          mtime chunked_file device_table "#]]
    .assert_eq(&shown.join("\n"));
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn any_layer_is_the_same_as_a_tree_and_as_an_index(lines in prop::collection::vec(line(), 0..30)) {
        let world = lenient_on(&Stack::default(), &lines);
        for block in [BlockSize::Bytes512, BlockSize::Bytes4096] {
            let indexed = Indexed::new(&world.layer, block);
            prop_assert_eq!(&indexed.mount().entries(), &world.layer.entries);
            let again = Indexed::new(&world.layer, block);
            prop_assert!(fs::read(indexed.at("index")).unwrap() == fs::read(again.at("index")).unwrap());
        }
        Indexed::new(&world.layer, BlockSize::Bytes4096).run("fsck.erofs", &["--extract"]);
    }
}
