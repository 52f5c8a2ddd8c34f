//! What lets git into repositories: tokens and headers among the secrets, and SSH agents. Nothing of it is ever an argument, which everybody on a machine can see.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use llb::SshMount;
use store::Store;

use crate::ssh::{Relay, SshAgent};
use crate::{ExecError, Secrets};

/// How git reaches hosts over SSH (ssh_config(5)). A host that the user's files know must have the key that they say; one that they do not know is believed, as by BuildKit, and
/// not written down: new keys go into the first of the files.
const SSH: &str = "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new \
    -o 'UserKnownHostsFile=/dev/null ~/.ssh/known_hosts ~/.ssh/known_hosts2' -o LogLevel=ERROR";

/// What git gets into repositories with.
#[derive(Default)]
pub(super) struct Auth {
    /// Settings of git, as names and values.
    settings: Vec<(String, String)>,
    agent: Option<PathBuf>,
    /// Answers at the agent's socket where the keys are ours.
    _relay: Option<Relay>,
}

impl Auth {
    /// Finds what `secrets` has for a repository.
    pub(super) fn find(secrets: &Secrets, remote: &str, store: &Store) -> Result<Self, ExecError> {
        let auth = Self::over_http(secrets, remote);
        // Submodules of a repository over HTTP may be elsewhere.
        let Some(agent) = secrets.agents.get("default").or_else(|| secrets.agents.values().next()) else {
            return Ok(auth);
        };
        if let SshAgent::Socket(socket) = &**agent {
            return Ok(Self { agent: Some(socket.clone()), ..auth });
        }
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let mount = SshMount { id: String::new(), required: false, mode: 0o600, uid, gid };
        let relay = Relay::start(&store.temporary_dir()?, Arc::clone(agent), &mount)?;
        Ok(Self { agent: Some(relay.socket.clone()), _relay: Some(relay), ..auth })
    }

    /// Finds what there is for the host of a repository: `GIT_AUTH_HEADER.<host>`, `GIT_AUTH_TOKEN.<host>`, and the same without a host.
    fn over_http(secrets: &Secrets, remote: &str) -> Self {
        let Some((origin, host)) = origin(remote) else { return Self::default() };
        let value = |name: &str| {
            let named = secrets.values.get(&format!("{name}.{host}")).or_else(|| secrets.values.get(name));
            named.map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned()).filter(|text| !text.is_empty())
        };
        let token = || {
            value("GIT_AUTH_TOKEN").map(|token| format!("basic {}", BASE64.encode(format!("x-access-token:{token}"))))
        };
        let header = value("GIT_AUTH_HEADER").or_else(token);
        let settings = header.map(|header| (format!("http.{origin}/.extraheader"), format!("Authorization: {header}")));
        Self { settings: settings.into_iter().collect(), ..Self::default() }
    }

    /// Prepares a command: nothing of this machine's settings, no questions, no waiting for ever.
    pub(super) fn apply(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("GIT_") && !text.starts_with("GIT_SSL_") && !text.starts_with("GIT_TRACE") {
                command.env_remove(name);
            }
        }
        let fixed = [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", "true"),
            ("GIT_SSH_COMMAND", SSH),
            ("LC_ALL", "C"),
        ];
        command.envs(fixed);
        if let Some(agent) = &self.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        let general = [
            ("advice.detachedHead", "false"),
            ("init.defaultBranch", "master"),
            ("http.lowSpeedLimit", "1"),
            ("http.lowSpeedTime", "60"),
            ("protocol.file.allow", "never"),
            ("core.fsmonitor", "false"),
        ];
        let settings: Vec<(&str, &str)> = general
            .into_iter()
            .chain(self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            .collect();
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (place, (name, value)) in settings.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{place}"), name).env(format!("GIT_CONFIG_VALUE_{place}"), value);
        }
    }
}

/// Returns `https://host:port` and `host` of an address over HTTP.
fn origin(remote: &str) -> Option<(String, &str)> {
    let (scheme, rest) = remote.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let authority = rest.split('/').next().unwrap_or_default();
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
    matches!(scheme.as_str(), "http" | "https").then(|| (format!("{scheme}://{place}"), host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(secrets: &[(&str, &str)], remote: &str) -> Option<String> {
        let values = secrets.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        let auth = Auth::over_http(&Secrets { values, ..Secrets::default() }, remote);
        auth.settings.first().map(|(name, value)| format!("{name} = {value}"))
    }

    #[test]
    fn a_secret_of_the_host_is_sent_to_that_host_only() {
        let remote = "https://user@git.example:8443/a/b.git";
        assert_eq!(header(&[], remote), None);
        assert_eq!(header(&[("GIT_AUTH_TOKEN", "t")], "ssh://git@host/x"), None);
        let expected = "http.https://git.example:8443/.extraheader = Authorization: basic eC1hY2Nlc3MtdG9rZW46dG9r";
        assert_eq!(header(&[("GIT_AUTH_TOKEN", "tok\n")], remote).as_deref(), Some(expected));
        let both = [("GIT_AUTH_TOKEN", "tok"), ("GIT_AUTH_HEADER.git.example", "bearer x")];
        let expected = "http.https://git.example:8443/.extraheader = Authorization: bearer x";
        assert_eq!(header(&both, remote).as_deref(), Some(expected));
        assert_eq!(header(&[("GIT_AUTH_TOKEN.other", "t")], remote), None);
    }
}
