//! Who we are to whom: challenges that hosts have set, logins, and tokens for single repositories.
//!
//! A host gets no login before it asks for one. What it asks for is remembered, so that later requests bring their authorization along; a token is
//! fetched once for all tasks that need it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::HeaderValue;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use crate::cause::Cause;
use crate::challenge::{Challenge, error_of};
use crate::credentials::{CredentialError, Credentials, Login};
use crate::endpoint::Endpoint;
use crate::token::{self, Grant, TokenRequest};
use crate::transport::Transport;

/// What a request needs to be allowed: `repository:NAME:pull`, and more where a blob moves between repositories.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scope {
    pub(crate) access: Access,
    pub(crate) repositories: Vec<String>,
}

/// What is done to the first repository of a [`Scope`]; the others are only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Access {
    Pull,
    Push,
}

impl Access {
    /// Returns the word that messages use.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
        }
    }
}

impl Scope {
    pub(crate) fn pull(repository: &str) -> Self {
        Self { access: Access::Pull, repositories: vec![repository.to_owned()] }
    }

    pub(crate) fn push(repository: &str) -> Self {
        Self { access: Access::Push, repositories: vec![repository.to_owned()] }
    }

    /// Returns the texts that a token server is asked for: what the host demanded, if it did, and what is needed beyond that.
    ///
    /// A demand under another name stands for the first repository: some proxies give repositories names of their own.
    fn texts(&self, demanded: Option<&str>) -> Vec<String> {
        let demanded: Vec<&str> = demanded.unwrap_or_default().split(' ').filter(|text| !text.is_empty()).collect();
        let mut texts: Vec<String> = Vec::new();
        for (position, name) in self.repositories.iter().enumerate() {
            let prefix = format!("repository:{name}:");
            let is_push = position == 0 && self.access == Access::Push;
            let actions = if is_push { "pull,push" } else { "pull" };
            if position > 0 || demanded.is_empty() || demanded.iter().any(|text| text.starts_with(&prefix)) {
                texts.push(prefix + actions);
            }
        }
        let is_new =
            |text: &&str| !self.repositories.iter().any(|name| text.starts_with(&format!("repository:{name}:")));
        texts.extend(demanded.into_iter().filter(is_new).map(str::to_owned));
        texts
    }
}

/// Finds out and remembers how to be allowed.
pub(crate) struct Authorizer {
    credentials: Arc<dyn Credentials>,
    hosts: Mutex<BTreeMap<String, Arc<Host>>>,
}

#[derive(Default)]
struct Host {
    /// Without its scope, which is that of one repository.
    challenge: Mutex<Option<Challenge>>,
    login: OnceCell<Result<Option<Login>, CredentialError>>,
    tokens: Mutex<BTreeMap<Scope, Slot>>,
}

/// Held while the token is fetched, so that others wait for it instead of fetching their own.
type Slot = Arc<AsyncMutex<Permission>>;

/// What is known about one scope.
#[derive(Default)]
struct Permission {
    /// How the host itself calls the scope.
    demanded: Option<String>,
    token: Option<Token>,
}

struct Token {
    header: HeaderValue,
    expires: Instant,
}

impl Authorizer {
    pub(crate) fn new(credentials: Arc<dyn Credentials>) -> Self {
        Self { credentials, hosts: Mutex::default() }
    }

    /// Returns the header for a request, or `None` while the host has not asked for one.
    pub(crate) async fn header(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        scope: &Scope,
    ) -> Result<Option<HeaderValue>, Cause> {
        let host = self.host(endpoint);
        let challenge = lock(&host.challenge).clone();
        match challenge {
            None => Ok(None),
            Some(challenge) => self.meet(transport, endpoint, &host, &challenge, scope, None).await,
        }
    }

