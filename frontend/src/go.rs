//! How Go writes and reads values where histories, configs and messages show them: quoted strings, durations, cleaned paths.
//!
//! Histories and configs are compared byte by byte with those of other builders, so the forms are Go's to the letter.

use std::fmt::Write;

use llb::pattern::clean_path;

/// Returns `text` in double quotes, as `%q` writes it.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if is_printable(c) => out.push(c),
            c => write_escape(&mut out, c),
        }
    }
    out.push('"');
    out
}

fn write_escape(out: &mut String, c: char) {
    let code = u32::from(c);
    let written = match code {
        0..=0x7f => write!(out, "\\x{code:02x}"),
        0x80..=0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
    written.expect("writing to a string cannot fail");
}

/// Tells whether Go shows a character as it is. Letters, marks, numbers, symbols and the plain space are; separators and controls are not.
fn is_printable(c: char) -> bool {
    let invisible = matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}' | '\u{e0000}'..='\u{10ffff}');
    c == ' ' || !(c.is_control() || c.is_whitespace() || invisible)
}

/// Returns quoted strings in brackets, as `%q` writes a list of them: `["/bin/sh" "-c" "make"]`.
pub(crate) fn quote_list(list: &[String]) -> String {
    let quoted: Vec<String> = list.iter().map(|text| quote(text)).collect();
    format!("[{}]", quoted.join(" "))
}

/// Returns a number as the character that it stands for, in single quotes, as `%q` writes an integer: `'\\x03'`, `'é'`. What is no character is `'�'`.
pub(crate) fn quote_number(number: i64) -> String {
    let character = u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
    let text = match character {
        '\'' => "\\'".to_owned(),
        '"' => "\"".to_owned(),
        other => quote(other.encode_utf8(&mut [0; 4])).trim_matches('"').to_owned(),
    };
    format!("'{text}'")
}

/// Returns strings in brackets, as `%v` writes a list of them: `[/a /b]`.
pub(crate) fn list(list: &[String]) -> String {
    format!("[{}]", list.join(" "))
}

/// Returns a duration as Go writes it: `1m30s`, `1.5s`, `250ms`, `0s`.
pub(crate) fn duration(nanoseconds: i64) -> String {
    const SECOND: u64 = 1_000_000_000;
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    if total == 0 {
        return "0s".to_owned();
    }
    if total < SECOND {
        let (unit, size) = match total {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{sign}{}{unit}", decimal(total, size));
    }
    let (minutes, rest) = (total / SECOND / 60, total % (60 * SECOND));
    let seconds = decimal(rest, SECOND);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// Writes `value / size`, exactly and without zeros at the end.
fn decimal(value: u64, size: u64) -> String {
    let (whole, rest) = (value / size, value % size);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = size.ilog10() as usize;
    format!("{whole}.{rest:0digits$}").trim_end_matches('0').to_owned()
}

/// Why a text is not a duration; the texts are those of Go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationParseError {
    /// The text has no number where one must be.
    #[error("time: invalid duration {text}")]
    Invalid {
        /// What was to be parsed, quoted.
        text: String,
    },
    /// A number has no unit.
    #[error("time: missing unit in duration {text}")]
    MissingUnit {
        /// What was to be parsed, quoted.
        text: String,
    },
    /// A unit is not known.
    #[error("time: unknown unit {unit} in duration {text}")]
    UnknownUnit {
        /// The unit, quoted.
        unit: String,
        /// What was to be parsed, quoted.
        text: String,
    },
}

/// Parses a duration such as `1m30s` or `1.5h` into nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Result<i64, DurationParseError> {
    let invalid = || DurationParseError::Invalid { text: quote(text) };
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, behind) =
            rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len()));
        if number.is_empty() || number == "." || number.matches('.').count() > 1 {
            return Err(invalid());
        }
        let (unit, behind) =
            behind.split_at(behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len()));
        if unit.is_empty() {
            return Err(DurationParseError::MissingUnit { text: quote(text) });
        }
        let Some(size) = unit_nanoseconds(unit) else {
            return Err(DurationParseError::UnknownUnit { unit: quote(unit), text: quote(text) });
        };
        total = scale(number, size).and_then(|part| total.checked_add(part)).ok_or_else(invalid)?;
        rest = behind;
    }
    let signed = i64::try_from(total).map_err(|_| invalid())?;
    Ok(if negative { -signed } else { signed })
}

