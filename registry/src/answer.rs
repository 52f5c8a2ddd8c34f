//! Reading answers that say no: the error codes of the distribution specification, and what other servers say instead.

use std::time::{Duration, SystemTime};

use hyper::header::RETRY_AFTER;
use hyper::{HeaderMap, Method, StatusCode};
use serde::Deserialize;

use crate::cause::{Cause, Status};
use crate::transport::{Answer, show};

const MESSAGE_CHARS_MAX: usize = 300;

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    errors: Vec<ErrorEntry>,
    #[serde(alias = "details", alias = "error_description", alias = "error_message")]
    message: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    message: Option<String>,
}

/// Returns the cause that an answer with a status other than success stands for; `bytes` is its body.
pub(crate) fn explain(answer: &Answer, method: &Method, bytes: &[u8]) -> Cause {
    let message = message_of(bytes);
    let retry_after = retry_after(&answer.headers, SystemTime::now());
    match answer.status {
        StatusCode::NOT_FOUND => Cause::NotFound { message: message.trim_end_matches(": not found").to_owned() },
        StatusCode::TOO_MANY_REQUESTS => {
            let message = message.strip_prefix("toomanyrequests").unwrap_or(&message);
            Cause::RateLimited { message: message.trim_start_matches(": ").to_owned(), retry_after }
        }
        status => {
            let (url, method, status) = (show(&answer.url), method.to_string(), Status(status.as_u16()));
            Cause::Status { method, url, status, message, retry_after }
        }
    }
}

/// Returns what a host says in the body of an answer: `code: message` as Docker writes it, or the beginning of a plain text.
pub(crate) fn message_of(bytes: &[u8]) -> String {
    let message = match serde_json::from_slice::<ErrorBody>(bytes) {
        Ok(body) if !body.errors.is_empty() => body.errors.iter().map(entry_text).collect::<Vec<_>>().join(", "),
        Ok(body) => body.message.or(body.error).unwrap_or_default(),
        Err(_) => plain_text(bytes),
    };
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect()
}

fn entry_text(entry: &ErrorEntry) -> String {
    let code = entry.code.to_ascii_lowercase().replace('_', " ");
    match entry.message.as_deref().filter(|message| !message.is_empty()) {
        Some(message) if code.is_empty() || message.to_ascii_lowercase().starts_with(&code) => message.to_owned(),
        Some(message) => format!("{code}: {message}"),
        None => code,
    }
}

/// Web pages of proxies and load balancers say nothing that fits a line.
fn plain_text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    if text.starts_with('<') || text.contains('\0') { String::new() } else { text.to_owned() }
}

/// Reads `Retry-After`: seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: &str) {
        assert_eq!(message_of(body.as_bytes()), expected);
    }

    #[test]
    fn error_codes_are_written_as_docker_writes_them() {
        check(
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#,
            "manifest unknown",
        );
        check(
            r#"{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}"#,
            "name unknown: repository name not known to registry",
        );
        check(
            r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#,
            "toomanyrequests: You have reached your pull rate limit.",
        );
        check(r#"{"errors":[{"code":"DENIED"},{"code":"X","message":"y"}]}"#, "denied, x: y");
    }

    #[test]
    fn other_servers_say_it_in_other_ways() {
        check(r#"{"message":"no","error":"x"}"#, "no");
        check(r#"{"details":"incorrect username or password"}"#, "incorrect username or password");
        check(r#"{"error":"invalid_grant"}"#, "invalid_grant");
        check("Client sent an HTTP request to an HTTPS server.\n", "Client sent an HTTP request to an HTTPS server.");
        check("<html><body>502</body></html>", "");
        check("404 page\n not\u{1b}found", "404 page notfound");
        check(&"x".repeat(1000), &"x".repeat(MESSAGE_CHARS_MAX));
        check("", "");
        check(r#"{"errors":[]}"#, "");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Fri, 15 May 2015 15:34:21 GMT").unwrap();
        let read = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(read("120"), Some(120));
        assert_eq!(read("Fri, 15 May 2015 15:34:56 GMT"), Some(35));
        assert_eq!(read("Fri, 15 May 2015 15:00:00 GMT"), Some(0));
        assert_eq!(read("-1"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
