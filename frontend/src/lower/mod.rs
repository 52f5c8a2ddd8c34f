//! From the tree to the graph: which stages are needed, what their variables are, and one step for each instruction that changes files.
//!
//! In order: the file is checked ([`lint`]); then for each platform ([`pass`]) the global scope is evaluated ([`args`], [`epoch`]), stages become nodes
//! ([`stages`], [`depend`]), the bases of those that are needed are resolved ([`base`], [`contexts`], [`triggers`]), and their instructions are carried out
//! ([`dispatch`] and all behind it).

mod args;
mod base;
mod calls;
mod config;
mod contexts;
mod copy;
mod depend;
mod dispatch;
mod entry;
mod epoch;
mod error;
mod lint;
mod mode;
mod mount;
mod mounts;
mod names;
mod node;
mod pass;
mod ports;
mod remote;
mod report;
mod run;
mod session;
mod signals;
mod stage;
mod stages;
mod triggers;
mod variables;

pub use calls::{check, outline};
pub use entry::lower;
