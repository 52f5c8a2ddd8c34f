//! What a host asks for before it answers: the header `WWW-Authenticate` (RFC 9110, section 11.6.1).

use hyper::HeaderMap;
use hyper::header::WWW_AUTHENTICATE;

/// How a host wants to be convinced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// By a token from the server at `realm`.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
    /// By name and password.
    Basic,
}

impl Challenge {
    /// Returns the best of the challenges in `headers`, or `None` where there is none that Kiln understands.
    pub(crate) fn find(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let all: Vec<Self> = values.flat_map(|value| Parser { rest: value }.challenges()).collect();
        let bearer = all.iter().find(|challenge| matches!(challenge, Self::Bearer { .. }));
        bearer.or(all.first()).cloned()
    }

    /// Returns what the host asks for whatever the repository is.
    pub(crate) fn without_scope(&self) -> Self {
        match self.clone() {
            Self::Bearer { realm, service, .. } => Self::Bearer { realm, service, scope: None },
            Self::Basic => Self::Basic,
        }
    }

    fn new(scheme: &str, parameters: &[(String, String)]) -> Option<Self> {
        let get = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" => Some(Self::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") }),
            "basic" => Some(Self::Basic),
            _ => None,
        }
    }
}

/// Returns what a host says is wrong with the token that it was shown.
pub(crate) fn error_of(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let mut schemes = values.flat_map(|value| Parser { rest: value }.schemes());
    schemes.find_map(|(_, parameters)| parameters.into_iter().find(|(key, _)| key == "error").map(|(_, error)| error))
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn challenges(self) -> Vec<Challenge> {
        self.schemes().iter().filter_map(|(scheme, parameters)| Challenge::new(scheme, parameters)).collect()
    }

    /// Splits into schemes with their parameters. A word that no `=` follows begins a new scheme.
    fn schemes(mut self) -> Vec<(String, Vec<(String, String)>)> {
        let mut schemes: Vec<(String, Vec<(String, String)>)> = Vec::new();
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', ',']);
            let word = self.word();
            if word.is_empty() {
                return schemes;
            }
            match (self.value(), schemes.last_mut()) {
                (Some(value), Some((_, parameters))) => parameters.push((word.to_ascii_lowercase(), value)),
                (Some(_), None) => return schemes,
                (None, _) => schemes.push((word, Vec::new())),
            }
        }
    }

    fn word(&mut self) -> String {
        let is_end = |c: char| c.is_ascii_whitespace() || matches!(c, ',' | '=' | '"');
        let end = self.rest.find(is_end).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    /// Reads `= value` or `= "value"`.
    fn value(&mut self) -> Option<String> {
        self.rest = self.rest.trim_start_matches([' ', '\t']).strip_prefix('=')?.trim_start_matches([' ', '\t']);
        let Some(quoted) = self.rest.strip_prefix('"') else { return Some(self.word()) };
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        while let Some((position, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &quoted[position + 1..];
                    return Some(value);
                }
                '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
                _ => value.push(c),
            }
        }
        // The closing quote is missing: what is there is the value, and nothing follows.
        self.rest = "";
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    #[track_caller]
    fn check(values: &[&str], expected: Expect) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        expected.assert_eq(&format!("{:?} error {:?}", Challenge::find(&headers), error_of(&headers)));
    }

    #[test]
    fn a_token_server_is_named_with_service_and_scope() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull,push""#;
        check(
            &[hub],
            expect![[
                r#"Some(Bearer { realm: "https://auth.docker.io/token", service: Some("registry.docker.io"), scope: Some("repository:library/alpine:pull,push") }) error None"#
            ]],
        );
        check(
            &[r#"bearer realm = "https://a/b" , error="insufficient_scope""#],
            expect![[
                r#"Some(Bearer { realm: "https://a/b", service: None, scope: None }) error Some("insufficient_scope")"#
            ]],
        );
    }

    #[test]
    fn of_several_challenges_a_token_is_preferred() {
        check(
            &[r#"Basic realm="x", Bearer realm="https://a/b""#],
            expect![[r#"Some(Bearer { realm: "https://a/b", service: None, scope: None }) error None"#]],
        );
        check(&["Negotiate", r#"Basic realm="a \"b\"""#], expect!["Some(Basic) error None"]);
    }

    #[test]
    fn what_cannot_be_understood_is_no_challenge() {
        for value in ["", "Digest x=1", "Bearer service=a", "=", ",,,", "realm=\"x\"", "Bearer realm"] {
            check(&[value], expect!["None error None"]);
        }
        check(
            &[r#"Bearer realm="https://open"#],
            expect![[r#"Some(Bearer { realm: "https://open", service: None, scope: None }) error None"#]],
        );
    }

    proptest! {
        #[test]
        fn any_header_is_read_to_its_end(value in "[ -~]{0,80}") {
            let mut headers = HeaderMap::new();
            headers.insert(WWW_AUTHENTICATE, value.parse().unwrap());
            Challenge::find(&headers);
        }
    }
}
