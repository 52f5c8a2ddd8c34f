//! Challenges, logins, tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use expect_test::{Expect, expect};
use registry::{Client, Config, CredentialError, Credentials, DockerConfig, DockerCredentials, Login, LoginFuture};
use testkit::registry::{Auth, Fault, Options, Registry, image};

use crate::{config, text, with};

/// Logins by host; counts how often it was asked.
#[derive(Default)]
struct Logins {
    by_host: BTreeMap<String, Login>,
    fails: bool,
    asked: AtomicUsize,
}

impl Credentials for Logins {
    fn find<'a>(&'a self, host: &'a str) -> LoginFuture<'a> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            match self.fails {
                true => Err(CredentialError::HelperMissing { program: "docker-credential-x".to_owned() }),
                false => Ok(self.by_host.get(host).cloned()),
            }
        })
    }
}

fn password(word: &str) -> Login {
    Login::Password { username: "alice".to_owned(), password: word.to_owned() }
}

fn basic() -> Registry {
    let auth = Auth::Basic { username: "alice".to_owned(), password: "secret".to_owned() };
    start(auth)
}

/// A registry with a token server, a public repository `app` and a private one `own`.
fn tokens() -> Registry {
    let private = BTreeSet::from(["own".to_owned()]);
    start(Auth::Token { username: "alice".to_owned(), password: "secret".to_owned(), private })
}

fn start(auth: Auth) -> Registry {
    let registry = Registry::start_with(Options { auth, ..Options::default() });
    for repository in ["app", "own"] {
        image(&[&[("etc/motd", "hello")]]).push(&registry, repository, "latest");
    }
    registry
}

fn client(registry: &Registry, login: Option<Login>) -> Client {
    let by_host = login.map(|login| (registry.host(), login)).into_iter().collect();
    with(Config { credentials: Arc::new(Logins { by_host, ..Logins::default() }), ..config() })
}

/// Resolves several names by one client, and shows the outcomes and the requests.
#[tokio::main(flavor = "current_thread")]
async fn resolve(client: &Client, registry: &Registry, names: &[&str]) -> String {
    let mut out = String::new();
    for name in names {
        out += &match client.resolve(&registry.reference(name)).await {
            Ok(_) => format!("{name} resolved\n"),
            Err(err) => format!("{}\n{}", text(&err), hint(&err)),
        };
    }
    out + &registry.log()
}

fn hint(error: &registry::Error) -> String {
    error.hint().map(|hint| crate::without_ports(&format!("hint: {hint}\n"))).unwrap_or_default()
}

#[track_caller]
fn check(registry: &Registry, login: Option<Login>, names: &[&str], expected: Expect) {
    expected.assert_eq(&resolve(&client(registry, login), registry, names));
}

