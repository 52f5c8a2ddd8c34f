//! A temporary place with a root made of busybox, and one way to run something in it.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use runtime::cgroup::Hierarchies;
use runtime::kernel::MountSupport;
use runtime::overlay::{Durability, Overlay, Upper};
use runtime::{Exit, Kernel, Launcher, Root, Running, Spec, StartError, Status, Stdio, Stream};
use tempfile::TempDir;

const BUSYBOX: &str = "/bin/busybox";
const APPLETS: &[&str] = &[
    "cat", "chmod", "chown", "chroot", "cp", "dd", "df", "echo", "env", "find", "grep", "head", "hostname", "id",
    "ifconfig", "kill", "ln", "ls", "mkdir", "mknod", "mount", "mv", "ps", "pwd", "readlink", "rm", "sed", "seq",
    "setsid", "sh", "sleep", "sort", "stat", "stty", "su", "touch", "tr", "true", "tty", "umount", "unshare", "wc",
];
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n";

/// A temporary place.
pub(crate) struct World {
    dir: TempDir,
    /// What runs sandboxes.
    pub(crate) launcher: Launcher,
    made: AtomicUsize,
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What it wrote, errors included.
    pub(crate) output: String,
    /// How it ended.
    pub(crate) exit: Exit,
}

impl World {
    pub(crate) fn new() -> Self {
        testkit::require_root();
        Self::with_kernel(Kernel::probe().unwrap())
    }

    /// Returns one place for each way that layers are mounted: that of this machine's kernel, and that of older ones.
    pub(crate) fn on_every_kernel() -> Vec<Self> {
        let kernel = Kernel::probe().unwrap();
        let older = Kernel { mounts: MountSupport::Attached, ..kernel.clone() };
        vec![Self::with_kernel(kernel), Self::with_kernel(older)]
    }

    /// Returns one place for each kind of control groups that this machine has: what it uses, and version 2 where that is mounted beside it.
    pub(crate) fn on_every_hierarchy() -> Vec<Self> {
        let kernel = Kernel::probe().unwrap();
        assert_ne!(kernel.hierarchies, Hierarchies::None, "the tests need control groups");
        let mut worlds = vec![Self::with_kernel(kernel.clone())];
        if let Some(hierarchies) = Hierarchies::find_v2().filter(|found| *found != kernel.hierarchies) {
            worlds.push(Self::with_kernel(Kernel { hierarchies, ..kernel }));
        }
        worlds
    }

    pub(crate) fn with_kernel(kernel: Kernel) -> Self {
        testkit::require_root();
        let world = Self {
            dir: tempfile::tempdir().unwrap(),
            launcher: Launcher::with_kernel(kernel),
            made: AtomicUsize::new(0),
        };
        make_base(&world.path("base"));
        world
    }

    /// Returns a path in the temporary place.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the layer with busybox and nothing else.
    pub(crate) fn base(&self) -> PathBuf {
        self.path("base")
    }

    /// Makes a directory with files; names that end in a slash are directories, and `->` makes a link.
    pub(crate) fn layer(&self, name: &str, files: &[&str]) -> PathBuf {
        let dir = self.path(name);
        fs::create_dir_all(&dir).unwrap();
        for file in files {
            let (path, target) = file.split_once("->").unwrap_or((file, ""));
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if !target.is_empty() {
                symlink(target, path).unwrap();
            } else if file.ends_with('/') {
                fs::create_dir_all(path).unwrap();
            } else {
                fs::write(path, format!("{file} of {name}\n")).unwrap();
            }
        }
        dir
    }

    /// Makes a program or script that everybody may run.
    pub(crate) fn program(&self, layer: &str, name: &str, contents: &[u8]) -> PathBuf {
        let dir = self.layer(layer, &[]);
        let path = dir.join(name);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        dir
    }

