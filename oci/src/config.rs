//! Image configs: how a container of an image is started, and how the image came about.
//!
//! The shape is OCI's config with Docker's additions. Keys are written in the order in which BuildKit writes them: alphabetical at the top, Go's field order
//! inside `config`; a field that is not set is left out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, Platform, Timestamp};

/// A set as Go writes it: an object whose values are empty objects.
pub type Set = BTreeMap<String, Empty>;

/// The value of each key of a [`Set`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// The config of an image; its digest is the image's id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// The architecture that the image runs on, by Go's names.
    pub architecture: String,
    /// Who made the image; `MAINTAINER` sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// How a container is started.
    #[serde(default)]
    pub config: ContainerConfig,
    /// When the last step was made; `None` where no step made a layer.
    #[serde(default)]
    pub created: Option<Timestamp>,
    /// One entry for each instruction, the first first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub history: Vec<History>,
    /// The operating system that the image runs on, by Go's names.
    pub os: String,
    /// The version of the operating system; images for Windows have one.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the operating system that the image needs.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The layers.
    #[serde(default)]
    pub rootfs: RootFs,
    /// The variant of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl ImageConfig {
    /// Returns the platform that the image runs on.
    pub fn platform(&self) -> Platform {
        let plain = Platform::new(&self.os, &self.architecture, self.variant.as_deref());
        Platform { os_version: self.os_version.clone(), os_features: self.os_features.clone(), ..plain }
    }
}

/// How a container of an image is started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// `user[:group]`, by names or numbers; empty is root.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub user: String,
    /// Ports in the form `80/tcp`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub exposed_ports: Set,
    /// Variables in the form `KEY=value`, in the order in which they were set.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub env: Vec<String>,
    /// The command that is always run; `CMD` gives its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The default command, or the default arguments of the entry point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Directories that become anonymous volumes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub volumes: Set,
    /// The directory that the command starts in.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub working_dir: String,
    /// Free-form notes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the container to stop, by name or number.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub stop_signal: String,
    /// Whether the command is a line for a shell; BuildKit sets it with every `CMD`.
    #[serde(skip_serializing_if = "std::ops::Not::not", deserialize_with = "null_as_default")]
    pub args_escaped: bool,
    /// How to find out whether the container is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthCheck>,
    /// Instructions that run in builds on top of this image.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub on_build: Vec<String>,
    /// Seconds to wait after the stop signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// The shell of shell-form commands.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub shell: Vec<String>,
}

/// How to find out whether a container is well. Durations are nanoseconds; one that is not set is the runtime's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthCheck {
    /// `NONE`, or `CMD` and a command, or `CMD-SHELL` and a line for the shell.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub test: Vec<String>,
    /// From one check to the next.
    #[serde(rename = "Interval", skip_serializing_if = "is_zero")]
    pub interval_nanoseconds: i64,
    /// After which a check counts as failed.
    #[serde(rename = "Timeout", skip_serializing_if = "is_zero")]
    pub timeout_nanoseconds: i64,
    /// While which failures do not count.
    #[serde(rename = "StartPeriod", skip_serializing_if = "is_zero")]
    pub start_period_nanoseconds: i64,
    /// From one check to the next during the start period.
    #[serde(rename = "StartInterval", skip_serializing_if = "is_zero")]
    pub start_interval_nanoseconds: i64,
    /// Failures in a row that make a container unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// What one instruction did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// The instruction, such as `RUN /bin/sh -c make # buildkit`.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub created_by: String,
    /// Who made the image up to here.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub author: String,
    /// Which builder made it.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub comment: String,
    /// Whether the instruction changed only the config.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// The layers of an image, by the digests of their uncompressed tars.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The lowest layer first; `null` in JSON where there is none.
    #[serde(serialize_with = "empty_as_null", deserialize_with = "null_as_default", default)]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Go writes a list that was never filled as `null`, and the id of an image is the digest of these bytes.
fn empty_as_null<S: serde::Serializer>(list: &Vec<Digest>, serializer: S) -> Result<S::Ok, S::Error> {
    if list.is_empty() { serializer.serialize_none() } else { list.serialize(serializer) }
}

fn null_as_default<'de, T: Default + Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn an_empty_image_is_written_as_docker_writes_it() {
        let config = ImageConfig { architecture: "amd64".into(), os: "linux".into(), ..Default::default() };
        let json = serde_json::to_string(&config).unwrap();
        expect![[r#"{"architecture":"amd64","config":{},"created":null,"history":[],"os":"linux","rootfs":{"type":"layers","diff_ids":null}}"#]]
        .assert_eq(&json);
    }

    #[test]
    fn nulls_and_unknown_keys_of_other_builders_are_read() {
        let text = r#"{"architecture":"arm64","variant":"v8","os":"linux","docker_version":"1","container_config":{},
            "config":{"Hostname":"","Env":["A=b"],"Cmd":null,"Entrypoint":[],"Volumes":null,"ExposedPorts":{"80/tcp":{}},"Labels":null,"OnBuild":null,
            "User":null,"ArgsEscaped":true},"history":null,"rootfs":{"type":"layers","diff_ids":null}}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.platform().to_string(), "linux/arm64");
        expect![[r#"{"ExposedPorts":{"80/tcp":{}},"Env":["A=b"],"Entrypoint":[],"ArgsEscaped":true}"#]]
            .assert_eq(&serde_json::to_string(&config.config).unwrap());
    }
}
