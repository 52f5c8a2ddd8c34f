//! Writing compressed streams, on all cores.
//!
//! A stream is cut into pieces of a fixed length, each of which becomes a gzip member or a zstd frame of its own: what comes out depends neither on the number of
//! threads nor on how the stream was written. RFC 1952 (2.2) and RFC 8878 (3) let readers see one stream in them, and Docker, containerd, Podman and skopeo do.
//!
//! **Invariant:** in flight are at most three pieces for each thread.

use std::io::{self, Write};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

use libdeflater::{CompressionLvl, Compressor};

/// What a stream is compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// gzip.
    Gzip {
        /// 0 to 9, and as far as 12.
        level: u32,
    },
    /// zstd.
    Zstd {
        /// 1 to 22.
        level: i32,
    },
}

/// The most threads that compress one stream.
const THREADS_MAX: usize = 16;
/// How long the pieces are: short enough for small layers to be spread, long enough for the ratio not to suffer.
const GZIP_PIECE_BYTES: usize = 1 << 20;
const ZSTD_PIECE_BYTES: usize = 4 << 20;
/// How many samples of a piece are looked at, and how long they are.
const SAMPLES: usize = 16;
const SAMPLE_BYTES: usize = 4 << 10;
/// How uneven the bytes of a dense piece are at most: 100 is not at all. Random bytes and compressed files have 100 to 106, base64 has 400, programs have over 600.
const DENSE_PERCENT_MAX: u64 = 110;

/// Why a stream could not be compressed.
#[derive(Debug, thiserror::Error)]
pub enum CompressError<E> {
    /// What comes out cannot be written.
    #[error("cannot write the compressed stream")]
    Output {
        /// Why.
        source: io::Error,
    },
    /// What goes in cannot be made.
    #[error(transparent)]
    Input(E),
}

impl Codec {
    /// The version of what comes out: equal streams give equal bytes only under one version.
    pub const VERSION: u32 = 2;

    fn piece_bytes(self) -> usize {
        match self {
            Self::Gzip { .. } => GZIP_PIECE_BYTES,
            Self::Zstd { .. } => ZSTD_PIECE_BYTES,
        }
    }

    /// Returns itself as it is for a piece: what does not shrink is not tried hard. With level 1, what is in it twice still is found.
    fn for_piece(self, piece: &[u8]) -> Self {
        match self {
            Self::Gzip { level } if level > 1 && is_dense(piece) => Self::Gzip { level: 1 },
            Self::Zstd { level } if level > 1 && is_dense(piece) => Self::Zstd { level: 1 },
            codec => codec,
        }
    }

    fn compress(self, piece: &[u8]) -> io::Result<Vec<u8>> {
        match self.for_piece(piece) {
            Self::Gzip { level } => {
                let level = CompressionLvl::new(level.min(12) as i32).map_err(|_| io::ErrorKind::InvalidInput)?;
                let mut compressor = Compressor::new(level);
                let mut out = vec![0; compressor.gzip_compress_bound(piece.len())];
                let count = compressor.gzip_compress(piece, &mut out).map_err(io::Error::other)?;
                out.truncate(count);
                Ok(out)
            }
            Self::Zstd { level } => zstd::bulk::compress(piece, level),
        }
    }
}

/// Tells whether the bytes of a piece are about equally frequent, as in what is compressed or encrypted already, by samples from all over it. Whole numbers only: what comes
/// out must not depend on how a machine rounds.
fn is_dense(piece: &[u8]) -> bool {
    if piece.len() < SAMPLES * SAMPLE_BYTES {
        return false;
    }
    let mut counts = [0u64; 256];
    for sample in piece.chunks(piece.len() / SAMPLES) {
        sample.iter().take(SAMPLE_BYTES).for_each(|byte| counts[usize::from(*byte)] += 1);
    }
    let (count, squares): (u64, u64) = counts.iter().fold((0, 0), |(count, sum), it| (count + it, sum + it * it));
    // The sum of squares is least, count² / 256, where all are equal.
    squares * 256 * 100 <= count * count * DENSE_PERCENT_MAX
}

type Compressed = io::Result<Vec<u8>>;
type Job = (Vec<u8>, SyncSender<Compressed>);

