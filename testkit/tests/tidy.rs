//! What holds of the code itself: who uses whom, and what must not stand in it.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// The longest a file may be; at half of it there is a seam.
const LINES_MAX: usize = 1000;

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns all Rust files of the project, but not of what it builds.
fn sources() -> Vec<PathBuf> {
    let mut pending = vec![PathBuf::from(ROOT)];
    let mut found = Vec::new();
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !matches!(name.as_str(), "target" | ".git" | "corpus" | "artifacts") {
                pending.push(path);
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn members() -> BTreeSet<String> {
    let manifest = read("Cargo.toml");
    let list = manifest.split("members = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
    list.split(',').map(|name| name.trim().trim_matches('"').to_owned()).filter(|name| !name.is_empty()).collect()
}

/// Returns the crates of the project that a crate's manifest names outside of its tests.
fn arrows_of(member: &str, members: &BTreeSet<String>) -> BTreeSet<String> {
    let manifest = read(format!("{member}/Cargo.toml"));
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let name = |line: &str| line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned();
    section.lines().map(name).filter(|name| members.contains(name)).collect()
}

#[test]
fn crates_use_each_other_as_the_architecture_says() {
    let text = read("ARCHITECTURE.md");
    let table = text.split("```arrows\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let row = |line: &str| {
        let (from, to) = line.split_once("->").unwrap();
        (from.trim().to_owned(), to.split_whitespace().map(str::to_owned).collect::<BTreeSet<String>>())
    };
    let allowed: BTreeMap<String, BTreeSet<String>> = table.lines().map(row).collect();
    let members = members();
    let actual: BTreeMap<String, BTreeSet<String>> =
        members.iter().map(|member| (member.clone(), arrows_of(member, &members))).collect();
    assert_eq!(actual, allowed);
}

#[test]
fn every_file_says_first_what_it_is() {
    let silent: Vec<PathBuf> =
        sources().into_iter().filter(|path| !fs::read_to_string(path).unwrap().starts_with("//!")).collect();
    assert_eq!(silent, Vec::<PathBuf>::new());
}

#[test]
fn no_file_is_longer_than_anybody_reads() {
    let is_long = |path: &PathBuf| fs::read_to_string(path).unwrap().lines().count() > LINES_MAX;
    let long: Vec<PathBuf> = sources().into_iter().filter(is_long).collect();
    assert_eq!(long, Vec::<PathBuf>::new());
}

#[test]
fn unsafe_code_is_where_it_belongs_and_gives_its_reasons() {
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let is_home = path.starts_with(format!("{ROOT}/runtime")) || path.ends_with("store/src/database.rs");
        let opens = text.matches(concat!("unsafe", " {")).count();
        assert!(is_home || opens == 0, "{} has unsafe code", path.display());
        let reasons = text.matches("SAFETY:").count();
        assert!(opens <= reasons, "{}: {opens} unsafe blocks, {reasons} reasons", path.display());
    }
}

#[test]
fn nothing_is_left_undone_or_switched_off() {
    let forbidden = [
        concat!("to", "do!("),
        concat!("un", "implemented!("),
        concat!("db", "g!("),
        concat!("#[ig", "nore"),
        concat!("allow(dead", "_code)"),
        concat!("allow(un", "used"),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
    ];
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        for word in forbidden {
            assert!(!text.contains(word), "{} has `{word}`", path.display());
        }
    }
}

/// The lines of the specification of Dockerfiles that tests are to cite.
const SPECIFICATION_LINES: std::ops::RangeInclusive<u32> = 1..=116;

#[test]
fn every_line_of_the_specification_is_cited_by_a_test() {
    let goldens = Path::new(ROOT).join("testdata/frontend");
    let goldens = fs::read_dir(goldens).unwrap().map(|entry| entry.unwrap().path());
    let goldens = goldens.filter(|path| path.extension().is_some_and(|extension| extension == "dockerfile"));
    let texts = sources().into_iter().chain(goldens).map(|path| fs::read(path).unwrap());
    let cited: BTreeSet<u32> = texts.flat_map(|text| cited_lines(&String::from_utf8_lossy(&text))).collect();
    let uncited: Vec<u32> = SPECIFICATION_LINES.filter(|line| !cited.contains(line)).collect();
    assert_eq!(uncited, [0; 0]);
}

/// Returns the numbers in comments such as `spec 1, 2` and `lines 55 to 80`.
fn cited_lines(text: &str) -> Vec<u32> {
    let comments = text.lines().filter_map(|line| line.trim_start().strip_prefix("//").or(line.strip_prefix('#')));
    let mut cited = Vec::new();
    for words in comments.map(|comment| comment.split(' ').collect::<Vec<_>>()) {
        let Some(start) = words.iter().position(|word| matches!(*word, "spec" | "Spec" | "line" | "lines")) else {
            continue;
        };
        let (mut last, mut is_range) = (0, false);
        for word in &words[start + 1..] {
            match word.trim_end_matches([',', ':', '.', ';']).parse::<u32>() {
                Ok(number) if is_range => cited.extend(last + 1..=number),
                Ok(number) => cited.push(number),
                Err(_) if matches!(*word, "and" | "to") => {}
                Err(_) => break,
            }
            is_range = *word == "to";
            last = cited.last().copied().unwrap_or_default();
        }
    }
    cited
}
