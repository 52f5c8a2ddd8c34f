//! A registry in memory: a real HTTP server on a port of the loopback interface, in a thread of its own.
//!
//! It speaks the distribution protocol (manifests, blobs, uploads, mounts, tags), serves plain files, sets challenges, and fails on request. It writes down
//! what it was asked. Dropping the [`Registry`] stops it and waits until it has stopped.
//!
//! ```text
//! let registry = Registry::start();
//! image(&[&[("etc/motd", "hello")]]).push(&registry, "app", "latest");
//! … pull `registry.reference("app:latest")` …
//! registry.log()      one line for each request: `GET /v2/app/manifests/latest 200`
//! ```

mod auth;
mod certificates;
mod contents;
mod fault;
mod files;
mod handler;
mod image;
mod reply;
mod route;
mod server;
mod uploads;

pub use auth::Auth;
pub use certificates::{Authority, Identity};
pub use fault::Fault;
pub use files::File;
pub use image::{Image, image, image_for, index};
pub use server::{Options, Registry, Tls};
