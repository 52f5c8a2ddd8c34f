//! Platforms: operating system, architecture and variant, how users write them, and which one of an index serves which request.
//!
//! The rules are those of containerd's `platforms` package, which Docker and BuildKit share: names are normalised (`x86_64` is `amd64`,
//! `aarch64` is `arm64`), the variant that is the default of an architecture is left out, and a newer variant runs images of the older ones.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an image runs on, in normalised names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// The CPU architecture, by Go's names: `amd64`, `arm64`, `arm`, `386`, `riscv64` ….
    pub architecture: String,
    /// The operating system, by Go's names: `linux`, `windows` ….
    pub os: String,
    /// The version of the operating system; images for Windows have one.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the operating system that the image needs.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The variant of the architecture, such as `v7` of `arm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformParseError {
    /// Nothing is there.
    #[error("invalid platform: the text is empty")]
    Empty,
    /// A component has a character that no name has.
    #[error(
        "\"{component}\" is an invalid component of \"{text}\": it may have only letters, digits, `.`, `_` and `-`"
    )]
    Component {
        /// What was to be parsed.
        text: String,
        /// The part that is wrong.
        component: String,
    },
    /// A single word is neither an operating system nor an architecture.
    #[error("unknown operating system or architecture `{text}`")]
    Unknown {
        /// What was to be parsed.
        text: String,
    },
    /// There are more than three parts.
    #[error("invalid platform `{text}`: expected `os/architecture[/variant]`")]
    Parts {
        /// What was to be parsed.
        text: String,
    },
}

const KNOWN_OS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "windows",
];
const KNOWN_ARCHITECTURES: &[&str] = &[
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64",
    "s390x", "wasm",
];

