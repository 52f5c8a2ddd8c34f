//! Points in time as configs and histories write them: RFC 3339 in UTC, with as many digits of a second as are needed.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Datelike, SecondsFormat, Timelike, Utc};
use serde::{Deserialize, Serialize};

/// A point in time, to the nanosecond, between the years 0 and 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(DateTime<Utc>);

/// Why a text or a number is not a point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid time `{text}`: expected RFC 3339, such as `2026-01-31T12:00:00Z`")]
pub struct TimestampParseError {
    text: String,
}

impl Timestamp {
    /// The first second of 1970.
    pub const EPOCH: Self = Self(DateTime::UNIX_EPOCH);

    /// Returns the current time by the system's clock.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// Returns the point `seconds` after the start of 1970, or `None` outside the years 0 to 9999, which RFC 3339 cannot write.
    pub fn from_unix(seconds: i64, nanoseconds: u32) -> Option<Self> {
        let time = DateTime::from_timestamp(seconds, nanoseconds)?;
        (0..=9999).contains(&time.year()).then_some(Self(time))
    }

    /// Returns whole seconds since the start of 1970; negative before it.
    pub fn unix_seconds(&self) -> i64 {
        self.0.timestamp()
    }

    /// Returns the nanoseconds beyond [`Self::unix_seconds`], in 0 to 999,999,999.
    pub fn subsec_nanoseconds(&self) -> u32 {
        self.0.nanosecond() % 1_000_000_000
    }

    /// Returns how long after `earlier` this is, or zero when it is not after it.
    pub fn since(&self, earlier: Self) -> Duration {
        (self.0 - earlier.0).to_std().unwrap_or_default()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let (seconds, nanoseconds) = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_nanos()),
            Err(before) => (-i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX), 0),
        };
        Self::from_unix(seconds, nanoseconds).unwrap_or(Self::EPOCH)
    }
}

impl fmt::Display for Timestamp {
    // As Go's RFC3339Nano, which every reader of image configs knows: trailing zeros of the fraction are left out.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let full = self.0.to_rfc3339_opts(SecondsFormat::Nanos, true);
        let digits = full.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
        write!(out, "{digits}Z")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampParseError;

    fn from_str(text: &str) -> Result<Self, TimestampParseError> {
        let time = DateTime::parse_from_rfc3339(text).map_err(|_| TimestampParseError { text: text.to_owned() })?;
        Ok(Self(time.with_timezone(&Utc)))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_docker_writes_them() {
        let text = |seconds, nanoseconds| Timestamp::from_unix(seconds, nanoseconds).unwrap().to_string();
        assert_eq!(text(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(text(1_700_000_000, 0), "2023-11-14T22:13:20Z");
        assert_eq!(text(1_700_000_000, 120_000_000), "2023-11-14T22:13:20.12Z");
        assert_eq!(text(-1, 1), "1969-12-31T23:59:59.000000001Z");
        assert_eq!(Timestamp::from_unix(i64::MAX, 0), None);
    }

    #[test]
    fn offsets_are_read_as_utc() {
        let time: Timestamp = "2024-05-01T10:00:00.5+02:00".parse().unwrap();
        assert_eq!(time.to_string(), "2024-05-01T08:00:00.5Z");
        assert_eq!(time.subsec_nanoseconds(), 500_000_000);
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
