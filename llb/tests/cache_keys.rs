//! `docs/cache-keys.md` lists every field of every operation, and says truly which of them a key covers.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};

use llb::{
    CacheMount, CacheSharing, Copy, Exec, ExtraHost, FileAction, GitSource, Graph, Hints, HttpSource, ImageOrigin,
    ImageSource, InlineFile, Limits, LocalSource, MakeDir, Mount, MountKind, NetworkMode, Op, SecretMount,
    SecurityMode, Source, SshMount, Ulimit, Unpack,
};
use oci::{Digest, Platform};
use serde_json::Value;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cache-keys.md");

/// One operation of each kind with every field set to something that is not left out of its JSON.
fn operations() -> Vec<Op> {
    let text = || "x".to_owned();
    let platform = || Platform::new("linux", "arm", Some("v6"));
    let sources = [
        Source::Image(Box::new(ImageSource {
            reference: "x".parse().unwrap(),
            manifest: Digest::of(b"x"),
            platform: platform(),
            origin: ImageOrigin::Layout(text()),
        })),
        Source::Local(LocalSource { name: text(), ignore: vec![text()] }),
        Source::Inline(vec![InlineFile { name: text(), content: text(), mode: 0o644 }]),
        Source::Http(HttpSource {
            url: text(),
            checksum: Some(format!("sha256:{}", "0".repeat(64)).parse().unwrap()),
            filename: Some(text()),
            mode: 0o600,
        }),
        Source::Git(GitSource {
            remote: text(),
            reference: text(),
            subdir: text(),
            checksum: text(),
            keep_git_dir: true,
            skip_submodules: true,
            commit_times: true,
        }),
    ];
    let mount = |kind| Mount { target: text(), readonly: true, kind };
    let cache = CacheMount { id: text(), input: Some(1), sharing: CacheSharing::Locked, mode: 1, uid: 1, gid: 1 };
    let secret = SecretMount { id: text(), required: true, env: Some(text()), file: true, mode: 1, uid: 1, gid: 1 };
    let ssh = SshMount { id: text(), required: true, mode: 1, uid: 1, gid: 1 };
    let exec = Exec {
        args: vec![text()],
        env: vec![text().into()],
        proxy_env: vec![text()],
        cwd: text(),
        user: text(),
        hostname: Some(text()),
        mounts: vec![
            mount(MountKind::Bind { input: 1 }),
            mount(MountKind::Cache(cache)),
            mount(MountKind::Tmpfs { size_bytes: Some(1) }),
            mount(MountKind::Secret(secret)),
            mount(MountKind::Ssh(ssh)),
        ],
        network: NetworkMode::None,
        security: SecurityMode::Insecure,
        devices: vec![(text(), true)],
        extra_hosts: vec![ExtraHost { name: text(), address: text() }],
        limits: Limits {
            shm_bytes: Some(1),
            ulimits: vec![Ulimit { name: text(), soft: Some(1), hard: Some(1) }],
            cgroup_parent: Some(text()),
            memory_bytes: Some(1),
            memory_and_swap_bytes: Some(1),
            cpu_quota_microseconds: Some(1),
            cpu_period_microseconds: Some(1),
            cpu_shares: Some(1),
            cpuset_cpus: Some(text()),
            cpuset_mems: Some(text()),
            pids: Some(1),
        },
        platform: platform(),
    };
    let copy =
        Copy { input: 1, destination: text(), owner: Some(text()), mode: Some(text()), unpack: Unpack::Archives };
    let dir = MakeDir { path: text(), mode: 1, owner: Some(text()) };
    let mut operations: Vec<Op> = sources.into_iter().map(Op::Source).collect();
    operations.push(Op::Exec(Box::new(exec)));
    operations.push(Op::File(vec![FileAction::Copy(copy), FileAction::MakeDir(dir)]));
    operations
}

/// Returns the fields of a value by their paths; the places in lists do not count, but lists of plain values are one field.
fn fields(value: &Value, path: &str, found: &mut BTreeMap<String, BTreeSet<String>>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(fields_of) => fields_of.iter().for_each(|(name, value)| fields(value, &below(name), found)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().for_each(|item| fields(item, path, found));
        }
        leaf => drop(found.entry(path.to_owned()).or_default().insert(leaf.to_string())),
    }
}

fn fields_of(op: &Op) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    fields(&serde_json::to_value(op).unwrap(), "", &mut found);
    found
}

/// Returns what the table of the document says of each field.
fn documented() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(DOCUMENT).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let field = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
        Some((field.to_owned(), (*cells.get(2)?).to_owned()))
    };
    text.lines().filter(|line| line.starts_with("| `")).filter_map(row).collect()
}

#[test]
fn the_document_says_of_every_field_whether_it_is_in_a_key() {
    let mut actual = BTreeMap::new();
    for op in operations() {
        let keyed = match &op {
            Op::Exec(exec) => Op::Exec(Box::new(exec.keyed())),
            other => other.clone(),
        };
        let (all, kept) = (fields_of(&op), fields_of(&keyed));
        let is_pinned =
            matches!(&op, Op::Source(Source::Image(_) | Source::Local(_) | Source::Http(_) | Source::Git(_)));
        for (field, values) in all {
            let verdict = match (is_pinned, kept.get(&field) == Some(&values)) {
                (true, _) => "pin",
                (false, true) => "yes",
                (false, false) => "no",
            };
            actual.insert(field, verdict.to_owned());
        }
    }
    assert_eq!(documented(), actual);
}

#[test]
fn a_field_that_is_in_no_key_does_not_change_the_key_digest() {
    for op in operations() {
        let keyed = match &op {
            Op::Exec(exec) => Op::Exec(Box::new(exec.keyed())),
            other => other.clone(),
        };
        assert_eq!(op.key_digest(), keyed.digest());
    }
}

#[test]
fn the_key_digest_of_a_vertex_is_that_of_its_operation() {
    let all = operations();
    let Some(Op::Exec(full)) = all.iter().find(|op| matches!(op, Op::Exec(_))).cloned() else { unreachable!() };
    let keyed = Exec { mounts: Vec::new(), extra_hosts: Vec::new(), ..full.keyed() };
    let each_alone = [
        keyed.clone(),
        Exec { proxy_env: full.proxy_env.clone(), ..keyed.clone() },
        Exec { limits: full.limits.clone(), ..keyed.clone() },
        Exec { extra_hosts: full.extra_hosts.clone(), ..keyed.clone() },
        Exec { mounts: full.mounts.clone(), ..keyed },
    ];
    for op in all.into_iter().chain(each_alone.map(|exec| Op::Exec(Box::new(exec)))) {
        let mut graph = Graph::new();
        let id = graph.add(op, Vec::new(), Hints::default()).unwrap();
        assert_eq!(graph[id].key_digest, graph[id].op.key_digest());
    }
}
