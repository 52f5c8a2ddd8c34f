//! One request and its answer, with redirects followed; no authorization, no second attempts.

use std::error::Error as StdError;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderValue, LOCATION, PROXY_AUTHORIZATION, USER_AGENT};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use url::Url;

use crate::body::{Body, Payload, SourceError, read_all};
use crate::cause::Cause;
use crate::config::{Config, Timeouts};
use crate::connect_error::ConnectError;
use crate::connector::{Connector, find};
use crate::tls::ConfigError;

/// As many as Go's client and curl's users are used to.
const REDIRECTS_MAX: usize = 10;
/// Connections that nobody uses are closed after this; most servers close theirs after 60 s and more.
const POOL_IDLE: Duration = Duration::from_secs(50);
/// What is read of an answer that nobody wants, so that its connection can be used again.
const UNWANTED_BYTES_MAX: u64 = 64 * 1024;

/// Sends requests.
pub(crate) struct Transport {
    http: legacy::Client<Connector, Body>,
    connector: Connector,
    user_agent: HeaderValue,
    timeouts: Timeouts,
}

/// A request that can be made more than once.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
}

/// The head of an answer, and the rest to be read.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
    /// Where the answer came from, after redirects.
    pub(crate) url: Url,
}

impl Outgoing {
    pub(crate) fn get(url: Url) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), payload: Payload::Nothing }
    }
}

impl Answer {
    /// Returns a header's text, or `None` where it is missing or not text.
    pub(crate) fn header(&self, name: impl hyper::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Transport {
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let connector = Connector::new(config)?;
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.pool_idle_timeout(POOL_IDLE).pool_timer(TokioTimer::new());
        let http = builder.build(connector.clone());
        let user_agent = HeaderValue::from_str(&config.user_agent).unwrap_or(HeaderValue::from_static("kiln"));
        Ok(Self { http, connector, user_agent, timeouts: config.timeouts })
    }

    /// Sends a request and follows redirects. Authorization stays with the origin that it was meant for.
    pub(crate) async fn follow(&self, mut request: Outgoing) -> Result<Answer, Cause> {
        for _ in 0..=REDIRECTS_MAX {
            let mut answer = self.send(&request).await?;
            let Some(next) = redirect(&answer, &request.method)? else { return Ok(answer) };
            self.discard(&mut answer).await;
            if next.origin() != request.url.origin() {
                request.headers.remove(AUTHORIZATION);
            }
            request.url = next;
        }
        Err(Cause::Protocol { what: format!("stopped after {REDIRECTS_MAX} redirects") })
    }

    /// Reads the rest of an answer that nobody wants, if it is short.
    pub(crate) async fn discard(&self, answer: &mut Answer) {
        // Whether this works decides only whether the connection can be used again.
        let _ = read_all(&mut answer.body, self.timeouts.idle, "answer", UNWANTED_BYTES_MAX).await;
    }

    /// Reads a whole answer of at most `limit_bytes`.
    pub(crate) async fn read(&self, answer: &mut Answer, what: &'static str, limit_bytes: u64) -> Result<Bytes, Cause> {
        read_all(&mut answer.body, self.timeouts.idle, what, limit_bytes).await
    }

    /// Sends one request and waits for the head of the answer.
    async fn send(&self, request: &Outgoing) -> Result<Answer, Cause> {
        let Timeouts { connect, idle } = self.timeouts;
        let mut response = pin!(self.http.request(self.build(request)?));
        let sent_bytes = || match &request.payload {
            Payload::Part { sent, .. } => sent.bytes(),
            _ => 0,
        };
        let mut seen_bytes = sent_bytes();
        // An upload may take long, but something must be taken from one look to the next.
        let mut window = connect.saturating_add(idle);
        loop {
            match tokio::time::timeout(window, &mut response).await {
                Ok(Ok(response)) => {
                    let (head, body) = response.into_parts();
                    let (status, headers) = (head.status, head.headers);
                    return Ok(Answer { status, headers, body, url: request.url.clone() });
                }
                Ok(Err(err)) => return Err(classify(err, &request.url)),
                Err(_) if sent_bytes() == seen_bytes => {
                    return Err(Cause::Timeout { waiting_for: "an answer was waited for", after: idle });
                }
                Err(_) => (seen_bytes, window) = (sent_bytes(), idle),
            }
        }
    }

    fn build(&self, request: &Outgoing) -> Result<Request<Body>, Cause> {
        let invalid =
            |_| Cause::Protocol { what: format!("`{}` is not a URL that can be asked for", show(&request.url)) };
        let mut url = request.url.clone();
        url.set_fragment(None);
        let uri: hyper::Uri = url.as_str().parse().map_err(invalid)?;
        let proxy_login = self.connector.proxy_authorization(&uri);
        let mut built = Request::new(request.payload.body());
        *built.method_mut() = request.method.clone();
        *built.uri_mut() = uri;
        *built.headers_mut() = request.headers.clone();
        built.headers_mut().insert(USER_AGENT, self.user_agent.clone());
        if let Some(login) = proxy_login {
            built.headers_mut().insert(PROXY_AUTHORIZATION, login);
        }
        if request.method != Method::GET && request.method != Method::HEAD {
            built.headers_mut().insert(CONTENT_LENGTH, request.payload.size_bytes().into());
        }
        Ok(built)
    }
}

/// Returns where an answer sends a request on to, or `None` where it is no redirect.
fn redirect(answer: &Answer, method: &Method) -> Result<Option<Url>, Cause> {
    let safe = *method == Method::GET || *method == Method::HEAD;
    let moved = match answer.status.as_u16() {
        301..=303 => safe,
        307 | 308 => true,
        _ => false,
    };
    let Some(location) = answer.header(LOCATION).filter(|_| moved) else { return Ok(None) };
    let next = answer.url.join(location).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    match next {
        Some(next) => Ok(Some(next)),
        None => Err(Cause::Protocol { what: "redirect to something that is not an http URL".to_owned() }),
    }
}

/// Returns a URL as messages show it: without login, query and fragment, which may be secret.
pub(crate) fn show(url: &Url) -> String {
    let mut shown = url.clone();
    // Both fail only for URLs that cannot have a login.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string()
}

/// Returns host and port; the port is left out where it is the scheme's own.
pub(crate) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn classify(error: legacy::Error, url: &Url) -> Cause {
    if let Some(connect) = find(&error).cloned() {
        return Cause::Connect(connect);
    }
    if let Some(SourceError { source }) = find(&error) {
        return Cause::Source { source: Arc::clone(source) };
    }
    // With TLS 1.3 the host looks at the client's certificate after the client takes the handshake for done.
    let host = url.host_str().unwrap_or_default();
    let address = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
    if let Some(refused) = find(&error).and_then(|alert| ConnectError::client_certificate(&address, alert)) {
        return refused.into();
    }
    match find::<hyper::Error>(&error) {
        Some(protocol) if protocol.is_parse() => {
            Cause::Protocol { what: format!("it is not HTTP: {}", deepest(protocol)) }
        }
        _ => Cause::Broken { received_bytes: 0, source: Arc::new(error) },
    }
}

fn deepest(error: &(dyn StdError + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
