//! One question to one host of a registry, and its answer if it is yes: scheme, authorization, redirects; no second attempts after failures.

use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Method, StatusCode};
use url::Url;

use crate::answer::{explain, message_of};
use crate::authorizer::Scope;
use crate::body::Payload;
use crate::cause::Cause;
use crate::client::Shared;
use crate::config::Scheme;
use crate::endpoint::Endpoint;
use crate::transport::{Answer, Outgoing};

const ERROR_BYTES_MAX: u64 = 64 * 1024;

/// What a host is asked.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) target: Target<'a>,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    pub(crate) scope: &'a Scope,
}

/// Where in a host the answer is.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    /// In the repository, such as `manifests/latest`.
    Path(&'a str),
    /// Where the host itself said.
    Url(&'a Url),
}

impl<'a> Ask<'a> {
    pub(crate) fn new(method: Method, target: Target<'a>, scope: &'a Scope) -> Self {
        Self { method, target, headers: HeaderMap::new(), payload: Payload::Nothing, scope }
    }
}

impl Shared {
    /// Asks a host. Every answer but success is an error.
    pub(crate) async fn exchange(&self, endpoint: &Endpoint, ask: &Ask<'_>) -> Result<Answer, Cause> {
        let path = match ask.target {
            Target::Path(path) => path,
            Target::Url(url) => return self.ask(endpoint, ask, url.clone()).await,
        };
        let url = |scheme: &str| endpoint.url(scheme, path).ok_or_else(|| invalid_host(endpoint));
        match endpoint.scheme {
            Scheme::Https => self.ask(endpoint, ask, url("https")?).await,
            Scheme::Http => self.ask(endpoint, ask, url("http")?).await,
            Scheme::HttpsThenHttp if self.without_tls.has(&endpoint.host) => {
                self.ask(endpoint, ask, url("http")?).await
            }
            Scheme::HttpsThenHttp => match self.ask(endpoint, ask, url("https")?).await {
                Err(Cause::Connect(error)) if error.is_without_tls() => {
                    let answer = self.ask(endpoint, ask, url("http")?).await;
                    if !matches!(answer, Err(Cause::Connect(_))) {
                        self.without_tls.add(endpoint.host.clone());
                    }
                    answer
                }
                answer => answer,
            },
        }
    }

    /// Asks, meets the challenge if there is one, and asks once more.
    async fn ask(&self, endpoint: &Endpoint, ask: &Ask<'_>, url: Url) -> Result<Answer, Cause> {
        let Ask { method, headers, payload, scope, .. } = ask;
        // The host may send its client elsewhere to upload; authorization stays at home.
        let is_home = is_at(&url, endpoint);
        let mut authorization =
            if is_home { self.authorizer.header(&self.transport, endpoint, scope).await? } else { None };
        let mut is_second = false;
        loop {
            let mut headers = headers.clone();
            headers.extend(authorization.clone().map(|header| (AUTHORIZATION, header)));
            let outgoing = Outgoing { method: method.clone(), url: url.clone(), headers, payload: payload.clone() };
            let mut answer = self.transport.follow(outgoing).await?;
            if answer.status.is_success() {
                return Ok(answer);
            }
            let is_home = is_home && answer.url.origin() == url.origin();
            if is_home && !is_second && answer.status == StatusCode::UNAUTHORIZED {
                let rejected = authorization.as_ref();
                let next =
                    self.authorizer.header_after_challenge(&self.transport, endpoint, scope, &answer.headers, rejected);
                authorization = next.await?;
                if authorization.is_some() {
                    self.transport.discard(&mut answer).await;
                    is_second = true;
                    continue;
                }
            }
            return Err(self.refusal(endpoint, ask, answer, is_home).await);
        }
    }

    async fn refusal(&self, endpoint: &Endpoint, ask: &Ask<'_>, mut answer: Answer, is_home: bool) -> Cause {
        // What the body says makes the message better, no more.
        let bytes = self.transport.read(&mut answer, "answer", ERROR_BYTES_MAX).await.unwrap_or_default();
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if is_home => {
                let message = message_of(&bytes);
                self.authorizer.refusal(endpoint, ask.scope, &answer.headers, message).await
            }
            _ => explain(&answer, &ask.method, &bytes),
        }
    }
}

fn is_at(url: &Url, endpoint: &Endpoint) -> bool {
    let home = endpoint.url(url.scheme(), "");
    home.is_some_and(|home| home.origin() == url.origin())
}

fn invalid_host(endpoint: &Endpoint) -> Cause {
    Cause::Protocol { what: format!("`{}` is not a host that can be asked", endpoint.host) }
}
