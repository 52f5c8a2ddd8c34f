//! Maps by what is in files.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use crate::entry::ContentHash;

/// Something for each content: its hash and length.
pub(super) type ByContent<V> = HashMap<(ContentHash, u64), V, ByPrefix>;

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
