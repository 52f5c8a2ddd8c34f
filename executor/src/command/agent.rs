//! A socket that a step sees of an SSH agent: its own, with the owner and the mode that the step asks for.

use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use llb::SshMount;
use rustix::event::{PollFd, PollFlags, poll};

use crate::ExecError;

/// How many connections are open at once; further ones wait.
const CONNECTIONS_MAX: usize = 64;
/// Messages of agents are at most 256 KiB; those that matter are far smaller.
const BUFFER_BYTES: usize = 64 << 10;
/// How long one side may keep the other from going on.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Passes on what is said at a socket, until it is dropped.
pub(super) struct Relay {
    /// The socket.
    pub(super) socket: PathBuf,
    life: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Opens a socket in `dir`, which is the caller's, for the agent at `agent`.
    pub(super) fn start(dir: &Path, agent: &Path, mount: &SshMount) -> Result<Self, ExecError> {
        let socket = dir.join("agent");
        let failed = |action| ExecError::file(action, &socket);
        let listener = listen(dir).map_err(failed("listen at"))?;
        chown(&socket, Some(mount.uid), Some(mount.gid)).map_err(failed("change the owner of"))?;
        let mode = fs::Permissions::from_mode(mount.mode);
        fs::set_permissions(&socket, mode).map_err(failed("change the mode of"))?;
        let (end, life) = io::pipe().map_err(failed("listen at"))?;
        let agent = agent.to_owned();
        let thread = thread::Builder::new().name("ssh-agent".to_owned()).spawn(move || relay(&listener, &agent, &end));
        let thread = Some(thread.map_err(failed("listen at"))?);
        Ok(Self { socket, life: Some(life), thread })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.life.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

/// Listens at `agent` in a directory whose path may be too long for the address of a socket.
fn listen(dir: &Path) -> io::Result<UnixListener> {
    use std::os::fd::AsRawFd;
    let dir = fs::File::open(dir)?;
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/agent", dir.as_raw_fd()))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Somebody in the sandbox, and the agent.
struct Connection {
    client: UnixStream,
    agent: UnixStream,
}

impl Connection {
    fn open(client: UnixStream, agent: &Path) -> io::Result<Self> {
        let agent = UnixStream::connect(agent)?;
        for side in [&client, &agent] {
            side.set_nonblocking(false)?;
            side.set_write_timeout(Some(WRITE_TIMEOUT))?;
        }
        Ok(Self { client, agent })
    }
}

fn relay(listener: &UnixListener, agent: &Path, end: &PipeReader) {
    let mut connections: Vec<Connection> = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let listening = if connections.len() < CONNECTIONS_MAX { PollFlags::IN } else { PollFlags::empty() };
        let mut polled = vec![PollFd::new(end, PollFlags::IN), PollFd::new(listener, listening)];
        for Connection { client, agent } in &connections {
            polled.extend([PollFd::new(client, PollFlags::IN), PollFd::new(agent, PollFlags::IN)]);
        }
        match poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) => {}
        }
        let ready: Vec<bool> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
        if ready[0] {
            return;
        }
        let mut sides = ready[2..].chunks(2);
        connections.retain(|Connection { client, agent }| {
            let ready = sides.next().unwrap_or_default();
            let is_ready = |side: usize| ready.get(side).copied().unwrap_or_default();
            (!is_ready(0) || pass_on(client, agent, &mut buffer))
                && (!is_ready(1) || pass_on(agent, client, &mut buffer))
        });
        if ready[1]
            && let Ok((client, _)) = listener.accept()
        {
            // Without the agent, the client sees that the connection ends.
            connections.extend(Connection::open(client, agent));
        }
    }
}

/// Passes on what can be read, and returns whether the connection goes on.
fn pass_on(mut from: &UnixStream, mut to: &UnixStream, buffer: &mut [u8]) -> bool {
    matches!(from.read(buffer), Ok(count @ 1..) if to.write_all(&buffer[..count]).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_at_the_socket_is_said_to_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        let agent = UnixListener::bind(dir.path().join("real")).unwrap();
        // Longer than the address of a socket may be.
        let deep = dir.path().join("d".repeat(200));
        fs::create_dir(&deep).unwrap();
        let mount = SshMount { id: String::new(), required: false, mode: 0o600, uid: 0, gid: 0 };
        let relay = Relay::start(&deep, &dir.path().join("real"), &mount).unwrap();
        let deep = fs::File::open(&deep).unwrap();
        let near = format!("/proc/self/fd/{}/agent", std::os::fd::AsRawFd::as_raw_fd(&deep));
        for _ in 0..2 {
            let mut client = UnixStream::connect(&near).unwrap();
            client.write_all(b"question").unwrap();
            let (mut served, mut buffer) = (agent.accept().unwrap().0, [0; 8]);
            served.read_exact(&mut buffer).unwrap();
            assert_eq!(&buffer, b"question");
            served.write_all(b"answer").unwrap();
            client.read_exact(&mut buffer[..6]).unwrap();
            assert_eq!(&buffer[..6], b"answer");
            // The agent ends the connection, and the client sees it.
            drop(served);
            assert_eq!(client.read(&mut buffer).unwrap(), 0);
        }
        drop(relay);
        assert!(UnixStream::connect(&near).is_err());
    }
}
