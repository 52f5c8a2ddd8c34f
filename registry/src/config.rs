//! How the client is to behave: hosts, mirrors, trust, proxies, patience.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::credentials::{Credentials, NoCredentials};

/// Everything that a [`crate::Client`] has to know.
#[derive(Clone)]
pub struct Config {
    /// Settings by host, as references name it: `docker.io`, `ghcr.io`, `localhost:5000`. Mirrors, token servers and hosts that registries redirect to have
    /// entries of their own.
    pub registries: BTreeMap<String, RegistryConfig>,
    /// Who logs in where.
    pub credentials: Arc<dyn Credentials>,
    /// Proxies; hosts on the loopback interface are never asked through one.
    pub proxies: Proxies,
    /// Addresses of hosts that are not to be looked up in DNS; a port other than 0 stands in for the scheme's own. A host without addresses does not exist.
    pub addresses: BTreeMap<String, Vec<SocketAddr>>,
    /// What the program calls itself.
    pub user_agent: String,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// How often to try.
    pub retry: Retry,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            registries: BTreeMap::new(),
            credentials: Arc::new(NoCredentials),
            proxies: Proxies::default(),
            addresses: BTreeMap::new(),
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
            timeouts: Timeouts::default(),
            retry: Retry::default(),
        }
    }
}

/// Settings of one host.
#[derive(Clone, Debug, Default)]
pub struct RegistryConfig {
    /// Asked in this order before the registry itself; only for pulls.
    pub mirrors: Vec<Mirror>,
    /// How the host is spoken to; `None` is [`Scheme::Https`], and [`Scheme::HttpsThenHttp`] on the loopback interface.
    pub scheme: Option<Scheme>,
    /// Whether the host's certificate is checked; `None` is [`Verification::Full`], and [`Verification::Skip`] on the loopback interface unless
    /// [`Self::ca_pem`] is given.
    pub verification: Option<Verification>,
    /// Certificates in PEM to trust in addition to the system's: authorities, or the host's own.
    pub ca_pem: Vec<String>,
    /// What the client shows to a host that asks for a certificate.
    pub client_certificate: Option<ClientCertificate>,
    /// How long the pieces are in which a blob is uploaded; `None` uploads it in one piece, which every registry supports.
    pub upload_chunk_bytes: Option<u64>,
}

/// How a host is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Only with TLS.
    Https,
    /// Only without TLS.
    Http,
    /// With TLS, and without where the host does not speak it; found out once.
    HttpsThenHttp,
}

/// Whether a host's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The chain, the name and the dates.
    Full,
    /// Nothing is checked: anyone on the way can read and change what is sent.
    Skip,
}

/// A certificate chain and its key.
#[derive(Clone)]
pub struct ClientCertificate {
    /// The certificate and those that signed it, in PEM.
    pub chain_pem: String,
    /// The private key, in PEM.
    pub key_pem: String,
}

impl std::fmt::Debug for ClientCertificate {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ClientCertificate").field("chain_pem", &self.chain_pem).finish_non_exhaustive()
    }
}

/// A host that has copies of another registry's repositories: `[http[s]://]host[:port][/path]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    pub(crate) scheme: Option<Scheme>,
    pub(crate) host: String,
    /// What stands between `/v2` and the repository: empty, or `/` and a path.
    pub(crate) path: String,
}

/// Why a text is not a mirror.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid mirror `{text}`: expected `[https://]host[:port][/path]`")]
pub struct MirrorParseError {
    text: String,
}

impl FromStr for Mirror {
    type Err = MirrorParseError;

    fn from_str(text: &str) -> Result<Self, MirrorParseError> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("https", rest)) => (Some(Scheme::Https), rest),
            Some(("http", rest)) => (Some(Scheme::Http), rest),
            Some(_) => return Err(MirrorParseError { text: text.to_owned() }),
            None => (None, text),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        // `/v2` is what every path of a registry begins with; users copy it from other programs' files.
        let path = path.trim_end_matches('/');
        let path = path.strip_prefix("v2").filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(path);
        let path = path.trim_start_matches('/');
        // Whatever a reference accepts as a registry and a repository is a host and a path here; `x` stands in for what a mirror may lack.
        let probe = if path.is_empty() { format!("{host}/x") } else { format!("{host}/{path}") };
        let named = probe.parse::<oci::Reference>().is_ok_and(|it| it.registry() == host || !host.contains(['.', ':']));
        if host.is_empty() || !named || path.contains([':', '@']) {
            return Err(MirrorParseError { text: text.to_owned() });
        }
        let path = if path.is_empty() { String::new() } else { format!("/{path}") };
        Ok(Self { scheme, host: host.to_owned(), path })
    }
}

/// The proxies that requests go through, as URLs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http://`.
    pub http: Option<String>,
    /// For `https://`.
    pub https: Option<String>,
    /// Hosts, domains, addresses and networks that are asked directly, separated by commas.
    pub except: Option<String>,
}

