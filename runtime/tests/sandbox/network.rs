//! Which network the process sees.

use std::fs::File;

use runtime::Network;

use crate::world::check_with;

#[test]
fn without_a_network_there_is_only_the_loopback_interface() {
    check_with(
        "ls /sys/class/net; ifconfig lo | grep -o 'UP LOOPBACK RUNNING'; cat /proc/net/route | wc -l",
        |spec| spec.network = Network::None,
        "lo\nUP LOOPBACK RUNNING\n1\n",
    );
}

#[test]
fn the_hosts_network_is_the_hosts() {
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    check_with("readlink /proc/self/ns/net", |spec| spec.network = Network::Host, &format!("{}\n", own.display()));
}

#[test]
fn a_namespace_can_be_handed_over() {
    testkit::require_root();
    // A namespace that only a descriptor keeps alive, as the network crate makes them.
    let namespace = std::thread::spawn(|| {
        #[expect(unsafe_code, reason = "the call is only dangerous for tables of descriptors")]
        // SAFETY: the table of descriptors stays shared.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
        File::open("/proc/thread-self/ns/net").unwrap()
    });
    let namespace = namespace.join().unwrap();
    let name = runtime_name(&namespace);
    check_with(
        "readlink /proc/self/ns/net; ls /sys/class/net",
        |spec| spec.network = Network::Namespace(namespace.into()),
        &format!("{name}\nlo\n"),
    );
}

fn runtime_name(namespace: &File) -> String {
    use std::os::unix::fs::MetadataExt;
    format!("net:[{}]", namespace.metadata().unwrap().ino())
}
