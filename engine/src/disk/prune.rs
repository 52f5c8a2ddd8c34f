//! Giving room back: which records go, and their removal.
//!
//! A layer goes when nothing lies on it any more, so of two the upper one goes first, and what was used longest ago goes first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cache::ResultSummary;
use oci::{Digest, Timestamp};
use store::{LayerId, Store};

use super::filter::Filter;
use super::record::{DiskRecord, RecordKind, Subject};
use crate::{Engine, Error};

/// How long nothing is given back by policy after it was.
const COLLECTION_PAUSE: Duration = Duration::from_secs(600);

/// What is to be given back.
#[derive(Clone, Debug, Default)]
pub struct CachePrune {
    /// Whether the results of steps go too whose files images need: then the steps run again.
    pub all: bool,
    /// What records have to be, all of it.
    pub filters: Vec<Filter>,
    /// What stays although it matches.
    pub limits: Limits,
}

/// How much may stay; without any limit, nothing has to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// So much may stay in any case.
    pub reserved_bytes: Option<u64>,
    /// No more may stay.
    pub used_bytes_max: Option<u64>,
    /// So much of the disk is to be free, as far as that is possible.
    pub free_bytes_min: Option<u64>,
}

impl Limits {
    /// Returns how much may stay when `total_bytes` are there and `free_bytes` of the disk are free.
    fn kept_bytes(&self, total_bytes: u64, free_bytes: u64) -> u64 {
        let by_use = self.used_bytes_max;
        let lacking = self.free_bytes_min.map(|wanted| wanted.saturating_sub(free_bytes));
        let by_space = lacking.map(|lacking| total_bytes.saturating_sub(lacking));
        let most = by_use.into_iter().chain(by_space).min();
        most.unwrap_or(0).max(self.reserved_bytes.unwrap_or(0))
    }
}

impl Engine {
    /// Removes what is asked for, and returns it. What a running build may be reading goes from the disk with a later pruning.
    pub fn prune_cache(&self, request: &CachePrune) -> Result<Vec<DiskRecord>, Error> {
        let records = self.disk_records()?;
        let chosen = choose(records, request, self.store.disk_space()?.free_bytes, Timestamp::now());
        self.remove_records(&chosen, request)?;
        Ok(chosen)
    }

    /// Gives room back as the policy wants it, unless that was done lately or another process is at it. What is removed is returned.
    pub fn collect_by_policy(&self) -> Result<Vec<DiskRecord>, Error> {
        let Some(_turn) = self.store.take_collection_turn(COLLECTION_PAUSE)? else { return Ok(Vec::new()) };
        let mut removed = Vec::new();
        for rule in self.policy.rules(self.store.disk_space()?.total_bytes) {
            removed.extend(self.prune_cache(&rule)?);
        }
        Ok(removed)
    }

    fn remove_records(&self, records: &[DiskRecord], request: &CachePrune) -> Result<(), Error> {
        let mut layers = BTreeSet::new();
        for record in records {
            match &record.subject {
                Subject::Layer(id) => drop(layers.insert(*id)),
                Subject::CacheMount(key) => drop(self.store.remove_cache_mount(key)?),
                Subject::Context(path) => self.store.remove_context_index(path)?,
                Subject::Blob | Subject::Own => {}
            }
        }
        let results = self.results_to_remove(&layers, request)?;
        self.store.collect(|writer| {
            let remaining = cache::prune(writer, |result| !results.contains(&result.key))?;
            let known = Store::layer_ids(&writer.reader())?.into_iter();
            // What was recorded since it was decided what goes stays.
            Ok(known.filter(|id| remaining.contains(id) || !layers.contains(id)).collect())
        })?;
        Ok(())
    }

    /// Returns the results that cannot or need not stay: those with a layer that goes, and with `all` those that images need.
    fn results_to_remove(&self, layers: &BTreeSet<LayerId>, request: &CachePrune) -> Result<BTreeSet<Digest>, Error> {
        let results = self.store.cache().read(cache::results)?;
        let now = Timestamp::now();
        let is_only_by_time = request.filters.iter().all(Filter::is_of_time) && request.limits == Limits::default();
        let is_old = |result: &ResultSummary| request.filters.iter().all(|filter| filter.is_met_at(result.used, now));
        let goes = |result: &ResultSummary| {
            result.layers().any(|layer| layers.contains(&layer)) || (request.all && is_only_by_time && is_old(result))
        };
        Ok(results.into_iter().filter(|result| goes(result)).map(|result| result.key).collect())
    }
}

