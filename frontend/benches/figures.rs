//! The figures that the frontend is held to: parsing and lowering 1,000 instructions, and ignore rules over 100,000 paths. Ends with 1 if a figure is over its
//! budget, see `docs/budgets.md`.
//!
//! Each is the best of several runs, since a shared machine only ever adds. A word as an argument selects those whose names have it.
#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use frontend::known::{Known, KnownImage, Need};
use frontend::plan::Lowered;
use frontend::request::LowerRequest;
use llb::pattern::{Ignore, Verdict};
use oci::{Digest, Platform};

/// How often each is measured at least, and for how long: a busy moment of the machine is to be over by then.
const RUNS_MIN: usize = 50;
const MEASURED_MIN: Duration = Duration::from_secs(2);
/// To parse and lower the 1,000 instructions.
const LANGUAGE_MAX: Duration = Duration::from_millis(5);
/// To decide on the 100,000 paths.
const IGNORE_MAX: Duration = Duration::from_millis(150);

fn main() -> ExitCode {
    let text = dockerfile();
    let parse = measure("parse 1,000 instructions", || frontend::parse(text.as_bytes()));
    let file = frontend::parse(text.as_bytes()).file;
    let request = LowerRequest::new(Platform::new("linux", "amd64", None));
    let known = answers(&file, &request);
    let lower = measure("lower 1,000 instructions", || frontend::lower(&file, &request, &known).is_ok());
    let patterns = patterns();
    let compiled = Ignore::new(patterns.iter().map(String::as_str)).expect("the patterns are right");
    measure("compile 200 ignore patterns", || Ignore::new(patterns.iter().map(String::as_str)).is_ok());
    let tree = paths();
    let ignore = measure("100,000 paths against 200 ignore patterns", || walk(&compiled, &tree));
    let over = [
        parse + lower > LANGUAGE_MAX && tell(&format!("over its budget of {LANGUAGE_MAX:?}: parse and lower")),
        ignore > IGNORE_MAX && tell(&format!("over its budget of {IGNORE_MAX:?}: ignore patterns")),
    ];
    if over.contains(&true) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn tell(text: &str) -> bool {
    println!("{text}");
    true
}

/// Returns the best time; nothing where the name was not asked for.
fn measure<T>(name: &str, mut work: impl FnMut() -> T) -> Duration {
    if !std::env::args().skip(1).filter(|word| !word.starts_with("--")).all(|word| name.contains(&word)) {
        return Duration::ZERO;
    }
    let began = Instant::now();
    let (mut runs, mut best) = (0, Duration::MAX);
    while runs < RUNS_MIN || began.elapsed() < MEASURED_MIN {
        let start = Instant::now();
        black_box(work());
        best = best.min(start.elapsed());
        runs += 1;
    }
    println!("{name}: {:.3} ms", best.as_secs_f64() * 1e3);
    best
}

/// A file of 1,000 instructions in ten stages, of the kinds and lengths that people write.
fn dockerfile() -> String {
    let mut text = String::from("# syntax=docker/dockerfile:1\nARG VERSION=3.20\n");
    for stage in 0..10 {
        text.push_str(&format!("FROM alpine:${{VERSION}} AS stage{stage}\n"));
        for step in 0..99 {
            text.push_str(&match step % 9 {
                0 => format!("ENV VARIABLE_{step}=\"value of ${{VERSION:-none}}\" OTHER_{step}=/usr/local/share/$HOME\n"),
                1 => "# what comes now is long\nRUN apk add --no-cache build-base ca-certificates \\\n    git curl \\\n    # and more\n && rm -rf /var/cache/apk/* || exit 1\n".to_owned(),
                2 => format!("COPY --chown=1000:1000 src/module{step}/*.c include/ /usr/src/app/module{step}/\n"),
                3 => format!("WORKDIR /usr/src/app/module{step}\n"),
                4 => "RUN --mount=type=cache,target=/root/.cache/go-build,sharing=locked --mount=type=bind,source=.,target=/src go build ./...\n".to_owned(),
                5 => format!("LABEL org.example.label{step}=\"a text with blanks\"\n"),
                6 => format!("ARG ARGUMENT_{step}=default-$VARIABLE_0\n"),
                7 => "RUN <<EOF\nset -e\nmake all\nmake install\nEOF\n".to_owned(),
                _ => "COPY <<CONFIG /etc/app.conf\nhome=$HOME\nCONFIG\n".to_owned(),
            });
        }
    }
    text.push_str(
        &(0..10)
            .map(|stage| format!("COPY --from=stage{stage} /out /out{stage}\n"))
            .collect::<String>()
            .replace("--from=stage9 ", ""),
    );
    text
}

/// Answers all that the file needs to know.
fn answers(file: &frontend::ast::Dockerfile, request: &LowerRequest) -> Known {
    let mut known = Known::default();
    while let Ok(Lowered::Needs(needs)) = frontend::lower(file, request, &known) {
        for need in needs {
            match need {
                Need::Image(query) => {
                    let (digest, platform) = (Digest::of(b"alpine"), query.platform.clone());
                    let mut config = oci::ImageConfig {
                        os: "linux".to_owned(),
                        architecture: "amd64".to_owned(),
                        ..Default::default()
                    };
                    config.rootfs.diff_ids.push(digest);
                    known.images.insert(query, Ok(KnownImage { digest, manifest: digest, platform, config }));
                }
                Need::IgnoreFile(name) => drop(known.ignore_files.insert(name, None)),
                Need::Time(query) => drop(known.times.insert(query, None)),
            }
        }
    }
    known
}

/// Patterns of all kinds that people write, among them two stars and negations.
fn patterns() -> Vec<String> {
    let kinds = |i: usize| match i % 10 {
        0 => format!("dir{i}/cache"),
        1 => format!("**/generated{i}"),
        2 => format!("**/*.ext{i}"),
        3 => format!("*.tmp{i}"),
        4 => format!("dir{i}/**/*.o"),
        5 => format!("!dir{i}/**/keep*.o"),
        6 => format!("docs/**/page{i}?.[mh]*"),
        7 => format!("**/*test{i}*"),
        8 => format!("!**/important{i}.*"),
        _ => format!("a{i}/b/**"),
    };
    (0..200).map(kinds).collect()
}

/// Directories with the paths in them, each after the directory that has it.
fn paths() -> Vec<(Option<usize>, String)> {
    let mut tree: Vec<(Option<usize>, String)> = Vec::new();
    for dir in 0..100 {
        let top = tree.len();
        tree.push((None, format!("dir{dir}")));
        for sub in 0..10 {
            let place = tree.len();
            tree.push((Some(top), format!("dir{dir}/module{sub}")));
            for file in 0..99 {
                let ending = ["o", "c", "rs", "ext42", "json"][file % 5];
                tree.push((Some(place), format!("dir{dir}/module{sub}/some_file_{file}.{ending}")));
            }
        }
    }
    tree
}

fn walk(ignore: &Ignore, tree: &[(Option<usize>, String)]) -> usize {
    let mut verdicts: Vec<Verdict> = Vec::with_capacity(tree.len());
    for (parent, path) in tree {
        let parent = parent.map_or(Verdict::default(), |place| verdicts[place]);
        verdicts.push(ignore.below(parent, path));
    }
    verdicts.iter().filter(|verdict| verdict.is_ignored()).count()
}