#[test]
fn a_password_is_shown_only_to_a_host_that_asks_and_then_always() {
    check(
        &basic(),
        Some(password("secret")),
        &["app", "app"],
        expect![[r#"
        app resolved
        app resolved
        GET /v2/app/manifests/latest 401
        GET /v2/app/manifests/latest 200 (basic)
        GET /v2/app/manifests/latest 200 (basic)
    "#]],
    );
    let open = start(Auth::Open);
    check(
        &open,
        Some(password("secret")),
        &["app"],
        expect![[r#"
        app resolved
        GET /v2/app/manifests/latest 200
    "#]],
    );
}

#[test]
fn a_wrong_password_is_unauthorized_and_none_is_denied() {
    check(
        &basic(),
        Some(password("wrong")),
        &["app"],
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT: unauthorized: incorrect username or password: authentication required
        hint: log in again: docker login 127.0.0.1:PORT
        GET /v2/app/manifests/latest 401
        GET /v2/app/manifests/latest 401 (basic)
    "#]],
    );
    check(
        &basic(),
        None,
        &["app"],
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT: pull access denied, repository does not exist or may require authorization: unauthorized: authentication required
        hint: check the name; if `127.0.0.1:PORT` wants a login: docker login 127.0.0.1:PORT
        GET /v2/app/manifests/latest 401
    "#]],
    );
}

#[test]
fn anyone_gets_a_token_for_a_public_repository() {
    check(
        &tokens(),
        None,
        &["app", "app"],
        expect![[r#"
        app resolved
        app resolved
        GET /v2/app/manifests/latest 401
        GET /token?service=test&scope=repository%3Aapp%3Apull&client_id=kiln 200
        GET /v2/app/manifests/latest 200 (bearer)
        GET /v2/app/manifests/latest 200 (bearer)
    "#]],
    );
}

#[test]
fn a_private_repository_is_denied_without_a_login() {
    check(
        &tokens(),
        None,
        &["own"],
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/own:latest`: 127.0.0.1:PORT: pull access denied, repository does not exist or may require authorization: insufficient_scope: unauthorized: authentication required
        hint: check the name; if `127.0.0.1:PORT` wants a login: docker login 127.0.0.1:PORT
        GET /v2/own/manifests/latest 401
        GET /token?service=test&scope=repository%3Aown%3Apull&client_id=kiln 200
        GET /v2/own/manifests/latest 401 (bearer)
    "#]],
    );
}

#[test]
fn a_login_gets_tokens_by_password_or_by_identity_token() {
    check(
        &tokens(),
        Some(password("secret")),
        &["own"],
        expect![[r#"
        own resolved
        GET /v2/own/manifests/latest 401
        GET /token?service=test&scope=repository%3Aown%3Apull&account=alice&client_id=kiln 200 (basic)
        GET /v2/own/manifests/latest 200 (bearer)
    "#]],
    );
    check(
        &tokens(),
        Some(Login::IdentityToken("secret".to_owned())),
        &["own"],
        expect![[r#"
        own resolved
        GET /v2/own/manifests/latest 401
        POST /token 200
        GET /v2/own/manifests/latest 200 (bearer)
    "#]],
    );
    check(
        &tokens(),
        Some(password("wrong")),
        &["own"],
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/own:latest`: 127.0.0.1:PORT: unauthorized: incorrect username or password: wrong password for the test
        hint: log in again: docker login 127.0.0.1:PORT
        GET /v2/own/manifests/latest 401
        GET /token?service=test&scope=repository%3Aown%3Apull&account=alice&client_id=kiln 401 (basic)
    "#]],
    );
}

#[test]
fn a_token_of_the_users_own_is_used_as_it_is() {
    let registry = tokens();
    check(
        &registry,
        Some(Login::RegistryToken("mine".to_owned())),
        &["own"],
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/own:latest`: 127.0.0.1:PORT: pull access denied, repository does not exist or may require authorization: unauthorized: authentication required
        hint: check the name; if `127.0.0.1:PORT` wants a login: docker login 127.0.0.1:PORT
        GET /v2/own/manifests/latest 401
        GET /v2/own/manifests/latest 401 (bearer)
    "#]],
    );
}

#[test]
fn a_token_that_is_no_longer_good_is_replaced_once() {
    let registry = tokens();
    let client = client(&registry, None);
    resolve(&client, &registry, &["app"]);
    registry.revoke_tokens();
    expect![[r#"
        app resolved
        GET /v2/app/manifests/latest 401 (bearer)
        GET /token?service=test&scope=repository%3Aapp%3Apull&client_id=kiln 200
        GET /v2/app/manifests/latest 200 (bearer)
    "#]]
    .assert_eq(&resolve(&client, &registry, &["app"]));
}

#[test]
fn many_tasks_share_one_token_and_one_login() {
    #[tokio::main(flavor = "current_thread")]
    async fn fetch(client: &Client, registry: &Registry) {
        let resolve = || {
            let (client, reference) = (client.clone(), registry.reference("own"));
            tokio::spawn(async move { client.resolve(&reference).await.unwrap() })
        };
        for task in [resolve(), resolve(), resolve(), resolve()] {
            task.await.unwrap();
        }
    }
    let registry = tokens();
    let logins = Arc::new(Logins { by_host: [(registry.host(), password("secret"))].into(), ..Logins::default() });
    let client = with(Config { credentials: Arc::clone(&logins) as Arc<dyn Credentials>, ..config() });
    fetch(&client, &registry);
    let log = registry.log();
    assert_eq!(log.lines().filter(|line| line.contains("/token")).count(), 1, "{log}");
    assert_eq!(logins.asked.load(Ordering::Relaxed), 1);
}

#[test]
fn a_login_that_cannot_be_had_matters_only_where_it_is_needed() {
    let registry = tokens();
    let credentials = || Arc::new(Logins { fails: true, ..Logins::default() });
    let client = with(Config { credentials: credentials(), ..config() });
    expect![[r#"
        app resolved
        failed to resolve reference `127.0.0.1:PORT/own:latest`: 127.0.0.1:PORT: pull access denied, and no login could be had: credential helper `docker-credential-x` is not installed: executable file not found in $PATH
        hint: see `credsStore` and `credHelpers` in ~/.docker/config.json
        GET /v2/app/manifests/latest 401
        GET /token?service=test&scope=repository%3Aapp%3Apull&client_id=kiln 200
        GET /v2/app/manifests/latest 200 (bearer)
        GET /token?service=test&scope=repository%3Aown%3Apull&client_id=kiln 200
        GET /v2/own/manifests/latest 401 (bearer)
        GET /token?service=test&scope=repository%3Aown%3Apull&client_id=kiln 200
        GET /v2/own/manifests/latest 401 (bearer)
    "#]].assert_eq(&resolve(&client, &registry, &["app", "own"]));
}

#[test]
fn a_token_server_in_trouble_is_asked_again() {
    let registry = tokens();
    registry.fail("GET /token", 1, Fault::Status(500));
    check(
        &registry,
        None,
        &["app"],
        expect![[r#"
        app resolved
        GET /v2/app/manifests/latest 401
        GET /token?service=test&scope=repository%3Aapp%3Apull&client_id=kiln 500
        GET /token?service=test&scope=repository%3Aapp%3Apull&client_id=kiln 200
        GET /v2/app/manifests/latest 200 (bearer)
    "#]],
    );
    registry.fail("GET /token", 1, Fault::Answer(200, "{}".to_owned()));
    check(
        &registry,
        None,
        &["app"],
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT: unexpected answer: the token server gave no token
        GET /v2/app/manifests/latest 401
        GET /token?service=test&scope=repository%3Aapp%3Apull&client_id=kiln 200
    "#]],
    );
}

#[test]
fn tokens_are_read_as_different_servers_write_them() {
    let outcome = |reply: &str| {
        let registry = tokens();
        registry.fail("GET /token", 1, Fault::Answer(200, reply.to_owned()));
        registry.fail("GET /v2/", 1, Fault::Pass);
        registry.fail("GET /v2/", 1, Fault::Answer(200, r#"{"schemaVersion":2,"manifests":[]}"#.to_owned()));
        resolve(&client(&registry, None), &registry, &["app"])
    };
    for reply in [r#"{"access_token":"t","expires_in":"300"}"#, r#"{"token":"t","expires_in":-1,"issued_at":"x"}"#] {
        let outcome = outcome(reply);
        assert!(outcome.starts_with("app resolved\n") && outcome.ends_with("200 (bearer)\n"), "{outcome}");
    }
}

#[test]
fn authorization_stays_with_the_host_that_it_is_for() {
    let (registry, elsewhere) = (basic(), basic());
    registry.fail("GET", 1, Fault::Pass);
    registry.fail("GET", 1, Fault::Redirect(format!("http://{}", elsewhere.host())));
    check(
        &registry,
        Some(password("secret")),
        &["app"],
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT: unexpected status from GET request to http://127.0.0.1:PORT/v2/app/manifests/latest: 401 Unauthorized: unauthorized: authentication required
        GET /v2/app/manifests/latest 401
        GET /v2/app/manifests/latest 307 (basic)
    "#]],
    );
    expect![[r#"
        GET /v2/app/manifests/latest 401
    "#]]
    .assert_eq(&elsewhere.log());
}

#[test]
fn a_challenge_that_cannot_be_met_is_denied() {
    let registry = basic();
    registry.fail(
        "GET",
        9,
        Fault::All(vec![Fault::Status(401), Fault::Header("www-authenticate", "Negotiate".into())]),
    );
    check(
        &registry,
        Some(password("secret")),
        &["app"],
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT: pull access denied, repository does not exist or may require authorization
        hint: check the name; if `127.0.0.1:PORT` wants a login: docker login 127.0.0.1:PORT
        GET /v2/app/manifests/latest 401
    "#]],
    );
    let registry = basic();
    let realm = "Bearer realm=\"file:///etc/passwd\"";
    registry.fail("GET", 9, Fault::All(vec![Fault::Status(401), Fault::Header("www-authenticate", realm.into())]));
    check(
        &registry,
        None,
        &["app"],
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT: unexpected answer: `file:///etc/passwd` is not the URL of a token server
        GET /v2/app/manifests/latest 401
    "#]],
    );
}

/// Puts a credential helper into a directory; its answer is in `$1`'s place.
fn helper(directory: &std::path::Path, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join("docker-credential-test");
    std::fs::write(&path, format!("#!/bin/sh\nread server\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[track_caller]
fn check_helper(script: Option<&str>, names: &[&str], expected: Expect) {
    let (registry, directory) = (tokens(), tempfile::tempdir().unwrap());
    if let Some(script) = script {
        helper(directory.path(), script);
    }
    let path = std::env::join_paths([directory.path(), "/usr/bin".as_ref(), "/bin".as_ref()]).unwrap();
    let config_json = DockerConfig::parse(r#"{"credsStore":"test"}"#).unwrap();
    let credentials = DockerCredentials { path: Some(path), ..DockerCredentials::new(config_json) };
    let client = with(Config { credentials: Arc::new(credentials), ..config() });
    expected.assert_eq(&resolve(&client, &registry, names));
}

#[test]
fn a_credential_helper_is_asked_for_the_login() {
    let answer = r#"echo "{\"ServerURL\":\"$server\",\"Username\":\"alice\",\"Secret\":\"secret\"}""#;
    check_helper(
        Some(answer),
        &["own"],
        expect![[r#"
        own resolved
        GET /v2/own/manifests/latest 401
        GET /token?service=test&scope=repository%3Aown%3Apull&account=alice&client_id=kiln 200 (basic)
        GET /v2/own/manifests/latest 200 (bearer)
    "#]],
    );
    let token = r#"echo '{"ServerURL":"","Username":"<token>","Secret":"secret"}'"#;
    check_helper(
        Some(token),
        &["own"],
        expect![[r#"
        own resolved
        GET /v2/own/manifests/latest 401
        POST /token 200
        GET /v2/own/manifests/latest 200 (bearer)
    "#]],
    );
}

#[test]
fn a_helper_that_fails_is_named_only_where_it_is_needed() {
    let not_found = "echo credentials not found in native keychain; exit 1";
    check_helper(
        Some(not_found),
        &["app", "own"],
        expect![[r#"
        app resolved
        failed to resolve reference `127.0.0.1:PORT/own:latest`: 127.0.0.1:PORT: pull access denied, repository does not exist or may require authorization: insufficient_scope: unauthorized: authentication required
        hint: check the name; if `127.0.0.1:PORT` wants a login: docker login 127.0.0.1:PORT
        GET /v2/app/manifests/latest 401
        GET /token?service=test&scope=repository%3Aapp%3Apull&client_id=kiln 200
        GET /v2/app/manifests/latest 200 (bearer)
        GET /token?service=test&scope=repository%3Aown%3Apull&client_id=kiln 200
        GET /v2/own/manifests/latest 401 (bearer)
        GET /token?service=test&scope=repository%3Aown%3Apull&client_id=kiln 200
        GET /v2/own/manifests/latest 401 (bearer)
    "#]],
    );
    check_helper(
        Some("echo \"cannot open $server\" >&2; exit 3"),
        &["app", "own"],
        expect![[r#"
        app resolved
        failed to resolve reference `127.0.0.1:PORT/own:latest`: 127.0.0.1:PORT: pull access denied, and no login could be had: credential helper `docker-credential-test` failed for `127.0.0.1:PORT`: cannot open 127.0.0.1:PORT
        hint: see `credsStore` and `credHelpers` in ~/.docker/config.json
        GET /v2/app/manifests/latest 401
        GET /token?service=test&scope=repository%3Aapp%3Apull&client_id=kiln 200
        GET /v2/app/manifests/latest 200 (bearer)
        GET /token?service=test&scope=repository%3Aown%3Apull&client_id=kiln 200
        GET /v2/own/manifests/latest 401 (bearer)
        GET /token?service=test&scope=repository%3Aown%3Apull&client_id=kiln 200
        GET /v2/own/manifests/latest 401 (bearer)
    "#]],
    );
    check_helper(
        Some("echo not json"),
        &["own"],
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/own:latest`: 127.0.0.1:PORT: pull access denied, and no login could be had: credential helper `docker-credential-test` gave an answer that is not a login for `127.0.0.1:PORT`
        hint: see `credsStore` and `credHelpers` in ~/.docker/config.json
        GET /v2/own/manifests/latest 401
        GET /token?service=test&scope=repository%3Aown%3Apull&client_id=kiln 200
        GET /v2/own/manifests/latest 401 (bearer)
    "#]],
    );
    check_helper(
        None,
        &["own"],
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/own:latest`: 127.0.0.1:PORT: pull access denied, and no login could be had: credential helper `docker-credential-test` is not installed: executable file not found in $PATH
        hint: see `credsStore` and `credHelpers` in ~/.docker/config.json
        GET /v2/own/manifests/latest 401
        GET /token?service=test&scope=repository%3Aown%3Apull&client_id=kiln 200
        GET /v2/own/manifests/latest 401 (bearer)
    "#]],
    );
}