    /// Returns the header that meets the challenge in `headers`, or `None` where there is nothing better than the one that was `rejected`.
    pub(crate) async fn header_after_challenge(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        scope: &Scope,
        headers: &HeaderMap,
        rejected: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Cause> {
        let Some(challenge) = Challenge::find(headers) else { return Ok(None) };
        let host = self.host(endpoint);
        *lock(&host.challenge) = Some(challenge.without_scope());
        let header = self.meet(transport, endpoint, &host, &challenge, scope, rejected).await?;
        Ok(header.filter(|header| Some(header) != rejected))
    }

    /// Returns why a host refused: 401 or 403, with `message` from its answer.
    pub(crate) async fn refusal(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        headers: &HeaderMap,
        message: String,
    ) -> Cause {
        let access = scope.access.word();
        let host = self.host(endpoint);
        match self.login(&host, endpoint).await {
            Err(source) => Cause::Credentials { access, source },
            Ok(Some(_)) if Challenge::find(headers) == Some(Challenge::Basic) => Cause::Unauthorized { message },
            Ok(_) => {
                let error = error_of(headers).filter(|error| !message.contains(error.as_str()));
                let message = [error, Some(message)].into_iter().flatten().filter(|text| !text.is_empty());
                Cause::AccessDenied { access, message: message.collect::<Vec<_>>().join(": ") }
            }
        }
    }

    fn host(&self, endpoint: &Endpoint) -> Arc<Host> {
        Arc::clone(lock(&self.hosts).entry(endpoint.registry.clone()).or_default())
    }

    async fn login(&self, host: &Host, endpoint: &Endpoint) -> Result<Option<Login>, CredentialError> {
        host.login.get_or_init(|| self.credentials.find(&endpoint.registry)).await.clone()
    }

    async fn meet(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        host: &Host,
        challenge: &Challenge,
        scope: &Scope,
        rejected: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Cause> {
        // A login that could not be had is no reason to stop: most repositories are public.
        let login = self.login(host, endpoint).await.unwrap_or_default();
        let (realm, service, scope_of_challenge) = match (challenge, &login) {
            (Challenge::Basic, Some(Login::Password { username, password })) => {
                return Ok(basic(username, password));
            }
            (Challenge::Basic, _) => return Ok(None),
            (Challenge::Bearer { .. }, Some(Login::RegistryToken(token))) => {
                return Ok(sensitive(format!("Bearer {token}")));
            }
            (Challenge::Bearer { realm, service, scope }, _) => (realm, service, scope),
        };
        let slot = Arc::clone(lock(&host.tokens).entry(scope.clone()).or_default());
        let mut permission = slot.lock().await;
        let is_good = |token: &&Token| token.expires > Instant::now() && Some(&token.header) != rejected;
        if let Some(token) = permission.token.as_ref().filter(is_good) {
            return Ok(Some(token.header.clone()));
        }
        if scope_of_challenge.is_some() {
            permission.demanded.clone_from(scope_of_challenge);
        }
        let scopes = scope.texts(permission.demanded.as_deref());
        let request = TokenRequest { realm, service: service.as_deref(), scopes: &scopes, login: login.as_ref() };
        let Grant { token, lifetime } = token::fetch(transport, endpoint, scope.access, &request).await?;
        let header = sensitive(format!("Bearer {token}"));
        permission.token = header.clone().map(|header| Token { header, expires: Instant::now() + lifetime });
        Ok(header)
    }
}

/// Returns a header that is never logged, or `None` where the text cannot be one.
pub(crate) fn sensitive(text: String) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Returns the header that shows a name and a password.
pub(crate) fn basic(username: &str, password: &str) -> Option<HeaderValue> {
    sensitive(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
}

/// Nothing panics while it holds one of these locks, and what they guard is whole at any moment.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scope: &Scope, demanded: &str, expected: &[&str]) {
        assert_eq!(scope.texts(Some(demanded)), expected);
    }

    #[test]
    fn a_scope_is_what_is_needed_under_the_names_that_the_host_demands() {
        check(&Scope::pull("a"), "", &["repository:a:pull"]);
        check(&Scope::pull("a"), "repository:a:pull", &["repository:a:pull"]);
        check(&Scope::push("a"), "", &["repository:a:pull,push"]);
        check(&Scope::push("a"), "repository:a:pull", &["repository:a:pull,push"]);
        check(&Scope::pull("a"), "repository:proxy/a:pull", &["repository:proxy/a:pull"]);
        check(&Scope::pull("a"), "registry:catalog:*", &["registry:catalog:*"]);
        let mount = Scope { access: Access::Push, repositories: vec!["to".into(), "from".into()] };
        check(&mount, "", &["repository:to:pull,push", "repository:from:pull"]);
        check(&mount, "repository:from:pull repository:to:push", &["repository:to:pull,push", "repository:from:pull"]);
    }
}
