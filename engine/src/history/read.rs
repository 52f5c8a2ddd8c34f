//! Reading the history.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci::{Digest, Timestamp};
use rustix::fs::{FlockOperation, flock};

use super::facts::StepFacts;
use super::record::{BuildBegin, BuildEnd, Line};
use super::write::name_of_time;
use crate::event::{Event, Outcome, StepUsage, Warning};
use crate::{Engine, Error};

/// How many builds of a project are looked through for what a step was before.
const LOOK_BACK: usize = 8;
/// A build whose file is larger is not looked through for that.
const LOOK_BACK_BYTES_MAX: u64 = 64 << 20;
/// Within how many bytes of the end of a file its last line begins.
const LAST_LINE_BYTES_MAX: u64 = 64 << 10;
/// What the lines begin with that are not needed to know the steps of a build.
const OUTPUT_PREFIX: &str = "{\"event\":{\"event\":\"output\"";

/// How a build ended, if it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildStatus {
    /// It runs.
    Running,
    /// The process that ran it was killed.
    Killed,
    /// It ended.
    Ended(BuildEnd),
}

/// A build, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildSummary {
    /// Names the build: 24 hexadecimal digits.
    pub id: String,
    /// What users call it: the folder of the context, and the target if one was asked for.
    pub name: String,
    /// The context's directory; empty where there was none.
    pub context: String,
    /// The Dockerfile as it was asked for; `-` is standard input.
    pub dockerfile: String,
    /// The stage that was asked for.
    pub target: Option<String>,
    /// The platforms that were asked for.
    pub platforms: Vec<String>,
    /// The names for the image.
    pub tags: Vec<String>,
    /// Where the result was to go, in the words of `--output`; nothing is the store.
    pub outputs: Vec<String>,
    /// Build arguments from the command line.
    pub build_args: BTreeMap<String, String>,
    /// When it began.
    pub began: Timestamp,
    /// How it ended.
    pub status: BuildStatus,
    path: PathBuf,
}

/// A step of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildStep {
    /// Its name.
    pub name: String,
    /// When it began; `None` where it never did.
    pub started: Option<Timestamp>,
    /// How and when it ended; `None` where it did not.
    pub ended: Option<(Outcome, Timestamp)>,
    /// Why it ran; `None` where it did not, and for the builder's own steps.
    pub reason: Option<String>,
    /// What its command used; `None` where none was run.
    pub usage: Option<StepUsage>,
}

/// All that is known of a build, but what its commands wrote.
#[derive(Clone, Debug)]
pub struct BuildDetails {
    /// What was asked and how it ended.
    pub summary: BuildSummary,
    /// Its steps, in the order of their beginning.
    pub steps: Vec<BuildStep>,
    /// Its warnings.
    pub warnings: Vec<Warning>,
}

impl BuildSummary {
    /// Returns how long the build took, or has taken by `now`.
    pub fn duration(&self, now: Timestamp) -> Option<Duration> {
        match &self.status {
            BuildStatus::Ended(end) => Some(end.at.since(self.began)),
            BuildStatus::Running => Some(now.since(self.began)),
            BuildStatus::Killed => None,
        }
    }
}

impl Engine {
    /// Returns the builds of the history, the newest first.
    pub fn builds(&self) -> Result<Vec<BuildSummary>, Error> {
        let mut builds = Vec::new();
        for path in files(&self.store.history_dir())?.into_iter().rev() {
            // One that was removed meanwhile, or whose first line was never written, is none.
            builds.extend(summary(path));
        }
        Ok(builds)
    }

    /// Finds a build by its id, the beginning of it, or what `--metadata-file` calls it; an empty text is the newest one.
    pub fn find_build(&self, text: &str) -> Result<BuildSummary, Error> {
        let text = text.rsplit_once('/').map_or(text, |(_, id)| id);
        let mut found = self.builds()?.into_iter().filter(|build| build.id.starts_with(text));
        let unknown = || Error::NoSuchBuild { id: text.to_owned() };
        let first = found.next().ok_or_else(unknown)?;
        match found.next() {
            Some(_) if !text.is_empty() => Err(Error::Ambiguous { prefix: text.to_owned() }),
            _ => Ok(first),
        }
    }

    /// Returns what is known of a build's steps.
    pub fn build_details(&self, build: BuildSummary) -> Result<BuildDetails, Error> {
        let (mut steps, mut places) = (Vec::<BuildStep>::new(), BTreeMap::new());
        let mut warnings = Vec::new();
        let mut place = |steps: &mut Vec<BuildStep>, step: Digest, name: &str| {
            *places.entry(step).or_insert_with(|| {
                steps.push(BuildStep { name: name.to_owned(), started: None, ended: None, reason: None, usage: None });
                steps.len() - 1
            })
        };
        self.replay_build(&build, |event| match event {
            Event::Started(started) => {
                let at = place(&mut steps, started.step, &started.name);
                steps[at].started = Some(started.at);
            }
            Event::Finished(finished) => {
                let at = place(&mut steps, finished.step, &finished.name);
                steps[at].ended = Some((finished.outcome, finished.at));
            }
            Event::Reason(reason) => {
                let at = place(&mut steps, reason.step, &reason.name);
                steps[at].reason = Some(reason.reason);
            }
            Event::Usage(usage) => {
                let at = place(&mut steps, usage.step, "");
                steps[at].usage = Some(usage);
            }
            Event::Warning(warning) => warnings.push(warning),
            Event::Output(_) | Event::Progress(_) => {}
        })?;
        Ok(BuildDetails { summary: build, steps, warnings })
    }

