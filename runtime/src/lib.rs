//! One sandboxed process tree: namespaces, mounts, capabilities, system call filter, terminal.
//!
//! [`Spec`] says what is to run → [`Launcher::create`] prepares all of it ([`Created`]) → [`Created::start`] starts it ([`Running`]) →
//! [`Running::wait`] gives how it ended ([`Exit`]). Each stage is a type of its own, and dropping any of them leaves no process and no mount.
//!
//! What is worth knowing before reading on: everything that takes memory is done before there is a new process (`plan`); the new process shares the
//! memory of the old one and only makes system calls (`child`); and what it mounts was mostly made before, attached nowhere.
//!
//! **Invariant:** the only home of unsafe code, but for the line in `store` that opens the database; and nothing here is ever mounted in the mount
//! namespace of the caller.

pub mod allocator;
pub mod capabilities;
pub mod cgroup;
pub mod elf;
pub mod error;
pub mod kernel;
pub mod later;
pub mod overlay;
pub mod seccomp;
pub mod spec;
pub mod terminal;
pub mod users;

mod child;
mod clone;
mod explain;
mod launcher;
mod lookup;
mod memory;
mod nest;
mod plan;
mod running;
mod syscall;
mod workshop;

pub use capabilities::Capabilities;
pub use error::{CreateError, StartError, Warning};
pub use kernel::{Kernel, KernelError};
pub use launcher::{Created, Launcher};
pub use running::{Exit, Running, Status, Usage};
pub use spec::{
    Access, Identity, Mount, MountSource, Network, Resource, ResourceParseError, Rlimit, Root, Seccomp, Security, Spec,
    Stdio, Stream, SystemPaths,
};
