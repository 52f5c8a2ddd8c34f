//! What the new process does between clone(2) and execve(2).
//!
//! **Invariant:** it shares the memory of the process that started it, which waits meanwhile. So nothing here allocates, locks or panics: everything that
//! takes memory is in the [`Plan`](crate::plan::Plan), and what is done here is system calls on it.

mod command;
mod enter;
mod identity;
mod mounts;
mod report;

pub(crate) use enter::run;
pub(crate) use report::{Failure, Report, Step};
