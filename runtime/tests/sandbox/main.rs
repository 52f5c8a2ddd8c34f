//! Sandboxes on the real kernel, as root.
#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers too")]

mod world;

mod command;
mod confinement;
mod identity;
mod images;
mod kernel_files;
mod lifetime;
mod limits;
mod mounts;
mod network;
mod root;
mod stdio;
