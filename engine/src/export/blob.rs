//! Layers as blobs: taken as they came where that fits, else written as a tar and compressed.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::PathBuf;

use layer::audit::{Damage, audit};
use layer::compress::{self, Codec, CompressError};
use layer::compression::Decoder;
use layer::tar::{TarOptions, export_layer};
use oci::{Descriptor, Digest, Hasher, Timestamp, media_type};
use store::{LayerId, LayerOrigin, LayerRecord, Store, StoreError};
use tokio_util::sync::CancellationToken;

use super::archive::Room;
use super::output::OutputParseError;
use super::stream::TarStream;
use crate::Error;
use crate::pieces::{Until, copy};

/// As small as what other programs write at their default level 6, since another encoder does it.
const GZIP_LEVEL_DEFAULT: u32 = 4;
const GZIP_LEVEL_MAX: i32 = 9;
const ZSTD_LEVEL_DEFAULT: i32 = 3;
const ZSTD_LEVEL_MAX: i32 = 22;
const BUFFER_BYTES: usize = 256 << 10;

/// How a layer is compressed. The same layer always gives the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// It is not.
    Uncompressed,
    /// By gzip.
    Gzip {
        /// 0 to 9.
        level: u32,
    },
    /// By zstd.
    Zstd {
        /// 1 to 22.
        level: i32,
    },
}

impl Default for Compression {
    fn default() -> Self {
        Self::Gzip { level: GZIP_LEVEL_DEFAULT }
    }
}

impl Compression {
    /// Parses `compression` and `compression-level`; without a name it is gzip.
    pub(crate) fn parse(name: Option<&str>, level: Option<i32>) -> Result<Self, OutputParseError> {
        match name.unwrap_or("gzip") {
            "uncompressed" => Ok(Self::Uncompressed),
            "gzip" => {
                let level = level.map_or(GZIP_LEVEL_DEFAULT, |level| level.clamp(0, GZIP_LEVEL_MAX) as u32);
                Ok(Self::Gzip { level })
            }
            "zstd" => Ok(Self::Zstd { level: level.map_or(ZSTD_LEVEL_DEFAULT, |it| it.clamp(1, ZSTD_LEVEL_MAX)) }),
            other => Err(OutputParseError::Value {
                key: "compression".to_owned(),
                value: other.to_owned(),
                expected: "uncompressed, gzip or zstd",
            }),
        }
    }

    /// Returns what the blob of a layer with this diffID is remembered under.
    fn key(self, diff_id: &Digest) -> Digest {
        let mut hasher = Hasher::new();
        hasher.field(b"kiln compressed layer");
        hasher.field(&Codec::VERSION.to_le_bytes());
        hasher.field(diff_id.as_bytes());
        hasher.field(format!("{self:?}").as_bytes());
        hasher.finish()
    }

    fn codec(self) -> Option<Codec> {
        match self {
            Self::Uncompressed => None,
            Self::Gzip { level } => Some(Codec::Gzip { level }),
            Self::Zstd { level } => Some(Codec::Zstd { level }),
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Uncompressed => media_type::OCI_LAYER,
            Self::Gzip { .. } => media_type::OCI_LAYER_GZIP,
            Self::Zstd { .. } => media_type::OCI_LAYER_ZSTD,
        }
    }

    /// Tells whether a blob of this media type is what was asked for.
    fn is_met_by(self, media_type: &str) -> bool {
        match self {
            Self::Uncompressed => media_type.ends_with(".tar"),
            Self::Gzip { .. } => media_type.ends_with("gzip"),
            Self::Zstd { .. } => media_type.ends_with("zstd"),
        }
    }
}

/// A layer as a blob, open at its start.
pub(crate) struct LayerBlob {
    /// What it is.
    pub(crate) descriptor: Descriptor,
    /// Its bytes.
    content: Content,
    /// Whether its bytes were hashed before; else whoever writes them hashes them on the way.
    pub(crate) is_known: bool,
}

/// Where the bytes of a blob are.
enum Content {
    File(File),
    /// They are made while they are read.
    Tar(Box<TarStream>),
    /// They were written where they go.
    InPlace,
}

impl LayerBlob {
    /// Tells whether its bytes were written into the room that was given for them.
    pub(crate) fn is_in_place(&self) -> bool {
        matches!(self.content, Content::InPlace)
    }

