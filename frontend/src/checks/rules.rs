//! The build checks by name, with what each says of itself.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A build check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Stage names have no upper-case letters.
    StageNameCasing,
    /// `AS` is written in the case of `FROM`.
    FromAsCasing,
    /// No empty line stands within an instruction.
    NoEmptyContinuation,
    /// All keywords are written in the same case.
    ConsistentInstructionCasing,
    /// No two stages have the same name.
    DuplicateStageName,
    /// No stage is called as something that Docker knows.
    ReservedStageName,
    /// `CMD` and `ENTRYPOINT` are written as JSON.
    JsonArgsRecommended,
    /// `MAINTAINER` is a label.
    MaintainerDeprecated,
    /// `FROM` names only arguments that are declared.
    UndefinedArgInFrom,
    /// The first `WORKDIR` is absolute.
    WorkdirRelativePath,
    /// Variables are set before they are used.
    UndefinedVar,
    /// What counts only once stands there once.
    MultipleInstructionsDisallowed,
    /// Keys and values have `=` between them.
    LegacyKeyValueFormat,
    /// The base is made for the platform of the build.
    InvalidBaseImagePlatform,
    /// No `FROM` says what goes without saying.
    RedundantTargetPlatform,
    /// No secret is in an argument or a variable.
    SecretsUsedInArgOrEnv,
    /// The defaults of arguments make a valid base.
    InvalidDefaultArgInFrom,
    /// No `FROM` is tied to one platform.
    FromPlatformFlagConstDisallowed,
    /// No file is copied that the ignore file leaves out.
    CopyIgnoredFile,
    /// Comments above stages and arguments describe them.
    InvalidDefinitionDescription,
    /// Protocols of ports are in lower case.
    ExposeProtoCasing,
    /// Ports have neither address nor port of the host.
    ExposeInvalidFormat,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::StageNameCasing,
        Self::FromAsCasing,
        Self::NoEmptyContinuation,
        Self::ConsistentInstructionCasing,
        Self::DuplicateStageName,
        Self::ReservedStageName,
        Self::JsonArgsRecommended,
        Self::MaintainerDeprecated,
        Self::UndefinedArgInFrom,
        Self::WorkdirRelativePath,
        Self::UndefinedVar,
        Self::MultipleInstructionsDisallowed,
        Self::LegacyKeyValueFormat,
        Self::InvalidBaseImagePlatform,
        Self::RedundantTargetPlatform,
        Self::SecretsUsedInArgOrEnv,
        Self::InvalidDefaultArgInFrom,
        Self::FromPlatformFlagConstDisallowed,
        Self::CopyIgnoredFile,
        Self::InvalidDefinitionDescription,
        Self::ExposeProtoCasing,
        Self::ExposeInvalidFormat,
    ];

    /// Returns the name, as `# check=skip=` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::StageNameCasing => "StageNameCasing",
            Self::FromAsCasing => "FromAsCasing",
            Self::NoEmptyContinuation => "NoEmptyContinuation",
            Self::ConsistentInstructionCasing => "ConsistentInstructionCasing",
            Self::DuplicateStageName => "DuplicateStageName",
            Self::ReservedStageName => "ReservedStageName",
            Self::JsonArgsRecommended => "JSONArgsRecommended",
            Self::MaintainerDeprecated => "MaintainerDeprecated",
            Self::UndefinedArgInFrom => "UndefinedArgInFrom",
            Self::WorkdirRelativePath => "WorkdirRelativePath",
            Self::UndefinedVar => "UndefinedVar",
            Self::MultipleInstructionsDisallowed => "MultipleInstructionsDisallowed",
            Self::LegacyKeyValueFormat => "LegacyKeyValueFormat",
            Self::InvalidBaseImagePlatform => "InvalidBaseImagePlatform",
            Self::RedundantTargetPlatform => "RedundantTargetPlatform",
            Self::SecretsUsedInArgOrEnv => "SecretsUsedInArgOrEnv",
            Self::InvalidDefaultArgInFrom => "InvalidDefaultArgInFrom",
            Self::FromPlatformFlagConstDisallowed => "FromPlatformFlagConstDisallowed",
            Self::CopyIgnoredFile => "CopyIgnoredFile",
            Self::InvalidDefinitionDescription => "InvalidDefinitionDescription",
            Self::ExposeProtoCasing => "ExposeProtoCasing",
            Self::ExposeInvalidFormat => "ExposeInvalidFormat",
        }
    }

    /// Returns what the check asks for, in the words of its documentation.
    pub fn description(self) -> &'static str {
        match self {
            Self::StageNameCasing => "Stage names should be lowercase",
            Self::FromAsCasing => "The 'as' keyword should match the case of the 'from' keyword",
            Self::NoEmptyContinuation => "Empty continuation lines will become errors in a future release",
            Self::ConsistentInstructionCasing => {
                "All commands within the Dockerfile should use the same casing (either upper or lower)"
            }
            Self::DuplicateStageName => "Stage names should be unique",
            Self::ReservedStageName => "Reserved words should not be used as stage names",
            Self::JsonArgsRecommended => {
                "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals"
            }
            Self::MaintainerDeprecated => {
                "The MAINTAINER instruction is deprecated, use a label instead to define an image author"
            }
            Self::UndefinedArgInFrom => "FROM command must use declared ARGs",
            Self::WorkdirRelativePath => {
                "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes"
            }
            Self::UndefinedVar => "Variables should be defined before their use",
            Self::MultipleInstructionsDisallowed => {
                "Multiple instructions of the same type should not be used in the same stage"
            }
            Self::LegacyKeyValueFormat => "Legacy key/value format with whitespace separator should not be used",
            Self::InvalidBaseImagePlatform => "Base image platform does not match expected target platform",
            Self::RedundantTargetPlatform => {
                "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior"
            }
            Self::SecretsUsedInArgOrEnv => "Sensitive data should not be used in the ARG or ENV commands",
            Self::InvalidDefaultArgInFrom => {
                "Default value for global ARG results in an empty or invalid base image name"
            }
            Self::FromPlatformFlagConstDisallowed => "FROM --platform flag should not use a constant value",
            Self::CopyIgnoredFile => "Attempting to Copy file that is excluded by .dockerignore",
            Self::InvalidDefinitionDescription => {
                "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment."
            }
            Self::ExposeProtoCasing => "Protocol in EXPOSE instruction should be lowercase",
            Self::ExposeInvalidFormat => {
                "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release"
            }
        }
    }

    /// Returns the page that documents the check, or `None` where it has none.
    pub fn url(self) -> Option<String> {
        let page = || format!("https://docs.docker.com/go/dockerfile/rule/{}/", kebab(self.name()));
        (self != Self::InvalidBaseImagePlatform).then(page)
    }

    /// Tells whether the check runs only where it is asked for.
    pub fn is_experimental(self) -> bool {
        self == Self::InvalidDefinitionDescription
    }
}

