//! How far the digest of a layer's tar had come at some of its entries: that of a layer that begins with the same entries goes on from there.
//!
//! ```text
//! magic        24 bytes
//! checksum     32 bytes, BLAKE3 of all behind it
//! checkpoints  120 bytes each: entries, bytes of the tar (8 bytes each), state of the hash
//! ```
//! Numbers are little endian.

use oci::{HASHER_STATE_BYTES, HasherState};

use crate::entries::Entries;
use crate::entry::ContentHash;

/// Stands also for the bytes that an entry becomes in a tar: **it changes with everything that changes them.**
const MAGIC: &[u8; 24] = b"kiln tar checkpoints 1\0\0";

/// How far apart checkpoints are at least, and how many there are at most; of a longer tar they are further apart.
const SPACING_BYTES: u64 = 4 << 20;
const CHECKPOINTS_MAX: usize = 256;

const CHECKPOINT_BYTES: usize = 8 + 8 + HASHER_STATE_BYTES;

/// Where the digest of a tar stood behind some entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// How many entries are in what was hashed.
    pub(super) entries: u64,
    /// How long that is.
    pub(super) tar_bytes: u64,
    pub(super) state: HasherState,
}

/// Where the digest of a layer's tar stood at some of its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoints {
    checkpoints: Vec<Checkpoint>,
    spacing_bytes: u64,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self { checkpoints: Vec::new(), spacing_bytes: SPACING_BYTES }
    }
}

impl Checkpoints {
    /// Returns the last checkpoint that a layer has in common with this one, which has `known`.
    pub(super) fn last_common(&self, known: &Entries, entries: &Entries) -> Option<Checkpoint> {
        let common = known.iter().zip(entries.iter()).take_while(|(known, entry)| known == entry).count() as u64;
        let after = self.checkpoints.partition_point(|checkpoint| checkpoint.entries <= common);
        after.checked_sub(1).map(|last| self.checkpoints[last])
    }

    /// Keeps the checkpoints up to one of them: what goes on from there has these too.
    pub(super) fn up_to(&self, last: &Checkpoint) -> Self {
        let before = self.checkpoints.iter().take_while(|checkpoint| checkpoint.entries <= last.entries);
        Self { checkpoints: before.copied().collect(), ..*self }
    }

    /// Tells whether so many bytes are far enough from the last checkpoint for another one.
    pub(super) fn is_due(&self, tar_bytes: u64) -> bool {
        tar_bytes >= self.checkpoints.last().map_or(0, |last| last.tar_bytes).saturating_add(self.spacing_bytes)
    }

    /// Adds a checkpoint that is due.
    pub(super) fn push(&mut self, checkpoint: Checkpoint) {
        if self.checkpoints.len() == CHECKPOINTS_MAX {
            let mut is_kept = false;
            self.checkpoints.retain(|_| {
                is_kept = !is_kept;
                !is_kept
            });
            self.spacing_bytes = self.spacing_bytes.saturating_mul(2);
            if !self.is_due(checkpoint.tar_bytes) {
                return;
            }
        }
        self.checkpoints.push(checkpoint);
    }

    /// Returns them as bytes, to be kept.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAGIC.len() + 32 + self.checkpoints.len() * CHECKPOINT_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[0; 32]);
        for Checkpoint { entries, tar_bytes, state } in &self.checkpoints {
            bytes.extend_from_slice(&entries.to_le_bytes());
            bytes.extend_from_slice(&tar_bytes.to_le_bytes());
            bytes.extend_from_slice(&state.0);
        }
        let checksum = ContentHash::of(&bytes[MAGIC.len() + 32..]);
        bytes[MAGIC.len()..MAGIC.len() + 32].copy_from_slice(&checksum.0);
        bytes
    }

    /// Reads what [`Checkpoints::encode`] returned; `None` if it is damaged, or of a version that wrote other tars.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (checksum, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<32>()?;
        if ContentHash::of(rest).0 != *checksum || rest.len() % CHECKPOINT_BYTES != 0 {
            return None;
        }
        let mut decoded = Self::default();
        for bytes in rest.chunks_exact(CHECKPOINT_BYTES) {
            let (entries, bytes) = bytes.split_first_chunk()?;
            let (tar_bytes, state) = bytes.split_first_chunk()?;
            let state = HasherState(*state.first_chunk()?);
            let (entries, tar_bytes) = (u64::from_le_bytes(*entries), u64::from_le_bytes(*tar_bytes));
            decoded.push(Checkpoint { entries, tar_bytes, state });
        }
        Some(decoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci::Hasher;

    fn checkpoint(number: u64) -> Checkpoint {
        Checkpoint { entries: number, tar_bytes: number * SPACING_BYTES, state: Hasher::new().state() }
    }

    #[test]
    fn there_are_never_too_many_and_they_stay_spread() {
        let mut checkpoints = Checkpoints::default();
        for number in 1..10_000 {
            if checkpoints.is_due(number * SPACING_BYTES) {
                checkpoints.push(checkpoint(number));
            }
        }
        let places: Vec<u64> = checkpoints.checkpoints.iter().map(|it| it.entries).collect();
        assert!(places.len() > CHECKPOINTS_MAX / 2 && places.len() <= CHECKPOINTS_MAX, "{}", places.len());
        let apart: Vec<u64> = places.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(apart.iter().all(|it| *it == apart[0]), "{apart:?}");
    }

    #[test]
    fn what_is_encoded_is_decoded_and_damage_is_noticed() {
        let mut checkpoints = Checkpoints::default();
        (1..10).for_each(|number| checkpoints.push(checkpoint(number)));
        let bytes = checkpoints.encode();
        assert_eq!(Checkpoints::decode(&bytes), Some(checkpoints));
        assert_eq!(Checkpoints::decode(&Checkpoints::default().encode()), Some(Checkpoints::default()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Checkpoints::decode(&damaged), None, "{at}");
            assert_eq!(Checkpoints::decode(&bytes[..at]), None, "{at}");
        }
    }
}
