//! Work that blocks, on a thread of its own.

use solver::StepError;

use crate::ExecError;

/// Runs `work` on a thread that may block, and waits for it.
///
/// The thread runs to its end even if the future is dropped; callers that can be cancelled await it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ExecError> + Send + 'static,
) -> Result<T, ExecError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(ExecError::Thread))
}

/// Says of an error that it is the step's.
pub(crate) fn failed(error: impl Into<ExecError>) -> StepError<ExecError> {
    StepError::Failed(error.into())
}
