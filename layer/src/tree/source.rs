//! Writing the bytes of one file: from memory, from a stream, or out of another file; holes stay holes, and the hash is computed on the way.

use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek};
use rustix::io::Errno;

use crate::buffer::{self, BUFFER_BYTES};
use crate::content::FileRange;
use crate::entry::ContentHash;
use crate::hash::{self, AT_ONCE_BYTES};
use crate::holes::{self, HOLE_BYTES, ZEROS};

/// From which length on it pays to let the kernel copy or share blocks. For small files it is slower than reading and writing.
const KERNEL_COPY_BYTES_MIN: u64 = 1 << 20;

/// Where the bytes of a new file come from.
pub enum FileSource<'a> {
    /// From memory.
    Bytes(&'a [u8]),
    /// From a stream, to its end.
    Reader(&'a mut dyn Read),
    /// Out of another file.
    Range {
        /// Which bytes.
        range: &'a FileRange,
        /// Their hash where it is known; a file whose bytes have another one is refused, as far as they are read at all.
        content: Option<ContentHash>,
    },
}

impl FileSource<'_> {
    /// Returns how many bytes there are, where that is known before they are read.
    pub(super) fn known_bytes(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Reader(_) => None,
            Self::Range { range, .. } => Some(range.size_bytes()),
        }
    }
}

/// Where the bytes of a new file go.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    file: &'a File,
    /// Where they start.
    start: u64,
    /// Whether the file is to be as long as the bytes; else others follow in it.
    is_whole: bool,
}

impl<'a> Target<'a> {
    /// An empty file that is to be the new one.
    pub(crate) fn whole(file: &'a File) -> Self {
        Self { file, start: 0, is_whole: true }
    }

    /// A place in a file in which nothing is yet.
    pub(crate) fn part(file: &'a File, start: u64) -> Self {
        Self { file, start, is_whole: false }
    }

    fn set_size(&self, size_bytes: u64) -> Result<(), CopyError> {
        if self.is_whole { self.file.set_len(size_bytes).map_err(CopyError::Write) } else { Ok(()) }
    }
}

/// What went wrong while a file was written: on which side, or that the source is not what it should be.
pub(crate) enum CopyError {
    Read(io::Error),
    Write(io::Error),
    Short { expected_bytes: u64, actual_bytes: u64 },
    Damaged { expected: ContentHash, actual: ContentHash },
}

/// Writes all bytes of `source`; returns their number and hash.
pub(crate) fn write(target: Target<'_>, source: FileSource<'_>) -> Result<(u64, ContentHash), CopyError> {
    match source {
        FileSource::Bytes(bytes) => {
            let mut sink = Sink { target, hasher: &mut blake3::Hasher::new(), position: 0, written_to: 0 };
            sink.write(bytes)?;
            sink.finish()
        }
        FileSource::Reader(reader) => write_stream(target, reader),
        FileSource::Range { range, content } => write_range(target, range, content),
    }
}

fn write_stream(target: Target<'_>, reader: &mut dyn Read) -> Result<(u64, ContentHash), CopyError> {
    buffer::with(BUFFER_BYTES, |buffer| {
        let mut sink = Sink { target, hasher: &mut blake3::Hasher::new(), position: 0, written_to: 0 };
        loop {
            let count = fill(reader, buffer).map_err(CopyError::Read)?;
            sink.write(&buffer[..count])?;
            if count < buffer.len() {
                return sink.finish();
            }
        }
    })
}

/// Reads until the buffer is full or the stream at its end.
fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn write_range(
    target: Target<'_>,
    range: &FileRange,
    known: Option<ContentHash>,
) -> Result<(u64, ContentHash), CopyError> {
    let segments = if range.size_bytes() >= HOLE_BYTES as u64 { data_segments(range) } else { None };
    let large = range.size_bytes() >= KERNEL_COPY_BYTES_MIN;
    if large
        && let Some(content) = known
        && copy_in_kernel(target, range, segments.as_deref())?
    {
        return Ok((range.size_bytes(), content));
    }
    if large && known.is_none() && range.offset() == 0 && target.is_whole && ioctl_ficlone(target.file, range).is_ok() {
        return hash_clone(target.file, range.size_bytes());
    }
    let (written, content) = copy_through_memory(target, range, segments.as_deref())?;
    match known {
        Some(expected) if expected != content => Err(CopyError::Damaged { expected, actual: content }),
        _ => Ok((written, content)),
    }
}

/// Hashes what was cloned, and not the source, which may change meanwhile; cuts what was not asked for.
fn hash_clone(file: &File, size_bytes: u64) -> Result<(u64, ContentHash), CopyError> {
    let cloned = file.try_clone().map_err(CopyError::Read)?;
    let cloned_bytes = cloned.metadata().map_err(CopyError::Read)?.len();
    if cloned_bytes < size_bytes {
        return Err(CopyError::Short { expected_bytes: size_bytes, actual_bytes: cloned_bytes });
    }
    file.set_len(size_bytes).map_err(CopyError::Write)?;
    hash::hash_range(&FileRange::new(cloned, 0, size_bytes)).map_err(CopyError::Read)
}

