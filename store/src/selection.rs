//! The digests of what steps select in the files of other steps: whoever copies from a stage that is as it was before need not look at its files again.
//!
//! They lie in the cache's database: what is forgotten is computed again.

use oci::Digest;

use crate::database::Table;
use crate::{Store, StoreError};

/// Digests of selected files by the digest of what they are selected from, and how.
const SELECTIONS: Table = Table(b'G');
/// How many are remembered; one more, and all others are forgotten.
const SELECTIONS_MAX: usize = 1024;

impl Store {
    /// Returns the digest that was computed under `key`; `Ok(None)` means that none was.
    pub fn selected_digest(&self, key: &Digest) -> Result<Option<Digest>, StoreError> {
        self.cache().read(|reader| reader.get_record(SELECTIONS, key.as_bytes()))
    }

    /// Remembers the digest that was computed under `key`, which must say all that it was computed from.
    pub fn put_selected_digest(&self, key: &Digest, digest: &Digest) -> Result<(), StoreError> {
        self.cache().write(|writer| writer.put_bounded(SELECTIONS, key.as_bytes(), digest, SELECTIONS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_remembered_up_to_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let digest = |number: usize| Digest::of(&number.to_le_bytes());
        for number in 0..=SELECTIONS_MAX {
            store.put_selected_digest(&digest(number), &digest(number + 1)).unwrap();
        }
        let known = |number| store.selected_digest(&digest(number)).unwrap();
        assert_eq!((known(0), known(SELECTIONS_MAX)), (None, Some(digest(SELECTIONS_MAX + 1))));
    }
}
