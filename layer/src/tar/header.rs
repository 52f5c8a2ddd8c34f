//! One header block: 512 bytes of fixed fields.
//!
//! ```text
//!   0 name (100)   100 mode (8)   108 uid (8)   116 gid (8)   124 size (12)   136 mtime (12)   148 checksum (8)
//! 156 type (1)     157 link name (100)          257 magic and version (8)    265 user name (32)   297 group name (32)
//! 329 major (8)    337 minor (8)   345 prefix of the name (155; 131 in star's archives)
//! ```
//!
//! Numbers are octal digits; where the first bit is set, the rest is a binary number (big endian, two's complement), as GNU writes large ones.

use std::ops::Range;

use super::BLOCK_BYTES;

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK_NAME: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const MAJOR: Range<usize> = 329..337;
const MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;
/// Where star's archives have `tar`; the prefix ends earlier there.
const STAR_MAGIC: Range<usize> = 508..512;
const STAR_PREFIX: Range<usize> = 345..476;

const USTAR: &[u8; 8] = b"ustar\x0000";
const GNU: &[u8; 8] = b"ustar  \0";

/// The largest number that the eight bytes of an owner or a device hold as octal digits.
pub(super) const OCTAL_SHORT_MAX: u64 = 0o7_777_777;
/// The largest number that the twelve bytes of a size or a time hold as octal digits.
pub(super) const OCTAL_LONG_MAX: u64 = 0o77_777_777_777;

/// A header block.
pub(super) struct Block(pub(super) [u8; BLOCK_BYTES]);

/// Fields of a header that is written.
pub(super) struct Fields<'a> {
    pub(super) prefix: &'a [u8],
    pub(super) name: &'a [u8],
    pub(super) type_flag: u8,
    pub(super) mode: u16,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) size_bytes: u64,
    pub(super) mtime_seconds: u64,
    pub(super) link_name: &'a [u8],
    /// The numbers of a device; other kinds leave the fields empty.
    pub(super) device: Option<(u64, u64)>,
}

impl Block {
    /// Returns whether all bytes are zero, which ends an archive.
    pub(super) fn is_zero(&self) -> bool {
        self.0 == [0; BLOCK_BYTES]
    }

    /// Returns whether the checksum is right. Some old programs added signed bytes, so both sums are.
    pub(super) fn has_valid_checksum(&self) -> bool {
        let stored = number(&self.0[CHECKSUM]);
        let others = self.0.iter().enumerate().map(|(at, byte)| if CHECKSUM.contains(&at) { b' ' } else { *byte });
        let (unsigned, signed) = others.fold((0i32, 0i32), |(unsigned, signed), byte| {
            (unsigned + i32::from(byte), signed + i32::from(byte as i8))
        });
        stored == Some(unsigned.into()) || stored == Some(signed.into())
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.0[TYPE]
    }

