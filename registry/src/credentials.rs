//! Who logs in where: the port through which the client asks for user names and tokens.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// What a user proves to be allowed with. Its debug form hides the secrets.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A name and a password, or an access token in a password's place.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// A token that the registry's token server turns into tokens for single repositories.
    IdentityToken(String),
    /// A token that is sent to the registry as it is.
    RegistryToken(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(out, "Password({username}, …)"),
            Self::IdentityToken(_) => out.write_str("IdentityToken(…)"),
            Self::RegistryToken(_) => out.write_str("RegistryToken(…)"),
        }
    }
}

/// What [`Credentials::find`] returns.
pub type LoginFuture<'a> = Pin<Box<dyn Future<Output = Result<Option<Login>, CredentialError>> + Send + 'a>>;

/// Where logins come from.
pub trait Credentials: Send + Sync {
    /// Returns the login for `host`, named as in references (`docker.io`, `localhost:5000`), or `None` where there is none.
    ///
    /// It is asked only after the host wanted to know, and once for each host and client. An error does not end the operation: it goes on without a
    /// login, and the error is the cause that is reported if the host then refuses.
    fn find<'a>(&'a self, host: &'a str) -> LoginFuture<'a>;
}

/// Knows no logins.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCredentials;

impl Credentials for NoCredentials {
    fn find<'a>(&'a self, _host: &'a str) -> LoginFuture<'a> {
        Box::pin(async { Ok(None) })
    }
}

/// Why a login could not be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CredentialError {
    /// The program is not there.
    #[error("credential helper `{program}` is not installed: executable file not found in $PATH")]
    HelperMissing {
        /// The program.
        program: String,
    },
    /// The program could not be run.
    #[error("cannot run credential helper `{program}`")]
    HelperRun {
        /// The program.
        program: String,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// The program said that it failed.
    #[error("credential helper `{program}` failed for `{server}`: {message}")]
    HelperFailed {
        /// The program.
        program: String,
        /// The server that it was asked about.
        server: String,
        /// What it wrote.
        message: String,
    },
    /// The program wrote something else than the protocol says.
    #[error("credential helper `{program}` gave an answer that is not a login for `{server}`")]
    HelperAnswer {
        /// The program.
        program: String,
        /// The server that it was asked about.
        server: String,
    },
}
