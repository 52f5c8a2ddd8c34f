//! `kiln run`: moving streams and signals between the user and a container in the foreground.

use std::env;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, bail};
use engine::image::PullRequest;
use engine::run::terminal::{RawMode, set_window_size, window_size};
use engine::run::{Container, RunRequest, Streams, Volume};
use engine::{Engine, Error};
use oci::Platform;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::signal::unix::{SignalKind, signal};

use super::archive::pull_image;
use super::{async_runtime, warnings};
use crate::args::{Cli, RunArgs};
use crate::interrupt::with_cancel;
use crate::{limits, parse, settings};
use engine::chain;

/// The exit code where the container never came to run.
const EXIT_NOT_STARTED: u8 = 125;
const BUFFER_BYTES: usize = 64 << 10;
/// How often the same request to end is passed on before the container is killed, as Docker's client does.
const REQUESTS_MAX: usize = 3;

pub(super) fn run(cli: &Cli, args: &RunArgs) -> anyhow::Result<ExitCode> {
    match try_run(cli, args) {
        Ok(code) => Ok(code),
        Err(error) => {
            let hint = error.downcast_ref::<Error>().and_then(Error::hint);
            let hint = hint.map(|hint| format!("\nhint: {hint}\n")).unwrap_or_default();
            let text = format!("kiln: {}\n{hint}", chain(error.as_ref()));
            // Nobody is there to read it: then the exit code has to do.
            let _ = io::stderr().write_all(text.as_bytes());
            let code = match error.downcast_ref::<Error>() {
                Some(Error::Start(error)) => error.exit_code(),
                _ => EXIT_NOT_STARTED,
            };
            Ok(ExitCode::from(code))
        }
    }
}

fn try_run(cli: &Cli, args: &RunArgs) -> anyhow::Result<ExitCode> {
    let stdin_is_terminal = io::stdin().is_terminal();
    if args.tty && args.interactive && !stdin_is_terminal {
        bail!("the input device is not a TTY");
    }
    let request = request(args)?;
    let engine = settings::open_engine(cli, None)?;
    let runtime = async_runtime()?;
    pull_if_missing(&engine, &request)?;
    let events = warnings();
    let container = runtime.block_on(with_cancel(async |cancel| engine.start(&request, &events, cancel).await))??;
    if let Some(cause) = &container.lost_network {
        tell(&format!("warning: the container has the network of this machine, not one of its own: {cause}\n"))?;
    }
    let raw = (args.tty && args.interactive).then(|| RawMode::enter(io::stdin())).transpose()?;
    let code = runtime.block_on(attend(container, args));
    drop(raw);
    Ok(ExitCode::from(u8::try_from(code?).unwrap_or(u8::MAX)))
}

/// Pulls the image that is to be run if the store does not have it.
fn pull_if_missing(engine: &Engine, request: &RunRequest) -> anyhow::Result<()> {
    let missing = match engine.find_image_to_run(request) {
        Err(error @ Error::NoSuchImage { .. }) => error,
        found => return warn_of_platform(request, &found?.image.platform),
    };
    // What cannot be a name was meant as an id.
    let Ok(reference) = request.image.parse() else { return Err(missing.into()) };
    let platform = request.platform.clone().unwrap_or_else(Platform::host);
    let request = PullRequest { reference, platform };
    tell(&format!("Unable to find image '{}' locally\n", request.reference.familiar()))?;
    pull_image(engine, &request, tell)
}

/// Says that an image is for another machine than this one, where nobody has asked for that, in Docker's words.
fn warn_of_platform(request: &RunRequest, platform: &Platform) -> anyhow::Result<()> {
    let host = Platform::host();
    if request.platform.is_some() || host.rank(platform).is_some() {
        return Ok(());
    }
    tell(&format!(
        "WARNING: The requested image's platform ({platform}) does not match the detected host platform ({host}) and no specific platform was requested\n"
    ))
}

fn tell(text: &str) -> anyhow::Result<()> {
    // Nobody is there to read it: the container runs all the same.
    let _ = io::stderr().write_all(text.as_bytes());
    Ok(())
}

fn request(args: &RunArgs) -> anyhow::Result<RunRequest> {
    let terminal =
        args.tty.then(|| window_size(io::stdout()).or_else(|_| window_size(io::stdin())).unwrap_or_default());
    let volumes = args.volume.iter().map(|text| Volume::parse(text)).collect::<Result<Vec<_>, Error>>()?;
    Ok(RunRequest {
        image: args.image.clone(),
        command: args.command.clone(),
        entrypoint: args.entrypoint.clone(),
        env: environment(args)?,
        working_dir: args.workdir.clone(),
        user: args.user.clone(),
        hostname: args.hostname.clone(),
        network: parse::container_network(&args.network)?,
        extra_hosts: parse::hosts(&args.add_host)?,
        limits: limits::parse(&args.limits)?,
        volumes,
        platform: args.platform.as_deref().map(parse::platform).transpose()?,
        terminal,
        interactive: args.interactive,
        remove: args.rm,
    })
}

