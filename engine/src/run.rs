//! `kiln run`: a container in the foreground.
//!
//! [`Engine::start`] makes and starts it ([`Container`]); whoever started it moves its streams and signals, and waits ([`Container::wait`]), which also
//! tidies up. A container that is dropped instead is killed and tidied up too.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use executor::sandbox::{complete_env, container_files, limit, resolve_user};
use executor::{Entered, Networks, Outside};
use layer::{Follow, Stack, TreeWriter, upper};
use oci::{ContainerConfig, Platform, Timestamp};
use runtime::overlay::{Durability, Upper};
use runtime::terminal::WindowSize;
use runtime::{Access, Launcher, Mount, MountSource, Root, Running, Spec, Stdio, Stream};
use store::{ContainerId, ContainerRecord, ContainerState, LayerRecord, Snapshot, Store};
use tokio_util::sync::CancellationToken;

use crate::check::DAMAGES_MAX;
use crate::event_sink::EventSink;
use crate::image::{FoundImage, config_of};
use crate::{Engine, Error, chain};

pub use llb::{ExtraHost, Limits, NetworkMode};
pub use runtime::terminal;

/// What is to be run.
#[derive(Clone, Debug, Default)]
pub struct RunRequest {
    /// The image of the store, by name or id.
    pub image: String,
    /// Arguments in place of the image's `CMD`.
    pub command: Vec<String>,
    /// A program in place of the image's `ENTRYPOINT`; an empty one is none.
    pub entrypoint: Option<String>,
    /// Variables in the form `KEY=value`, over those of the image.
    pub env: Vec<String>,
    /// The directory that the command starts in.
    pub working_dir: Option<String>,
    /// `user[:group]`, by names or numbers.
    pub user: Option<String>,
    /// The host name; `None` is the beginning of the container's id.
    pub hostname: Option<String>,
    /// The network that it sees.
    pub network: NetworkMode,
    /// Names added to its `/etc/hosts`.
    pub extra_hosts: Vec<ExtraHost>,
    /// What it may use.
    pub limits: Limits,
    /// Directories and files of this machine that the container sees.
    pub volumes: Vec<Volume>,
    /// The platform, where the image has several.
    pub platform: Option<Platform>,
    /// The size of the terminal that the container gets; `None` is no terminal.
    pub terminal: Option<WindowSize>,
    /// Whether the command reads from us.
    pub interactive: bool,
    /// Whether the container goes away when it ends.
    pub remove: bool,
}

/// A directory or file of this machine that a container sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Where it is on this machine; made as a directory if it is missing.
    pub source: PathBuf,
    /// Where the container sees it.
    pub target: String,
    /// Whether the container cannot write to it.
    pub is_readonly: bool,
}

impl Volume {
    /// Parses `SRC:DST[:ro]`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Run { reason };
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match parts[..] {
            [source, target] => (source, target, ""),
            [source, target, options] => (source, target, options),
            _ => return Err(wrong(format!("invalid volume specification: '{text}': expected SRC:DST[:ro]"))),
        };
        if !target.starts_with('/') || target == "/" {
            let reason = format!(
                "invalid volume specification: '{text}': invalid mount path: '{target}' mount path must be absolute"
            );
            return Err(wrong(reason));
        }
        let is_path = source.starts_with('/') || source.starts_with("./") || source.starts_with("../") || source == ".";
        if !is_path {
            let reason =
                format!("invalid volume specification: '{text}': '{source}' is not a path; begin it with `/` or `./`");
            return Err(wrong(reason));
        }
        let mut is_readonly = false;
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" | "readonly" => is_readonly = true,
                "rw" | "z" | "Z" | "rprivate" | "private" => {}
                _ => return Err(wrong(format!("invalid volume specification: '{text}': invalid mode: {option}"))),
            }
        }
        let source = std::path::absolute(source).map_err(Error::file("resolve", Path::new(source)))?;
        Ok(Self { source, target: target.to_owned(), is_readonly })
    }
}

/// A container that runs.
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Why it has the network of this machine although one of its own was asked for.
    pub lost_network: Option<String>,
    running: Option<Running>,
    store: Store,
    record: ContainerRecord,
    // Given back after the container has ended, and taken down.
    network: Option<Entered>,
    networks: Networks,
    // What the container writes into, where that is not in the store.
    _outside: Option<Outside>,
    // Says to other processes that the container is watched over.
    _held: fs::File,
    // Holds the namespaces that the container needs until it has ended.
    _launcher: Launcher,
}

