//! Certificates: trusted, not trusted, shown.

use expect_test::{Expect, expect};
use registry::{Client, ClientCertificate, Config, ConfigError, RegistryConfig, Verification};
use testkit::registry::{Authority, Identity, Options, Registry, Tls, image};

use crate::{config, text, with, without_ports};

const HOST: &str = "registry.example";

/// Resolves an image at `registry.example`, which shows `identity`, with `settings` for it.
#[track_caller]
fn check(identity: Identity, settings: RegistryConfig, expected: Expect) {
    expected.assert_eq(&resolve(Tls { identity, clients: None }, settings));
}

#[tokio::main(flavor = "current_thread")]
async fn resolve(tls: Tls, settings: RegistryConfig) -> String {
    let registry = Registry::start_with(Options { tls: Some(tls), ..Options::default() });
    image(&[]).push(&registry, "app", "latest");
    let mut config = config();
    config.registries.insert(HOST.to_owned(), settings);
    config.addresses.insert(HOST.to_owned(), vec![registry.address()]);
    match with(config).resolve(&format!("{HOST}/app").parse().unwrap()).await {
        Ok(_) => "resolved".to_owned(),
        Err(err) => {
            let hint = err.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
            without_ports(&format!("{}{hint}", text(&err)))
        }
    }
}

fn trusting(pem: &str) -> RegistryConfig {
    RegistryConfig { ca_pem: vec![pem.to_owned()], ..RegistryConfig::default() }
}

