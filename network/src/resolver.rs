//! Decides what a sandbox's `/etc/resolv.conf` says.

use std::net::{IpAddr, SocketAddr};

use crate::namespace::NAME_SERVER;

const PORT: u16 = 53;

/// How names resolve in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolver {
    /// The file.
    pub(crate) text: String,
    /// Whom to pass questions on to, where the file names [`NAME_SERVER`].
    pub(crate) upstream: Vec<SocketAddr>,
}

/// Returns the resolver for sandboxes of a machine that has this `/etc/resolv.conf`.
///
/// Name servers that a sandbox can reach stay as they are. If there is one that it cannot, on the loopback interface or by IPv6, all are asked on its behalf.
pub(crate) fn plan_resolver(machine: &str) -> Resolver {
    let servers: Vec<&str> = machine.lines().filter_map(server).collect();
    let is_reachable = |server: &&str| matches!(server.parse::<IpAddr>(), Ok(IpAddr::V4(address)) if !address.is_loopback() && !address.is_unspecified());
    let upstream: Vec<SocketAddr> = servers.iter().filter_map(|server| socket_address(server)).collect();
    if upstream.is_empty() || servers.iter().all(is_reachable) {
        return Resolver { text: machine.to_owned(), upstream: Vec::new() };
    }
    let mut text = String::new();
    for line in machine.lines().filter(|line| server(line).is_none()) {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str(&format!("nameserver {NAME_SERVER}\n"));
    Resolver { text, upstream }
}

fn server(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    (words.next()? == "nameserver").then(|| words.next()).flatten()
}

/// Parses an address, which may name the link that it counts on: `fe80::1%eth0`, `fe80::1%2`.
fn socket_address(text: &str) -> Option<SocketAddr> {
    if let Some((address, scope)) = text.split_once('%') {
        let index = std::fs::read_to_string(format!("/sys/class/net/{scope}/ifindex"));
        let index = scope.parse().ok().or_else(|| index.ok()?.trim().parse().ok())?;
        return Some(std::net::SocketAddrV6::new(address.parse().ok()?, PORT, 0, index).into());
    }
    text.parse().ok().map(|address: IpAddr| SocketAddr::new(address, PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(machine: &str, text: &str, upstream: &[&str]) {
        let upstream = upstream.iter().map(|address| address.parse().unwrap()).collect();
        assert_eq!(plan_resolver(machine), Resolver { text: text.to_owned(), upstream });
    }

    #[test]
    fn name_servers_that_can_be_reached_stay() {
        let machine = "# made by hand\nsearch a.example\nnameserver 192.0.2.53\nnameserver 198.51.100.1\n";
        check(machine, machine, &[]);
        check("", "", &[]);
    }

    #[test]
    fn those_that_cannot_are_asked_on_behalf_of_the_sandbox() {
        check(
            "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch a.example\n",
            "options edns0 trust-ad\nsearch a.example\nnameserver 127.0.0.11\n",
            &["127.0.0.53:53"],
        );
        check("nameserver 192.0.2.53\nnameserver ::1\n", "nameserver 127.0.0.11\n", &["192.0.2.53:53", "[::1]:53"]);
        check("nameserver fe80::1%7\n", "nameserver 127.0.0.11\n", &["[fe80::1%7]:53"]);
    }
}
