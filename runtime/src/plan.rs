//! What a sandbox is made of, prepared to the last string and descriptor before the new process begins.

mod assemble;
mod command;
mod devices;
mod mounts;
mod points;
mod root;
mod skeleton;
mod sources;
mod streams;
mod system;
mod walk;

pub(crate) use assemble::{Common, IdentityPlan, NetworkPlan, Plan, SealedDevices, SealedPaths, assemble};
pub(crate) use command::CommandPlan;
pub(crate) use mounts::MountSourcePlan;
pub(crate) use points::{MountPoint, PointKind};
pub(crate) use streams::{Ends, Streams};
pub(crate) use system::masked;
