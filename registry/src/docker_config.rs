//! Docker's `config.json`, as far as it says who logs in where.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::credential_helper;
use crate::credentials::{Credentials, Login, LoginFuture};

/// The key under which Docker keeps the login for Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// The logins of a `config.json`: stored in it, or left to a helper.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DockerConfig {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Entry(…)")
    }
}

/// Why a text is not a `config.json`.
#[derive(Debug, thiserror::Error)]
pub enum DockerConfigError {
    /// The text is not JSON of the right shape.
    #[error("cannot parse the Docker config: it is not the JSON that `docker login` writes")]
    Json {
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// A login is not the base64 of `name:password`.
    #[error("invalid login for `{server}` in the Docker config: expected `auth` to be the base64 of `name:password`")]
    Auth {
        /// The key of the login.
        server: String,
    },
}

/// Where the login for a host is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoginSource<'a> {
    /// The helper to ask first.
    helper: Option<&'a str>,
    /// What the helper is asked about.
    server: String,
    /// What the file itself has.
    stored: Option<Login>,
}

impl DockerConfig {
    /// Parses the text of a `config.json`; an empty text has no logins.
    pub fn parse(text: &str) -> Result<Self, DockerConfigError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let config: Self = serde_json::from_str(text).map_err(|source| DockerConfigError::Json { source })?;
        for (server, entry) in &config.auths {
            entry.login().map_err(|()| DockerConfigError::Auth { server: server.clone() })?;
        }
        Ok(config)
    }

    /// Returns where the login for `host` is kept. Docker Hub is known by any of the names that Docker writes for it.
    pub(crate) fn source(&self, host: &str) -> LoginSource<'_> {
        let server = if is_hub(host) { HUB_KEY } else { host };
        let matches = |key: &str| key == server || (bare_host(key) == host) || (is_hub(host) && is_hub(bare_host(key)));
        let own = self.cred_helpers.iter().find(|(key, _)| matches(key)).map(|(_, helper)| helper.as_str());
        let stored = self.auths.get(server).or_else(|| {
            let mut others = self.auths.iter().filter(|(key, _)| matches(key));
            others.next().map(|(_, entry)| entry)
        });
        let helper = own.or(self.creds_store.as_deref()).filter(|helper| !helper.is_empty());
        let stored = stored.and_then(|entry| entry.login().ok().flatten());
        LoginSource { helper, server: server.to_owned(), stored }
    }
}

impl Entry {
    fn login(&self) -> Result<Option<Login>, ()> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Login::IdentityToken(self.identitytoken.clone())));
        }
        if !self.registrytoken.is_empty() {
            return Ok(Some(Login::RegistryToken(self.registrytoken.clone())));
        }
        if self.auth.is_empty() {
            let (username, password) = (self.username.clone(), self.password.clone());
            return Ok((!username.is_empty()).then_some(Login::Password { username, password }));
        }
        let bytes = STANDARD.decode(self.auth.trim()).map_err(|_| ())?;
        let text = String::from_utf8(bytes).map_err(|_| ())?;
        let (username, password) = text.split_once(':').ok_or(())?;
        // Old Docker clients padded the password with zeros.
        let password = password.trim_matches('\0').to_owned();
        Ok(Some(Login::Password { username: username.to_owned(), password }))
    }
}

