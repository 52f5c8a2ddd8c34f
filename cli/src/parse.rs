//! Values of the command line that are more than a word: `KEY=VALUE`, sizes, limits, secrets.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use engine::build::{Entitlement, ExtraHost, HOST_GATEWAY, NetworkMode, SshAgent, StepLimits, csv_fields};
use oci::{Platform, Reference};

/// Parses names of images; the text of the error is Docker's.
pub(crate) fn references(names: &[String]) -> anyhow::Result<Vec<Reference>> {
    names.iter().map(|name| reference(name)).collect()
}

/// Parses the name of an image.
pub(crate) fn reference(name: &str) -> anyhow::Result<Reference> {
    name.parse().map_err(|error| anyhow!("invalid tag \"{name}\": {error}"))
}

/// Parses platforms; `local` is this machine's.
pub(crate) fn platforms(texts: &[String]) -> anyhow::Result<Vec<Platform>> {
    texts.iter().map(|text| platform(text)).collect()
}

/// Parses a platform.
pub(crate) fn platform(text: &str) -> anyhow::Result<Platform> {
    match text {
        "local" => Ok(Platform::host()),
        _ => text.parse().with_context(|| format!("invalid platform \"{text}\"")),
    }
}

/// Parses `KEY[=VALUE]` lists; a key alone has the environment's value, or is left out where that has none.
pub(crate) fn variables(texts: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    for text in texts {
        let (key, value) = pair(text)?;
        if let Some(value) = value.map(str::to_owned).or_else(|| env::var(key).ok()) {
            variables.insert(key.to_owned(), value);
        }
    }
    Ok(variables)
}

/// Parses `KEY[=VALUE]` lists; a key alone has an empty value.
pub(crate) fn pairs(texts: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let owned = |(key, value): (&str, Option<&str>)| (key.to_owned(), value.unwrap_or_default().to_owned());
    texts.iter().map(|text| pair(text).map(owned)).collect()
}

/// Parses `KEY[=VALUE]`; the text of the error is Docker's.
fn pair(text: &str) -> anyhow::Result<(&str, Option<&str>)> {
    let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
    if key.is_empty() {
        bail!("invalid key-value pair \"{text}\": empty key");
    }
    Ok((key, value))
}

/// Parses `NAME=VALUE` lists where both are needed.
pub(crate) fn contexts(texts: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let context = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_lowercase(), value.to_owned())),
        _ => Err(anyhow!("invalid context value: {text}, expected key=value")),
    };
    texts.iter().map(context).collect()
}

/// Parses `host:ip` and `host=ip`.
pub(crate) fn hosts(texts: &[String]) -> anyhow::Result<Vec<ExtraHost>> {
    let host = |text: &String| {
        let (name, address) = text
            .split_once('=')
            .or_else(|| text.split_once(':'))
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| anyhow!("bad format for add-host: \"{text}\""))?;
        if address == HOST_GATEWAY {
            return Ok(ExtraHost { name: name.to_owned(), address: address.to_owned() });
        }
        let address = address.trim_start_matches('[').trim_end_matches(']');
        let parsed: std::net::IpAddr =
            address.parse().map_err(|_| anyhow!("invalid IP address in add-host: \"{address}\""))?;
        Ok(ExtraHost { name: name.to_owned(), address: parsed.to_string() })
    };
    texts.iter().map(host).collect()
}

/// Parses what is allowed to steps.
pub(crate) fn entitlements(texts: &[String]) -> anyhow::Result<Vec<Entitlement>> {
    texts.iter().map(|text| Ok(text.parse()?)).collect()
}

/// Parses a network mode.
pub(crate) fn network(text: &str) -> anyhow::Result<NetworkMode> {
    match text {
        "default" | "" => Ok(NetworkMode::Default),
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        _ => bail!("network mode \"{text}\" not supported: expected default, none or host"),
    }
}

/// Parses the network mode of a container.
pub(crate) fn container_network(text: &str) -> anyhow::Result<NetworkMode> {
    match text {
        "bridge" | "default" | "" => Ok(NetworkMode::Default),
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        _ => bail!("network {text} not found: expected bridge, none or host"),
    }
}

