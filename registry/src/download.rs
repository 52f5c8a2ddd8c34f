//! Files behind URLs, as `ADD <url>` wants them: conditional requests, what the server says about the file, and its bytes.

use std::str::FromStr;
use std::time::SystemTime;

use hyper::body::{Bytes, Incoming};
use hyper::header::{
    AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
};
use hyper::{HeaderMap, Method, StatusCode};
use oci::Timestamp;
use url::Url;

use crate::answer::retry_after;
use crate::attempts::Attempts;
use crate::authorizer::{basic, sensitive};
use crate::blob::range_start;
use crate::body::next_bytes;
use crate::cause::Cause;
use crate::client::Client;
use crate::disposition::filename;
use crate::error::{Error, Failures};
use crate::transport::{Answer, Outgoing, host_of, show};

/// A URL with `http://` or `https://` and a host; a login in it is for that host.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl(Url);

/// Why a text is not an [`HttpUrl`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid URL `{text}`: expected `http://` or `https://` and a host")]
pub struct HttpUrlParseError {
    text: String,
}

impl FromStr for HttpUrl {
    type Err = HttpUrlParseError;

    fn from_str(text: &str) -> Result<Self, HttpUrlParseError> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        url.map(Self).ok_or_else(|| HttpUrlParseError { text: text.to_owned() })
    }
}

/// What is to be downloaded.
#[derive(Clone)]
pub struct Download {
    /// Where the file is.
    pub url: HttpUrl,
    /// The whole header `Authorization`, such as `Bearer …`; it comes before a login in the URL, and stays with the URL's host.
    pub authorization: Option<String>,
    /// Versions that are there already, by the header `ETag` of earlier answers.
    pub etags: Vec<String>,
    /// The time of the version that is there already; servers look at it only where there are no `etags`.
    pub modified_since: Option<Timestamp>,
}

impl Download {
    /// Downloads what is at `url` without any condition.
    pub fn new(url: HttpUrl) -> Self {
        Self { url, authorization: None, etags: Vec::new(), modified_since: None }
    }
}

/// What a server says about a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileHead {
    /// Where the file is after redirects, without login.
    pub url: String,
    /// Names this version, with quotes and `W/` as the server writes it.
    pub etag: Option<String>,
    /// When the file was changed last.
    pub last_modified: Option<Timestamp>,
    /// The name that the server gives the file: a single path component.
    pub filename: Option<String>,
    /// The media type.
    pub content_type: Option<String>,
    /// The length, where it is known.
    pub size_bytes: Option<u64>,
}

/// What came of a conditional request.
pub enum Downloaded {
    /// The file is one of the versions that are there already.
    NotModified(FileHead),
    /// The file is another one; its bytes can be read.
    File(Box<FileStream>),
}

/// The bytes of a file. Dropping it closes the connection.
pub struct FileStream {
    head: FileHead,
    client: Client,
    request: Outgoing,
    attempts: Attempts,
    body: Option<Incoming>,
    offset: u64,
    is_complete: bool,
}

impl Client {
    /// Begins to download a file; returns when the server has answered.
    pub async fn download(&self, download: &Download) -> Result<Downloaded, Error> {
        let request = prepare(download);
        let mut attempts = Attempts::new(vec![host_of(&request.url)], self.shared.config.retry);
        loop {
            match self.ask_for_file(request.clone()).await {
                Ok(answer) if answer.status == StatusCode::NOT_MODIFIED => {
                    return Ok(Downloaded::NotModified(read_head(&answer)));
                }
                Ok(answer) => {
                    let (head, body, client) = (read_head(&answer), Some(answer.body), self.clone());
                    let stream = FileStream { head, client, request, attempts, body, offset: 0, is_complete: false };
                    return Ok(Downloaded::File(Box::new(stream)));
                }
                Err(cause) => {
                    let decided = self.after_failure(&mut attempts, cause).await;
                    decided.map_err(|source| failed(&request.url, source))?;
                }
            }
        }
    }

    /// Asks what the file is today, without its bytes: by HEAD, and where the server does not answer that, by a request whose bytes are not read.
    ///
    /// `None` says that it is one of the versions that are there already.
    pub async fn check(&self, download: &Download) -> Result<Option<FileHead>, Error> {
        let request = Outgoing { method: Method::HEAD, ..prepare(download) };
        match self.ask_for_file(request).await {
            Ok(answer) if answer.status == StatusCode::NOT_MODIFIED => Ok(None),
            Ok(answer) => Ok(Some(read_head(&answer))),
            // Whatever is wrong, the request for the whole file meets it again, waits if that helps, and says it.
            Err(_) => match self.download(download).await? {
                Downloaded::NotModified(_) => Ok(None),
                Downloaded::File(stream) => Ok(Some(stream.head)),
            },
        }
    }

    async fn ask_for_file(&self, request: Outgoing) -> Result<Answer, Cause> {
        let mut answer = self.shared.transport.follow(request).await?;
        if answer.status.is_success() || answer.status == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        self.shared.transport.discard(&mut answer).await;
        let retry_after = retry_after(&answer.headers, SystemTime::now());
        Err(Cause::DownloadStatus { status: answer.status.as_u16(), retry_after })
    }
}