    /// Returns what became of writing its bytes: what went wrong with making them comes first.
    pub(crate) fn finish(self, written: Result<(), Error>) -> Result<(), Error> {
        match self.content {
            Content::File(_) | Content::InPlace => written,
            Content::Tar(tar) => tar.finish(written),
        }
    }
}

/// Returns a layer as a blob. What has to be written for it is written into the room, if there is one that suffices; else it goes away with the last who has it open.
///
/// A layer that came from elsewhere keeps its blob, unless its compression is forced to be another one: its tar cannot be made again to the byte, but its blob
/// can be decompressed.
pub(crate) fn layer_blob(
    store: &Store,
    record: &LayerRecord,
    (compression, force): (Compression, bool),
    room: Option<&Room<'_>>,
    cancel: &CancellationToken,
) -> Result<LayerBlob, Error> {
    let Some(LayerOrigin { blob, .. }) = &record.origin else {
        let opened = store.layer(record.clone())?.open()?;
        let (id, diff_id) = (record.id, record.diff_id);
        let room = room.filter(|_| fits(&opened));
        let cancel = cancel.clone();
        let write = move |out: &mut dyn Write| {
            let exported = export_layer(&opened, TarOptions::LAYER, Until { stream: out, cancel });
            let actual = exported.map_err(|source| Error::Export { id, source })?.digest;
            match diff_id {
                Some(expected) if expected != actual => Err(other_tar(id, expected, actual)),
                _ => Ok(()),
            }
        };
        // What it is is known before it is made.
        if let (Compression::Uncompressed, Some(descriptor)) = (compression, known_blob(store, record, compression)?) {
            return Ok(LayerBlob {
                descriptor,
                content: Content::Tar(Box::new(TarStream::new(write))),
                is_known: true,
            });
        }
        let blob = write_blob(store, compression, room, write)?;
        if let Some(diff_id) = &diff_id {
            store.put_compressed(&compression.key(diff_id), &blob.descriptor)?;
        }
        return Ok(blob);
    };
    let file = store.open_blob(&blob.digest)?;
    if let Some(file) = file
        && (!force || compression.is_met_by(&blob.media_type))
    {
        let mut descriptor = Descriptor::new(oci_media_type(&blob.media_type), blob.digest, blob.size_bytes);
        descriptor.urls.clone_from(&blob.urls);
        return Ok(LayerBlob { descriptor, content: Content::File(file), is_known: false });
    }
    let room = room.filter(|_| record.tar_bytes.is_some_and(|bytes| bytes <= Room::BYTES_MAX));
    let cancel = cancel.clone();
    write_blob(store, compression, room, |out| {
        let out = Until { stream: out, cancel };
        let failed =
            |source| Error::File { action: "decompress", path: PathBuf::from(blob.digest.to_string()), source };
        let mut out = Digesting { out, hasher: Hasher::new(), size_bytes: 0 };
        copy(&mut *tar_of(store, record, &blob.digest)?, &mut out).map_err(failed)?;
        match (record.diff_id, out.hasher.finish()) {
            (Some(expected), actual) if expected != actual => Err(other_tar(record.id, expected, actual)),
            _ => Ok(()),
        }
    })
}

/// Returns what [`layer_blob`] gives of a layer that was made here, as far as that is known without making it.
pub(crate) fn known_blob(
    store: &Store,
    record: &LayerRecord,
    compression: Compression,
) -> Result<Option<Descriptor>, Error> {
    match (&record.origin, record.diff_id, compression) {
        (None, Some(diff_id), Compression::Uncompressed) => {
            Ok(record.tar_bytes.map(|size_bytes| Descriptor::new(compression.media_type(), diff_id, size_bytes)))
        }
        (None, Some(diff_id), _) => Ok(store.compressed(&compression.key(&diff_id))?),
        _ => Ok(None),
    }
}

/// Says of a layer that what was to be written of it is not what it was.
fn other_tar(id: LayerId, expected: Digest, actual: Digest) -> Error {
    Error::Store(StoreError::LayerDamaged { id, source: Damage::Tar { expected, actual } })
}

/// Opens the tar of a layer that came from elsewhere: where it was kept, or out of its blob.
fn tar_of(store: &Store, record: &LayerRecord, blob: &Digest) -> Result<Box<dyn Read>, Error> {
    if let Ok(layer) = store.layer(record.clone())
        && let Some(tar) = layer.open_tar()?
    {
        return Ok(Box::new(tar));
    }
    let missing = || Error::Exec(executor::ExecError::LayerUnavailable { diff_id: record.content });
    let file = store.open_blob(blob)?.ok_or_else(missing)?;
    let failed = |source| Error::File { action: "decompress", path: PathBuf::from(blob.to_string()), source };
    Ok(Box::new(Decoder::new(file).map_err(failed)?))
}