fn copy_through_memory(
    target: Target<'_>,
    range: &FileRange,
    segments: Option<&[(u64, u64)]>,
) -> Result<(u64, ContentHash), CopyError> {
    let whole = [(0, range.size_bytes())];
    let segments = segments.unwrap_or(&whole);
    let written_to = AtomicU64::new(0);
    let content = hash::in_pieces(range.size_bytes(), &|hasher, start, end| {
        let at_once = (end - start).clamp(1, AT_ONCE_BYTES as u64) as usize;
        let first = segments.partition_point(|(_, segment_end)| *segment_end <= start);
        buffer::with(at_once, |buffer| {
            let mut sink = Sink { target, hasher, position: start, written_to: 0 };
            for (from, to) in segments[first..].iter().take_while(|(from, _)| *from < end) {
                sink.skip_to(*from);
                let to = end.min(*to);
                while sink.position < to {
                    let wanted = (to - sink.position).min(at_once as u64) as usize;
                    let count = range.read_at(sink.position, &mut buffer[..wanted]).map_err(CopyError::Read)?;
                    sink.write(&buffer[..count])?;
                    if count < wanted {
                        let (expected_bytes, actual_bytes) = (range.size_bytes(), sink.position);
                        return Err(CopyError::Short { expected_bytes, actual_bytes });
                    }
                }
            }
            sink.skip_to(end);
            written_to.fetch_max(sink.written_to, Ordering::Relaxed);
            Ok(())
        })
    })?;
    if written_to.into_inner() < range.size_bytes() {
        target.set_size(range.size_bytes())?;
    }
    Ok((range.size_bytes(), content))
}

/// Lets the kernel copy, or share the blocks; returns whether it could. Nothing was written if it could not.
fn copy_in_kernel(target: Target<'_>, range: &FileRange, segments: Option<&[(u64, u64)]>) -> Result<bool, CopyError> {
    let whole = [(0, range.size_bytes())];
    for (start, end) in segments.unwrap_or(&whole) {
        let (mut from, mut to) = (range.offset() + start, target.start + start);
        let end = target.start + end;
        while to < end {
            let wanted = usize::try_from(end - to).unwrap_or(usize::MAX).min(1 << 30);
            match copy_file_range(range, Some(&mut from), target.file, Some(&mut to), wanted) {
                Ok(0) => {
                    let actual_bytes = to - target.start;
                    return Err(CopyError::Short { expected_bytes: range.size_bytes(), actual_bytes });
                }
                Ok(_) | Err(Errno::INTR) => {}
                // Between file systems, or where one cannot: nothing has been copied then.
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => return Ok(false),
                Err(errno) => return Err(CopyError::Write(errno.into())),
            }
        }
    }
    target.set_size(range.size_bytes())?;
    Ok(true)
}

/// Returns where a file with holes has data, as starts and ends within the range; `None` if it has no holes, or cannot say.
fn data_segments(range: &FileRange) -> Option<Vec<(u64, u64)>> {
    let metadata = rustix::fs::fstat(range).ok()?;
    if metadata.st_blocks as u64 * 512 >= metadata.st_size as u64 {
        return None;
    }
    let (first, last) = (range.offset(), range.offset() + range.size_bytes());
    let mut segments = Vec::new();
    let mut at = first;
    while at < last {
        let start = match seek(range, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole until the end.
            Err(Errno::NXIO) => break,
            Err(_) => return None,
        };
        let end = seek(range, SeekFrom::Hole(start)).ok()?;
        if start >= last {
            break;
        }
        segments.push((start - first, end.min(last) - first));
        at = end;
    }
    Some(segments)
}

/// Bytes that are written one after another, with holes where there are only zeros. Positions count from the start of the target.
struct Sink<'a> {
    target: Target<'a>,
    hasher: &'a mut blake3::Hasher,
    position: u64,
    /// How far the file reaches by what was written.
    written_to: u64,
}

impl Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), CopyError> {
        hash::update(self.hasher, bytes);
        let written_to = holes::write_at(self.target.file, bytes, self.target.start + self.position);
        if let Some(written_to) = written_to.map_err(CopyError::Write)? {
            self.written_to = written_to - self.target.start;
        }
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Leaves a hole up to `position`; its zeros are in the hash all the same.
    fn skip_to(&mut self, position: u64) {
        while self.position < position {
            let count = (position - self.position).min(ZEROS.len() as u64);
            self.hasher.update(&ZEROS[..count as usize]);
            self.position += count;
        }
    }

    fn finish(self) -> Result<(u64, ContentHash), CopyError> {
        if self.written_to < self.position {
            self.target.set_size(self.position)?;
        }
        Ok((self.position, hash::finish(self.hasher)))
    }
}
