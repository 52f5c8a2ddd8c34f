//! Which hosts a reference means: its registry's mirrors in order, then the registry.
//!
//! **Invariant:** a pure function of the configuration and the reference.

use std::collections::BTreeMap;

use oci::Reference;
use oci::reference::DEFAULT_REGISTRY;
use url::Url;

use crate::config::{Config, RegistryConfig, Scheme, is_loopback};

/// Where Docker Hub really is.
pub(crate) const HUB_HOST: &str = "registry-1.docker.io";

/// A host that has a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Names the host's settings and logins: `docker.io`, `localhost:5000`.
    pub(crate) registry: String,
    /// Where the host is: host and port.
    pub(crate) host: String,
    pub(crate) scheme: Scheme,
    /// The path of the repository after `/v2/`.
    pub(crate) repository: String,
    /// The registry that this host mirrors.
    pub(crate) mirrored: Option<String>,
}

impl Endpoint {
    /// Returns the URL of something in the repository, such as `manifests/latest`.
    pub(crate) fn url(&self, scheme: &str, path: &str) -> Option<Url> {
        let mut url = Url::parse(&format!("{scheme}://{}/v2/{}/{path}", self.host, self.repository)).ok()?;
        if let Some(mirrored) = &self.mirrored {
            url.query_pairs_mut().append_pair("ns", mirrored);
        }
        Some(url)
    }
}

/// Returns the hosts to pull `reference` from, in order; the last one is the registry itself.
pub(crate) fn plan_pull(config: &Config, reference: &Reference) -> Vec<Endpoint> {
    let mirrors = config.registries.get(reference.registry()).map_or(&[][..], |settings| &settings.mirrors);
    let mirrors = mirrors.iter().map(|mirror| Endpoint {
        registry: mirror.host.clone(),
        host: real_host(&mirror.host).to_owned(),
        scheme: mirror.scheme.unwrap_or_else(|| scheme_of(config, &mirror.host)),
        repository: format!("{}/{}", mirror.path, reference.repository()).trim_start_matches('/').to_owned(),
        mirrored: Some(reference.registry().to_owned()),
    });
    mirrors.chain([plan_push(config, reference)]).collect()
}

/// Returns the host to push `reference` to: the registry itself.
pub(crate) fn plan_push(config: &Config, reference: &Reference) -> Endpoint {
    Endpoint {
        registry: reference.registry().to_owned(),
        host: real_host(reference.registry()).to_owned(),
        scheme: scheme_of(config, reference.registry()),
        repository: reference.repository().to_owned(),
        mirrored: None,
    }
}

fn real_host(host: &str) -> &str {
    if host == DEFAULT_REGISTRY { HUB_HOST } else { host }
}

fn scheme_of(config: &Config, host: &str) -> Scheme {
    let default = if is_loopback(host) { Scheme::HttpsThenHttp } else { Scheme::Https };
    config.registries.get(host).and_then(|settings: &RegistryConfig| settings.scheme).unwrap_or(default)
}

/// Returns the key under which the settings of the host at this address stand: with its port, or without where the port is the usual one.
pub(crate) fn settings_key<'a, T>(settings: &'a BTreeMap<String, T>, host: &str, port: u16) -> Option<&'a str> {
    let candidates = [format!("{host}:{port}"), host.to_owned()];
    let usual = port == 443 || port == 80;
    let hub = (host == HUB_HOST).then(|| DEFAULT_REGISTRY.to_owned());
    let candidates = candidates.into_iter().take(if usual { 2 } else { 1 }).chain(hub);
    candidates.into_iter().find_map(|key| settings.get_key_value(&key).map(|(key, _)| key.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn config(hosts: &[(&str, &[&str])]) -> Config {
        let mut config = Config::default();
        for (host, mirrors) in hosts {
            let mirrors = mirrors.iter().map(|text| text.parse().unwrap()).collect();
            config.registries.insert((*host).to_owned(), RegistryConfig { mirrors, ..RegistryConfig::default() });
        }
        config
    }

    #[track_caller]
    fn check(config: &Config, reference: &str, expected: Expect) {
        let reference: Reference = reference.parse().unwrap();
        let mut text = String::new();
        for endpoint in plan_pull(config, &reference) {
            let url = endpoint.url("scheme", "manifests/latest").unwrap();
            text += &format!("{:?} {url} as {}\n", endpoint.scheme, endpoint.registry);
        }
        expected.assert_eq(&text);
    }

    #[test]
    fn docker_hub_is_at_a_host_of_its_own() {
        check(
            &config(&[]),
            "alpine",
            expect![[r#"
            Https scheme://registry-1.docker.io/v2/library/alpine/manifests/latest as docker.io
        "#]],
        );
    }

    #[test]
    fn mirrors_come_first_and_are_told_whom_they_mirror() {
        let mirrors: &[&str] = &["http://10.0.0.1:5000", "harbor.example/hub", "localhost:5000"];
        check(
            &config(&[("docker.io", mirrors)]),
            "alpine",
            expect![[r#"
            Http scheme://10.0.0.1:5000/v2/library/alpine/manifests/latest?ns=docker.io as 10.0.0.1:5000
            Https scheme://harbor.example/v2/hub/library/alpine/manifests/latest?ns=docker.io as harbor.example
            HttpsThenHttp scheme://localhost:5000/v2/library/alpine/manifests/latest?ns=docker.io as localhost:5000
            Https scheme://registry-1.docker.io/v2/library/alpine/manifests/latest as docker.io
        "#]],
        );
    }

    #[test]
    fn a_mirror_serves_only_its_own_registry() {
        check(
            &config(&[("docker.io", &["a.example"])]),
            "ghcr.io/a/b",
            expect![[r#"
            Https scheme://ghcr.io/v2/a/b/manifests/latest as ghcr.io
        "#]],
        );
    }

    #[test]
    fn this_machine_may_speak_plain_http() {
        check(
            &config(&[]),
            "[::1]:5000/a",
            expect![[r#"
            HttpsThenHttp scheme://[::1]:5000/v2/a/manifests/latest as [::1]:5000
        "#]],
        );
        check(
            &config(&[]),
            "10.0.0.1:5000/a",
            expect![[r#"
            Https scheme://10.0.0.1:5000/v2/a/manifests/latest as 10.0.0.1:5000
        "#]],
        );
    }

    #[test]
    fn settings_are_found_with_and_without_the_usual_port() {
        let settings = BTreeMap::from([("a:443".to_owned(), ()), ("b".to_owned(), ()), ("docker.io".to_owned(), ())]);
        assert_eq!(settings_key(&settings, "a", 443), Some("a:443"));
        assert_eq!(settings_key(&settings, "b", 443), Some("b"));
        assert_eq!(settings_key(&settings, "b", 5000), None);
        assert_eq!(settings_key(&settings, "registry-1.docker.io", 443), Some("docker.io"));
    }
}
