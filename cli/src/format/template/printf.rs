//! Go's `printf`: verbs, flags, width and precision, and what it writes when they do not fit the value.

use serde_json::Value;

use crate::format::template::number::{FloatStyle, format_float};
use crate::format::template::value::{print, push_escaped, quote, sorted, type_name};

/// The widest that a field can be; what asks for more is written as a mistake.
const WIDTH_MAX: usize = 65_536;

/// What stands between `%` and the verb.
#[derive(Clone, Debug, Default)]
struct Flags {
    /// `-`
    left: bool,
    /// `+`
    sign: bool,
    /// `#`
    alternate: bool,
    /// ` `
    space: bool,
    /// `0`
    zeros: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Returns `format` with its verbs replaced by `arguments`.
pub(super) fn printf(format: &str, arguments: &[&Value]) -> String {
    let mut printer = Printer { arguments, next: 0, reordered: false };
    let mut text = String::with_capacity(format.len());
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        rest = printer.directive(&rest[at + 1..], &mut text);
    }
    text.push_str(rest);
    if !printer.reordered && printer.next < arguments.len() {
        let extra = arguments[printer.next..].iter().map(|value| typed(value)).collect::<Vec<_>>();
        text.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    text
}

struct Printer<'v> {
    arguments: &'v [&'v Value],
    next: usize,
    /// Whether an argument was named by its number; then it is no mistake to leave some out.
    reordered: bool,
}

impl<'v> Printer<'v> {
    /// Writes what one `%…` stands for, and returns what follows it in the format.
    fn directive<'f>(&mut self, directive: &'f str, text: &mut String) -> &'f str {
        let mut flags = Flags::default();
        let mut rest = directive;
        loop {
            match rest.as_bytes().first() {
                Some(b'-') => flags.left = true,
                Some(b'+') => flags.sign = true,
                Some(b'#') => flags.alternate = true,
                Some(b' ') => flags.space = true,
                Some(b'0') => flags.zeros = true,
                _ => break,
            }
            rest = &rest[1..];
        }
        rest = self.argument_number(rest);
        (flags.width, rest) = self.count(rest, &mut flags.left);
        if let Some(after) = rest.strip_prefix('.') {
            let after = self.argument_number(after);
            let (precision, after) = self.count(after, &mut false);
            flags.precision = Some(precision.unwrap_or(0));
            rest = after;
        }
        rest = self.argument_number(rest);
        let Some(verb) = rest.chars().next() else {
            text.push_str("%!(NOVERB)");
            return "";
        };
        let too_wide = flags.width.max(flags.precision).is_some_and(|width| width > WIDTH_MAX);
        match (verb, self.arguments.get(self.next)) {
            ('%', _) => text.push('%'),
            (_, None) => text.push_str(&format!("%!{verb}(MISSING)")),
            (_, Some(_)) if too_wide => {
                self.next += 1;
                text.push_str("%!(BADWIDTH)");
            }
            (_, Some(value)) => {
                self.next += 1;
                text.push_str(&verbatim(value, verb, &flags));
            }
        }
        &rest[verb.len_utf8()..]
    }

    /// Takes `[3]`, which names the argument to use next.
    fn argument_number<'f>(&mut self, rest: &'f str) -> &'f str {
        let Some((number, after)) = rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) else {
            return rest;
        };
        match number.parse::<usize>() {
            Ok(number) if number > 0 => {
                self.next = number - 1;
                self.reordered = true;
                after
            }
            _ => rest,
        }
    }

    /// Takes a width or a precision: digits, or `*` for the next argument, which for a width can be negative to mean `-`.
    fn count<'f>(&mut self, rest: &'f str, left: &mut bool) -> (Option<usize>, &'f str) {
        if let Some(after) = rest.strip_prefix('*') {
            let count = self.arguments.get(self.next).and_then(|value| value.as_i64());
            self.next += 1;
            *left |= count.is_some_and(|count| count < 0);
            return (count.map(|count| usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX)), after);
        }
        let after = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let digits = &rest[..rest.len() - after.len()];
        (if digits.is_empty() { None } else { Some(digits.parse().unwrap_or(usize::MAX)) }, after)
    }
}

/// `string=abc`, as mistakes name a value.
fn typed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        _ => format!("{}={}", type_name(value), print(value)),
    }
}

/// A value by a verb. A verb goes into lists and maps and applies to what is in them.
fn verbatim(value: &Value, verb: char, flags: &Flags) -> String {
    let goes_inside = !(verb == 'T' || (verb == 'v' && flags.alternate));
    match value {
        Value::Array(items) if goes_inside => {
            let items: Vec<_> = items.iter().map(|item| verbatim(item, verb, flags)).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) if goes_inside => {
            let entries = sorted(map).map(|(key, value)| {
                format!("{}:{}", verbatim(&Value::from(key), verb, flags), verbatim(value, verb, flags))
            });
            format!("map[{}]", entries.collect::<Vec<_>>().join(" "))
        }
        _ => scalar(value, verb, flags).unwrap_or_else(|| format!("%!{verb}({})", typed(value))),
    }
}

