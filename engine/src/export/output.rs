//! `-o type=…,dest=…`: what users ask for, parsed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use frontend::{CsvError, csv_fields};
use oci::{Digest, Reference, Timestamp};

use super::annotation::{Annotation, AnnotationParseError, parse_attribute};
use super::archive::Destination;
use super::blob::Compression;

/// Where a result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The store of this machine.
    Store(StoreOutput),
    /// An OCI layout or a Docker archive.
    Bundle(BundleOutput),
    /// The files of the image.
    Files(FilesOutput),
    /// Nowhere: only the cache is filled.
    Nowhere,
}

/// The store of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StoreOutput {
    /// The image's names, where the request has none.
    pub names: Vec<Reference>,
    /// Whether it goes to the registries of its names too, and how.
    pub push: Option<PushOutput>,
}

/// How an image is written for a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushOutput {
    /// How layers are compressed that are made for it.
    pub compression: Compression,
    /// Whether layers that are there in another form are compressed anew.
    pub force_compression: bool,
    /// Whether files of layers that were made here get no time later than `SOURCE_DATE_EPOCH`.
    pub rewrite_timestamp: bool,
    /// What stands in place of `SOURCE_DATE_EPOCH`.
    pub epoch: EpochChoice,
    /// What is noted on manifests and indexes.
    pub annotations: Vec<Annotation>,
}

impl Default for PushOutput {
    fn default() -> Self {
        let (compression, epoch) = (Compression::default(), EpochChoice::OfBuild);
        Self { compression, force_compression: false, rewrite_timestamp: false, epoch, annotations: Vec::new() }
    }
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
    /// What stands in place of `SOURCE_DATE_EPOCH`.
    pub epoch: EpochChoice,
    /// The images' names, where the request has none.
    pub names: Vec<Reference>,
    /// What is noted on manifests and indexes.
    pub annotations: Vec<Annotation>,
    /// Blobs of layers that are where the bundle goes, and are not written.
    pub(crate) elsewhere: BTreeSet<Digest>,
}

impl BundleOutput {
    /// Returns an output as it is without further attributes.
    pub fn new(kind: BundleKind, destination: Destination, compression: Compression) -> Self {
        let (force_compression, rewrite_timestamp, epoch) = (false, false, EpochChoice::OfBuild);
        let (names, annotations, elsewhere) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self {
            kind,
            destination,
            compression,
            force_compression,
            rewrite_timestamp,
            epoch,
            names,
            annotations,
            elsewhere,
        }
    }
}

