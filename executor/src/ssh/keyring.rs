//! Answers of an agent (draft-ietf-sshm-ssh-agent) that has keys and lets nobody change which.

use super::key::{Key, RsaHash};
use super::wire::{Reader, put_string, put_u32};

/// The answer to all that is refused.
pub(super) const FAILURE: &[u8] = &[5];
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// Keys of an agent.
#[derive(Debug)]
pub struct Keyring {
    keys: Vec<Key>,
}

/// Returns whether a step may ask an agent for this.
pub(super) fn may_ask(message: &[u8]) -> bool {
    matches!(message.first(), Some(&(REQUEST_IDENTITIES | SIGN_REQUEST)))
}

impl Keyring {
    pub(super) fn new(keys: Vec<Key>) -> Self {
        Self { keys }
    }

    /// Returns the answer to a message.
    pub(super) fn answer(&self, message: &[u8]) -> Vec<u8> {
        let answer = match message.split_first() {
            Some((&REQUEST_IDENTITIES, _)) => Some(self.list()),
            Some((&SIGN_REQUEST, request)) => self.sign(request),
            _ => None,
        };
        answer.unwrap_or_else(|| FAILURE.to_vec())
    }

    fn list(&self) -> Vec<u8> {
        let mut answer = vec![IDENTITIES_ANSWER];
        put_u32(&mut answer, u32::try_from(self.keys.len()).unwrap_or_default());
        for key in &self.keys {
            put_string(&mut answer, key.public());
            // The comment: often a name and a machine, which are nobody's concern.
            put_string(&mut answer, b"");
        }
        answer
    }

    fn sign(&self, request: &[u8]) -> Option<Vec<u8>> {
        let mut request = Reader(request);
        let (public, data, flags) = (request.string()?, request.string()?, request.u32()?);
        let hash = match flags {
            flags if flags & RSA_SHA2_512 != 0 => Some(RsaHash::Sha512),
            flags if flags & RSA_SHA2_256 != 0 => Some(RsaHash::Sha256),
            _ => None,
        };
        let key = self.keys.iter().find(|key| key.public() == public)?;
        let mut answer = vec![SIGN_RESPONSE];
        put_string(&mut answer, &key.sign(data, hash)?);
        Some(answer)
    }
}