fn is_hub(host: &str) -> bool {
    matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

/// Cuts scheme and path off: keys are hosts today, and were URLs once.
fn bare_host(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    rest.split('/').next().unwrap_or(rest)
}

/// The logins of a [`DockerConfig`], with helpers run as Docker runs them.
#[derive(Clone, Debug, Default)]
pub struct DockerCredentials {
    /// The file.
    pub config: Arc<DockerConfig>,
    /// Where helpers are looked up; `None` is the process's own `PATH`.
    pub path: Option<OsString>,
}

impl DockerCredentials {
    /// Takes logins from `config` and looks helpers up in `PATH`.
    pub fn new(config: DockerConfig) -> Self {
        Self { config: Arc::new(config), path: None }
    }
}

impl Credentials for DockerCredentials {
    fn find<'a>(&'a self, host: &'a str) -> LoginFuture<'a> {
        Box::pin(async move {
            let LoginSource { helper, server, stored } = self.config.source(host);
            let Some(helper) = helper else { return Ok(stored) };
            let (helper, path) = (helper.to_owned(), self.path.clone());
            let asked = move || credential_helper::run(&helper, &server, path.as_deref());
            let found = match tokio::task::spawn_blocking(asked).await {
                Ok(found) => found?,
                Err(err) if err.is_panic() => std::panic::resume_unwind(err.into_panic()),
                // The runtime is shutting down: nobody waits for the answer.
                Err(_) => None,
            };
            Ok(found.or(stored))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, host: &str, expected: &str) {
        let config = DockerConfig::parse(text).unwrap();
        let LoginSource { helper, server, stored } = config.source(host);
        assert_eq!(format!("{helper:?} {server} {}", show(stored)), expected);
    }

    fn show(login: Option<Login>) -> String {
        match login {
            Some(Login::Password { username, password }) => format!("{username}/{password}"),
            Some(Login::IdentityToken(token)) => format!("identity {token}"),
            Some(Login::RegistryToken(token)) => format!("bearer {token}"),
            None => "-".to_owned(),
        }
    }

    #[test]
    fn a_stored_login_is_found_by_host_and_by_old_urls() {
        let text = r#"{"auths": {"ghcr.io": {"auth": "YWxpY2U6czpjcmV0"}, "https://reg.example:5000/v2/": {"username": "u", "password": "p"}}}"#;
        check(text, "ghcr.io", "None ghcr.io alice/s:cret");
        check(text, "reg.example:5000", "None reg.example:5000 u/p");
        check(text, "reg.example", "None reg.example -");
        check("", "ghcr.io", "None ghcr.io -");
        check(r#"{"auths": {"ghcr.io": {}}, "proxies": {}, "HttpHeaders": {}}"#, "ghcr.io", "None ghcr.io -");
    }

    #[test]
    fn docker_hub_has_one_key_under_many_names() {
        for key in ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io"] {
            let text = format!(r#"{{"auths": {{"{key}": {{"auth": "YTpi"}}}}}}"#);
            check(&text, "docker.io", "None https://index.docker.io/v1/ a/b");
        }
    }

    #[test]
    fn tokens_come_before_passwords() {
        check(r#"{"auths": {"a.io": {"auth": "YTpi", "identitytoken": "t"}}}"#, "a.io", "None a.io identity t");
        check(r#"{"auths": {"a.io": {"registrytoken": "t"}}}"#, "a.io", "None a.io bearer t");
    }

    #[test]
    fn a_helper_of_the_host_comes_before_the_store_of_all() {
        let text =
            r#"{"credsStore": "pass", "credHelpers": {"gcr.io": "gcloud"}, "auths": {"a.io": {"auth": "YTpi"}}}"#;
        check(text, "gcr.io", r#"Some("gcloud") gcr.io -"#);
        check(text, "a.io", r#"Some("pass") a.io a/b"#);
        check(text, "docker.io", r#"Some("pass") https://index.docker.io/v1/ -"#);
        check(r#"{"credsStore": ""}"#, "a.io", "None a.io -");
    }

    #[test]
    fn wrong_files_are_refused_and_secrets_are_not_shown() {
        let refused = |text: &str| DockerConfig::parse(text).unwrap_err().to_string();
        assert_eq!(refused("{"), "cannot parse the Docker config: it is not the JSON that `docker login` writes");
        let expected =
            "invalid login for `a.io` in the Docker config: expected `auth` to be the base64 of `name:password`";
        assert_eq!(refused(r#"{"auths": {"a.io": {"auth": "!"}}}"#), expected);
        assert_eq!(refused(r#"{"auths": {"a.io": {"auth": "YQ=="}}}"#), expected);
        let config = DockerConfig::parse(r#"{"auths": {"a.io": {"auth": "YTpi"}}}"#).unwrap();
        assert!(!format!("{config:?}").contains("YTpi"));
        let login = Login::Password { username: "a".into(), password: "secret".into() };
        assert_eq!(format!("{login:?}"), "Password(a, …)");
    }
}
