//! A socket that a step sees of an SSH agent: its own, with the owner and the mode that the step asks for.

use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use llb::SshMount;
use rustix::event::{PollFd, PollFlags, poll};

use super::{FAILURE, SshAgent, may_ask, read_message, write_message};
use crate::ExecError;

/// How many connections are open at once; further ones are closed.
const CONNECTIONS_MAX: usize = 64;
/// How long one side may keep the other from going on.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers at a socket, until it is dropped.
pub(crate) struct Relay {
    /// The socket.
    pub(crate) socket: PathBuf,
    life: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Opens a socket in `dir`, which is the caller's, for an agent.
    pub(crate) fn start(dir: &Path, agent: Arc<SshAgent>, mount: &SshMount) -> Result<Self, ExecError> {
        let socket = dir.join("agent");
        let failed = |action| ExecError::file(action, &socket);
        let listener = listen(dir).map_err(failed("listen at"))?;
        chown(&socket, Some(mount.uid), Some(mount.gid)).map_err(failed("change the owner of"))?;
        let mode = fs::Permissions::from_mode(mount.mode);
        fs::set_permissions(&socket, mode).map_err(failed("change the mode of"))?;
        let (end, life) = io::pipe().map_err(failed("listen at"))?;
        let thread = thread::Builder::new().name("ssh-agent".to_owned());
        let thread = thread.spawn(move || serve(&listener, &agent, &end)).map_err(failed("listen at"))?;
        Ok(Self { socket, life: Some(life), thread: Some(thread) })
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
    let dir = File::open(dir)?;
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/agent", dir.as_raw_fd()))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers whoever connects, each on a thread of its own, until `end` is closed.
fn serve(listener: &UnixListener, agent: &SshAgent, end: &PipeReader) {
    thread::scope(|scope| {
        let mut connections = Vec::new();
        while wait(listener, end) {
            connections.retain(|(_, thread): &(_, thread::ScopedJoinHandle<'_, ()>)| !thread.is_finished());
            let Ok((client, _)) = listener.accept() else { continue };
            if connections.len() >= CONNECTIONS_MAX {
                continue;
            }
            // Without the agent, the client sees that the connection ends.
            let Ok(connection) = Connection::open(client, agent) else { continue };
            let Ok(sides) = connection.sides() else { continue };
            let thread = thread::Builder::new().name("ssh-agent".to_owned());
            if let Ok(thread) = thread.spawn_scoped(scope, move || connection.serve()) {
                connections.push((sides, thread));
            }
        }
        for side in connections.iter().flat_map(|(sides, _)| sides) {
            // One that is closed already needs no end.
            let _ = side.shutdown(Shutdown::Both);
        }
    });
}

/// Waits until somebody connects; `false` is the end.
fn wait(listener: &UnixListener, end: &PipeReader) -> bool {
    let mut polled = [PollFd::new(end, PollFlags::IN), PollFd::new(listener, PollFlags::IN)];
    match poll(&mut polled, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => polled[0].revents().is_empty(),
        Err(_) => false,
    }
}

/// Somebody in the sandbox, and who answers.
struct Connection<'a> {
    client: UnixStream,
    agent: &'a SshAgent,
    /// The other agent, where it is one.
    upstream: Option<UnixStream>,
}

impl<'a> Connection<'a> {
    fn open(client: UnixStream, agent: &'a SshAgent) -> io::Result<Self> {
        client.set_nonblocking(false)?;
        client.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let upstream = match agent {
            SshAgent::Socket(path) => Some(UnixStream::connect(path)?),
            SshAgent::Keys(_) => None,
        };
        if let Some(upstream) = &upstream {
            upstream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        }
        Ok(Self { client, agent, upstream })
    }

    /// Returns what to shut down so that the connection ends.
    fn sides(&self) -> io::Result<Vec<UnixStream>> {
        [Some(&self.client), self.upstream.as_ref()].into_iter().flatten().map(UnixStream::try_clone).collect()
    }

    /// Answers until one of the sides ends.
    fn serve(&self) {
        while let Ok(Some(message)) = read_message(&self.client) {
            let Some(answer) = self.answer(&message) else { break };
            if write_message(&self.client, &answer).is_err() {
                break;
            }
        }
        // The descriptors that end the connection are open still.
        let _ = self.client.shutdown(Shutdown::Both);
    }

    fn answer(&self, message: &[u8]) -> Option<Vec<u8>> {
        if !may_ask(message) {
            return Some(FAILURE.to_vec());
        }
        match (self.agent, &self.upstream) {
            (SshAgent::Keys(keys), _) => Some(keys.answer(message)),
            (SshAgent::Socket(_), Some(upstream)) => {
                write_message(upstream, message).ok()?;
                read_message(upstream).ok()?
            }
            (SshAgent::Socket(_), None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const MOUNT: SshMount = SshMount { id: String::new(), required: false, mode: 0o600, uid: 0, gid: 0 };

    #[test]
    fn a_step_can_list_and_sign_at_an_agent_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let agent = UnixListener::bind(dir.path().join("real")).unwrap();
        // Longer than the address of a socket may be.
        let deep = dir.path().join("d".repeat(200));
        fs::create_dir(&deep).unwrap();
        let relay = Relay::start(&deep, Arc::new(SshAgent::Socket(dir.path().join("real"))), &MOUNT).unwrap();
        let deep = File::open(&deep).unwrap();
        let near = format!("/proc/self/fd/{}/agent", deep.as_raw_fd());
        for asked in [11, 13] {
            let client = UnixStream::connect(&near).unwrap();
            // Removing all keys (19), adding one (17), a lock (22), an extension (27).
            for refused in [19, 17, 22, 27] {
                write_message(&client, &[refused]).unwrap();
                assert_eq!(read_message(&client).unwrap().unwrap(), FAILURE);
            }
            write_message(&client, &[asked, 1]).unwrap();
            let served = agent.accept().unwrap().0;
            assert_eq!(read_message(&served).unwrap().unwrap(), [asked, 1]);
            write_message(&served, b"answer").unwrap();
            assert_eq!(read_message(&client).unwrap().unwrap(), b"answer");
            // The agent ends the connection, and the client sees it.
            drop(served);
            let _ = write_message(&client, &[11]);
            assert!(!matches!(read_message(&client), Ok(Some(_))));
        }
        let idle = UnixStream::connect(&near).unwrap();
        drop(relay);
        assert!(!matches!(read_message(&idle), Ok(Some(_))), "connections end with the step");
        assert!(UnixStream::connect(&near).is_err());
    }

    /// Runs a program of OpenSSH with an agent, and returns what it prints.
    #[track_caller]
    fn ssh(relay: &Relay, program: &str, args: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(args).env("SSH_AUTH_SOCK", &relay.socket).stdin(Stdio::null());
        let ended = command.output().unwrap();
        assert!(ended.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8(ended.stdout).unwrap()
    }

    #[test]
    fn openssh_signs_with_keys_of_every_kind() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let kinds: [(&str, &[&str]); 10] = [
            ("ed25519", &["-t", "ed25519"]),
            ("rsa", &["-t", "rsa", "-b", "2048"]),
            ("ecdsa256", &["-t", "ecdsa", "-b", "256"]),
            ("ecdsa384", &["-t", "ecdsa", "-b", "384"]),
            ("pkcs1", &["-t", "rsa", "-b", "2048", "-m", "PEM"]),
            ("pkcs8-256", &["-t", "ecdsa", "-b", "256", "-m", "PKCS8"]),
            ("pkcs8-384", &["-t", "ecdsa", "-b", "384", "-m", "PKCS8"]),
            ("pkcs8-rsa", &["-t", "rsa", "-b", "2048", "-m", "PKCS8"]),
            ("sec1-256", &["-t", "ecdsa", "-b", "256", "-m", "PEM"]),
            ("sec1-384", &["-t", "ecdsa", "-b", "384", "-m", "PEM"]),
        ];
        for (name, kind) in kinds {
            let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-f", &path(name)]).args(kind).status();
            assert!(made.unwrap().success(), "{name}");
        }
        fs::write(path("text"), "what is signed").unwrap();
        let paths: Vec<PathBuf> = kinds.iter().map(|(name, _)| PathBuf::from(path(name))).collect();
        let relay = Relay::start(dir.path(), Arc::new(SshAgent::open(&paths).unwrap()), &MOUNT).unwrap();
        assert_eq!(ssh(&relay, "ssh-add", &["-l"]).lines().count(), kinds.len());
        for (name, _) in kinds {
            let public = format!("{}.pub", path(name));
            // The private key is not there any more: only the agent has it.
            fs::remove_file(path(name)).unwrap();
            ssh(&relay, "ssh-keygen", &["-q", "-Y", "sign", "-f", &public, "-n", "file", &path("text")]);
            let signature = path("text.sig");
            let check = ["-Y", "check-novalidate", "-n", "file", "-s", &signature];
            let mut command = Command::new("ssh-keygen");
            let checked = command.args(check).stdin(File::open(path("text")).unwrap()).output().unwrap();
            assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stdout));
            fs::remove_file(signature).unwrap();
        }
        let removed = Command::new("ssh-add").arg("-D").env("SSH_AUTH_SOCK", &relay.socket).output().unwrap();
        assert!(!removed.status.success(), "the keys stay");
        assert_eq!(ssh(&relay, "ssh-add", &["-l"]).lines().count(), kinds.len());
    }

    #[test]
    fn paths_are_one_socket_or_any_number_of_keys() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let keygen = |name: &str, passphrase: &str| {
            let mut command = Command::new("ssh-keygen");
            assert!(command.args(["-q", "-N", passphrase, "-f"]).arg(path(name)).status().unwrap().success());
        };
        keygen("key", "");
        keygen("locked", "secret");
        let _sockets = ["one", "two"].map(|name| UnixListener::bind(path(name)).unwrap());
        let refused = |names: &[&str]| {
            let error = SshAgent::open(&names.iter().map(|name| path(name)).collect::<Vec<_>>()).unwrap_err();
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause}").replace(&format!("{}/", dir.path().display()), "")
        };
        assert_eq!(refused(&["one", "two"]), "only single socket allowed");
        assert_eq!(refused(&["key", "one"]), "invalid combination of keys and sockets");
        assert_eq!(refused(&["none"]), "failed to open none: No such file or directory (os error 2)");
        let hint = "add it to an agent with `ssh-add`, and give the agent's socket";
        assert_eq!(
            refused(&["locked"]),
            format!("failed to parse locked: the private key is protected by a passphrase: {hint}")
        );
        let mut curve = Command::new("ssh-keygen");
        curve.args(["-q", "-N", "secret", "-t", "ecdsa", "-m", "PEM", "-f"]).arg(path("locked-curve"));
        assert!(curve.status().unwrap().success());
        assert_eq!(refused(&["locked-curve"]), refused(&["locked"]).replace("locked", "locked-curve"));
        assert!(refused(&["key.pub"]).starts_with("failed to parse key.pub: no private key found: expected"));
    }
}