impl Proxies {
    /// Picks the usual variables, in upper case first: `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Self {
        let find = |upper: &str, lower: &str| get(upper).or_else(|| get(lower)).filter(|value| !value.is_empty());
        Self {
            http: find("HTTP_PROXY", "http_proxy"),
            https: find("HTTPS_PROXY", "https_proxy"),
            except: find("NO_PROXY", "no_proxy"),
        }
    }
}

/// How long to wait before an attempt counts as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection: name lookup, TCP, proxy and TLS together.
    pub connect: Duration,
    /// For the first byte of an answer, and from one piece of it to the next; while uploading, from one piece that was taken to the next.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(15), idle: Duration::from_secs(60) }
    }
}

/// How often to try, and how long to wait in between.
///
/// Only what may pass by itself is tried again: answers 429 and 5xx, timeouts, broken connections. While another host is left, that one is asked instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How many attempts there are in all; 1 never tries again.
    pub attempts_max: u32,
    /// Before the second attempt; twice as long before each one after it.
    pub delay_first: Duration,
    /// No wait of our own choice is longer than this.
    pub delay_max: Duration,
    /// A host that asks to be left alone for longer than this is not waited for.
    pub retry_after_max: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            delay_first: Duration::from_millis(500),
            delay_max: Duration::from_secs(8),
            retry_after_max: Duration::from_secs(60),
        }
    }
}

impl Retry {
    /// Returns how long to wait after the attempt with number `attempt` (from 1) failed, or `None` where to give up.
    ///
    /// `asked` is the wait that the host asked for.
    pub fn delay_after(&self, attempt: u32, asked: Option<Duration>) -> Option<Duration> {
        if attempt >= self.attempts_max || asked.is_some_and(|asked| asked > self.retry_after_max) {
            return None;
        }
        let doubled = self.delay_first.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1)));
        Some(asked.unwrap_or(doubled.min(self.delay_max)))
    }
}

/// Tells whether `host` (with or without a port) is this machine: `localhost`, a name below it, or an address of the loopback interface.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = without_port(host);
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, _)) if !name.contains(':') || name.ends_with(']') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_a_host_with_an_optional_scheme_and_path() {
        let mirror = |text: &str| {
            let mirror: Mirror = text.parse().ok()?;
            Some(format!("{:?} {} {}", mirror.scheme, mirror.host, mirror.path))
        };
        assert_eq!(mirror("mirror.example"), Some("None mirror.example ".into()));
        assert_eq!(mirror("https://mirror.gcr.io/"), Some("Some(Https) mirror.gcr.io ".into()));
        assert_eq!(mirror("http://10.0.0.1:5000/v2/"), Some("Some(Http) 10.0.0.1:5000 ".into()));
        assert_eq!(mirror("harbor.example/proxy/docker.io"), Some("None harbor.example /proxy/docker.io".into()));
        assert_eq!(mirror("https://h.example/v2/hub"), Some("Some(Https) h.example /hub".into()));
        assert_eq!(mirror("mirror"), Some("None mirror ".into()));
        assert_eq!(mirror("mirror:5000/hub"), Some("None mirror:5000 /hub".into()));
        for wrong in ["", "ftp://a", "https://", "a b", "a?b", "user@a.example", "a.example/x:y", "https:///x", "a:b"] {
            assert_eq!(mirror(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn waits_double_up_to_a_limit_and_follow_what_the_host_asks() {
        let retry = Retry::default();
        let millis = |attempt, asked: Option<u64>| {
            retry.delay_after(attempt, asked.map(Duration::from_secs)).map(|delay| delay.as_millis())
        };
        let expected = [Some(500), Some(1000), Some(2000), Some(4000), None];
        assert_eq!([1, 2, 3, 4, 5].map(|attempt| millis(attempt, None)), expected);
        assert_eq!(millis(1, Some(7)), Some(7000));
        assert_eq!(millis(1, Some(0)), Some(0));
        assert_eq!(millis(1, Some(3600)), None);
    }

    #[test]
    fn loopback_is_known_by_name_and_by_address() {
        for host in
            ["localhost", "localhost:5000", "a.localhost", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "[::1]", "::1"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["docker.io", "10.0.0.1:5000", "localhost.example", "[fe80::1]:5000", "128.0.0.1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn proxies_come_from_the_usual_variables() {
        let get = |name: &str| match name {
            "HTTP_PROXY" => Some("http://upper".to_owned()),
            "http_proxy" => Some("http://lower".to_owned()),
            "https_proxy" => Some("http://secure".to_owned()),
            "NO_PROXY" => Some(String::new()),
            _ => None,
        };
        let expected = Proxies { http: Some("http://upper".into()), https: Some("http://secure".into()), except: None };
        assert_eq!(Proxies::from_variables(get), expected);
    }
}
