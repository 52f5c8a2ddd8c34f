//! From the environment to the engine's settings. Nothing else looks at variables or home directories.

use std::env;
use std::path::{Path, PathBuf};

use engine::{Engine, Settings};

use crate::args::Cli;

const ROOT_OF_ROOT: &str = "/var/lib/kiln";
/// The variable that says how layers are mounted, instead of finding it out.
const LAYERS: &str = "KILN_LAYERS";
const SYSTEM_FILE: &str = "/etc/kiln/config.toml";

/// Opens the engine that the command line and the environment ask for.
pub(crate) fn open_engine(cli: &Cli, jobs: Option<std::num::NonZeroUsize>) -> anyhow::Result<Engine> {
    let mut settings = Settings::new(root(cli));
    match &cli.config {
        Some(path) => settings.add_file(path)?,
        None => {
            let user_file = base_dir("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("kiln/config.toml"));
            for path in [Some(PathBuf::from(SYSTEM_FILE)), user_file].into_iter().flatten() {
                if path.exists() {
                    settings.add_file(&path)?;
                }
            }
        }
    }
    for mirror in cli.registry_mirror.iter().rev() {
        settings.add_mirror(mirror)?;
    }
    if let Some(path) = docker_config().filter(|path| path.exists()) {
        settings.add_docker_config(&path)?;
    }
    settings.add_proxies(|name| env::var(name).ok());
    settings.parallel_max = jobs;
    settings.work_root.clone_from(&cli.work_root);
    settings.layers = env::var(LAYERS).ok().map(|rung| rung.parse()).transpose()?;
    Ok(Engine::open(settings)?)
}

fn root(cli: &Cli) -> PathBuf {
    if let Some(root) = &cli.root {
        return root.clone();
    }
    let own = base_dir("XDG_DATA_HOME", ".local/share").filter(|_| !rustix::process::geteuid().is_root());
    own.map_or_else(|| PathBuf::from(ROOT_OF_ROOT), |dir| dir.join("kiln"))
}

fn docker_config() -> Option<PathBuf> {
    let dir = env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    dir.or_else(|| home().map(|home| home.join(".docker"))).map(|dir| dir.join("config.json"))
}

fn base_dir(variable: &str, below_home: &str) -> Option<PathBuf> {
    let set = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    set.or_else(|| home().map(|home| home.join(below_home)))
}

fn home() -> Option<PathBuf> {
    env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute() && home != Path::new("/"))
}
