//! Writing compressed streams, on all cores.
//!
//! A stream is cut into pieces, each of which becomes a gzip member or a zstd frame of its own. Where it is cut, and how hard a piece is tried, follows from its bytes alone: what
//! comes out depends neither on the number of threads nor on how the stream was written. RFC 1952 (2.2) and RFC 8878 (3) let readers see one stream in them, and Docker,
//! containerd, Podman and skopeo do.
//!
//! Half of what is in layers often does not shrink: archives, pictures, compressed sections. To find that out costs a compressor more than to shrink what does, so it is found out
//! before, in units of 256 KiB: whether their bytes are about equally frequent, and whether anything is in them twice. A piece has units of one kind only.
//!
//! **Invariant:** in flight are at most four pieces for each thread.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use libdeflater::{CompressionLvl, Compressor};

use crate::ordered::{self, Giver};

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
/// The length of the units in which it is looked at what the bytes are like.
const UNIT_BYTES: usize = 256 << 10;
/// How many samples of a unit are looked at, and how long they are.
const SAMPLES: usize = 16;
const SAMPLE_BYTES: usize = 1 << 10;
/// How uneven the bytes of a dense unit are at most: 100 is not at all. Random bytes and compressed files have 100 to 106, with the headers of a tar between them 115, base64 has 400,
/// programs have over 600.
const DENSE_PERCENT_MAX: u64 = 130;

/// One sequence of so many is looked at for whether it is there twice, and so many of them are kept in mind.
const REPEAT_PERIOD: usize = 64;
const LOOKED_AT_BELOW: u32 = ((1u64 << 32) / REPEAT_PERIOD as u64) as u32;
const REPEAT_SLOT_BITS: u32 = 16;
/// 2⁶⁴ divided by the golden ratio, which multiplicative hashes mix well with (Knuth, The Art of Computer Programming, 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// How much of a piece may be there twice, as the headers of a tar are, and is not worth being looked for.
const REPEATED_PERCENT_MAX: usize = 2;

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
    pub const VERSION: u32 = 3;

    fn piece_bytes(self) -> usize {
        match self {
            Self::Gzip { .. } => GZIP_PIECE_BYTES,
            Self::Zstd { .. } => ZSTD_PIECE_BYTES,
        }
    }

    /// Returns itself as it is for a piece: what does not shrink is not tried hard.
    fn for_piece(self, piece: &[u8], is_dense: bool) -> Self {
        match self {
            Self::Gzip { level } if level > 1 && is_dense => Self::Gzip { level: u32::from(has_repeats(piece)) },
            Self::Zstd { level } if level > 1 && is_dense => Self::Zstd { level: 1 },
            // Where nothing is in it twice, only the frequencies count, and this level finds them as well as the next two (hexadecimal digits: within 0.3 %).
            Self::Zstd { level: 2..=3 } if !has_repeats(piece) => Self::Zstd { level: 1 },
            codec => codec,
        }
    }

    fn compress(self, Piece { bytes, is_dense }: &Piece) -> io::Result<Vec<u8>> {
        match self.for_piece(bytes, *is_dense) {
            Self::Gzip { level } => {
                let level = CompressionLvl::new(level.min(12) as i32).map_err(|_| io::ErrorKind::InvalidInput)?;
                let mut compressor = Compressor::new(level);
                let mut out = vec![0; compressor.gzip_compress_bound(bytes.len())];
                let count = compressor.gzip_compress(bytes, &mut out).map_err(io::Error::other)?;
                out.truncate(count);
                Ok(out)
            }
            Self::Zstd { level } => zstd::bulk::compress(bytes, level),
        }
    }
}

/// Tells whether the bytes of a unit are about equally frequent, as in what is compressed or encrypted already, by samples from all over it. Whole numbers only: what comes
/// out must not depend on how a machine rounds.
fn is_dense(unit: &[u8]) -> bool {
    if unit.len() < SAMPLES * SAMPLE_BYTES {
        return false;
    }
    let mut counts = [0u64; 256];
    for sample in unit.chunks(unit.len() / SAMPLES) {
        sample.iter().take(SAMPLE_BYTES).for_each(|byte| counts[usize::from(*byte)] += 1);
    }
    let (count, squares): (u64, u64) = counts.iter().fold((0, 0), |(count, sum), it| (count + it, sum + it * it));
    // The sum of squares is least, count² / 256, where all are equal.
    squares * 256 * 100 <= count * count * DENSE_PERCENT_MAX
}

