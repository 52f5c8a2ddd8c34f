//! What stands behind an SSH socket of a step: an agent of the user's, or keys that are held here.
//!
//! **Invariant:** whoever is at the socket can list keys and have something signed, and nothing else: no key can be added, removed, locked or read.

mod der;
mod key;
mod keyring;
mod relay;
mod wire;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

pub use key::KeyError;
pub use keyring::Keyring;
pub(crate) use relay::Relay;

use keyring::{FAILURE, may_ask};
use wire::{read_message, write_message};

/// The largest file of a key, as BuildKit has it.
const KEY_FILE_BYTES_MAX: u64 = 100 << 10;

/// What stands behind an SSH socket of a step.
#[derive(Debug)]
pub enum SshAgent {
    /// An agent that listens at a socket of this machine.
    Socket(PathBuf),
    /// Keys that were read from files.
    Keys(Keyring),
}

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub enum SshAgentError {
    /// A path does not lead to a file or a socket that can be read.
    #[error("failed to open {}", path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not a key that can be used.
    #[error("failed to parse {}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// More than one socket.
    #[error("only single socket allowed")]
    ManySockets,
    /// A socket beside keys.
    #[error("invalid combination of keys and sockets")]
    KeysAndSocket,
}

impl SshAgent {
    /// Opens what is at `paths`: the socket of an agent, or files with private keys that no passphrase protects.
    pub fn open(paths: &[PathBuf]) -> Result<Self, SshAgentError> {
        let (mut sockets, mut keys) = (Vec::new(), Vec::new());
        for path in paths {
            if !sockets.is_empty() {
                return Err(SshAgentError::ManySockets);
            }
            let failed = |source| SshAgentError::Open { path: path.clone(), source };
            if fs::metadata(path).map_err(failed)?.file_type().is_socket() {
                sockets.push(path);
                continue;
            }
            let text = read(path).map_err(failed)?;
            keys.push(key::Key::parse(&text).map_err(|source| SshAgentError::Key { path: path.clone(), source })?);
        }
        match sockets.pop() {
            Some(_) if !keys.is_empty() => Err(SshAgentError::KeysAndSocket),
            Some(socket) => Ok(Self::Socket(socket.clone())),
            None => Ok(Self::Keys(Keyring::new(keys))),
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(KEY_FILE_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}
