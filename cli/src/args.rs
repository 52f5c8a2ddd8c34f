//! The command line as it is typed: names, aliases and defaults are Docker's.

mod builds;
mod call;
mod disk;
mod ignored;
mod limits;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::progress::Mode;

pub(crate) use call::{Call, Form, GraphForm, Method};

pub(crate) use builds::{
    BuildsCommand, BuildsExportArgs, BuildsInspectArgs, BuildsLogsArgs, BuildsLsArgs, BuildsRmArgs,
};
pub(crate) use disk::{CachePruneArgs, CheckArgs, ContainerCommand, ContainerPruneArgs, DuArgs, ImagePruneArgs};
pub(crate) use ignored::IgnoredArgs;
pub(crate) use limits::LimitArgs;

/// How often a step can be asked to be run again.
const STEP_RETRIES_MAX: i64 = 100;

/// Build, run and ship container images, without a daemon
#[derive(Debug, Parser)]
#[command(name = "kiln", version, disable_help_subcommand = true, infer_long_args = false)]
pub(crate) struct Cli {
    /// Directory of the store [default: /var/lib/kiln, for ordinary users $XDG_DATA_HOME/kiln]
    #[arg(long, env = "KILN_ROOT", global = true, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,

    /// Directory that commands write into where the store is on a file system that no overlay can write to [default: memory]
    #[arg(long, env = "KILN_WORK_ROOT", global = true, value_name = "DIR")]
    pub(crate) work_root: Option<PathBuf>,

