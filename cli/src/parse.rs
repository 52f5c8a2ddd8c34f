//! Values of the command line that are more than a word: `KEY=VALUE`, sizes, limits, secrets.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use engine::build::{ExtraHost, NetworkMode, Ulimit};
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
pub(crate) fn variables(texts: &[String]) -> BTreeMap<String, String> {
    texts
        .iter()
        .filter_map(|text| match text.split_once('=') {
            Some((key, value)) => Some((key.to_owned(), value.to_owned())),
            None => env::var(text).ok().map(|value| (text.clone(), value)),
        })
        .collect()
}

/// Parses `KEY=VALUE` lists.
pub(crate) fn pairs(texts: &[String], what: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if key.is_empty() {
            bail!("invalid {what} \"{text}\": expected KEY=VALUE");
        }
        Ok((key.to_owned(), value.to_owned()))
    };
    texts.iter().map(pair).collect()
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
        let address = address.trim_start_matches('[').trim_end_matches(']');
        let parsed: std::net::IpAddr =
            address.parse().map_err(|_| anyhow!("invalid IP address in add-host: \"{address}\""))?;
        Ok(ExtraHost { name: name.to_owned(), address: parsed.to_string() })
    };
    texts.iter().map(host).collect()
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

/// Parses `name=soft[:hard]`; -1 is unlimited.
pub(crate) fn ulimits(texts: &[String]) -> anyhow::Result<Vec<Ulimit>> {
    let limit = |text: &String| {
        let wrong = || anyhow!("invalid ulimit argument: {text}");
        let (name, limits) = text.split_once('=').ok_or_else(wrong)?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let number = |text: &str| match text {
            "-1" | "unlimited" => Ok(None),
            text => text.parse::<u64>().map(Some).map_err(|_| wrong()),
        };
        Ok(Ulimit { name: name.to_owned(), soft: number(soft)?, hard: number(hard)? })
    };
    texts.iter().map(limit).collect()
}

/// Reads the secrets of `--secret id=ID[,src=FILE|,env=VARIABLE]`.
pub(crate) fn secrets(texts: &[String]) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut secrets = BTreeMap::new();
    for text in texts {
        let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("src" | "source", value)) => file = Some(PathBuf::from(value)),
                Some(("env", value)) => variable = Some(value.to_owned()),
                Some(("type", value)) => kind = Some(value.to_owned()),
                Some((key, _)) => bail!("unexpected key '{key}' in '{part}'"),
                None => bail!("invalid field '{part}' must be a key=value pair"),
            }
        }
        let id = id.filter(|id| !id.is_empty()).ok_or_else(|| anyhow!("secret missing ID: \"{text}\""))?;
        let value = match (file, variable, kind.as_deref()) {
            (Some(file), None, Some("env")) => from_variable(&file.to_string_lossy())?,
            (Some(file), None, _) => {
                std::fs::read(&file).with_context(|| format!("failed to read secret {id} from `{}`", file.display()))?
            }
            (None, Some(variable), _) => from_variable(&variable)?,
            (None, None, Some("file")) => {
                std::fs::read(Path::new(&id)).with_context(|| format!("failed to read secret {id}"))?
            }
            (None, None, _) => from_variable(&id)?,
            (Some(_), Some(_), _) => bail!("secret \"{text}\" has both a file and a variable"),
        };
        secrets.insert(id, value);
    }
    Ok(secrets)
}

fn from_variable(name: &str) -> anyhow::Result<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt;
    let value = env::var_os(name).ok_or_else(|| anyhow!("secret variable `{name}` is not set"))?;
    Ok(value.into_vec())
}

/// Returns the sockets of `--ssh default` and `--ssh ID=SOCKET`.
pub(crate) fn ssh_agents(texts: &[String]) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let agent = |text: &String| {
        let (id, socket) = match text.split_once('=') {
            Some((id, path)) => (id.to_owned(), Some(PathBuf::from(path))),
            None => (text.clone(), None),
        };
        let socket = socket.or_else(|| env::var_os("SSH_AUTH_SOCK").map(PathBuf::from));
        let socket = socket.ok_or_else(|| anyhow!("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set"))?;
        Ok((if id.is_empty() { "default".to_owned() } else { id }, socket))
    };
    texts.iter().map(agent).collect()
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
    fn limits_have_a_soft_and_a_hard_value() {
        let limits = ulimits(&words(&["nofile=1:2", "core=-1"])).unwrap();
        assert_eq!((limits[0].soft, limits[0].hard), (Some(1), Some(2)));
        assert_eq!((limits[1].soft, limits[1].hard), (None, None));
        refused(ulimits(&words(&["nofile"])), "invalid ulimit argument: nofile");
    }

    #[test]
    fn hosts_have_addresses() {
        let hosts = hosts(&words(&["db:10.0.0.1", "six=[::1]", "v6:::1"])).unwrap();
        let shown: Vec<String> = hosts.iter().map(|host| format!("{} {}", host.name, host.address)).collect();
        assert_eq!(shown, ["db 10.0.0.1", "six ::1", "v6 ::1"]);
        refused(super::hosts(&words(&["db:x"])), "invalid IP address in add-host: \"x\"");
        refused(super::hosts(&words(&["db"])), "bad format for add-host: \"db\"");
    }

    #[test]
    fn secrets_come_from_files_and_variables() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s");
        std::fs::write(&file, "value").unwrap();
        let secrets = secrets(&[format!("id=a,src={}", file.display()), "id=p,env=PATH".to_owned()]).unwrap();
        assert_eq!(secrets["a"], b"value");
        assert!(!secrets["p"].is_empty());
        refused(super::secrets(&words(&["src=x"])), "secret missing ID: \"src=x\"");
        refused(super::secrets(&words(&["id=a,color=red"])), "unexpected key 'color' in 'color=red'");
    }

    #[test]
    fn names_are_refused_as_docker_refuses_them() {
        refused(references(&words(&["a:b:c"])), "invalid tag \"a:b:c\": invalid reference format: `a:b:c`");
        refused(network("moon"), "network mode \"moon\" not supported: expected default, none or host");
        refused(contexts(&words(&["a"])), "invalid context value: a, expected key=value");
    }
}
