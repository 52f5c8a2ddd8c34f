//! Writing a tar, entry by entry: equal entries give equal bytes.
//!
//! Times are whole seconds, as in every layer that containerd and Docker write: a fraction would take a PAX header of 1 KiB for each file. Names of
//! users and groups are left out, since those of the machine that builds mean nothing elsewhere.

use std::io::{self, Read, Write};

use super::header::{Block, Fields, OCTAL_LONG_MAX, OCTAL_SHORT_MAX};
use super::{BLOCK_BYTES, OPAQUE_MARKER, WHITEOUT_PREFIX, pax};
use crate::entry::{Entry, Kind, Metadata};
use crate::path::EntryPath;

/// How many bytes of a file are copied at once.
const COPY_BYTES: usize = 256 << 10;

/// What a tar is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A layer: files whose names begin with `.wh.` are deletions.
    Layer,
    /// A file system as it is.
    FileSystem,
}

/// How a tar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TarOptions {
    /// What it is for.
    pub meaning: Meaning,
    /// The latest time that an entry may have, in seconds since 1970; later ones become this one.
    pub mtime_seconds_max: Option<i64>,
}

impl TarOptions {
    /// A layer with the times that its entries have.
    pub const LAYER: Self = Self { meaning: Meaning::Layer, mtime_seconds_max: None };
    /// A file system with the times that its entries have.
    pub const FILE_SYSTEM: Self = Self { meaning: Meaning::FileSystem, mtime_seconds_max: None };
}

/// Why a tar cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TarWriteError {
    /// What is written to failed.
    #[error("cannot write the archive")]
    Output {
        /// Why.
        source: io::Error,
    },
    /// The content of a file cannot be read.
    #[error("cannot read `{path}` for the archive")]
    Content {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The content of a file is not as long as its entry says.
    #[error("damaged layer: `{path}` should have {expected_bytes} bytes, it has {actual_bytes}")]
    Size {
        /// Which file.
        path: String,
        /// What the entry says.
        expected_bytes: u64,
        /// How many there were; for longer files one more than expected.
        actual_bytes: u64,
    },
    /// The name of a file would mean a deletion.
    #[error(
        "cannot put `{path}` into an image layer: names that begin with `.wh.` mean deleted files there; rename or delete it"
    )]
    ReservedName {
        /// Which file.
        path: String,
    },
}

/// A tar that is being written.
pub struct Writer<W: Write> {
    out: W,
    options: TarOptions,
    /// The bytes of the current header, or of a small piece of content.
    scratch: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Starts an archive.
    pub fn new(out: W, options: TarOptions) -> Self {
        Self { out, options, scratch: Vec::new() }
    }

    /// Writes an entry; `content` is read only for files. The caller keeps to the order of paths.
    ///
    /// A root directory that is like every other is left out, as Docker and BuildKit leave it out: a layer that changes nothing is then the empty
    /// archive, whose digest tools know.
    pub fn append(&mut self, entry: &Entry<'_>, content: &mut dyn Read) -> Result<(), TarWriteError> {
        self.append_with(entry, |writer, size_bytes| writer.append_content(entry.path, size_bytes, content))
    }

    /// The same for a file whose bytes follow by [`Writer::write_encoded`].
    pub(super) fn append_header_only(&mut self, entry: &Entry<'_>) -> Result<(), TarWriteError> {
        self.append_with(entry, |_, _| Ok(()))
    }

    /// Writes what another writer has made.
    pub(super) fn write_encoded(&mut self, bytes: &[u8]) -> Result<(), TarWriteError> {
        self.write(bytes)
    }

    /// Returns what is written to.
    pub(super) fn out(&self) -> &W {
        &self.out
    }

    /// Returns what is written to, for those who write there themselves.
    pub(super) fn out_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Returns what everything so far was written to, without the end of an archive.
    pub(super) fn into_inner(self) -> W {
        self.out
    }

    fn append_with(
        &mut self,
        entry: &Entry<'_>,
        content: impl FnOnce(&mut Self, u64) -> Result<(), TarWriteError>,
    ) -> Result<(), TarWriteError> {
        if is_ordinary_root(entry) {
            return Ok(());
        }
        let is_layer = self.options.meaning == Meaning::Layer;
        if is_layer && entry.kind != Kind::Whiteout && entry.path.name().starts_with(WHITEOUT_PREFIX) {
            return Err(TarWriteError::ReservedName { path: entry.path.to_text() });
        }
        match entry.kind {
            Kind::Whiteout => {
                let directory = entry.path.parent().unwrap_or(EntryPath::ROOT);
                return self.append_marker(directory, &[WHITEOUT_PREFIX, entry.path.name()].concat());
            }
            Kind::File { size_bytes, .. } => {
                self.append_header(entry)?;
                return content(self, size_bytes);
            }
            _ => self.append_header(entry)?,
        }
        if is_layer && entry.kind == (Kind::Directory { opaque: true }) {
            return self.append_marker(entry.path, OPAQUE_MARKER);
        }
        Ok(())
    }