/// Returns the records that go, in the order in which they do.
fn choose(records: Vec<DiskRecord>, request: &CachePrune, free_bytes: u64, now: Timestamp) -> Vec<DiskRecord> {
    let mut children: BTreeMap<String, usize> = BTreeMap::new();
    for parent in records.iter().flat_map(|record| &record.parents) {
        *children.entry(parent.clone()).or_default() += 1;
    }
    let depths = depths(&records);
    let is_wanted = |record: &DiskRecord| request.filters.iter().all(|filter| filter.matches(record, now));
    let is_sized = |record: &&DiskRecord| request.filters.iter().all(|it| it.is_of_time() || it.matches(record, now));
    let can_go = |record: &DiskRecord| record.is_reclaimable() && record.kind != RecordKind::Internal;
    let mut total_bytes: u64 =
        records.iter().filter(|it| can_go(it)).filter(is_sized).map(|record| record.size_bytes).sum();
    let kept_bytes = request.limits.kept_bytes(total_bytes, free_bytes);
    let mut candidates: Vec<DiskRecord> = records.into_iter().filter(|it| can_go(it) && is_wanted(it)).collect();
    // Of what was used at the same time, what lies on top goes first: a layer is used whenever one on it is.
    candidates.sort_by_key(|record| (record.used, std::cmp::Reverse(depths.get(&record.id).copied().unwrap_or(0))));
    let mut chosen = Vec::new();
    for record in candidates {
        if total_bytes <= kept_bytes && kept_bytes > 0 {
            break;
        }
        if children.get(&record.id).is_some_and(|count| *count > 0) {
            continue;
        }
        for parent in &record.parents {
            children.entry(parent.clone()).and_modify(|count| *count -= 1);
        }
        total_bytes -= record.size_bytes.min(total_bytes);
        chosen.push(record);
    }
    chosen
}

/// Returns how many layers lie beneath each.
fn depths(records: &[DiskRecord]) -> BTreeMap<String, usize> {
    let parents: BTreeMap<&str, &BTreeSet<String>> =
        records.iter().map(|record| (record.id.as_str(), &record.parents)).collect();
    let mut depths: BTreeMap<String, usize> = BTreeMap::new();
    for record in records {
        // Down to what is known, then up again: chains may be long, so not by recursion.
        let mut chain = vec![record.id.as_str()];
        while let Some(parent) = chain.last().and_then(|id| parents.get(id)).and_then(|parents| parents.first()) {
            if depths.contains_key(parent) || chain.contains(&parent.as_str()) {
                break;
            }
            chain.push(parent);
        }
        for id in chain.into_iter().rev() {
            let beneath = parents.get(id).and_then(|parents| parents.first()).and_then(|parent| depths.get(parent));
            let depth = beneath.map_or(0, |depth| depth + 1);
            depths.entry(id.to_owned()).or_insert(depth);
        }
    }
    depths
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    /// Reads records: `id size used[ <parent][ shared]`, a line each.
    fn records(text: &str) -> Vec<DiskRecord> {
        let record = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let parents = words.iter().filter_map(|word| word.strip_prefix('<')).map(str::to_owned).collect();
            let is_shared = words.contains(&"shared");
            DiskRecord {
                id: words[0].to_owned(),
                parents,
                size_bytes: words[1].parse().unwrap(),
                used: Timestamp::from_unix(words[2].parse().unwrap(), 0),
                is_shared,
                is_in_use: is_shared,
                kind: RecordKind::Regular,
                ..DiskRecord::own(String::new(), String::new(), 0, Subject::Own)
            }
        };
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(record).collect()
    }

    #[track_caller]
    fn check(text: &str, filters: &[&str], limits: Limits, expected: &str) {
        let filters = filters.iter().map(|text| Filter::parse(text).unwrap()).collect();
        let request = CachePrune { all: false, filters, limits };
        let now = Timestamp::from_unix(NOW, 0).unwrap();
        let chosen: Vec<String> = choose(records(text), &request, 50, now).into_iter().map(|it| it.id).collect();
        assert_eq!(chosen.join(" "), expected);
    }

    const CHAIN: &str = "base 10 999999\na 20 999999 <base\nb 30 500 <a\nc 40 999999 <a\nold 5 100";

    #[test]
    fn without_limits_all_goes_and_what_lies_on_top_goes_first() {
        check(CHAIN, &[], Limits::default(), "old b c a base");
    }

    #[test]
    fn what_images_need_and_what_lies_beneath_it_stays() {
        check("base 10 5 shared\na 20 5 <base shared\nb 30 5 <a", &[], Limits::default(), "b");
    }

    #[test]
    fn what_was_used_lately_stays() {
        check(CHAIN, &["until=1h"], Limits::default(), "old b");
        check(CHAIN, &["until=1h", "id!=old"], Limits::default(), "b");
        check(CHAIN, &["id=a"], Limits::default(), "");
        check(CHAIN, &["unused-for=1h", "id=l"], Limits::default(), "old");
        check(CHAIN, &["id==l"], Limits::default(), "");
        check(CHAIN, &["parents=a", "id!=b"], Limits::default(), "c");
        check("a 1 5\nb 1 5\nab 2 5 <a <b", &["parents=b;a"], Limits::default(), "ab");
        check("a 1 5\nb 1 5\nab 2 5 <a <b", &["parents=b;c"], Limits::default(), "");
    }

    #[test]
    fn what_was_used_longest_ago_goes_until_the_rest_is_small_enough() {
        let limits =
            |reserved, used, free| Limits { reserved_bytes: reserved, used_bytes_max: used, free_bytes_min: free };
        check(CHAIN, &[], limits(None, Some(70), None), "old b");
        check(CHAIN, &[], limits(Some(100), None, None), "old");
        check(CHAIN, &[], limits(Some(1000), Some(1), None), "");
        check(CHAIN, &[], limits(None, None, Some(80)), "old b");
        check(CHAIN, &[], limits(None, None, Some(50)), "");
    }
}