#[test]
fn a_certificate_of_a_trusted_authority_is_accepted() {
    let authority = Authority::new();
    check(authority.sign(&[HOST]), trusting(authority.certificate_pem()), expect!["resolved"]);
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused_with_what_to_do() {
    check(
        Authority::new().sign(&[HOST]),
        RegistryConfig::default(),
        expect![[r#"
        failed to resolve reference `registry.example/app:latest`: registry.example: tls: failed to verify certificate of `registry.example:443`: x509: certificate signed by unknown authority
        hint: if the certificate is your own, set `ca` for `registry.example` in the registry settings or SSL_CERT_FILE to it; to check nothing, set `insecure = true`"#]],
    );
    check(
        Identity::self_signed(&[HOST]),
        RegistryConfig::default(),
        expect![[r#"
        failed to resolve reference `registry.example/app:latest`: registry.example: tls: failed to verify certificate of `registry.example:443`: x509: certificate signed by unknown authority
        hint: if the certificate is your own, set `ca` for `registry.example` in the registry settings or SSL_CERT_FILE to it; to check nothing, set `insecure = true`"#]],
    );
}

#[test]
fn a_self_signed_certificate_is_accepted_where_it_is_named_itself() {
    let identity = Identity::self_signed(&[HOST]);
    let settings = trusting(&identity.certificate_pem);
    check(identity, settings, expect!["resolved"]);
    let identity = Identity::self_signed(&["other.example"]);
    let settings = trusting(&identity.certificate_pem);
    check(
        identity,
        settings,
        expect![
            "failed to resolve reference `registry.example/app:latest`: registry.example: tls: failed to verify certificate of `registry.example:443`: x509: certificate is valid for other.example, not registry.example"
        ],
    );
}

#[test]
fn a_certificate_for_another_name_or_time_is_refused() {
    let authority = Authority::new();
    let trust = || trusting(authority.certificate_pem());
    check(
        authority.sign(&["other.example"]),
        trust(),
        expect![
            "failed to resolve reference `registry.example/app:latest`: registry.example: tls: failed to verify certificate of `registry.example:443`: x509: certificate is valid for other.example, not registry.example"
        ],
    );
    check(
        authority.sign_expired(&[HOST]),
        trust(),
        expect![
            "failed to resolve reference `registry.example/app:latest`: registry.example: tls: failed to verify certificate of `registry.example:443`: x509: certificate has expired or is not yet valid: it ended at 2001-01-01T00:00:00Z"
        ],
    );
}

#[test]
fn nothing_is_checked_where_the_user_says_so() {
    let settings = RegistryConfig { verification: Some(Verification::Skip), ..RegistryConfig::default() };
    check(Identity::self_signed(&["other.example"]), settings, expect!["resolved"]);
}

#[test]
fn this_machine_is_trusted_unless_an_authority_is_named() {
    #[tokio::main(flavor = "current_thread")]
    async fn at_home(settings: Option<RegistryConfig>) -> String {
        let tls = Some(Tls { identity: Authority::new().sign(&["127.0.0.1"]), clients: None });
        let registry = Registry::start_with(Options { tls, ..Options::default() });
        image(&[]).push(&registry, "app", "latest");
        let mut config = config();
        config.registries.extend(settings.map(|settings| (registry.host(), settings)));
        match with(config).resolve(&registry.reference("app")).await {
            Ok(_) => "resolved".to_owned(),
            Err(err) => text(&err),
        }
    }
    assert_eq!(at_home(None), "resolved");
    assert_eq!(at_home(Some(RegistryConfig::default())), "resolved");
    expect!["failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT: tls: failed to verify certificate of `127.0.0.1:PORT`: x509: certificate signed by unknown authority"].assert_eq(&at_home(Some(trusting(Authority::new().certificate_pem()))));
}

#[test]
fn a_host_that_asks_for_a_certificate_is_shown_one() {
    let authority = Authority::new();
    let mine = Authority::new();
    let tls = || Tls { identity: authority.sign(&[HOST]), clients: Some(Authority::new()) };
    let own = mine.sign(&["client"]);
    let shown = ClientCertificate { chain_pem: own.certificate_pem.clone(), key_pem: own.key_pem.clone() };
    let settings = RegistryConfig { client_certificate: Some(shown), ..trusting(authority.certificate_pem()) };
    let accepting = Tls { clients: Some(mine), ..tls() };
    assert_eq!(resolve(accepting, settings.clone()), "resolved");
    expect![[r#"
        failed to resolve reference `registry.example/app:latest`: registry.example: tls: `registry.example:443` wants another client certificate: received fatal alert: DecryptError
        hint: set `keypair` for `registry.example` in the registry settings"#]].assert_eq(&resolve(tls(), settings));
    expect![[r#"
        failed to resolve reference `registry.example/app:latest`: registry.example: tls: `registry.example:443` wants another client certificate: received fatal alert: CertificateRequired
        hint: set `keypair` for `registry.example` in the registry settings"#]].assert_eq(&resolve(tls(), trusting(authority.certificate_pem())));
}

#[test]
fn certificates_that_are_none_are_refused_at_once() {
    let refused = |settings: RegistryConfig| {
        let registries = [(HOST.to_owned(), settings)].into();
        Client::new(Config { registries, ..config() }).err().map(|err: ConfigError| err.to_string())
    };
    let ca = "invalid CA certificate for registry `registry.example`: expected certificates in PEM";
    assert_eq!(refused(trusting("")), Some(ca.to_owned()));
    assert_eq!(refused(trusting("-----BEGIN CERTIFICATE-----\n")), Some(ca.to_owned()));
    let (one, other) = (Identity::self_signed(&["a"]), Identity::self_signed(&["b"]));
    let identity = |key_pem: &str| {
        let chain_pem = one.certificate_pem.clone();
        let client_certificate = Some(ClientCertificate { chain_pem, key_pem: key_pem.to_owned() });
        RegistryConfig { client_certificate, ..RegistryConfig::default() }
    };
    let client =
        "invalid client certificate for registry `registry.example`: expected a chain and its private key in PEM";
    assert_eq!(refused(identity(&one.key_pem)), None);
    assert_eq!(refused(identity("no key")), Some(client.to_owned()));
    assert_eq!(refused(identity(&other.key_pem)), Some(client.to_owned()));
}
