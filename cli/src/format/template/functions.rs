//! The functions that a template can call: Go's own and Docker's.

use std::cmp::Ordering;

use serde_json::Value;

use crate::format::template::printf::printf;
use crate::format::template::value::{Datum, order, print, type_name};

/// The most spaces that `pad` puts on one side.
const PAD_MAX: i64 = 65_536;

/// How many arguments each function takes: at least, at most.
const FUNCTIONS: [(&str, usize, usize); 23] = [
    ("and", 1, usize::MAX),
    ("eq", 1, usize::MAX),
    ("ge", 2, 2),
    ("gt", 2, 2),
    ("index", 1, usize::MAX),
    ("join", 2, 2),
    ("json", 1, 1),
    ("le", 2, 2),
    ("len", 1, 1),
    ("lower", 1, 1),
    ("lt", 2, 2),
    ("ne", 2, 2),
    ("not", 1, 1),
    ("or", 1, usize::MAX),
    ("pad", 3, 3),
    ("print", 0, usize::MAX),
    ("printf", 1, usize::MAX),
    ("println", 0, usize::MAX),
    ("slice", 1, 4),
    ("split", 2, 2),
    ("title", 1, 1),
    ("truncate", 2, 2),
    ("upper", 1, 1),
];

/// One set of functions under the names of [`FUNCTIONS`].
#[derive(Clone, Copy)]
pub(super) struct Library {
    /// Says what is wrong with the argument at a position (from 0), if its type does not fit.
    pub(super) check_argument: fn(&str, usize, &Datum<'_>) -> Result<(), String>,
    /// Calls a function with as many arguments as it takes.
    pub(super) call: for<'d> fn(&str, &[Datum<'d>]) -> Result<Datum<'d>, String>,
}

/// The functions for data.
pub(super) const FOR_DATA: Library = Library { check_argument, call };

/// The functions for the titles of a table: those that change a text leave a title as it is.
pub(super) const FOR_TITLES: Library = Library {
    check_argument: |name, position, argument| {
        if keeps_titles(name) { Ok(()) } else { check_argument(name, position, argument) }
    },
    call: |name, arguments| if keeps_titles(name) { Ok(arguments[0].clone()) } else { call(name, arguments) },
};

fn keeps_titles(name: &str) -> bool {
    matches!(name, "join" | "json" | "lower" | "split" | "title" | "truncate" | "upper")
}

/// Whether there is a function of that name.
pub(super) fn exists(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, ..)| *known == name)
}

/// Says what is wrong with the number of arguments.
pub(super) fn check_count(name: &str, count: usize) -> Result<(), String> {
    let known = FUNCTIONS.iter().find(|(known, ..)| *known == name);
    let (least, most) = known.map_or((1, 1), |(_, least, most)| (*least, *most));
    if (least..=most).contains(&count) {
        return Ok(());
    }
    let wanted = if least == most { least.to_string() } else { format!("at least {least}") };
    Err(format!("wrong number of args for {name}: want {wanted} got {count}"))
}

fn check_argument(name: &str, position: usize, argument: &Datum<'_>) -> Result<(), String> {
    let value = argument.value();
    let (expected, fits) = match (name, position) {
        ("join", 0) => ("[]string", texts(value).is_some()),
        ("pad", 1 | 2) | ("truncate", 1) => ("int", value.is_i64()),
        ("lower" | "upper" | "title" | "split" | "join" | "pad" | "truncate", _) | ("printf", 0) => {
            ("string", value.is_string())
        }
        _ => return Ok(()),
    };
    match value {
        _ if fits => Ok(()),
        Value::Null => Err(format!("invalid value; expected {expected}")),
        other => Err(format!("wrong type for value; expected {expected}; got {}", type_name(other))),
    }
}

