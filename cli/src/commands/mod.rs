//! One file a group of commands; each is a thin layer over a use case of the engine.

mod archive;
mod build;
mod builds;
mod calls;
mod disk;
mod image;
mod run;
mod survey;
mod system;
mod watch;

use std::io::{self, Write};
use std::process::ExitCode;

use engine::EventSink;
use engine::event::{Event, Warning};

use crate::args::{BuilderCommand, Cli, Command, ContainerCommand, ImageCommand, SystemCommand};

/// Carries out a command line.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Command::Build(args) => build::build(&cli, args),
        Command::Builder(BuilderCommand::Build(args)) | Command::Image(ImageCommand::Build(args)) => {
            build::build(&cli, args)
        }
        Command::Run(args) => run::run(&cli, args),
        Command::Images(args) | Command::Image(ImageCommand::Ls(args)) => image::list(&cli, args),
        Command::History(args) | Command::Image(ImageCommand::History(args)) => image::history(&cli, args),
        Command::Inspect(args) | Command::Image(ImageCommand::Inspect(args)) => image::inspect(&cli, args),
        Command::Tag(args) | Command::Image(ImageCommand::Tag(args)) => image::tag(&cli, args),
        Command::Rmi(args) | Command::Image(ImageCommand::Rm(args)) => image::remove(&cli, args),
        Command::Pull(args) | Command::Image(ImageCommand::Pull(args)) => archive::pull(&cli, args),
        Command::Push(args) | Command::Image(ImageCommand::Push(args)) => archive::push(&cli, args),
        Command::Save(args) | Command::Image(ImageCommand::Save(args)) => archive::save(&cli, args),
        Command::Load(args) | Command::Image(ImageCommand::Load(args)) => archive::load(&cli, args),
        Command::Import(args) | Command::Image(ImageCommand::Import(args)) => archive::import(&cli, args),
        Command::Builds(command) | Command::Builder(BuilderCommand::History(command)) => builds::builds(&cli, command),
        Command::Du(args) | Command::Builder(BuilderCommand::Du(args)) => disk::du(&cli, args),
        Command::Prune(args) | Command::Builder(BuilderCommand::Prune(args)) => disk::prune(&cli, args),
        Command::Image(ImageCommand::Prune(args)) => system::prune_images(&cli, args),
        Command::Container(ContainerCommand::Prune(args)) => system::prune_containers(&cli, args),
        Command::System(SystemCommand::Check(args)) => disk::check(&cli, args),
        Command::System(SystemCommand::Df(args)) => system::df(&cli, args),
        Command::System(SystemCommand::Prune(args)) => system::prune(&cli, args),
        Command::Info | Command::System(SystemCommand::Info) => system::info(&cli),
        Command::Version => {
            print(&format!("kiln version {}\n", env!("CARGO_PKG_VERSION")))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Prints to standard output. That nobody reads it any more is no error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Returns a listener for commands that show no progress: only what may not go unsaid is printed.
fn warnings() -> EventSink {
    EventSink::new(|event| {
        if let Event::Warning(warning) = event {
            warn(&warning);
        }
    })
}

fn warn(warning: &Warning) {
    // Nobody is there to read it: then nothing is lost.
    let _ = io::stderr().write_all(format!("warning: {}\n", warning.short).as_bytes());
}

/// Returns a runtime for one use case: everything waits on one thread, and what blocks has threads of its own.
fn async_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
