//! How SSH writes things down (RFC 4251, section 5), and messages of agents (draft-ietf-sshm-ssh-agent).

use std::io::{self, Read, Write};

/// The longest message, as OpenSSH has it.
const MESSAGE_BYTES_MAX: u32 = 256 << 10;

/// Reads a message; `None` is the end.
pub(super) fn read_message(mut from: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_be_bytes(length);
    if length == 0 || length > MESSAGE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length as usize];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

/// Writes a message.
pub(super) fn write_message(mut to: impl Write, message: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(message.len() + 4);
    put_string(&mut bytes, message);
    to.write_all(&bytes)
}

/// Adds a number.
pub(super) fn put_u32(to: &mut Vec<u8>, number: u32) {
    to.extend_from_slice(&number.to_be_bytes());
}

/// Adds a string with its length before it.
pub(super) fn put_string(to: &mut Vec<u8>, string: &[u8]) {
    put_u32(to, u32::try_from(string.len()).expect("strings here are shorter than messages"));
    to.extend_from_slice(string);
}

/// Adds a positive number of any length.
pub(super) fn put_number(to: &mut Vec<u8>, number: &[u8]) {
    let mut digits = trim(number).to_vec();
    // The highest bit is the sign.
    if digits.first().is_some_and(|first| first & 0x80 != 0) {
        digits.insert(0, 0);
    }
    put_string(to, &digits);
}

/// Returns a number without zeros before it.
pub(super) fn trim(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|digit| **digit == 0).count();
    &number[zeros..]
}

/// What is still to be read; `None` of its functions is too little.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.bytes(4)?.try_into().ok()?))
    }

    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.bytes(length as usize)
    }

    /// Reads a positive number, without zeros before it.
    pub(super) fn number(&mut self) -> Option<&'a [u8]> {
        self.string().map(trim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_ends() {
        let mut sent = Vec::new();
        write_message(&mut sent, b"question").unwrap();
        let mut received = sent.as_slice();
        assert_eq!(read_message(&mut received).unwrap().unwrap(), b"question");
        assert_eq!(read_message(&mut received).unwrap(), None);
        assert!(read_message([0; 4].as_slice()).is_err());
        assert!(read_message([0xff; 8].as_slice()).is_err());
        assert!(read_message(&sent[..6]).is_err());
    }

    #[test]
    fn numbers_have_a_sign() {
        let mut written = Vec::new();
        put_number(&mut written, &[0, 0, 0x80, 1]);
        put_number(&mut written, &[0x7f]);
        assert_eq!(written, [0, 0, 0, 3, 0, 0x80, 1, 0, 0, 0, 1, 0x7f]);
        let mut reader = Reader(&written);
        assert_eq!(reader.number(), Some([0x80, 1].as_slice()));
        assert_eq!(reader.number(), Some([0x7f].as_slice()));
        assert_eq!(reader.number(), None);
    }
}
