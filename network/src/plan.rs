//! Decides what has to be done for a network, and in which order.

use std::fmt;
use std::net::Ipv4Addr;

use crate::route::Subnet;

/// How many networks there are to choose from.
pub(crate) const SLOTS_MAX: u32 = 3 * 256;
/// How many sandboxes a network has addresses for: all of a /24 but its own, the gateway's, and that of everybody.
pub(crate) const SANDBOXES_MAX: u32 = 253;
const PREFIX: u8 = 24;
/// The beginnings of the addresses, the one that others use least first.
const RANGES: [[u8; 2]; 3] = [[10, 87], [172, 30], [192, 168]];
/// What the names of links and tables begin with.
const NAME: &str = "kiln";

/// One of the networks that this machine may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) u32);

impl Slot {
    /// Returns the name of the machine's link and of its table.
    pub(crate) fn name(self) -> String {
        format!("{NAME}{}", self.0)
    }

    /// Returns the slot that a link or table of this name belongs to.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let number = name.strip_prefix(NAME)?.parse().ok().filter(|number| *number < SLOTS_MAX)?;
        let slot = Self(number);
        (slot.name() == name).then_some(slot)
    }

    pub(crate) fn subnet(self) -> Subnet {
        Subnet { address: self.host(0), prefix: PREFIX }
    }

    pub(crate) fn gateway(self) -> Ipv4Addr {
        self.host(1)
    }

    /// Returns the address of a sandbox by its number, from 0 on.
    pub(crate) fn sandbox(self, number: u32) -> Ipv4Addr {
        self.host(2 + number)
    }

    fn host(self, number: u32) -> Ipv4Addr {
        let [first, second] = RANGES[(self.0 / 256) as usize % RANGES.len()];
        Ipv4Addr::new(first, second, (self.0 % 256) as u8, number as u8)
    }
}

/// One thing to be done; [`crate::attach`] does it and undoes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Makes the bridge in the switch.
    Bridge,
    /// Makes the machine's link, whose other end is a port of the bridge. That its name is taken means that the slot is.
    Uplink(Slot),
    /// Makes that other end a port.
    Plug,
    /// Gives the machine's link the gateway's address.
    Gateway(Slot),
    /// Lets the machine pass packets on between its links. It stays: nobody can tell who else relies on it by then.
    Forwarding,
    /// Makes the table that translates the sandboxes' addresses.
    Translate(Slot),
    /// Has firewalls of others let pass what sandboxes send and are answered.
    Admit(Slot),
    /// Makes the link of a sandbox, whose other end is a port of the bridge. A port's number is never used twice.
    Port {
        /// The port.
        port: u32,
    },
    /// Gives the link of a sandbox its address, and a way out.
    Address {
        /// The address.
        address: Subnet,
        /// Where everything goes.
        gateway: Ipv4Addr,
    },
}

impl Step {
    /// Returns the names of the places before it is done and before it is undone.
    pub(crate) fn checkpoints(&self) -> (&'static str, &'static str) {
        match self {
            Self::Bridge => ("network.bridge", "network.undo.bridge"),
            Self::Uplink(_) => ("network.uplink", "network.undo.uplink"),
            Self::Plug => ("network.plug", "network.undo.plug"),
            Self::Gateway(_) => ("network.gateway", "network.undo.gateway"),
            Self::Forwarding => ("network.forwarding", "network.undo.forwarding"),
            Self::Translate(_) => ("network.translate", "network.undo.translate"),
            Self::Admit(_) => ("network.admit", "network.undo.admit"),
            Self::Port { .. } => ("network.port", "network.undo.port"),
            Self::Address { .. } => ("network.address", "network.undo.address"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge => write!(f, "make a network bridge"),
            Self::Uplink(slot) => write!(f, "make the network link `{}`", slot.name()),
            Self::Plug => write!(f, "make a network link a port of a bridge"),
            Self::Gateway(slot) => write!(f, "give the network link `{}` the address {}", slot.name(), slot.gateway()),
            Self::Forwarding => write!(f, "set `net.ipv4.ip_forward`"),
            Self::Translate(slot) => write!(f, "make the nftables table `{}`", slot.name()),
            Self::Admit(slot) => write!(f, "have the firewall pass on packets of `{}`", slot.name()),
            Self::Port { .. } => write!(f, "make the network link of a sandbox"),
            Self::Address { address, .. } => write!(f, "give a sandbox the address {}", address.address),
        }
    }
}

/// Returns what a process needs before its first sandbox.
pub(crate) fn plan_switch(slot: Slot) -> Vec<Step> {
    // The link first: who has made it owns the slot, and a table without its link is garbage to everybody.
    vec![
        Step::Bridge,
        Step::Uplink(slot),
        Step::Plug,
        Step::Gateway(slot),
        Step::Forwarding,
        Step::Translate(slot),
        Step::Admit(slot),
    ]
}

/// Returns what each sandbox needs.
pub(crate) fn plan_sandbox(slot: Slot, port: u32, number: u32) -> Vec<Step> {
    let address = Subnet { address: slot.sandbox(number), prefix: PREFIX };
    vec![Step::Port { port }, Step::Address { address, gateway: slot.gateway() }]
}

/// Returns the slots that lead nowhere else yet, in the order to try them.
pub(crate) fn plan_slots<'a>(routed: &'a [Subnet], links: &'a [String]) -> impl Iterator<Item = Slot> + 'a {
    (0..SLOTS_MAX).map(Slot).filter(move |slot| {
        !links.contains(&slot.name()) && !routed.iter().any(|subnet| subnet.overlaps(slot.subnet()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    #[track_caller]
    fn check(steps: &[Step], expected: Expect) {
        expected.assert_eq(&steps.iter().map(|step| format!("{step}\n")).collect::<String>());
    }

    #[test]
    fn a_network_is_planned_before_anything_is_done() {
        check(
            &plan_switch(Slot(3)),
            expect![[r#"
                make a network bridge
                make the network link `kiln3`
                make a network link a port of a bridge
                give the network link `kiln3` the address 10.87.3.1
                set `net.ipv4.ip_forward`
                make the nftables table `kiln3`
                have the firewall pass on packets of `kiln3`
            "#]],
        );
        check(
            &plan_sandbox(Slot(300), 9, 0),
            expect![[r#"
                make the network link of a sandbox
                give a sandbox the address 172.30.44.2
            "#]],
        );
    }

    #[test]
    fn networks_that_lead_elsewhere_are_not_used() {
        let subnet = |address: &str, prefix| Subnet { address: address.parse().unwrap(), prefix };
        let first = |routed: &[Subnet], links: &[&str]| {
            let links: Vec<String> = links.iter().map(|link| (*link).to_owned()).collect();
            plan_slots(routed, &links).next().map(Slot::name)
        };
        assert_eq!(first(&[], &[]).as_deref(), Some("kiln0"));
        assert_eq!(first(&[subnet("10.87.0.9", 32)], &["kiln1"]).as_deref(), Some("kiln2"));
        assert_eq!(first(&[subnet("10.0.0.0", 8)], &[]).as_deref(), Some("kiln256"));
        let all = [subnet("10.0.0.0", 8), subnet("172.16.0.0", 12), subnet("192.168.0.0", 16)];
        assert_eq!(first(&all, &[]), None);
    }

    #[test]
    fn a_name_that_only_looks_like_ours_is_somebody_elses() {
        assert_eq!(Slot::of_name("kiln7"), Some(Slot(7)));
        for name in ["kiln", "kiln07", "kiln768", "kilnx", "docker0"] {
            assert_eq!(Slot::of_name(name), None);
        }
    }
}
