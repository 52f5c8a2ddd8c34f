//! Paths of entries: bytes, relative to the root of the layer, and never able to lead out of it.
//!
//! **Invariant:** a path has no `.`, no `..`, no empty component, no NUL and no `/` at either end. The empty path is the root.
//!
//! The order is by components and not by bytes: a directory comes before what is in it, and all of that before its next sibling
//! (`a`, `a/b`, `a-b`). So whatever is beneath a directory stands in one piece behind it, in lists, tars and digests.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

/// The longest path that a layer holds, in bytes: four times what system calls take at once.
///
/// A chain of directories has as many paths as it is deep, each longer than the one before; this bounds what one chain can take.
pub const PATH_BYTES_MAX: usize = 16 * 1024;

/// The longest name of a file, in bytes; no file system of Linux takes longer ones.
pub const NAME_BYTES_MAX: usize = 255;

/// Why bytes are not the path of an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It starts or ends with `/`, or has an empty, `.` or `..` component.
    #[error("invalid path `{path}`: expected names separated by single `/`, without `.` and `..`")]
    Form {
        /// What was to be a path.
        path: String,
    },
    /// It holds a NUL.
    #[error("invalid path `{path}`: it holds a NUL byte")]
    Nul {
        /// What was to be a path.
        path: String,
    },
    /// One of its names is too long.
    #[error("file name too long in `{path}`: a name has at most {NAME_BYTES_MAX} bytes, one here has {name_bytes}")]
    NameTooLong {
        /// What was to be a path.
        path: String,
        /// How long the name is.
        name_bytes: usize,
    },
    /// It is too long.
    #[error("path too long: a path has at most {PATH_BYTES_MAX} bytes, `{start}…` has {path_bytes}")]
    TooLong {
        /// Its first bytes.
        start: String,
        /// How long it is.
        path_bytes: usize,
    },
}

/// A borrowed path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct EntryPath<'a>(&'a [u8]);

/// An owned path.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct EntryPathBuf(Vec<u8>);

impl<'a> EntryPath<'a> {
    /// The root of the layer.
    pub const ROOT: EntryPath<'static> = EntryPath(b"");

