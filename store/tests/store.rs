//! What a store promises: what counts is whole, what does not count goes away, and nothing is taken from those who read it.

#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use oci::{Digest, Platform, Reference, Timestamp};
use store::{ImageLayer, ImageRecord, Layer, LayerRecord, NameRecord, NamedImage, Store};
use tempfile::TempDir;

fn open() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("root")).unwrap();
    (dir, store)
}

/// Makes a layer with one file and records it.
fn layer(store: &Store, content: &str) -> (Layer, LayerRecord) {
    let draft = store.draft_layer().unwrap();
    fs::write(draft.tree().join("file"), content).unwrap();
    let digest = Digest::of(content.as_bytes());
    let record = LayerRecord {
        id: draft.id(),
        content: digest,
        diff_id: Some(digest),
        tar_bytes: Some(1536),
        origin: None,
        packed: None,
        size_bytes: content.len() as u64,
        created: Timestamp::EPOCH,
        seal: None,
    };
    let layer = Layer::finishing(draft, std::future::ready(Ok(record.clone())));
    store.put_layers(&[(layer.clone(), record.clone())], |_| Ok(())).unwrap();
    (layer, record)
}

fn image(layers: &[&LayerRecord]) -> ImageRecord {
    let config = format!("{layers:?}");
    let layer = |record: &&LayerRecord| ImageLayer {
        diff_id: record.diff_id.unwrap(),
        layer: Some((*record).clone()),
        origin: None,
    };
    ImageRecord {
        id: Digest::of(config.as_bytes()),
        config,
        platform: Platform::new("linux", "amd64", None),
        layers: layers.iter().map(layer).collect(),
        manifest: None,
        added: Timestamp::EPOCH,
    }
}

