//! Properties over random layers and random changes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use layer::tar::{Limits, Reader, TarOptions, export_layer};
use layer::tree::{Tree, scan_tree};
use layer::unpack::{ArchiveOptions, unpack_archive, unpack_layer};
use layer::{Content, Entry, Follow, Layer, Stack, TreeWriter, digest};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::overlay::Overlay;
use crate::world::{ROOT, World, layer_on, lenient_on, open, path, stack, temporary};

/// The same cases in every run, and no files that remember them; `PROPTEST_CASES` asks for more.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = std::env::var_os("PROPTEST_CASES").map_or(cases, |_| default.cases);
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..default }
}

/// A path of up to three components out of few names, so that paths meet.
fn name() -> impl Strategy<Value = String> {
    prop::collection::vec("[abc]", 1..4).prop_map(|names| names.join("/"))
}

fn attributes() -> impl Strategy<Value = String> {
    let mode = prop::sample::select(vec!["0644", "0755", "4711", "0000", "1777"]);
    let owner = prop::sample::select(vec!["0:0", "1:2", "3000000:4000000"]);
    let time = prop::sample::select(vec!["@0", "@1700000000", "@-7", "@8589934592"]);
    let xattr =
        prop::sample::select(vec!["", " user.k=v", r" trusted.b=\x00\x0a=", " user.long=xxxxxxxxxxxxxxxx user.z="]);
    (mode, owner, time, xattr).prop_map(|(mode, owner, time, xattr)| format!("{mode} {owner} {time}{xattr}"))
}

/// A line of a layer, see [`crate::world`]; user attributes only where the kernel takes them.
pub(crate) fn line() -> impl Strategy<Value = String> {
    let plain = |attributes: &str| attributes.split(" user.").next().unwrap_or_default().to_owned();
    prop_oneof![
        4 => (name(), "[xyz]{0,600}", attributes()).prop_map(|(name, text, meta)| format!("f /{name} {text} # {meta}")),
        2 => (name(), attributes()).prop_map(|(name, meta)| format!("d /{name} # {meta}")),
        1 => (name(), name(), attributes()).prop_map(move |(name, to, meta)| format!("l /{name} -> {to} # 0777 {}", plain(&meta[5..]))),
        1 => (name(), name()).prop_map(|(name, to)| format!("h /{name} = /{to}")),
        1 => (name(), attributes()).prop_map(move |(name, meta)| format!("p /{name} # {}", plain(&meta))),
        1 => (name(), attributes()).prop_map(move |(name, meta)| format!("c /{name} 1:3 # {}", plain(&meta))),
        1 => name().prop_map(|name| format!("w /{name}")),
        1 => name().prop_map(|name| format!("o /{name}")),
    ]
}

/// Makes layers that know each other: a whiteout that deletes nothing is shown by the kernel as a name without a file, where it merges nothing.
fn on_each_other(layers: &[Vec<String>]) -> Vec<World> {
    let mut worlds: Vec<World> = Vec::new();
    for lines in layers {
        let lines: Vec<String> = lines
            .iter()
            .map(|line| match line.strip_prefix("w ") {
                Some(name) => format!("r {name}"),
                None => line.clone(),
            })
            .collect();
        let world = lenient_on(&stack(&worlds), &lines);
        worlds.push(world);
    }
    worlds
}

/// Shows everything in a stack, see [`comparable`].
fn names(stack: &Stack) -> Vec<String> {
    stack.walk(ROOT).map(|found| comparable(&Entry { path: found.entry.path, ..stack.target(&found).entry })).collect()
}

/// Shows everything in a mounted overlay.
fn mounted(overlay: &Overlay) -> Vec<String> {
    let entries = scan_tree(&overlay.tree()).unwrap();
    let whole = (0..entries.count()).map(|index| (entries.path(index), entries.entry(entries.target(index))));
    whole.map(|(path, entry)| comparable(&Entry { path, ..entry })).collect()
}

