//! What the cache promises the solver.

#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cache::Cache;
use oci::{Digest, Timestamp};
use solver::{Cache as _, Record};
use store::{Layer, LayerRecord, Snapshot, Store};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

struct Fixture {
    _dir: TempDir,
    store: Store,
    cache: Cache,
    runtime: tokio::runtime::Runtime,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("root")).unwrap();
        let cache = Cache::new(store.clone(), |trouble| panic!("{trouble}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Self { _dir: dir, store, cache, runtime }
    }

    /// Makes a layer that no record names yet.
    fn layer(&self, content: &str) -> Layer {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let draft = self.store.draft_layer().unwrap();
        fs::write(draft.tree().join("file"), content).unwrap();
        let record = LayerRecord {
            id: draft.id(),
            content: Digest::of(content.as_bytes()),
            diff_id: None,
            tar_bytes: None,
            origin: None,
            packed: None,
            size_bytes: content.len() as u64,
            created: Timestamp::from_unix(COUNT.fetch_add(1, Ordering::SeqCst) as i64, 0).unwrap(),
            seal: None,
        };
        Layer::finishing(draft, std::future::ready(Ok(record)))
    }

    fn record(&self, keys: (&str, &str), snapshot: &Snapshot, replace: bool) -> Snapshot {
        let contents: Vec<String> = snapshot
            .layers
            .iter()
            .map(|layer| self.runtime.block_on(layer.record()).unwrap().content.to_string())
            .collect();
        let record = Record {
            name: keys.0.to_owned(),
            op: Digest::of(b"op"),
            definition: key(keys.0),
            content: key(keys.1),
            outputs: vec![(snapshot.clone(), Digest::of(contents.concat().as_bytes()))],
            replace,
        };
        self.runtime.block_on(self.cache.record(record)).remove(0)
    }

    fn find(&self, name: &str) -> Option<Vec<String>> {
        self.cache.find(&key(name)).map(|found| ids(&found.outputs[0]))
    }
}

fn key(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn ids(snapshot: &Snapshot) -> Vec<String> {
    snapshot.layers.iter().map(|layer| layer.id().to_string()).collect()
}

#[test]
fn a_result_is_found_under_both_keys() {
    let fixture = Fixture::new();
    let snapshot = Snapshot::new([fixture.layer("a"), fixture.layer("b")]);
    assert_eq!(fixture.find("def"), None);
    assert!(!fixture.cache.knows(&Digest::of(b"op")));
    fixture.record(("def", "content"), &snapshot, false);
    assert_eq!(fixture.find("def"), Some(ids(&snapshot)));
    assert_eq!(fixture.find("content"), Some(ids(&snapshot)));
    assert!(fixture.cache.knows(&Digest::of(b"op")));
    assert!(!fixture.cache.knows(&Digest::of(b"another")));
    fixture.cache.alias(&key("other def"), &key("content"));
    assert_eq!(fixture.find("other def"), Some(ids(&snapshot)));
}

#[test]
fn the_first_of_two_equal_snapshots_wins() {
    let fixture = Fixture::new();
    let base = fixture.layer("base");
    let first = Snapshot::new([base.clone(), fixture.layer("same")]);
    let second = Snapshot::new([base, fixture.layer("same")]);
    let tree = second.layers[1].tree();
    fixture.record(("d1", "c1"), &first, false);
    assert_eq!(ids(&fixture.record(("d2", "c2"), &second, false)), ids(&first));
    assert_eq!(fixture.find("d2"), Some(ids(&first)));
    drop(second);
    assert!(!tree.exists(), "the second layer is gone with its last user");
}

#[test]
fn a_result_that_replaces_wins_over_the_first() {
    let fixture = Fixture::new();
    let (first, second) = (Snapshot::new([fixture.layer("same")]), Snapshot::new([fixture.layer("same")]));
    fixture.record(("d", "c"), &first, false);
    fixture.record(("d", "c"), &second, true);
    assert_eq!(fixture.find("d"), Some(ids(&second)));
}

#[test]
fn a_pruned_result_is_not_found_and_leaves_no_trace() {
    let fixture = Fixture::new();
    let (gone, kept) = (Snapshot::new([fixture.layer("gone")]), Snapshot::new([fixture.layer("kept")]));
    fixture.record(("d1", "c1"), &gone, false);
    fixture.record(("d2", "c2"), &kept, false);
    fixture.cache.alias(&key("d3"), &key("c1"));
    let collected = fixture.store.collect(|writer| cache::prune(writer, |result| result.key == key("c2"))).unwrap();
    assert_eq!(collected.layers.len(), 1);
    assert_eq!([fixture.find("d1"), fixture.find("c1"), fixture.find("d3")], [None, None, None]);
    assert_eq!(fixture.find("d2"), Some(ids(&kept)));
    let left: BTreeSet<Digest> =
        fixture.store.cache().read(cache::results).unwrap().into_iter().map(|result| result.key).collect();
    assert_eq!(left, BTreeSet::from([key("c2")]));
    // The same content can be recorded again: nothing points at the layer that is gone.
    let again = Snapshot::new([fixture.layer("gone")]);
    assert_eq!(ids(&fixture.record(("d1", "c1"), &again, false)), ids(&again));
}

/// How many results are pruned at once, and how much of a processor's time that may take: on a machine that does other things too, clocks say little.
const RECORDS: usize = 1000;
const PRUNE_MAX: Duration = Duration::from_secs(1);

/// Returns how long this thread has run.
fn thread_time() -> Duration {
    let times = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(times.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn pruning_a_thousand_results_takes_less_than_a_second_and_blocks_nobody() {
    let fixture = Fixture::new();
    for number in 0..RECORDS {
        let snapshot = Snapshot::new([fixture.layer(&number.to_string())]);
        fixture.record((&format!("d{number}"), &format!("c{number}")), &snapshot, false);
    }
    let kept = Snapshot::new([fixture.layer("kept")]);
    fixture.record(("kept", "kept content"), &kept, false);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !is_done.load(Ordering::SeqCst) {
                let began = Instant::now();
                assert!(fixture.find("kept").is_some());
                longest = longest.max(began.elapsed());
            }
            longest
        });
        let (began, used) = (Instant::now(), thread_time());
        let is_kept = |result: &cache::ResultSummary| result.key == key("kept content");
        let collected = fixture.store.collect(|writer| cache::prune(writer, is_kept)).unwrap();
        let (took, used) = (began.elapsed(), thread_time() - used);
        is_done.store(true, Ordering::SeqCst);
        let longest = other.join().unwrap();
        assert_eq!(collected.layers.len(), RECORDS);
        assert!(used < PRUNE_MAX, "it took {used:?}");
        assert!(longest < took * 2 / 3, "of {took:?}, somebody waited for {longest:?}");
    });
    assert_eq!(fs::read_dir(fixture.store.root().join("layers")).unwrap().count(), 1);
}

#[test]
fn one_task_holds_a_key_and_the_others_wait() {
    let fixture = Fixture::new();
    let (cancel, key) = (CancellationToken::new(), key("key"));
    let lock = || fixture.cache.lock(&key, &cancel);
    fixture.runtime.block_on(async {
        let held = lock().await;
        assert!(held.as_ref().is_some_and(Option::is_some));
        let waiting = tokio::time::timeout(Duration::from_millis(1), lock()).await;
        assert!(waiting.is_err());
        drop(held);
        assert!(lock().await.is_some());
        let _held = lock().await;
        cancel.cancel();
        assert!(lock().await.is_none());
    });
}
