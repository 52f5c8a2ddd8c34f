//! What a target takes from outside.

use serde::Serialize;

use super::{Location, all_as_base64};

/// What a target takes from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// The name of the target.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What the comment above it says of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its arguments, in the order of the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<OutlineArgument>,
    /// Its secrets, in the order of the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<OutlineSecret>,
    /// The SSH agents that it uses, in the order of the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<OutlineAgent>,
    /// The file.
    #[serde(serialize_with = "all_as_base64")]
    pub sources: Vec<String>,
}

/// An argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutlineArgument {
    /// Its name.
    pub name: String,
    /// What a comment above it says of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its value, as far as it has one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Whether the build fails without it: it is used as `${NAME:?}`. BuildKit does not tell this.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Where it is declared.
    pub location: Location,
}

/// A secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutlineSecret {
    /// Its id.
    pub name: String,
    /// Whether the build fails without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Where it is used first.
    pub location: Location,
}

/// An SSH agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutlineAgent {
    /// Its id.
    pub name: String,
    /// Whether the build fails without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Where it is used first.
    pub location: Location,
}
