//! The tests of the crate that need files, owners and devices: they run as root, in temporary directories.
#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers too")]

mod world;

mod compression;
mod digest;
mod entries;
mod erofs;
mod overlay;
mod packed;
mod random;
mod stack;
mod tar;
mod tree;
mod unpack;
mod upper;
