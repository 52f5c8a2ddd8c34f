//! Asking a token server, by the two ways that the distribution project describes: GET with a password or nothing, POST (OAuth 2) with an identity token.

use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use crate::answer::{explain, message_of};
use crate::authorizer::{Access, basic};
use crate::body::Payload;
use crate::cause::Cause;
use crate::config::{Scheme, is_loopback};
use crate::credentials::Login;
use crate::endpoint::Endpoint;
use crate::transport::{Answer, Outgoing, Transport};

const CLIENT_ID: &str = "kiln";
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// How long a token is good where the server does not say, and what a shorter time counts as: the distribution specification's minimum.
const LIFETIME_MIN: Duration = Duration::from_secs(60);
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What a token server is asked.
pub(crate) struct TokenRequest<'a> {
    pub(crate) realm: &'a str,
    pub(crate) service: Option<&'a str>,
    pub(crate) scopes: &'a [String],
    pub(crate) login: Option<&'a Login>,
}

/// What a token server gives.
pub(crate) struct Grant {
    pub(crate) token: String,
    pub(crate) lifetime: Duration,
}

#[derive(Deserialize)]
struct Reply {
    token: Option<String>,
    access_token: Option<String>,
    /// A number by the specification, and a text with some servers.
    expires_in: Option<serde_json::Value>,
}

/// Fetches a token for the host at `endpoint`.
pub(crate) async fn fetch(
    transport: &Transport,
    endpoint: &Endpoint,
    access: Access,
    request: &TokenRequest<'_>,
) -> Result<Grant, Cause> {
    let realm = Url::parse(request.realm).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(realm) = realm else {
        return Err(Cause::Protocol { what: format!("`{}` is not the URL of a token server", request.realm) });
    };
    if request.login.is_some() && is_downgrade(endpoint, &realm) {
        let what = format!("refused to send the login to `{}` without TLS", realm.host_str().unwrap_or_default());
        return Err(Cause::Protocol { what });
    }
    let mut answer = transport.follow(request.outgoing(realm)).await?;
    if !answer.status.is_success() {
        return Err(refusal(transport, &mut answer, access, request.login.is_some()).await);
    }
    let bytes = transport.read(&mut answer, "token", ANSWER_BYTES_MAX).await?;
    let reply: Option<Reply> = serde_json::from_slice(&bytes).ok();
    let expires_in = reply.as_ref().and_then(|reply| reply.expires_in.as_ref()?.as_u64());
    let lifetime = expires_in.map_or(LIFETIME_MIN, Duration::from_secs);
    let token = reply.and_then(|reply| reply.token.filter(|it| !it.is_empty()).or(reply.access_token));
    match token.filter(|it| !it.is_empty()) {
        Some(token) => Ok(Grant { token, lifetime: lifetime.clamp(LIFETIME_MIN, LIFETIME_MAX) }),
        None => Err(Cause::Protocol { what: "the token server gave no token".to_owned() }),
    }
}

/// Whoever reads along on the way to the host could otherwise send the login elsewhere.
fn is_downgrade(endpoint: &Endpoint, realm: &Url) -> bool {
    endpoint.scheme == Scheme::Https && realm.scheme() == "http" && !is_loopback(realm.host_str().unwrap_or_default())
}

async fn refusal(transport: &Transport, answer: &mut Answer, access: Access, has_login: bool) -> Cause {
    let bytes = transport.read(answer, "answer", ANSWER_BYTES_MAX).await.unwrap_or_default();
    match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
            let message = message_of(&bytes);
            if has_login {
                Cause::Unauthorized { message }
            } else {
                Cause::AccessDenied { access: access.word(), message }
            }
        }
        _ => explain(answer, &Method::GET, &bytes),
    }
}

impl TokenRequest<'_> {
    fn outgoing(&self, mut realm: Url) -> Outgoing {
        match self.login {
            Some(Login::IdentityToken(refresh_token)) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", refresh_token);
                form.append_pair("client_id", CLIENT_ID).append_pair("scope", &self.scopes.join(" "));
                form.append_pair("service", self.service.unwrap_or_default());
                let payload = Payload::Bytes(Bytes::from(form.finish()));
                let mut request = Outgoing { method: Method::POST, payload, ..Outgoing::get(realm) };
                let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
                request.headers.insert(CONTENT_TYPE, form_type);
                request
            }
            login => {
                self.write_query(&mut realm);
                let mut request = Outgoing::get(realm);
                if let Some(Login::Password { username, password }) = login {
                    request.headers.extend(basic(username, password).map(|basic| (AUTHORIZATION, basic)));
                }
                request
            }
        }
    }

    fn write_query(&self, realm: &mut Url) {
        let mut query = realm.query_pairs_mut();
        if let Some(service) = self.service {
            query.append_pair("service", service);
        }
        for scope in self.scopes {
            query.append_pair("scope", scope);
        }
        if let Some(Login::Password { username, .. }) = self.login {
            query.append_pair("account", username);
        }
        query.append_pair("client_id", CLIENT_ID);
    }
}
