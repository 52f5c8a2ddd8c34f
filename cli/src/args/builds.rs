//! `kiln builds`, which is also `kiln builder history`: names and defaults are those of `docker buildx history`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::progress::Mode;

#[derive(Debug, Subcommand)]
pub(crate) enum BuildsCommand {
    /// List builds
    #[command(visible_alias = "list")]
    Ls(BuildsLsArgs),
    /// Show what a build was asked for, its steps and why they ran
    Inspect(BuildsInspectArgs),
    /// Show all that the steps of a build wrote
    Logs(BuildsLogsArgs),
    /// Remove builds from the history
    #[command(visible_alias = "remove")]
    Rm(BuildsRmArgs),
    /// Write all that is known of a build, as JSON, one object a line
    Export(BuildsExportArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BuildsLsArgs {
    /// Print ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Do not shorten ids
    #[arg(long)]
    pub(crate) no_trunc: bool,

    /// table, json, or a Go template
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) format: String,
}

#[derive(Debug, Args)]
pub(crate) struct BuildsInspectArgs {
    /// pretty, json, or a Go template
    #[arg(long, default_value = "pretty")]
    pub(crate) format: String,

    /// Build, by the beginning of its id [default: the newest]
    #[arg(value_name = "BUILD")]
    pub(crate) build: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BuildsLogsArgs {
    /// plain or rawjson
    #[arg(long, value_enum, default_value_t = Mode::Plain, hide_possible_values = true)]
    pub(crate) progress: Mode,

    /// Build, by the beginning of its id [default: the newest]
    #[arg(value_name = "BUILD")]
    pub(crate) build: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BuildsRmArgs {
    /// Remove all builds that have ended
    #[arg(long, conflicts_with = "builds")]
    pub(crate) all: bool,

    /// Builds, by the beginnings of their ids
    #[arg(value_name = "BUILD", required_unless_present = "all")]
    pub(crate) builds: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BuildsExportArgs {
    /// File to write to [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Build, by the beginning of its id [default: the newest]
    #[arg(value_name = "BUILD")]
    pub(crate) build: Option<String>,
}
