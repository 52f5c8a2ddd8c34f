//! The network of one process, and what its sandboxes have of it.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::NetworkError;
use crate::attach::{Sites, attach, detach};
use crate::forward::Forwarder;
use crate::namespace::{Namespace, Setting};
use crate::plan::{SANDBOXES_MAX, Slot, Step, plan_sandbox, plan_slots, plan_switch};
use crate::resolver::plan_resolver;
use crate::route;

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How many sandboxes' networks are kept for the next ones.
const IDLE_MAX: usize = 16;

/// What is called before each thing that is done to the machine, with its name, and may refuse it: tests make things go wrong there.
pub type Checkpoint = fn(&'static str) -> io::Result<()>;

/// The network of one process. It costs nothing until [`Network::lease`], and is gone after [`Network::close`] or with the last value.
#[derive(Clone, Debug)]
pub struct Network {
    state: Arc<Mutex<State>>,
    settings: &'static [Setting],
    checkpoint: Checkpoint,
}

impl Default for Network {
    fn default() -> Self {
        Self { state: Arc::default(), settings: &[], checkpoint: |_| Ok(()) }
    }
}

#[derive(Debug, Default)]
struct State {
    switch: Option<Switch>,
    /// Networks of sandboxes that have ended and left nothing in them.
    idle: Vec<Sandbox>,
}

/// What all sandboxes share.
#[derive(Debug)]
struct Switch {
    sites: Sites,
    slot: Slot,
    steps: Vec<Step>,
    /// The file that sandboxes get.
    resolv_conf: Arc<str>,
    upstream: Arc<[SocketAddr]>,
    /// Which addresses are taken, by number.
    taken: Vec<bool>,
    /// The next address to try: one that was given back rests as long as possible.
    next: u32,
    ports: u32,
}

/// The network of one sandbox.
#[derive(Debug)]
struct Sandbox {
    namespace: Namespace,
    number: u32,
    /// The sockets that it had before anybody used it.
    sockets: String,
    // Answers questions until the namespace goes.
    _names: Option<Forwarder>,
}

/// A sandbox's network, given back when it is dropped; all that was started in it must have ended by then.
#[derive(Debug)]
pub struct Lease {
    network: Network,
    /// In an `Option` so that it can be given back.
    sandbox: Option<Sandbox>,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
    resolv_conf: Arc<str>,
    is_spoilt: bool,
}

impl Network {
    /// Returns a network whose sandboxes have these settings.
    pub fn with_settings(settings: &'static [Setting]) -> Self {
        Self { settings, ..Self::default() }
    }

    /// The same, which calls `checkpoint` before it does or undoes anything.
    pub fn with_checkpoint(self, checkpoint: Checkpoint) -> Self {
        Self { checkpoint, ..self }
    }

    /// Returns a network for a sandbox: one that is as good as new, or a new one. It blocks, for a few milliseconds at most.
    ///
    /// The machine's network is that of the calling thread.
    pub fn lease(&self) -> Result<Lease, NetworkError> {
        let mut state = self.lock();
        let State { switch, idle } = &mut *state;
        let switch = match switch {
            Some(switch) => switch,
            None => switch.insert(Switch::open(self.checkpoint)?),
        };
        let sandbox = idle.pop().map_or_else(|| switch.add_sandbox(self.settings), Ok)?;
        let (address, gateway) = (switch.slot.sandbox(sandbox.number), switch.slot.gateway());
        let resolv_conf = switch.resolv_conf.clone();
        Ok(Lease { network: self.clone(), sandbox: Some(sandbox), address, gateway, resolv_conf, is_spoilt: false })
    }

    /// Returns a namespace for a sandbox that reaches nobody: a loopback interface, which is up, and the settings. There is nothing to take down.
    pub fn isolate(&self) -> Result<OwnedFd, NetworkError> {
        Namespace::create_with(self.settings).map(OwnedFd::from)
    }

    /// Returns whether there is something to take down.
    pub fn is_open(&self) -> bool {
        self.lock().switch.is_some()
    }

    /// Takes the network down, after all leases have ended, and returns all that went wrong.
    pub fn close(&self) -> Vec<NetworkError> {
        let mut state = std::mem::take(&mut *self.lock());
        state.switch.take().map(Switch::close).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(switch) = self.switch.take() {
            // Nobody is there to hear of it; the kernel takes down what is left.
            let _ = switch.close();
        }
    }
}

impl Switch {
    fn open(checkpoint: Checkpoint) -> Result<Self, NetworkError> {
        let mut sites = Sites::open(checkpoint)?;
        let routed = route::routed(&mut sites.links).map_err(NetworkError::step("list the machine's routes"))?;
        let links = route::links(&mut sites.links).map_err(NetworkError::step("list the machine's network links"))?;
        let links: Vec<String> = links.into_iter().map(|(name, _)| name).collect();
        for slot in plan_slots(&routed, &links) {
            let steps = plan_switch(slot);
            match attach(&mut sites, &steps, None) {
                Ok(()) => return Ok(Self::new(sites, slot, steps)),
                // Another process was faster. The bridge is there already by now.
                Err(error) if error.is_taken() => sites = Sites::open(checkpoint)?,
                Err(error) => return Err(error),
            }
        }
        Err(NetworkError::NoSubnet)
    }

    fn new(sites: Sites, slot: Slot, steps: Vec<Step>) -> Self {
        // A machine without the file resolves nothing either.
        let resolver = plan_resolver(&fs::read_to_string(RESOLV_CONF).unwrap_or_default());
        Self {
            sites,
            slot,
            steps,
            resolv_conf: resolver.text.into(),
            upstream: resolver.upstream.into(),
            taken: vec![false; SANDBOXES_MAX as usize],
            next: 0,
            ports: 0,
        }
    }

    fn add_sandbox(&mut self, settings: &[Setting]) -> Result<Sandbox, NetworkError> {
        let numbers = (0..SANDBOXES_MAX).map(|offset| (self.next + offset) % SANDBOXES_MAX);
        let free = numbers.into_iter().find(|number| !self.taken[*number as usize]);
        let none = || NetworkError::NoAddress { link: self.slot.name(), count: SANDBOXES_MAX };
        let number = free.ok_or_else(none)?;
        let (mut namespace, names) = if self.upstream.is_empty() {
            (Namespace::create_with(settings)?, None)
        } else {
            let (namespace, server) = Namespace::create_with_name_server(settings)?;
            (namespace, Some(Forwarder::start(server, self.upstream.clone())?))
        };
        let steps = plan_sandbox(self.slot, self.ports, number);
        attach(&mut self.sites, &steps, Some(&mut namespace))?;
        self.ports += 1;
        self.taken[number as usize] = true;
        self.next = (number + 1) % SANDBOXES_MAX;
        let sockets = namespace.socket_counts().map_err(NetworkError::step("count the sockets of a sandbox"))?;
        Ok(Sandbox { namespace, number, sockets, _names: names })
    }

    fn close(mut self) -> Vec<NetworkError> {
        detach(&mut self.sites, &self.steps)
    }
}

impl Lease {
    /// Returns the namespace.
    pub fn namespace(&self) -> BorrowedFd<'_> {
        let sandbox = self.sandbox.as_ref().expect("it is given back only when this is dropped");
        sandbox.namespace.as_fd()
    }

    /// Returns the sandbox's own address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Returns the machine's address as the sandbox reaches it.
    pub fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// Returns the `/etc/resolv.conf` of the sandbox.
    pub fn resolv_conf(&self) -> &str {
        &self.resolv_conf
    }

    /// Says that what runs in it may change how it is set up, so that nobody gets it after.
    pub fn spoil(&mut self) {
        self.is_spoilt = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(sandbox) = self.sandbox.take() else { return };
        // Without the right to change it, all that a sandbox can leave behind is sockets: connections that the kernel does not forget for a minute.
        let is_as_new = sandbox.namespace.socket_counts().is_ok_and(|sockets| sockets == sandbox.sockets);
        let mut state = self.network.lock();
        if is_as_new && !self.is_spoilt && state.switch.is_some() && state.idle.len() < IDLE_MAX {
            state.idle.push(sandbox);
        } else if let Some(switch) = &mut state.switch {
            switch.taken[sandbox.number as usize] = false;
        }
    }
}
