//! Reading a tar as a stream, member by member.
//!
//! **Invariant:** whatever the bytes are, memory stays within an extension header ([`EXTENSION_BYTES_MAX`]) and a sparse map, and what is counted
//! stays within the caller's [`Limits`].

use std::io::{self, BufReader, Read};

use super::BLOCK_BYTES;
use super::error::TarError;
use super::header::Block;
use super::member::{Limits, Member, MemberKind};
use super::pax::Extended;
use super::sparse::{self, DataMap, Segment};
use crate::compression::Decoder;
use crate::entry::{Device, MODE_BITS, MetadataBuf, Mtime};
use crate::path::text;
use crate::xattr::XattrsBuf;

/// The longest extension header: a PAX header with every extended attribute that a file can have is shorter.
pub const EXTENSION_BYTES_MAX: u64 = 1 << 20;

/// The largest size that can be rounded up to whole blocks; files are not larger than this on any file system.
const SIZE_MAX: u64 = i64::MAX as u64;
const SIZE_REASON: &str = "a size is out of range";

/// How many bytes are read at once where the reader takes less.
const BUFFER_BYTES: usize = 64 << 10;

/// An archive that is being read.
pub struct Reader<R: Read> {
    source: BufReader<R>,
    offset: u64,
    limits: Limits,
    entries: u64,
    content_bytes: u64,
    content: Content,
    is_at_end: bool,
}

/// What is left of the current member.
#[derive(Default)]
struct Content {
    segments: Vec<Segment>,
    /// Which segment is read, or comes next.
    current: usize,
    position: u64,
    size_bytes: u64,
    /// What of the data stands in the archive, and was not read.
    stored_left: u64,
    padding: u64,
}

/// Returns whether a stream is an archive: whether it has, compressed or not, a valid first header.
///
/// Any failure means that it is none: `ADD` copies such files as they are.
pub fn is_archive(stream: impl Read) -> bool {
    Decoder::new(stream).is_ok_and(|stream| matches!(Reader::new(stream, Limits::default()).next(), Ok(Some(_))))
}

impl<R: Read> Reader<R> {
    /// Starts at the beginning of an archive that is not compressed.
    pub fn new(stream: R, limits: Limits) -> Self {
        let source = BufReader::with_capacity(BUFFER_BYTES, stream);
        let content = Content::default();
        Self { source, offset: 0, limits, entries: 0, content_bytes: 0, content, is_at_end: false }
    }