    /// Checks that `bytes` are a path as they stand.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PathError> {
        check_length(bytes)?;
        if !bytes.is_empty() {
            bytes.split(|byte| *byte == b'/').try_for_each(|name| check_name(name, bytes))?;
        }
        Ok(Self(bytes))
    }

    /// Returns `parent` and `name` as one path that stands in `bytes` already, when it does.
    ///
    /// Checks only the name: this is how a long list of paths, each beneath one that was checked, is checked quickly.
    pub(crate) fn parse_child(bytes: &'a [u8], parent: EntryPath<'_>) -> Option<Self> {
        let name = if parent.is_root() {
            bytes
        } else {
            bytes.strip_prefix(parent.0).and_then(|rest| rest.strip_prefix(b"/"))?
        };
        (bytes.len() <= PATH_BYTES_MAX && !name.contains(&b'/') && check_name(name, bytes).is_ok())
            .then_some(Self(bytes))
    }

    /// Takes over what was checked before.
    pub(crate) fn parse_checked(bytes: &'a [u8]) -> Self {
        debug_assert!(Self::parse(bytes).is_ok(), "`{}` was checked", text(bytes));
        Self(bytes)
    }

    /// Returns the bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Returns the bytes as system calls take them: the root is `.`.
    pub(crate) fn as_argument(self) -> &'a [u8] {
        if self.0.is_empty() { b"." } else { self.0 }
    }

    /// Returns whether this is the root.
    pub fn is_root(self) -> bool {
        self.0.is_empty()
    }

    /// Returns the directory that this is in; the root is in none.
    pub fn parent(self) -> Option<EntryPath<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(&self.0[..end]))
    }

    /// Returns the last component; the root has none, and gives an empty name.
    pub fn name(self) -> &'a [u8] {
        let start = self.0.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        &self.0[start..]
    }

    /// Returns the names from the root downwards.
    pub fn components(self) -> impl Iterator<Item = &'a [u8]> {
        self.0.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
    }

    /// Returns the directories above this one, from the root downwards, without itself.
    pub fn ancestors(self) -> impl Iterator<Item = EntryPath<'a>> {
        let root = (!self.is_root()).then_some(EntryPath::ROOT);
        let slashes = self.0.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        root.into_iter().chain(slashes.map(move |(slash, _)| Self(&self.0[..slash])))
    }

    /// Returns whether this is `directory` or beneath it.
    pub fn is_within(self, directory: EntryPath<'_>) -> bool {
        self.relative_to(directory).is_some()
    }

    /// Returns the path as seen from `directory`, if it is that directory or beneath it.
    pub fn relative_to(self, directory: EntryPath<'_>) -> Option<EntryPath<'a>> {
        let rest = self.0.strip_prefix(directory.0)?;
        match rest {
            [] => Some(EntryPath::ROOT),
            _ if directory.is_root() => Some(Self(rest)),
            [b'/', below @ ..] => Some(Self(below)),
            _ => None,
        }
    }

    /// Returns the path of `below` as seen from where this path starts.
    pub fn join(self, below: EntryPath<'_>) -> EntryPathBuf {
        let mut joined = Vec::with_capacity(self.0.len() + 1 + below.0.len());
        joined.extend_from_slice(self.0);
        if !self.is_root() && !below.is_root() {
            joined.push(b'/');
        }
        joined.extend_from_slice(below.0);
        EntryPathBuf(joined)
    }

    /// Returns the path of a file of this directory.
    pub fn child(self, name: &[u8]) -> Result<EntryPathBuf, PathError> {
        check_name(name, name)?;
        let child = self.join(EntryPath(name));
        check_length(&child.0)?;
        Ok(child)
    }

    /// Returns an owned copy.
    pub fn to_owned(self) -> EntryPathBuf {
        EntryPathBuf(self.0.to_vec())
    }

    /// Returns the path as users read it: with a `/` in front, and with what is not UTF-8 replaced.
    pub fn to_text(self) -> String {
        format!("/{}", text(self.0))
    }
}

impl EntryPathBuf {
    /// Takes `bytes` over if they are a path as they stand.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, PathError> {
        EntryPath::parse(&bytes)?;
        Ok(Self(bytes))
    }

    /// Cleans what was written by a person or an archive: `.` and empty components vanish, `..` takes a name away and stops at the root.
    ///
    /// `/a//b/../c/` is `a/c`, and so is `../../a/c`. No symbolic link is looked at.
    pub fn clean(written: &[u8]) -> Result<Self, PathError> {
        let mut cleaned: Vec<u8> = Vec::with_capacity(written.len());
        for name in written.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => {}
                b".." => cleaned.truncate(cleaned.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
                _ => {
                    if !cleaned.is_empty() {
                        cleaned.push(b'/');
                    }
                    cleaned.extend_from_slice(name);
                }
            }
        }
        Self::parse(cleaned)
    }

    /// Borrows it.
    pub fn as_path(&self) -> EntryPath<'_> {
        EntryPath(&self.0)
    }

    /// Returns the bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

fn check_length(path: &[u8]) -> Result<(), PathError> {
    match path.len() {
        0..=PATH_BYTES_MAX => Ok(()),
        path_bytes => Err(PathError::TooLong { start: text(&path[..64]), path_bytes }),
    }
}

fn check_name(name: &[u8], path: &[u8]) -> Result<(), PathError> {
    match name {
        b"" | b"." | b".." => Err(PathError::Form { path: text(path) }),
        _ if name.contains(&b'/') => Err(PathError::Form { path: text(path) }),
        _ if name.contains(&0) => Err(PathError::Nul { path: text(path) }),
        _ if name.len() > NAME_BYTES_MAX => Err(PathError::NameTooLong { path: text(path), name_bytes: name.len() }),
        _ => Ok(()),
    }
}

