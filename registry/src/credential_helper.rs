//! Docker's credential helpers: programs named `docker-credential-NAME` that keep logins in a keychain or make them.
//!
//! The protocol: the argument is `get`, standard input is the server, and standard output is JSON with `Username` and `Secret`, or a message and a non-zero
//! exit code. A helper may ask the user something on the terminal, so there is no time limit.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use serde::Deserialize;

use crate::credentials::{CredentialError, Login};

/// The user name that marks the secret as an identity token.
const TOKEN_USERNAME: &str = "<token>";
/// What every helper says when it knows no login; helpers have no other way to tell this from a failure.
const NOT_FOUND: &str = "credentials not found in native keychain";
const MESSAGE_CHARS_MAX: usize = 300;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks the helper called `name` about `server` and waits for it; `path` stands in for the variable `PATH`.
pub(crate) fn run(name: &str, server: &str, path: Option<&OsStr>) -> Result<Option<Login>, CredentialError> {
    let program = format!("docker-credential-{name}");
    let mut command = Command::new(&program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(path) = path {
        command.env("PATH", path);
    }
    match converse(command, server) {
        Ok(output) => read(&program, server, &output),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Err(CredentialError::HelperMissing { program }),
        Err(err) => Err(CredentialError::HelperRun { program, source: Arc::new(err) }),
    }
}

fn converse(mut command: Command, server: &str) -> io::Result<Output> {
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that ends without reading tells more by its output than by the broken pipe.
        match stdin.write_all(server.as_bytes()) {
            Err(err) if err.kind() != io::ErrorKind::BrokenPipe => return Err(err),
            _ => {}
        }
    }
    child.wait_with_output()
}

fn read(program: &str, server: &str, output: &Output) -> Result<Option<Login>, CredentialError> {
    let (program, server) = (program.to_owned(), server.to_owned());
    if !output.status.success() {
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        if stdout.trim() == NOT_FOUND || stderr.trim() == NOT_FOUND {
            return Ok(None);
        }
        let said = if stdout.trim().is_empty() { stderr } else { stdout };
        let message = said.trim().chars().take(MESSAGE_CHARS_MAX).collect::<String>();
        let message = if message.is_empty() { output.status.to_string() } else { message };
        return Err(CredentialError::HelperFailed { program, server, message });
    }
    // The parser's own message could quote the secret, so it is left out.
    let Ok(answer) = serde_json::from_slice::<Answer>(&output.stdout) else {
        return Err(CredentialError::HelperAnswer { program, server });
    };
    Ok(match answer {
        Answer { username, secret } if username.is_empty() && secret.is_empty() => None,
        Answer { username, secret } if username == TOKEN_USERNAME => Some(Login::IdentityToken(secret)),
        Answer { username, secret } => Some(Login::Password { username, password: secret }),
    })
}