    /// Settings file [default: /etc/kiln/config.toml, then $XDG_CONFIG_HOME/kiln/config.toml]
    #[arg(long, env = "KILN_CONFIG", global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Mirror of Docker Hub to ask first
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) registry_mirror: Vec<String>,

    /// Show more of what goes wrong
    #[arg(short = 'D', long, global = true)]
    pub(crate) debug: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image from a Dockerfile
    #[command(visible_alias = "b")]
    Build(Box<BuildArgs>),
    /// Create and run a container in the foreground
    Run(Box<RunArgs>),
    /// List images
    Images(ImagesArgs),
    /// Show the history of an image
    History(HistoryArgs),
    /// Show all that is known of images
    Inspect(InspectArgs),
    /// Give an image another name
    Tag(TagArgs),
    /// Remove images
    Rmi(RmiArgs),
    /// Download an image from a registry
    Pull(PullArgs),
    /// Upload an image to a registry
    Push(PushArgs),
    /// Save images to a tar archive
    Save(SaveArgs),
    /// Load images from an archive or a directory
    Load(LoadArgs),
    /// Make an image of the files in a tar archive
    Import(ImportArgs),
    /// Manage images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Manage builds
    #[command(subcommand, visible_alias = "buildx")]
    Builder(BuilderCommand),
    /// Manage the history of builds
    #[command(subcommand)]
    Builds(BuildsCommand),
    /// Manage containers
    #[command(subcommand)]
    Container(ContainerCommand),
    /// Show what takes room
    Du(DuArgs),
    /// Remove what the cache has and no image needs
    Prune(CachePruneArgs),
    /// Manage the store
    #[command(subcommand)]
    System(SystemCommand),
    /// Show the store, and how this machine mounts layers
    Info,
    /// Show the version
    Version,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build an image from a Dockerfile
    Build(Box<BuildArgs>),
    /// List images
    #[command(visible_alias = "list")]
    Ls(ImagesArgs),
    /// Show the history of an image
    History(HistoryArgs),
    /// Show all that is known of images
    Inspect(InspectArgs),
    /// Give an image another name
    Tag(TagArgs),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(RmiArgs),
    /// Remove images that nothing needs
    Prune(ImagePruneArgs),
    /// Download an image from a registry
    Pull(PullArgs),
    /// Upload an image to a registry
    Push(PushArgs),
    /// Save images to a tar archive
    Save(SaveArgs),
    /// Load images from an archive or a directory
    Load(LoadArgs),
    /// Make an image of the files in a tar archive
    Import(ImportArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum BuilderCommand {
    /// Build an image from a Dockerfile
    #[command(visible_alias = "b")]
    Build(Box<BuildArgs>),
    /// Manage the history of builds
    #[command(subcommand)]
    History(BuildsCommand),
    /// Show what takes room
    Du(DuArgs),
    /// Remove what the cache has and no image needs
    Prune(CachePruneArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SystemCommand {
    /// Show how much room the store takes
    Df(DfArgs),
    /// Remove what nothing needs
    Prune(PruneArgs),
    /// Show the store, and how this machine mounts layers
    Info,
    /// Look whether everything in the store is as it was written
    Check(CheckArgs),
}

/// How registries are reached, and what is shown meanwhile.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Name of the image
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub(crate) tag: Vec<String>,

    /// Dockerfile, or - for standard input [default: PATH/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<String>,

    /// Stage to build
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,

    /// What to do with the Dockerfile: build it, check it, show what it takes (outline), can build (targets) or reads of its contexts (context)
    #[arg(long, value_name = "METHOD[,format=json]", default_value = "build")]
    pub(crate) call: Call,

    /// Check the Dockerfile and build nothing, as --call check
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set, hide_possible_values = true, value_name = "BOOL")]
    pub(crate) check: bool,

    /// Show the steps and build nothing
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) print: Option<GraphForm>,

    /// Take build arguments that nothing uses, variables that are not set and stages that nothing needs for errors
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set, hide_possible_values = true, value_name = "BOOL")]
    pub(crate) strict: bool,

    /// How what was found is printed; with json, as one document on standard output
    #[arg(long, value_enum, default_value_t = Form::Text, value_name = "FORMAT")]
    pub(crate) format: Form,

    /// Set a build argument; without a value, to that of the environment
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) build_arg: Vec<String>,

    /// Set a label of the image
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,

    /// Note something on the manifest of an OCI layout, or on what TYPE says
    #[arg(long, value_name = "[TYPE[PLATFORM]:]KEY=VALUE")]
    pub(crate) annotation: Vec<String>,

    /// Use no earlier result
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set, hide_possible_values = true, value_name = "BOOL")]
    pub(crate) no_cache: bool,

    /// Use no earlier result of these stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,

    /// Ask registries for newer bases
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set, hide_possible_values = true, value_name = "BOOL")]
    pub(crate) pull: bool,

    /// Platforms to build for
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,

    /// How progress is shown
    #[arg(long, value_enum, default_value_t = Mode::Auto, env = "BUILDKIT_PROGRESS", hide_env = true)]
    pub(crate) progress: Mode,

    /// Show nothing, print the image's id
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set, hide_possible_values = true, value_name = "BOOL")]
    pub(crate) quiet: bool,

    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,

    /// Write what was built to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,

    /// Where the result goes: type=oci|docker|tar|local,dest=PATH or type=registry
    #[arg(short, long, value_name = "SPEC")]
    pub(crate) output: Vec<String>,

    /// Put the result into the store, which is the default
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set, hide_possible_values = true, value_name = "BOOL")]
    pub(crate) load: bool,

    /// Push the image to the registries of its names
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set, hide_possible_values = true, value_name = "BOOL")]
    pub(crate) push: bool,

    /// Give a directory or image a name that the Dockerfile can use
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) build_context: Vec<String>,

    /// Show a secret to steps: id=ID[,src=FILE|,env=VARIABLE]
    #[arg(long, value_name = "SPEC")]
    pub(crate) secret: Vec<String>,

    /// Allow what steps may not do otherwise: network.host, security.insecure, device[=NAME]
    #[arg(long, value_name = "ENTITLEMENT", value_delimiter = ',')]
    pub(crate) allow: Vec<String>,

    /// Forward an SSH agent to steps: default, ID=SOCKET or ID=KEY[,KEY…]
    #[arg(long, value_name = "SPEC")]
    pub(crate) ssh: Vec<String>,

    /// Network of RUN: default, none or host
    #[arg(long, value_name = "MODE", default_value = "default")]
    pub(crate) network: String,

    /// Add a name to /etc/hosts of every step
    #[arg(long, value_name = "HOST:IP")]
    pub(crate) add_host: Vec<String>,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    #[command(flatten)]
    pub(crate) ignored: IgnoredArgs,

    /// Time after which a RUN is stopped and fails, such as 90s or 5m
    #[arg(long, value_name = "DURATION")]
    pub(crate) step_timeout: Option<String>,

    /// How often a RUN that fails is run again, each time on a clean layer
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=STEP_RETRIES_MAX))]
    pub(crate) step_retries: u32,

    /// Steps to run at the same time, at most
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,

    /// Say of each step that ran why it did
    #[arg(long)]
    pub(crate) explain: bool,

    /// Say what would run and what is cached, and build nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Build context: a directory, the address of a git repository or of an archive, or - for an archive or a Dockerfile on standard input
    #[arg(value_name = "PATH|-")]
    pub(crate) context: String,
}

