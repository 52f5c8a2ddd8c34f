//! File names in the header `Content-Disposition` (RFC 6266).

/// Returns the name that a server gives a file: a single path component, or `None` where there is none that is safe.
pub(crate) fn filename(header: &str) -> Option<String> {
    let mut plain = None;
    let mut extended = None;
    for (name, value) in parameters(header) {
        match name.as_str() {
            "filename" => plain = plain.or(Some(value)),
            // `charset'language'text`; of the two, this is the one to prefer.
            "filename*" => {
                let mut parts = value.splitn(3, '\'');
                let (charset, text) = (parts.next().unwrap_or_default(), parts.nth(1));
                if charset.eq_ignore_ascii_case("utf-8") {
                    extended = text.and_then(|text| String::from_utf8(percent_decode(text)).ok());
                }
            }
            _ => {}
        }
    }
    let name = extended.or(plain)?;
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let is_safe = !last.is_empty() && last != "." && last != ".." && !last.contains(char::is_control);
    is_safe.then(|| last.to_owned())
}

/// Splits `attachment; name=value; name="quoted value"` into its parameters, names in lower case.
fn parameters(header: &str) -> Vec<(String, String)> {
    let mut parameters = Vec::new();
    let mut rest = header.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', '\t', ';']).to_ascii_lowercase();
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (value, next) = after.split_once(';').unwrap_or((after, ""));
                (value.trim().to_owned(), next)
            }
        };
        parameters.push((name, value));
        rest = next;
    }
    parameters
}

/// Reads up to the closing quote; returns what follows it, too.
fn unquote(quoted: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((position, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[position + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

/// Replaces `%20` and the like; what is no escape stays as it is.
pub(crate) fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while let Some(&byte) = bytes.get(position) {
        let digits = bytes.get(position + 1..position + 3).filter(|_| byte == b'%');
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let escaped = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        decoded.push(escaped.unwrap_or(byte));
        position += if escaped.is_some() { 3 } else { 1 };
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(header: &str, expected: Option<&str>) {
        assert_eq!(filename(header).as_deref(), expected);
    }

    #[test]
    fn a_name_is_plain_quoted_or_encoded() {
        check("attachment; filename=a.tar", Some("a.tar"));
        check(r#"attachment; FileName="a \"b\"; c.tar"; size=3"#, Some(r#"a "b"; c.tar"#));
        check("attachment; filename=plain; filename*=UTF-8''%e2%82%ac%20rates", Some("€ rates"));
        check("attachment; filename=plain; filename*=ISO-8859-1''x", Some("plain"));
        check("inline", None);
        check("attachment; filename", None);
        check("attachment; filename=\"open", Some("open"));
    }

    #[test]
    fn a_name_never_leaves_its_directory() {
        check("attachment; filename=../../etc/passwd", Some("passwd"));
        check(r"attachment; filename=C:\Windows\a.exe", Some("a.exe"));
        check("attachment; filename=..", None);
        check("attachment; filename=a/", None);
        check("attachment; filename*=utf-8''a%00b", None);
        check("attachment; filename=\"\"", None);
    }

    #[test]
    fn what_is_no_escape_stays() {
        assert_eq!(percent_decode("a%20b%zz%2"), b"a b%zz%2");
        assert_eq!(percent_decode("%+1%€"), "%+1%€".as_bytes());
    }

    proptest! {
        #[test]
        fn any_header_is_read_to_its_end(header in "\\PC{0,60}") {
            filename(&header);
        }
    }
}
