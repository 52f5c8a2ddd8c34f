//! `-o type=…,dest=…`: what users ask for, parsed.

use std::path::PathBuf;
use std::str::FromStr;

use super::archive::Destination;
use super::blob::Compression;

/// Where a result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The store of this machine, under the names of the request.
    Store,
    /// An OCI layout or a Docker archive.
    Bundle(BundleOutput),
    /// The files of the image.
    Files(FilesOutput),
    /// Nowhere: only the cache is filled.
    Nowhere,
}

/// An OCI layout or a Docker archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleOutput {
    /// Which of both.
    pub kind: BundleKind,
    /// Where to.
    pub destination: Destination,
    /// How layers are compressed that are made for it.
    pub compression: Compression,
    /// Whether layers that are there in another form are compressed anew.
    pub force_compression: bool,
    /// Whether files of layers that were made here get no time later than `SOURCE_DATE_EPOCH`.
    pub rewrite_timestamp: bool,
}

/// What a bundle can be read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleKind {
    /// An OCI layout.
    Oci,
    /// What `docker load` reads; an OCI layout too.
    Docker,
}

impl BundleKind {
    /// Returns what users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Oci => "oci layout",
            Self::Docker => "docker archive",
        }
    }
}

/// The files of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesOutput {
    /// Where to: a tar, or a directory.
    pub destination: Destination,
    /// Whether each platform has a directory of its own; `None` is when there are several.
    pub platform_split: Option<bool>,
}

/// Why a text is no output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputParseError {
    /// A part is not `key=value`.
    #[error("invalid value {part}: expected `key=value`")]
    Part {
        /// The part.
        part: String,
    },
    /// There is no `type=`.
    #[error("type is required for output")]
    NoType,
    /// The type is none of ours.
    #[error("unsupported output type `{kind}`: expected image, docker, oci, tar, local or cacheonly")]
    Type {
        /// The type.
        kind: String,
    },
    /// The type needs a destination.
    #[error("dest is required for {kind} output")]
    NoDestination {
        /// The type.
        kind: String,
    },
    /// A key means nothing to the type.
    #[error("unknown attribute `{key}` for {kind} output")]
    Key {
        /// The key.
        key: String,
        /// The type.
        kind: String,
    },
    /// A value is none of the key's.
    #[error("invalid value `{value}` for `{key}`: expected {expected}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

/// The attributes of an output, as they are read.
#[derive(Default)]
struct Attributes {
    kind: String,
    destination: Option<String>,
    is_tar: Option<bool>,
    compression: Option<String>,
    level: Option<i32>,
    force_compression: bool,
    rewrite_timestamp: bool,
    platform_split: Option<bool>,
}

impl FromStr for Output {
    type Err = OutputParseError;

    /// Parses `type=oci,dest=out.tar`; a text without `=` is the directory of a `local` output, and `-` a tar on standard output.
    fn from_str(text: &str) -> Result<Self, OutputParseError> {
        if text == "-" {
            return Ok(Self::Files(FilesOutput { destination: Destination::Stdout, platform_split: None }));
        }
        if !text.contains('=') {
            let destination = Destination::Directory(PathBuf::from(text));
            return Ok(Self::Files(FilesOutput { destination, platform_split: None }));
        }
        let mut attributes = Attributes::default();
        for part in text.split(',') {
            let (key, value) = part.split_once('=').ok_or_else(|| OutputParseError::Part { part: part.to_owned() })?;
            attributes.set(key.trim(), value.trim())?;
        }
        attributes.into_output()
    }
}

impl Attributes {
    fn set(&mut self, key: &str, value: &str) -> Result<(), OutputParseError> {
        match key {
            "type" => self.kind = value.to_owned(),
            "dest" => self.destination = Some(value.to_owned()),
            "tar" => self.is_tar = Some(boolean(key, value)?),
            "compression" => self.compression = Some(value.to_owned()),
            "compression-level" => {
                let expected = "a number";
                let level = value.parse().map_err(|_| OutputParseError::Value {
                    key: key.to_owned(),
                    value: value.to_owned(),
                    expected,
                })?;
                self.level = Some(level);
            }
            "force-compression" => self.force_compression = boolean(key, value)?,
            "rewrite-timestamp" => self.rewrite_timestamp = boolean(key, value)?,
            "platform-split" => self.platform_split = Some(boolean(key, value)?),
            _ => {
                let kind = if self.kind.is_empty() { "this" } else { &self.kind };
                return Err(OutputParseError::Key { key: key.to_owned(), kind: kind.to_owned() });
            }
        }
        Ok(())
    }

