//! Network namespaces that only descriptors keep alive.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, unshare};

use crate::NetworkError;
use crate::netlink::{Family, Socket};
use crate::route;

/// The loopback interface has this number everywhere.
const LOOPBACK: u32 = 1;
/// Where names are asked for inside a sandbox, when they have to be; Docker's containers have the same address.
pub(crate) const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const NAME_SERVER_PORT: u16 = 53;
/// Those of the namespace of who looks there.
const SETTINGS: &str = "/proc/sys/net";
const NO_IPV6: Setting = Setting { name: "ipv6/conf/default/disable_ipv6", value: "1" };
const SOCKET_COUNTS_BYTES: usize = 4096;

/// A setting of a network namespace.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its path beneath `/proc/sys/net`.
    pub name: &'static str,
    /// Its value.
    pub value: &'static str,
}

/// A network namespace. It ends when the last descriptor of it is closed and nobody is in it; its links end with it.
#[derive(Debug)]
pub(crate) struct Namespace {
    file: File,
    /// A socket in it.
    pub(crate) route: Socket,
    counts: File,
}

/// The sockets of a name server.
#[derive(Debug)]
pub(crate) struct NameServer {
    pub(crate) datagrams: UdpSocket,
    pub(crate) streams: TcpListener,
}

impl Namespace {
    /// Makes a namespace with nothing but a loopback interface, which is up.
    pub(crate) fn create() -> Result<Self, NetworkError> {
        within_new(|| Self::open().map_err(NetworkError::step("open a network namespace")))
    }

    /// The same with settings of its own.
    pub(crate) fn create_with(settings: &[Setting]) -> Result<Self, NetworkError> {
        within_new(|| {
            apply(settings)?;
            Self::open().map_err(NetworkError::step("open a network namespace"))
        })
    }

    /// The same with a name server's sockets in it.
    pub(crate) fn create_with_name_server(settings: &[Setting]) -> Result<(Self, NameServer), NetworkError> {
        within_new(|| {
            apply(settings)?;
            let namespace = Self::open().map_err(NetworkError::step("open a network namespace"))?;
            let bind = || -> io::Result<NameServer> {
                let datagrams = UdpSocket::bind((NAME_SERVER, NAME_SERVER_PORT))?;
                Ok(NameServer { datagrams, streams: TcpListener::bind((NAME_SERVER, NAME_SERVER_PORT))? })
            };
            Ok((namespace, bind().map_err(NetworkError::step("open a name server in a sandbox"))?))
        })
    }

    /// Opens the namespace of the calling thread.
    fn open() -> io::Result<Self> {
        let mut route = Socket::open(Family::Route)?;
        route.execute(&[route::up(LOOPBACK)])?;
        Ok(Self {
            file: File::open("/proc/thread-self/ns/net")?,
            route,
            counts: File::open("/proc/thread-self/net/sockstat")?,
        })
    }

    /// Returns how many sockets of each kind there are, with those of connections that are not forgotten yet.
    pub(crate) fn socket_counts(&self) -> io::Result<String> {
        let mut buffer = [0; SOCKET_COUNTS_BYTES];
        let count = self.counts.read_at(&mut buffer, 0)?;
        // The first line and what is counted in pages of memory are about the whole machine.
        let text = String::from_utf8_lossy(&buffer[..count]);
        let own =
            |line: &str| line.split(" mem ").next().unwrap_or_default().split(" alloc ").next().map(str::to_owned);
        Ok(text.lines().skip(1).filter_map(own).collect::<Vec<_>>().join("\n"))
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl From<Namespace> for OwnedFd {
    fn from(namespace: Namespace) -> Self {
        namespace.file.into()
    }
}

/// Changes settings of the calling thread's network namespace.
fn apply(settings: &[Setting]) -> Result<(), NetworkError> {
    // Links that are still to come have no IPv6, not even an address that leads to none but the bridge, as with Docker. The loopback interface keeps `::1`.
    match fs::write(Path::new(SETTINGS).join(NO_IPV6.name), NO_IPV6.value) {
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // Where it cannot be changed, there is an address more.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
        written => written.map_err(NetworkError::step(format!("set `{SETTINGS}/{}`", NO_IPV6.name)))?,
    }
    settings.iter().try_for_each(|Setting { name, value }| {
        let path = Path::new(SETTINGS).join(name);
        fs::write(&path, value).map_err(NetworkError::step(format!("set `{}` to `{value}`", path.display())))
    })
}

/// Runs `open` in a new network namespace.
fn within_new<T: Send>(open: impl FnOnce() -> Result<T, NetworkError> + Send) -> Result<T, NetworkError> {
    // A thread of its own: no other thread's namespace is ever another one, not even for a moment.
    thread::scope(|scope| {
        let made = thread::Builder::new().name("network".to_owned()).spawn_scoped(scope, || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(NetworkError::step("make a network namespace"))?;
            open()
        });
        let made = made.map_err(NetworkError::step("start a thread"))?;
        made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
