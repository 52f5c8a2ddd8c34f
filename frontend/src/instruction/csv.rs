//! The fields of a flag's value: separated by commas, quoted where they have commas themselves.

use std::borrow::Cow;

/// Why a text is no list of fields; the texts are those of Go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsvError {
    /// There is nothing.
    #[error("EOF")]
    Empty,
    /// A quote stands within a field that does not begin with one.
    #[error("parse error on line 1, column {column}: bare \" in non-quoted-field")]
    BareQuote {
        /// Its byte, counted from 1.
        column: usize,
    },
    /// A quoted field does not end with its quote.
    #[error("parse error on line 1, column {column}: extraneous or missing \" in quoted-field")]
    Quote {
        /// Where, as a byte, counted from 1.
        column: usize,
    },
}

/// Splits a text into its fields.
pub fn csv_fields(text: &str) -> Result<Vec<Cow<'_, str>>, CsvError> {
    if text.is_empty() {
        return Err(CsvError::Empty);
    }
    let mut fields = Vec::new();
    let mut rest = Some(text);
    while let Some(field) = rest {
        let at = text.len() - field.len();
        rest = match field.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted, at + 1, &mut fields)?,
            None => {
                let (value, behind) =
                    field.split_once(',').map_or((field, None), |(value, behind)| (value, Some(behind)));
                if let Some(quote) = value.find('"') {
                    return Err(CsvError::BareQuote { column: at + quote + 1 });
                }
                fields.push(Cow::Borrowed(value));
                behind
            }
        };
    }
    Ok(fields)
}

/// Reads a quoted field behind its first quote, and returns what stands behind the comma that follows it.
fn quoted_field<'a>(text: &'a str, at: usize, fields: &mut Vec<Cow<'_, str>>) -> Result<Option<&'a str>, CsvError> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let place = |rest: &str| at + text.len() - rest.len();
        let Some((before, behind)) = rest.split_once('"') else {
            return Err(CsvError::Quote { column: place(rest) + 1 });
        };
        value.push_str(before);
        match behind.chars().next() {
            Some('"') => {
                value.push('"');
                rest = &behind[1..];
            }
            Some(',') => {
                fields.push(Cow::Owned(value));
                return Ok(Some(&behind[1..]));
            }
            None => {
                fields.push(Cow::Owned(value));
                return Ok(None);
            }
            Some(_) => return Err(CsvError::Quote { column: place(behind) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let fields = csv_fields(text).unwrap_or_else(|error| vec![error.to_string().into()]);
        assert_eq!(fields, expected);
    }

    #[test]
    fn fields_are_separated_by_commas_unless_they_are_quoted() {
        check("type=bind,source=a", &["type=bind", "source=a"]);
        check("\"source=a,b\",ro", &["source=a,b", "ro"]);
        check("\"a\"\"b\"", &["a\"b"]);
        check("a,", &["a", ""]);
        check(",", &["", ""]);
    }

    #[test]
    fn quotes_that_do_not_match_are_refused() {
        check("", &["EOF"]);
        check("a,b\"c", &["parse error on line 1, column 4: bare \" in non-quoted-field"]);
        check("\"a", &["parse error on line 1, column 2: extraneous or missing \" in quoted-field"]);
        check("\"a\"b", &["parse error on line 1, column 3: extraneous or missing \" in quoted-field"]);
    }
}