impl Engine {
    /// Makes a container and starts it. Layers that are damaged are fetched again, where they can be.
    pub async fn start(
        &self,
        request: &RunRequest,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<Container, Error> {
        for _ in 0..DAMAGES_MAX {
            match self.try_start(request, events, cancel).await {
                Err(error) if self.mend(&error, events)? => {}
                started => return started,
            }
        }
        self.try_start(request, events, cancel).await
    }

    /// Finds the image: for the platform that is asked for, or else the best for this machine, which may be for another one.
    pub fn find_image_to_run(&self, request: &RunRequest) -> Result<FoundImage, Error> {
        match &request.platform {
            Some(platform) => self.find_image_for(&request.image, platform),
            None => self.find_image(&request.image),
        }
    }

    async fn try_start(
        &self,
        request: &RunRequest,
        events: &EventSink,
        cancel: &CancellationToken,
    ) -> Result<Container, Error> {
        let _epoch = self.store.hold_epoch()?;
        let FoundImage { image, .. } = self.find_image_to_run(request)?;
        let step = oci::Digest::of(b"run");
        let image = self.complete(image, step, events, cancel).await?;
        let config = config_of(&image)?.config;
        let command = command_line(request, &config)?;
        let layers: Vec<LayerRecord> = image.local_layers().cloned().collect();
        let record = ContainerRecord {
            id: ContainerId::random(),
            image: image.id,
            image_name: request.image.clone(),
            layers: layers.clone(),
            command: command.clone(),
            created: Timestamp::now(),
            remove: request.remove,
            state: ContainerState::Running,
        };
        // The record first: it keeps the layers from being collected.
        let tidy = TidyUp { store: &self.store, record: Some(&record) };
        let held = self.store.create_container(&record)?;
        let container = self.launch(request, &config, command, layers, record.clone(), held)?;
        tidy.done();
        Ok(container)
    }

    /// Makes the directory that a container writes into, and opens it. What is not in the store is held until the container has ended.
    fn place_to_write(&self, dir: &Path, is_removed: bool) -> Result<(Upper, Option<Outside>, OwnedFd), Error> {
        if let Some(outside) = self.ladder.outside()? {
            let directory = outside.open().map_err(Error::file("open", Path::new("upper")))?;
            return Ok((outside.upper(), Some(outside), directory));
        }
        let (upper, work) = (dir.join("upper"), dir.join("work"));
        for path in [&upper, &work] {
            fs::DirBuilder::new().mode(0o755).create(path).map_err(Error::file("create", path))?;
        }
        let directory = fs::File::open(&upper).map_err(Error::file("open", &upper))?.into();
        // What goes away with the container need not reach the disk.
        let durability = if is_removed { Durability::Volatile } else { Durability::Synced };
        Ok((Upper::Dirs { upper, work, durability }, None, directory))
    }

    fn launch(
        &self,
        request: &RunRequest,
        config: &ContainerConfig,
        command: Vec<String>,
        layers: Vec<LayerRecord>,
        record: ContainerRecord,
        held: fs::File,
    ) -> Result<Container, Error> {
        let dir = self.store.container_dir(&record.id);
        let handles: Result<Vec<store::Layer>, _> = layers.into_iter().map(|layer| self.store.layer(layer)).collect();
        let snapshot = Snapshot::new(handles?);
        let opened: Result<Vec<_>, _> = snapshot.layers.iter().map(store::Layer::open).collect();
        let stack = Stack::new(opened?);
        let user = resolve_user(&stack, request.user.as_deref().unwrap_or(&config.user))?;
        let cwd = request.working_dir.clone().unwrap_or_else(|| config.working_dir.clone());
        let cwd = if cwd.is_empty() { "/".to_owned() } else { cwd };
        let (upper, outside, directory) = self.place_to_write(&dir, request.remove)?;
        prepare_upper(directory, &stack, &cwd)?;
        let mut spec = Spec::new(Root::Overlay(self.ladder.overlay(&snapshot, Some(upper))?), &command);
        let hostname = request.hostname.clone().unwrap_or_else(|| record.id.to_string()[..12].to_owned());
        let mut env = environment(request, config, &hostname);
        complete_env(&mut env, &user.home);
        spec.env = env.into_iter().map(Into::into).collect();
        spec.cwd = PathBuf::from(cwd);
        spec.identity = user.identity;
        let networks = Networks::of_container();
        let network = networks.enter(request.network)?;
        spec.network = network.network().map_err(Error::file("open", Path::new("network namespace")))?;
        let files = container_files(&hostname, &request.extra_hosts, &network);
        let files = files.into_iter().chain([Mount::text("/etc/hostname", format!("{hostname}\n"))]);
        // A container, unlike a step, may write to them.
        spec.mounts.extend(files.map(|mount| Mount { access: Access::ReadWrite, ..mount }));
        spec.hostname = Some(hostname);
        for volume in &request.volumes {
            if !volume.source.exists() {
                fs::create_dir_all(&volume.source).map_err(Error::file("create", &volume.source))?;
            }
            let access = if volume.is_readonly { Access::ReadOnly } else { Access::ReadWrite };
            spec.mounts.push(Mount::new(&volume.target, MountSource::Path(volume.source.clone()), access));
        }
        limit(&mut spec, &request.limits)?;
        spec.stdio = match request.terminal {
            Some(size) => Stdio::Terminal(size),
            None => Stdio::Streams {
                stdin: if request.interactive { Stream::Pipe } else { Stream::Null },
                stdout: Stream::Pipe,
                stderr: Stream::Pipe,
            },
        };
        let launcher = self.ladder.launcher()?;
        store::fault::point("run.start").map_err(Error::file("start", &dir))?;
        let running = launcher.create(spec)?.start()?;
        Ok(Container {
            id: record.id,
            lost_network: network.lost().map(|error| chain(error)),
            running: Some(running),
            store: self.store.clone(),
            record,
            network: Some(network),
            networks,
            _outside: outside,
            _held: held,
            _launcher: launcher,
        })
    }
}

/// Gives the container's own layer the root that it hides, and the directory that the command starts in.
fn prepare_upper(directory: OwnedFd, stack: &Stack, cwd: &str) -> Result<(), Error> {
    let there = stack.resolve(cwd.as_bytes(), Follow::All);
    if there.is_ok_and(|there| there.path.as_path().is_root() || there.found.is_some()) {
        upper::prepare(directory, stack).map_err(executor::ExecError::from)?;
        return Ok(());
    }
    let writer = TreeWriter::new(directory, stack.clone()).map_err(executor::ExecError::from)?;
    executor::make_working_dir(&writer, cwd, 0, 0)?;
    writer.finish().map_err(executor::ExecError::from)?;
    Ok(())
}

/// Combines entry point and command by Docker's rules: a new entry point drops the image's command, and one that is empty is none.
fn command_line(request: &RunRequest, config: &ContainerConfig) -> Result<Vec<String>, Error> {
    let mut command: Vec<String> = match &request.entrypoint {
        Some(program) if program.is_empty() => Vec::new(),
        Some(program) => vec![program.clone()],
        None => config.entrypoint.clone().unwrap_or_default(),
    };
    if request.command.is_empty() && request.entrypoint.is_none() {
        command.extend(config.cmd.clone().unwrap_or_default());
    } else {
        command.extend(request.command.iter().cloned());
    }
    if command.is_empty() {
        return Err(Error::Run { reason: "no command specified".to_owned() });
    }
    Ok(command)
}

fn environment(request: &RunRequest, config: &ContainerConfig, hostname: &str) -> Vec<String> {
    let mut env = config.env.clone();
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut set = |variable: String| {
        let same = env.iter().position(|other| name(other) == name(&variable));
        match same {
            Some(place) => env[place] = variable,
            None => env.push(variable),
        }
    };
    set(format!("HOSTNAME={hostname}"));
    if request.terminal.is_some() {
        set("TERM=xterm".to_owned());
    }
    request.env.iter().cloned().for_each(set);
    env
}

impl Container {
    /// Returns the ends of the container's streams; each is returned once.
    pub fn streams(&mut self) -> Streams {
        match &mut self.running {
            Some(running) => Streams {
                stdin: running.stdin.take(),
                stdout: running.stdout.take(),
                stderr: running.stderr.take(),
                terminal: running.terminal.take(),
            },
            None => Streams::default(),
        }
    }