impl Platform {
    /// Returns the platform with these parts, normalised.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (architecture, variant) = normalise_architecture(architecture, variant.unwrap_or_default());
        let variant = (!variant.is_empty()).then_some(variant);
        Self { architecture, os: normalise_os(os), os_version: None, os_features: Vec::new(), variant }
    }

    /// Returns the platform that this program was built for and runs on.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new(std::env::consts::OS, architecture, None)
    }

    /// Returns the platforms whose images serve a request for this one, the best first.
    ///
    /// An exact match comes first, then older variants; an `amd64` also runs `386`, an `arm64` also runs `arm`.
    pub fn serving(&self) -> Vec<Self> {
        let older = |architecture: &str, newest: u32, oldest: u32| {
            (oldest..=newest)
                .rev()
                .map(|version| self.sibling(architecture, &format!("v{version}")))
                .collect::<Vec<_>>()
        };
        let version = |default| self.variant_version().unwrap_or(default);
        let mut all = vec![self.clone()];
        match self.architecture.as_str() {
            "amd64" => {
                all.extend(older("amd64", version(1).saturating_sub(1), 1));
                all.push(self.sibling("386", ""));
            }
            "arm64" => {
                all.extend(older("arm64", version(8).saturating_sub(1), 8));
                all.extend(older("arm", 8, 5));
            }
            "arm" => all.extend(older("arm", version(7).saturating_sub(1), 5)),
            _ => {}
        }
        all
    }

    /// Tells how well `candidate` serves a request for this platform: lower is better, `None` is not at all.
    ///
    /// A version of the system that is asked for must be the candidate's, where that has one: containers of Windows run on their own version only.
    pub fn rank(&self, candidate: &Self) -> Option<usize> {
        if let (Some(wanted), Some(offered)) = (&self.os_version, &candidate.os_version)
            && wanted != offered
        {
            return None;
        }
        let candidate = Self::new(&candidate.os, &candidate.architecture, candidate.variant.as_deref());
        let plain = Self { os_version: None, os_features: Vec::new(), ..self.clone() };
        plain.serving().iter().position(|served| *served == candidate)
    }

    /// Returns the number in a variant such as `v7`; variants with more than one digit do not exist.
    fn variant_version(&self) -> Option<u32> {
        let digit = self.variant.as_deref()?.strip_prefix('v')?;
        digit.parse().ok().filter(|version| *version <= 9)
    }

    fn sibling(&self, architecture: &str, variant: &str) -> Self {
        Self::new(&self.os, architecture, Some(variant))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.os)?;
        self.os_version.iter().try_for_each(|version| write!(out, "({version})"))?;
        write!(out, "/{}", self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(out, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = PlatformParseError;

    /// Parses `os[(version)]/architecture[/variant]`, an operating system alone, or an architecture alone; what is missing is the host's.
    fn from_str(text: &str) -> Result<Self, PlatformParseError> {
        if text.is_empty() {
            return Err(PlatformParseError::Empty);
        }
        let mut parts: Vec<&str> = text.split('/').collect();
        let os_version = split_version(&mut parts[0]);
        if let Some(component) = parts.iter().find(|part| !is_component(part)) {
            return Err(PlatformParseError::Component { text: text.to_owned(), component: (*component).to_owned() });
        }
        let platform = match parts[..] {
            [word] => parse_word(word)?,
            [os, architecture] => Self::new(os, architecture, None),
            [os, architecture, variant] => Self::new(os, architecture, Some(variant)),
            _ => return Err(PlatformParseError::Parts { text: text.to_owned() }),
        };
        Ok(Self { os_version, ..platform })
    }
}

/// Takes the version off `windows(10.0.17763)`; what is in brackets and no version stays where it is, to be refused.
fn split_version(os: &mut &str) -> Option<String> {
    let (name, version) = os.strip_suffix(')')?.split_once('(')?;
    is_component(version).then(|| {
        *os = name;
        version.to_owned()
    })
}

fn is_component(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn parse_word(word: &str) -> Result<Platform, PlatformParseError> {
    let os = normalise_os(word);
    if KNOWN_OS.contains(&os.as_str()) {
        let host = Platform::host();
        return Ok(Platform::new(&os, &host.architecture, host.variant.as_deref()));
    }
    let (architecture, variant) = normalise_architecture(word, "");
    if KNOWN_ARCHITECTURES.contains(&architecture.as_str()) {
        return Ok(Platform::new(&Platform::host().os, &architecture, Some(&variant)));
    }
    Err(PlatformParseError::Unknown { text: word.to_owned() })
}

fn normalise_os(os: &str) -> String {
    match os.to_ascii_lowercase().as_str() {
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    }
}

/// Brings the many names of an architecture to Go's, and leaves out the variant that goes without saying.
fn normalise_architecture(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_ascii_lowercase(), variant.to_ascii_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", other) => ("amd64", other),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "v9.0") => ("arm64", "v9"),
        ("aarch64" | "arm64", other) => ("arm64", other),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.to_owned(), variant.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(text.parse::<Platform>().map(|it| it.to_string()).unwrap_or_else(|err| err.to_string()), expected);
    }

    #[test]
    fn every_name_of_an_architecture_becomes_one() {
        check("linux/amd64", "linux/amd64");
        check("Linux/x86_64", "linux/amd64");
        check("linux/aarch64", "linux/arm64");
        check("linux/arm64/v8", "linux/arm64");
        check("linux/arm", "linux/arm/v7");
        check("linux/armel", "linux/arm/v6");
        check("linux/amd64/v3", "linux/amd64/v3");
        check("linux/i386", "linux/386");
        check("macos/arm64", "darwin/arm64");
        check("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64");
    }

    #[test]
    fn a_single_word_is_completed_from_the_host() {
        let host = Platform::host();
        check("linux", &format!("linux/{}", host.architecture));
        check("riscv64", &format!("{}/riscv64", host.os));
        check("arm", &format!("{}/arm/v7", host.os));
    }

    #[test]
    fn a_wrong_platform_is_refused() {
        check("", "invalid platform: the text is empty");
        check("nope", "unknown operating system or architecture `nope`");
        check("linux/amd64/v1/x", "invalid platform `linux/amd64/v1/x`: expected `os/architecture[/variant]`");
        check(
            "windows()/amd64",
            "\"windows()\" is an invalid component of \"windows()/amd64\": it may have only letters, digits, `.`, `_` and `-`",
        );
        check(
            "linux//v7",
            "\"\" is an invalid component of \"linux//v7\": it may have only letters, digits, `.`, `_` and `-`",
        );
    }

    #[test]
    fn older_variants_serve_and_newer_ones_do_not() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        let rank = |wanted: &str, offered: &str| platform(wanted).rank(&platform(offered));
        assert_eq!(rank("windows(1.2)/amd64", "windows(1.2)/amd64"), Some(0));
        assert_eq!(rank("windows(1.2)/amd64", "windows(1.3)/amd64"), None);
        assert_eq!(rank("windows(1.2)/amd64", "windows/amd64"), Some(0));
        assert_eq!(rank("windows/amd64", "windows(1.3)/amd64"), Some(0));
        assert_eq!(rank("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(rank("linux/amd64", "linux/amd64/v2"), None);
        assert_eq!(rank("linux/amd64/v3", "linux/amd64/v2"), Some(1));
        assert_eq!(rank("linux/amd64/v3", "linux/amd64"), Some(2));
        assert_eq!(rank("linux/arm/v7", "linux/arm/v6"), Some(1));
        assert_eq!(rank("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(rank("linux/arm64", "linux/arm/v7"), Some(2));
        assert_eq!(rank("linux/amd64", "linux/386"), Some(1));
        assert_eq!(rank("linux/amd64", "windows/amd64"), None);
    }
}
