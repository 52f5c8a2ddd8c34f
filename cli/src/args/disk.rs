//! What takes room and giving it back: names and defaults are those of `docker buildx du` and `docker buildx prune`, and of Docker's other prunings.

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct DuArgs {
    /// Only records that fit: id, parents, description, type (=, !=, ~=), until, inuse, mutable, immutable, shared, private
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,

    /// table, pretty, json, or a Go template
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) format: String,

    /// Show all that is known of each record
    #[arg(long)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CachePruneArgs {
    /// Remove the results of steps too whose files images need
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Only records that fit, as with du: until=24h
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,

    /// Room that the cache may keep in any case
    #[arg(long, visible_alias = "keep-storage", value_name = "BYTES")]
    pub(crate) reserved_space: Option<String>,

    /// The most room that the cache may keep
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_used_space: Option<String>,

    /// Room of the disk that is to be free afterwards
    #[arg(long, value_name = "BYTES")]
    pub(crate) min_free_space: Option<String>,

    /// Show all that is known of what was removed
    #[arg(long)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Forget what is damaged, so that it is fetched or made again
    #[arg(long)]
    pub(crate) repair: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImagePruneArgs {
    /// Remove every image that no container needs, not only those without names
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Only images that fit: until=24h, label=KEY[=VALUE]
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContainerCommand {
    /// Remove stopped containers
    Prune(ContainerPruneArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ContainerPruneArgs {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Only containers that fit: until=24h
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
}
