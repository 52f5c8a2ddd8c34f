//! The attributes that stand behind an inode.

use crate::entry::{Entry, Kind};
use crate::tree::{OPAQUE_VALUE, OPAQUE_XATTRS};

/// The most that can stand behind one inode: its length is kept in 16 bits, as a number of four-byte units.
const BYTES_MAX: usize = 12 + (u16::MAX as usize - 1) * 4;

/// The names that the format has numbers for; the first that fits counts.
const PREFIXES: [(&[u8], u8); 5] = [
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"user.", 1),
    (b"trusted.", 4),
    (b"security.", 6),
];

/// Writes the attributes of an entry into `out`, which is cleared, and hands the names of those that there is no room for to `lost`.
///
/// A name with another prefix is one that no file system takes, so those are lost in a directory tree too.
pub(super) fn encode<'a>(entry: &Entry<'a>, out: &mut Vec<u8>, mut lost: impl FnMut(&'a [u8])) {
    out.clear();
    if entry.kind == (Kind::Directory { opaque: true }) {
        push(out, OPAQUE_XATTRS[0].as_bytes(), OPAQUE_VALUE);
    }
    for (name, value) in entry.metadata.xattrs.iter() {
        if !push(out, name, value) {
            lost(name);
        }
    }
}

/// Appends one attribute; tells whether it could.
fn push(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> bool {
    let fits = |(prefix, index): (&[u8], u8)| {
        let rest = name.strip_prefix(prefix)?;
        // The names of access control lists are whole ones; of the others a prefix alone is none.
        (prefix.ends_with(b".") != rest.is_empty()).then_some((rest, index))
    };
    let Some((rest, index)) = PREFIXES.into_iter().find_map(fits) else { return false };
    let (Ok(name_bytes), Ok(value_bytes)) = (u8::try_from(rest.len()), u16::try_from(value.len())) else {
        return false;
    };
    let start = out.len().max(12);
    let end = (start + 4 + rest.len() + value.len()).next_multiple_of(4);
    if end > BYTES_MAX {
        return false;
    }
    // The header says only that none of the attributes are shared with other inodes: all zeros.
    out.resize(start, 0);
    out.extend_from_slice(&[name_bytes, index]);
    out.extend_from_slice(&value_bytes.to_le_bytes());
    out.extend_from_slice(rest);
    out.extend_from_slice(value);
    out.resize(end, 0);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_file_system_has_and_values_that_are_too_long_are_lost() {
        let mut out = Vec::new();
        for (name, kept) in [
            ("user.a", true),
            ("user.", false),
            ("system.posix_acl_access", true),
            ("system.posix_acl_accessory", false),
            ("system.nfs4_acl", false),
            ("security.capability", true),
            ("btrfs.compression", false),
        ] {
            assert_eq!(push(&mut out, name.as_bytes(), b"v"), kept, "{name}");
        }
        assert!(push(&mut out, b"user.b", &[0; 65535]) && !push(&mut out, b"user.c", &[0; 65536]));
        assert!(push(&mut out, b"user.d", &[0; 65535]) && push(&mut out, b"user.e", &[0; 65535]));
        assert!(!push(&mut out, b"user.f", &[0; 65535]), "262 KB are the most in all");
        assert!(push(&mut out, b"user.g", b"") && out.len() % 4 == 0);
    }
}