fn name(text: &str, image: &ImageRecord) -> (Reference, NameRecord) {
    let images = vec![NamedImage { platform: image.platform.clone(), id: image.id }];
    (text.parse().unwrap(), NameRecord { images, digest: None, updated: Timestamp::EPOCH })
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_dropped_draft_is_gone() {
    let (_dir, store) = open();
    let draft = store.draft_layer().unwrap();
    fs::write(draft.tree().join("file"), "x").unwrap();
    let path = draft.dir().to_owned();
    drop(draft);
    assert!(!path.exists());
    assert_eq!(names(&store.root().join("trash")), [""; 0]);
}

#[test]
fn a_recorded_layer_stays_and_is_found_by_its_tar() {
    let (_dir, store) = open();
    let (layer, record) = layer(&store, "x");
    let (tree, root) = (layer.tree(), store.root().to_owned());
    drop((layer, store));
    let store = Store::open(&root).unwrap();
    assert_eq!(store.find_layer(&record.diff_id.unwrap()).unwrap(), Some(record.clone()));
    assert_eq!(store.layer(record).unwrap().tree(), tree);
    assert_eq!(fs::read_to_string(tree.join("file")).unwrap(), "x");
    assert_eq!(names(&root.join("drafts")), [""; 0]);
}

#[test]
fn images_and_names_come_back_and_are_removed_together() {
    let (_dir, store) = open();
    let (_layer, record) = layer(&store, "x");
    let image = image(&[&record]);
    let (a, b) = (name("a", &image), name("b:1", &image));
    store.put_images(std::slice::from_ref(&image), &[a.clone(), b.clone()]).unwrap();
    assert_eq!(store.image(&image.id).unwrap(), Some(image.clone()));
    assert_eq!(store.name(&a.0).unwrap(), Some(a.1.clone()));
    assert_eq!(store.names().unwrap(), [a.clone(), b.clone()]);
    assert_eq!(store.remove_images(Some(&a.0), &[]).unwrap(), std::slice::from_ref(&a.0));
    assert_eq!(store.remove_images(Some(&a.0), &[]).unwrap(), []);
    assert_eq!(store.remove_images(None, &[image.id]).unwrap(), [b.0]);
    assert!(store.names().unwrap().is_empty() && store.images().unwrap().is_empty());
    let refused = store.put_images(&[], &[a]).unwrap_err().to_string();
    assert_eq!(
        refused,
        format!("cannot name image {} `docker.io/library/a:latest`: it was removed meanwhile", image.id)
    );
}

#[test]
fn an_equal_image_is_not_written_again() {
    let (_dir, store) = open();
    let (_layer, record) = layer(&store, "x");
    let image = image(&[&record]);
    let named = [name("a", &image)];
    store.put_images(std::slice::from_ref(&image), &named).unwrap();
    let before = fs::metadata(store.root().join("meta.mdb")).unwrap().modified().unwrap();
    let later = ImageRecord { added: Timestamp::now(), ..image.clone() };
    store.put_images(&[later], &named).unwrap();
    assert_eq!(fs::metadata(store.root().join("meta.mdb")).unwrap().modified().unwrap(), before);
}

#[test]
fn what_an_image_was_named_for_is_on_disk() {
    let (_dir, store) = open();
    let (_layer, record) = layer(&store, "x");
    let state = store.root().join("cache.state");
    assert_ne!(fs::read_to_string(&state).unwrap().trim(), "clean");
    let image = image(&[&record]);
    store.put_images(std::slice::from_ref(&image), &[name("a", &image)]).unwrap();
    assert_eq!(fs::read_to_string(&state).unwrap().trim(), "clean");
}

#[test]
fn a_cache_that_may_not_have_reached_the_disk_is_thrown_away_and_images_are_not() {
    let (_dir, store) = open();
    let (_kept, kept) = layer(&store, "kept");
    let image = image(&[&kept]);
    store.put_images(std::slice::from_ref(&image), &[name("a", &image)]).unwrap();
    let (_lost, lost) = layer(&store, "lost");
    let root = store.root().to_owned();
    drop((_kept, _lost, store));
    fs::write(root.join("cache.state"), format!("{:36}", "another boot")).unwrap();

    let store = Store::open(&root).unwrap();
    assert_eq!(store.find_layer(&lost.diff_id.unwrap()).unwrap(), None);
    assert_eq!(names(&root.join("layers")), [kept.id.to_string()]);
    assert_eq!(store.images().unwrap(), [image]);
    assert!(store.layer(kept).is_ok());
}

#[test]
fn a_collection_keeps_what_images_and_results_need() {
    let (_dir, store) = open();
    let (_a, in_image) = layer(&store, "in image");
    let (_b, in_cache) = layer(&store, "in cache");
    let (_c, nowhere) = layer(&store, "nowhere");
    let image = image(&[&in_image]);
    store.put_images(std::slice::from_ref(&image), &[name("a", &image)]).unwrap();
    let collected = store.collect(|_| Ok(BTreeSet::from([in_cache.id]))).unwrap();
    assert_eq!(collected.layers, [nowhere]);
    let mut kept = [in_image.id.to_string(), in_cache.id.to_string()];
    kept.sort();
    assert_eq!(names(&store.root().join("layers")), kept);
}

#[test]
fn a_collection_leaves_the_files_of_those_who_may_be_reading() {
    let (_dir, store) = open();
    let (layer, record) = layer(&store, "x");
    let reading = store.hold_epoch().unwrap();
    assert_eq!(store.collect(|_| Ok(BTreeSet::new())).unwrap().layers.len(), 1);
    assert_eq!(store.find_layer(&record.diff_id.unwrap()).unwrap(), None);
    assert!(layer.tree().join("file").exists());
    drop(reading);
    assert!(store.collect(|_| Ok(BTreeSet::new())).unwrap().layers.is_empty());
    assert!(!layer.tree().exists());
}

#[test]
fn a_reader_that_records_a_deleted_layer_again_keeps_it() {
    let (_dir, store) = open();
    let (layer, record) = layer(&store, "x");
    let reading = store.hold_epoch().unwrap();
    store.collect(|_| Ok(BTreeSet::new())).unwrap();
    store.put_layers(&[(layer.clone(), record.clone())], |_| Ok(())).unwrap();
    drop(reading);
    store.collect(|_| Ok(BTreeSet::from([record.id]))).unwrap();
    assert!(layer.tree().join("file").exists());
}

#[test]
fn a_reader_from_long_ago_keeps_a_layer_that_was_deleted_twice() {
    let (_dir, store) = open();
    let (layer, record) = layer(&store, "x");
    let reading = store.hold_epoch().unwrap();
    store.collect(|_| Ok(BTreeSet::new())).unwrap();
    store.put_layers(&[(layer.clone(), record.clone())], |_| Ok(())).unwrap();
    // Nobody holds the epoch that ends now, but the reader of the one before has the layer.
    store.collect(|_| Ok(BTreeSet::new())).unwrap();
    assert!(layer.tree().join("file").exists());
    drop(reading);
    store.collect(|_| Ok(BTreeSet::new())).unwrap();
    assert!(!layer.tree().exists());
}

#[test]
fn what_nothing_names_is_collected_and_what_is_being_made_is_not() {
    let (_dir, store) = open();
    let (_layer, record) = layer(&store, "x");
    let orphan = store.root().join("layers").join(store::LayerId::random().to_string());
    fs::create_dir_all(orphan.join("fs")).unwrap();
    let container = store.root().join("containers").join(store::ContainerId::random().to_string());
    fs::create_dir(&container).unwrap();
    let draft = store.draft_layer().unwrap();
    store.collect(|_| Ok(BTreeSet::from([record.id]))).unwrap();
    let mut kept = [record.id.to_string(), draft.id().to_string()];
    kept.sort();
    assert_eq!(names(&store.root().join("layers")), kept);
    assert!(!container.exists());
    assert_eq!(names(&store.root().join("trash")), [""; 0]);
}

#[test]
fn blobs_are_checked_and_collected_with_their_images() {
    use std::io::{Read, Write};
    let (_dir, store) = open();
    let (right, wrong) = (Digest::of(b"blob"), Digest::of(b"other"));
    let write = |expected: &Digest| {
        let mut writer = store.blob_writer().unwrap();
        writer.write_all(b"blob").unwrap();
        writer.commit(expected).map_err(|error| error.to_string())
    };
    assert_eq!(write(&wrong), Err(format!("blob is corrupt: expected {wrong}, got {right} (4 bytes)")));
    assert_eq!(write(&right), Ok(()));
    let mut content = String::new();
    store.open_blob(&right).unwrap().unwrap().read_to_string(&mut content).unwrap();
    assert_eq!(content, "blob");
    assert!(store.open_blob(&wrong).unwrap().is_none());
    assert_eq!(store.collect(|_| Ok(BTreeSet::new())).unwrap().blob_bytes, 4);
    assert!(store.open_blob(&right).unwrap().is_none());
}

#[test]
fn a_store_of_another_format_is_refused() {
    let (_dir, store) = open();
    let root = store.root().to_owned();
    drop(store);
    let meta = root.join("meta.mdb");
    let bytes = fs::read(&meta).unwrap();
    let text = b"\"kiln-2\"";
    let place = bytes.windows(text.len()).position(|window| window == text).unwrap();
    let mut newer = bytes;
    newer[place..place + text.len()].copy_from_slice(b"\"kiln-9\"");
    fs::write(&meta, newer).unwrap();
    let error = Store::open(&root).err().unwrap();
    let expected = format!("the store `{}` has format kiln-9, and this kiln knows only format kiln-2", root.display());
    assert_eq!(error.to_string(), expected);
}
