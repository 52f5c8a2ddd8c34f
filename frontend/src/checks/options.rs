//! Which checks run, and what comes of their warnings: `skip=RuleA,RuleB;error=true;experimental=all`.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::go;

use super::Rule;

/// Which checks run, and what comes of their warnings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// The checks that do not run.
    pub skip: Rules,
    /// The experimental checks that run.
    pub experimental: Rules,
    /// Whether any warning is an error in the end.
    pub error: bool,
}

/// Some checks, by name, or all of them. Names that are not known are no mistake: a file may be written for a later version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whether all are meant.
    pub all: bool,
    /// Those that are meant by name.
    pub names: BTreeSet<String>,
}

/// Why a text is not a set of options.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckOptionsParseError {
    /// An option is not known, or has no value.
    #[error("invalid check option {option}")]
    Option {
        /// The option, quoted.
        option: String,
    },
    /// A value is neither true nor false.
    #[error("failed to parse check option {option}: strconv.ParseBool: parsing {value}: invalid syntax")]
    Boolean {
        /// The option, quoted.
        option: String,
        /// Its value, quoted.
        value: String,
    },
}

impl CheckOptions {
    /// Tells whether a check runs.
    pub fn runs(&self, rule: Rule) -> bool {
        if rule.is_experimental() { self.experimental.has(rule) } else { !self.skip.has(rule) }
    }

    /// Adds the checks of `other` to those that are skipped or run here.
    pub fn merge(&mut self, other: &Self) {
        self.skip.merge(&other.skip);
        self.experimental.merge(&other.experimental);
    }
}

impl Rules {
    /// Tells whether a check is meant.
    pub fn has(&self, rule: Rule) -> bool {
        self.all || self.names.contains(rule.name())
    }

    fn merge(&mut self, other: &Self) {
        self.all |= other.all;
        self.names.extend(other.names.iter().cloned());
    }

    fn read(value: &str) -> Self {
        if value == "all" {
            return Self { all: true, ..Self::default() };
        }
        Self { all: false, names: value.split(',').map(|name| name.trim().to_owned()).collect() }
    }
}

impl FromStr for CheckOptions {
    type Err = CheckOptionsParseError;

    fn from_str(text: &str) -> Result<Self, CheckOptionsParseError> {
        let mut options = Self::default();
        if text.trim().is_empty() {
            return Ok(options);
        }
        for part in text.trim().splitn(3, ';') {
            let wrong = |option: &str| CheckOptionsParseError::Option { option: go::quote(option) };
            let (key, value) = part.split_once('=').ok_or_else(|| wrong(part))?;
            let value = value.trim();
            match key.trim() {
                "skip" => options.skip = Rules::read(value),
                "experimental" => options.experimental = Rules::read(value),
                "error" => {
                    let boolean =
                        || CheckOptionsParseError::Boolean { option: go::quote(part), value: go::quote(value) };
                    options.error = go::parse_bool(value).ok_or_else(boolean)?;
                }
                key => return Err(wrong(key)),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_which_checks_run() {
        let options: CheckOptions = "skip=FromAsCasing, UndefinedVar;error=true;experimental=all".parse().unwrap();
        let runs = [Rule::FromAsCasing, Rule::UndefinedVar, Rule::StageNameCasing, Rule::InvalidDefinitionDescription]
            .map(|rule| options.runs(rule));
        assert_eq!((runs, options.error), ([false, false, true, true], true));
        let all: CheckOptions = " skip=all".parse().unwrap();
        assert!(!all.runs(Rule::StageNameCasing) && !CheckOptions::default().runs(Rule::InvalidDefinitionDescription));
    }

    #[test]
    fn wrong_options_are_refused() {
        let refused = |text: &str| text.parse::<CheckOptions>().unwrap_err().to_string();
        assert_eq!(refused("skip"), "invalid check option \"skip\"");
        assert_eq!(refused("foo=1"), "invalid check option \"foo\"");
        assert_eq!(
            refused("error=x"),
            "failed to parse check option \"error=x\": strconv.ParseBool: parsing \"x\": invalid syntax"
        );
    }
}