/// The items of a list of texts; none for null, which is what an empty list often is in JSON.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn call<'d>(name: &str, arguments: &[Datum<'d>]) -> Result<Datum<'d>, String> {
    let value = |at: usize| arguments[at].value();
    let text = |at: usize| arguments[at].value().as_str().unwrap_or_default();
    let number = |at: usize| arguments[at].value().as_i64().unwrap_or_default();
    let values = || arguments.iter().map(Datum::value);
    let compare = |accepts: fn(Ordering) -> bool| Ok(Datum::owned(accepts(ordering(value(0), value(1))?)));
    match name {
        // The arguments that decided were returned before the call.
        "and" | "or" => Ok(arguments[arguments.len() - 1].clone()),
        "not" => Ok(Datum::owned(!arguments[0].is_true())),
        "eq" => equals_any(value(0), values().skip(1)).map(Datum::owned),
        "ne" => equals_any(value(0), values().skip(1)).map(|equals| Datum::owned(!equals)),
        "lt" => compare(Ordering::is_lt),
        "le" => compare(Ordering::is_le),
        "gt" => compare(Ordering::is_gt),
        "ge" => compare(Ordering::is_ge),
        "index" => arguments[1..].iter().try_fold(arguments[0].clone(), |item, key| index(&item, key.value())),
        "slice" => slice(value(0), &arguments[1..]).map(Datum::owned),
        "len" => length(value(0)).map(Datum::owned),
        "print" => Ok(Datum::owned(print_all(values()))),
        "println" => Ok(Datum::owned(values().map(print).collect::<Vec<_>>().join(" ") + "\n")),
        "printf" => Ok(Datum::owned(printf(text(0), &values().skip(1).collect::<Vec<_>>()))),
        "json" => Ok(Datum::owned(json(value(0)))),
        "split" => Ok(Datum::owned(split(text(0), text(1)))),
        "join" => Ok(Datum::owned(texts(value(0)).unwrap_or_default().join(text(1)))),
        "lower" => Ok(Datum::owned(text(0).to_lowercase())),
        "upper" => Ok(Datum::owned(text(0).to_uppercase())),
        "title" => Ok(Datum::owned(title(text(0)))),
        "truncate" => truncate(text(0), number(1)).map(Datum::owned),
        "pad" => pad(text(0), number(1), number(2)).map(Datum::owned),
        other => unreachable!("function: {other}"),
    }
}

fn equals_any<'v>(first: &Value, mut others: impl Iterator<Item = &'v Value>) -> Result<bool, String> {
    let mut seen = false;
    let found = others.try_fold(false, |found, other| {
        seen = true;
        Ok::<_, String>(found || equals(first, other)?)
    })?;
    if seen { Ok(found) } else { Err("missing argument for comparison".to_owned()) }
}

fn equals(left: &Value, right: &Value) -> Result<bool, String> {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Ok(left.is_null() && right.is_null()),
        (Value::Bool(left), Value::Bool(right)) => Ok(left == right),
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => {
            Err(format!("non-comparable type {}: {}", print(left), type_name(left)))
        }
        _ => order(left, right).map(Ordering::is_eq).ok_or_else(incompatible),
    }
}

fn ordering(left: &Value, right: &Value) -> Result<Ordering, String> {
    if !left.is_string() && !left.is_number() {
        return Err("invalid type for comparison".to_owned());
    }
    order(left, right).ok_or_else(incompatible)
}

fn incompatible() -> String {
    "incompatible types for comparison".to_owned()
}

fn index<'d>(item: &Datum<'d>, key: &Value) -> Result<Datum<'d>, String> {
    match (item, item.value()) {
        (_, Value::Object(_)) | (Datum::TextMap(_), Value::Null) => {
            let key = key.as_str().ok_or_else(|| format!("value has type {}; should be string", type_name(key)))?;
            let missing = match item {
                Datum::TextMap(_) => Datum::owned(""),
                _ => Datum::Nothing,
            };
            Ok(item.item(key).unwrap_or(missing))
        }
        (_, Value::Array(items)) => Ok(item.items().swap_remove(position(key, items.len())?)),
        (_, Value::String(text)) => Ok(Datum::owned(text.as_bytes()[position(key, text.len())?])),
        (_, Value::Null) => Err("index of untyped nil".to_owned()),
        (_, other) => Err(format!("can't index item of type {}", type_name(other))),
    }
}

