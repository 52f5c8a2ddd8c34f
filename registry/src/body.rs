//! What is sent with a request, and reading what comes back.

use std::io;
use std::io::Read as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::mpsc;

use crate::cause::Cause;

/// Bytes that can be read again from any place: an attempt that failed is made again from where it stopped.
pub trait BlobSource: Send + Sync + 'static {
    /// Opens the content at `offset` bytes from its start. It is read on a thread that may block.
    fn open(&self, offset: u64) -> io::Result<Box<dyn io::Read + Send>>;
}

impl BlobSource for Bytes {
    fn open(&self, offset: u64) -> io::Result<Box<dyn io::Read + Send>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        Ok(Box::new(io::Cursor::new(self.slice(start..))))
    }
}

/// How much a source is read at once.
const PIECE_BYTES: usize = 128 * 1024;
/// How many pieces wait for the network.
const PIECES_MAX: usize = 4;

/// What is sent with a request; a request that is made again gets a new [`Body`] from it.
#[derive(Clone)]
pub(crate) enum Payload {
    Nothing,
    Bytes(Bytes),
    Part { source: Arc<dyn BlobSource>, offset: u64, size_bytes: u64, sent: Sent },
}

impl Payload {
    pub(crate) fn size_bytes(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Part { size_bytes, .. } => *size_bytes,
        }
    }

    /// Starts to read; dropping the body ends the reading after the piece that is being read.
    pub(crate) fn body(&self) -> Body {
        match self {
            Self::Nothing => Body { rest_bytes: 0, pieces: Pieces::One(None) },
            Self::Bytes(bytes) => Body { rest_bytes: bytes.len() as u64, pieces: Pieces::One(Some(bytes.clone())) },
            Self::Part { source, offset, size_bytes, sent } => {
                let (sender, receiver) = mpsc::channel(PIECES_MAX);
                let (source, offset, size_bytes) = (Arc::clone(source), *offset, *size_bytes);
                tokio::task::spawn_blocking(move || read_part(&*source, offset, size_bytes, &sender));
                Body { rest_bytes: size_bytes, pieces: Pieces::Read(receiver, sent.clone()) }
            }
        }
    }
}

type Piece = Result<Bytes, SourceError>;

/// The content to be pushed could not be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot read the content to push")]
pub(crate) struct SourceError {
    pub(crate) source: Arc<io::Error>,
}

fn read_part(source: &dyn BlobSource, offset: u64, size_bytes: u64, pieces: &mpsc::Sender<Piece>) {
    let mut rest = size_bytes;
    let mut send_all = || -> io::Result<()> {
        let mut reader = source.open(offset)?;
        while rest > 0 {
            let mut piece = vec![0; usize::try_from(rest).unwrap_or(PIECE_BYTES).min(PIECE_BYTES)];
            reader.read_exact(&mut piece).map_err(explain_end)?;
            rest -= piece.len() as u64;
            if pieces.blocking_send(Ok(piece.into())).is_err() {
                return Ok(());
            }
        }
        Ok(())
    };
    if let Err(err) = send_all() {
        // Nobody is left to be told when this fails too.
        let _ = pieces.blocking_send(Err(SourceError { source: Arc::new(err) }));
    }
}

fn explain_end(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "it is shorter than its descriptor says"),
        _ => error,
    }
}

/// Counts the bytes of a request that the network took, and tells somebody.
#[derive(Clone)]
pub(crate) struct Sent {
    bytes: Arc<AtomicU64>,
    report: Arc<dyn Fn(u64) + Send + Sync>,
}

impl Sent {
    /// Begins at nothing; `report` gets how much it is by then.
    pub(crate) fn new(report: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self { bytes: Arc::default(), report: Arc::new(report) }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: u64) {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        (self.report)(before + bytes);
    }
}

/// A payload on its way.
pub(crate) struct Body {
    rest_bytes: u64,
    pieces: Pieces,
}

enum Pieces {
    One(Option<Bytes>),
    Read(mpsc::Receiver<Piece>, Sent),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = SourceError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SourceError>>> {
        let body = self.get_mut();
        let piece = match &mut body.pieces {
            Pieces::One(piece) => piece.take().map(Ok),
            Pieces::Read(receiver, _) => ready!(receiver.poll_recv(context)),
        };
        let length = piece.iter().flatten().map(|bytes| bytes.len() as u64).sum();
        body.rest_bytes = body.rest_bytes.saturating_sub(length);
        if let Pieces::Read(_, sent) = &body.pieces {
            sent.add(length);
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest_bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest_bytes)
    }
}

/// Returns the next bytes of an answer, or `None` at its end. `received_bytes` is for the message only.
pub(crate) async fn next_bytes(
    body: &mut Incoming,
    idle: Duration,
    received_bytes: u64,
) -> Result<Option<Bytes>, Cause> {
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
        let frame = tokio::time::timeout(idle, frame)
            .await
            .map_err(|_| Cause::Timeout { waiting_for: "the content was read", after: idle })?;
        match frame {
            None => return Ok(None),
            // Trailers say nothing that matters here.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) if !bytes.is_empty() => return Ok(Some(bytes)),
                _ => {}
            },
            Some(Err(err)) => return Err(Cause::Broken { received_bytes, source: Arc::new(err) }),
        }
    }
}

/// Reads a whole answer of at most `limit_bytes`.
pub(crate) async fn read_all(
    body: &mut Incoming,
    idle: Duration,
    what: &'static str,
    limit_bytes: u64,
) -> Result<Bytes, Cause> {
    let mut all = Vec::new();
    while let Some(bytes) = next_bytes(body, idle, all.len() as u64).await? {
        if (all.len() + bytes.len()) as u64 > limit_bytes {
            return Err(Cause::TooLarge { what, limit_bytes });
        }
        all.extend_from_slice(&bytes);
    }
    Ok(all.into())
}
