//! Why there is no network.

use std::io;

use rustix::io::Errno;

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel refused a part of it.
    #[error("cannot {action}")]
    Step {
        /// What was to be done, and to what.
        action: String,
        /// Why not.
        source: io::Error,
    },
    /// Everything that could be used is routed already.
    #[error(
        "no private network is free: this machine has routes to all of 10.87.0.0/16, 172.30.0.0/16 and 192.168.0.0/16"
    )]
    NoSubnet,
    /// More sandboxes ask for a network at once than there are addresses.
    #[error("all {count} addresses of `{link}` are taken")]
    NoAddress {
        /// The link that they are behind.
        link: String,
        /// How many there are.
        count: u32,
    },
}

impl NetworkError {
    pub(crate) fn step<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |source| Self::Step { action, source: source.into() }
    }

    /// Returns whether no sandbox can have a network here: this machine lacks what it takes, or does not allow it.
    pub fn is_unsupported(&self) -> bool {
        let Self::Step { source, .. } = self else { return matches!(self, Self::NoSubnet) };
        let refused = [
            Errno::PERM,
            Errno::ACCESS,
            Errno::ROFS,
            Errno::NOSYS,
            Errno::OPNOTSUPP,
            Errno::AFNOSUPPORT,
            Errno::PROTONOSUPPORT,
            // A kind of chain, or a kind of link, that the kernel does not know.
            Errno::NOENT,
        ];
        source.raw_os_error().is_some_and(|number| refused.iter().any(|errno| errno.raw_os_error() == number))
    }

    /// Returns whether something of the same name is there.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self, Self::Step { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }
}