/// Compresses what `write` writes, and hands what comes out to `out` in large pieces; returns what `write` does.
pub fn compress<T, E>(
    codec: Codec,
    mut out: impl Write + Send,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, CompressError<E>> {
    let threads = available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
    let (jobs, todo) = sync_channel::<Job>(threads);
    let (order, ordered) = sync_channel::<Receiver<Compressed>>(2 * threads);
    let todo = Mutex::new(todo);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(codec, &todo));
        }
        let writing = scope.spawn(move || {
            for compressed in ordered {
                out.write_all(&compressed.recv().map_err(io::Error::other)??)?;
            }
            out.flush()
        });
        let mut pieces = Pieces { codec, jobs, order, piece: Vec::new(), sent: 0 };
        let written = write(&mut pieces);
        // Of two errors, that of the output is the cause: the writer has learnt only that nobody listens any more.
        let ended = if written.is_ok() { pieces.end() } else { Ok(()) };
        drop(pieces);
        let output = writing.join().expect("the thread does not panic");
        output.and(if written.is_ok() { ended } else { Ok(()) }).map_err(|source| CompressError::Output { source })?;
        written.map_err(CompressError::Input)
    })
}

fn work(codec: Codec, todo: &Mutex<Receiver<Job>>) {
    loop {
        let job = todo.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((piece, done)) = job else { return };
        // Nobody waits for it only if writing has failed.
        let _ = done.send(codec.compress(&piece));
    }
}

/// What is written, cut into pieces.
struct Pieces {
    codec: Codec,
    jobs: SyncSender<Job>,
    order: SyncSender<Receiver<Compressed>>,
    piece: Vec<u8>,
    sent: u64,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        let next = Vec::with_capacity(self.codec.piece_bytes());
        let piece = std::mem::replace(&mut self.piece, next);
        let (done, compressed) = sync_channel(1);
        self.sent += 1;
        self.order.send(compressed).map_err(|_| io::ErrorKind::BrokenPipe)?;
        self.jobs.send((piece, done)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Sends the last piece; an empty stream is one too.
    fn end(&mut self) -> io::Result<()> {
        if self.piece.is_empty() && self.sent > 0 { Ok(()) } else { self.send() }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.codec.piece_bytes() - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == self.codec.piece_bytes() {
            self.send()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::compression::Decoder;

    const CODECS: [Codec; 3] = [Codec::Gzip { level: 4 }, Codec::Gzip { level: 0 }, Codec::Zstd { level: 3 }];

    fn compressed(codec: Codec, writes: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        compress(codec, &mut out, |to| writes.iter().try_for_each(|bytes| to.write_all(bytes))).unwrap();
        out
    }

    #[test]
    fn what_is_compressed_is_read_back_and_does_not_depend_on_how_it_was_written() {
        let bytes: Vec<u8> = (0..9_000_001u32).flat_map(|number| (number / 7).to_le_bytes()).take(9_000_001).collect();
        for codec in CODECS {
            for length in [0, 1, codec.piece_bytes(), 2 * codec.piece_bytes() + 1] {
                let whole = compressed(codec, &[&bytes[..length]]);
                let parts: Vec<&[u8]> = bytes[..length].chunks(77_777).collect();
                assert!(whole == compressed(codec, &parts), "{codec:?} {length}");
                let mut back = Vec::new();
                Decoder::new(whole.as_slice()).unwrap().read_to_end(&mut back).unwrap();
                assert!(back == bytes[..length], "{codec:?} {length}");
            }
        }
    }

    #[test]
    fn the_first_failure_is_the_one_that_is_told() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let failed = compress(CODECS[0], Full, |to| (0..100).try_for_each(|_| to.write_all(&[7; 1 << 20])));
        assert!(matches!(failed, Err(CompressError::Output { source }) if source.kind() == io::ErrorKind::StorageFull));
        let failed = compress(CODECS[0], io::sink(), |_| Err::<(), _>("nothing to write"));
        assert!(matches!(failed, Err(CompressError::Input("nothing to write"))));
    }

    #[test]
    fn bytes_that_do_not_shrink_are_told_from_others() {
        // A linear congruential generator is random enough (Numerical Recipes, 7.1).
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let random: Vec<u8> = (0..GZIP_PIECE_BYTES).map(|_| next()).collect();
        let hex: Vec<u8> = random.iter().map(|byte| b"0123456789abcdef"[usize::from(byte & 15)]).collect();
        let six_bits: Vec<u8> = random.iter().map(|byte| byte & 63).collect();
        let half = [&random[..GZIP_PIECE_BYTES / 2], &hex[..GZIP_PIECE_BYTES / 2]].concat();
        let zstd = zstd::bulk::compress(&hex, 3).unwrap();
        let told = [&random, &zstd, &hex, &six_bits, &half].map(|bytes| is_dense(bytes));
        assert_eq!(told, [true, true, false, false, false]);
        assert!(!is_dense(&random[..1000]), "too little to tell");
        // What is in it twice is found all the same.
        let twice = [&random[..20_000], &random[..20_000]].concat().repeat(10);
        assert!(is_dense(&twice) && Codec::Gzip { level: 4 }.compress(&twice).unwrap().len() < twice.len() / 2);
    }
}