    /// Returns a descriptor of the container's first process, which becomes readable when it has ended, and takes signals.
    pub fn pidfd(&self) -> Result<OwnedFd, Error> {
        let running = self.running.as_ref().ok_or_else(|| Error::Bug("the container has ended".to_owned()))?;
        running.as_fd().try_clone_to_owned().map_err(Error::file("watch", Path::new("container")))
    }

    /// Waits until the container has ended, tidies up, and returns its exit code: 128 and the signal's number where a signal ended it. It blocks.
    pub fn wait(mut self) -> Result<i32, Error> {
        let running = self.running.take().ok_or_else(|| Error::Bug("the container has ended".to_owned()))?;
        let exit = running.wait().map_err(Error::file("wait for", Path::new("container")))?;
        let code = exit.status.code();
        store::fault::point("run.ended").map_err(Error::file("tidy up", &self.store.container_dir(&self.id)))?;
        drop(self.network.take());
        // What is left goes with this process, or is removed by the next.
        let _ = self.networks.close();
        if self.record.remove {
            self.store.remove_container(&self.id)?;
        } else {
            self.record.state = ContainerState::Exited { code, at: Timestamp::now() };
            self.store.put_container(&self.record)?;
        }
        Ok(code)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            // Killed and waited for.
            drop(running);
            // Whoever dropped it is on the way out already.
            let _ = self.store.remove_container(&self.id);
        }
    }
}

