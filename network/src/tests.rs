//! The real thing, in a network namespace for each test that stands in for the machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::attach::{Sites, attach};
use crate::forward::Forwarder;
use crate::namespace::{NAME_SERVER, Namespace};
use crate::netlink::{Family, Socket};
use crate::plan::{Slot, Step, plan_switch};
use crate::route::{End, Subnet};
use crate::{Network, filter, route};

/// Runs a test on a machine of its own.
fn machine<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    testkit::require_root();
    let run = || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        Socket::open(Family::Route).unwrap().execute(&[route::up(1)]).unwrap();
        test()
    };
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs something in a namespace.
fn inside<T: Send>(namespace: BorrowedFd<'_>, body: impl FnOnce() -> T + Send) -> T {
    let run = || {
        move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network)).unwrap();
        body()
    };
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Returns the names of the machine's links and tables.
fn left() -> Vec<String> {
    let links = route::links(&mut Socket::open(Family::Route).unwrap()).unwrap();
    let tables = filter::tables(&mut Socket::open(Family::Netfilter).unwrap()).unwrap();
    let tables = tables.into_iter().map(|table| format!("table {}", table.name));
    links.into_iter().map(|(name, _)| name).chain(tables).collect()
}

/// Connects to a server that says who has connected, and returns what it says.
fn greeting(address: SocketAddr) -> String {
    let mut greeting = String::new();
    BufReader::new(TcpStream::connect(address).unwrap()).read_line(&mut greeting).unwrap();
    greeting.trim_end().to_owned()
}

fn greet(server: &TcpListener) {
    let (mut client, peer) = server.accept().unwrap();
    writeln!(client, "{}", peer.ip()).unwrap();
    // The client ends the connection, and so has to remember it for a while.
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

/// Returns a namespace that the machine is connected to, as 198.51.100.1, and that knows no way to anywhere else.
fn internet() -> Namespace {
    let mut beyond = Namespace::create().unwrap();
    let mut links = Socket::open(Family::Route).unwrap();
    let pair = route::pair(&End { name: "wan", index: 9 }, &End { name: "lan", index: 9 }, beyond.as_fd());
    let subnet = |last| Subnet { address: Ipv4Addr::new(198, 51, 100, last), prefix: 24 };
    links.execute(&[pair, route::address(9, subnet(1)), route::up(9)]).unwrap();
    beyond.route.execute(&[route::address(9, subnet(2)), route::up(9)]).unwrap();
    beyond
}

/// Connects from a sandbox to the internet, and returns who it seems to be there.
fn ask_beyond(beyond: &Namespace, lease: &crate::Lease) -> String {
    let server = inside(beyond.as_fd(), || TcpListener::bind("198.51.100.2:80").unwrap());
    thread::scope(|scope| {
        scope.spawn(|| greet(&server));
        inside(lease.namespace(), || greeting("198.51.100.2:80".parse().unwrap()))
    })
}

#[test]
fn a_sandbox_reaches_others_under_the_address_of_the_machine() {
    machine(|| {
        let beyond = internet();
        let network = Network::default();
        let lease = network.lease().unwrap();
        assert_eq!(ask_beyond(&beyond, &lease), "198.51.100.1");
        // The machine itself is reached by the gateway's address, and sees the sandbox as it is.
        let server = TcpListener::bind((lease.gateway(), 80)).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| greet(&server));
            let seen = inside(lease.namespace(), || greeting((lease.gateway(), 80).into()));
            assert_eq!(seen, "10.87.0.2");
        });
    });
}

