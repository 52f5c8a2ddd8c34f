//! What `RUN --mount` says: its fields, its types, and which of them go together.

use std::borrow::Cow;
use std::str::FromStr;

use llb::CacheSharing;

use crate::go;
use crate::instruction::csv_fields;
use crate::suggest;

use super::error::{Fault, LowerProblem};

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "required",
    "size",
    "id",
    "sharing",
    "mode",
    "uid",
    "gid",
    "env",
];
/// Keys that can stand alone.
const FLAGS: [&str; 5] = ["readonly", "ro", "readwrite", "rw", "required"];

/// What kind of mount it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum MountType {
    #[default]
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

impl MountType {
    const ALL: [(&str, Self); 5] = [
        ("bind", Self::Bind),
        ("cache", Self::Cache),
        ("tmpfs", Self::Tmpfs),
        ("secret", Self::Secret),
        ("ssh", Self::Ssh),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

/// What a mount says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MountFields {
    pub(super) kind: MountType,
    pub(super) from: String,
    pub(super) source: String,
    pub(super) target: String,
    pub(super) id: String,
    pub(super) readonly: bool,
    pub(super) required: bool,
    pub(super) size_bytes: Option<u64>,
    pub(super) sharing: Option<CacheSharing>,
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) env: Option<String>,
}

impl MountFields {
    /// Parses the value of `--mount`; `expand` substitutes the variables of a field's value.
    pub(super) fn parse(text: &str, mut expand: impl FnMut(&str) -> Result<String, Fault>) -> Result<Self, Fault> {
        let fields = csv_fields(text).map_err(LowerProblem::MountCsv)?;
        let mut mount = Self::default();
        let mut readonly = None;
        for field in &fields {
            let (key, value) = field.split_once('=').map_or((&**field, None), |(key, value)| (key, Some(value)));
            let key = lowercase(key);
            let value = match value {
                // What names another stage was looked up before variables had values.
                Some(value) if key == "from" => value.to_owned(),
                Some(value) => expand(value)?,
                None if FLAGS.contains(&&*key) => "true".to_owned(),
                None => return Err(problem(format!("invalid field '{field}' must be a key=value pair"))),
            };
            mount.set(field, &key, value, &mut readonly)?;
        }
        mount.check()?;
        mount.readonly = readonly.unwrap_or(!matches!(mount.kind, MountType::Cache | MountType::Tmpfs));
        Ok(mount)
    }

    fn set(&mut self, field: &str, key: &str, value: String, readonly: &mut Option<bool>) -> Result<(), Fault> {
        let wrong_type = || problem(format!("unexpected key '{key}' for mount type '{}'", self.kind.name()));
        let wrong_value = || problem(format!("invalid value for {key}: {value}"));
        let truth = || go::parse_bool(&value).ok_or_else(wrong_value);
        match key {
            "type" => self.kind = value.parse()?,
            "from" => self.from = value,
            "source" | "src" => self.source = value,
            "target" | "dst" | "destination" => self.target = value,
            "readonly" | "ro" => *readonly = Some(truth()?),
            "readwrite" | "rw" => *readonly = Some(!truth()?),
            "required" if !matches!(self.kind, MountType::Secret | MountType::Ssh) => return Err(wrong_type()),
            "required" => self.required = truth()?,
            "size" if self.kind != MountType::Tmpfs => return Err(wrong_type()),
            "size" => self.size_bytes = Some(parse_size(&value).ok_or_else(wrong_value)?),
            "id" => self.id = value,
            "sharing" => self.sharing = Some(parse_sharing(&value)?),
            "mode" => self.mode = Some(number(key, &value, 8)?),
            "uid" => self.uid = Some(number(key, &value, 10)?),
            "gid" => self.gid = Some(number(key, &value, 10)?),
            "env" => self.env = Some(value),
            _ => {
                let suggestion = suggest::did_you_mean(key, KEYS);
                return Err(problem(format!("unexpected key '{key}' in '{field}'{suggestion}")));
            }
        }
        Ok(())
    }

    /// Refuses what does not go together.
    fn check(&self) -> Result<(), Fault> {
        let kind = self.kind.name();
        if matches!(self.kind, MountType::Bind | MountType::Tmpfs) {
            let attributes = [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)];
            if let Some((name, _)) = attributes.into_iter().find(|(_, value)| value.is_some()) {
                return Err(problem(format!("{name} not allowed for {} type mounts", go::quote(kind))));
            }
        }
        if self.kind == MountType::Secret {
            if !self.from.is_empty() {
                return Err(problem("secret mount should not have a from".to_owned()));
            }
            if self.sharing.is_some() {
                return Err(problem("secret mount should not define sharing".to_owned()));
            }
            if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() {
                return Err(problem("invalid secret mount. one of source, target required".to_owned()));
            }
            if !self.source.is_empty() && !self.id.is_empty() {
                return Err(problem("both source and id can't be set".to_owned()));
            }
        }
        if self.sharing.is_some() && self.kind != MountType::Cache {
            return Err(problem(format!("invalid cache sharing set for {kind} mount")));
        }
        if self.kind == MountType::Ssh && !self.source.is_empty() {
            return Err(problem("ssh does not support source".to_owned()));
        }
        Ok(())
    }
}

