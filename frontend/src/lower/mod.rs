//! From the tree to the graph: which stages are needed, what their variables are, and one step for each instruction that changes files.
//!
//! In order: the file is checked ([`lint`]); then for each platform ([`pass`]) the global scope is evaluated ([`args`], [`epoch`]), stages become nodes
//! ([`stages`], [`depend`]), the bases of those that are needed are resolved ([`base`], [`contexts`], [`triggers`]), and their instructions are carried out
//! ([`dispatch`] and all behind it).

mod entry;
mod session;
mod report;
mod lint;
mod pass;
mod args;
mod epoch;
mod node;
mod stages;
mod depend;
mod base;
mod contexts;
mod triggers;
mod stage;
mod dispatch;
mod variables;
mod config;
mod ports;
mod signals;
mod run;
mod mount;
mod mounts;
mod copy;
mod remote;
mod mode;
mod names;
mod calls;
mod error;

pub use calls::{check, outline};
pub use entry::lower;
