//! The targets of a file.

use serde::Serialize;

use super::{Location, all_as_base64};
use crate::ast::{Dockerfile, Stage};

/// The targets of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Targets {
    /// The stages, in order.
    pub targets: Vec<Target>,
    /// The file.
    #[serde(serialize_with = "all_as_base64")]
    pub sources: Vec<String>,
}

/// A stage that can be built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Its name; empty where it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whether it is what is built where no target is named.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// What the comment above it says of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its base, with variables.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub base: String,
    /// Its platform, with variables.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// Where it begins.
    pub location: Location,
}

/// Returns the targets of a file, the last of which is built where none is named.
pub fn targets(file: &Dockerfile) -> Targets {
    let last = file.stages.len().saturating_sub(1);
    let target = |(index, stage): (usize, &Stage)| Target {
        name: stage.name.clone().unwrap_or_default(),
        default: index == last,
        description: stage.description.clone().unwrap_or_default(),
        base: stage.base.text.clone(),
        platform: stage.platform.as_ref().map(|platform| platform.text.clone()).unwrap_or_default(),
        location: stage.site.lines.into(),
    };
    Targets {
        targets: file.stages.iter().enumerate().map(target).collect(),
        sources: vec![file.source.text().to_owned()],
    }
}