/// Leaves out what a mounted overlay has its own mind about: which paths are links of each other, since it breaks links when it brings a file up, and the
/// times of directories.
fn comparable(entry: &Entry<'_>) -> String {
    let line = entry.to_string();
    let words: Vec<&str> = line.split(' ').take(4).collect();
    words.join(" ")
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn tar_entries_tree_entries_tar_is_the_identity(lines in prop::collection::vec(line(), 0..14)) {
        let world = lenient_on(&Stack::default(), &lines);
        prop_assert_eq!(&scan_tree(&Tree::new(open(&world.directory))).unwrap(), &world.layer.entries);
        let mut tar = Vec::new();
        let exported = export_layer(&world.layer, TarOptions::LAYER, &mut tar).unwrap();
        let directory = temporary();
        let unpacked = unpack_layer(tar.as_slice(), open(&directory), Limits::default()).unwrap();
        prop_assert_eq!(unpacked.diff_id, exported.digest);
        prop_assert_eq!(&unpacked.entries, &world.layer.entries);
        prop_assert_eq!(&scan_tree(&Tree::new(open(&directory))).unwrap(), &world.layer.entries);
        prop_assert_eq!(digest::of_layer(&unpacked.entries), digest::of_layer(&world.layer.entries));
        let copy = Layer { entries: unpacked.entries, content: Content::Tree(Tree::new(open(&directory))) };
        let mut again = Vec::new();
        export_layer(&copy, TarOptions::LAYER, &mut again).unwrap();
        prop_assert!(again == tar);
    }

    #[test]
    fn stacks_are_what_the_kernel_mounts(layers in prop::collection::vec(prop::collection::vec(line(), 0..10), 1..5)) {
        let worlds = on_each_other(&layers);
        let overlay = Overlay::mount(&worlds);
        let mounted = mounted(&overlay);
        prop_assert_eq!(names(overlay.below()), mounted);
        for found in overlay.below().walk(ROOT) {
            prop_assert_eq!(overlay.below().lookup(found.entry.path), Some(found));
        }
    }

    #[test]
    fn changes_on_top_of_what_was_are_what_is_mounted(
        layers in prop::collection::vec(prop::collection::vec(line(), 0..10), 0..4),
        changes in prop::collection::vec((0..7u8, name(), name()), 1..14),
    ) {
        let worlds = on_each_other(&layers);
        let overlay = Overlay::mount(&worlds);
        for (action, one, other) in &changes {
            // What cannot be done at this point is not done; the kernel says no, not we.
            let _ = act(*action, &overlay.path(one), &overlay.path(other));
        }
        let mounted = mounted(&overlay);
        let changed = overlay.changes();
        let all = overlay.below().layers().iter().cloned().chain([changed.clone()]).collect();
        prop_assert_eq!(names(&Stack::new(all)), mounted);
        // And the same through a tar, which has neither the upper directory nor its opaque marks.
        let mut tar = Vec::new();
        export_layer(&changed, TarOptions::LAYER, &mut tar).unwrap();
        let directory = temporary();
        let pulled = unpack_layer(tar.as_slice(), open(&directory), Limits::default()).unwrap().entries;
        prop_assert_eq!(digest::of_layer(&pulled), digest::of_layer(&changed.entries));
    }

    #[test]
    fn damaged_archives_end_in_an_error_or_a_layer(
        lines in prop::collection::vec(line(), 1..10),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        repair in any::<bool>(),
    ) {
        let mut tar = Vec::new();
        export_layer(&lenient_on(&Stack::default(), &lines).layer, TarOptions::LAYER, &mut tar).unwrap();
        for (at, byte) in &damage {
            let at = at.index(tar.len());
            tar[at] = *byte;
        }
        if repair {
            tar.chunks_exact_mut(512).for_each(seal);
        }
        let cut = cut.index(tar.len() * 4).min(tar.len());
        let limits = Limits { entries_max: 100, content_bytes_max: 1 << 24, stream_bytes_max: 1 << 24 };
        if let Ok(unpacked) = unpack_layer(&tar[..cut], open(&temporary()), limits) {
            prop_assert_eq!(unpacked.size_bytes, cut as u64);
        }
        let directory = temporary();
        let writer = TreeWriter::new(open(&directory), Stack::default()).unwrap();
        let _ = unpack_archive(&tar[..cut], &writer, ROOT, ArchiveOptions { limits, owner: None });
        if let Ok(finished) = writer.finish() && finished.lost_xattrs.count == 0 {
            prop_assert_eq!(scan_tree(&Tree::new(open(&directory))).unwrap(), finished.entries);
        }
    }

    #[test]
    fn any_bytes_are_an_archive_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..4096), packed in any::<bool>()) {
        let mut bytes = bytes;
        bytes.chunks_exact_mut(512).for_each(seal);
        if packed {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&bytes).unwrap();
            bytes = gzip.finish().unwrap();
        }
        layer::tar::is_archive(bytes.as_slice());
        let mut reader = Reader::new(bytes.as_slice(), Limits::default());
        while let Ok(Some(_)) = reader.next() {}
    }

    #[test]
    fn resolving_stays_inside_and_ends(links in prop::collection::vec((name(), "[abc./]{1,9}"), 0..8), asked in "[abc./]{0,12}") {
        let lines: Vec<String> = links.iter().map(|(name, to)| format!("l /{name} -> {to}")).collect();
        let world = lenient_on(&Stack::default(), &lines);
        let stack = Stack::new(vec![world.layer.clone()]);
        if let Ok(resolved) = stack.resolve(asked.as_bytes(), Follow::All) {
            // What is resolved leads to itself, as long as it is there.
            if resolved.found.is_some() {
                let again = stack.resolve(resolved.path.as_path().as_bytes(), Follow::All).unwrap();
                prop_assert_eq!(again.path, resolved.path);
            }
        }
        let below = layer_on(&stack, "f /r/inside x");
        prop_assert!(below.layer.entries.get(path("/r/inside").as_path()).is_some());
    }
}

/// Makes the checksum of a header right, whatever it is a header of.
fn seal(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn act(action: u8, one: &Path, other: &Path) -> std::io::Result<()> {
    match action {
        0 => fs::create_dir_all(one),
        // Without waiting for somebody who reads from a fifo.
        1 => fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
            .open(one)?
            .write_all(format!("{}", other.components().count()).as_bytes()),
        2 => fs::remove_file(one).or_else(|_| fs::remove_dir_all(one)),
        3 => fs::hard_link(one, other),
        4 => std::os::unix::fs::symlink(other.file_name().unwrap_or_default(), one),
        5 => fs::rename(one, other),
        _ => fs::set_permissions(one, fs::Permissions::from_mode(0o700)),
    }
}
