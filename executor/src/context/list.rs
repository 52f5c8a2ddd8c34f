//! The names in a directory, sorted, each with what is there as far as the directory says it.
//!
//! ```text
//! for each name    a byte for its kind (the file type bits of its mode, shifted right by 12; 0 is unknown), the name, a NUL
//! ```

use std::ffi::CStr;

use rustix::fs::FileType;

/// How far the file type bits are from the right in a mode (inode(7)).
const TYPE_SHIFT: u32 = 12;

/// The names in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct List<B>(B);

impl<B: AsRef<[u8]>> List<B> {
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// Returns the names in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&CStr, FileType)> {
        let mut rest = self.0.as_ref();
        std::iter::from_fn(move || {
            let (kind, behind) = rest.split_first()?;
            let name = CStr::from_bytes_until_nul(behind).ok()?;
            rest = behind.get(name.count_bytes() + 1..)?;
            let kind = match kind {
                0 => FileType::Unknown,
                kind => FileType::from_raw_mode(u32::from(*kind) << TYPE_SHIFT),
            };
            Some((name, kind))
        })
    }
}

impl<'a> List<&'a [u8]> {
    /// Takes over bytes that [`List::as_bytes`] gave.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

/// Names as they come from the kernel.
#[derive(Default)]
pub(super) struct ListBuilder {
    bytes: Vec<u8>,
    /// Where each name has its kind.
    starts: Vec<usize>,
}

impl ListBuilder {
    pub(super) fn push(&mut self, kind: FileType, name: &CStr) {
        self.starts.push(self.bytes.len());
        self.bytes.push(match kind {
            FileType::Unknown => 0,
            kind => (kind.as_raw_mode() >> TYPE_SHIFT) as u8,
        });
        self.bytes.extend_from_slice(name.to_bytes_with_nul());
    }

    pub(super) fn finish(mut self) -> List<Vec<u8>> {
        let name = |start: &usize| CStr::from_bytes_until_nul(&self.bytes[start + 1..]).unwrap_or_default();
        self.starts.sort_unstable_by(|one, other| name(one).cmp(name(other)));
        let mut sorted = Vec::with_capacity(self.bytes.len());
        for start in &self.starts {
            sorted.push(self.bytes[*start]);
            sorted.extend_from_slice(name(start).to_bytes_with_nul());
        }
        List(sorted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_keep_their_kinds() {
        let kinds =
            [FileType::RegularFile, FileType::Directory, FileType::Symlink, FileType::Unknown, FileType::Socket];
        let names = [c"b", c"a\xff", c"c", c"a", c"bb"];
        let mut builder = ListBuilder::default();
        names.iter().zip(kinds).for_each(|(name, kind)| builder.push(kind, name));
        let list = builder.finish();
        let mut expected: Vec<_> = names.into_iter().zip(kinds).collect();
        expected.sort_by_key(|(name, _)| name.to_bytes());
        assert_eq!(List::new(list.as_bytes()).iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn bytes_that_are_no_list_end_it() {
        assert_eq!(List::new(b"\x08a\0\x04b").iter().count(), 1);
        assert_eq!(List::new(b"").iter().count(), 0);
    }
}