/// Returns bytes as a message shows them.
pub(crate) fn text(bytes: &[u8]) -> String {
    match String::from_utf8_lossy(bytes) {
        Cow::Borrowed(clean) if !clean.contains(char::is_control) => clean.to_owned(),
        shown => shown.chars().fold(String::with_capacity(shown.len()), |mut text, character| {
            if character.is_control() {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
            text
        }),
    }
}

/// Compares byte by byte, with `/` before every other byte and the end of a path before that.
fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let common = common_prefix(left, right);
    match (left.get(common), right.get(common)) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(b'/'), Some(_)) => Ordering::Less,
        (Some(_), Some(b'/')) => Ordering::Greater,
        (Some(left), Some(right)) => left.cmp(right),
    }
}

/// Returns how many bytes both start with, eight at a time: neighbours in a list have long common prefixes.
fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    let mut common = 0;
    for (left, right) in left.chunks_exact(8).zip(right.chunks_exact(8)) {
        if left != right {
            break;
        }
        common += 8;
    }
    common + left[common..].iter().zip(&right[common..]).take_while(|(left, right)| left == right).count()
}

impl Ord for EntryPath<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.0, other.0)
    }
}

impl PartialOrd for EntryPath<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EntryPathBuf {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for EntryPathBuf {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for EntryPath<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.to_text())
    }
}

impl fmt::Debug for EntryPath<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Display for EntryPathBuf {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_path(), out)
    }
}

impl fmt::Debug for EntryPathBuf {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_path(), out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_directly_before_what_is_in_it() {
        let mut paths: Vec<&[u8]> = vec![b"a-b", b"a/b", b"b", b"a", b"a/b/c", b"", b"a/b-c", b"a.b"];
        paths.sort_by_key(|path| EntryPath::parse(path).unwrap());
        let texts: Vec<String> = paths.into_iter().map(text).collect();
        assert_eq!(texts, ["", "a", "a/b", "a/b/c", "a/b-c", "a-b", "a.b", "b"]);
    }

    #[test]
    fn cleaning_clamps_to_the_root() {
        let cleaned = |written: &str| EntryPathBuf::clean(written.as_bytes()).unwrap().to_string();
        assert_eq!(cleaned("/a//b/../c/"), "/a/c");
        assert_eq!(cleaned("../../a/./c"), "/a/c");
        assert_eq!(cleaned("./"), "/");
        assert_eq!(cleaned("a/../../.."), "/");
    }

    #[test]
    fn what_could_lead_out_of_the_root_is_not_a_path() {
        for wrong in ["/a", "a/", "a//b", ".", "a/./b", "..", "a/../b", "a\0b"] {
            EntryPath::parse(wrong.as_bytes()).expect_err(wrong);
        }
        let message = |path: &[u8]| EntryPath::parse(path).unwrap_err().to_string();
        assert_eq!(
            message(b"../x\n"),
            "invalid path `../x\\n`: expected names separated by single `/`, without `.` and `..`"
        );
        assert_eq!(message(b"a\0"), "invalid path `a\\u{0}`: it holds a NUL byte");
        assert!(message(&[b'x'; 256]).ends_with("a name has at most 255 bytes, one here has 256"));
        assert!(message(&b"x/".repeat(9000)).ends_with("x/…` has 18000"));
    }

    #[test]
    fn parents_names_and_relations() {
        let path = EntryPath::parse(b"usr/lib/x").unwrap();
        assert_eq!(path.parent().unwrap().to_text(), "/usr/lib");
        assert_eq!(path.name(), b"x");
        let ancestors: Vec<String> = path.ancestors().map(EntryPath::to_text).collect();
        assert_eq!(ancestors, ["/", "/usr", "/usr/lib"]);
        let within = |directory: &[u8]| path.relative_to(EntryPath::parse(directory).unwrap()).map(EntryPath::to_text);
        assert_eq!(within(b"usr").as_deref(), Some("/lib/x"));
        assert_eq!(within(b"").as_deref(), Some("/usr/lib/x"));
        assert_eq!(within(b"us"), None);
        assert_eq!(EntryPath::ROOT.parent(), None);
        assert_eq!(EntryPath::ROOT.child(b"a").unwrap().to_string(), "/a");
        assert!(EntryPath::ROOT.child(b"a/b").is_err());
    }
}
