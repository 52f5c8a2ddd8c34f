//! The network of sandboxes: a namespace each, on a bridge, behind the machine's own addresses, with names that resolve.
//!
//! ```text
//! machine:   kilnN  10.87.N.1/24, the gateway; table kilnN translates addresses
//!   ║ pair
//! switch:    bridge ── uplink, one port for each sandbox
//!   ║ pair
//! sandbox:   lo, eth0 10.87.N.x/24 → gateway
//! ```
//!
//! A process that needs the network makes all of this for itself alone ([`Network`]), when its first sandbox asks for it ([`Network::lease`]). So nothing is
//! counted or locked between processes: the name of the machine's link is what they compete for, and the kernel gives it to one. The bridge lives in a
//! namespace that only descriptors keep alive, and not beside the machine's own links, so that the kernel takes all of it down, the link included, however
//! the process ends. The one thing that may outlive it, on kernels before 5.12, is the table, which is found and removed by the next process: it has no link.
//!
//! **Invariant:** never leaves an interface or a rule, after success, failure or death; what is decided (`plan`) is apart from what is done (`attach`).

mod attach;
mod error;
mod filter;
mod forward;
mod lease;
mod namespace;
mod netlink;
mod plan;
mod resolver;
mod route;
#[cfg(test)]
mod tests;

pub use error::NetworkError;
pub use lease::{Checkpoint, Lease, Network};
pub use namespace::Setting;
