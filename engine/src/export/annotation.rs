//! Annotations of what is exported: on manifests, on indexes, or on the descriptors that lead to them.

use std::collections::BTreeMap;
use std::str::FromStr;

use oci::Platform;

/// What an annotation stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnotationLevel {
    /// The manifest of an image.
    Manifest,
    /// The descriptor of a manifest.
    ManifestDescriptor,
    /// The index of several manifests.
    Index,
    /// The descriptor of an index.
    IndexDescriptor,
}

impl AnnotationLevel {
    /// Returns the level that users call so.
    fn named(name: &str) -> Option<Self> {
        match name {
            "manifest" => Some(Self::Manifest),
            "manifest-descriptor" => Some(Self::ManifestDescriptor),
            "index" => Some(Self::Index),
            "index-descriptor" => Some(Self::IndexDescriptor),
            _ => None,
        }
    }
}

/// An annotation, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// On what.
    pub level: AnnotationLevel,
    /// On that of one platform only; `None` is on those of all.
    pub platform: Option<Platform>,
    /// Its name.
    pub key: String,
    /// What it says.
    pub value: String,
}

/// Why a text is no annotation; the texts are those of buildx.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationParseError {
    /// There is no `=`, or nothing before it.
    #[error("invalid annotation \"{text}\", expected key=value")]
    Pair {
        /// What was to be parsed.
        text: String,
    },
    /// Brackets are not closed, or hold no platform.
    #[error("invalid annotation type \"{text}\", expected type and optional platform in square brackets")]
    Type {
        /// The type with its platform.
        text: String,
    },
    /// The type is none.
    #[error("unknown annotation type \"{name}\": expected manifest, index, manifest-descriptor or index-descriptor")]
    UnknownType {
        /// The type.
        name: String,
    },
}

/// Parses `[type[platform],…:]key=value`, as `--annotation` has it; each type is an annotation of its own.
pub fn parse_annotations(text: &str) -> Result<Vec<Annotation>, AnnotationParseError> {
    let unpaired = || AnnotationParseError::Pair { text: text.to_owned() };
    let (place, value) = text.split_once('=').ok_or_else(unpaired)?;
    let (types, key) = match place.split_once(':') {
        Some((types, key)) => (types, key),
        None => ("manifest", place),
    };
    if key.is_empty() {
        return Err(unpaired());
    }
    let annotation = |text: &str| {
        let (level, platform) = parse_type(text)?;
        Ok(Annotation { level, platform, key: key.to_owned(), value: value.to_owned() })
    };
    types.split(',').map(annotation).collect()
}

/// Parses an attribute of an output whose name begins with `annotation`, such as `annotation-index.KEY`; `Ok(None)` is none of these.
pub(crate) fn parse_attribute(name: &str, value: &str) -> Result<Option<Annotation>, AnnotationParseError> {
    let Some(rest) = name.strip_prefix("annotation") else { return Ok(None) };
    let Some((place, key)) = rest.split_once('.').filter(|(_, key)| !key.is_empty()) else { return Ok(None) };
    let place = match place.strip_prefix('-') {
        Some(place) => place.to_owned(),
        None if place.is_empty() || place.starts_with('[') => format!("manifest{place}"),
        None => return Ok(None),
    };
    let (level, platform) = parse_type(&place)?;
    Ok(Some(Annotation { level, platform, key: key.to_owned(), value: value.to_owned() }))
}

/// Parses `type` and `type[platform]`.
fn parse_type(text: &str) -> Result<(AnnotationLevel, Option<Platform>), AnnotationParseError> {
    let malformed = || AnnotationParseError::Type { text: text.to_owned() };
    let (name, platform) = match text.split_once('[') {
        None => (text, None),
        Some((name, rest)) => {
            let platform = rest.strip_suffix(']').ok_or_else(malformed)?;
            (name, Some(Platform::from_str(platform).map_err(|_| malformed())?))
        }
    };
    let unknown = || AnnotationParseError::UnknownType { name: name.to_owned() };
    Ok((AnnotationLevel::named(name).ok_or_else(unknown)?, platform))
}

/// Returns the annotations of a level, those of `platform` and those of all; of two with the same key, the later one counts.
pub(crate) fn annotations_of(
    all: &[Annotation],
    level: AnnotationLevel,
    platform: Option<&Platform>,
) -> BTreeMap<String, String> {
    let is_meant = |it: &&Annotation| it.level == level && (it.platform.is_none() || it.platform.as_ref() == platform);
    all.iter().filter(is_meant).map(|it| (it.key.clone(), it.value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(parsed: Result<Vec<Annotation>, AnnotationParseError>) -> String {
        let show = |it: Annotation| {
            let platform = it.platform.map(|platform| format!("[{platform}]")).unwrap_or_default();
            format!("{:?}{platform} {}={}", it.level, it.key, it.value)
        };
        match parsed {
            Ok(annotations) => annotations.into_iter().map(show).collect::<Vec<_>>().join("; "),
            Err(error) => error.to_string(),
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(shown(parse_annotations(text)), expected);
    }

    #[test]
    fn annotations_are_written_as_for_buildx() {
        check("a=b", "Manifest a=b");
        check("index:a=b=c", "Index a=b=c");
        check("index,manifest-descriptor[linux/arm64]:a=", "Index a=; ManifestDescriptor[linux/arm64] a=");
        check("a", "invalid annotation \"a\", expected key=value");
        check("index:=b", "invalid annotation \"index:=b\", expected key=value");
        check(
            "index[x:a=b",
            "invalid annotation type \"index[x\", expected type and optional platform in square brackets",
        );
        check(
            "layer:a=b",
            "unknown annotation type \"layer\": expected manifest, index, manifest-descriptor or index-descriptor",
        );
    }

    #[test]
    fn attributes_of_outputs_are_annotations_too() {
        let parse = |name| shown(parse_attribute(name, "v").map(|it| it.into_iter().collect()));
        assert_eq!(parse("annotation.a.b"), "Manifest a.b=v");
        assert_eq!(parse("annotation[linux/amd64].a"), "Manifest[linux/amd64] a=v");
        assert_eq!(parse("annotation-index-descriptor.a"), "IndexDescriptor a=v");
        assert_eq!(parse("annotations.a"), "");
        assert_eq!(parse("annotation"), "");
    }

    #[test]
    fn an_annotation_of_a_platform_stands_on_that_one_only() {
        let all = ["a=1", "manifest[linux/arm64]:a=2", "index:b=3"].map(|text| parse_annotations(text).unwrap());
        let all = all.concat();
        let of = |platform: &str| {
            annotations_of(&all, AnnotationLevel::Manifest, Some(&platform.parse().unwrap())).remove("a")
        };
        assert_eq!((of("linux/amd64").as_deref(), of("linux/arm64").as_deref()), (Some("1"), Some("2")));
        assert_eq!(annotations_of(&all, AnnotationLevel::Index, None).len(), 1);
    }
}
