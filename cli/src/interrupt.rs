//! Ctrl-C: the first one stops what runs and waits for it, the second one ends at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code after a second Ctrl-C.
const EXIT_INTERRUPTED: i32 = 130;

/// Runs `work` with a token that Ctrl-C and the request to end cancel.
pub(crate) async fn with_cancel<T>(work: impl AsyncFnOnce(&CancellationToken) -> T) -> anyhow::Result<T> {
    let cancel = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut work = std::pin::pin!(work(&cancel));
    loop {
        tokio::select! {
            result = &mut work => return Ok(result),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if cancel.is_cancelled() {
            end_now();
        }
        cancel.cancel();
    }
}

/// Ends without waiting for anything. Sandboxes end with the process, and the next kiln tidies up what is left.
#[expect(clippy::exit, reason = "the user asked twice, and destructors may be what hangs")]
fn end_now() -> ! {
    std::process::exit(EXIT_INTERRUPTED)
}
