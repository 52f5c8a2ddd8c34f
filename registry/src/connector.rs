//! Connections: to the host or to the proxy before it, and TLS on top with the trust settings of the host.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::config::{Config, Proxies, is_loopback};
use crate::connect_error::ConnectError;
use crate::resolver::Names;
use crate::stream::Stream;
use crate::tls::{ConfigError, Trust};

/// Makes connections for the HTTP client.
#[derive(Clone)]
pub(crate) struct Connector {
    tcp: HttpConnector<Names>,
    trust: Arc<Trust>,
    proxies: Arc<Matcher>,
    timeout: Duration,
}

impl Connector {
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let mut tcp = HttpConnector::new_with_resolver(Names::new(config.addresses.clone()));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let trust = Arc::new(Trust::new(config)?);
        let proxies = Arc::new(matcher(&config.proxies)?);
        Ok(Self { tcp, trust, proxies, timeout: config.timeouts.connect })
    }

    /// Returns the header with the login for the proxy that a plain request to `uri` goes to.
    pub(crate) fn proxy_authorization(&self, uri: &Uri) -> Option<HeaderValue> {
        let forwarded = uri.scheme_str() == Some("http");
        self.proxy(uri).filter(|_| forwarded)?.basic_auth().cloned()
    }

    fn proxy(&self, uri: &Uri) -> Option<Intercept> {
        let host = uri.host()?;
        if is_loopback(host) { None } else { self.proxies.intercept(uri) }
    }

    async fn connect(mut self, uri: Uri) -> Result<Stream, ConnectError> {
        let secure = uri.scheme_str() == Some("https");
        let address = address(&uri);
        // Reading the system's certificates takes about 10 ms the first time, which the way to the host takes as well.
        let config = secure.then(|| {
            let (trust, host, port) = (Arc::clone(&self.trust), uri.host().unwrap_or_default().to_owned(), port(&uri));
            tokio::task::spawn_blocking(move || trust.of(&host, port))
        });
        let plain = match self.proxy(&uri) {
            None => self.tcp.call(uri.clone()).await.map_err(|err| tcp_error(&address, &err))?,
            Some(proxy) if secure => {
                let tunnel = Tunnel::new(proxy.uri().clone(), self.tcp.clone());
                let mut tunnel = match proxy.basic_auth() {
                    Some(login) => tunnel.with_auth(login.clone()),
                    None => tunnel,
                };
                tunnel.call(uri.clone()).await.map_err(|err| proxy_error(&address, &proxy, err))?
            }
            Some(proxy) => {
                let to_proxy = self.tcp.call(proxy.uri().clone()).await;
                return Ok(Stream::forwarded(to_proxy.map_err(|err| proxy_error(&address, &proxy, err))?));
            }
        };
        let Some(config) = config else { return Ok(Stream::plain(plain)) };
        match config.await {
            Ok(Some(config)) => handshake(config, &uri, address, plain).await,
            Ok(None) => Err(ConnectError::NoRoots { address }),
            Err(err) if err.is_panic() => std::panic::resume_unwind(err.into_panic()),
            // The runtime is shutting down: nobody waits for the connection.
            Err(err) => Err(ConnectError::Handshake { address, source: Arc::new(io::Error::other(err)) }),
        }
    }
}

async fn handshake(
    config: Arc<ClientConfig>,
    uri: &Uri,
    address: String,
    plain: TokioIo<TcpStream>,
) -> Result<Stream, ConnectError> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let Ok(name) = ServerName::try_from(host) else { return Err(ConnectError::NoSuchHost { name: address }) };
    let stream = TlsConnector::from(config).connect(name, plain.into_inner()).await;
    stream.map(Stream::secure).map_err(|err| handshake_error(address, err))
}

fn matcher(proxies: &Proxies) -> Result<Matcher, ConfigError> {
    let mut builder = Matcher::builder().no(proxies.except.clone().unwrap_or_default());
    for proxy in [&proxies.http, &proxies.https].into_iter().flatten() {
        let with_scheme = if proxy.contains("://") { proxy.clone() } else { format!("http://{proxy}") };
        let usable = url::Url::parse(&with_scheme).is_ok_and(|url| url.scheme() == "http" && url.has_host());
        if !usable {
            let proxy = proxy.rsplit('@').next().unwrap_or_default().to_owned();
            return Err(ConfigError::Proxy { proxy });
        }
    }
    if let Some(proxy) = &proxies.http {
        builder = builder.http(proxy.clone());
    }
    if let Some(proxy) = &proxies.https {
        builder = builder.https(proxy.clone());
    }
    Ok(builder.build())
}

fn port(uri: &Uri) -> u16 {
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    uri.port_u16().unwrap_or(usual)
}

fn address(uri: &Uri) -> String {
    format!("{}:{}", uri.host().unwrap_or_default(), port(uri))
}

/// Finds in an error and its sources the first one that is an `E`; an [`io::Error`] is looked into, since its source is its content's source.
pub(crate) fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref() {
            return Some(found);
        }
        let inner = current.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| find(inner)) {
            return Some(found);
        }
        next = current.source();
    }
    None
}

fn tcp_error(address: &str, error: &(dyn StdError + 'static)) -> ConnectError {
    if let Some(lookup) = find::<ConnectError>(error) {
        return lookup.clone();
    }
    let address = address.to_owned();
    let Some(cause) = find::<io::Error>(error) else {
        return ConnectError::Unreachable { address, source: Arc::new(io::Error::other(error.to_string())) };
    };
    match cause.kind() {
        io::ErrorKind::ConnectionRefused => ConnectError::Refused { address },
        kind => {
            let source = cause.raw_os_error().map_or_else(|| kind.into(), io::Error::from_raw_os_error);
            ConnectError::Unreachable { address, source: Arc::new(source) }
        }
    }
}

fn proxy_error(address: &str, proxy: &Intercept, error: impl StdError + Send + Sync + 'static) -> ConnectError {
    let proxy = self::address(proxy.uri());
    ConnectError::Proxy { address: address.to_owned(), proxy, source: Arc::new(error) }
}

fn handshake_error(address: String, error: io::Error) -> ConnectError {
    match find::<rustls::Error>(&error) {
        Some(rustls::Error::InvalidCertificate(reason)) => {
            ConnectError::Certificate { address, reason: reason.clone() }
        }
        Some(rustls::Error::InvalidMessage(_)) => ConnectError::NotTls { address },
        Some(alert) if let Some(refused) = ConnectError::client_certificate(&address, alert) => refused,
        _ => ConnectError::Handshake { address, source: Arc::new(error) },
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connector, after, address) = (self.clone(), self.timeout, address(&uri));
        Box::pin(async move {
            let connected = tokio::time::timeout(after, connector.connect(uri)).await;
            connected.unwrap_or(Err(ConnectError::Timeout { address, after }))
        })
    }
}
