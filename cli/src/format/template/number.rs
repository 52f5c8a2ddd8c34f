//! Numbers as Go reads and writes them.

use serde_json::Value;

use crate::format::template::value::{quote, unquote};

/// Returns the value of a number as it stands in a template: an integer in any base, or a float when it has a `.` or an exponent.
pub(super) fn parse_number(source: &str) -> Result<Value, String> {
    let illegal = || format!("illegal number syntax: {}", quote(source));
    let plain = source.replace('_', "");
    let (is_negative, unsigned) = match plain.strip_prefix('-') {
        Some(unsigned) => (true, unsigned),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let lower = unsigned.to_ascii_lowercase();
    let (digits, base) = match lower.get(..2) {
        Some("0x") => (&lower[2..], 16),
        Some("0o") => (&lower[2..], 8),
        Some("0b") => (&lower[2..], 2),
        _ if lower.contains(['.', 'e']) => return float(&plain).ok_or_else(illegal),
        _ if lower.len() > 1 && lower.starts_with('0') => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(base)) {
        return Err(illegal());
    }
    let overflow = || format!("integer overflow: {}", quote(source));
    let absolute = u64::from_str_radix(digits, base).map_err(|_| overflow())?;
    if is_negative {
        0i64.checked_sub_unsigned(absolute).map(Value::from).ok_or_else(overflow)
    } else {
        Ok(Value::from(absolute))
    }
}

fn float(plain: &str) -> Option<Value> {
    let value: f64 = plain.parse().ok()?;
    serde_json::Number::from_f64(value).map(Value::Number)
}

/// Returns the number of a character in single quotes.
pub(super) fn parse_character(source: &str) -> Result<Value, String> {
    let malformed = || format!("malformed character constant: {source}");
    let inner = source.get(1..source.len() - 1).ok_or_else(malformed)?;
    let text = match inner {
        "\\'" => "'".to_owned(),
        "\\\"" | "\"" => "\"".to_owned(),
        _ => unquote(&format!("\"{inner}\"")).map_err(|_| malformed())?,
    };
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) => Ok(Value::from(u32::from(character))),
        _ => Err(malformed()),
    }
}

/// Up to how many digits before the point a float is written without exponent when no precision is asked for.
const SHORTEST_DIGITS: usize = 6;

/// How a float is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FloatStyle {
    /// `1.5e+00`
    Exponent,
    /// `1.5`
    Fixed,
    /// Whichever of the two is shorter; no zeros at the end.
    General,
}

/// Returns `value` with `precision` digits: behind the point, or for [`FloatStyle::General`] in all. Without it, with as many as are needed to tell it
/// from every other.
pub(super) fn format_float(value: f64, style: FloatStyle, precision: Option<usize>) -> String {
    if !value.is_finite() {
        return if value.is_nan() { "NaN".to_owned() } else { format!("{}Inf", if value < 0.0 { '-' } else { '+' }) };
    }
    match (style, precision) {
        (FloatStyle::Fixed, Some(precision)) => format!("{value:.precision$}"),
        (FloatStyle::Fixed, None) => format!("{value}"),
        (FloatStyle::Exponent, Some(precision)) => go_exponent(&format!("{value:.precision$e}")),
        (FloatStyle::Exponent, None) => go_exponent(&format!("{value:e}")),
        (FloatStyle::General, None) => general(&format!("{value:e}"), value, SHORTEST_DIGITS),
        (FloatStyle::General, Some(precision)) => {
            let digits = precision.max(1);
            general(&format!("{value:.*e}", digits - 1), value, digits)
        }
    }
}

/// The shorter form of a number whose exponent form is `scientific`: without exponent from 10^-4 up to 10^`digits`.
fn general(scientific: &str, value: f64, digits: usize) -> String {
    let (mantissa, exponent) = split(scientific);
    if (-4..digits as i32).contains(&exponent) {
        let decimals =
            mantissa.len() as i32 - 1 - i32::from(mantissa.contains('.')) - i32::from(mantissa.starts_with('-'));
        let fixed = format!("{value:.*}", usize::try_from(decimals - exponent).unwrap_or(0));
        return trim_zeros(&fixed).to_owned();
    }
    go_exponent(&format!("{}e{exponent}", trim_zeros(mantissa)))
}

fn trim_zeros(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

/// Mantissa and exponent of a number in Rust's exponent form.
fn split(scientific: &str) -> (&str, i32) {
    let (mantissa, exponent) = scientific.split_once('e').expect("`{:e}` writes an `e` for finite numbers");
    (mantissa, exponent.parse().expect("`{:e}` writes an integer behind the `e`"))
}

/// `1.5e7` as Go writes it: a sign and at least two digits behind the `e`.
fn go_exponent(scientific: &str) -> String {
    let (mantissa, exponent) = split(scientific);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}
