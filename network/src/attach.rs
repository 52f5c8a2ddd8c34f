//! Does what `plan` decides, and undoes it.

use std::fs;
use std::io;
use std::os::fd::AsFd;

use crate::filter;
use crate::namespace::Namespace;
use crate::netlink::{Family, Socket};
use crate::plan::{Slot, Step};
use crate::route::{self, End, Subnet};
use crate::{Checkpoint, NetworkError};

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
const BRIDGE: &str = "bridge";
const BRIDGE_INDEX: u32 = 2;
const UPLINK: &str = "uplink";
const UPLINK_INDEX: u32 = 3;
/// Numbers of ports come after those.
const PORT_INDEX_FIRST: u32 = 4;
const SANDBOX_LINK: &str = "eth0";
const SANDBOX_LINK_INDEX: u32 = 2;
/// What the machine's link is called once it is taken back.
const RETIRED: &str = "retired";

/// Where the steps of a switch are done.
#[derive(Debug)]
pub(crate) struct Sites {
    /// The machine's own namespace.
    pub(crate) links: Socket,
    /// The same; tables go when it is closed.
    pub(crate) rules: Socket,
    /// The namespace of the bridge.
    pub(crate) switch: Namespace,
    pub(crate) checkpoint: Checkpoint,
}

impl Sites {
    /// Opens the machine's namespace, which is that of the calling thread, and makes one for a bridge.
    pub(crate) fn open(checkpoint: Checkpoint) -> Result<Self, NetworkError> {
        let links = Socket::open(Family::Route).map_err(NetworkError::step("speak to the kernel about links"))?;
        let rules = Socket::open(Family::Netfilter).map_err(NetworkError::step("speak to the kernel about rules"))?;
        Ok(Self { links, rules, switch: Namespace::create()?, checkpoint })
    }
}

/// Does all of `steps`, or nothing of them. `sandbox` is where those of a sandbox are done.
pub(crate) fn attach(
    sites: &mut Sites,
    steps: &[Step],
    mut sandbox: Option<&mut Namespace>,
) -> Result<(), NetworkError> {
    for (done, step) in steps.iter().enumerate() {
        let passed = (sites.checkpoint)(step.checkpoints().0);
        if let Err(source) = passed.and_then(|()| apply(sites, step, sandbox.as_deref_mut())) {
            // What went wrong first is what the user hears of.
            let _ = detach(sites, &steps[..done]);
            return Err(NetworkError::step(step.to_string())(source));
        }
    }
    Ok(())
}

/// Undoes all of `steps`, the last first. It goes on after errors and returns them all.
pub(crate) fn detach(sites: &mut Sites, steps: &[Step]) -> Vec<NetworkError> {
    let undone = steps.iter().rev().map(|step| {
        let passed = (sites.checkpoint)(step.checkpoints().1);
        passed.and_then(|()| undo(sites, step)).map_err(NetworkError::step(format!("undo: {step}")))
    });
    undone.filter_map(Result::err).collect()
}