/// Returns the variables of files and then of the command line; one without a value has that of the environment, or is left out.
fn environment(args: &RunArgs) -> anyhow::Result<Vec<String>> {
    let mut texts = Vec::new();
    for path in &args.env_file {
        texts.extend(read_env_file(path)?);
    }
    texts.extend(args.env.iter().cloned());
    let variable = |text: String| match text.contains('=') {
        true => Some(text),
        false => env::var(&text).ok().map(|value| format!("{text}={value}")),
    };
    Ok(texts.into_iter().filter_map(variable).collect())
}

fn read_env_file(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let lines = text.lines().map(|line| line.trim_start()).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// Moves streams and signals until the container has ended, and returns its exit code.
async fn attend(mut container: Container, args: &RunArgs) -> anyhow::Result<i32> {
    let pidfd = container.pidfd()?;
    let Streams { stdin, stdout, stderr, terminal } = container.streams();
    let mut outputs = Vec::new();
    if let Some(terminal) = &terminal {
        let terminal = terminal.try_clone()?;
        outputs.push(thread::spawn(move || copy_out(terminal, io::stdout())));
    }
    outputs.extend(stdout.map(|fd| thread::spawn(move || copy_out(fd, io::stdout()))));
    outputs.extend(stderr.map(|fd| thread::spawn(move || copy_out(fd, io::stderr()))));
    let input = if args.interactive { terminal.as_ref().map(OwnedFd::try_clone).transpose()?.or(stdin) } else { None };
    if let Some(input) = input {
        // It ends with the process: nobody can be made to stop reading from a terminal.
        thread::spawn(move || copy_in(&input));
    }
    let waiting = tokio::task::spawn_blocking(move || container.wait());
    let code = relay_signals(waiting, &pidfd, terminal.as_ref()).await?;
    drop(terminal);
    for output in outputs {
        // What the container wrote last is still on its way.
        let _ = output.join();
    }
    Ok(code)
}

/// Passes signals on until the container has ended.
async fn relay_signals(
    mut waiting: tokio::task::JoinHandle<Result<i32, Error>>,
    pidfd: &OwnedFd,
    terminal: Option<&OwnedFd>,
) -> anyhow::Result<i32> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (mut hangup, mut quit) = (signal(SignalKind::hangup())?, signal(SignalKind::quit())?);
    let (mut user1, mut user2) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
    let mut resized = signal(SignalKind::window_change())?;
    let mut requests = 0;
    loop {
        let passed = tokio::select! {
            ended = &mut waiting => return Ok(ended??),
            _ = interrupt.recv() => Signal::INT,
            _ = terminate.recv() => Signal::TERM,
            _ = hangup.recv() => Signal::HUP,
            _ = quit.recv() => Signal::QUIT,
            _ = user1.recv() => Signal::USR1,
            _ = user2.recv() => Signal::USR2,
            _ = resized.recv() => {
                if let (Some(terminal), Ok(size)) = (terminal, window_size(io::stdout())) {
                    // The container may have ended meanwhile.
                    let _ = set_window_size(terminal, size);
                }
                continue;
            }
        };
        requests += usize::from(passed == Signal::INT || passed == Signal::TERM);
        let passed = if requests >= REQUESTS_MAX { Signal::KILL } else { passed };
        // The container may have ended meanwhile.
        let _ = pidfd_send_signal(pidfd, passed);
    }
}

fn copy_out(from: impl Into<OwnedFd>, mut to: impl Write) {
    let mut from = File::from(from.into());
    let mut buffer = vec![0; BUFFER_BYTES];
    // A terminal whose other side is closed gives an error instead of an end.
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        // When nobody reads any more, the container must not be made to wait for that.
        let _ = to.write_all(&buffer[..count]).and_then(|()| to.flush());
    }
}

fn copy_in(to: &OwnedFd) {
    let (mut stdin, mut buffer) = (io::stdin(), vec![0; BUFFER_BYTES]);
    while let Ok(count @ 1..) = stdin.read(&mut buffer) {
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            match rustix::io::write(to.as_fd(), rest) {
                Ok(written) => rest = &rest[written..],
                // The container reads no more.
                Err(_) => return,
            }
        }
    }
}
