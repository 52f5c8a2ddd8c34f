//! The policy by which room is given back after builds: rules that are carried out one after the other.
//!
//! The defaults are BuildKit's: what is easily made again goes first, then what was not used for long, then whatever is above the caps.

use std::time::Duration;

use serde::Deserialize;

use super::filter::{Filter, FilterError, parse_duration};
use super::prune::{CachePrune, Limits};

/// How large things are by default: the smaller one of a share of the disk and a size.
const RESERVED_PERCENT: u64 = 10;
const RESERVED_BYTES: u64 = 10_000_000_000;
const USED_PERCENT_MAX: u64 = 80;
const USED_BYTES_MAX: u64 = 100_000_000_000;
const FREE_PERCENT_MIN: u64 = 20;
/// What is easily made again stays so long, up to so much.
const EASY_AGE: Duration = Duration::from_secs(48 * 3600);
const EASY_BYTES: u64 = 512_000_000;
/// What was not used for so long goes first.
const UNUSED_AGE: Duration = Duration::from_secs(60 * 24 * 3600);

/// An amount of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    /// In bytes.
    Bytes(u64),
    /// As a share of the disk.
    Percent(u64),
}

impl Space {
    /// Parses `10GB`, `512MiB`, `1000` (bytes) and `30%`, as `buildkitd.toml` has them.
    fn parse(text: &str) -> Option<Self> {
        if let Some(percent) = text.strip_suffix('%') {
            return percent.trim().parse().ok().filter(|percent| *percent <= 100).map(Self::Percent);
        }
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
        let unit = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1_u64,
            "kb" | "k" => 1000,
            "mb" | "m" => 1_000_000,
            "gb" | "g" => 1_000_000_000,
            "tb" | "t" => 1_000_000_000_000,
            "kib" => 1 << 10,
            "mib" => 1 << 20,
            "gib" => 1 << 30,
            "tib" => 1 << 40,
            _ => return None,
        };
        let number: f64 = digits.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)?;
        Some(Self::Bytes((number * unit as f64) as u64))
    }

    fn bytes(self, disk_bytes: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => (u128::from(disk_bytes) * u128::from(percent) / 100) as u64,
        }
    }
}

/// When and how room is given back without being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    is_enabled: bool,
    caps: Caps,
    /// In place of the default rules.
    rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Caps {
    reserved: Option<Space>,
    used_max: Option<Space>,
    free_min: Option<Space>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    all: bool,
    filters: Vec<String>,
    unused_for: Option<Duration>,
    caps: Caps,
}

impl Default for Policy {
    fn default() -> Self {
        Self { is_enabled: true, caps: Caps::default(), rules: Vec::new() }
    }
}

