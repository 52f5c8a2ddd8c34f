//! What every rendering of the events of a build can do.

use std::io;

use engine::event::Event;
use oci::Timestamp;

/// Shows the events of one build.
///
/// An error means that the output could not be written; the renderer can be told more events all the same. Dropping it without [`Self::finish`] leaves a
/// terminal as it was found.
pub(crate) trait Renderer: Send {
    /// Takes the next event. What it changes may be shown later, with others.
    fn event(&mut self, event: &Event) -> io::Result<()>;

    /// Shows what is due at `now`. To be called about every 100 ms, and harmless at any other time.
    fn tick(&mut self, now: Timestamp) -> io::Result<()>;

    /// Shows all that was not shown yet, and the last output of the steps that failed.
    fn finish(self: Box<Self>, now: Timestamp) -> io::Result<()>;
}