/// A position in something of that length.
fn position(key: &Value, length: usize) -> Result<usize, String> {
    if !key.is_i64() && !key.is_u64() {
        return Err(format!("cannot index slice/array with type {}", type_name(key)));
    }
    let position = key.as_u64().and_then(|position| usize::try_from(position).ok());
    let inside = position.filter(|position| *position < length);
    inside.ok_or_else(|| format!("index out of range: {key}"))
}

fn slice(value: &Value, bounds: &[Datum<'_>]) -> Result<Value, String> {
    let length = match value {
        Value::Array(items) => items.len(),
        Value::String(_) if bounds.len() == 3 => return Err("cannot 3-index slice a string".to_owned()),
        Value::String(text) => text.len(),
        Value::Null => return Err("slice of untyped nil".to_owned()),
        other => return Err(format!("can't slice item of type {}", type_name(other))),
    };
    let bounds: Vec<usize> =
        bounds.iter().map(|bound| position(bound.value(), length + 1)).collect::<Result<_, _>>()?;
    let start = bounds.first().copied().unwrap_or(0);
    let end = bounds.get(1).copied().unwrap_or(length);
    // The third bound limits how far a Go slice may grow, which matters to nobody here; it is only checked.
    let limit = bounds.get(2).copied().unwrap_or(length);
    for (low, high) in [(start, end), (end, limit)] {
        if low > high {
            return Err(format!("invalid slice index: {low} > {high}"));
        }
    }
    Ok(match value {
        Value::Array(items) => Value::from(&items[start..end]),
        Value::String(text) => Value::from(String::from_utf8_lossy(&text.as_bytes()[start..end])),
        _ => Value::Null,
    })
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::Null => Ok(0),
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(map) => Ok(map.len()),
        other => Err(format!("len of type {}", type_name(other))),
    }
}

/// The values behind each other, with a space between two of which neither is a text.
fn print_all<'v>(values: impl Iterator<Item = &'v Value>) -> String {
    let mut text = String::new();
    let mut after_text = true;
    for value in values {
        if !after_text && !value.is_string() {
            text.push(' ');
        }
        text.push_str(&print(value));
        after_text = value.is_string();
    }
    text
}

fn json(value: &Value) -> String {
    // As Go writes JSON: these two end a line in JavaScript.
    value.to_string().replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

fn split(text: &str, separator: &str) -> Vec<String> {
    if separator.is_empty() {
        return text.chars().map(String::from).collect();
    }
    text.split(separator).map(str::to_owned).collect()
}

fn title(text: &str) -> String {
    let mut after_word = false;
    let mut titled = String::with_capacity(text.len());
    for character in text.chars() {
        if after_word {
            titled.push(character)
        } else {
            titled.extend(character.to_uppercase())
        }
        after_word =
            character.is_alphanumeric() || character == '_' || !(character.is_ascii() || character.is_whitespace());
    }
    titled
}

/// The first bytes of a text, without a part of a character at the end.
fn truncate(text: &str, length: i64) -> Result<&str, String> {
    let length = usize::try_from(length).map_err(|_| format!("negative length: {length}"))?;
    Ok(&text[..text.floor_char_boundary(length)])
}

fn pad(text: &str, before: i64, after: i64) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let spaces = |count: i64| match count {
        ..0 => Err("strings: negative Repeat count".to_owned()),
        0..=PAD_MAX => Ok(" ".repeat(usize::try_from(count).unwrap_or_default())),
        _ => Err(format!("more than {PAD_MAX} spaces: {count}")),
    };
    Ok(format!("{}{text}{}", spaces(before)?, spaces(after)?))
}
