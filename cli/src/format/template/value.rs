//! The values that a template works with: JSON, and the lack of a value.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write;

use serde_json::{Map, Value};

use crate::format::template::number::{FloatStyle, format_float};

/// A value, borrowed from the data where it can be.
#[derive(Clone, Debug)]
pub(super) enum Datum<'a> {
    /// There is none: a key is missing where that is allowed.
    Nothing,
    Json(Cow<'a, Value>),
    /// A map from text to text whose keys are the user's own, or null for an empty one.
    TextMap(Cow<'a, Value>),
}

impl<'a> Datum<'a> {
    pub(super) fn owned(value: impl Into<Value>) -> Self {
        Self::Json(Cow::Owned(value.into()))
    }

    /// The value; null when there is none.
    pub(super) fn value(&self) -> &Value {
        match self {
            Self::Nothing => &Value::Null,
            Self::Json(value) | Self::TextMap(value) => value,
        }
    }

    /// Whether `if` takes it for true: everything but false, zero, null, and what is empty.
    pub(super) fn is_true(&self) -> bool {
        match self.value() {
            Value::Null => false,
            Value::Bool(value) => *value,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(map) => !map.is_empty(),
        }
    }

    /// What an action prints.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::TextMap(value) if value.is_null() => "map[]".to_owned(),
            _ if self.value().is_null() => "<no value>".to_owned(),
            _ => print(self.value()),
        }
    }

    /// The item behind a key or a position.
    ///
    /// An item of a map is `None` when there is none.
    pub(super) fn item(&self, key: &str) -> Option<Self> {
        match self {
            Self::Nothing => None,
            Self::Json(Cow::Borrowed(value)) | Self::TextMap(Cow::Borrowed(value)) => {
                value.get(key).map(|value| Self::Json(Cow::Borrowed(value)))
            }
            Self::Json(Cow::Owned(value)) | Self::TextMap(Cow::Owned(value)) => {
                value.get(key).map(|value| Self::owned(value.clone()))
            }
        }
    }

    /// The items of a list in their order, or the values of a map in the order of its keys.
    pub(super) fn items(&self) -> Vec<Self> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Json(Cow::Borrowed(value)) | Self::TextMap(Cow::Borrowed(value)) => {
                children(value).map(|value| Self::Json(Cow::Borrowed(value))).collect()
            }
            Self::Json(Cow::Owned(value)) | Self::TextMap(Cow::Owned(value)) => {
                children(value).map(|value| Self::owned(value.clone())).collect()
            }
        }
    }
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(map) => Box::new(sorted(map).map(|(_, value)| value)),
        _ => Box::new(std::iter::empty()),
    }
}

/// The keys of a map, sorted, or the positions of a list.
pub(super) fn keys(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => (0..items.len()).map(Value::from).collect(),
        Value::Object(map) => sorted(map).map(|(key, _)| Value::from(key)).collect(),
        _ => Vec::new(),
    }
}

/// The entries of a map by key, the order in which Go's templates walk and print maps; only `json` keeps the order that the data has.
pub(super) fn sorted(map: &Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    let mut entries: Vec<_> = map.iter().map(|(key, value)| (key.as_str(), value)).collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    entries.into_iter()
}

/// Returns the name of a value's type as Go has it after reading JSON.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Returns a value as Go's `%v` writes it: `[a b]`, `map[k:v]`, `<nil>`.
pub(super) fn print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => format_float(float, FloatStyle::General, None),
            _ => number.to_string(),
        },
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(print).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let entries: Vec<_> = sorted(map).map(|(key, value)| format!("{key}:{}", print(value))).collect();
            format!("map[{}]", entries.join(" "))
        }
    }
}

/// Returns the order of two values, or `None` when they cannot be compared. Whole numbers and floats can: JSON does not tell them apart.
pub(super) fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => match (integer(left), integer(right)) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
        _ => None,
    }
}

fn integer(number: &serde_json::Number) -> Option<i128> {
    number.as_i64().map(i128::from).or(number.as_u64().map(i128::from))
}

/// Returns `text` in double quotes, with what does not show written as Go's `%q` does.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        push_escaped(&mut quoted, character, '"');
    }
    quoted.push('"');
    quoted
}

/// Appends one character as it stands in a Go string or character constant.
pub(super) fn push_escaped(text: &mut String, character: char, quote: char) {
    let code = u32::from(character);
    let written = match character {
        '\\' => text.write_str("\\\\"),
        _ if character == quote => write!(text, "\\{quote}"),
        '\u{7}' => text.write_str("\\a"),
        '\u{8}' => text.write_str("\\b"),
        '\u{c}' => text.write_str("\\f"),
        '\n' => text.write_str("\\n"),
        '\r' => text.write_str("\\r"),
        '\t' => text.write_str("\\t"),
        '\u{b}' => text.write_str("\\v"),
        '\0'..' ' | '\u{7f}' => write!(text, "\\x{code:02x}"),
        _ if character.is_control() || crate::format::text::is_unsafe(character) => write!(text, "\\u{code:04x}"),
        _ => text.write_char(character),
    };
    written.expect("a string takes everything");
}

/// Returns what a Go string in double quotes means.
pub(super) fn unquote(source: &str) -> Result<String, String> {
    let invalid = || "invalid syntax".to_owned();
    let inner = source.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(invalid)?;
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let mut characters = rest[at + 1..].chars();
        let kind = characters.next().ok_or_else(invalid)?;
        let digits = match kind {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            '0'..='7' => 3,
            _ => 0,
        };
        let start = at + 1 + if kind.is_digit(8) { 0 } else { kind.len_utf8() };
        let code = rest.get(start..start + digits).ok_or_else(invalid)?;
        rest = &rest[start + digits..];
        push_unescaped(&mut bytes, kind, code).ok_or_else(invalid)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn push_unescaped(bytes: &mut Vec<u8>, kind: char, digits: &str) -> Option<()> {
    let byte = match kind {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' | '"' => u8::try_from(kind).ok()?,
        'x' => u8::from_str_radix(digits, 16).ok()?,
        'u' | 'U' => {
            let character = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(());
        }
        _ => u8::from_str_radix(digits, 8).ok()?,
    };
    bytes.push(byte);
    Some(())
}