    /// Returns the name, with what is in the prefix in front of it.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = text(&self.0[NAME]);
        let is_star = self.0[STAR_MAGIC] == *b"tar\0";
        let prefix = text(&self.0[if is_star { STAR_PREFIX } else { PREFIX }]);
        // GNU's own format has times where POSIX has the prefix, and what is older has nothing there.
        if self.0[MAGIC][..6] != USTAR[..6] || prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, name].join(b"/".as_slice())
    }

    pub(super) fn link_name(&self) -> Vec<u8> {
        text(&self.0[LINK_NAME]).to_vec()
    }

    pub(super) fn mode(&self) -> Option<i128> {
        number(&self.0[MODE])
    }

    pub(super) fn uid(&self) -> Option<i128> {
        number(&self.0[UID])
    }

    pub(super) fn gid(&self) -> Option<i128> {
        number(&self.0[GID])
    }

    pub(super) fn size(&self) -> Option<i128> {
        number(&self.0[SIZE])
    }

    pub(super) fn mtime(&self) -> Option<i128> {
        number(&self.0[MTIME])
    }

    pub(super) fn major(&self) -> Option<i128> {
        if self.has_devices() { number(&self.0[MAJOR]) } else { Some(0) }
    }

    pub(super) fn minor(&self) -> Option<i128> {
        if self.has_devices() { number(&self.0[MINOR]) } else { Some(0) }
    }

    fn has_devices(&self) -> bool {
        self.0[MAGIC][..6] == USTAR[..6] || self.0[MAGIC] == *GNU
    }

    /// Makes a ustar header.
    pub(super) fn encode(fields: &Fields<'_>) -> Self {
        let mut block = Self([0; BLOCK_BYTES]);
        block.put(NAME, fields.name);
        block.put(PREFIX, fields.prefix);
        block.put(LINK_NAME, fields.link_name);
        block.put(MAGIC, USTAR);
        block.0[TYPE] = fields.type_flag;
        block.put_octal(MODE, fields.mode.into());
        block.put_octal(UID, fields.uid);
        block.put_octal(GID, fields.gid);
        block.put_octal(SIZE, fields.size_bytes);
        block.put_octal(MTIME, fields.mtime_seconds);
        let (major, minor) = fields.device.unwrap_or_default();
        block.put_octal(MAJOR, major);
        block.put_octal(MINOR, minor);
        block.0[CHECKSUM].fill(b' ');
        let sum: u64 = block.0.iter().map(|byte| u64::from(*byte)).sum();
        // Six digits, a NUL and a blank: the field has always been written like that.
        block.put_octal(CHECKSUM.start..CHECKSUM.end - 1, sum);
        block
    }

    fn put(&mut self, field: Range<usize>, bytes: &[u8]) {
        self.0[field.start..field.start + bytes.len()].copy_from_slice(bytes);
    }

    /// Writes octal digits and a NUL; what does not fit stands in a PAX header, and here as zero.
    fn put_octal(&mut self, field: Range<usize>, value: u64) {
        let width = field.len() - 1;
        let value = if value >> (3 * width) == 0 { value } else { 0 };
        let digits = self.0[field.start..field.start + width].iter_mut().rev();
        for (place, digit) in digits.enumerate() {
            *digit = b'0' + (value >> (3 * place) & 7) as u8;
        }
        self.0[field.start + width] = 0;
    }
}

/// Returns what stands before the first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Reads a number; an empty field is zero, and `None` is not a number.
pub(super) fn number(field: &[u8]) -> Option<i128> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => binary(field),
        _ => octal(field),
    }
}

fn binary(field: &[u8]) -> Option<i128> {
    let (first, rest) = field.split_first()?;
    // The bit behind the marker is the sign.
    let start = if first & 0x40 != 0 { i128::from(*first) - 0x100 } else { i128::from(first & 0x3f) };
    rest.iter().try_fold(start, |number, byte| number.checked_mul(256)?.checked_add(i128::from(*byte)))
}

fn octal(field: &[u8]) -> Option<i128> {
    let is_padding = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !is_padding(byte)).unwrap_or(field.len());
    let end = field.iter().rposition(|byte| !is_padding(byte)).map_or(start, |last| last + 1);
    // Some programs leave rubbish behind the NUL that ends the number.
    let digits = text(&field[start..end]);
    let digits = digits.split(|byte| *byte == b' ').next().unwrap_or_default();
    digits.iter().try_fold(0i128, |number, digit| match digit {
        b'0'..=b'7' => Some(number * 8 + i128::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"644\0xyz\0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\0\0\0\x10\0"), Some(0x1000));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00"), Some(-256));
        assert_eq!(number(b"0000899\0"), None);
        assert_eq!(number(b"-1\0"), None);
    }

    #[test]
    fn what_is_encoded_has_a_valid_checksum_and_is_read_back() {
        let block = Block::encode(&Fields {
            prefix: b"some/where",
            name: b"file",
            type_flag: b'0',
            mode: 0o4755,
            uid: 1000,
            gid: OCTAL_SHORT_MAX + 1,
            size_bytes: 12,
            mtime_seconds: 1_700_000_000,
            link_name: b"",
            device: None,
        });
        assert!(block.has_valid_checksum());
        assert_eq!(block.name(), b"some/where/file");
        assert_eq!((block.mode(), block.uid(), block.gid()), (Some(0o4755), Some(1000), Some(0)));
        assert_eq!((block.size(), block.mtime()), (Some(12), Some(1_700_000_000)));
    }
}
