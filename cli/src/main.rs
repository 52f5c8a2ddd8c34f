//! The binary `kiln`: arguments, progress, printing, exit codes.

mod args;
mod commands;
mod failure;
mod format;
mod interrupt;
mod parse;
mod progress;
mod settings;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::Cli;

/// The exit code of Docker's client for a command line that is wrong.
const EXIT_USAGE: u8 = 125;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                // `docker` alone is a question too.
                let _ = write!(io::stdout(), "{}", error.render());
                return ExitCode::SUCCESS;
            }
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
