//! The settings file, and how it becomes [`Settings`].
//!
//! ```toml
//! [registry."docker.io"]
//! mirrors = ["https://mirror.example", "http://10.0.0.1:5000"]   # asked in this order, before the registry itself
//!
//! [registry."registry.example:5000"]
//! http = true          # plain HTTP
//! insecure = true      # TLS without verification
//! ca = ["/etc/ssl/example.pem"]
//! keypair = [{ key = "client.key", cert = "client.pem" }]
//!
//! [worker.oci]
//! gc = true                # give room back after builds
//! reservedSpace = "10GB"   # the cache may always be so large
//! maxUsedSpace = "100GB"   # and no larger than that
//! minFreeSpace = "20%"     # so much of the disk is to stay free
//!
//! [[worker.oci.gcpolicy]]  # rules of one's own, in place of the default ones
//! filters = ["type==exec.cachemount"]
//! keepDuration = "48h"
//! maxUsedSpace = "1GB"
//! ```
//! The keys are those of `buildkitd.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use executor::Rung;
use oci::reference::DEFAULT_REGISTRY;
use registry::{
    ClientCertificate, Config, DockerConfig, DockerCredentials, Proxies, RegistryConfig, Scheme, Verification,
};
use serde::Deserialize;

use crate::Error;
use crate::disk::{Policy, PolicySection};

/// What the engine works with.
pub struct Settings {
    /// The directory of the store.
    pub root: PathBuf,
    /// How layers are mounted, if that is not to be found out.
    pub layers: Option<Rung>,
    /// Where commands write if the file system of the store cannot be written to by an overlay; `None` is in memory.
    pub work_root: Option<PathBuf>,
    /// How registries are reached.
    pub(crate) registry: Config,
    /// How many steps run at the same time, at most; `None` is by the number of processors.
    pub parallel_max: Option<NonZeroUsize>,
    /// When room is given back without being asked.
    pub(crate) policy: Policy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SettingsFile {
    registry: BTreeMap<String, RegistrySection>,
    worker: WorkerSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WorkerSection {
    oci: PolicySection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RegistrySection {
    mirrors: Vec<String>,
    http: Option<bool>,
    insecure: Option<bool>,
    ca: Vec<PathBuf>,
    keypair: Vec<KeyPair>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyPair {
    key: PathBuf,
    cert: PathBuf,
}

impl Settings {
    /// Returns the settings without any file: the store at `root`, registries as Docker reaches them.
    pub fn new(root: PathBuf) -> Self {
        let (registry, policy) = (Config::default(), Policy::default());
        Self { root, layers: None, work_root: None, registry, parallel_max: None, policy }
    }

    /// Takes over what a settings file says; a later file wins over an earlier one.
    pub fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
        let file: SettingsFile = toml::from_str(&text).map_err(settings_error(path))?;
        for (host, section) in file.registry {
            let config = self.registry.registries.entry(host).or_default();
            section.apply(config, path)?;
        }
        self.policy.apply(&file.worker.oci).map_err(settings_error(path))?;
        Ok(())
    }

    /// Takes over the logins of Docker's `config.json`.
    pub fn add_docker_config(&mut self, path: &Path) -> Result<(), Error> {
        let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
        let config = DockerConfig::parse(&text).map_err(settings_error(path))?;
        self.registry.credentials = Arc::new(DockerCredentials::new(config));
        Ok(())
    }

    /// Takes over the proxies that variables name.
    pub fn add_proxies(&mut self, variable: impl Fn(&str) -> Option<String>) {
        self.registry.proxies = Proxies::from_variables(variable);
    }

    /// Adds a mirror of Docker Hub, asked before those of files.
    pub fn add_mirror(&mut self, mirror: &str) -> Result<(), Error> {
        let parsed = mirror.parse().map_err(|error| Error::Run { reason: format!("{error}") })?;
        let config = self.registry.registries.entry(DEFAULT_REGISTRY.to_owned()).or_default();
        config.mirrors.insert(0, parsed);
        Ok(())
    }
}

impl RegistrySection {
    fn apply(self, config: &mut RegistryConfig, path: &Path) -> Result<(), Error> {
        if !self.mirrors.is_empty() {
            let mirrors = self.mirrors.iter().map(|mirror| mirror.parse().map_err(settings_error(path)));
            config.mirrors = mirrors.collect::<Result<_, Error>>()?;
        }
        if let Some(http) = self.http {
            config.scheme = Some(if http { Scheme::Http } else { Scheme::Https });
        }
        if let Some(insecure) = self.insecure {
            config.verification = Some(if insecure { Verification::Skip } else { Verification::Full });
        }
        for ca in &self.ca {
            config.ca_pem.push(read(ca)?);
        }
        if let Some(KeyPair { key, cert }) = self.keypair.first() {
            let (chain_pem, key_pem) = (read(cert)?, read(key)?);
            config.client_certificate = Some(ClientCertificate { chain_pem, key_pem });
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(Error::file("read", path))
}

fn settings_error<E: std::error::Error + Send + Sync + 'static>(path: &Path) -> impl FnOnce(E) -> Error {
    let path = path.to_owned();
    move |source| Error::Settings { path, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Settings, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, text).unwrap();
        let mut settings = Settings::new(PathBuf::from("/nowhere"));
        let added = settings.add_file(&path);
        added.map_err(|error| std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default())?;
        Ok(settings)
    }

    #[test]
    fn registries_have_mirrors_and_trust() {
        let text = "[registry.\"docker.io\"]\nmirrors = [\"http://a:5000\", \"b.example\"]\n[registry.\"c:1\"]\nhttp = true\ninsecure = true\n";
        let mut settings = load(text).unwrap();
        settings.add_mirror("first.example").unwrap();
        let hub = &settings.registry.registries["docker.io"];
        let expected = ["first.example", "http://a:5000", "b.example"].map(|mirror| mirror.parse().unwrap());
        assert_eq!(hub.mirrors, expected);
        let other = &settings.registry.registries["c:1"];
        assert_eq!((other.scheme, other.verification), (Some(Scheme::Http), Some(Verification::Skip)));
    }

    #[test]
    fn a_policy_that_is_none_is_refused() {
        let policy =
            |text: &str| load(&format!("[worker.oci]\n{text}\n")).map(|settings| settings.policy.rules(1000).len());
        assert_eq!(policy("gc = false"), Ok(0));
        assert_eq!(policy("maxUsedSpace = \"10GB\""), Ok(4));
        assert_eq!(policy("[[worker.oci.gcpolicy]]\nall = true\nkeepDuration = \"48h\"\nkeepBytes = 5"), Ok(1));
        assert!(policy("minFreeSpace = \"much\"").unwrap_err().starts_with("invalid size `much`"));
        assert!(
            policy("[[worker.oci.gcpolicy]]\nfilters = [\"colour=red\"]").unwrap_err().starts_with("invalid filter")
        );
    }

    #[test]
    fn a_misspelt_key_and_a_wrong_mirror_are_refused() {
        assert!(load("[registry.\"a\"]\nmirorrs = []\n").err().unwrap().contains("unknown field `mirorrs`"));
        assert!(
            load("[registry.\"a\"]\nmirrors = [\"ftp://x\"]\n").err().unwrap().contains("invalid mirror `ftp://x`")
        );
    }
}
