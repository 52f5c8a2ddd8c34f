//! Dockerfiles beside what they become: `testdata/frontend/NAME.dockerfile` with `NAME.graph` and `NAME.config`, or `NAME.errors`; warnings are in
//! `NAME.warnings`.
//!
//! The first lines of a Dockerfile may be `#! ` and arguments as those of `kiln build`; [`Arguments`] has them. They are not part of what is parsed. The world is
//! `testdata/frontend/images`: a config for each image that there is. `UPDATE_EXPECT=1` writes what is expected anew.
#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers too")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use expect_test::expect_file;
use frontend::Parse;
use frontend::ast::Dockerfile;
use frontend::diagnostic::{Diagnostic, Severity};
use frontend::git_url::parse_git_context;
use frontend::known::{IgnoreFile, Known, KnownImage, Need};
use frontend::plan::{LowerError, Lowered, Plan, PlanResult};
use frontend::request::{LowerRequest, MainContext, NoCache, Strictness};
use llb::{ExtraHost, NetworkMode};
use oci::{Digest, ImageConfig, Platform, Timestamp};

/// Far more rounds than any file here takes.
const ROUNDS_MAX: usize = 10;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/frontend")
}

/// What a Dockerfile of a test asks for.
struct Arguments {
    request: LowerRequest,
    /// `--ignore=a,b`: the patterns of the main context's ignore file.
    ignore: Option<String>,
    /// `--show=needs`: what lowering asked for is shown too.
    shows_needs: bool,
    /// `--call=outline`, `targets`, `check`: what is asked instead of building.
    call: Option<String>,
}

impl Arguments {
    /// Takes the arguments from the top of a file and returns them with the rest.
    fn take(text: &str) -> (Self, &str) {
        let mut arguments = Self {
            request: LowerRequest::new(Platform::new("linux", "amd64", None)),
            ignore: None,
            shows_needs: false,
            call: None,
        };
        let mut rest = text;
        while let Some(line) = rest.strip_prefix("#! ") {
            let (line, behind) = line.split_once('\n').unwrap_or((line, ""));
            line.split(' ').filter(|argument| !argument.is_empty()).for_each(|argument| arguments.set(argument));
            rest = behind;
        }
        (arguments, rest)
    }

    fn set(&mut self, argument: &str) {
        let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
        let (key, of_key) = value.split_once('=').unwrap_or((value, ""));
        let request = &mut self.request;
        match name {
            "--target" => request.target = Some(value.to_owned()),
            "--platform" => request.platforms = value.split(',').map(|platform| platform.parse().unwrap()).collect(),
            "--build-arg" => drop(request.build_args.insert(key.to_owned(), of_key.to_owned())),
            "--label" => drop(request.labels.insert(key.to_owned(), of_key.to_owned())),
            "--build-context" => drop(request.contexts.insert(key.to_owned(), of_key.parse().unwrap())),
            "--no-cache" => request.no_cache = NoCache::Everything,
            "--no-cache-filter" => request.no_cache = NoCache::Stages(value.split(',').map(str::to_owned).collect()),
            "--network" => request.network = if value == "none" { NetworkMode::None } else { NetworkMode::Host },
            "--add-host" => request.extra_hosts.push(ExtraHost { name: key.to_owned(), address: of_key.to_owned() }),
            "--strict" => request.strictness = Strictness::Strict,
            "--ignore" => self.ignore = Some(value.replace(',', "\n")),
            "--show" => self.shows_needs = true,
            "--call" => self.call = Some(value.to_owned()),
            "--context" => {
                request.main_context = match parse_git_context(value).unwrap() {
                    Some(source) => MainContext::Git(source),
                    None if value == "none" => MainContext::Empty,
                    None if value.ends_with(".tar") => MainContext::Archive(value.to_owned()),
                    None => MainContext::File(value.to_owned()),
                }
            }
            _ => panic!("unknown argument {argument}"),
        }
    }