#[test]
fn firewalls_that_drop_what_they_do_not_know_are_told_of_it_for_the_time() {
    machine(|| {
        // What Docker and ufw set up, by the program of iptables or by their own.
        let firewall = "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }; \
                        add table inet other; add chain inet other f { type filter hook forward priority 5; policy drop; }; \
                        add rule inet other f iifname kiln700 accept comment kiln700; \
                        add chain inet other input { type filter hook input priority 0; policy accept; }";
        let nft = |args: &[&str]| {
            let output = std::process::Command::new("nft").args(args).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        nft(&[firewall]);
        let network = Network::default();
        let (beyond, lease) = (internet(), network.lease().unwrap());
        assert_eq!(ask_beyond(&beyond, &lease), "198.51.100.1");
        assert!(nft(&["list", "chain", "ip", "filter", "FORWARD"]).contains("comment \"kiln0\""));
        assert!(!nft(&["list", "ruleset"]).contains("kiln700"), "what a dead process has left");
        drop(lease);
        assert!(network.close().is_empty());
        assert!(!nft(&["list", "ruleset"]).contains("kiln"));
    });
}

#[test]
fn sandboxes_of_one_process_reach_each_other_and_nobody_else_reaches_them() {
    machine(|| {
        let (one, other) = (Network::default(), Network::default());
        let leases = [one.lease().unwrap(), one.lease().unwrap(), other.lease().unwrap()];
        let server = inside(leases[0].namespace(), || TcpListener::bind("0.0.0.0:80").unwrap());
        thread::scope(|scope| {
            scope.spawn(|| greet(&server));
            let seen = inside(leases[1].namespace(), || greeting("10.87.0.2:80".parse().unwrap()));
            assert_eq!(seen, "10.87.0.3");
        });
        let refused = inside(leases[2].namespace(), || {
            TcpStream::connect_timeout(&"10.87.0.2:80".parse().unwrap(), std::time::Duration::from_millis(100))
        });
        assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    });
}

#[test]
fn nothing_is_there_before_the_first_lease_and_after_the_end() {
    machine(|| {
        let before = left();
        let network = Network::default();
        assert_eq!(left(), before);
        let lease = network.lease().unwrap();
        assert_eq!(left(), ["lo", "kiln0", "table kiln0"]);
        drop(lease);
        assert!(network.close().is_empty());
        assert_eq!(left(), before);
        drop(Network::default().lease().unwrap());
        assert_eq!(left(), before);
    });
}

#[test]
fn a_network_that_comes_half_about_is_undone() {
    machine(|| {
        let before = left();
        let mut sites = Sites::open(|_| Ok(())).unwrap();
        let mut steps = plan_switch(Slot(5));
        steps.push(Step::Bridge);
        let error = attach(&mut sites, &steps, None).unwrap_err();
        assert_eq!(error.to_string(), "cannot make a network bridge");
        assert!(error.is_taken());
        assert_eq!(left(), before);
    });
}

#[test]
fn what_is_not_there_any_more_is_reported_and_the_rest_removed() {
    machine(|| {
        let before = left();
        let network = Network::default();
        drop(network.lease().unwrap());
        filter::remove_named(&mut Socket::open(Family::Netfilter).unwrap(), "kiln0").unwrap_err();
        let mut links = Socket::open(Family::Route).unwrap();
        let index = route::links(&mut links).unwrap().iter().find(|(name, _)| name == "kiln0").unwrap().1;
        let elsewhere = Namespace::create().unwrap();
        links.execute(&[route::relocate(index, "moved", elsewhere.as_fd())]).unwrap();
        let errors: Vec<String> = network.close().iter().map(ToString::to_string).collect();
        assert_eq!(errors, ["cannot undo: make the network link `kiln0`"]);
        assert_eq!(left(), before);
    });
}

#[test]
fn several_processes_have_a_network_each() {
    machine(|| {
        let networks: Vec<Network> = (0..4).map(|_| Network::default()).collect();
        let machine = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        thread::scope(|scope| {
            for network in &networks {
                scope.spawn(|| inside(machine.as_fd(), || drop(network.lease().unwrap())));
            }
        });
        let mut found = left();
        found.sort_unstable();
        let tables = ["table kiln0", "table kiln1", "table kiln2", "table kiln3"];
        assert_eq!(found, [&["kiln0", "kiln1", "kiln2", "kiln3", "lo"][..], &tables[..]].concat());
    });
}

#[test]
fn the_table_of_a_dead_process_is_removed_by_the_next() {
    machine(|| {
        let mut rules = Socket::open(Family::Netfilter).unwrap();
        // As kernels before 5.12 leave it behind: its link is gone.
        filter::create_lasting(&mut rules, &Slot(7).name(), Slot(7).subnet()).unwrap();
        filter::create_lasting(&mut rules, "kilnx", Slot(8).subnet()).unwrap();
        drop(rules);
        let network = Network::default();
        drop(network.lease().unwrap());
        assert_eq!(left(), ["lo", "kiln0", "table kilnx", "table kiln0"]);
    });
}

#[test]
fn a_sandboxs_network_is_used_again_if_nothing_is_left_in_it() {
    machine(|| {
        let network = Network::default();
        let name = |lease: &crate::Lease| {
            std::fs::File::from(lease.namespace().try_clone_to_owned().unwrap()).metadata().unwrap().ino()
        };
        let first = network.lease().unwrap();
        let (same, server) = (name(&first), TcpListener::bind((first.gateway(), 80)).unwrap());
        drop(first);
        let second = network.lease().unwrap();
        assert_eq!(name(&second), same);
        thread::scope(|scope| {
            scope.spawn(|| greet(&server));
            inside(second.namespace(), || greeting(server.local_addr().unwrap()));
        });
        drop(second);
        let mut third = network.lease().unwrap();
        assert_ne!(name(&third), same);
        third.spoil();
        let spoilt = name(&third);
        drop(third);
        assert_ne!(name(&network.lease().unwrap()), spoilt);
    });
}

/// Answers one question with `answer` and the question.
fn answer_once(server: &UdpSocket, answer: &[u8]) {
    let mut question = [0; 512];
    let (count, client) = server.recv_from(&mut question).unwrap();
    server.send_to(&[answer, &question[..count]].concat(), client).unwrap();
}

#[test]
fn name_servers_on_the_loopback_interface_are_asked_on_behalf_of_a_sandbox() {
    machine(|| {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind(udp.local_addr().unwrap()).unwrap();
        // Nobody listens at the first.
        let upstream = ["127.0.0.2:9".parse().unwrap(), udp.local_addr().unwrap()];
        let (namespace, server) = Namespace::create_with_name_server(&[]).unwrap();
        let forwarder = Forwarder::start(server, upstream.into()).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| answer_once(&udp, b"yes "));
            let answer = inside(namespace.as_fd(), || {
                let client = UdpSocket::bind("127.0.0.1:0").unwrap();
                client.send_to(b"question", (NAME_SERVER, 53)).unwrap();
                let mut answer = [0; 64];
                let (count, from) = client.recv_from(&mut answer).unwrap();
                assert_eq!(from.ip(), NAME_SERVER);
                answer[..count].to_vec()
            });
            assert_eq!(answer, b"yes question");
        });
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut client, mut question) = (tcp.accept().unwrap().0, [0; 4]);
                client.read_exact(&mut question).unwrap();
                assert_eq!(question, [0, 2, b'h', b'i']);
                client.write_all(&[0, 3, b'y', b'e', b's']).unwrap();
            });
            let answer = inside(namespace.as_fd(), || {
                let (mut client, mut answer) = (TcpStream::connect((NAME_SERVER, 53)).unwrap(), [0; 5]);
                client.write_all(&[0, 2, b'h', b'i']).unwrap();
                client.read_exact(&mut answer).unwrap();
                answer
            });
            assert_eq!(answer, [0, 3, b'y', b'e', b's']);
        });
        drop(forwarder);
    });
}
