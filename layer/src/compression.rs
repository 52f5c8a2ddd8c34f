//! Reading compressed streams. What a stream is compressed with is seen from its first bytes, never from a name.
//!
//! Memory: gzip 0.1 MiB, bzip2 4 MiB, xz and zstd as much as the stream asks for, up to [`XZ_MEMORY_BYTES_MAX`] and [`ZSTD_WINDOW_LOG_MAX`].

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;

/// How much memory an xz stream may ask for; `xz -9` asks for 65 MiB, a hostile stream for 4 GiB.
pub const XZ_MEMORY_BYTES_MAX: u64 = 256 << 20;

/// How far back a zstd stream may refer, as a power of two: 128 MiB, which is what the `zstd` program accepts.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How many compressed bytes are read at once.
const BUFFER_BYTES: usize = 128 << 10;

/// What a stream is compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Nothing.
    None,
    /// gzip, of one or more members.
    Gzip,
    /// bzip2, of one or more streams.
    Bzip2,
    /// xz, of one or more streams.
    Xz,
    /// zstd, of one or more frames.
    Zstd,
}

impl Compression {
    /// How many bytes [`Compression::detect`] looks at.
    pub const MAGIC_BYTES: usize = 6;

    /// Says what a stream is compressed with that begins with `start`.
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, 0x08, ..] => Self::Gzip,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable frame, which zstd streams may begin with.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        })
    }
}

/// Why a compressed stream cannot be read further: it is damaged, or what it comes from failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot decompress the {compression} stream")]
pub struct DecodeError {
    /// What it is compressed with.
    pub compression: Compression,
    /// Why.
    pub source: io::Error,
}

/// A stream with its compression undone.
pub struct Decoder<R: Read> {
    compression: Compression,
    reader: Codec<Start<R>>,
}

type Start<R> = BufReader<io::Chain<io::Cursor<Vec<u8>>, R>>;

enum Codec<R: BufRead> {
    None(R),
    Gzip(Box<MultiGzDecoder<R>>),
    Bzip2(Box<MultiBzDecoder<R>>),
    Xz(Box<XzDecoder<R>>),
    Zstd(Box<zstd::Decoder<'static, R>>),
}

impl<R: Read> Decoder<R> {
    /// Reads the first bytes of a stream and undoes what it finds it compressed with.
    pub fn new(mut stream: R) -> io::Result<Self> {
        let mut start = vec![0; Compression::MAGIC_BYTES];
        let mut filled = 0;
        while filled < start.len() {
            match stream.read(&mut start[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        start.truncate(filled);
        let compression = Compression::detect(&start);
        let reader = BufReader::with_capacity(BUFFER_BYTES, io::Cursor::new(start).chain(stream));
        Ok(Self { compression, reader: Codec::new(compression, reader)? })
    }

    /// Returns what the stream is compressed with.
    pub fn compression(&self) -> Compression {
        self.compression
    }
}

impl<R: BufRead> Codec<R> {
    fn new(compression: Compression, reader: R) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None(reader),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(reader))),
            Compression::Bzip2 => Self::Bzip2(Box::new(MultiBzDecoder::new(reader))),
            Compression::Xz => {
                let flags = liblzma::stream::CONCATENATED;
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES_MAX, flags)?;
                Self::Xz(Box::new(XzDecoder::new_stream(reader, stream)))
            }
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(reader)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Self::Zstd(Box::new(decoder))
            }
        })
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.reader {
            Codec::None(reader) => return reader.read(buffer),
            Codec::Gzip(reader) => reader.read(buffer),
            Codec::Bzip2(reader) => reader.read(buffer),
            Codec::Xz(reader) => reader.read(buffer),
            Codec::Zstd(reader) => reader.read(buffer),
        };
        let compression = self.compression;
        read.map_err(|source| io::Error::new(source.kind(), DecodeError { compression, source }))
    }
}