#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct RunArgs {
    /// Remove the container when it ends
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set, hide_possible_values = true, value_name = "BOOL")]
    pub(crate) rm: bool,

    /// Pass standard input on
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set, hide_possible_values = true, value_name = "BOOL")]
    pub(crate) interactive: bool,

    /// Give the container a terminal
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set, hide_possible_values = true, value_name = "BOOL")]
    pub(crate) tty: bool,

    /// Set a variable; without a value, to that of the environment
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(crate) env: Vec<String>,

    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,

    /// Directory to start in
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,

    /// User to run as
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,

    /// Program in place of the image's entry point
    #[arg(long, value_name = "COMMAND")]
    pub(crate) entrypoint: Option<String>,

    /// Network: bridge, none or host
    #[arg(long, visible_alias = "net", value_name = "MODE", default_value = "bridge")]
    pub(crate) network: String,

    /// Add a name to /etc/hosts
    #[arg(long, value_name = "HOST:IP")]
    pub(crate) add_host: Vec<String>,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    /// Show a directory or file of this machine to the container
    #[arg(short, long, value_name = "SRC:DST[:ro]")]
    pub(crate) volume: Vec<String>,

    /// Host name
    #[arg(short = 'h', long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,

    /// Platform of the image
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,

    /// Show this help
    #[arg(long, action = ArgAction::Help)]
    pub(crate) help: Option<bool>,

    /// Image
    pub(crate) image: String,

    /// Command and its arguments, in place of the image's
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// Show images without names too
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Print ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Do not shorten ids
    #[arg(long)]
    pub(crate) no_trunc: bool,

    /// Show digests
    #[arg(long)]
    pub(crate) digests: bool,

    /// table, json, or a Go template
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) format: String,

    /// Only images of this repository, or with this name
    pub(crate) repository: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Print ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Do not shorten instructions
    #[arg(long)]
    pub(crate) no_trunc: bool,

    /// Sizes and times for people
    #[arg(short = 'H', long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = ArgAction::Set, hide_possible_values = true, value_name = "BOOL")]
    pub(crate) human: bool,

    /// table, json, or a Go template
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) format: String,

    /// Image
    pub(crate) image: String,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// json, or a Go template
    #[arg(short, long, default_value = "", hide_default_value = true)]
    pub(crate) format: String,

    /// Kind of what is named: image
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,

    /// Images
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// Image
    pub(crate) source: String,
    /// Its other name
    pub(crate) target: String,
}

#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Remove although containers or other names need it
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Images
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Platform of the image
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,

    /// Print the name only
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Image
    pub(crate) image: String,
}

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// Print the name only
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Name of the image, with its registry
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// File to write to [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Images
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Archive or directory to read [default: standard input]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,

    /// Print nothing but the result
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// What the image's history says
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,

    /// Platform of the image
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,

    /// Archive, or - for standard input
    pub(crate) file: String,

    /// Name of the image
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DfArgs {
    /// table, json, or a Go template
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) format: String,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Remove every image that no container needs, and all results of steps
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}