    /// Returns layers with a new upper directory, and where that is.
    pub(crate) fn overlay(&self, lowers: &[PathBuf]) -> (Overlay, PathBuf) {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let (upper, work) = (self.path(&format!("upper{number}")), self.path(&format!("work{number}")));
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&work).unwrap();
        (self.overlay_on(lowers, &upper, &work), upper)
    }

    /// Returns layers with an upper directory that may have been used before.
    pub(crate) fn overlay_on(&self, lowers: &[PathBuf], upper: &Path, work: &Path) -> Overlay {
        let lowers = lowers.iter().cloned().map(Into::into).collect();
        let upper = Upper::Dirs { upper: upper.to_owned(), work: work.to_owned(), durability: Durability::Volatile };
        Overlay { lowers, upper: Some(upper) }
    }

    /// Returns a specification for a shell script on busybox.
    pub(crate) fn spec(&self, script: &str) -> Spec {
        let (overlay, _) = self.overlay(&[self.base()]);
        shell(overlay, script)
    }

    /// Runs something and returns what came of it; what it writes goes into one pipe.
    #[track_caller]
    pub(crate) fn run(&self, spec: Spec) -> Outcome {
        self.try_run(spec).unwrap()
    }

    #[track_caller]
    pub(crate) fn try_run(&self, mut spec: Spec) -> Result<Outcome, StartError> {
        let (read, write) = std::io::pipe().unwrap();
        let stderr = Stream::Fd(write.try_clone().unwrap().into());
        spec.stdio = Stdio::Streams { stdin: Stream::Null, stdout: Stream::Fd(write.into()), stderr };
        let running = self.launcher.create(spec).unwrap().start()?;
        Ok(finish(running, read.into()))
    }
}

/// Returns a specification for a shell script on layers that have busybox.
pub(crate) fn shell(overlay: Overlay, script: &str) -> Spec {
    let mut spec = Spec::new(Root::Overlay(overlay), ["/bin/sh", "-c", script]);
    spec.env = vec!["PATH=/bin".into()];
    spec
}

/// Reads to the end, then waits.
pub(crate) fn finish(running: Running, from: OwnedFd) -> Outcome {
    let mut output = Vec::new();
    // A terminal ends with an error once nobody has it open.
    let _ = File::from(from).read_to_end(&mut output);
    let exit = running.wait().unwrap();
    Outcome { output: String::from_utf8_lossy(&output).into_owned(), exit }
}

fn make_base(dir: &Path) {
    let bin = dir.join("bin");
    fs::create_dir_all(&bin).unwrap();
    if let Err(err) = fs::copy(BUSYBOX, bin.join("busybox")) {
        panic!("cannot copy {BUSYBOX} ({err}): the tests need the package busybox-static");
    }
    for applet in APPLETS {
        symlink("busybox", bin.join(applet)).unwrap();
    }
    fs::create_dir(dir.join("etc")).unwrap();
    fs::write(dir.join("etc/passwd"), PASSWD).unwrap();
}

/// Checks what a script in a sandbox of Docker's defaults writes, and that it ends well.
#[track_caller]
pub(crate) fn check(script: &str, expected: &str) {
    check_with(script, |_| {}, expected);
}

/// The same with a change to the specification.
#[track_caller]
pub(crate) fn check_with(script: &str, change: impl FnOnce(&mut Spec), expected: &str) {
    let world = World::new();
    let mut spec = world.spec(script);
    change(&mut spec);
    check_spec(&world, spec, expected);
}

/// Checks what a sandbox writes, and that it ends well.
#[track_caller]
pub(crate) fn check_spec(world: &World, spec: Spec, expected: &str) {
    let Outcome { output, exit } = world.run(spec);
    assert_eq!(output, expected);
    assert_eq!(exit.status, Status::Code(0));
}

/// Checks why a sandbox does not start, with the cause behind a colon, and its exit code.
#[track_caller]
pub(crate) fn check_refused(world: &World, spec: Spec, code: u8, expected: &str) {
    let err = world.try_run(spec).expect_err("started");
    assert_eq!(chain(&err), expected);
    assert_eq!(err.exit_code(), code);
}

/// Returns a message with its causes.
pub(crate) fn chain(err: &dyn std::error::Error) -> String {
    let mut message = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        message += &format!(": {err}");
        cause = err.source();
    }
    message
}

/// Runs `body` in a process that runs nothing else, in which descriptors, children and so on can be counted.
#[track_caller]
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    const ALONE: &str = "RUNTIME_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return body();
    }
    let status = this_test(test).env(ALONE, "1").status().unwrap();
    assert!(status.success(), "{status}");
}

/// Returns this program with the arguments that run one test.
pub(crate) fn this_test(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads", "1"]);
    command
}