/// The section `[worker.oci]` of a settings file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct PolicySection {
    gc: Option<bool>,
    reserved_space: Option<SpaceText>,
    max_used_space: Option<SpaceText>,
    min_free_space: Option<SpaceText>,
    gcpolicy: Vec<RuleSection>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct RuleSection {
    all: bool,
    filters: Vec<String>,
    keep_duration: Option<AgeText>,
    reserved_space: Option<SpaceText>,
    max_used_space: Option<SpaceText>,
    min_free_space: Option<SpaceText>,
    /// An older name of `reservedSpace`.
    keep_bytes: Option<SpaceText>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum SpaceText {
    Bytes(u64),
    Text(String),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum AgeText {
    Seconds(u64),
    Text(String),
}

/// Why a policy is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is no amount of room.
    #[error("invalid size `{text}`: expected bytes, a size such as `10GB`, or a share such as `20%`")]
    Space {
        /// What was written.
        text: String,
    },
    /// It is no span of time.
    #[error("invalid keepDuration `{text}`: expected seconds, or a span of time such as `48h`")]
    Age {
        /// What was written.
        text: String,
    },
    /// It is no filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

impl Policy {
    /// Takes over what a settings file says.
    pub(crate) fn apply(&mut self, section: &PolicySection) -> Result<(), PolicyError> {
        self.is_enabled = section.gc.unwrap_or(self.is_enabled);
        let caps = caps(&section.reserved_space, &section.max_used_space, &section.min_free_space)?;
        self.caps.reserved = caps.reserved.or(self.caps.reserved);
        self.caps.used_max = caps.used_max.or(self.caps.used_max);
        self.caps.free_min = caps.free_min.or(self.caps.free_min);
        for rule in &section.gcpolicy {
            let reserved = rule.reserved_space.as_ref().or(rule.keep_bytes.as_ref());
            for filter in &rule.filters {
                Filter::parse(filter)?;
            }
            self.rules.push(Rule {
                all: rule.all,
                filters: rule.filters.clone(),
                unused_for: rule.keep_duration.as_ref().map(age).transpose()?,
                caps: Caps { reserved: reserved.map(space).transpose()?, ..caps_of(rule)? },
            });
        }
        Ok(())
    }

    /// Returns what is to be done on a disk of `disk_bytes`, in order; nothing where the policy is switched off.
    pub(crate) fn rules(&self, disk_bytes: u64) -> Vec<CachePrune> {
        if !self.is_enabled {
            return Vec::new();
        }
        if !self.rules.is_empty() {
            return self.rules.iter().map(|rule| rule.request(disk_bytes)).collect();
        }
        let default = |set: Option<Space>, percent: u64, bytes: u64| {
            set.map_or_else(|| Space::Percent(percent).bytes(disk_bytes).min(bytes), |set| set.bytes(disk_bytes))
        };
        let limits = Limits {
            reserved_bytes: Some(default(self.caps.reserved, RESERVED_PERCENT, RESERVED_BYTES)),
            used_bytes_max: Some(default(self.caps.used_max, USED_PERCENT_MAX, USED_BYTES_MAX)),
            free_bytes_min: Some(default(self.caps.free_min, FREE_PERCENT_MIN, u64::MAX)),
        };
        let easy = Filter::parse("type~=^(source[.]local|source[.]git[.]checkout|exec[.]cachemount)$");
        let easy = easy.expect("the filter is one");
        let easy_limits = Limits { used_bytes_max: Some(EASY_BYTES), ..Limits::default() };
        vec![
            CachePrune { all: false, filters: vec![easy, Filter::unused_for(EASY_AGE)], limits: easy_limits },
            CachePrune { all: false, filters: vec![Filter::unused_for(UNUSED_AGE)], limits },
            CachePrune { all: false, filters: Vec::new(), limits },
            CachePrune { all: true, filters: Vec::new(), limits },
        ]
    }
}

impl Rule {
    fn request(&self, disk_bytes: u64) -> CachePrune {
        let bytes = |space: Option<Space>| space.map(|space| space.bytes(disk_bytes));
        let filters = self.filters.iter().filter_map(|text| Filter::parse(text).ok());
        CachePrune {
            all: self.all,
            filters: filters.chain(self.unused_for.map(Filter::unused_for)).collect(),
            limits: Limits {
                reserved_bytes: bytes(self.caps.reserved),
                used_bytes_max: bytes(self.caps.used_max),
                free_bytes_min: bytes(self.caps.free_min),
            },
        }
    }
}

fn caps_of(rule: &RuleSection) -> Result<Caps, PolicyError> {
    caps(&rule.reserved_space, &rule.max_used_space, &rule.min_free_space)
}

fn caps(
    reserved: &Option<SpaceText>,
    used_max: &Option<SpaceText>,
    free_min: &Option<SpaceText>,
) -> Result<Caps, PolicyError> {
    let space = |text: &Option<SpaceText>| text.as_ref().map(space).transpose();
    Ok(Caps { reserved: space(reserved)?, used_max: space(used_max)?, free_min: space(free_min)? })
}

fn space(text: &SpaceText) -> Result<Space, PolicyError> {
    match text {
        SpaceText::Bytes(bytes) => Ok(Space::Bytes(*bytes)),
        SpaceText::Text(text) => Space::parse(text).ok_or_else(|| PolicyError::Space { text: text.clone() }),
    }
}

fn age(text: &AgeText) -> Result<Duration, PolicyError> {
    match text {
        AgeText::Seconds(seconds) => Ok(Duration::from_secs(*seconds)),
        AgeText::Text(text) => parse_duration(text).ok_or_else(|| PolicyError::Age { text: text.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_shares() {
        let sizes = ["10GB", "512MiB", "1000", "30%"].map(|text| Space::parse(text).map(|it| it.bytes(1000)));
        assert_eq!(sizes, [Some(10_000_000_000), Some(512 << 20), Some(1000), Some(300)]);
        assert_eq!(["", "x", "101%", "-1GB"].map(Space::parse), [None; 4]);
    }

    #[test]
    fn the_default_rules_begin_with_what_is_easily_made_again() {
        let rules = Policy::default().rules(1_000_000_000_000);
        assert_eq!(rules.len(), 4);
        assert_eq!(rules[0].limits.used_bytes_max, Some(512_000_000));
        let limits = Limits {
            reserved_bytes: Some(10_000_000_000),
            used_bytes_max: Some(100_000_000_000),
            free_bytes_min: Some(200_000_000_000),
        };
        assert_eq!(rules[3].limits, limits);
        assert!(Policy { is_enabled: false, ..Policy::default() }.rules(1).is_empty());
    }
}