fn unit_nanoseconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Multiplies a decimal number; parts of a nanosecond are dropped. `None` is an overflow.
fn scale(number: &str, size: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction = &fraction[..fraction.len().min(15)];
    let part = if fraction.is_empty() {
        0
    } else {
        u128::from(fraction.parse::<u64>().ok()?) * u128::from(size) / 10u128.pow(fraction.len() as u32)
    };
    whole.checked_mul(size)?.checked_add(u64::try_from(part).ok()?)
}

/// Returns `path` seen from the absolute directory `dir`, cleaned: the join of both unless `path` is absolute itself.
pub(crate) fn join_path(dir: &str, path: &str) -> String {
    match dir.trim_matches('/') {
        _ if path.starts_with('/') => clean_path(path),
        "" => clean_path(&["/", path].concat()),
        dir => clean_path(&["/", dir, "/", path].concat()),
    }
}

/// Returns the last part of a path, as `path.Base`; `.` of nothing, `/` of the root.
pub(crate) fn base_name(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() { "/" } else { trimmed.rsplit('/').next().unwrap_or(trimmed) }
}

/// Parses a truth value as Go's `strconv.ParseBool` does.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_go_quotes_them() {
        assert_eq!(quote("a\"b\\c\n\t\u{1}é\u{a0}\u{1f600}\u{200b}"), r#""a\"b\\c\n\t\x01é\u00a0😀\u200b""#);
        assert_eq!(quote_list(&["/bin/sh".into(), "-c".into(), "".into()]), r#"["/bin/sh" "-c" ""]"#);
        assert_eq!(list(&["/a".into(), "/b".into()]), "[/a /b]");
        let numbers = [0, 3, 10, 34, 39, 92, 97, 0xe9, 0xd800, -1].map(quote_number);
        assert_eq!(numbers, [r"'\x00'", r"'\x03'", r"'\n'", "'\"'", r"'\''", r"'\\'", "'a'", "'é'", "'�'", "'�'"]);
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        let shown =
            [0, 1, 1_500, 250_000_000, 1_500_000_000, 90_000_000_000, 3_600_000_000_000, -5_000_000_000].map(duration);
        assert_eq!(shown, ["0s", "1ns", "1.5µs", "250ms", "1.5s", "1m30s", "1h0m0s", "-5s"]);
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        assert_eq!(parse_duration("1m30s"), Ok(90_000_000_000));
        assert_eq!(parse_duration("1.5h"), Ok(5_400_000_000_000));
        assert_eq!(parse_duration("-.5us"), Ok(-500));
        assert_eq!(parse_duration("0"), Ok(0));
        let refused = |text| parse_duration(text).unwrap_err().to_string();
        assert_eq!(refused("5"), r#"time: missing unit in duration "5""#);
        assert_eq!(refused("5x"), r#"time: unknown unit "x" in duration "5x""#);
        assert_eq!(refused(""), r#"time: invalid duration """#);
        assert_eq!(refused("."), r#"time: invalid duration ".""#);
        assert_eq!(refused("99999999999h"), r#"time: invalid duration "99999999999h""#);
    }

    #[test]
    fn paths_are_joined_without_leaving_the_root() {
        assert_eq!(join_path("/w", "x/../../.."), "/");
        assert_eq!(join_path("/w", "/x/"), "/x");
        assert_eq!([base_name(""), base_name("/"), base_name("/a/b/"), base_name("c")], [".", "/", "b", "c"]);
    }
}