/// Writes a name with dashes: `JSONArgsRecommended` is `json-args-recommended`.
fn kebab(name: &str) -> String {
    let bytes = name.as_bytes();
    let mut out = String::new();
    for (place, byte) in bytes.iter().enumerate() {
        let begins = byte.is_ascii_uppercase()
            && place > 0
            && (bytes[place - 1].is_ascii_lowercase() || bytes.get(place + 1).is_some_and(u8::is_ascii_lowercase));
        if begins {
            out.push('-');
        }
        out.push(char::from(byte.to_ascii_lowercase()));
    }
    out
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Rule {
    type Err = UnknownRule;

    fn from_str(text: &str) -> Result<Self, UnknownRule> {
        Self::ALL.into_iter().find(|rule| rule.name() == text).ok_or_else(|| UnknownRule { name: text.to_owned() })
    }
}

/// There is no such build check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown build check `{name}`")]
pub struct UnknownRule {
    name: String,
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_has_its_page() {
        let page = |rule: Rule| {
            rule.url().unwrap().trim_start_matches("https://docs.docker.com/go/dockerfile/rule/").to_owned()
        };
        assert_eq!(page(Rule::JsonArgsRecommended), "json-args-recommended/");
        assert_eq!(page(Rule::SecretsUsedInArgOrEnv), "secrets-used-in-arg-or-env/");
        assert_eq!(page(Rule::FromAsCasing), "from-as-casing/");
        assert_eq!(Rule::InvalidBaseImagePlatform.url(), None);
        assert_eq!("UndefinedVar".parse(), Ok(Rule::UndefinedVar));
        assert_eq!(Rule::ALL.iter().map(|rule| rule.name()).collect::<std::collections::BTreeSet<_>>().len(), 22);
    }
}