impl FromStr for MountType {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let lower = lowercase(text);
        let names = Self::ALL.map(|(name, _)| name);
        let unknown =
            || problem(format!("unsupported mount type {}{}", go::quote(text), suggest::did_you_mean(&lower, names)));
        Self::ALL.into_iter().find(|(name, _)| *name == lower).map(|(_, kind)| kind).ok_or_else(unknown)
    }
}

fn lowercase(text: &str) -> Cow<'_, str> {
    let is_lower = text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_lower { Cow::Borrowed(text) } else { Cow::Owned(text.to_lowercase()) }
}

fn parse_sharing(text: &str) -> Result<CacheSharing, Fault> {
    match &*lowercase(text) {
        "shared" => Ok(CacheSharing::Shared),
        "private" => Ok(CacheSharing::Private),
        "locked" => Ok(CacheSharing::Locked),
        lower => {
            let suggestion = suggest::did_you_mean(lower, ["shared", "private", "locked"]);
            Err(problem(format!("unsupported sharing value {}{suggestion}", go::quote(text))))
        }
    }
}

fn number(key: &str, value: &str, radix: u32) -> Result<u32, Fault> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = digits.then(|| u32::from_str_radix(value, radix).ok()).flatten();
    parsed.ok_or_else(|| problem(format!("invalid value {value} for {key}")))
}

/// Parses a number of bytes with one of Docker's units: `64m`, `1.5GiB`, `100`. A unit is a power of 1024.
fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    let bytes = number * f64::from(1u32 << (shift / 2)) * f64::from(1u32 << (shift / 2));
    (bytes < 9e18).then_some(bytes as u64)
}

fn problem(message: String) -> Fault {
    LowerProblem::Mount { message }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let error = MountFields::parse(text, |value| Ok(value.to_owned())).unwrap_err();
        assert_eq!(error.problem.to_string(), expected);
    }

    fn parse(text: &str) -> MountFields {
        MountFields::parse(text, |value| Ok(value.replace("$X", "x"))).unwrap()
    }

    #[test]
    fn a_mount_is_a_list_of_fields_whose_values_are_expanded() {
        let bind = parse("target=/$X,from=$X,Source=a");
        assert_eq!(
            (bind.target.as_str(), bind.from.as_str(), bind.source.as_str(), bind.readonly),
            ("/x", "$X", "a", true)
        );
        let cache = parse("type=Cache,dst=/c,sharing=LOCKED,mode=0700,uid=1,gid=2,id=i,ro");
        assert_eq!(
            (cache.kind, cache.sharing, cache.mode, cache.readonly),
            (MountType::Cache, Some(CacheSharing::Locked), Some(0o700), true)
        );
        assert_eq!(parse("type=tmpfs,target=/t,size=1.5k").size_bytes, Some(1536));
        assert!(!parse("type=tmpfs,target=/t").readonly);
        assert!(!parse("rw,target=/t").readonly);
        assert!(parse("type=secret,id=a,required").required);
        assert_eq!(
            ["100", "2G", "1 mib", "1x", "", "1e"].map(parse_size),
            [Some(100), Some(2 << 30), Some(1 << 20), None, None, None]
        );
    }

    // spec 88
    #[test]
    fn a_wrong_mount_is_refused_with_the_words_of_docker() {
        refused("type=bnd", "unsupported mount type \"bnd\" (did you mean bind?)");
        refused("type=bind,sharing=locked,target=/a", "invalid cache sharing set for bind mount");
        refused("mode=0755,target=/a", "mode not allowed for \"bind\" type mounts");
        refused("type=tmpfs,uid=1", "uid not allowed for \"tmpfs\" type mounts");
        refused("targt=/a", "unexpected key 'targt' in 'targt=/a' (did you mean target?)");
        refused("foo", "invalid field 'foo' must be a key=value pair");
        refused("type=cache,sharing=lock", "unsupported sharing value \"lock\" (did you mean locked?)");
        refused("type=cache,mode=9", "invalid value 9 for mode");
        refused("type=bind,required", "unexpected key 'required' for mount type 'bind'");
        refused("type=bind,size=1", "unexpected key 'size' for mount type 'bind'");
        refused("type=tmpfs,size=x", "invalid value for size: x");
        refused("ro=maybe", "invalid value for ro: maybe");
        refused("type=secret,from=a,id=b", "secret mount should not have a from");
        refused("type=secret", "invalid secret mount. one of source, target required");
        refused("type=secret,id=a,src=b", "both source and id can't be set");
        refused("type=secret,id=a,sharing=shared", "secret mount should not define sharing");
        refused("type=ssh,source=a", "ssh does not support source");
    }
}