    /// Hands everything so far to what it is written to.
    pub fn flush(&mut self) -> Result<(), TarWriteError> {
        self.out.flush().map_err(|source| TarWriteError::Output { source })
    }

    /// Ends the archive and returns what it was written to.
    pub fn finish(mut self) -> Result<W, TarWriteError> {
        self.write(&[0; 2 * BLOCK_BYTES])?;
        self.out.flush().map_err(|source| TarWriteError::Output { source })?;
        Ok(self.out)
    }

    /// Writes an empty file into `directory`. Its time is always 1970, as with containerd: equal deletions are equal bytes.
    fn append_marker(&mut self, directory: EntryPath<'_>, name: &[u8]) -> Result<(), TarWriteError> {
        let directory = directory.as_bytes();
        let name = if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() };
        self.scratch.clear();
        let (kind, metadata) = (Kind::Whiteout, &Metadata::default());
        encode(&mut self.scratch, &Record { name, kind, type_flag: b'0', metadata, mtime_seconds: 0 });
        self.write_scratch()
    }

    fn append_header(&mut self, entry: &Entry<'_>) -> Result<(), TarWriteError> {
        let type_flag = match entry.kind {
            Kind::File { .. } | Kind::Whiteout => b'0',
            Kind::HardLink { .. } => b'1',
            Kind::Symlink { .. } => b'2',
            Kind::CharDevice(_) => b'3',
            Kind::BlockDevice(_) => b'4',
            Kind::Directory { .. } => b'5',
            Kind::Fifo => b'6',
        };
        let mut name = entry.path.as_bytes().to_vec();
        if entry.kind.is_directory() {
            name.extend_from_slice(if name.is_empty() { b"./" } else { b"/" });
        }
        let seconds = entry.metadata.mtime.seconds;
        let mtime_seconds = self.options.mtime_seconds_max.map_or(seconds, |max| seconds.min(max));
        self.scratch.clear();
        let metadata = &entry.metadata;
        encode(&mut self.scratch, &Record { name, kind: entry.kind, type_flag, metadata, mtime_seconds });
        self.write_scratch()
    }

    fn append_content(
        &mut self,
        path: EntryPath<'_>,
        size_bytes: u64,
        content: &mut dyn Read,
    ) -> Result<(), TarWriteError> {
        self.scratch.resize(COPY_BYTES.min(usize::try_from(size_bytes).unwrap_or(COPY_BYTES)).max(1), 0);
        let mut left = size_bytes;
        // One byte more than there should be is asked for, so that a file that grew is noticed.
        loop {
            let wanted = usize::try_from(left.max(1)).unwrap_or(COPY_BYTES).min(self.scratch.len());
            let count = match content.read(&mut self.scratch[..wanted]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(|source| TarWriteError::Content { path: path.to_text(), source })?,
            };
            if count as u64 > left || (count == 0 && left > 0) {
                let actual_bytes = size_bytes - left + count as u64;
                return Err(TarWriteError::Size { path: path.to_text(), expected_bytes: size_bytes, actual_bytes });
            }
            if count == 0 {
                break;
            }
            self.out.write_all(&self.scratch[..count]).map_err(|source| TarWriteError::Output { source })?;
            left -= count as u64;
        }
        self.pad(size_bytes)
    }

    /// Fills up the last block of a file.
    fn pad(&mut self, size_bytes: u64) -> Result<(), TarWriteError> {
        let padding = size_bytes.next_multiple_of(BLOCK_BYTES as u64) - size_bytes;
        self.write(&[0; BLOCK_BYTES][..padding as usize])
    }

    fn write_scratch(&mut self) -> Result<(), TarWriteError> {
        self.out.write_all(&self.scratch).map_err(|source| TarWriteError::Output { source })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), TarWriteError> {
        self.out.write_all(bytes).map_err(|source| TarWriteError::Output { source })
    }
}

/// Returns what stands before the content of a file, for whoever writes that first.
pub fn header_of(entry: &Entry<'_>, options: TarOptions) -> Result<Vec<u8>, TarWriteError> {
    let mut writer = Writer::new(Vec::new(), options);
    writer.append_header(entry)?;
    Ok(writer.out)
}

/// Tells whether whoever unpacks the archive makes this entry anyway, but for its time.
fn is_ordinary_root(entry: &Entry<'_>) -> bool {
    entry.path == EntryPath::ROOT
        && entry.kind == (Kind::Directory { opaque: false })
        && entry.metadata.equal_but_for_time(&Metadata::IMPLIED_DIRECTORY)
}

/// What one header says.
struct Record<'a> {
    name: Vec<u8>,
    kind: Kind<'a>,
    type_flag: u8,
    metadata: &'a Metadata<'a>,
    mtime_seconds: i64,
}

