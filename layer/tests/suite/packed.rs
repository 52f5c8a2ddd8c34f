//! Layers of which no file is created: every layer that the other tests make is made in this form too, and has to be the same one.

use std::fs::{self, File};
use std::io::Read;
use std::sync::Arc;

use layer::erofs::{BlockSize, write_index};
use layer::pack::{Packed, UsedPack, write_tree};
use layer::tar::{Limits, TarOptions, export_layer};
use layer::tree::scan_tree;
use layer::unpack::{UnpackError, UnpackedLayer, pack_layer, unpack_layer};
use layer::{
    Content, ContentHash, Entries, FileKeeper, FileRange, FileSource, Kind, Layer, Lender, Metadata, Pack, PackId,
    Stack, Tree, TreeWriter, WrittenFile,
};
use oci::Digest;
use tempfile::tempfile;

use crate::erofs::Indexed;
use crate::world::{layer, open, path, temporary};

/// Makes a layer of what was packed, in the order in which its packs are counted.
pub(crate) fn packed_layer(entries: &Entries, packed: &Packed) -> Layer {
    Layer { entries: entries.clone(), content: Content::Packs(packed.packs(PackId([0; 16]))) }
}

/// Packs the tar of a layer.
pub(crate) fn pack(stream: impl Read + Send) -> Result<(Layer, UnpackedLayer), UnpackError> {
    let (tar, scattered) = (Arc::new(tempfile().unwrap()), Arc::new(tempfile().unwrap()));
    let tar = Pack { id: PackId([1; 16]), file: tar, size_bytes: 0 };
    let unpacked = pack_layer(stream, tar, Arc::clone(&scattered), Limits::default())?;
    let layer = packed_layer(&unpacked.entries, unpacked.packed.as_ref().unwrap());
    Ok((layer, unpacked))
}

fn exported(layer: &Layer) -> Result<Digest, String> {
    let exported = export_layer(layer, TarOptions::FILE_SYSTEM, std::io::sink());
    exported.map(|exported| exported.digest).map_err(|error| error.to_string())
}

/// Checks that both forms have the same entries, export the same bytes, and that the kernel shows of the index what it shows of the tree.
#[track_caller]
pub(crate) fn assert_same(tree: &Layer, packed: &Layer) {
    assert_eq!(packed.entries, tree.entries);
    assert_eq!(exported(packed), exported(tree));
    let Content::Packs(packs) = &packed.content else { panic!("a layer in packs") };
    let directory = temporary();
    for (number, pack) in packs.packs().iter().enumerate() {
        let copy = File::create(directory.path().join(format!("pack{number}"))).unwrap();
        std::io::copy(&mut FileRange::new(Arc::clone(&pack.file), 0, pack.size_bytes), &mut &copy).unwrap();
        copy.set_len(pack.size_bytes).unwrap();
    }
    let sizes: Vec<u64> = packs.packs().iter().map(|pack| pack.size_bytes).collect();
    let index = File::create(directory.path().join("index")).unwrap();
    let written = write_index(&packed.entries, packs.extents(), &sizes, BlockSize::Bytes512, &index).unwrap();
    let mounted = Indexed { directory, written }.mount().entries();
    assert_eq!(mounted.to_string(), tree.entries.to_string());
    let again = temporary();
    assert_eq!(write_tree(packed, open(&again)).unwrap().entries, tree.entries);
    assert_eq!(scan_tree(&Tree::new(open(&again))).unwrap().to_string(), tree.entries.to_string());
}

/// Makes a file of what is there already, if it is.
fn reuse(writer: &TreeWriter, name: &str, metadata: &Metadata<'_>, written: WrittenFile) -> bool {
    let lent = writer.find_lent(written);
    lent.map(|lent| writer.make_lent_file(path(name), metadata.into(), lent).unwrap()).is_some()
}