/// Tells whether more than a little of a piece is in it twice.
///
/// Looked at are sequences of 16 bytes that begin with bytes of a certain hash: one in 64, and the same ones in every copy of the same bytes.
fn has_repeats(piece: &[u8]) -> bool {
    let mut seen = vec![0u64; 1 << REPEAT_SLOT_BITS];
    let mut repeats = 0;
    // Where four sequences begin: that none of them is looked at, as is most often so, one comparison tells.
    for (group, bytes) in piece.windows(8).step_by(4).enumerate() {
        let Some(bytes) = bytes.first_chunk::<8>() else { continue };
        let bytes = u64::from_le_bytes(*bytes);
        let least = (0..4).map(|place| mixed_start((bytes >> (8 * place)) as u32)).min();
        if least >= Some(LOOKED_AT_BELOW) {
            continue;
        }
        for place in 0..4 {
            let start = (bytes >> (8 * place)) as u32;
            // All of many zeros would be looked at, which every level finds: headers of tars are full of them.
            if start == 0 || mixed_start(start) >= LOOKED_AT_BELOW {
                continue;
            }
            let Some(sequence) = piece[4 * group + place..].first_chunk::<16>() else { continue };
            let (Some(one), Some(other)) = (sequence.first_chunk::<8>(), sequence.last_chunk::<8>()) else { continue };
            let mixed = u64::from_le_bytes(*one).wrapping_mul(GOLDEN) ^ u64::from_le_bytes(*other).rotate_left(29);
            let mixed = mixed.wrapping_mul(GOLDEN);
            let slot = &mut seen[(mixed >> (64 - REPEAT_SLOT_BITS)) as usize];
            repeats += usize::from(*slot == mixed);
            *slot = mixed;
        }
    }
    repeats * REPEAT_PERIOD * 100 > piece.len() * REPEATED_PERCENT_MAX
}

fn mixed_start(start: u32) -> u32 {
    start.wrapping_mul(GOLDEN as u32)
}

/// Bytes of one kind.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    is_dense: bool,
}

/// Compresses what `write` writes, and hands what comes out to `out` in large pieces; returns what `write` does.
pub fn compress<T, E>(
    codec: Codec,
    mut out: impl Write + Send,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, CompressError<E>> {
    let (giver, jobs, results) = ordered::queue::<Piece, io::Result<Vec<u8>>>(ordered::threads(THREADS_MAX));
    let spare = Spare::default();
    std::thread::scope(|scope| {
        for _ in 0..ordered::threads(THREADS_MAX) {
            scope.spawn(|| {
                jobs.work(|mut piece| {
                    let compressed = codec.compress(&piece);
                    piece.bytes.clear();
                    spare.lock().unwrap_or_else(PoisonError::into_inner).push(piece.bytes);
                    compressed
                });
            });
        }
        let writing = scope.spawn(move || {
            for compressed in results {
                out.write_all(&compressed?)?;
            }
            out.flush()
        });
        let mut pieces = Pieces { codec, giver, spare: &spare, piece: Piece::default(), unit: 0, sent: 0 };
        let written = write(&mut pieces);
        // Of two errors, that of the output is the cause: the writer has learnt only that nobody listens any more.
        let ended = if written.is_ok() { pieces.end() } else { Ok(()) };
        drop(pieces);
        let output = writing.join().expect("the thread does not panic");
        output.and(if written.is_ok() { ended } else { Ok(()) }).map_err(|source| CompressError::Output { source })?;
        written.map_err(CompressError::Input)
    })
}

/// Memory of pieces that were compressed, for others: the kernel takes longer to give a process new memory than to copy into it.
type Spare = Mutex<Vec<Vec<u8>>>;

/// What is written, cut into pieces.
struct Pieces<'s> {
    codec: Codec,
    giver: Giver<Piece, io::Result<Vec<u8>>>,
    spare: &'s Spare,
    piece: Piece,
    /// Where in the piece the unit begins that is not whole yet.
    unit: usize,
    sent: u64,
}