fn apply(sites: &mut Sites, step: &Step, sandbox: Option<&mut Namespace>) -> io::Result<()> {
    match step {
        Step::Bridge => sites.switch.route.execute(&[route::bridge(BRIDGE, BRIDGE_INDEX)]),
        Step::Uplink(slot) => {
            let here = End { name: &slot.name(), index: 0 };
            let there = End { name: UPLINK, index: UPLINK_INDEX };
            sites.links.execute(&[route::pair(&here, &there, sites.switch.as_fd())])
        }
        Step::Plug => sites.switch.route.execute(&[route::join(UPLINK_INDEX, BRIDGE_INDEX)]),
        Step::Gateway(slot) => {
            let index = link_index(&mut sites.links, *slot)?;
            let address = Subnet { address: slot.gateway(), ..slot.subnet() };
            sites.links.execute(&[route::address(index, address), route::up(index)])
        }
        Step::Forwarding => match fs::read(FORWARDING)?.first() {
            Some(b'1') => Ok(()),
            _ => fs::write(FORWARDING, "1"),
        },
        Step::Translate(slot) => {
            remove_garbage(sites, *slot)?;
            let name = slot.name();
            filter::create(&mut sites.rules, &name, &name, slot.subnet())
        }
        Step::Admit(slot) => {
            // Some may have been told when another refuses.
            admit(sites, *slot).inspect_err(|_| drop(dismiss(sites, *slot)))
        }
        Step::Port { port } => {
            let sandbox = sandbox.ok_or(rustix::io::Errno::INVAL)?;
            let here = End { name: &format!("port{port}"), index: PORT_INDEX_FIRST + port };
            let there = End { name: SANDBOX_LINK, index: SANDBOX_LINK_INDEX };
            let joined = route::join(here.index, BRIDGE_INDEX);
            sites.switch.route.execute(&[route::pair(&here, &there, sandbox.as_fd()), joined])
        }
        Step::Address { address, gateway } => {
            let sandbox = sandbox.ok_or(rustix::io::Errno::INVAL)?;
            let address = route::address(SANDBOX_LINK_INDEX, *address);
            let way_out = route::default_route(*gateway);
            sandbox.route.execute(&[address, route::up(SANDBOX_LINK_INDEX), way_out])
        }
    }
}

/// Undoes a step; what ends with a namespace is left to the kernel.
fn undo(sites: &mut Sites, step: &Step) -> io::Result<()> {
    match step {
        // Removing a link waits until nobody on any processor can still see it, some 20 ms. Moving it into the namespace that is about to end takes it
        // from the machine just as well, and at once.
        Step::Uplink(slot) => {
            let index = link_index(&mut sites.links, *slot)?;
            sites.links.execute(&[route::relocate(index, RETIRED, sites.switch.as_fd())])
        }
        Step::Translate(slot) => filter::remove_named(&mut sites.rules, &slot.name()),
        Step::Admit(slot) => dismiss(sites, *slot),
        Step::Bridge | Step::Plug | Step::Gateway(_) | Step::Forwarding | Step::Port { .. } | Step::Address { .. } => {
            Ok(())
        }
    }
}

/// Has all firewalls let pass the packets of a link, and forget those of dead processes.
fn admit(sites: &mut Sites, slot: Slot) -> io::Result<()> {
    let links = route::links(&mut sites.links)?;
    let is_gone = |link: &str| Slot::of_name(link).is_some() && !links.iter().any(|(name, _)| name == link);
    for barrier in filter::barriers(&mut sites.rules)? {
        filter::dismiss(&mut sites.rules, &barrier, is_gone)?;
        filter::admit(&mut sites.rules, &barrier, &slot.name())?;
    }
    Ok(())
}

fn dismiss(sites: &mut Sites, slot: Slot) -> io::Result<()> {
    for barrier in filter::barriers(&mut sites.rules)? {
        filter::dismiss(&mut sites.rules, &barrier, |link| link == slot.name())?;
    }
    Ok(())
}

fn link_index(links: &mut Socket, slot: Slot) -> io::Result<u32> {
    let name = slot.name();
    let found = route::links(links)?.into_iter().find(|(found, _)| *found == name);
    found.map(|(_, index)| index).ok_or_else(|| rustix::io::Errno::NODEV.into())
}

/// Removes the tables of processes that have died: those whose links are gone, and what is left of whoever had this slot before.
fn remove_garbage(sites: &mut Sites, own: Slot) -> io::Result<()> {
    // The tables first: whoever makes one has made the link before, so that a table whose link is not there afterwards is nobody's.
    let tables = filter::tables(&mut sites.rules)?;
    let links = route::links(&mut sites.links)?;
    for table in tables {
        let Some(slot) = Slot::of_name(&table.name) else { continue };
        if slot == own || !links.iter().any(|(name, _)| *name == table.name) {
            // Somebody else may have removed it meanwhile.
            let _ = filter::remove(&mut sites.rules, &table);
        }
    }
    Ok(())
}
