//! Docker's form of a list of system calls: JSON, with conditions on arguments, capabilities, architectures and kernels.

use serde::Deserialize;

/// The list that Docker and BuildKit use where nothing else is asked for; see `seccomp/README.md`.
const DOCKER: &str = include_str!("../../seccomp/default.json");

/// A list of system calls and of what becomes of each.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    pub(super) default_action: ActionName,
    #[serde(default)]
    pub(super) default_errno_ret: Option<u16>,
    #[serde(default)]
    pub(super) syscalls: Vec<Group>,
}

/// Why a text is no profile.
#[derive(Debug, thiserror::Error)]
#[error("cannot read a seccomp profile")]
pub struct ProfileError {
    /// What is wrong with the JSON.
    #[from]
    source: serde_json::Error,
}

impl Profile {
    /// Reads a profile in Docker's form.
    pub fn parse(json: &str) -> Result<Self, ProfileError> {
        Ok(serde_json::from_str(json)?)
    }

    /// Returns the profile that Docker and BuildKit use where nothing else is asked for.
    pub fn docker() -> Self {
        Self::parse(DOCKER).expect("the list is part of the program, and a test reads it")
    }
}

/// Calls that are treated alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group {
    pub(super) names: Vec<String>,
    pub(super) action: ActionName,
    #[serde(default)]
    pub(super) errno_ret: Option<u16>,
    /// All must hold.
    #[serde(default)]
    pub(super) args: Vec<Condition>,
    #[serde(default)]
    pub(super) includes: Circumstances,
    #[serde(default)]
    pub(super) excludes: Circumstances,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) enum ActionName {
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    #[serde(rename = "SCMP_ACT_KILL", alias = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
}

/// A condition on an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Condition {
    pub(super) index: Argument,
    pub(super) value: u64,
    #[serde(default)]
    pub(super) value_two: u64,
    pub(super) op: Comparison,
}

/// Which argument, 0 to 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub(super) struct Argument(u32);

impl Argument {
    pub(super) fn index(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Argument {
    type Error = String;

    fn try_from(index: u32) -> Result<Self, Self::Error> {
        if index < 6 {
            Ok(Self(index))
        } else {
            Err(format!("system calls have 6 arguments, and {index} is none of them"))
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Comparison {
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    /// The argument's bits that are in `value` equal `value_two`.
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

/// When a group counts, or when it does not.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Circumstances {
    #[serde(default)]
    pub(super) caps: Vec<String>,
    #[serde(default)]
    pub(super) arches: Vec<String>,
    #[serde(default)]
    pub(super) min_kernel: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_own_list_is_understood() {
        let profile = Profile::docker();
        assert!(matches!(profile.default_action, ActionName::Errno));
        assert!(profile.syscalls.len() > 30);
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let error = |json: &str| {
            let err = Profile::parse(json).unwrap_err();
            std::error::Error::source(&err).unwrap().to_string()
        };
        assert_eq!(
            error(r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#),
            "unknown variant `SCMP_ACT_NOTIFY`, expected one of `SCMP_ACT_ALLOW`, `SCMP_ACT_ERRNO`, `SCMP_ACT_KILL`, `SCMP_ACT_KILL_THREAD`, \
             `SCMP_ACT_KILL_PROCESS`, `SCMP_ACT_TRAP`, `SCMP_ACT_LOG` at line 1 column 35"
        );
        let args = r#"{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}"#;
        let group = format!(r#"{{"names": ["a"], "action": "SCMP_ACT_ALLOW", "args": [{args}]}}"#);
        let message = error(&format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{group}]}}"#));
        assert!(message.starts_with("system calls have 6 arguments, and 6 is none of them"), "{message}");
    }
}
