//! Fault points: places where tests make this process fail or die, to see that nothing is lost.
//!
//! Without the feature `faults`, which only tests switch on, a point does nothing and costs nothing. With it, [`VARIABLE`] says what happens where:
//! ```text
//! list:FILE       the name of every point that is passed goes into a file, a line each
//! fail:NAME       the point NAME gives an error when it is passed first
//! die:NAME        the process is killed there
//! stop:NAME       the process is stopped there (SIGSTOP), so that others can look at what it has done so far
//! die:*:12        the process is killed at the twelfth point that it passes, whichever that is
//! boot:ID         no fault: the machine seems to have been started again since, as boot ID
//! ```

use std::io;

#[cfg(feature = "faults")]
mod plan;

/// The variable that says what happens.
pub const VARIABLE: &str = "KILN_FAULT";

/// A place where something may go wrong; `Ok` unless a test wants otherwise.
#[cfg(not(feature = "faults"))]
#[inline]
pub fn point(_name: &'static str) -> io::Result<()> {
    Ok(())
}

/// A place where something may go wrong; `Ok` unless a test wants otherwise.
#[cfg(feature = "faults")]
pub fn point(name: &'static str) -> io::Result<()> {
    plan::current().pass(name)
}

/// The id of the boot that a test pretends to be in.
#[cfg(not(feature = "faults"))]
pub(crate) fn boot_id() -> Option<String> {
    None
}

/// The id of the boot that a test pretends to be in.
#[cfg(feature = "faults")]
pub(crate) fn boot_id() -> Option<String> {
    plan::current().boot_id()
}
