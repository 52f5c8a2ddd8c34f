//! A connection as the HTTP client sees it: with TLS or without, to the host or to a proxy that forwards requests.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A connection.
pub(crate) struct Stream {
    io: Io,
    /// Whether a proxy reads the requests, which then need the whole URL in their first line.
    forwarded: bool,
}

enum Io {
    Plain(TokioIo<TcpStream>),
    // Large, and one for each connection: not worth its size in every plain one.
    Secure(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Stream {
    pub(crate) fn plain(stream: TokioIo<TcpStream>) -> Self {
        Self { io: Io::Plain(stream), forwarded: false }
    }

    pub(crate) fn forwarded(stream: TokioIo<TcpStream>) -> Self {
        Self { io: Io::Plain(stream), forwarded: true }
    }

    pub(crate) fn secure(stream: TlsStream<TcpStream>) -> Self {
        Self { io: Io::Secure(Box::new(TokioIo::new(stream))), forwarded: false }
    }

    fn write_half(self: Pin<&mut Self>) -> Pin<&mut (dyn Write + Send + Unpin)> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream),
            Io::Secure(stream) => Pin::new(&mut **stream),
        }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.forwarded)
    }
}

impl Read for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Io::Secure(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write_half().poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write_half().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write_half().poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Secure(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write_half().poll_write_vectored(context, pieces)
    }
}
