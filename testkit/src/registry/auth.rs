//! Challenges, tokens and who may do what.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Method, StatusCode};
use url::form_urlencoded;

use super::handler::{Head, text};
use super::reply::Reply;
use super::route::Route;

/// Who may come in.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Anyone.
    #[default]
    Open,
    /// Who knows this name and password.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// Who has a token for the repository. Anyone gets one to pull from public repositories.
    Token {
        /// The name that gets tokens for everything.
        username: String,
        /// The password, and the identity token, of that name.
        password: String,
        /// Repositories that are only for that name.
        private: BTreeSet<String>,
    },
}

/// Knows the rules and the tokens that were given.
pub(super) struct Doorman {
    auth: Auth,
    realm: String,
    /// What each token allows: `pull app`, `push app`.
    tokens: BTreeMap<String, BTreeSet<String>>,
    given: usize,
}

impl Doorman {
    pub(super) fn new(auth: Auth, realm: String) -> Self {
        Self { auth, realm, tokens: BTreeMap::new(), given: 0 }
    }

    pub(super) fn revoke(&mut self) {
        self.tokens.clear();
    }

    /// Returns the answer to a request that is not allowed, or `None` where it is.
    pub(super) fn check(&self, head: &Head, route: &Route<'_>) -> Option<Reply> {
        let repository = route.repository()?;
        let denied = Reply::error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
        match &self.auth {
            Auth::Open => None,
            Auth::Basic { username, password } if is_login(&head.headers, username, password) => None,
            Auth::Basic { .. } => Some(denied.with(WWW_AUTHENTICATE, "Basic realm=\"test\"")),
            Auth::Token { .. } => {
                let is_read = head.method == Method::GET || head.method == Method::HEAD;
                let needed = format!("{} {repository}", if is_read { "pull" } else { "push" });
                // Taking a blob over from another repository reads that one.
                let from = form_urlencoded::parse(head.query.as_bytes()).find(|(key, _)| key == "from");
                let needed: Vec<String> =
                    from.map(|(_, name)| format!("pull {name}")).into_iter().chain([needed]).collect();
                let shown = text(&head.headers, AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
                let allowed = shown.and_then(|token| self.tokens.get(token));
                if allowed.is_some_and(|allowed| needed.iter().all(|it| allowed.contains(it))) {
                    return None;
                }
                let error = if allowed.is_some() { ",error=\"insufficient_scope\"" } else { "" };
                let actions = if is_read { "pull" } else { "pull,push" };
                let scope = format!("repository:{repository}:{actions}");
                let realm = &self.realm;
                let challenge = format!("Bearer realm=\"{realm}\",service=\"test\",scope=\"{scope}\"{error}");
                Some(denied.with(WWW_AUTHENTICATE, challenge))
            }
        }
    }

    /// Gives a token: by GET with a password or nothing, by POST with an identity token.
    pub(super) fn give(&mut self, head: &Head, body: &[u8]) -> Reply {
        let Auth::Token { username, password, private } = &self.auth else {
            return Reply::new(StatusCode::NOT_FOUND);
        };
        let form = if head.method == Method::POST { body } else { head.query.as_bytes() };
        let form: Vec<(String, String)> = form_urlencoded::parse(form).into_owned().collect();
        let refresh = form.iter().find(|(key, _)| key == "refresh_token").map(|(_, value)| value);
        let is_user = is_login(&head.headers, username, password) || refresh == Some(password);
        if !is_user && (head.headers.contains_key(AUTHORIZATION) || refresh.is_some()) {
            return Reply::new(StatusCode::UNAUTHORIZED).bytes(r#"{"details":"wrong password for the test"}"#);
        }
        let mut allowed = BTreeSet::new();
        let scopes = form.iter().filter(|(key, _)| key == "scope").flat_map(|(_, value)| value.split(' '));
        for scope in scopes {
            let Some((repository, actions)) = scope.strip_prefix("repository:").and_then(|it| it.rsplit_once(':'))
            else {
                continue;
            };
            let open = |action: &str| is_user || (action == "pull" && !private.contains(repository));
            allowed.extend(
                actions.split(',').filter(|action| open(action)).map(|action| format!("{action} {repository}")),
            );
        }
        self.given += 1;
        let token = format!("token-{}", self.given);
        self.tokens.insert(token.clone(), allowed);
        Reply::new(StatusCode::OK).bytes(serde_json::json!({ "token": token, "expires_in": 300 }).to_string())
    }
}

fn is_login(headers: &HeaderMap, username: &str, password: &str) -> bool {
    let expected = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
    text(headers, AUTHORIZATION) == Some(expected.as_str())
}