#[test]
fn a_sparse_file_of_a_tar_is_packed_beside_it() {
    let directory = temporary();
    let file = File::create(directory.path().join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"middle", 1 << 20).unwrap();
    file.set_len(3 << 20).unwrap();
    fs::write(directory.path().join("plain"), "plain").unwrap();
    let tar = std::process::Command::new("tar")
        .args(["--sparse", "--sort=name", "-c", "-C"])
        .arg(directory.path())
        .args(["plain", "sparse"])
        .output()
        .unwrap()
        .stdout;
    let (packed, unpacked) = pack(tar.as_slice()).unwrap();
    assert_eq!(unpacked.packed.unwrap().packs.len(), 2);
    let tree = temporary();
    let unpacked = unpack_layer(tar.as_slice(), open(&tree), Limits::default()).unwrap();
    assert_same(&Layer { entries: unpacked.entries, content: Content::Tree(Tree::new(open(&tree))) }, &packed);
}

#[test]
fn what_an_earlier_layer_has_is_not_written_again() {
    let (b, c) = ("b".repeat(700_000), "c".repeat(700_001));
    let earlier = layer(&format!("f /a one\nf /b {b}\nf /c {c}"));
    let own = Arc::new(tempfile().unwrap());
    let writer = TreeWriter::packed(Arc::clone(&own), Lender::default(), Stack::default());
    for (index, entry) in earlier.layer.entries.iter().enumerate() {
        if matches!(entry.kind, Kind::File { .. }) {
            let range = earlier.layer.open(index).unwrap();
            let source = FileSource::Range { range: &range, content: None };
            writer.make_file(entry.path, &entry.metadata, source).unwrap();
        }
    }
    let finished = writer.finish().unwrap();
    let first = packed_layer(&finished.entries, &finished.packed.unwrap());

    let delta = Arc::new(tempfile().unwrap());
    let writer = TreeWriter::packed(Arc::clone(&delta), Lender::of(&first), Stack::default());
    for (name, index) in [("b", 2), ("new/c", 3)] {
        let Kind::File { size_bytes, content } = first.entries.entry(index).kind else { panic!("a file") };
        writer.make_parents(path(name).as_path(), &Metadata::IMPLIED_DIRECTORY).unwrap();
        let metadata = Metadata { mode: 0o644, ..Metadata::default() };
        assert!(reuse(&writer, name, &metadata, WrittenFile { size_bytes, content }));
    }
    let changed = Metadata { mode: 0o644, ..Metadata::default() };
    writer.make_file(path("a").as_path(), &changed, FileSource::Bytes(b"changed")).unwrap();
    let finished = writer.finish().unwrap();
    let packed = finished.packed.unwrap();
    assert_eq!(delta.metadata().unwrap().len(), 512);
    assert_eq!(packed.packs.iter().map(UsedPack::size_bytes).collect::<Vec<_>>(), [512, 512 + 2 * 1368 * 512]);
    let second = packed_layer(&finished.entries, &packed);
    assert_same(&layer(&format!("f /a changed\nf /b {b}\nf /new/c {c}")).layer, &second);

    // A third one needs little of the first: nothing is lent that would keep what nobody needs. What is in small packs is written again.
    let third = TreeWriter::packed(tempfile().unwrap(), Lender::of(&second), Stack::default());
    for (index, is_lent) in [(1, false), (2, true)] {
        let Kind::File { size_bytes, content } = second.entries.entry(index).kind else { panic!("a file") };
        let written = WrittenFile { size_bytes, content };
        assert_eq!(reuse(&third, "only", &changed, written), is_lent);
    }
    let packs = third.finish().unwrap().packed.unwrap().packs;
    assert_eq!(packs.iter().map(UsedPack::size_bytes).collect::<Vec<_>>(), [512 + 2 * 1368 * 512]);
    let without_b = TreeWriter::packed(Arc::clone(&delta), Lender::of(&second), Stack::default());
    let Kind::File { size_bytes, content } = second.entries.entry(4).kind else { panic!("a file") };
    let written = WrittenFile { size_bytes, content };
    assert!(reuse(&without_b, "c", &changed, written));
    let finished = without_b.finish().unwrap();
    let last = packed_layer(&finished.entries, &finished.packed.unwrap());
    let fourth = TreeWriter::packed(tempfile().unwrap(), Lender::of(&last), Stack::default());
    let is_lent = reuse(&fourth, "c", &changed, written);
    assert!(!is_lent, "half of the pack is of no use any more");
}

