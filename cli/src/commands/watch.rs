//! Carries out a use case while a renderer shows what happens.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::bail;
use engine::EventSink;
use engine::event::{Event, StepReason, Warning};
use oci::Timestamp;
use tokio_util::sync::CancellationToken;

use super::async_runtime;
use crate::interrupt::with_cancel;
use crate::progress::Renderer;

/// How many events may wait to be shown; a step that writes faster waits.
const EVENTS_MAX: usize = 1024;
/// How often the screen is brought up to date while nothing happens.
const TICK: Duration = Duration::from_millis(100);

/// What was told besides progress.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What the user should know.
    pub(super) warnings: Vec<Warning>,
    /// Why steps ran.
    pub(super) reasons: Vec<StepReason>,
}

/// Does `work`, which Ctrl-C cancels, and returns its result with what its events told besides progress.
pub(super) fn watch<T>(
    renderer: Box<dyn Renderer>,
    work: impl AsyncFnOnce(&EventSink, &CancellationToken) -> T,
) -> anyhow::Result<(T, Told)> {
    let (sender, receiver) = sync_channel(EVENTS_MAX);
    let shown = thread::spawn(move || show(renderer, &receiver));
    // A renderer that is gone has said why; the work goes on without it.
    let events = EventSink::new(move |event| drop(sender.send(event)));
    let result = async_runtime()?.block_on(with_cancel(async move |cancel| {
        let result = work(&events, cancel).await;
        drop(events);
        result
    }))?;
    let told = match shown.join() {
        Ok(shown) => ignore_broken_pipe(shown)?,
        Err(_) => bail!("bug: the thread that shows progress panicked"),
    };
    Ok((result, told))
}

/// Shows events until the last sender is gone, and returns what they told besides progress.
fn show(mut renderer: Box<dyn Renderer>, events: &Receiver<Event>) -> io::Result<Told> {
    let mut told = Told::default();
    loop {
        match events.recv_timeout(TICK) {
            Ok(event) => {
                match &event {
                    Event::Warning(warning) => told.warnings.push(warning.clone()),
                    Event::Reason(reason) => told.reasons.push(reason.clone()),
                    Event::Started(_)
                    | Event::Output(_)
                    | Event::Progress(_)
                    | Event::Usage(_)
                    | Event::Finished(_) => {}
                }
                renderer.event(&event)?;
            }
            Err(RecvTimeoutError::Timeout) => renderer.tick(Timestamp::now())?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    renderer.finish(Timestamp::now())?;
    Ok(told)
}

fn ignore_broken_pipe(shown: io::Result<Told>) -> io::Result<Told> {
    match shown {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Told::default()),
        shown => shown,
    }
}
