//! Netlink: how the kernel is told about links, addresses, routes and rules.

mod message;
mod socket;

pub(crate) use message::{Message, attribute};
pub(crate) use socket::{Family, Socket};