/// Writes files beneath a directory: sparse ones, long and short ones, equal ones.
fn files_of_all_lengths(directory: &std::path::Path) -> Vec<(&'static str, Vec<u8>)> {
    let long: Vec<u8> = (0..700_001_u32).map(|number| (number / 3) as u8).collect();
    let mut sparse = vec![0; 3 << 20];
    sparse[(1 << 20)..][..6].copy_from_slice(b"middle");
    let short = |number: usize| vec![b'a' + (number % 20) as u8; 1 + number * 97 % 5000];
    let names = ["s00", "s01", "s02", "s03", "s04", "s05", "s06", "s07", "s08", "s09"];
    let mut files: Vec<_> = names.iter().enumerate().map(|(number, name)| (*name, short(number))).collect();
    files.extend([("empty", Vec::new()), ("equal", short(3)), ("long", long), ("sparse", sparse)]);
    for (name, bytes) in &files {
        fs::write(directory.join(name), bytes).unwrap();
    }
    files
}

fn pack_in(file: File) -> Pack {
    Pack { id: PackId([7; 16]), file: Arc::new(file), size_bytes: 0 }
}

#[test]
fn files_are_kept_while_they_are_read_and_make_a_layer_without_being_read_again() {
    let directory = temporary();
    let files = files_of_all_lengths(directory.path());
    let keeper = FileKeeper::new(pack_in(tempfile().unwrap()));
    let mut reader = keeper.reader();
    let mut read = Vec::new();
    for (name, bytes) in &files {
        let range = FileRange::whole(File::open(directory.path().join(name)).unwrap()).unwrap();
        let (size_bytes, content) = reader.read(&range).unwrap();
        assert_eq!((size_bytes, content), (bytes.len() as u64, ContentHash::of(bytes)));
        read.push((*name, WrittenFile { size_bytes, content }));
    }
    drop(reader);
    let kept = keeper.finish().unwrap();
    // One of two equal files, and of the sparse one no more than what is not a hole.
    let total: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    assert!(kept.size_bytes() < total + 512 * files.len() as u64, "{}", kept.size_bytes());

    let mut lender = Lender::default();
    lender.lend_kept(&kept);
    let own = Arc::new(tempfile().unwrap());
    let writer = TreeWriter::packed(Arc::clone(&own), lender, Stack::default());
    for (name, written) in read {
        let metadata = Metadata { mode: 0o644, ..Metadata::default() };
        if written.size_bytes == 0 {
            writer.make_file(path(name).as_path(), &metadata, FileSource::Bytes(&[])).unwrap();
        } else {
            assert!(reuse(&writer, name, &metadata, written), "{name}");
        }
    }
    let finished = writer.finish().unwrap();
    let packed = packed_layer(&finished.entries, &finished.packed.unwrap());
    let tree = temporary();
    let writer = TreeWriter::new(open(&tree), Stack::default()).unwrap();
    for (name, bytes) in &files {
        let metadata = Metadata { mode: 0o644, ..Metadata::default() };
        writer.make_file(path(name).as_path(), &metadata, FileSource::Bytes(bytes)).unwrap();
    }
    let entries = writer.finish().unwrap().entries;
    assert_same(&Layer { entries, content: Content::Tree(Tree::new(open(&tree))) }, &packed);
}

#[test]
fn files_are_read_even_if_they_cannot_be_kept() {
    let directory = temporary();
    let files = files_of_all_lengths(directory.path());
    // Nothing can be written through it.
    let keeper = FileKeeper::new(pack_in(File::open(directory.path().join("empty")).unwrap()));
    for (name, bytes) in &files {
        let range = FileRange::whole(File::open(directory.path().join(name)).unwrap()).unwrap();
        assert_eq!(keeper.reader().read(&range).unwrap(), (bytes.len() as u64, ContentHash::of(bytes)));
    }
    assert!(keeper.finish().is_none());
}