    /// Lowers and answers what is asked; returns what was asked too.
    fn lower<T>(&self, lower: impl Fn(&Known) -> Result<Lowered<T>, LowerError>) -> (Result<T, LowerError>, Vec<Need>) {
        let (mut known, mut asked) = (Known::default(), Vec::new());
        for _ in 0..ROUNDS_MAX {
            match lower(&known) {
                Ok(Lowered::Done(done)) => return (Ok(done), asked),
                Err(error) => return (Err(error), asked),
                Ok(Lowered::Needs(needs)) => needs.into_iter().for_each(|need| {
                    self.answer(&need, &mut known);
                    asked.push(need);
                }),
            }
        }
        panic!("lowering asks again and again: {asked:#?}");
    }

    fn answer(&self, need: &Need, known: &mut Known) {
        match need {
            Need::Image(query) => {
                let image = image(&query.reference, &query.platform);
                known.images.insert(query.clone(), image);
            }
            Need::IgnoreFile(name) => {
                let text = self.ignore.clone().filter(|_| name == "context");
                known
                    .ignore_files
                    .insert(name.clone(), text.map(|text| IgnoreFile { name: ".dockerignore".to_owned(), text }));
            }
            Need::Time(query) => drop(known.times.insert(query.clone(), Timestamp::from_unix(1_700_000_000, 0))),
        }
    }
}

/// Returns the image that has a config among the test data; it is made for every platform, unless the config says for which.
fn image(reference: &oci::Reference, platform: &Platform) -> Result<KnownImage, String> {
    let path = directory().join("images").join(format!("{}.json", reference.familiar_name().replace('/', "_")));
    let text = fs::read_to_string(path)
        .map_err(|_| format!("failed to resolve source metadata for {reference}: not found"))?;
    let mut config: ImageConfig = serde_json::from_str(&text).unwrap();
    if config.os.is_empty() {
        (config.os, config.architecture, config.variant) =
            (platform.os.clone(), platform.architecture.clone(), platform.variant.clone());
    }
    let digest = |text: String| Digest::of(text.as_bytes());
    let manifest = digest(format!("{reference} {platform}"));
    Ok(KnownImage { digest: digest(reference.to_string()), manifest, platform: config.platform(), config })
}

/// Shows what an exporter makes an image's config of, without what every config has.
fn show_config(result: &PlanResult) -> String {
    let mut out = format!("{}\n", result.platform);
    let config = serde_json::to_value(&result.config.config).unwrap();
    for (key, value) in config.as_object().unwrap() {
        writeln!(out, "{key}: {value}").unwrap();
    }
    result.config.author.iter().for_each(|author| writeln!(out, "author: {author}").unwrap());
    for (place, entry) in result.config.history.iter().enumerate() {
        let owner = if place < result.base_history { "base " } else { "" };
        let layer = if entry.empty_layer { "" } else { "layer " };
        let created = entry.created.map(|time| format!("{time} ")).unwrap_or_default();
        writeln!(out, "- {owner}{layer}{created}{}", entry.created_by).unwrap();
    }
    out
}

/// Shows diagnostics with the text that each is about.
fn show_diagnostics(diagnostics: &[Diagnostic], file: &Dockerfile) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        let severity = if diagnostic.severity == Severity::Error { "error" } else { "warning" };
        let rule = diagnostic.rule.map(|rule| format!(" {rule}")).unwrap_or_default();
        let lines = diagnostic.lines.map(|lines| format!(" {}-{}", lines.start, lines.end)).unwrap_or_default();
        writeln!(out, "{severity}{rule}{lines}: {}", diagnostic.message).unwrap();
        if let Some(place) = diagnostic.place {
            let text = &file.source.text()[place.start.offset..place.end.offset];
            let first = text.lines().next().unwrap_or_default();
            writeln!(out, "  at {}:{} `{first}`", place.start.line, place.start.column).unwrap();
        }
        diagnostic.notes.iter().for_each(|note| writeln!(out, "  note: {}", note.message).unwrap());
        diagnostic.hint.iter().for_each(|hint| writeln!(out, "  hint: {hint}").unwrap());
    }
    out
}

