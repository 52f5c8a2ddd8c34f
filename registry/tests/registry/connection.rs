//! Hosts that cannot be reached, and proxies.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use expect_test::{Expect, expect};
use registry::{Client, Config, ConfigError, Proxies, RegistryConfig, Scheme, Timeouts, Verification};
use testkit::registry::{Authority, Fault, Options, Registry, Tls, image};

use crate::{client, config, refusing, text, with, without_ports};

#[tokio::main(flavor = "current_thread")]
async fn resolve(client: &Client, reference: &str) -> String {
    match client.resolve(&reference.parse().unwrap()).await {
        Ok(_) => "resolved\n".to_owned(),
        Err(err) => {
            let hint = err.hint().map(|hint| without_ports(&format!("hint: {hint}\n"))).unwrap_or_default();
            format!("{}\n{hint}", text(&err))
        }
    }
}

#[track_caller]
fn check(config: Config, reference: &str, expected: Expect) {
    expected.assert_eq(&resolve(&with(config), reference));
}

/// Settings for hosts; those under `.invalid` do not exist, which no name server is asked about.
fn hosts(entries: &[(&str, RegistryConfig)]) -> Config {
    let registries = entries.iter().map(|(host, settings)| ((*host).to_owned(), settings.clone())).collect();
    let addresses = [("registry.invalid".to_owned(), Vec::new())].into();
    Config { registries, addresses, ..config() }
}

fn plain() -> RegistryConfig {
    RegistryConfig { scheme: Some(Scheme::Http), ..RegistryConfig::default() }
}

fn pushed() -> Registry {
    let registry = Registry::start();
    image(&[]).push(&registry, "app", "latest");
    registry
}

