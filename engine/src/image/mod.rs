//! Images of the store: finding them, getting them from registries and archives, naming, saving and removing them.

mod bundle;
mod fetch;
mod find;
mod list;
mod remove;
mod save;

pub use bundle::{BundlePlace, Loaded};
pub use fetch::{PullRequest, RemoteDigest};
pub use find::FoundImage;
pub use list::{HistoryEntry, ImageDetails, ImageSummary};
pub use remove::Removed;
pub use save::{ImportRequest, SaveRequest};

pub(crate) use fetch::RemoteImage;
pub(crate) use list::config_of;
