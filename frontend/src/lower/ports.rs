//! Ports as `EXPOSE` has them: `80`, `7000-7002/udp`, and mappings of the host that mean nothing here.

use std::net::IpAddr;
use std::ops::RangeInclusive;

const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// Ports of one protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    range: RangeInclusive<u16>,
    protocol: String,
    /// Whether the protocol is written in anything but lower case.
    pub(super) is_miscased: bool,
    /// Whether an address or a port of the host is named too.
    pub(super) is_mapping: bool,
}

/// Why a text names no ports; the texts are those of Docker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PortParseError {
    /// There is no port.
    #[error("no port specified")]
    Missing,
    /// The protocol is not known.
    #[error("invalid proto: {protocol}")]
    Protocol {
        /// The protocol, in lower case.
        protocol: String,
    },
    /// The address is none.
    #[error("invalid IP address: {address}")]
    Address {
        /// The address.
        address: String,
    },
    /// The container's port is no number, or the range is none.
    #[error("invalid containerPort: {port}")]
    Container {
        /// The port.
        port: String,
    },
    /// The host's port is no number, or the range is none.
    #[error("invalid hostPort: {port}")]
    Host {
        /// The port.
        port: String,
    },
    /// The ranges have different lengths.
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    Ranges {
        /// The container's ports.
        container: String,
        /// The host's ports.
        host: String,
    },
}

impl Port {
    /// Parses `[[address:]host-port:]port[-port][/protocol]`.
    pub(super) fn parse(raw: &str) -> Result<Self, PortParseError> {
        let mut parts = raw.rsplitn(3, ':');
        let container = parts.next().unwrap_or_default();
        let (host, address) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let (port, written) = container.split_once('/').unwrap_or((container, ""));
        if port.is_empty() {
            return Err(PortParseError::Missing);
        }
        let protocol = written.to_lowercase();
        if !protocol.is_empty() && !PROTOCOLS.contains(&protocol.as_str()) {
            return Err(PortParseError::Protocol { protocol });
        }
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        if !bare.is_empty() && bare.parse::<IpAddr>().is_err() {
            return Err(PortParseError::Address { address: bare.to_owned() });
        }
        let range = parse_range(port).ok_or_else(|| PortParseError::Container { port: port.to_owned() })?;
        if !host.is_empty() {
            let of_host = parse_range(host).ok_or_else(|| PortParseError::Host { port: host.to_owned() })?;
            if range.len() != 1 && range.len() != of_host.len() {
                return Err(PortParseError::Ranges { container: port.to_owned(), host: host.to_owned() });
            }
        }
        let is_miscased = protocol != written;
        let protocol = if protocol.is_empty() { PROTOCOLS[0].to_owned() } else { protocol };
        Ok(Self { range, protocol, is_miscased, is_mapping: !host.is_empty() || !address.is_empty() })
    }

    /// Returns how many ports there are.
    pub(super) fn count(&self) -> usize {
        self.range.len()
    }

    /// Returns each port as the config has it: `80/tcp`.
    pub(super) fn exposed(&self) -> impl Iterator<Item = String> {
        self.range.clone().map(|port| format!("{port}/{}", self.protocol))
    }
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = number(first)?..=number(last)?;
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, expected: &str) {
        let shown = match Port::parse(raw) {
            Ok(port) => {
                let mapping = if port.is_mapping { " mapping" } else { "" };
                let case = if port.is_miscased { " miscased" } else { "" };
                format!("{}{mapping}{case}", port.exposed().collect::<Vec<_>>().join(" "))
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected);
    }

    // spec 44
    #[test]
    fn a_port_may_be_a_range_and_have_a_protocol() {
        check("80", "80/tcp");
        check("7000-7002", "7000/tcp 7001/tcp 7002/tcp");
        check("53/UDP", "53/udp miscased");
        check("1/sctp", "1/sctp");
        check("80/", "80/tcp");
        check("0", "0/tcp");
    }

    // spec 44
    #[test]
    fn a_mapping_leaves_the_port_of_the_container() {
        check("0.0.0.0:99:98", "98/tcp mapping");
        check("99:98", "98/tcp mapping");
        check("[::1]:99:98", "98/tcp mapping");
        check("::1:99:98", "98/tcp mapping");
        check(":98", "98/tcp");
        check("1-3:5", "5/tcp mapping");
    }

    // spec 44
    #[test]
    fn a_wrong_port_is_refused() {
        check("80/foo", "invalid proto: foo");
        check("70000", "invalid containerPort: 70000");
        check("3-1", "invalid containerPort: 3-1");
        check("a", "invalid containerPort: a");
        check("+1", "invalid containerPort: +1");
        check("", "no port specified");
        check("80:", "no port specified");
        check("x:1:2", "invalid IP address: x");
        check("a:2", "invalid hostPort: a");
        check("1-2:5-9", "invalid ranges specified for container and host Ports: 5-9 and 1-2");
    }
}
