//! Maps by what is in files.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use crate::entry::ContentHash;

/// Something for each content: its hash and length.
pub(super) type ByContent<V> = HashMap<(ContentHash, u64), V, ByPrefix>;

/// Where in a list of files each content is: a table of places alone, which is made of 50,000 files in a fraction of the time that a map takes.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Places in the list, each where its content belongs or behind that; `NOWHERE` else. At least half of them are.
    slots: Vec<u32>,
    hashes: ByPrefix,
}

const NOWHERE: u32 = u32::MAX;

impl Places {
    /// Looks at a list; of files with one content the first counts. What cannot be numbered is not found.
    pub(super) fn of<T>(files: &[((ContentHash, u64), T)]) -> Self {
        let mut places =
            Self { slots: vec![NOWHERE; (2 * files.len()).next_power_of_two()], hashes: ByPrefix::default() };
        for (place, (content, _)) in (0..NOWHERE).zip(files) {
            let slot = places.slot(content, files);
            if places.slots[slot] == NOWHERE {
                places.slots[slot] = place;
            }
        }
        places
    }

    /// Returns the place of a content in the list that this was made of.
    pub(super) fn find<T>(&self, content: &(ContentHash, u64), files: &[((ContentHash, u64), T)]) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        Some(self.slots[self.slot(content, files)]).filter(|place| *place != NOWHERE).map(|place| place as usize)
    }

    /// Returns the slot that a content has, or would get.
    fn slot<T>(&self, content: &(ContentHash, u64), files: &[((ContentHash, u64), T)]) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = self.hashes.hash_one(content) as usize & mask;
        while self.slots[slot] != NOWHERE && files[self.slots[slot] as usize].0 != *content {
            slot = (slot + 1) & mask;
        }
        slot
    }
}

/// Content hashes are spread already: eight bytes of one, mixed with a secret so that nobody can choose contents that fall together.
#[derive(Clone, Debug)]
pub(super) struct ByPrefix {
    secret: u64,
}

impl Default for ByPrefix {
    fn default() -> Self {
        Self { secret: RandomState::new().hash_one(()) }
    }
}

impl BuildHasher for ByPrefix {
    type Hasher = PrefixHasher;

    fn build_hasher(&self) -> PrefixHasher {
        PrefixHasher { state: self.secret }
    }
}

pub(super) struct PrefixHasher {
    state: u64,
}

impl PrefixHasher {
    /// Both halves of the product count: the upper ones alone depend on all bits.
    fn mix(&mut self, number: u64) {
        let product = u128::from(self.state ^ number) * 0x9e37_79b9_7f4a_7c15;
        self.state = product as u64 ^ (product >> 64) as u64;
    }
}

impl Hasher for PrefixHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut prefix = [0; 8];
        let length = bytes.len().min(8);
        prefix[..length].copy_from_slice(&bytes[..length]);
        self.mix(u64::from_le_bytes(prefix));
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    fn write_usize(&mut self, _: usize) {
        // The length of a hash, which is always the same.
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_content_of_a_list_is_found_and_no_other() {
        let content = |number: u64| (ContentHash::of(&number.to_le_bytes()), number % 3);
        for count in [0, 1, 2, 3, 4, 1000] {
            let files: Vec<_> = (0..count).chain(0..count / 2).map(|number| (content(number), ())).collect();
            let places = Places::of(&files);
            for number in 0..2 * count {
                let expected = (number < count).then_some(number as usize);
                assert_eq!(places.find(&content(number), &files), expected, "{number} of {count}");
            }
        }
        assert_eq!(Places::default().find(&content(1), &[(content(1), ())]), None);
    }
}