/// Returns the expected files of a Dockerfile by their extensions.
fn outcome(text: &str) -> BTreeMap<&'static str, String> {
    let (arguments, text) = Arguments::take(text);
    let parse = frontend::parse(text.as_bytes());
    let mut files = BTreeMap::new();
    if let Some(call) = &arguments.call {
        files.insert("json", answer(call, &arguments, &parse));
        return files;
    }
    if !parse.diagnostics.is_empty() {
        files.insert("errors", show_diagnostics(&parse.diagnostics, &parse.file));
        return files;
    }
    let (lowered, asked) = arguments.lower(|known| frontend::lower(&parse.file, &arguments.request, known));
    if arguments.shows_needs {
        files.insert("needs", asked.iter().map(|need| format!("{}\n", need.step_name())).collect());
    }
    match lowered {
        Ok(plan) => {
            let targets = plan
                .results
                .iter()
                .map(|result| format!("{} {:?}\n", result.platform, result.edge.vertex))
                .collect::<String>();
            files.insert("graph", format!("{}{targets}", show_graph(&plan)));
            files.insert("config", plan.results.iter().map(show_config).collect::<Vec<_>>().join("\n"));
            if !plan.warnings.is_empty() {
                files.insert("warnings", show_diagnostics(&plan.warnings, &parse.file));
            }
        }
        Err(error) => drop(files.insert("errors", show_diagnostics(&error.diagnostics, &parse.file))),
    }
    files
}

/// Returns the answer to what is asked instead of building, without the file in it.
fn answer(call: &str, arguments: &Arguments, parse: &Parse) -> String {
    let request = &arguments.request;
    let mut json = match call {
        "targets" => serde_json::to_value(frontend::targets(&parse.file)),
        "check" => {
            let (report, _) = arguments.lower(|known| Ok(frontend::check(parse, "Dockerfile", request, known)));
            serde_json::to_value(report.unwrap())
        }
        _ => {
            let (outline, _) = arguments.lower(|known| frontend::outline(&parse.file, request, known));
            serde_json::to_value(outline.unwrap())
        }
    }
    .unwrap();
    assert!(json["sources"].take().is_array());
    shorten_locations(&mut json);
    serde_json::to_string_pretty(&json).unwrap() + "\n"
}

/// Writes locations as `3-3 4-4`.
fn shorten_locations(json: &mut serde_json::Value) {
    match json {
        serde_json::Value::Array(list) => list.iter_mut().for_each(shorten_locations),
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                if key == "location" {
                    let ranges = value["ranges"].as_array().into_iter().flatten();
                    let shown = ranges.map(|range| format!("{}-{}", range["start"]["line"], range["end"]["line"]));
                    *value = shown.collect::<Vec<_>>().join(" ").into();
                }
                shorten_locations(value);
            }
        }
        _ => {}
    }
}

/// Shows the graph with what its own text leaves out: which steps ignore the cache.
fn show_graph(plan: &Plan) -> String {
    let shown = plan.graph.to_string();
    let lines = shown.lines().zip(plan.graph.vertices());
    let line = |(line, (_, vertex)): (&str, (_, &llb::Vertex))| {
        format!("{line}{}\n", if vertex.hints.ignore_cache { " (no cache)" } else { "" })
    };
    shorten(&lines.map(line).collect::<String>())
}

/// Cuts digests and the default path, which say nothing to a reader.
fn shorten(text: &str) -> String {
    let mut out = text.replace("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PATH=…");
    while let Some(at) = out.find("@sha256:") {
        out.replace_range(at..at + "@sha256:".len() + 64, "@…");
    }
    out
}

#[test]
fn dockerfiles_become_what_stands_beside_them() {
    let directory = directory();
    let updates = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut names: Vec<PathBuf> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "dockerfile"));
    names.sort();
    assert!(!names.is_empty());
    for path in names {
        let files = outcome(&String::from_utf8(fs::read(&path).unwrap()).unwrap());
        for extension in ["graph", "config", "warnings", "errors", "needs", "json"] {
            let expected = path.with_extension(extension);
            match files.get(extension) {
                Some(text) => expect_file![&expected].assert_eq(text),
                None if updates => drop(fs::remove_file(&expected)),
                None => assert!(!expected.exists(), "{} is there for nothing", expected.display()),
            }
        }
    }
}
