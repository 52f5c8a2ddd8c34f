//! Dockerfiles that were damaged at random, always in the same way: whatever becomes of them, nothing panics, every place is one of the text, and it ends.
#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers too")]

use std::fs;
use std::path::Path;

use frontend::diagnostic::Diagnostic;
use frontend::known::{Known, KnownImage, Need};
use frontend::plan::{LowerError, Lowered};
use frontend::request::LowerRequest;
use oci::{Digest, ImageConfig, Platform};

/// How many damaged files there are: as many as a few seconds allow.
const MUTANTS: usize = 4_000;
/// Far more rounds than any file here takes.
const ROUNDS_MAX: usize = 64;
/// What is written over a file or into it: all that has a meaning somewhere, and what only looks so.
const FRAGMENTS: &[&str] = &[
    "\\",
    "`",
    "\"",
    "'",
    "$",
    "{",
    "}",
    "<<",
    "<<E",
    "<<-'E'",
    "\t",
    "\r",
    "#",
    "=",
    "[",
    "]",
    ",",
    " ",
    "--",
    "\u{a0}",
    "é",
    "\u{85}",
    "\n",
    "\\\n",
    "\n\n",
    "${",
    "${X:-",
    "${X:?",
    "${X%",
    "${X/",
    "$X",
    "$@",
    "[\"a\"]",
    "[\"a\", 1]",
    "--x=",
    "--from=",
    "--mount=type=",
    "AS ",
    "ONBUILD ",
    "FROM a\n",
    "E\n",
    "# check=error=true\n",
    "# escape=`\n",
    "\u{feff}",
    ":",
    "/",
    "@sha256:",
    "*",
    "\u{1b}",
    "\u{2028}",
    "0",
    "-1",
    "99999999999999999999",
];

/// Numbers that are always the same and look as if they were not (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }

    /// Returns a place between two characters.
    fn place(&mut self, text: &str) -> usize {
        let mut place = self.below(text.len() + 1);
        while !text.is_char_boundary(place) {
            place -= 1;
        }
        place
    }

    fn damage(&mut self, text: &mut String, others: &[String]) {
        let (a, b) = (self.place(text), self.place(text));
        match self.below(5) {
            0 | 1 => text.insert_str(a, FRAGMENTS[self.below(FRAGMENTS.len())]),
            2 => text.replace_range(a..a.max(b).min(self.near(text, a)), FRAGMENTS[self.below(FRAGMENTS.len())]),
            3 => text.replace_range(a.min(b)..a.max(b), ""),
            _ => {
                let other = &others[self.below(others.len())];
                text.push_str(&other[self.place(other)..]);
            }
        }
    }

    /// Returns a place a few bytes behind another.
    fn near(&mut self, text: &str, place: usize) -> usize {
        let end = (place + self.below(8)).min(text.len());
        (end..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len())
    }
}

fn files() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/frontend");
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "dockerfile"));
    paths.sort();
    paths.iter().map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()).collect()
}

/// Lowers until nothing more must be known.
fn rounds<T>(lower: impl Fn(&Known) -> Result<Lowered<T>, LowerError>) -> Result<T, LowerError> {
    let mut known = Known::default();
    for _ in 0..ROUNDS_MAX {
        match lower(&known)? {
            Lowered::Done(done) => return Ok(done),
            Lowered::Needs(needs) => needs.into_iter().for_each(|need| answer(need, &mut known)),
        }
    }
    panic!("lowering asks again and again");
}

fn answer(need: Need, known: &mut Known) {
    match need {
        Need::Image(query) => {
            let (digest, platform) = (Digest::of(b"image"), query.platform.clone());
            let mut config = ImageConfig::default();
            // Triggers of a base are a text too.
            config.config.on_build = vec!["COPY <<E /x\n$X\nE".to_owned(), "RUN a".to_owned()];
            known.images.insert(query, Ok(KnownImage { digest, manifest: digest, platform, config }));
        }
        Need::IgnoreFile(name) => drop(known.ignore_files.insert(name, None)),
        Need::Time(query) => drop(known.times.insert(query, None)),
    }
}

#[track_caller]
fn check_places(text: &str, diagnostics: &[Diagnostic]) {
    for place in diagnostics.iter().filter_map(|diagnostic| diagnostic.place) {
        assert!(text.get(place.start.offset..place.end.offset).is_some(), "{place:?} is no part of {text:?}");
    }
}

fn check(text: &str) {
    let parse = frontend::parse(text.as_bytes());
    let read = parse.file.source.text();
    check_places(read, &parse.diagnostics);
    let mut at = 0;
    for piece in &parse.file.pieces {
        assert_eq!(piece.span.start, at, "{text:?}");
        at = piece.span.end;
    }
    assert_eq!(at, read.len(), "{text:?}");
    let request = LowerRequest::new(Platform::new("linux", "amd64", None));
    let report = rounds(|known| Ok(frontend::check(&parse, "Dockerfile", &request, known))).unwrap();
    check_places(read, &report.diagnostics);
    if !parse.diagnostics.is_empty() {
        assert!(report.build_error.is_some(), "{text:?}");
        return;
    }
    let _ = rounds(|known| frontend::outline(&parse.file, &request, known));
    match rounds(|known| frontend::lower(&parse.file, &request, known)) {
        Ok(plan) => {
            let entries = &plan.results[0].config.history;
            assert!(entries.iter().all(|entry| !entry.created_by.is_empty() || entry.empty_layer), "{text:?}");
            check_places(read, &plan.warnings);
        }
        Err(error) => check_places(read, &error.diagnostics),
    }
}

#[test]
fn damaged_files_have_errors_and_never_a_panic() {
    let files = files();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for round in 0..MUTANTS {
        let mut text = files[round % files.len()].clone();
        for _ in 0..=numbers.below(3) {
            numbers.damage(&mut text, &files);
        }
        check(&text);
    }
}
