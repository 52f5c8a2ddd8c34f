//! Extended attributes: a sorted list of names and values, and which of them belong to a layer at all.
//!
//! Three rules decide, and nothing else in the program does:
//!
//! | name | in entries | in content digests and exported tars |
//! |---|---|---|
//! | `trusted.overlay.*`, `user.overlay.*` | no: they are how an overlay file system keeps its books | no |
//! | `security.*` but `security.capability` | no: labels of the host (SELinux, IMA) | no |
//! | `system.*` (access control lists) | yes | no, as BuildKit leaves them out |
//! | the rest, `security.capability` among it | yes | yes |

use std::collections::BTreeMap;
use std::fmt;

use crate::path::text;

/// Extended attributes, sorted by name, each name once.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Xattrs<'a> {
    /// For each attribute the length of its name and that of its value (four bytes each, little endian), the name, the value.
    encoded: &'a [u8],
}

/// Extended attributes that are owned.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct XattrsBuf {
    encoded: Vec<u8>,
}

/// Returns whether an attribute is part of a layer's entries.
pub fn is_kept(name: &[u8]) -> bool {
    !is_overlay(name) && (!name.starts_with(b"security.") || name == b"security.capability")
}

/// Returns whether an attribute is part of content digests and exported tars.
pub fn is_exported(name: &[u8]) -> bool {
    is_kept(name) && !name.starts_with(b"system.")
}

fn is_overlay(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

impl<'a> Xattrs<'a> {
    /// No attributes.
    pub const EMPTY: Xattrs<'static> = Xattrs { encoded: b"" };

    /// Checks bytes that [`Xattrs::encoded`] may have given.
    pub(crate) fn parse(encoded: &'a [u8]) -> Option<Self> {
        let mut rest = encoded;
        let mut last: Option<&[u8]> = None;
        while !rest.is_empty() {
            let (name, _, after) = split_first(rest)?;
            if name.is_empty() || last.is_some_and(|last| last >= name) {
                return None;
            }
            (last, rest) = (Some(name), after);
        }
        Some(Self { encoded })
    }

    /// Returns the form in which lists of entries hold them.
    pub(crate) fn encoded(self) -> &'a [u8] {
        self.encoded
    }

    /// Returns whether there are none.
    pub fn is_empty(self) -> bool {
        self.encoded.is_empty()
    }

    /// Returns names and values in the order of the names.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.encoded;
        std::iter::from_fn(move || {
            let (name, value, after) = split_first(rest)?;
            rest = after;
            Some((name, value))
        })
    }

    /// Returns the value of one attribute; `None` means that it is not there.
    pub fn get(self, name: &[u8]) -> Option<&'a [u8]> {
        self.iter().find_map(|(other, value)| (other == name).then_some(value))
    }

    /// Returns those that digests and exported tars have.
    pub fn exported(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.iter().filter(|(name, _)| is_exported(name))
    }

    /// Returns an owned copy.
    pub fn to_owned(self) -> XattrsBuf {
        XattrsBuf { encoded: self.encoded.to_vec() }
    }
}

fn split_first(encoded: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name_bytes, rest) = encoded.split_first_chunk::<4>()?;
    let (value_bytes, rest) = rest.split_first_chunk::<4>()?;
    let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*name_bytes) as usize)?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_bytes) as usize)?;
    Some((name, value, rest))
}

impl XattrsBuf {
    /// Borrows them.
    pub fn as_xattrs(&self) -> Xattrs<'_> {
        Xattrs { encoded: &self.encoded }
    }
}

/// Of two attributes of one name the later stays; those that no layer has are left out.
impl<N: Into<Vec<u8>>, V: Into<Vec<u8>>> FromIterator<(N, V)> for XattrsBuf {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter().map(|(name, value)| (name.into(), value.into()));
        let sorted: BTreeMap<Vec<u8>, Vec<u8>> = pairs.filter(|(name, _)| !name.is_empty() && is_kept(name)).collect();
        let mut encoded = Vec::new();
        for (name, value) in sorted {
            encoded.extend_from_slice(&(name.len() as u32).to_le_bytes());
            encoded.extend_from_slice(&(value.len() as u32).to_le_bytes());
            encoded.extend_from_slice(&name);
            encoded.extend_from_slice(&value);
        }
        Self { encoded }
    }
}

impl fmt::Debug for Xattrs<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_map().entries(self.iter().map(|(name, value)| (text(name), text(value)))).finish()
    }
}

impl fmt::Debug for XattrsBuf {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.as_xattrs(), out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_sorted_and_the_later_of_two_stays() {
        let set = XattrsBuf::from_iter([("user.b", "1"), ("user.a", ""), ("user.b", "2")]);
        let pairs: Vec<_> = set.as_xattrs().iter().map(|(name, value)| (text(name), text(value))).collect();
        assert_eq!(pairs, [("user.a".to_owned(), String::new()), ("user.b".to_owned(), "2".to_owned())]);
        assert_eq!(set.as_xattrs().get(b"user.b"), Some(b"2".as_slice()));
        assert_eq!(Xattrs::parse(&set.encoded), Some(set.as_xattrs()));
    }

    #[test]
    fn the_books_of_overlays_and_the_labels_of_hosts_are_never_kept() {
        for left_out in ["trusted.overlay.opaque", "user.overlay.origin", "security.selinux", "security.ima"] {
            assert!(!is_kept(left_out.as_bytes()), "{left_out}");
        }
        assert!(is_exported(b"security.capability") && is_exported(b"user.x") && is_exported(b"trusted.x"));
        assert!(is_kept(b"system.posix_acl_access") && !is_exported(b"system.posix_acl_access"));
    }

    #[test]
    fn what_is_not_a_sorted_list_is_refused() {
        let set = XattrsBuf::from_iter([("user.a", "1"), ("user.b", "2")]);
        for cut in 1..set.encoded.len() {
            let whole = cut == set.encoded.len() / 2;
            assert_eq!(Xattrs::parse(&set.encoded[..cut]).is_some(), whole, "{cut}");
        }
        let (first, second) = set.encoded.split_at(set.encoded.len() / 2);
        assert_eq!(Xattrs::parse(&[second, first].concat()), None);
        assert_eq!(Xattrs::parse(&[first, first].concat()), None);
    }
}
