//! PAX headers: `length key=value` lines that override or extend the header after them.
//!
//! Global headers are read and have no effect, as in Go's reader, which is what gives layers their meaning everywhere else.

use crate::entry::Mtime;

/// What a PAX header says about the member after it. What it does not say is `None` or empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    /// The size of what stands in the archive, not that of a sparse file.
    pub(super) size_bytes: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Mtime>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseKeys,
}

/// How GNU tar says that a file is sparse, in three versions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SparseKeys {
    pub(super) version: Option<(u64, u64)>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) size_bytes: Option<u64>,
    /// The map of versions 0.0 and 0.1: offsets and lengths in turn.
    pub(super) map: Vec<u64>,
}

const XATTR: &[u8] = b"SCHILY.xattr.";

/// What Linux allows.
const XATTR_NAME_BYTES_MAX: usize = 255;
const XATTR_VALUE_BYTES_MAX: usize = 64 << 10;

impl Extended {
    /// Adds the lines of one PAX header; of two with one key the later counts, and an empty value takes the key back.
    pub(super) fn read(&mut self, records: &[u8]) -> Result<(), &'static str> {
        let mut rest = records;
        while !rest.is_empty() {
            let (key, value, after) = split_record(rest)?;
            self.set(key, value)?;
            rest = after;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        match key {
            b"path" => self.path = name(value)?,
            b"linkpath" => self.link_path = name(value)?,
            b"size" => self.size_bytes = decimal_or_none(value)?,
            b"uid" => self.uid = decimal_or_none(value)?,
            b"gid" => self.gid = decimal_or_none(value)?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(time(value).ok_or("a time is no number")?),
            b"GNU.sparse.major" => self.sparse.version.get_or_insert_default().0 = decimal(value)?,
            b"GNU.sparse.minor" => self.sparse.version.get_or_insert_default().1 = decimal(value)?,
            b"GNU.sparse.name" => self.sparse.name = name(value)?,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size_bytes = Some(decimal(value)?),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.sparse.map.push(decimal(value)?),
            b"GNU.sparse.map" => {
                let numbers = value.split(|byte| *byte == b',').map(decimal);
                self.sparse.map = numbers.collect::<Result<_, _>>()?;
            }
            _ => {
                if let Some(xattr) = key.strip_prefix(XATTR) {
                    check_xattr(xattr, value)?;
                    self.xattrs.push((xattr.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

/// A key, a value, and the records behind them.
type Split<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// Splits off the first record.
fn split_record(records: &[u8]) -> Result<Split<'_>, &'static str> {
    let space = records.iter().take(20).position(|byte| *byte == b' ').ok_or("a record has no length")?;
    let length = usize::try_from(decimal(&records[..space])?).map_err(|_| "a record is too long")?;
    let (record, rest) = records.split_at_checked(length).ok_or("a record is longer than its header")?;
    let record =
        record.get(space + 1..).and_then(|record| record.strip_suffix(b"\n")).ok_or("a record has a wrong length")?;
    let equals = record.iter().position(|byte| *byte == b'=').ok_or("a record has no `=`")?;
    Ok((&record[..equals], &record[equals + 1..], rest))
}

/// Refuses what no file can have.
fn check_xattr(name: &[u8], value: &[u8]) -> Result<(), &'static str> {
    match name {
        [] => Err("an extended attribute has no name"),
        _ if name.contains(&0) => Err("the name of an extended attribute holds a NUL byte"),
        _ if name.len() > XATTR_NAME_BYTES_MAX => Err("the name of an extended attribute is too long"),
        _ if value.len() > XATTR_VALUE_BYTES_MAX => Err("an extended attribute is larger than 64 KiB"),
        _ => Ok(()),
    }
}

fn name(value: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    match value {
        [] => Ok(None),
        _ if value.contains(&0) => Err("a name holds a NUL byte"),
        _ => Ok(Some(value.to_vec())),
    }
}

fn decimal_or_none(value: &[u8]) -> Result<Option<u64>, &'static str> {
    if value.is_empty() { Ok(None) } else { decimal(value).map(Some) }
}

pub(super) fn decimal(value: &[u8]) -> Result<u64, &'static str> {
    let digits = value.iter().all(u8::is_ascii_digit) && !value.is_empty();
    let text = std::str::from_utf8(value).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok()).ok_or("a number is no number, or too large")
}

/// Reads `seconds[.fraction]`, which may be negative; digits finer than nanoseconds are dropped.
fn time(value: &[u8]) -> Option<Mtime> {
    let text = std::str::from_utf8(value).ok()?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    Some(match (negative, nanoseconds) {
        (false, _) => Mtime { seconds, nanoseconds },
        (true, 0) => Mtime { seconds: -seconds, nanoseconds },
        (true, _) => Mtime { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

/// Appends one line; its length counts itself.
pub(super) fn write_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // A blank, an equals sign and a newline.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + digits(rest);
    if digits(length) > digits(rest) {
        length = rest + digits(length);
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// Appends an extended attribute.
pub(super) fn write_xattr(records: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    write_record(records, &[XATTR, name].concat(), value);
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_whatever_its_length() {
        for length in (0..120).chain(980..1010).chain(9980..10_010) {
            let mut records = Vec::new();
            write_record(&mut records, b"path", &vec![b'x'; length + 1]);
            write_xattr(&mut records, b"user.a", b"1\n2=\0");
            let mut read = Extended::default();
            read.read(&records).unwrap();
            assert_eq!(read.path.unwrap().len(), length + 1);
            assert_eq!(read.xattrs, [(b"user.a".to_vec(), b"1\n2=\0".to_vec())]);
        }
    }

    #[test]
    fn times_may_be_negative_and_finer_than_seconds() {
        let nanoseconds = |text: &str| time(text.as_bytes()).map(|time| (time.seconds, time.nanoseconds));
        assert_eq!(nanoseconds("1350244992.023960108"), Some((1_350_244_992, 23_960_108)));
        assert_eq!(nanoseconds("7.1234567891"), Some((7, 123_456_789)));
        assert_eq!(nanoseconds("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(nanoseconds("-3"), Some((-3, 0)));
        for wrong in ["", "-", ".5", "1.x", "1e3", "99999999999999999999"] {
            assert_eq!(nanoseconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        let refused = |records: &[u8]| Extended::default().read(records).unwrap_err();
        assert_eq!(refused(b"path=x\n"), "a record has no length");
        assert_eq!(refused(b"99 path=x\n"), "a record is longer than its header");
        assert_eq!(refused(b"9 path=xy\n"), "a record has a wrong length");
        assert_eq!(refused(b"0 path=x\n"), "a record has a wrong length");
        assert_eq!(refused(b"6 abc\n"), "a record has no `=`");
        assert_eq!(refused(b"12 path=a\0b\n"), "a name holds a NUL byte");
        assert_eq!(refused(b"12 size=12a\n"), "a number is no number, or too large");
        assert_eq!(refused(b"18 SCHILY.xattr.=\n"), "an extended attribute has no name");
        assert_eq!(refused(b"20 SCHILY.xattr.a\0=\n"), "the name of an extended attribute holds a NUL byte");
    }

    #[test]
    fn an_empty_value_takes_a_key_back() {
        let mut read = Extended::default();
        read.read(b"10 path=a\n8 path=\n").unwrap();
        assert_eq!(read, Extended::default());
    }
}