/// Parses a size such as `64m`: a number and a unit of 1024s.
pub(crate) fn size_bytes(text: &str) -> anyhow::Result<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        unit => bail!("invalid size '{text}': unknown unit `{unit}`"),
    };
    let number: f64 = digits.trim().parse().map_err(|_| anyhow!("invalid size: '{text}'"))?;
    if !number.is_finite() || number < 0.0 {
        bail!("invalid size: '{text}'");
    }
    Ok((number * factor as f64) as u64)
}

/// Parses a span of time such as `24h`, as filters have it.
pub(crate) fn age(text: &str) -> anyhow::Result<Duration> {
    engine::disk::parse_duration(text)
        .ok_or_else(|| anyhow!("invalid filter 'until={text}': expected a span of time such as 24h"))
}

/// Parses how long a step may take, as Go writes spans of time, and how often it may be run again.
pub(crate) fn step_limits(timeout: Option<&str>, retries_max: u32) -> anyhow::Result<StepLimits> {
    let parse = |text: &str| {
        let time = engine::disk::parse_duration(text).filter(|time| !time.is_zero());
        time.ok_or_else(|| anyhow!("invalid step-timeout \"{text}\": expected a span of time such as 90s or 5m"))
    };
    Ok(StepLimits { timeout: timeout.map(parse).transpose()?, retries_max })
}

/// The largest secret, as BuildKit has it.
const SECRET_BYTES_MAX: u64 = 500 << 10;

/// Reads the secrets of `--secret [type=file|env,]id=ID[,src=FILE|,env=VARIABLE]`.
///
/// One without a source is the variable of its name, or else the file. One whose variable is not set is left out: only a step that needs it fails.
pub(crate) fn secrets(texts: &[String]) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut secrets = BTreeMap::new();
    for text in texts {
        let secret = SecretArg::parse(text)?;
        if let Some(value) = secret.read()? {
            secrets.insert(secret.id, value);
        }
    }
    Ok(secrets)
}

/// A secret of the command line.
#[derive(Default)]
struct SecretArg {
    id: String,
    file: Option<PathBuf>,
    variable: Option<String>,
}

impl SecretArg {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let (mut secret, mut is_variable) = (Self::default(), false);
        for field in &csv_fields(text).context("failed to parse csv secret")? {
            let (key, value) =
                field.split_once('=').ok_or_else(|| anyhow!("invalid field '{field}' must be a key=value pair"))?;
            match (key.to_lowercase().as_str(), value) {
                ("type", "file") => is_variable = false,
                ("type", "env") => is_variable = true,
                ("type", kind) => bail!("unsupported secret type \"{kind}\""),
                ("id", id) => id.clone_into(&mut secret.id),
                ("src" | "source", path) => secret.file = Some(PathBuf::from(path)),
                ("env", name) => secret.variable = Some(name.to_owned()),
                (key, _) => bail!("unexpected key '{key}' in '{field}'"),
            }
        }
        if secret.id.is_empty() {
            bail!("secret missing ID: \"{text}\"");
        }
        if is_variable && secret.variable.is_none() {
            secret.variable = secret.file.take().map(|name| name.to_string_lossy().into_owned());
        }
        if secret.file.is_some() && secret.variable.is_some() {
            bail!("secret \"{text}\" has both a file and a variable");
        }
        Ok(secret)
    }

    fn read(&self) -> anyhow::Result<Option<Vec<u8>>> {
        use std::os::unix::ffi::OsStringExt;
        let named = || env::var_os(&self.id).is_none().then(|| PathBuf::from(&self.id));
        let file = if self.variable.is_some() { None } else { self.file.clone().or_else(named) };
        let Some(file) = file else {
            return Ok(env::var_os(self.variable.as_ref().unwrap_or(&self.id)).map(OsStringExt::into_vec));
        };
        let failed = || format!("failed to read secret {} from `{}`", self.id, file.display());
        let size_bytes = std::fs::metadata(&file).with_context(failed)?.len();
        if size_bytes > SECRET_BYTES_MAX {
            bail!("secret {} too big. max size {}KB", self.id, SECRET_BYTES_MAX >> 10);
        }
        Ok(Some(std::fs::read(&file).with_context(failed)?))
    }
}