#[test]
fn this_machine_is_asked_with_tls_once_and_then_without() {
    let registry = pushed();
    let client = client();
    for name in [registry.host(), registry.local_host()] {
        assert_eq!(resolve(&client, &format!("{name}/app")), "resolved\n");
    }
    expect![[r#"
        GET /v2/app/manifests/latest 200
        GET /v2/app/manifests/latest 200
    "#]]
    .assert_eq(&registry.log());
}

#[test]
fn a_port_that_nobody_listens_on_is_refused() {
    let refusing = refusing();
    let address = refusing.address;
    check(
        config(),
        &format!("{address}/app"),
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT: connection refused by `127.0.0.1:PORT`
        hint: check that `127.0.0.1:PORT` runs, and its port
    "#]],
    );
    check(
        hosts(&[(&address.to_string(), plain())]),
        &format!("{address}/app"),
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT: connection refused by `127.0.0.1:PORT`
        hint: check that `127.0.0.1:PORT` runs, and its port
    "#]],
    );
}

#[test]
fn a_name_that_does_not_exist_is_no_such_host() {
    check(
        hosts(&[]),
        "registry.invalid/app",
        expect![[r#"
        failed to resolve reference `registry.invalid/app:latest`: registry.invalid: no such host: `registry.invalid`
        hint: check the spelling of the registry's host, and the name servers in /etc/resolv.conf
    "#]],
    );
}

#[test]
fn a_host_without_tls_is_named_as_such() {
    let registry = pushed();
    let settings = RegistryConfig { scheme: Some(Scheme::Https), ..RegistryConfig::default() };
    check(
        hosts(&[(&registry.host(), settings)]),
        &format!("{}/app", registry.host()),
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT: `127.0.0.1:PORT` does not speak TLS: server gave HTTP response to HTTPS client
        hint: set `http = true` for `127.0.0.1:PORT` in the registry settings
    "#]],
    );
}

#[test]
fn a_host_that_accepts_and_says_nothing_runs_into_the_timeout() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let short = Duration::from_millis(50);
    let patience = |settings: RegistryConfig| {
        let timeouts = Timeouts { connect: short, idle: short };
        Config { timeouts, ..hosts(&[(&host, settings)]) }
    };
    let secure = RegistryConfig { scheme: Some(Scheme::Https), ..RegistryConfig::default() };
    check(
        patience(secure),
        &format!("{host}/app"),
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT (attempt 3): i/o timeout: no connection to `127.0.0.1:PORT` after 0.05 s
        hint: check the network and the variables HTTP_PROXY, HTTPS_PROXY, NO_PROXY
    "#]],
    );
    check(
        patience(plain()),
        &format!("{host}/app"),
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT (attempt 3): i/o timeout: nothing came for 0.05 s while an answer was waited for
        hint: check the network and the proxy settings, then try `127.0.0.1:PORT` again
    "#]],
    );
}

/// Reads a request up to its empty line.
fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    String::from_utf8(request).unwrap()
}

#[test]
fn what_is_not_http_is_named_as_such() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_request(&mut stream);
        stream.write_all(b"220 mail.example ESMTP\r\n").unwrap();
    });
    check(
        hosts(&[(&host, plain())]),
        &format!("{host}/app"),
        expect![[r#"
        failed to resolve reference `127.0.0.1:PORT/app:latest`: 127.0.0.1:PORT: unexpected answer: it is not HTTP: invalid HTTP version parsed
    "#]],
    );
    server.join().unwrap();
}

#[test]
fn a_plain_request_goes_to_the_proxy_with_its_whole_url() {
    // A registry that is asked for another host's URL answers it, as a proxy would.
    let proxy = pushed();
    let proxies = Proxies { http: Some(format!("http://user:word@{}", proxy.host())), ..Proxies::default() };
    let through = Config { proxies, ..hosts(&[("registry.invalid", plain())]) };
    check(
        through,
        "registry.invalid/app",
        expect![[r#"
        resolved
    "#]],
    );
    expect![[r#"
        GET http://registry.invalid/v2/app/manifests/latest 200 (proxy login)
    "#]]
    .assert_eq(&proxy.log());
}

#[test]
fn hosts_that_are_excepted_and_this_machine_are_asked_directly() {
    let registry = pushed();
    let refusing = refusing();
    let dead = format!("http://{}", refusing.address);
    let except = Some("example.org,.invalid".to_owned());
    let proxies = Proxies { http: Some(dead.clone()), https: Some(dead), except };
    let through = Config { proxies, ..hosts(&[("registry.invalid", plain()), ("registry.test", plain())]) };
    check(
        through.clone(),
        &format!("{}/app", registry.host()),
        expect![[r#"
        resolved
    "#]],
    );
    check(
        through.clone(),
        "registry.invalid/app",
        expect![[r#"
        failed to resolve reference `registry.invalid/app:latest`: registry.invalid: no such host: `registry.invalid`
        hint: check the spelling of the registry's host, and the name servers in /etc/resolv.conf
    "#]],
    );
    check(
        through,
        "registry.test/app",
        expect![[r#"
        failed to resolve reference `registry.test/app:latest`: registry.test: cannot connect to `registry.test:80` through proxy `127.0.0.1:PORT`: tcp connect error: Connection refused (os error 111)
        hint: check the network and the variables HTTP_PROXY, HTTPS_PROXY, NO_PROXY
    "#]],
    );
}

/// A proxy for one connection: connects it to `target` whatever is asked for, and returns the request.
fn tunnel(target: SocketAddr) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let request = read_request(&mut client);
        let mut server = TcpStream::connect(target).unwrap();
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let up = std::thread::spawn(move || {
            // Either side may end the conversation at any time.
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
        let _ = std::io::copy(&mut server, &mut client);
        let _ = client.shutdown(std::net::Shutdown::Both);
        up.join().unwrap();
        request
    });
    (address, thread)
}

#[test]
fn a_request_with_tls_goes_through_a_tunnel() {
    let identity = Authority::new().sign(&["registry.invalid"]);
    let tls = Some(Tls { identity, clients: None });
    let registry = Registry::start_with(Options { tls, ..Options::default() });
    image(&[]).push(&registry, "app", "latest");
    let (proxy, request) = tunnel(registry.address());
    let proxies = Proxies { https: Some(format!("http://user:word@{proxy}")), ..Proxies::default() };
    let settings = RegistryConfig { verification: Some(Verification::Skip), ..RegistryConfig::default() };
    check(
        Config { proxies, ..hosts(&[("registry.invalid", settings)]) },
        "registry.invalid/app",
        expect![[r#"
        resolved
    "#]],
    );
    expect![[r#"
        CONNECT registry.invalid:443 HTTP/1.1
        Host: registry.invalid:443
        Proxy-Authorization: Basic dXNlcjp3b3Jk

    "#]]
    .assert_eq(&request.join().unwrap().replace('\r', ""));
}

#[test]
fn proxies_of_other_kinds_are_refused_at_once() {
    let refused = |proxy: &str| {
        let proxies = Proxies { https: Some(proxy.to_owned()), ..Proxies::default() };
        match Client::new(Config { proxies, ..config() }) {
            Err(err @ ConfigError::Proxy { .. }) => err.to_string(),
            _ => "accepted".to_owned(),
        }
    };
    assert_eq!(refused("proxy.example:3128"), "accepted");
    assert_eq!(
        refused("socks5://u:secret@h:1"),
        "unsupported proxy `h:1`: expected `http://[user:password@]host[:port]`"
    );
    assert_eq!(
        refused("https://h:1"),
        "unsupported proxy `https://h:1`: expected `http://[user:password@]host[:port]`"
    );
}

#[test]
fn a_connection_that_the_host_closed_meanwhile_is_no_failure() {
    let registry = pushed();
    let client = client();
    let reference = format!("{}/app", registry.host());
    assert_eq!(resolve(&client, &reference), "resolved\n");
    registry.fail("GET", 1, Fault::Close);
    assert_eq!(resolve(&client, &reference), "resolved\n");
}