/// Returns a layer that was made here as a blob in which no file is later than `latest`, and the digest of its tar.
pub(crate) fn rewritten_blob(
    store: &Store,
    record: &LayerRecord,
    compression: Compression,
    latest: Timestamp,
    room: Option<&Room<'_>>,
    cancel: &CancellationToken,
) -> Result<(LayerBlob, Digest), Error> {
    let opened = store.layer(record.clone())?.open()?;
    let options = TarOptions { mtime_seconds_max: Some(latest.unix_seconds()), ..TarOptions::LAYER };
    let (id, mut diff_id) = (record.id, record.content);
    // Its tar has a new digest, which tells nothing of what is in it.
    audit(&opened).map_err(|source| StoreError::LayerDamaged { id, source })?;
    let room = room.filter(|_| fits(&opened));
    let blob = write_blob(store, compression, room, |out| {
        let out = Until { stream: out, cancel: cancel.clone() };
        let exported = export_layer(&opened, options, out).map_err(|source| Error::Export { id, source })?;
        diff_id = exported.digest;
        Ok(())
    })?;
    Ok((blob, diff_id))
}

/// Docker's media types mean the same as OCI's, and a manifest of one kind has only those of its kind.
fn oci_media_type(media_type: &str) -> &str {
    match media_type {
        media_type::DOCKER_LAYER => media_type::OCI_LAYER,
        media_type::DOCKER_LAYER_GZIP => media_type::OCI_LAYER_GZIP,
        other => other,
    }
}

/// Tells whether the tar of a layer, however little it shrinks, fits into the room of a file that is not known yet.
fn fits(layer: &layer::Layer) -> bool {
    layer.entries.size_bytes() <= Room::BYTES_MAX
}

fn write_blob(
    store: &Store,
    compression: Compression,
    room: Option<&Room<'_>>,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Error>,
) -> Result<LayerBlob, Error> {
    let failed = |source| Error::file::<io::Error>("write", room.map_or(store.root(), Room::path))(source);
    let mut out = Digesting {
        out: BufWriter::with_capacity(BUFFER_BYTES, room.map_or_else(|| Ok(store.temporary_file()?), Room::begin)?),
        hasher: Hasher::new(),
        size_bytes: 0,
    };
    match compression.codec() {
        None => write(&mut out)?,
        Some(codec) => compress::compress(codec, &mut out, write).map_err(|error| match error {
            CompressError::Output { source } => failed(source),
            CompressError::Input(error) => error,
        })?,
    }
    let Digesting { out, hasher, size_bytes } = out;
    let mut file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    let content = if room.is_some() {
        Content::InPlace
    } else {
        file.rewind().map_err(failed)?;
        Content::File(file)
    };
    let descriptor = Descriptor::new(compression.media_type(), hasher.finish(), size_bytes);
    Ok(LayerBlob { descriptor, content, is_known: true })
}

/// A stream that is hashed and counted on its way.
struct Digesting<W> {
    out: W,
    hasher: Hasher,
    size_bytes: u64,
}

/// A stream that fails where it would end if it were not what is said of it.
pub(crate) struct Checked<R> {
    stream: R,
    hasher: Hasher,
    left_bytes: u64,
    expected: Digest,
}

impl<R> Checked<R> {
    pub(crate) fn new(stream: R, expected: &Descriptor) -> Self {
        Self { stream, hasher: Hasher::new(), left_bytes: expected.size_bytes, expected: expected.digest }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        let is_end = self.left_bytes == count as u64 && count > 0;
        let is_other = match self.left_bytes.checked_sub(count as u64) {
            Some(left_bytes) => {
                self.left_bytes = left_bytes;
                is_end && std::mem::take(&mut self.hasher).finish() != self.expected
            }
            None => true,
        };
        if is_other { Err(io::Error::other(format!("blob {} is damaged", self.expected))) } else { Ok(count) }
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size_bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Read for LayerBlob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.content {
            Content::File(file) => file.read(buffer),
            Content::Tar(tar) => tar.read(buffer),
            Content::InPlace => Ok(0),
        }
    }
}
