//! A store, a directory and a kiln of its own for each test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// Where `make roots` puts root file systems.
const ROOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/fixtures");

/// A test's own store and directory. What a command leaves behind fails the test.
pub(crate) struct World {
    dir: TempDir,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

/// Returns the path of a root file system that `make roots` made.
pub(crate) fn root_tar(name: &str) -> PathBuf {
    let path = Path::new(ROOTS).join(name);
    assert!(path.exists(), "`{}` is missing: run `make roots`", path.display());
    path
}

impl World {
    /// Returns a world with an empty store.
    pub(crate) fn empty() -> Self {
        testkit::require_root();
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// Returns a world whose store has `busybox`.
    pub(crate) fn new() -> Self {
        let world = Self::empty();
        world.ok(&["import", root_tar("busybox.tar").to_str().unwrap(), "busybox"]);
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Writes a file of the world, with the directories above it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Returns a command that knows nothing of the machine but its `PATH`.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.dir.path()).env("KILN_ROOT", self.store()).current_dir(self.dir.path());
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn kiln(&self, args: &[&str]) -> Ended {
        Ended::of(&self.command(args).output().unwrap())
    }

    /// Runs a command with something on its standard input.
    pub(crate) fn kiln_reading(&self, args: &[&str], input: &[u8]) -> Ended {
        use std::io::Write;
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input).unwrap();
        drop(stdin);
        Ended::of(&child.wait_with_output().unwrap())
    }

    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }

    /// Runs a command that must succeed, and returns what it printed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ended = self.kiln(args);
        assert_eq!(ended.code, 0, "kiln {args:?}: {}", ended.stderr);
        ended.stdout
    }

    /// Builds the directory `context` of the world as `image`, and returns what was shown, without times and digests.
    #[track_caller]
    pub(crate) fn build(&self, args: &[&str]) -> String {
        let args: Vec<&str> = ["build", "--progress", "plain"].iter().chain(args).copied().collect();
        let ended = self.kiln(&args);
        assert_eq!(ended.code, 0, "kiln {args:?}: {}", ended.stderr);
        filter(&ended.stderr)
    }

    /// Builds, and returns the names of the steps that ran and of those that were found, in the order of the Dockerfile.
    #[track_caller]
    pub(crate) fn build_summary(&self, args: &[&str]) -> String {
        summary(&self.build(args))
    }

    /// Runs a command in an image and returns what it printed.
    #[track_caller]
    pub(crate) fn in_image(&self, image: &str, command: &str) -> String {
        self.ok(&["run", "--rm", image, "sh", "-c", command])
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for name in ["drafts", "trash", "containers"] {
            let dir = self.store().join(name);
            let left: Vec<_> = fs::read_dir(&dir).map(|entries| entries.flatten().collect()).unwrap_or_default();
            assert!(left.is_empty(), "left in {}: {left:?}", dir.display());
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = self.dir.path().to_string_lossy().into_owned();
        assert!(!mounts.contains(&own), "something of {own} is still mounted");
    }
}

/// Replaces what differs from run to run: times, digests, sizes of blobs.
pub(crate) fn filter(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.split(' ').map(filter_word).collect::<Vec<_>>().join(" "))).collect()
}

fn filter_word(word: &str) -> String {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let is_time = word.bytes().any(|byte| byte.is_ascii_digit()) && word.contains('.');
    if is_time && (is_number(word) || word.strip_suffix('s').is_some_and(is_number)) {
        return "[TIME]".to_owned();
    }
    match word.split_once("sha256:") {
        Some((before, _)) => format!("{before}[DIGEST]"),
        None => word.to_owned(),
    }
}

/// Returns `ran: …` and `cached: …` from plain progress: the instructions of the steps, in the order of their numbers.
pub(crate) fn summary(plain: &str) -> String {
    let (mut names, mut ran, mut cached) = (Vec::new(), Vec::new(), Vec::new());
    for line in plain.lines() {
        let Some((number, rest)) = line.strip_prefix('#').and_then(|line| line.split_once(' ')) else { continue };
        if let Some(name) = rest.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
            let is_step = name.0.contains('/') && !name.1.starts_with("FROM ");
            if is_step && !names.iter().any(|(known, _)| *known == number) {
                names.push((number, name.1));
            }
        }
        let name = names.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
        match (name, rest.split(' ').next()) {
            (Some(name), Some("DONE")) => ran.push(name),
            (Some(name), Some("CACHED")) => cached.push(name),
            _ => {}
        }
    }
    ran.sort_unstable();
    cached.sort_unstable();
    format!("ran: {}\ncached: {}\n", ran.join("; "), cached.join("; "))
}