/// The ends of a container's streams.
#[derive(Debug, Default)]
pub struct Streams {
    /// What the container reads.
    pub stdin: Option<OwnedFd>,
    /// What it writes.
    pub stdout: Option<OwnedFd>,
    /// What it writes about errors.
    pub stderr: Option<OwnedFd>,
    /// The other end of its terminal.
    pub terminal: Option<OwnedFd>,
}

/// Removes a container that did not come to run.
struct TidyUp<'a> {
    store: &'a Store,
    record: Option<&'a ContainerRecord>,
}

impl TidyUp<'_> {
    fn done(mut self) {
        self.record = None;
    }
}

impl Drop for TidyUp<'_> {
    fn drop(&mut self) {
        if let Some(record) = self.record {
            // What went wrong before is what the user hears of.
            let _ = self.store.remove_container(&record.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell form is what `SHELL` makes of it; an exec form stands as it is.
    #[track_caller]
    fn check(entrypoint: &[&str], cmd: &[&str], expected: &str) {
        let list = |words: &[&str]| (!words.is_empty()).then(|| words.iter().map(|it| (*it).to_owned()).collect());
        let config = ContainerConfig { entrypoint: list(entrypoint), cmd: list(cmd), ..ContainerConfig::default() };
        let command = command_line(&RunRequest::default(), &config);
        assert_eq!(command.map(|words| words.join("|")).unwrap_or_else(|error| error.to_string()), expected);
    }

    #[test]
    fn entrypoint_and_cmd_combine_by_dockers_table() {
        let (none, shell) = ([], ["/bin/sh", "-c", "cmd"]);
        check(&none, &none, "no command specified");
        check(&none, &["cmd", "a"], "cmd|a");
        check(&none, &shell, "/bin/sh|-c|cmd");
        check(&["/bin/sh", "-c", "entry"], &none, "/bin/sh|-c|entry");
        check(&["/bin/sh", "-c", "entry"], &["cmd", "a"], "/bin/sh|-c|entry|cmd|a");
        check(&["/bin/sh", "-c", "entry"], &shell, "/bin/sh|-c|entry|/bin/sh|-c|cmd");
        check(&["entry", "e"], &none, "entry|e");
        check(&["entry", "e"], &["cmd", "a"], "entry|e|cmd|a");
        check(&["entry", "e"], &shell, "entry|e|/bin/sh|-c|cmd");
    }

    #[test]
    fn arguments_replace_cmd_and_an_entrypoint_drops_it() {
        let words = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let config = ContainerConfig {
            entrypoint: Some(words(&["entry"])),
            cmd: Some(words(&["cmd"])),
            ..ContainerConfig::default()
        };
        let run = |command: &[&str], entrypoint: Option<&str>| {
            let request = RunRequest {
                command: words(command),
                entrypoint: entrypoint.map(str::to_owned),
                ..RunRequest::default()
            };
            command_line(&request, &config).map(|words| words.join("|")).unwrap_or_else(|error| error.to_string())
        };
        assert_eq!(run(&["a", "b"], None), "entry|a|b");
        assert_eq!(run(&[], Some("other")), "other");
        assert_eq!(run(&["a"], Some("other")), "other|a");
        assert_eq!(run(&["a"], Some("")), "a");
        assert_eq!(run(&[], Some("")), "no command specified");
    }

    #[test]
    fn variables_of_the_user_replace_those_of_the_image() {
        let config = ContainerConfig { env: vec!["A=1".into(), "B=2".into()], ..ContainerConfig::default() };
        let request = RunRequest { env: vec!["B=3".into(), "C=4".into()], ..RunRequest::default() };
        assert_eq!(environment(&request, &config, "h"), ["A=1", "B=3", "HOSTNAME=h", "C=4"]);
    }

    #[test]
    fn volumes_are_paths_on_both_sides() {
        let parse = |text: &str| Volume::parse(text).map_err(|error| error.to_string());
        let volume = parse("/a:/b:ro").unwrap();
        assert_eq!(
            (volume.source.as_path(), volume.target.as_str(), volume.is_readonly),
            (Path::new("/a"), "/b", true)
        );
        assert!(!parse("/a:/b").unwrap().is_readonly);
        assert!(parse("./a:/b").unwrap().source.is_absolute());
        assert_eq!(parse("/a"), Err("invalid volume specification: '/a': expected SRC:DST[:ro]".to_owned()));
        let message = "invalid volume specification: '/a:b': invalid mount path: 'b' mount path must be absolute";
        assert_eq!(parse("/a:b"), Err(message.to_owned()));
        assert_eq!(parse("/a:/b:x"), Err("invalid volume specification: '/a:/b:x': invalid mode: x".to_owned()));
        assert!(parse("name:/b").unwrap_err().contains("is not a path"));
    }
}
