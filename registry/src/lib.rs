//! The distribution protocol: auth, resolve, fetch, push; and downloads by plain HTTP, so that the program has one HTTP client.
//!
//! **Invariant:** never writes to disk.
//!
//! A [`Client`] is made from a [`Config`] once and is cheap to clone. An operation names a [`oci::Reference`]; which hosts that means (mirrors, then the
//! registry) is planned in `endpoint`, how long each is tried in `attempts`, and one request with its authorization is made in `exchange`. Every failure
//! names the host, the attempt and the cause, and every byte that is handed out was counted and hashed.
//!
//! It speaks HTTP/1.1 through hyper. HTTP/2 is left out on purpose: layers are few and large, and a connection of its own for each is faster than
//! one connection for all.

pub mod config;
mod credential_helper;
pub mod credentials;
pub mod docker_config;

pub mod blob;
mod client;
mod disposition;
pub mod download;
pub mod manifest;
pub mod push;
pub mod report;
mod upload;

mod answer;
mod attempts;
mod authorizer;
mod challenge;
mod endpoint;
mod exchange;
mod token;

mod body;
mod connector;
mod resolver;
mod stream;
mod tls;
mod transport;

pub mod cause;
pub mod connect_error;
pub mod error;

pub use blob::{BlobReader, BlobStream};
pub use body::BlobSource;
pub use cause::{Cause, Status};
pub use client::Client;
pub use config::{
    ClientCertificate, Config, Mirror, MirrorParseError, Proxies, RegistryConfig, Retry, Scheme, Timeouts, Verification,
};
pub use connect_error::ConnectError;
pub use credentials::{CredentialError, Credentials, Login, LoginFuture, NoCredentials};
pub use docker_config::{DockerConfig, DockerConfigError, DockerCredentials};
pub use download::{Download, Downloaded, FileHead, FileStream, HttpUrl, HttpUrlParseError};
pub use error::{Error, Failure, Failures};
pub use manifest::Resolved;
pub use push::Pushed;
pub use report::Notice;
pub use tls::ConfigError;
