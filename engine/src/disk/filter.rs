//! The filters of `du` and `prune`, in BuildKit's words: `id=X`, `description~=text`, `type!=regular`, `until=24h`, `shared`.

use std::collections::BTreeSet;
use std::time::Duration;

use oci::Timestamp;

use super::record::DiskRecord;

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid filter `{text}`: {reason}")]
pub struct FilterError {
    text: String,
    reason: &'static str,
}

/// What a record has to be.
#[derive(Clone, Debug)]
pub struct Filter {
    test: Test,
    is_negated: bool,
}

#[derive(Clone, Debug)]
enum Test {
    Text {
        field: Field,
        wanted: Wanted,
    },
    Flag(Flag),
    /// Not used for so long.
    Until(Duration),
}

#[derive(Clone, Copy, Debug)]
enum Field {
    Id,
    Parents,
    Description,
    Type,
}

#[derive(Clone, Copy, Debug)]
enum Flag {
    InUse,
    Mutable,
    Immutable,
    Shared,
    Private,
}

#[derive(Clone, Debug)]
enum Wanted {
    Equal(String),
    Matching(regex_lite::Regex),
}

impl Filter {
    /// Parses a filter of the command line.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let wrong = |reason| FilterError { text: text.to_owned(), reason };
        let (key, operator, value) = split(text);
        let flag = match key {
            "inuse" => Some(Flag::InUse),
            "mutable" => Some(Flag::Mutable),
            "immutable" => Some(Flag::Immutable),
            "shared" => Some(Flag::Shared),
            "private" => Some(Flag::Private),
            _ => None,
        };
        if let Some(flag) = flag {
            let is_wanted = match value.to_ascii_lowercase().as_str() {
                "" | "true" | "1" => true,
                "false" | "0" => false,
                _ => return Err(wrong("expected true or false")),
            };
            return Ok(Self { test: Test::Flag(flag), is_negated: is_wanted == (operator == "!=") });
        }
        // The second is the older word.
        if matches!(key, "until" | "unused-for") {
            let age = parse_duration(value).ok_or_else(|| wrong("expected a span of time such as `24h`"))?;
            return Ok(Self { test: Test::Until(age), is_negated: false });
        }
        let field = match key {
            "id" => Field::Id,
            "parents" | "parent" => Field::Parents,
            "description" => Field::Description,
            "type" => Field::Type,
            _ => {
                return Err(wrong(
                    "expected id, parents, description, inuse, mutable, immutable, shared, private, type or until",
                ));
            }
        };
        let wanted = match (field, operator) {
            // With `=`, a part of an id is enough, as with buildx.
            (_, "~=") | (Field::Id, "=") => {
                Wanted::Matching(regex_lite::Regex::new(value).map_err(|_| wrong("expected a regular expression"))?)
            }
            (_, "") => return Err(wrong("expected KEY=VALUE")),
            _ => Wanted::Equal(value.to_owned()),
        };
        Ok(Self { test: Test::Text { field, wanted }, is_negated: operator == "!=" })
    }

    /// Returns the filter that keeps what was used within `age`.
    pub(super) fn unused_for(age: Duration) -> Self {
        Self { test: Test::Until(age), is_negated: false }
    }

    /// Tells whether the filter only asks when something was used.
    pub(super) fn is_of_time(&self) -> bool {
        matches!(self.test, Test::Until(_))
    }

    /// Tells whether something that was used at `used` is old enough; filters that do not ask for that have nothing against it.
    pub(super) fn is_met_at(&self, used: Timestamp, now: Timestamp) -> bool {
        match &self.test {
            Test::Until(age) => now.since(used) >= *age,
            _ => true,
        }
    }

    /// Tells whether a record is what the filter wants.
    pub fn matches(&self, record: &DiskRecord, now: Timestamp) -> bool {
        let matches = match &self.test {
            Test::Until(_) => record.used.or(record.created).is_none_or(|used| self.is_met_at(used, now)),
            Test::Flag(flag) => match flag {
                Flag::InUse => record.is_in_use,
                Flag::Mutable => record.is_mutable,
                Flag::Immutable => !record.is_mutable,
                Flag::Shared => record.is_shared,
                Flag::Private => !record.is_shared,
            },
            Test::Text { field, wanted } => match field {
                Field::Id => wanted.is_met_by(&record.id),
                Field::Parents => wanted.is_met_by_all(&record.parents),
                Field::Description => wanted.is_met_by(&record.description),
                Field::Type => wanted.is_met_by(record.kind.as_str()),
            },
        };
        matches != self.is_negated
    }
}

impl Wanted {
    fn is_met_by(&self, text: &str) -> bool {
        match self {
            Self::Equal(wanted) => wanted == text,
            Self::Matching(pattern) => pattern.is_match(text),
        }
    }

    /// Of several, separated by semicolons, all have to be there.
    fn is_met_by_all(&self, texts: &BTreeSet<String>) -> bool {
        match self {
            Self::Equal(wanted) => wanted.split(';').all(|wanted| texts.contains(wanted)),
            Self::Matching(pattern) => texts.iter().any(|text| pattern.is_match(text)),
        }
    }
}

/// Returns key, operator and value; a key alone has neither.
fn split(text: &str) -> (&str, &str, &str) {
    let place = text.find(['=', '!', '~']).unwrap_or(text.len());
    let (key, rest) = text.split_at(place);
    let operator = ["!=", "~=", "==", "="].into_iter().find(|operator| rest.starts_with(operator)).unwrap_or("");
    (key, operator, &rest[operator.len()..])
}

/// Parses a span of time as Go writes it: `48h`, `1h30m`, `90s`, `500ms`; and days, `7d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (mut total, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        let seconds = match &rest[digits..unit_end] {
            "d" => 86_400.0,
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        total += number * seconds;
        rest = &rest[unit_end..];
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(total).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_gos() {
        let seconds = |text: &str| parse_duration(text).map(|it| it.as_secs());
        assert_eq!(
            ["24h", "1h30m", "90s", "7d", "0s", "1.5h"].map(seconds),
            [Some(86_400), Some(5400), Some(90), Some(604_800), Some(0), Some(5400)]
        );
        assert_eq!(["", "h", "5", "5x"].map(seconds), [None; 4]);
    }

    #[test]
    fn a_wrong_filter_says_what_was_expected() {
        let refused = |text: &str| Filter::parse(text).unwrap_err().to_string();
        assert_eq!(refused("id"), "invalid filter `id`: expected KEY=VALUE");
        assert_eq!(refused("until=soon"), "invalid filter `until=soon`: expected a span of time such as `24h`");
        assert_eq!(refused("shared=maybe"), "invalid filter `shared=maybe`: expected true or false");
        assert!(refused("colour=red").contains("expected id, parents,"));
    }
}