/// Opens the agents of `--ssh default` and `--ssh ID=SOCKET` or `--ssh ID=KEY[,KEY…]`.
pub(crate) fn ssh_agents(texts: &[String]) -> anyhow::Result<BTreeMap<String, Arc<SshAgent>>> {
    let mut agents = BTreeMap::new();
    for text in texts {
        let (id, paths) = text.split_once('=').unwrap_or((text, ""));
        let id = if id.is_empty() { "default" } else { id };
        let own = || env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty()).map(PathBuf::from);
        let paths: Vec<PathBuf> = match paths {
            "" => own().into_iter().collect(),
            paths => paths.split(',').map(PathBuf::from).collect(),
        };
        if paths.iter().all(|path| path.as_os_str().is_empty()) {
            bail!("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set");
        }
        let agent =
            SshAgent::open(&paths).with_context(|| format!("cannot use the keys or the agent of `--ssh {text}`"))?;
        if agents.insert(id.to_owned(), Arc::new(agent)).is_some() {
            bail!("invalid duplicate ID {id}");
        }
    }
    Ok(agents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[track_caller]
    fn refused<T: std::fmt::Debug>(result: anyhow::Result<T>, message: &str) {
        assert_eq!(result.unwrap_err().to_string(), message);
    }

    #[test]
    fn sizes_are_counted_in_1024s() {
        let sizes = ["64m", "1.5k", "10", "2GB", "1kib"].map(|text| size_bytes(text).unwrap());
        assert_eq!(sizes, [64 << 20, 1536, 10, 2 << 30, 1024]);
        refused(size_bytes("x"), "invalid size 'x': unknown unit `x`");
        refused(size_bytes("-1m"), "invalid size: '-1m'");
    }

    #[test]
    fn a_value_without_a_key_is_refused() {
        let found = pairs(&words(&["a=b=c", "d"])).unwrap();
        assert_eq!((found["a"].as_str(), found["d"].as_str()), ("b=c", ""));
        refused(pairs(&words(&["=x"])), "invalid key-value pair \"=x\": empty key");
        refused(variables(&words(&["=x"])), "invalid key-value pair \"=x\": empty key");
    }

    #[test]
    fn hosts_have_addresses() {
        let hosts = hosts(&words(&["db:10.0.0.1", "six=[::1]", "v6:::1", "up:host-gateway"])).unwrap();
        let shown: Vec<String> = hosts.iter().map(|host| format!("{} {}", host.name, host.address)).collect();
        assert_eq!(shown, ["db 10.0.0.1", "six ::1", "v6 ::1", "up host-gateway"]);
        refused(super::hosts(&words(&["db:x"])), "invalid IP address in add-host: \"x\"");
        refused(super::hosts(&words(&["db"])), "bad format for add-host: \"db\"");
    }

    #[test]
    fn secrets_come_from_files_and_variables() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s");
        std::fs::write(&file, "value").unwrap();
        let secrets = secrets(&[format!("id=a,src={}", file.display()), "ID=p,Env=PATH".to_owned()]).unwrap();
        assert_eq!(secrets["a"], b"value");
        assert!(!secrets["p"].is_empty());
        // Without a source it is the variable of its name, else the file; one whose variable is not set is left out.
        let named = file.display().to_string();
        let texts = [&format!("id={named}"), "id=PATH", "id=x,env=KILN_NOT_SET", "type=env,id=y,src=PATH"];
        let found = super::secrets(&words(&texts)).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), [&named, "PATH", "y"]);
        std::fs::write(dir.path().join("a,b"), "quoted").unwrap();
        let quoted = super::secrets(&[format!("id=q,\"src={}/a,b\"", dir.path().display())]).unwrap();
        assert_eq!(quoted["q"], b"quoted");
        refused(super::secrets(&words(&["id=a,\"src=x"])), "failed to parse csv secret");
        refused(super::secrets(&words(&["src=x"])), "secret missing ID: \"src=x\"");
        refused(super::secrets(&words(&["id=x,type=vault"])), "unsupported secret type \"vault\"");
        refused(super::secrets(&words(&["id=a,color=red"])), "unexpected key 'color' in 'color=red'");
    }

    #[test]
    fn names_are_refused_as_docker_refuses_them() {
        refused(references(&words(&["a:b:c"])), "invalid tag \"a:b:c\": invalid reference format: `a:b:c`");
        refused(network("moon"), "network mode \"moon\" not supported: expected default, none or host");
        refused(contexts(&words(&["a"])), "invalid context value: a, expected key=value");
    }
}
