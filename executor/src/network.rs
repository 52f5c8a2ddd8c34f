//! Which network a sandbox gets.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use llb::NetworkMode;
use network::{Lease, Network, NetworkError, Setting};

/// What `--add-host` calls this machine.
pub const HOST_GATEWAY: &str = "host-gateway";
/// What Docker sets in networks of containers, so that users need no rights of root to listen at any port and to send echo requests.
const CONTAINER_SETTINGS: &[Setting] = &[
    Setting { name: "ipv4/ip_unprivileged_port_start", value: "0" },
    Setting { name: "ipv4/ping_group_range", value: "0 2147483647" },
];
const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
const CONTAINER_HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                               fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

/// The networks of the sandboxes of one build or one container.
#[derive(Debug)]
pub struct Networks {
    own: Network,
    kind: Kind,
    /// Set when this machine turned out to have no networks for sandboxes.
    unsupported: OnceLock<()>,
}

/// Whose networks they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Step,
    Container,
}

/// The network of one sandbox; it is to be held until the sandbox has ended.
#[derive(Debug)]
pub enum Entered {
    /// Only a loopback interface.
    None,
    /// The same, with the settings of containers.
    Isolated(OwnedFd),
    /// That of this machine.
    Host {
        /// Why it is not one of its own, where one was asked for. Told once.
        lost: Option<NetworkError>,
    },
    /// One of its own.
    Own(Lease),
}

impl Default for Networks {
    fn default() -> Self {
        Self::new(Network::default(), Kind::Step)
    }
}

impl Networks {
    /// Returns the networks of a container, which has settings that steps do not have.
    pub fn of_container() -> Self {
        Self::new(Network::with_settings(CONTAINER_SETTINGS), Kind::Container)
    }

    fn new(own: Network, kind: Kind) -> Self {
        Self { own: own.with_checkpoint(store::fault::point), kind, unsupported: OnceLock::new() }
    }

    /// Returns a network for a sandbox. It blocks, for a few milliseconds at most.
    ///
    /// Where this machine cannot give one of its own, the sandbox has that of the machine.
    pub fn enter(&self, mode: NetworkMode) -> Result<Entered, NetworkError> {
        match mode {
            // The kernel makes it as the step starts.
            NetworkMode::None if self.kind == Kind::Step => return Ok(Entered::None),
            NetworkMode::None => return self.isolate(),
            NetworkMode::Host => return Ok(Entered::Host { lost: None }),
            NetworkMode::Default if self.unsupported.get().is_some() => return Ok(Entered::Host { lost: None }),
            NetworkMode::Default => {}
        }
        match self.own.lease() {
            Ok(lease) => Ok(Entered::Own(lease)),
            Err(error) if error.is_unsupported() => {
                let lost = self.unsupported.set(()).is_ok().then_some(error);
                Ok(Entered::Host { lost })
            }
            Err(error) => Err(error),
        }
    }

    fn isolate(&self) -> Result<Entered, NetworkError> {
        match self.own.isolate() {
            Ok(namespace) => Ok(Entered::Isolated(namespace)),
            // Where settings cannot be changed, one without them isolates as well.
            Err(error) if error.is_unsupported() => Ok(Entered::None),
            Err(error) => Err(error),
        }
    }

    /// Returns whether a sandbox had a network of its own, so that there is something to close.
    pub fn is_used(&self) -> bool {
        self.own.is_open()
    }

    /// Takes down what there is, after all sandboxes have ended, and returns all that went wrong.
    pub fn close(&self) -> Vec<NetworkError> {
        self.own.close()
    }
}

impl Entered {
    /// Returns the network as the sandbox is told of it.
    pub fn network(&self) -> std::io::Result<runtime::Network> {
        Ok(match self {
            Self::None => runtime::Network::None,
            Self::Isolated(namespace) => runtime::Network::Namespace(namespace.try_clone()?),
            Self::Host { .. } => runtime::Network::Host,
            Self::Own(lease) => runtime::Network::Namespace(lease.namespace().try_clone_to_owned()?),
        })
    }

    /// Returns the sandbox's `/etc/resolv.conf`.
    pub fn resolv_conf(&self) -> Vec<u8> {
        match self {
            Self::Own(lease) => lease.resolv_conf().as_bytes().to_vec(),
            // On the machine's network, its name servers are the right ones; a machine without the file resolves nothing either.
            Self::None | Self::Isolated(_) | Self::Host { .. } => std::fs::read(RESOLV_CONF).unwrap_or_default(),
        }
    }

    /// Returns the sandbox's `/etc/hosts` without names that were asked for, as a container of Docker has it.
    pub(crate) fn container_hosts(&self, hostname: &str) -> String {
        match self {
            Self::Host { .. } => std::fs::read_to_string(HOSTS).unwrap_or_else(|_| CONTAINER_HOSTS.to_owned()),
            Self::None | Self::Isolated(_) => CONTAINER_HOSTS.to_owned(),
            Self::Own(lease) => format!("{CONTAINER_HOSTS}{}\t{hostname}\n", lease.address()),
        }
    }

    /// Returns this machine's address as the sandbox reaches it.
    pub fn gateway(&self) -> IpAddr {
        match self {
            Self::Own(lease) => lease.gateway().into(),
            Self::None | Self::Isolated(_) | Self::Host { .. } => Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// Returns why it is the network of this machine although another was asked for, the first time.
    pub fn lost(&self) -> Option<&NetworkError> {
        match self {
            Self::Host { lost } => lost.as_ref(),
            Self::None | Self::Isolated(_) | Self::Own(_) => None,
        }
    }

    /// Says that the sandbox may change how its network is set up.
    pub fn spoil(&mut self) {
        if let Self::Own(lease) = self {
            lease.spoil();
        }
    }
}