    fn into_output(self) -> Result<Output, OutputParseError> {
        let needs_destination = || OutputParseError::NoDestination { kind: self.kind.clone() };
        match self.kind.as_str() {
            "" => Err(OutputParseError::NoType),
            "image" => Ok(Output::Store),
            "docker" if self.destination.is_none() => Ok(Output::Store),
            "docker" | "oci" => {
                let kind = if self.kind == "oci" { BundleKind::Oci } else { BundleKind::Docker };
                let destination = self.destination.clone().ok_or_else(needs_destination)?;
                let destination = match (destination.as_str(), self.is_tar) {
                    ("-", _) => Destination::Stdout,
                    (path, Some(false)) => Destination::Directory(PathBuf::from(path)),
                    (path, _) => Destination::File(PathBuf::from(path)),
                };
                let compression = Compression::parse(self.compression.as_deref(), self.level)?;
                let (force_compression, rewrite_timestamp) = (self.force_compression, self.rewrite_timestamp);
                let output = BundleOutput { kind, destination, compression, force_compression, rewrite_timestamp };
                Ok(Output::Bundle(output))
            }
            "tar" => {
                let destination = match self.destination.as_deref() {
                    None | Some("-") => Destination::Stdout,
                    Some(path) => Destination::File(PathBuf::from(path)),
                };
                Ok(Output::Files(FilesOutput { destination, platform_split: self.platform_split }))
            }
            "local" => {
                let path = self.destination.clone().ok_or_else(needs_destination)?;
                let destination = Destination::Directory(PathBuf::from(path));
                Ok(Output::Files(FilesOutput { destination, platform_split: self.platform_split }))
            }
            "cacheonly" => Ok(Output::Nowhere),
            _ => Err(OutputParseError::Type { kind: self.kind }),
        }
    }
}

impl Output {
    /// Returns what users see of it while it is written.
    pub(crate) fn step_name(&self) -> &'static str {
        match self {
            Self::Store => "image",
            Self::Bundle(BundleOutput { kind: BundleKind::Oci, .. }) => "oci image format",
            Self::Bundle(BundleOutput { kind: BundleKind::Docker, .. }) => "docker image format",
            Self::Files(FilesOutput { destination: Destination::Directory(_), .. }) => "client directory",
            Self::Files(_) => "client tarball",
            Self::Nowhere => "cache",
        }
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, OutputParseError> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(OutputParseError::Value { key: key.to_owned(), value: value.to_owned(), expected: "true or false" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Output, String> {
        text.parse().map_err(|error: OutputParseError| error.to_string())
    }

    fn files(destination: Destination) -> Output {
        Output::Files(FilesOutput { destination, platform_split: None })
    }

    #[test]
    fn outputs_are_what_buildx_makes_of_them() {
        assert_eq!(parse("out"), Ok(files(Destination::Directory("out".into()))));
        assert_eq!(parse("-"), Ok(files(Destination::Stdout)));
        assert_eq!(parse("type=local,dest=out"), Ok(files(Destination::Directory("out".into()))));
        assert_eq!(parse("type=tar,dest=a.tar"), Ok(files(Destination::File("a.tar".into()))));
        assert_eq!(parse("type=tar"), Ok(files(Destination::Stdout)));
        assert_eq!(parse("type=docker"), Ok(Output::Store));
        assert_eq!(parse("type=image"), Ok(Output::Store));
        assert_eq!(parse("type=cacheonly"), Ok(Output::Nowhere));
        let bundle = |kind, destination, compression| {
            let (force_compression, rewrite_timestamp) = (false, false);
            let output = BundleOutput { kind, destination, compression, force_compression, rewrite_timestamp };
            Ok(Output::Bundle(output))
        };
        let gzip = Compression::parse(None, None).unwrap();
        assert_eq!(parse("type=oci,dest=a.tar"), bundle(BundleKind::Oci, Destination::File("a.tar".into()), gzip));
        let plain = Compression::Uncompressed;
        let directory = Destination::Directory("a".into());
        assert_eq!(
            parse("type=docker,dest=a,tar=false,compression=uncompressed"),
            bundle(BundleKind::Docker, directory, plain)
        );
    }

    #[test]
    fn wrong_outputs_say_what_was_expected() {
        let refused = |text, message: &str| assert_eq!(parse(text), Err(message.to_owned()));
        refused("dest=a", "type is required for output");
        refused("type=oci", "dest is required for oci output");
        refused("type=local", "dest is required for local output");
        refused("type=oci,x", "invalid value x: expected `key=value`");
        refused("type=oci,dest=a,color=red", "unknown attribute `color` for oci output");
        refused(
            "type=floppy",
            "unsupported output type `floppy`: expected image, docker, oci, tar, local or cacheonly",
        );
        refused("type=oci,dest=a,tar=maybe", "invalid value `maybe` for `tar`: expected true or false");
        refused(
            "type=oci,dest=a,compression=lzma",
            "invalid value `lzma` for `compression`: expected uncompressed, gzip or zstd",
        );
    }
}
