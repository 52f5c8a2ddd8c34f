//! The binary `kiln`: arguments, progress, printing, exit codes.

mod args;
mod commands;
mod failure;
mod format;
mod interrupt;
mod limits;
mod parse;
mod progress;
mod settings;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use args::Cli;
use runtime::allocator::PlacingAllocator;

/// Reading into long buffers takes up to 3.4 times as long where they begin at other places.
#[global_allocator]
static ALLOCATOR: PlacingAllocator = PlacingAllocator;

/// The exit code of Docker's client for a command line that is wrong.
const EXIT_USAGE: u8 = 125;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let is_question = error.kind() == ErrorKind::MissingSubcommand;
            // As with `docker` alone, a command that lacks its second word asks which ones there are.
            let error = if is_question { help() } else { error };
            // Nobody is there to read it: then the exit code has to do.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}

/// What the command line asks for with `--help` behind it.
fn help() -> clap::Error {
    let arguments = std::env::args_os().chain(["--help".into()]);
    Cli::try_parse_from(arguments)
        .err()
        .unwrap_or_else(|| Cli::command().error(ErrorKind::MissingSubcommand, "no command"))
}
