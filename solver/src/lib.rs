//! From a graph to results: key, look up, run what is not there, with ready steps in parallel.
//!
//! **Invariant:** never looks inside an operation or a snapshot. What an operation is, an [`Executor`] knows; what was made before, a [`Cache`] knows; this crate
//! knows the order.
//!
//! Each step has two keys. The *definition key* is known before anything has run: it covers the operation, the definition keys of its inputs, and for inputs
//! that come from outside the *pin*, the digest of exactly what the step would see there. The *content key* is known once the inputs exist: it covers the
//! operation and the content that it sees. The definition key finds a result without touching anything beneath it; the content key stops a rebuild where a
//! step ran again and left the same files.
//!
//! The interesting part is [`solve`].

mod forecast;
mod key;
mod ports;
mod shape;
mod solve;
mod step;
mod work;

pub use forecast::{Forecast, forecast};
pub use key::{KEY_VERSION, content_key, definition_key};
pub use ports::{Cache, Execution, Executor, Found, Outcome, Record, StepError, StepEvent, StepKeys};
pub use solve::{Options, SolveError, solve};
