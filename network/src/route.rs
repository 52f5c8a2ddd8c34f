//! Messages of rtnetlink(7): links, addresses, routes.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::netlink::{Message, Socket, attribute};

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;

const INET: u8 = 2;
const IS_UP: u32 = 0x1;

// Attributes of links.
const LINK_NAME: u16 = 3;
const LINK_MASTER: u16 = 10;
const LINK_KIND: u16 = 18;
const LINK_NAMESPACE: u16 = 28;
const KIND_NAME: u16 = 1;
const KIND_DATA: u16 = 2;
const PAIR_PEER: u16 = 1;

// Attributes of addresses and routes.
const ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ROUTE_DESTINATION: u16 = 1;
const ROUTE_GATEWAY: u16 = 5;

/// The main table, a route that an administrator made, to everywhere, for packets to one.
const ROUTE_TABLE: u8 = 254;
const ROUTE_BOOT: u8 = 3;
const ROUTE_UNICAST: u8 = 1;

/// An IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subnet {
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
}

impl Subnet {
    pub(crate) fn overlaps(self, other: Self) -> bool {
        let bits = self.prefix.min(other.prefix);
        let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
        u32::from(self.address) & mask == u32::from(other.address) & mask
    }
}

/// `struct ifinfomsg`.
fn link(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut fixed = [0; 16];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..].copy_from_slice(&change.to_ne_bytes());
    fixed
}

/// One end of a pair.
pub(crate) struct End<'a> {
    pub(crate) name: &'a str,
    /// Its number; 0 leaves that to the kernel.
    pub(crate) index: u32,
}

/// Makes two links, what goes into one coming out of the other: `here`, and `there` in another namespace.
pub(crate) fn pair(here: &End<'_>, there: &End<'_>, namespace: BorrowedFd<'_>) -> Message {
    Message::new(NEW_LINK, CREATE | EXCLUSIVE, &link(here.index, 0, 0)).with_text(LINK_NAME, here.name).with_nested(
        LINK_KIND,
        |kind| {
            kind.with_text(KIND_NAME, "veth").with_nested(KIND_DATA, |data| {
                data.with_nested(PAIR_PEER, |peer| {
                    peer.with_fixed(&link(there.index, 0, 0))
                        .with_text(LINK_NAME, there.name)
                        .with(LINK_NAMESPACE, &namespace.as_raw_fd().to_ne_bytes())
                })
            })
        },
    )
}

/// Makes a bridge and brings it up.
pub(crate) fn bridge(name: &str, index: u32) -> Message {
    Message::new(NEW_LINK, CREATE | EXCLUSIVE, &link(index, IS_UP, IS_UP))
        .with_text(LINK_NAME, name)
        .with_nested(LINK_KIND, |kind| kind.with_text(KIND_NAME, "bridge"))
}

/// Brings a link up.
pub(crate) fn up(index: u32) -> Message {
    Message::new(NEW_LINK, 0, &link(index, IS_UP, IS_UP))
}

/// Makes a link a port of a bridge and brings it up.
pub(crate) fn join(index: u32, bridge: u32) -> Message {
    up(index).with(LINK_MASTER, &bridge.to_ne_bytes())
}

/// Moves a link into another namespace, where it gets another name.
pub(crate) fn relocate(index: u32, renamed: &str, namespace: BorrowedFd<'_>) -> Message {
    Message::new(NEW_LINK, 0, &link(index, 0, 0))
        .with_text(LINK_NAME, renamed)
        .with(LINK_NAMESPACE, &namespace.as_raw_fd().to_ne_bytes())
}

/// Gives a link an address.
pub(crate) fn address(index: u32, subnet: Subnet) -> Message {
    // `struct ifaddrmsg`: family, prefix, flags, scope, link.
    let mut fixed = [INET, subnet.prefix, 0, 0, 0, 0, 0, 0];
    fixed[4..].copy_from_slice(&index.to_ne_bytes());
    let octets = subnet.address.octets();
    Message::new(NEW_ADDRESS, CREATE | EXCLUSIVE, &fixed).with(ADDRESS_LOCAL, &octets).with(ADDRESS, &octets)
}

/// Sends all that goes elsewhere to a gateway.
pub(crate) fn default_route(gateway: Ipv4Addr) -> Message {
    // `struct rtmsg`: family, two prefixes, type of service, table, protocol, scope, type, flags.
    let fixed = [INET, 0, 0, 0, ROUTE_TABLE, ROUTE_BOOT, 0, ROUTE_UNICAST, 0, 0, 0, 0];
    Message::new(NEW_ROUTE, CREATE | EXCLUSIVE, &fixed).with(ROUTE_GATEWAY, &gateway.octets())
}

/// Returns the names of all links, with their numbers.
pub(crate) fn links(socket: &mut Socket) -> io::Result<Vec<(String, u32)>> {
    let found = socket.dump(&Message::new(GET_LINK, 0, &link(0, 0, 0)))?;
    let named = |body: &Vec<u8>| {
        let index = u32::from_ne_bytes(body.get(4..8)?.try_into().ok()?);
        let name = attribute(body.get(16..)?, LINK_NAME)?;
        Some((String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(name)).into_owned(), index))
    };
    Ok(found.iter().filter_map(named).collect())
}

/// Returns where all routes lead that do not lead everywhere.
pub(crate) fn routed(socket: &mut Socket) -> io::Result<Vec<Subnet>> {
    let mut fixed = [0; 12];
    fixed[0] = INET;
    let found = socket.dump(&Message::new(GET_ROUTE, 0, &fixed))?;
    let destination = |body: &Vec<u8>| {
        let prefix = *body.get(1)?;
        let octets: [u8; 4] = attribute(body.get(12..)?, ROUTE_DESTINATION)?.try_into().ok()?;
        (prefix > 0).then(|| Subnet { address: octets.into(), prefix })
    };
    Ok(found.iter().filter_map(destination).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(a: (&str, u8), b: (&str, u8), expected: bool) {
        let subnet = |(address, prefix): (&str, u8)| Subnet { address: address.parse().unwrap(), prefix };
        assert_eq!(subnet(a).overlaps(subnet(b)), expected);
        assert_eq!(subnet(b).overlaps(subnet(a)), expected);
    }

    #[test]
    fn networks_overlap_when_one_holds_the_other() {
        check(("10.87.3.0", 24), ("10.0.0.0", 8), true);
        check(("10.87.3.0", 24), ("10.87.3.7", 32), true);
        check(("10.87.3.0", 24), ("10.87.4.0", 24), false);
        check(("10.87.3.0", 24), ("0.0.0.0", 0), true);
    }
}