/// A value that is not looked into, or `None` when the verb does not fit it.
fn scalar(value: &Value, verb: char, flags: &Flags) -> Option<String> {
    match (value, verb) {
        (_, 'T') if value.is_null() => Some(pad("<nil>".to_owned(), flags)),
        (_, 'T') => Some(pad(type_name(value).to_owned(), flags)),
        (_, 'v') if flags.alternate => Some(pad(go_syntax(value), flags)),
        (Value::Null, 'v') => Some(pad("<nil>".to_owned(), flags)),
        (Value::Bool(value), 'v' | 't') => Some(pad(value.to_string(), flags)),
        (Value::String(text), _) => text_by(text, verb, flags),
        (Value::Number(number), _) => match number.as_i64().map(i128::from).or(number.as_u64().map(i128::from)) {
            Some(integer) => integer_by(integer, verb, flags),
            None => float_by(number.as_f64()?, verb, flags),
        },
        _ => None,
    }
}

fn text_by(text: &str, verb: char, flags: &Flags) -> Option<String> {
    let shown = match flags.precision {
        Some(characters) => text.char_indices().nth(characters).map_or(text, |(at, _)| &text[..at]),
        None => text,
    };
    let formatted = match verb {
        'v' | 's' => shown.to_owned(),
        'q' if flags.alternate && !shown.contains('`') => format!("`{shown}`"),
        'q' => quote(shown),
        'x' | 'X' => {
            let prefix = if flags.alternate { "0x" } else { "" };
            let digits: Vec<_> = shown.bytes().map(|byte| format!("{byte:02x}")).collect();
            let hex = format!("{prefix}{}", digits.join(if flags.space { " " } else { "" }));
            if verb == 'X' { hex.to_uppercase() } else { hex }
        }
        _ => return None,
    };
    Some(pad(formatted, flags))
}

fn integer_by(integer: i128, verb: char, flags: &Flags) -> Option<String> {
    let absolute = integer.unsigned_abs();
    let (prefix, digits) = match verb {
        'v' | 'd' => ("", absolute.to_string()),
        'b' => ("0b", format!("{absolute:b}")),
        'o' => ("0", format!("{absolute:o}")),
        'O' => return Some(pad_number(&signed(integer < 0, &format!("0o{absolute:o}"), flags), flags)),
        'x' => ("0x", format!("{absolute:x}")),
        'X' => ("0X", format!("{absolute:X}")),
        'c' | 'q' | 'U' => return Some(pad(character_by(integer, verb, flags), flags)),
        _ => return None,
    };
    let zeros = "0".repeat(flags.precision.unwrap_or(0).saturating_sub(digits.len()));
    let prefix = if flags.alternate { prefix } else { "" };
    Some(pad_number(&signed(integer < 0, &format!("{prefix}{zeros}{digits}"), flags), flags))
}

fn character_by(integer: i128, verb: char, flags: &Flags) -> String {
    let character = u32::try_from(integer).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
    match verb {
        'c' => character.to_string(),
        'q' => {
            let mut quoted = "'".to_owned();
            push_escaped(&mut quoted, character, '\'');
            quoted + "'"
        }
        _ if flags.alternate => format!("U+{integer:04X} '{character}'"),
        _ => format!("U+{integer:04X}"),
    }
}

fn float_by(float: f64, verb: char, flags: &Flags) -> Option<String> {
    let (style, precision) = match verb.to_ascii_lowercase() {
        'v' | 'g' => (FloatStyle::General, flags.precision),
        'e' => (FloatStyle::Exponent, Some(flags.precision.unwrap_or(6))),
        'f' => (FloatStyle::Fixed, Some(flags.precision.unwrap_or(6))),
        _ => return None,
    };
    let digits = format_float(float.abs(), style, precision);
    let digits = if verb.is_ascii_uppercase() { digits.to_uppercase() } else { digits };
    Some(pad_number(&signed(float.is_sign_negative(), &digits, flags), flags))
}

fn signed(is_negative: bool, digits: &str, flags: &Flags) -> String {
    let sign = match () {
        () if is_negative => "-",
        () if flags.sign => "+",
        () if flags.space => " ",
        () => "",
    };
    format!("{sign}{digits}")
}

/// A number filled up to its width; zeros go between the sign and the digits.
fn pad_number(number: &str, flags: &Flags) -> String {
    let missing = flags.width.unwrap_or(0).saturating_sub(number.chars().count());
    if !flags.zeros || flags.left || missing == 0 {
        return pad(number.to_owned(), flags);
    }
    let digits = number.trim_start_matches(['-', '+', ' ']);
    format!("{}{}{digits}", &number[..number.len() - digits.len()], "0".repeat(missing))
}

fn pad(text: String, flags: &Flags) -> String {
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    match missing {
        0 => text,
        _ if flags.left => text + &" ".repeat(missing),
        _ if flags.zeros => "0".repeat(missing) + &text,
        _ => " ".repeat(missing) + &text,
    }
}

/// A value as it would stand in Go source.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Array(items) => {
            format!("{}{{{}}}", type_name(value), items.iter().map(go_syntax).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let entries = sorted(map).map(|(key, value)| format!("{}:{}", quote(key), go_syntax(value)));
            format!("{}{{{}}}", type_name(value), entries.collect::<Vec<_>>().join(", "))
        }
        other => print(other),
    }
}