/// Appends a header, and before it a PAX header with what has no room in it.
fn encode(out: &mut Vec<u8>, record: &Record<'_>) {
    let Metadata { mode, uid, gid, xattrs, .. } = *record.metadata;
    let link = match record.kind {
        Kind::HardLink { target } => target.as_bytes(),
        Kind::Symlink { target } => target,
        _ => b"",
    };
    let size_bytes = if let Kind::File { size_bytes, .. } = record.kind { size_bytes } else { 0 };
    let device = match record.kind {
        Kind::CharDevice(device) | Kind::BlockDevice(device) => Some((device.major.into(), device.minor.into())),
        _ => None,
    };
    let split = record.name.is_ascii().then(|| split_name(&record.name)).flatten();
    let long_link = link.len() > 100 || !link.is_ascii();
    let mtime_seconds = u64::try_from(record.mtime_seconds).ok().filter(|seconds| *seconds <= OCTAL_LONG_MAX);

    let mut extended = Vec::new();
    let number = |extended: &mut Vec<u8>, key: &[u8], value: u64, max: u64| {
        if value > max {
            pax::write_record(extended, key, value.to_string().as_bytes());
        }
    };
    xattrs.exported().for_each(|(name, value)| pax::write_xattr(&mut extended, name, value));
    number(&mut extended, b"gid", gid.into(), OCTAL_SHORT_MAX);
    if long_link {
        pax::write_record(&mut extended, b"linkpath", link);
    }
    if mtime_seconds.is_none() {
        pax::write_record(&mut extended, b"mtime", record.mtime_seconds.to_string().as_bytes());
    }
    if split.is_none() {
        pax::write_record(&mut extended, b"path", &record.name);
    }
    number(&mut extended, b"size", size_bytes, OCTAL_LONG_MAX);
    number(&mut extended, b"uid", uid.into(), OCTAL_SHORT_MAX);
    if !extended.is_empty() {
        encode_extended(out, &extended);
    }
    let (short_name, short_link) = (shortened(&record.name), shortened(link));
    let (prefix, name) = split.unwrap_or((b"", &short_name));
    let block = Block::encode(&Fields {
        prefix,
        name,
        type_flag: record.type_flag,
        mode,
        uid: uid.into(),
        gid: gid.into(),
        size_bytes,
        mtime_seconds: mtime_seconds.unwrap_or(0),
        link_name: if long_link { &short_link } else { link },
        device,
    });
    out.extend_from_slice(&block.0);
}

fn encode_extended(out: &mut Vec<u8>, records: &[u8]) {
    let block = Block::encode(&Fields {
        prefix: b"",
        name: b"././@PaxHeader",
        type_flag: b'x',
        mode: 0o644,
        uid: 0,
        gid: 0,
        size_bytes: records.len() as u64,
        mtime_seconds: 0,
        link_name: b"",
        device: None,
    });
    out.extend_from_slice(&block.0);
    out.extend_from_slice(records);
    out.resize(out.len().next_multiple_of(BLOCK_BYTES), 0);
}

/// Splits a name into a prefix of at most 155 bytes and a rest of at most 100.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((b"", name));
    }
    // The `/` at the end of a directory's name cannot be where it is split: the rest must not be empty.
    let slashes = name[..name.len() - 1].iter().take(156).rposition(|byte| *byte == b'/');
    let slash = slashes.filter(|slash| *slash > 0 && name.len() - slash - 1 <= 100)?;
    Some((&name[..slash], &name[slash + 1..]))
}

/// Returns what readers see that know no PAX: the ASCII part, as far as there is room. It never ends with `/`, which would mean a directory.
fn shortened(name: &[u8]) -> Vec<u8> {
    let mut short: Vec<u8> = name.iter().copied().filter(u8::is_ascii).take(100).collect();
    while name.len() > 100 && short.ends_with(b"/") {
        short.pop();
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::text;

    #[test]
    fn long_names_are_split_where_both_parts_fit() {
        let split = |name: &str| split_name(name.as_bytes()).map(|(prefix, rest)| (text(prefix), text(rest)));
        let (dir, file) = ("d".repeat(60), "f".repeat(60));
        assert_eq!(split(&format!("{dir}/{file}")), Some((dir.clone(), file.clone())));
        assert_eq!(split(&format!("{dir}/{file}/")), Some((dir.clone(), format!("{file}/"))));
        assert_eq!(split(&format!("{dir}/{}", "f".repeat(101))), None);
        assert_eq!(split(&"f".repeat(101)), None);
        assert_eq!(split(&format!("{0}/{0}/{0}/{file}", dir)), None, "no slash leaves at most 155 and at most 100");
        assert_eq!(split(&"f".repeat(100)), Some((String::new(), "f".repeat(100))));
    }
}