    /// Goes to the next member; what of the last one was not read is skipped. `None` means the end of the archive.
    // An iterator could not lend the content.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Member>, TarError> {
        self.skip_content()?;
        let mut extended = Extended::default();
        let (mut long_name, mut long_link) = (None, None);
        while let Some(block) = self.read_header()? {
            match block.type_flag() {
                b'x' | b'X' => {
                    let records = self.read_extension(&block)?;
                    extended.read(&records).map_err(|reason| self.extension_error(reason))?;
                }
                b'g' => drop(self.read_extension(&block)?),
                b'L' => long_name = Some(self.read_long_name(&block)?),
                b'K' => long_link = Some(self.read_long_name(&block)?),
                b'V' => {
                    self.content = Content::stored(self.stored_size(&block)?);
                    self.skip_content()?;
                }
                _ => return self.member(&block, extended, long_name, long_link).map(Some),
            }
        }
        Ok(None)
    }

    /// Returns the bytes of the current member.
    pub fn content(&mut self) -> MemberContent<'_, R> {
        MemberContent(self)
    }

    /// Reads what is behind the end of the archive, which belongs to the stream and its digest all the same.
    pub fn drain(&mut self) -> Result<(), TarError> {
        self.skip_content()?;
        let mut buffer = vec![0; BUFFER_BYTES];
        while self.read_some(&mut buffer)? != 0 {}
        Ok(())
    }

    fn member(
        &mut self,
        block: &Block,
        extended: Extended,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Member, TarError> {
        self.entries += 1;
        if self.entries > self.limits.entries_max {
            return Err(TarError::TooManyEntries { entries_max: self.limits.entries_max });
        }
        let metadata = self.metadata(block, &extended)?;
        let name = extended.path.clone().or(long_name).unwrap_or_else(|| block.name());
        let name = extended.sparse.name.clone().unwrap_or(name);
        let link = extended.link_path.clone().or(long_link).unwrap_or_else(|| block.link_name());
        let device = |reader: &Self| {
            let field = |value, max: u32| reader.in_range(value, max.into(), "a device number is out of range");
            let major = field(block.major(), Device::MAJOR_MAX)? as u32;
            Ok::<_, TarError>(Device { major, minor: field(block.minor(), Device::MINOR_MAX)? as u32 })
        };
        let kind = match block.type_flag() {
            // Before POSIX a directory was a file whose name ends like one.
            0 if name.ends_with(b"/") => MemberKind::Directory,
            0 | b'0' | b'7' | b'S' => self.file(block, &extended)?,
            b'1' => MemberKind::HardLink { target: link },
            b'2' => MemberKind::Symlink { target: link },
            b'3' => MemberKind::CharDevice(device(self)?),
            b'4' => MemberKind::BlockDevice(device(self)?),
            b'5' => MemberKind::Directory,
            b'6' => MemberKind::Fifo,
            // GNU's incremental archives have the list of the directory as content.
            b'D' => {
                self.content = Content::stored(self.stored_size(block)?);
                self.skip_content()?;
                MemberKind::Directory
            }
            type_flag => return Err(TarError::Unsupported { name: text(&name), type_flag: char::from(type_flag) }),
        };
        Ok(Member { name, kind, metadata })
    }

    fn metadata(&self, block: &Block, extended: &Extended) -> Result<MetadataBuf, TarError> {
        let id = |value, extended: Option<u64>| {
            let value = extended.map(i128::from).or(value);
            Ok::<_, TarError>(self.in_range(value, u64::from(u32::MAX), "an owner is out of range")? as u32)
        };
        let mtime = match extended.mtime {
            Some(mtime) => mtime,
            None => {
                let seconds = block.mtime().and_then(|seconds| i64::try_from(seconds).ok());
                Mtime::from_seconds(seconds.ok_or_else(|| self.header_error("a time is out of range"))?)
            }
        };
        let mode = block.mode().ok_or_else(|| self.header_error("a mode is no number"))?;
        Ok(MetadataBuf {
            // Some programs write the type of the file with it.
            mode: (mode & i128::from(MODE_BITS)) as u16,
            uid: id(block.uid(), extended.uid)?,
            gid: id(block.gid(), extended.gid)?,
            mtime,
            xattrs: XattrsBuf::from_iter(extended.xattrs.iter().cloned()),
        })
    }

    /// Prepares the content of a regular file.
    fn file(&mut self, block: &Block, extended: &Extended) -> Result<MemberKind, TarError> {
        let stored = self.in_range(extended.size_bytes.map(i128::from).or(block.size()), SIZE_MAX, SIZE_REASON)?;
        let keys = &extended.sparse;
        self.content = Content::stored(stored);
        let map = match keys.version {
            Some((1, 0)) => Some((self.read_data_map()?, keys.size_bytes)),
            None | Some((0, _)) if !keys.map.is_empty() || keys.size_bytes.is_some() => {
                Some((sparse::from_pairs(&keys.map), keys.size_bytes))
            }
            Some(version) if version.0 > 0 => Some((Err("a sparse file is of an unknown version"), None)),
            _ if block.type_flag() == b'S' => {
                let size = block.sparse_size().and_then(|size| u64::try_from(size).ok());
                Some((self.read_table(block)?, size))
            }
            _ => None,
        };
        if let Some((segments, size)) = map {
            let size_bytes = size.ok_or_else(|| self.header_error("a sparse file has no size"))?;
            let stored = self.content.stored_left;
            let segments = segments.and_then(|segments| sparse::check(segments, size_bytes, stored));
            self.content.segments = segments.map_err(|reason| self.extension_error(reason))?;
            self.content.size_bytes = size_bytes;
        }
        let size_bytes = self.content.size_bytes;
        self.content_bytes = self.content_bytes.saturating_add(size_bytes);
        if self.content_bytes > self.limits.content_bytes_max {
            return Err(TarError::TooLarge { bytes_max: self.limits.content_bytes_max });
        }
        Ok(MemberKind::File { size_bytes })
    }

    /// Reads the blocks that continue the table of a sparse file.
    fn read_table(&mut self, block: &Block) -> Result<Result<Vec<Segment>, &'static str>, TarError> {
        let mut segments = Vec::new();
        let mut table = block.sparse_table();
        loop {
            let (more, is_continued) = match table {
                Ok(table) => table,
                Err(reason) => return Ok(Err(reason)),
            };
            if let Err(reason) = sparse::extend(&mut segments, more) {
                return Ok(Err(reason));
            }
            if !is_continued {
                return Ok(Ok(segments));
            }
            let mut next = Block([0; BLOCK_BYTES]);
            self.read_exactly(&mut next.0)?;
            table = next.continued_sparse_table();
        }
    }

    /// Reads the map at the start of the data of a sparse file.
    fn read_data_map(&mut self) -> Result<Result<Vec<Segment>, &'static str>, TarError> {
        let mut map = DataMap::default();
        while self.content.stored_left >= BLOCK_BYTES as u64 {
            let mut block = [0; BLOCK_BYTES];
            self.read_exactly(&mut block)?;
            self.content.stored_left -= BLOCK_BYTES as u64;
            match map.add(&block) {
                Ok(None) => {}
                Ok(Some(segments)) => return Ok(Ok(segments)),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        Ok(Err("a sparse map is truncated"))
    }

    /// Reads the next header; `None` is the end of the archive.
    fn read_header(&mut self) -> Result<Option<Block>, TarError> {
        if self.is_at_end {
            return Ok(None);
        }
        let Some(block) = self.read_block()? else {
            self.is_at_end = true;
            return Ok(None);
        };
        if block.is_zero() {
            self.is_at_end = true;
            return match self.read_block()? {
                Some(second) if !second.is_zero() => Err(self.header_error("a lone block of zeros is before it")),
                _ => Ok(None),
            };
        }
        match block.has_valid_checksum() {
            true => Ok(Some(block)),
            false => Err(self.header_error("the checksum is wrong")),
        }
    }

    /// Reads a block; `None` means that the stream ends before it.
    fn read_block(&mut self) -> Result<Option<Block>, TarError> {
        let mut block = Block([0; BLOCK_BYTES]);
        match self.read_some(&mut block.0)? {
            0 => Ok(None),
            count => {
                self.read_exactly(&mut block.0[count..])?;
                Ok(Some(block))
            }
        }
    }

    /// Reads the content of an extension header.
    fn read_extension(&mut self, block: &Block) -> Result<Vec<u8>, TarError> {
        let bytes = self.stored_size(block)?;
        if bytes > EXTENSION_BYTES_MAX {
            let (offset, bytes_max) = (self.offset - BLOCK_BYTES as u64, EXTENSION_BYTES_MAX);
            return Err(TarError::ExtensionTooLarge { offset, bytes, bytes_max });
        }
        let mut content = vec![0; bytes as usize];
        self.read_exactly(&mut content)?;
        self.content = Content { padding: padding(bytes), ..Content::default() };
        self.skip_content()?;
        Ok(content)
    }

    fn read_long_name(&mut self, block: &Block) -> Result<Vec<u8>, TarError> {
        let content = self.read_extension(block)?;
        Ok(super::header::text(&content).to_vec())
    }

    fn stored_size(&self, block: &Block) -> Result<u64, TarError> {
        self.in_range(block.size(), SIZE_MAX, SIZE_REASON)
    }

    fn in_range(&self, value: Option<i128>, max: u64, reason: &'static str) -> Result<u64, TarError> {
        let value = value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value <= max);
        value.ok_or_else(|| self.header_error(reason))
    }

    /// Returns an error about the header that was read last.
    fn header_error(&self, reason: &'static str) -> TarError {
        TarError::Header { offset: self.offset.saturating_sub(BLOCK_BYTES as u64), reason }
    }

    fn extension_error(&self, reason: &'static str) -> TarError {
        TarError::Extension { offset: self.offset, reason }
    }

    /// Skips what was not read of the current member, and the padding behind it. Some programs leave the last padding out.
    fn skip_content(&mut self) -> Result<(), TarError> {
        let Content { mut stored_left, padding, .. } = std::mem::take(&mut self.content);
        let mut buffer = [0; BLOCK_BYTES * 16];
        while stored_left > 0 {
            let wanted = stored_left.min(buffer.len() as u64) as usize;
            self.read_exactly(&mut buffer[..wanted])?;
            stored_left -= wanted as u64;
        }
        match self.read_exactly(&mut buffer[..padding as usize]) {
            Err(TarError::Truncated { .. }) => self.is_at_end = true,
            read => read?,
        }
        Ok(())
    }

    fn read_exactly(&mut self, buffer: &mut [u8]) -> Result<(), TarError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_some(&mut buffer[filled..])? {
                0 => return Err(TarError::Truncated { offset: self.offset }),
                count => filled += count,
            }
        }
        Ok(())
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        loop {
            match self.source.read(buffer) {
                Ok(count) => {
                    self.offset += count as u64;
                    if self.offset > self.limits.stream_bytes_max {
                        return Err(TarError::StreamTooLong { bytes_max: self.limits.stream_bytes_max });
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(TarError::Read { offset: self.offset, source }),
            }
        }
    }
}

