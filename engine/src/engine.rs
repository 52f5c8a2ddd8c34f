//! The engine: a store, a registry client, and the settings that all use cases share.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use executor::{Ladder, Standing};
use registry::Client;
use store::Store;

use crate::disk::Policy;
use crate::{Error, Settings};

/// The fewest steps that run at the same time where nothing is said: steps wait for networks and disks more than for processors.
const PARALLEL_DEFAULT_MIN: usize = 16;
/// How many steps run at the same time for each processor, where nothing is said.
const PARALLEL_PER_CPU: usize = 4;

/// The engine. A process has one for each store.
pub struct Engine {
    pub(crate) store: Store,
    pub(crate) ladder: Arc<Ladder>,
    pub(crate) registry: Client,
    pub(crate) parallel_max: NonZeroUsize,
    pub(crate) policy: Policy,
}

impl Engine {
    /// Opens the store and prepares the registry client; no registry is asked anything.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        let store = Store::open(&settings.root)?;
        let ladder = Arc::new(Ladder::new(store.clone(), settings.layers, settings.work_root));
        let registry = Client::new(settings.registry)?;
        let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let default = (cpus * PARALLEL_PER_CPU).max(PARALLEL_DEFAULT_MIN);
        let default = NonZeroUsize::new(default).unwrap_or(NonZeroUsize::MIN);
        let parallel_max = settings.parallel_max.unwrap_or(default);
        Ok(Self { store, ladder, registry, parallel_max, policy: settings.policy })
    }

    /// Returns the directory of the store.
    pub fn root(&self) -> &Path {
        self.store.root()
    }

    /// Returns how this machine mounts layers, after trying it out if nobody has before.
    pub fn layer_standing(&self) -> Result<&Standing, Error> {
        Ok(self.ladder.standing()?)
    }
}
