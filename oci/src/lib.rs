//! The vocabulary of images: what a digest, a reference, a platform, a manifest and an image config are.
//!
//! **Invariant:** never does I/O. Everything here is data, its text form, and the rules of the OCI and Docker specifications.
//!
//! The JSON types are our own and not those of a library, for two reasons: Docker's config has fields that the OCI specification lacks
//! (health check, `ONBUILD`, shell, `ArgsEscaped`), and equal input must give equal bytes, so every map is sorted and the order of keys is fixed.

pub mod config;
pub mod digest;
pub mod manifest;
pub mod media_type;
pub mod platform;
pub mod reference;
pub mod timestamp;

pub use config::{ContainerConfig, HealthCheck, History, ImageConfig, RootFs};
pub use digest::{Digest, DigestParseError, HASHER_STATE_BYTES, Hasher, HasherState};
pub use manifest::{Descriptor, Index, Manifest};
pub use platform::{Platform, PlatformParseError};
pub use reference::{Reference, ReferenceParseError};
pub use timestamp::{Timestamp, TimestampParseError};