impl FileStream {
    /// Returns what the server says about the file.
    pub fn head(&self) -> &FileHead {
        &self.head
    }

    /// Returns how much was handed out.
    pub fn offset_bytes(&self) -> u64 {
        self.offset
    }

    /// Returns the next bytes, or `None` at the end.
    ///
    /// A broken connection is made anew and goes on where it broke, if the server tells versions of the file apart and it is still the same one. It is
    /// cancel safe.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while !self.is_complete {
            let received = match &mut self.body {
                Some(body) => next_bytes(body, self.client.shared.config.timeouts.idle, self.offset).await,
                None => match self.resume().await {
                    Ok(body) => {
                        self.body = Some(body);
                        continue;
                    }
                    Err(cause) => Err(cause),
                },
            };
            match received {
                Ok(Some(bytes)) => {
                    self.offset += bytes.len() as u64;
                    self.attempts.progressed();
                    return Ok(Some(bytes));
                }
                Ok(None) => self.is_complete = true,
                Err(cause) => self.fail(cause).await?,
            }
        }
        Ok(None)
    }

    async fn fail(&mut self, cause: Cause) -> Result<(), Error> {
        self.body = None;
        let decided = match self.validator() {
            Some(_) => self.client.after_failure(&mut self.attempts, cause).await,
            // Nobody could tell whether the rest belongs to the same file.
            None => Err(self.attempts.give_up(cause)),
        };
        decided.map_err(|source| failed(&self.request.url, source))
    }

    /// A weak tag does not say that the bytes are the same (RFC 9110, section 13.1.5).
    fn validator(&self) -> Option<String> {
        let etag = self.head.etag.clone().filter(|etag| !etag.starts_with("W/"));
        etag.or_else(|| http_date(self.head.last_modified?))
    }

    async fn resume(&self) -> Result<Incoming, Cause> {
        let mut request = self.request.clone();
        request.headers.remove(IF_NONE_MATCH);
        request.headers.remove(IF_MODIFIED_SINCE);
        let condition = self.validator().and_then(|validator| HeaderValue::try_from(validator).ok());
        request.headers.extend(condition.map(|condition| (IF_RANGE, condition)));
        let range = HeaderValue::try_from(format!("bytes={}-", self.offset)).ok();
        request.headers.extend(range.map(|range| (RANGE, range)));
        let answer = self.client.ask_for_file(request).await?;
        match answer.status {
            StatusCode::PARTIAL_CONTENT if range_start(&answer) == Some(self.offset) => Ok(answer.body),
            _ => Err(Cause::Protocol { what: "the file changed while it was downloaded".to_owned() }),
        }
    }
}

fn prepare(download: &Download) -> Outgoing {
    let mut url = download.url.0.clone();
    let login = match (&download.authorization, url.username(), url.password()) {
        (Some(header), ..) => sensitive(header.clone()),
        (None, "", None) => None,
        (None, username, password) => basic(&decode(username), &decode(password.unwrap_or_default())),
    };
    // Both fail only for URLs without a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let mut headers = HeaderMap::new();
    headers.extend(login.map(|login| (AUTHORIZATION, login)));
    if !download.etags.is_empty() {
        headers.extend(HeaderValue::try_from(download.etags.join(", ")).ok().map(|etags| (IF_NONE_MATCH, etags)));
    }
    let since = download.modified_since.and_then(http_date).and_then(|date| HeaderValue::try_from(date).ok());
    headers.extend(since.map(|since| (IF_MODIFIED_SINCE, since)));
    Outgoing { headers, ..Outgoing::get(url) }
}

fn failed(url: &Url, source: Failures) -> Error {
    Error::Download { url: show(url), source }
}

fn read_head(answer: &Answer) -> FileHead {
    let text = |name| answer.header(name).map(str::to_owned);
    let modified = answer.header(LAST_MODIFIED).and_then(|date| httpdate::parse_http_date(date).ok());
    let mut url = answer.url.clone();
    url.set_fragment(None);
    FileHead {
        url: url.to_string(),
        etag: text(ETAG),
        last_modified: modified.map(Timestamp::from),
        filename: answer.header(CONTENT_DISPOSITION).and_then(filename),
        content_type: text(CONTENT_TYPE),
        size_bytes: answer.header(CONTENT_LENGTH).and_then(|length| length.parse().ok()),
    }
}

/// Returns a time as HTTP writes it, or `None` before 1970, which it cannot write.
fn http_date(time: Timestamp) -> Option<String> {
    let seconds = u64::try_from(time.unix_seconds()).ok()?;
    // The crate panics beyond the year 9999, where timestamps end.
    Some(httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)))
}

/// Decodes what stands percent-encoded in the login of a URL.
fn decode(text: &str) -> String {
    String::from_utf8_lossy(&crate::disposition::percent_decode(text)).into_owned()
}