    /// Hands the events of a build to `take`, in the order in which they happened.
    pub fn replay_build(&self, build: &BuildSummary, mut take: impl FnMut(Event)) -> Result<(), Error> {
        lines(
            &build.path,
            |_| true,
            |line| {
                if let Line::Event(event) = line {
                    take(event);
                }
            },
        )
    }

    /// Returns the file of a build as it lies in the store: JSON, one object a line.
    pub fn export_build(&self, build: &BuildSummary) -> Result<Vec<u8>, Error> {
        fs::read(&build.path).map_err(Error::file("read", &build.path))
    }

    /// Removes a build from the history. One that runs is refused.
    pub fn remove_build(&self, build: &BuildSummary) -> Result<(), Error> {
        if build.status == BuildStatus::Running {
            return Err(Error::BuildRuns { id: build.id.clone() });
        }
        match fs::remove_file(&build.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::file("remove", &build.path)(error))
            }
            _ => Ok(()),
        }
    }
}

/// What the last builds of a project were, the newest first.
#[derive(Default)]
pub(crate) struct Former {
    pub(super) builds: Vec<FormerBuild>,
}

/// A build from before.
#[derive(Default)]
pub(super) struct FormerBuild {
    /// When it began.
    pub(super) began: Option<Timestamp>,
    pub(super) facts: Vec<StepFacts>,
    /// How each step ended.
    pub(super) outcomes: BTreeMap<Digest, Outcome>,
    /// How long the steps took that were run.
    pub(super) times: BTreeMap<Digest, Duration>,
}

impl Former {
    /// Reads the last builds of a project that began before `began`. What cannot be read is left out.
    pub(crate) fn load(history: &Path, project: &str, began: Timestamp) -> Self {
        let (end, middle) = (name_of_time(began), format!("-{project}-"));
        let is_former = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            name < end && name.contains(&middle)
        };
        let is_small = |path: &PathBuf| path.metadata().is_ok_and(|metadata| metadata.len() <= LOOK_BACK_BYTES_MAX);
        let paths = files(history).unwrap_or_default();
        let former = paths.iter().rev().filter(|path| is_former(path)).filter(|path| is_small(path)).take(LOOK_BACK);
        Self { builds: former.map(|path| former_build(path)).collect() }
    }
}

fn former_build(path: &Path) -> FormerBuild {
    let (mut build, mut started) = (FormerBuild::default(), BTreeMap::new());
    let take = |line| match line {
        Line::Facts(facts) => build.facts.push(facts),
        Line::Event(Event::Started(event)) => drop(started.insert(event.step, event.at)),
        Line::Event(Event::Finished(event)) => {
            if let (Outcome::Done, Some(started)) = (&event.outcome, started.get(&event.step)) {
                build.times.insert(event.step, event.at.since(*started));
            }
            build.outcomes.insert(event.step, event.outcome);
        }
        Line::Begin(begin) => build.began = Some(begin.began),
        Line::End(_) | Line::Event(_) => {}
    };
    // What there is of a file that is damaged counts.
    let _ = lines(path, |line| !line.starts_with(OUTPUT_PREFIX), take);
    build
}

/// Returns the files of builds, the oldest first.
fn files(history: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(history) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::file("read", history))?,
    };
    let name_of = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains('-'));
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(name_of).collect();
    files.sort_unstable();
    Ok(files)
}

/// Hands each line that `is_wanted` to `take`. A line that is damaged, as the last one of a build that was killed, ends it.
fn lines(path: &Path, is_wanted: impl Fn(&str) -> bool, mut take: impl FnMut(Line)) -> Result<(), Error> {
    let file = File::open(path).map_err(Error::file("read", path))?;
    let mut reader = BufReader::new(file);
    let mut text = String::new();
    loop {
        text.clear();
        let length = reader.read_line(&mut text).map_err(Error::file("read", path))?;
        if length == 0 {
            return Ok(());
        }
        if is_wanted(&text) {
            let Ok(line) = serde_json::from_str(&text) else { return Ok(()) };
            take(line);
        }
    }
}

fn summary(path: PathBuf) -> Option<BuildSummary> {
    let mut file = File::open(&path).ok()?;
    let mut first = String::new();
    BufReader::new(&file).read_line(&mut first).ok()?;
    let Ok(Line::Begin(begin)) = serde_json::from_str(&first) else { return None };
    let BuildBegin { id, name, context, dockerfile, target, platforms, tags, outputs, build_args, no_cache: _, began } =
        begin;
    let status = match last_line(&mut file) {
        Some(end) => BuildStatus::Ended(end),
        None if flock(&file, FlockOperation::NonBlockingLockShared).is_err() => BuildStatus::Running,
        // It may have ended between the two looks.
        None => last_line(&mut file).map_or(BuildStatus::Killed, BuildStatus::Ended),
    };
    Some(BuildSummary {
        id,
        name,
        context,
        dockerfile,
        target,
        platforms,
        tags,
        outputs,
        build_args,
        began,
        status,
        path,
    })
}

fn last_line(file: &mut File) -> Option<BuildEnd> {
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LAST_LINE_BYTES_MAX))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let last = bytes.strip_suffix(b"\n")?.rsplit(|byte| *byte == b'\n').next()?;
    match serde_json::from_slice(last) {
        Ok(Line::End(end)) => Some(end),
        _ => None,
    }
}
