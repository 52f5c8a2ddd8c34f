//! The server: a thread that accepts connections until the [`Registry`] is dropped.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use oci::{Descriptor, Digest, Reference};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::auth::{Auth, Doorman};
use super::certificates::{Authority, Identity};
use super::contents::Contents;
use super::fault::{Fault, Faults};
use super::files::File;
use super::handler::handle;

/// A registry that runs.
pub struct Registry {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How a registry is to behave.
#[derive(Default)]
pub struct Options {
    /// Who may come in.
    pub auth: Auth,
    /// Whether it speaks TLS.
    pub tls: Option<Tls>,
}

/// How a registry speaks TLS.
pub struct Tls {
    /// What it shows to clients.
    pub identity: Identity,
    /// Whose certificates it wants to see of its clients; `None` wants to see none.
    pub clients: Option<Authority>,
}

/// What requests read and change.
pub(super) struct State {
    pub(super) contents: Contents,
    pub(super) faults: Faults,
    pub(super) doorman: Doorman,
    pub(super) log: Vec<String>,
}

impl Registry {
    /// Starts an open registry without TLS.
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// Starts a registry.
    pub fn start_with(options: Options) -> Self {
        let listener =
            std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port of the loopback interface");
        listener.set_nonblocking(true).expect("a listener that does not block");
        let address = listener.local_addr().expect("a listener's address");
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let doorman = Doorman::new(options.auth, format!("{scheme}://{address}/token"));
        let (contents, faults, log) = (Contents::default(), Faults::default(), Vec::new());
        let state = Arc::new(Mutex::new(State { contents, faults, doorman, log }));
        let (stop, stopped) = oneshot::channel();
        let acceptor = options.tls.map(|tls| TlsAcceptor::from(Arc::new(server_config(tls))));
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime for the registry's thread");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener in the runtime");
                tokio::select! {
                    () = accept(listener, acceptor, shared) => {}
                    _ = stopped => {}
                }
            });
            // Connections are tasks of the runtime: they end with it.
        });
        Self { address, state, stop: Some(stop), thread: Some(thread) }
    }

    /// Returns host and port: `127.0.0.1:40123`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Returns host and port by the name `localhost`.
    pub fn local_host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// Returns where the registry listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the reference of something in this registry: `app:latest`.
    pub fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.host()).parse().expect("a reference")
    }

    /// Stores a blob.
    pub fn put_blob(&self, repository: &str, media_type: &str, bytes: impl Into<Vec<u8>>) -> Descriptor {
        let bytes = bytes.into();
        let descriptor = Descriptor::of(media_type, &bytes);
        self.state().contents.put_blob(repository, bytes.into());
        descriptor
    }

    /// Stores a manifest under its digest, and under `tag` where that is not empty.
    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: impl Into<Vec<u8>>) -> Descriptor {
        let bytes = bytes.into();
        let descriptor = Descriptor::of(media_type, &bytes);
        self.state().contents.put_manifest(repository, tag, media_type, bytes.into());
        descriptor
    }

    /// Returns a manifest's bytes by tag or digest.
    pub fn manifest(&self, repository: &str, name: &str) -> Option<Vec<u8>> {
        self.state().contents.manifest(repository, name).map(|manifest| manifest.bytes.to_vec())
    }

    /// Returns a blob's bytes.
    pub fn blob(&self, repository: &str, digest: Digest) -> Option<Vec<u8>> {
        self.state().contents.blob(repository, &digest).map(|bytes| bytes.to_vec())
    }

    /// Serves a plain file at `path`, which begins with `/`; returns its URL.
    pub fn put_file(&self, path: &str, file: File) -> String {
        self.state().contents.files.insert(path.to_owned(), file);
        format!("http://{}{path}", self.address)
    }

    /// Lets the next `times` requests fail whose line (`GET /v2/app/blobs/…`) begins with `request`; several calls follow one another.
    pub fn fail(&self, request: &str, times: usize, fault: Fault) {
        self.state().faults.add(request, times, fault);
    }

    /// Makes all tokens that were given invalid.
    pub fn revoke_tokens(&self) {
        self.state().doorman.revoke();
    }

    /// Returns a line for each request so far, with digests shortened and ports left out, and forgets them.
    ///
    /// `GET /v2/app/blobs/sha256:0123456789ab 206 (range bytes=5-) (bearer)`
    pub fn log(&self) -> String {
        let lines = std::mem::take(&mut self.state().log);
        lines.into_iter().map(|line| line + "\n").collect()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

fn server_config(tls: Tls) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.expect("protocol versions that ring supports");
    let builder = match tls.clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der()).expect("an authority's certificate");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier of clients"))
        }
    };
    builder.with_single_cert(vec![tls.identity.der()], tls.identity.key_der()).expect("a certificate with its key")
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, state: Arc<Mutex<State>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            match acceptor {
                None => serve(stream, state).await,
                Some(acceptor) => match acceptor.accept(stream).into_fallible().await {
                    Ok(stream) => serve(stream, state).await,
                    Err((_, stream)) => drain(stream).await,
                },
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, state: Arc<Mutex<State>>) {
    let service = service_fn(|request| handle(&state, request));
    // A connection that breaks is what many tests are about; the client is the one who must notice.
    let _: Result<(), hyper::Error> = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Reads to the end, so that the client gets to see why the handshake failed: closing with bytes unread would take the alert back.
async fn drain(stream: TcpStream) {
    let mut buffer = [0; 1024];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut buffer) {
            Ok(0) => return,
            Err(err) if err.kind() != std::io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}