/// Which `SOURCE_DATE_EPOCH` counts for an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EpochChoice {
    /// That of the build.
    #[default]
    OfBuild,
    /// None, also where the build has one.
    None,
    /// This one.
    At(Timestamp),
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
    /// The text is no list of fields.
    #[error("cannot read `{text}`")]
    Fields {
        /// The text.
        text: String,
        /// Why not.
        source: CsvError,
    },
    /// An annotation is none.
    #[error(transparent)]
    Annotation(#[from] AnnotationParseError),
    /// A name is none of an image.
    #[error("invalid tag \"{name}\"")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: oci::ReferenceParseError,
    },
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
    #[error("unsupported output type `{kind}`: expected image, registry, docker, oci, tar, local or cacheonly")]
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
    /// What goes into the store cannot have annotations.
    #[error("cannot keep the annotation `{key}`: images in the store have no manifest to put it on; use type=oci")]
    Unannotated {
        /// The annotation.
        key: String,
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
    push: bool,
    compression: Option<String>,
    level: Option<i32>,
    force_compression: bool,
    rewrite_timestamp: bool,
    epoch: EpochChoice,
    names: Vec<Reference>,
    annotations: Vec<Annotation>,
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
        let fields = csv_fields(text).map_err(|source| OutputParseError::Fields { text: text.to_owned(), source })?;
        for part in &fields {
            let (key, value) = part.split_once('=').ok_or_else(|| OutputParseError::Part { part: part.to_string() })?;
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
            "push" => self.push = boolean(key, value)?,
            "name" => self.names = names(value)?,
            "compression" => self.compression = Some(value.to_owned()),
            "compression-level" => self.level = Some(number(key, value)?),
            "force-compression" => self.force_compression = boolean(key, value)?,
            "rewrite-timestamp" => self.rewrite_timestamp = boolean(key, value)?,
            "source-date-epoch" => self.epoch = epoch(key, value)?,
            "platform-split" => self.platform_split = Some(boolean(key, value)?),
            // That is how it is anyway: OCI's media types, an image in the store that needs no unpacking.
            "oci-mediatypes" | "store" => only_true(key, value)?,
            "unpack" => boolean(key, value).map(|_| ())?,
            _ => match parse_attribute(key, value)? {
                Some(annotation) => self.annotations.push(annotation),
                None => return Err(self.unknown(key)),
            },
        }
        Ok(())
    }

    fn unknown(&self, key: &str) -> OutputParseError {
        let kind = if self.kind.is_empty() { "this" } else { &self.kind };
        OutputParseError::Key { key: key.to_owned(), kind: kind.to_owned() }
    }

    fn into_output(self) -> Result<Output, OutputParseError> {
        let needs_destination = || OutputParseError::NoDestination { kind: self.kind.clone() };
        match self.kind.as_str() {
            "" => Err(OutputParseError::NoType),
            "image" => self.into_store(),
            "registry" => Self { push: true, ..self }.into_store(),
            "docker" if self.destination.is_none() => self.into_store(),
            "docker" | "oci" => {
                let kind = if self.kind == "oci" { BundleKind::Oci } else { BundleKind::Docker };
                let destination = self.destination.clone().ok_or_else(needs_destination)?;
                let destination = match (destination.as_str(), self.is_tar) {
                    ("-", _) => Destination::Stdout,
                    (path, Some(false)) => Destination::Directory(PathBuf::from(path)),
                    (path, _) => Destination::File(PathBuf::from(path)),
                };
                let compression = Compression::parse(self.compression.as_deref(), self.level)?;
                Ok(Output::Bundle(BundleOutput {
                    force_compression: self.force_compression,
                    rewrite_timestamp: self.rewrite_timestamp,
                    epoch: self.epoch,
                    names: self.names,
                    annotations: self.annotations,
                    ..BundleOutput::new(kind, destination, compression)
                }))
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

impl Attributes {
    /// An image in the store has no manifest, which is what annotations stand on; one that is pushed has.
    fn into_store(self) -> Result<Output, OutputParseError> {
        if self.push {
            let push = PushOutput {
                compression: Compression::parse(self.compression.as_deref(), self.level)?,
                force_compression: self.force_compression,
                rewrite_timestamp: self.rewrite_timestamp,
                epoch: self.epoch,
                annotations: self.annotations,
            };
            return Ok(Output::Store(StoreOutput { names: self.names, push: Some(push) }));
        }
        match self.annotations.first() {
            Some(annotation) => Err(OutputParseError::Unannotated { key: annotation.key.clone() }),
            None => Ok(Output::Store(StoreOutput { names: self.names, push: None })),
        }
    }
}

impl Output {
    /// Returns what users see of it while it is written.
    pub(crate) fn step_name(&self) -> &'static str {
        match self {
            Self::Store(_) => "image",
            Self::Bundle(BundleOutput { kind: BundleKind::Oci, .. }) => "oci image format",
            Self::Bundle(BundleOutput { kind: BundleKind::Docker, .. }) => "docker image format",
            Self::Files(FilesOutput { destination: Destination::Directory(_), .. }) => "client directory",
            Self::Files(_) => "client tarball",
            Self::Nowhere => "cache",
        }
    }
}

fn names(value: &str) -> Result<Vec<Reference>, OutputParseError> {
    let name = |name: &str| name.parse().map_err(|source| OutputParseError::Name { name: name.to_owned(), source });
    value.split(',').map(str::trim).filter(|it| !it.is_empty()).map(name).collect()
}

fn number<T: FromStr>(key: &str, value: &str) -> Result<T, OutputParseError> {
    value.parse().map_err(|_| unexpected(key, value, "a number"))
}

/// Seconds since the start of 1970; nothing is none.
fn epoch(key: &str, value: &str) -> Result<EpochChoice, OutputParseError> {
    if value.is_empty() {
        return Ok(EpochChoice::None);
    }
    let time = Timestamp::from_unix(number(key, value)?, 0);
    time.map(EpochChoice::At).ok_or_else(|| unexpected(key, value, "seconds of the years 0 to 9999"))
}

fn only_true(key: &str, value: &str) -> Result<(), OutputParseError> {
    if boolean(key, value)? { Ok(()) } else { Err(unexpected(key, value, "true, since Kiln does nothing else")) }
}

fn unexpected(key: &str, value: &str, expected: &'static str) -> OutputParseError {
    OutputParseError::Value { key: key.to_owned(), value: value.to_owned(), expected }
}

fn boolean(key: &str, value: &str) -> Result<bool, OutputParseError> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(unexpected(key, value, "true or false")),
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
        let store = |names: &[&str]| {
            let names = names.iter().map(|name| name.parse().unwrap()).collect();
            Ok(Output::Store(StoreOutput { names, push: None }))
        };
        assert_eq!(parse("type=docker"), store(&[]));
        assert_eq!(parse("type=image,unpack=true,store=true"), store(&[]));
        assert_eq!(parse("type=image,\"name=a,b:2\""), store(&["a", "b:2"]));
        assert_eq!(parse("type=cacheonly"), Ok(Output::Nowhere));
        assert_eq!(parse("type=registry,name=a"), parse("type=image,push=true,name=a"));
        assert_ne!(parse("type=registry"), parse("type=image"));
        let bundle =
            |kind, destination, compression| Ok(Output::Bundle(BundleOutput::new(kind, destination, compression)));
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
        refused("type=image,name=a:b:c", "invalid tag \"a:b:c\"");
        refused("type=oci,\"name=a", "cannot read `type=oci,\"name=a`");
        refused(
            "type=oci,dest=a,annotation-layer.a=1",
            "unknown annotation type \"layer\": expected manifest, index, manifest-descriptor or index-descriptor",
        );
        refused(
            "type=image,annotation.a=1",
            "cannot keep the annotation `a`: images in the store have no manifest to put it on; use type=oci",
        );
        refused("type=oci,source-date-epoch=now", "invalid value `now` for `source-date-epoch`: expected a number");
        refused(
            "type=oci,oci-mediatypes=false",
            "invalid value `false` for `oci-mediatypes`: expected true, since Kiln does nothing else",
        );
        refused(
            "type=floppy",
            "unsupported output type `floppy`: expected image, registry, docker, oci, tar, local or cacheonly",
        );
        refused("type=oci,dest=a,tar=maybe", "invalid value `maybe` for `tar`: expected true or false");
        refused(
            "type=oci,dest=a,compression=lzma",
            "invalid value `lzma` for `compression`: expected uncompressed, gzip or zstd",
        );
    }
}
