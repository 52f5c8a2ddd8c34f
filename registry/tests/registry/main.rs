//! The client against a registry in memory: what it asks for, what it makes of the answers, and what it says when things go wrong.

#![cfg(test)]

mod auth;
mod blob;
mod connection;
mod download;
mod mirrors;
mod push;
mod resolve;
mod tls;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use oci::{Descriptor, Reference};
use registry::{BlobReader, BlobStream, Client, Config, Download, Error, FileStream, HttpUrl, Retry, Timeouts};
use tokio::net::TcpSocket;

/// Settings that wait for nothing: no pause between attempts, and short patience.
fn config() -> Config {
    let retry = Retry { delay_first: Duration::ZERO, attempts_max: 3, ..Retry::default() };
    let timeouts = Timeouts { connect: Duration::from_secs(10), idle: Duration::from_secs(10) };
    Config { retry, timeouts, ..Config::default() }
}

/// Operations must be able to move between the threads of a runtime, and what they give must, too.
#[test]
fn operations_can_be_spawned() {
    fn is_send(_: impl Send) {}
    let (client, reference) = (client(), "localhost/app".parse::<Reference>().unwrap());
    let (blob, url) = (Descriptor::of("", b""), "http://localhost/".parse::<HttpUrl>().unwrap());
    let download = Download::new(url);
    is_send(client.resolve(&reference));
    is_send(client.resolve_descriptor(&reference));
    is_send(client.fetch_blob(&reference, &blob));
    is_send(client.push_blob(&reference, &blob, Arc::new(Bytes::new()), None));
    is_send(client.push_manifest(&reference, "", Bytes::new()));
    is_send(client.download(&download));
    is_send(client.check(&download));
    is_send(None::<(BlobStream, BlobReader, FileStream, Client, Error)>);
}

/// An address at which connections are refused: its port is taken, and nobody listens there.
struct Refusing {
    address: SocketAddr,
    _socket: TcpSocket,
}

fn refusing() -> Refusing {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    Refusing { address: socket.local_addr().unwrap(), _socket: socket }
}

fn client() -> Client {
    with(config())
}

fn with(config: Config) -> Client {
    Client::new(config).unwrap()
}

/// Returns an error with all its sources in one line, ports left out.
fn text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(deeper) = source {
        text += &format!(": {deeper}");
        source = deeper.source();
    }
    without_ports(&text)
}

/// Replaces ports of the loopback interface by `PORT` and cuts digests to twelve digits.
fn without_ports(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(position) = rest.find([':']) {
        let (before, after) = rest.split_at(position + 1);
        let digits = after.bytes().take_while(u8::is_ascii_hexdigit).count();
        let is_port = (4..=5).contains(&digits) && (before.ends_with("127.0.0.1:") || before.ends_with("localhost:"));
        out += before;
        out += if is_port { "PORT" } else { &after[..digits.min(12)] };
        rest = &after[digits..];
    }
    out + rest
}
