//! Small worlds for tests: layers and stacks from a few lines of text.
//!
//! ```text
//! d /usr            directory          f /usr/x hello     file with these bytes      l /s -> /usr    symbolic link
//! o /opt            opaque directory   h /usr/y = /usr/x  hard link                  p /fifo         fifo
//! w /gone           whiteout           c /null 1:3        character device           b /disk 8:0     block device
//! r /gone           whatever is needed to have nothing there
//! ```
//!
//! A line may end in ` # 4755 1000:1000 @1700000000.5 user.a=b` for what differs from 0644 or 0755, root and 1970.
//! Directories that are missing are made. `\xff` in a path stands for that byte.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use layer::{
    Content, Device, EntryPath, EntryPathBuf, FileSource, Layer, Lender, Metadata, MetadataBuf, Mtime, Special, Stack,
    Tree, TreeError, TreeWriter, XattrsBuf,
};
use tempfile::TempDir;

use crate::packed::{assert_same, packed_layer};

/// A directory that is gone at the end of the test.
pub(crate) fn temporary() -> TempDir {
    testkit::require_root();
    tempfile::tempdir().unwrap()
}

/// Opens a directory.
pub(crate) fn open(directory: &TempDir) -> OwnedFd {
    File::open(directory.path()).unwrap().into()
}

/// Parses a path as the lines have it.
pub(crate) fn path(text: &str) -> EntryPathBuf {
    EntryPathBuf::clean(&unescape(text)).unwrap()
}

/// A layer in a directory of its own.
pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) layer: Layer,
}

/// Makes a layer from lines.
pub(crate) fn layer(lines: &str) -> World {
    layer_on(&Stack::default(), lines)
}

/// Makes a layer from lines, on top of others.
pub(crate) fn layer_on(below: &Stack, lines: &str) -> World {
    try_layer(below, lines, |line, done| done.unwrap_or_else(|error| panic!("{line}: {error}")))
}

/// Makes a layer from those lines that can follow each other.
pub(crate) fn lenient_on(below: &Stack, lines: &[String]) -> World {
    try_layer(below, &lines.join("\n"), |_, done| drop(done))
}

fn try_layer(below: &Stack, lines: &str, check: impl Fn(&str, Result<(), TreeError>)) -> World {
    let directory = temporary();
    let writer = TreeWriter::new(open(&directory), below.clone()).unwrap();
    let pack = Arc::new(tempfile::tempfile().unwrap());
    let packing = TreeWriter::packed(Arc::clone(&pack), Lender::default(), below.clone());
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (in_tree, in_pack) = (put(&writer, line), put(&packing, line));
        assert_eq!(in_tree.is_ok(), in_pack.is_ok(), "{line}: {in_pack:?}");
        check(line, in_tree);
    }
    let entries = writer.finish().unwrap().entries;
    let layer = Layer { entries, content: Content::Tree(Tree::new(open(&directory))) };
    let packed = packing.finish().unwrap();
    assert_same(&layer, &packed_layer(&packed.entries, &packed.packed.unwrap()));
    World { directory, layer }
}

/// Puts layers on top of each other, the lowest first. The worlds must live as long as the files are read.
pub(crate) fn stack(worlds: &[World]) -> Stack {
    Stack::new(worlds.iter().map(|world| world.layer.clone()).collect())
}

fn put(writer: &TreeWriter, line: &str) -> Result<(), TreeError> {
    let (line, attributes) = line.split_once(" # ").unwrap_or((line, ""));
    let (kind, rest) = line.split_once(' ').unwrap();
    let (at, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let at = path(at);
    let at = at.as_path();
    let metadata = metadata(attributes, if "do".contains(kind) { 0o755 } else { 0o644 });
    let metadata = metadata.as_metadata();
    writer.make_parents(at, &Metadata::IMPLIED_DIRECTORY)?;
    match kind {
        "d" => writer.make_directory(at, &metadata),
        "o" => writer.make_directory(at, &metadata).and_then(|()| writer.make_opaque(at)),
        "f" => writer.make_file(at, &metadata, FileSource::Bytes(rest.as_bytes())).map(drop),
        "l" => writer.make_symlink(at, &unescape(&rest[3..]), &metadata),
        "h" => writer.make_hard_link(at, path(&rest[2..]).as_path()),
        "c" => writer.make_special(at, Special::CharDevice(device(rest)), &metadata),
        "b" => writer.make_special(at, Special::BlockDevice(device(rest)), &metadata),
        "p" => writer.make_special(at, Special::Fifo, &metadata),
        "w" => writer.make_whiteout(at),
        "r" => writer.remove(at).map(drop),
        other => panic!("unknown kind `{other}`"),
    }
}

/// Parses what stands behind the `#` of a line.
pub(crate) fn metadata(attributes: &str, mode: u16) -> MetadataBuf {
    let mut metadata = MetadataBuf { mode, ..MetadataBuf::default() };
    let mut xattrs = Vec::new();
    for word in attributes.split_whitespace() {
        if let Some((name, value)) = word.split_once('=') {
            xattrs.push((name.to_owned(), unescape(value)));
        } else if let Some(time) = word.strip_prefix('@') {
            let (seconds, fraction) = time.split_once('.').unwrap_or((time, "0"));
            let nanoseconds = format!("{fraction:0<9}").parse().unwrap();
            metadata.mtime = Mtime { seconds: seconds.parse().unwrap(), nanoseconds };
        } else if let Some((uid, gid)) = word.split_once(':') {
            (metadata.uid, metadata.gid) = (uid.parse().unwrap(), gid.parse().unwrap());
        } else {
            metadata.mode = u16::from_str_radix(word, 8).unwrap();
        }
    }
    metadata.xattrs = XattrsBuf::from_iter(xattrs);
    metadata
}

fn device(text: &str) -> Device {
    let (major, minor) = text.split_once(':').unwrap();
    Device { major: major.parse().unwrap(), minor: minor.parse().unwrap() }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}

/// The root of everything.
pub(crate) const ROOT: EntryPath<'static> = EntryPath::ROOT;