impl Content {
    /// A file without holes, or what is to be skipped.
    fn stored(bytes: u64) -> Self {
        let segments = if bytes == 0 { Vec::new() } else { vec![Segment { offset: 0, bytes }] };
        Self { segments, current: 0, position: 0, size_bytes: bytes, stored_left: bytes, padding: padding(bytes) }
    }
}

fn padding(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_BYTES as u64) - bytes
}

/// The bytes of a member, with the holes of a sparse file as zeros.
pub struct MemberContent<'a, R: Read>(&'a mut Reader<R>);

impl<R: Read> MemberContent<'_, R> {
    /// Returns where the bytes stand in the archive, if nothing was read of them and they stand there in one piece.
    pub fn stored_at(&self) -> Option<u64> {
        let content = &self.0.content;
        let is_whole = match content.segments.as_slice() {
            [] => content.size_bytes == 0,
            [segment] => segment.offset == 0 && segment.bytes == content.size_bytes,
            _ => false,
        };
        (is_whole && content.position == 0).then_some(self.0.offset)
    }
}

impl<R: Read> Read for MemberContent<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let content = &mut self.0.content;
        let segment = content.segments.get(content.current).copied();
        let hole_end = segment.map_or(content.size_bytes, |segment| segment.offset);
        if content.position < hole_end {
            let count = (hole_end - content.position).min(buffer.len() as u64) as usize;
            buffer[..count].fill(0);
            content.position += count as u64;
            return Ok(count);
        }
        let Some(Segment { offset, bytes }) = segment else {
            return Ok(0);
        };
        let wanted = (offset + bytes - content.position).min(buffer.len() as u64) as usize;
        let count = self.0.read_some(&mut buffer[..wanted]).map_err(io::Error::other)?;
        if count == 0 && wanted > 0 {
            let truncated = TarError::Truncated { offset: self.0.offset };
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, truncated));
        }
        let content = &mut self.0.content;
        content.position += count as u64;
        content.stored_left -= count as u64;
        if content.position == offset + bytes {
            content.current += 1;
        }
        Ok(count)
    }
}
