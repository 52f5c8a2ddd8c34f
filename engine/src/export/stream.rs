//! A tar that is made by one thread while another takes it where it belongs.

use std::io::{self, BufWriter, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::Error;

/// How long a piece is.
const PIECE_BYTES: usize = 256 << 10;
/// How many pieces wait to be taken at most.
const PIECES_MAX: usize = 8;

type Make = Box<dyn FnOnce(&mut dyn Write) -> Result<(), Error> + Send>;

/// A stream whose bytes are made when somebody reads it. Dropped before its end, it waits until the thread that makes them has noticed.
pub(super) struct TarStream {
    /// What makes the bytes, until it is begun.
    make: Option<Make>,
    running: Option<Running>,
    piece: Vec<u8>,
    /// How much of the piece was taken.
    taken: usize,
    /// What became of making the bytes, once that is over.
    outcome: Result<(), Error>,
}

/// The thread that makes the bytes, and what it has made.
struct Running {
    pieces: Receiver<Vec<u8>>,
    thread: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Waits for the thread, which nobody takes anything from any more.
    fn end(self) -> Result<(), Error> {
        drop(self.pieces);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl TarStream {
    /// Returns the stream of what `make` writes.
    pub(super) fn new(make: impl FnOnce(&mut dyn Write) -> Result<(), Error> + Send + 'static) -> Self {
        Self { make: Some(Box::new(make)), running: None, piece: Vec::new(), taken: 0, outcome: Ok(()) }
    }

    /// Returns what became of making the bytes, else what became of writing them. If they are written, what is left is read: only then is it known that they are right.
    pub(super) fn finish(mut self, written: Result<(), Error>) -> Result<(), Error> {
        std::mem::replace(&mut self.outcome, Ok(()))?;
        written?;
        let Some(running) = self.running.take() else { return Ok(()) };
        while running.pieces.recv().is_ok() {}
        running.end()
    }
}

impl Read for TarStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(make) = self.make.take() {
            let (out, pieces) = sync_channel(PIECES_MAX);
            let thread = std::thread::Builder::new().name("tar".to_owned()).spawn(move || run(make, out))?;
            self.running = Some(Running { pieces, thread });
        }
        if self.taken == self.piece.len() {
            let Some(running) = self.running.take() else { return Ok(0) };
            let Ok(piece) = running.pieces.recv() else {
                self.outcome = running.end();
                return self.outcome.as_ref().map(|()| 0).map_err(|error| io::Error::other(crate::chain(error)));
            };
            self.running = Some(running);
            (self.piece, self.taken) = (piece, 0);
        }
        let rest = &self.piece[self.taken..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        Ok(count)
    }
}

impl Drop for TarStream {
    fn drop(&mut self) {
        // Nobody waits for what it says.
        let _ = self.running.take().map(Running::end);
    }
}

fn run(make: Make, pieces: SyncSender<Vec<u8>>) -> Result<(), Error> {
    let mut out = BufWriter::with_capacity(PIECE_BYTES, Pieces(pieces));
    make(&mut out)?;
    out.flush().map_err(|error| Error::Bug(format!("a tar that nobody takes: {error}")))
}

struct Pieces(SyncSender<Vec<u8>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Whoever took them has gone.
        self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(pieces: usize, error: Option<Error>) -> TarStream {
        TarStream::new(move |out| {
            for piece in 0..pieces {
                if out.write_all(&vec![piece as u8; 100_000]).is_err() {
                    return Err(Error::Cancelled);
                }
            }
            error.map_or(Ok(()), Err)
        })
    }

    #[test]
    fn what_is_made_is_read() {
        let mut bytes = Vec::new();
        stream(50, None).read_to_end(&mut bytes).unwrap();
        let expected: Vec<u8> = (0..50).flat_map(|piece| vec![piece; 100_000]).collect();
        assert!(bytes == expected, "{} bytes", bytes.len());
    }

    #[test]
    fn a_failure_is_the_end_and_is_kept() {
        let mut stream = stream(3, Some(Error::Bug("of a test".to_owned())));
        let mut bytes = Vec::new();
        assert!(stream.read_to_end(&mut bytes).unwrap_err().to_string().contains("of a test"));
        assert!(matches!(stream.finish(Err(Error::Cancelled)), Err(Error::Bug(_))));
        let mut unread = self::stream(3, Some(Error::Bug("of a test".to_owned())));
        unread.read_exact(&mut [0; 300_000]).unwrap();
        assert!(matches!(unread.finish(Ok(())), Err(Error::Bug(_))), "it is looked for where the bytes were all there");
    }

    #[test]
    fn a_stream_that_nobody_reads_to_its_end_ends() {
        drop(stream(1_000, None));
        let mut begun = stream(1_000, None);
        begun.read_exact(&mut [0; 10]).unwrap();
        drop(begun);
    }
}