impl Pieces<'_> {
    /// Takes a unit that is whole into the piece, or begins another one with it.
    fn end_unit(&mut self) -> io::Result<()> {
        let is_dense = is_dense(&self.piece.bytes[self.unit..]);
        if self.unit > 0 && is_dense != self.piece.is_dense {
            let unit = self.piece.bytes.split_off(self.unit);
            self.send()?;
            self.piece.bytes.extend_from_slice(&unit);
        }
        self.piece.is_dense = is_dense;
        self.unit = self.piece.bytes.len();
        if self.unit >= self.codec.piece_bytes() { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> io::Result<()> {
        let bytes = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = bytes.unwrap_or_else(|| Vec::with_capacity(self.codec.piece_bytes()));
        let piece = std::mem::replace(&mut self.piece, Piece { bytes, is_dense: false });
        self.sent += 1;
        self.unit = 0;
        self.giver.give(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Sends the last piece; an empty stream is one too.
    fn end(&mut self) -> io::Result<()> {
        if self.piece.bytes.len() > self.unit {
            self.end_unit()?;
        }
        if self.piece.bytes.is_empty() && self.sent > 0 { Ok(()) } else { self.send() }
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(UNIT_BYTES - (self.piece.bytes.len() - self.unit));
        self.piece.bytes.extend_from_slice(&bytes[..count]);
        if self.piece.bytes.len() - self.unit == UNIT_BYTES {
            self.end_unit()?;
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

    /// A linear congruential generator is random enough (Numerical Recipes, 7.1).
    fn random(count: usize) -> Vec<u8> {
        let mut state = 1u32;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        std::iter::repeat_with(next).take(count).collect()
    }

    fn hex(bytes: &[u8]) -> Vec<u8> {
        bytes.iter().map(|byte| b"0123456789abcdef"[usize::from(byte & 15)]).collect()
    }

    #[test]
    fn bytes_that_do_not_shrink_are_told_from_others() {
        let random = random(UNIT_BYTES);
        let hex = hex(&random);
        let six_bits: Vec<u8> = random.iter().map(|byte| byte & 63).collect();
        let half = [&random[..UNIT_BYTES / 2], &hex[..UNIT_BYTES / 2]].concat();
        let zstd = zstd::bulk::compress(&hex, 3).unwrap();
        let told = [&random, &zstd, &hex, &six_bits, &half].map(|bytes| is_dense(bytes));
        assert_eq!(told, [true, true, false, false, false]);
        assert!(!is_dense(&random[..1000]), "too little to tell");
    }

    #[test]
    fn what_is_there_twice_is_found_however_far_apart() {
        let random = random(2 << 20);
        let far = [&random[..], &random[..100_000]].concat();
        let words =
            b"It is a truth universally acknowledged, that a single man in possession of a good fortune".repeat(50);
        let told = [&random, &hex(&random), &far, &words, &vec![0; 5000], &Vec::new()].map(|bytes| has_repeats(bytes));
        assert_eq!(told, [false, false, true, true, false, false]);
        // It is made use of, in what is dense too.
        let twice = [&random[..20_000], &random[..20_000]].concat().repeat(10);
        let piece = Piece { is_dense: is_dense(&twice), bytes: twice };
        assert!(piece.is_dense);
        let compressed = Codec::Gzip { level: 4 }.compress(&piece).unwrap();
        assert!(compressed.len() < piece.bytes.len() / 2);
    }

    #[test]
    fn headers_of_a_tar_are_no_repeats() {
        let random = random(1 << 20);
        let mut tar = crate::tar::Writer::new(Vec::new(), crate::tar::TarOptions::LAYER);
        for (number, bytes) in random.chunks(25_000).enumerate() {
            let path = crate::EntryPathBuf::parse(format!("directory/f{number}").into_bytes()).unwrap();
            let kind = crate::Kind::File { size_bytes: bytes.len() as u64, content: crate::ContentHash([0; 32]) };
            let entry = crate::Entry { path: path.as_path(), kind, metadata: crate::Metadata::default() };
            tar.append(&entry, &mut &*bytes).unwrap();
        }
        let tar = tar.finish().unwrap();
        assert!(tar.chunks_exact(UNIT_BYTES).all(is_dense) && !has_repeats(&tar));
    }

    #[test]
    fn pieces_have_bytes_of_one_kind_and_what_does_not_shrink_is_stored() {
        let random = random(3 * UNIT_BYTES);
        let text = hex(&random[..UNIT_BYTES]);
        let bytes = [&text[..], &random, &text].concat();
        let gzip = compressed(Codec::Gzip { level: 4 }, &[&bytes]);
        let text_bytes = Codec::Gzip { level: 4 }.compress(&Piece { bytes: text, is_dense: false }).unwrap().len();
        // Stored: five bytes for every 64 KiB, and the ends of three members.
        let stored_bytes = gzip.len() - 2 * text_bytes;
        assert!((random.len()..random.len() + 200).contains(&stored_bytes), "{stored_bytes}");
    }
}
