//! One netlink message: a header, a fixed part, and attributes that may hold further ones.

/// `struct nlmsghdr`.
pub(super) const HEADER_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
const ALIGNMENT: usize = 4;
const NESTED: u16 = 0x8000;
/// The bits of an attribute's kind that are not flags.
const KIND_MASK: u16 = 0x3fff;

/// A message in the making.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(super) kind: u16,
    pub(super) flags: u16,
    /// All that follows the header.
    pub(super) body: Vec<u8>,
}

impl Message {
    /// Begins a message with the fixed part of its kind.
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut message = Self { kind, flags, body: fixed.to_vec() };
        message.pad();
        message
    }

    /// Adds an attribute.
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.open(kind, value.len());
        self.body.extend_from_slice(value);
        self.pad();
        self
    }

    /// Adds an attribute that is a text, which ends with a zero.
    pub(crate) fn with_text(self, kind: u16, text: &str) -> Self {
        let mut value = text.as_bytes().to_vec();
        value.push(0);
        self.with(kind, &value)
    }

    /// Adds an attribute that is a number in the byte order of networks, as all numbers of nftables are.
    pub(crate) fn with_number(self, kind: u16, number: u32) -> Self {
        self.with(kind, &number.to_be_bytes())
    }

    /// Adds an attribute that holds what `fill` adds.
    pub(crate) fn with_nested(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.body.len();
        self.open(kind | NESTED, 0);
        let mut filled = fill(self);
        let length = (filled.body.len() - start) as u16;
        filled.body[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled
    }

    /// Adds bytes that are no attribute, as those do that hold a message of their own.
    pub(crate) fn with_fixed(mut self, fixed: &[u8]) -> Self {
        self.body.extend_from_slice(fixed);
        self.pad();
        self
    }

    /// Writes the message with its header behind others.
    pub(super) fn write(&self, sequence: u32, flags: u16, bytes: &mut Vec<u8>) {
        bytes.extend(((HEADER_BYTES + self.body.len()) as u32).to_ne_bytes());
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend((self.flags | flags).to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        // Port 0 is the kernel.
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend_from_slice(&self.body);
    }

    fn open(&mut self, kind: u16, value_bytes: usize) {
        self.body.extend(((ATTRIBUTE_HEADER_BYTES + value_bytes) as u16).to_ne_bytes());
        self.body.extend(kind.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.body.resize(self.body.len().next_multiple_of(ALIGNMENT), 0);
    }
}

/// Returns the attributes that stand in `bytes`, by kind. What is cut off is left out.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        let value = bytes.get(ATTRIBUTE_HEADER_BYTES..length)?;
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((kind & KIND_MASK, value))
    })
}

/// Returns the attribute of one kind in `bytes`.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let message = Message::new(1, 0, &[9; 4]).with_text(3, "ab").with_nested(4, |it| it.with_number(5, 7));
        let rest = &message.body[4..];
        assert_eq!(attribute(rest, 3), Some(&b"ab\0"[..]));
        assert_eq!(attribute(attribute(rest, 4).unwrap(), 5), Some(&[0, 0, 0, 7][..]));
        assert_eq!(attribute(rest, 6), None);
    }

    #[test]
    fn what_is_cut_off_is_left_out() {
        let message = Message::new(1, 0, &[]).with(3, &[1, 2, 3, 4]);
        for length in 0..message.body.len() {
            assert_eq!(attribute(&message.body[..length], 3), None);
        }
        // A length below that of the header itself.
        assert_eq!(attributes(&[0, 0, 1, 0]).count(), 0);
    }
}
