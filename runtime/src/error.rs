//! What can go wrong, and what falls short.

mod create;
mod start;
mod warning;

pub use create::CreateError;
pub use start::StartError;
pub use warning::Warning;
