//! Private keys in DER (X.690): of elliptic curves as SEC 1 has them (RFC 5915), and of all kinds as PKCS#8 has them (RFC 5958).

use std::fmt::Write;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// The curve of a key, and its public half, where they are there.
const CURVE: u8 = 0xa0;
const PUBLIC: u8 = 0xa1;

/// Reads what has a tag, a length and a value; `None` of its functions is something else.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn value(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&found, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        // Below 128 it is the length; above, how many digits the length has.
        let digits = usize::from(first.saturating_sub(0x80));
        let (long, rest) = rest.split_at_checked(digits)?;
        let long =
            || long.iter().try_fold(0usize, |length, digit| Some(length.checked_mul(256)? + usize::from(*digit)));
        let length = if first < 0x80 { usize::from(first) } else { long()? };
        let (value, rest) = rest.split_at_checked(length)?;
        (found == tag).then(|| {
            self.0 = rest;
            value
        })
    }
}

/// A private key over an elliptic curve.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CurveKey<'a> {
    /// The curve, which PKCS#8 says elsewhere.
    pub(super) curve: Option<&'a [u8]>,
    pub(super) number: &'a [u8],
    /// The public half, a point.
    pub(super) public: Option<&'a [u8]>,
}

/// Reads `ECPrivateKey`.
pub(super) fn read_curve_key(der: &[u8]) -> Option<CurveKey<'_>> {
    let mut fields = Reader(Reader(der).value(SEQUENCE)?);
    (fields.value(INTEGER)? == [1]).then_some(())?;
    let number = fields.value(OCTET_STRING)?;
    let curve = fields.value(CURVE).and_then(|curve| Reader(curve).value(OBJECT_IDENTIFIER));
    let public = fields.value(PUBLIC).and_then(|public| Reader(public).value(BIT_STRING));
    // Before its bits stands how many of the last byte's are none.
    Some(CurveKey { curve, number, public: public.and_then(|public| public.strip_prefix(&[0])) })
}

/// A private key of any kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KindKey<'a> {
    pub(super) kind: &'a [u8],
    /// Where the kind is an elliptic curve: which.
    pub(super) curve: Option<&'a [u8]>,
    pub(super) key: &'a [u8],
}

/// Reads `PrivateKeyInfo`.
pub(super) fn read_kind_key(der: &[u8]) -> Option<KindKey<'_>> {
    let mut fields = Reader(Reader(der).value(SEQUENCE)?);
    fields.value(INTEGER)?;
    let mut algorithm = Reader(fields.value(SEQUENCE)?);
    let kind = algorithm.value(OBJECT_IDENTIFIER)?;
    Some(KindKey { kind, curve: algorithm.value(OBJECT_IDENTIFIER), key: fields.value(OCTET_STRING)? })
}

/// Returns an object identifier as people write it: `1.3.132.0.35`.
pub(super) fn dotted(identifier: &[u8]) -> String {
    let mut text = String::new();
    let mut number = 0u64;
    for digit in identifier {
        number = number.wrapping_shl(7) | u64::from(digit & 0x7f);
        if digit & 0x80 != 0 {
            continue;
        }
        // The first two numbers are one.
        let written = match text.is_empty() {
            true => write!(text, "{}.{}", (number / 40).min(2), number - (number / 40).min(2) * 40),
            false => write!(text, ".{number}"),
        };
        written.expect("a string takes all text");
        number = 0;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_short_or_long_and_never_more_than_there_is() {
        let value = |bytes: &[u8]| Reader(bytes).value(OCTET_STRING).map(<[u8]>::to_vec);
        assert_eq!(value(&[4, 1, 9]), Some(vec![9]));
        assert_eq!(value(&[4, 0x81, 1, 9]), Some(vec![9]));
        assert_eq!(value(&[4, 0x82, 0, 1, 9]), Some(vec![9]));
        for damaged in [&[][..], &[4], &[4, 2, 9], &[4, 0x84, 9], &[2, 1, 9], &[4, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1]] {
            assert_eq!(value(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn identifiers_have_dots() {
        assert_eq!(dotted(&[0x2b, 0x81, 0x04, 0x00, 0x23]), "1.3.132.0.35");
        assert_eq!(dotted(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]), "1.2.840.10045.2.1");
        assert_eq!(dotted(&[0x88, 0x37, 0x03]), "2.999.3");
    }

    #[test]
    fn a_key_has_a_curve_and_a_public_half_where_its_file_does() {
        let whole = [0x30, 14, 2, 1, 1, 4, 1, 7, 0xa0, 3, 6, 1, 8, 0xa1, 4, 3, 2, 0, 9];
        let bare = [0x30, 6, 2, 1, 1, 4, 1, 7];
        let key = |curve, public| Some(CurveKey { curve, number: &[7], public });
        assert_eq!(read_curve_key(&[&[0x30, 17], &whole[2..]].concat()), key(Some(&[8]), Some(&[9])));
        assert_eq!(read_curve_key(&bare), key(None, None));
        assert_eq!(read_curve_key(&[0x30, 6, 2, 1, 2, 4, 1, 7]), None);
    }
}
