//! Unpacking an archive for `ADD`: files as they are, into a directory of a layer that is being written.
//!
//! What is contained in what follows BuildKit: the destination is the root for all names and links of the archive, a name that leads out of it is
//! an error, device nodes and fifos are left out, and `--chown` is for the entries of the archive but not for directories that it only implies.

use std::io::Read;

use super::error::UnpackError;
use super::pipeline::{child, clean, unpack, write_file};
use super::pool::Pool;
use super::stream::Chunks;
use crate::entry::{KindBuf, Metadata};
use crate::path::{EntryPath, EntryPathBuf, text};
use crate::stack::Follow;
use crate::tar::{Limits, Member, MemberContent, MemberKind};
use crate::tree::TreeWriter;

/// How an archive is unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveOptions {
    /// The owner and group of all entries; `None` keeps those of the archive.
    pub owner: Option<(u32, u32)>,
    /// What the archive may be.
    pub limits: Limits,
}

/// An archive that was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnpackedArchive {
    /// How many entries were put into the layer.
    pub entries: u64,
    /// How many device nodes and fifos were left out.
    pub left_out: u64,
    /// The first of them.
    pub first_left_out: Option<EntryPathBuf>,
}

/// Unpacks an archive, compressed or not, into the directory `destination`, which exists.
///
/// On an error the layer is left half written, for the caller to drop.
pub fn unpack_archive(
    stream: impl Read + Send,
    writer: &TreeWriter,
    destination: EntryPath<'_>,
    options: ArchiveOptions,
) -> Result<UnpackedArchive, UnpackError> {
    let mut unpacked = UnpackedArchive::default();
    unpack(stream, None, options.limits, |reader, pool| {
        let mut unpacker = Unpacker { writer, pool, destination, options, unpacked: &mut unpacked };
        while let Some(member) = reader.next()? {
            unpacker.unpack(member, reader.content())?;
        }
        Ok(())
    })?;
    Ok(unpacked)
}

struct Unpacker<'a, 'w> {
    writer: &'w TreeWriter,
    pool: &'a mut Pool<'w>,
    destination: EntryPath<'a>,
    options: ArchiveOptions,
    unpacked: &'a mut UnpackedArchive,
}

impl<'w> Unpacker<'_, 'w> {
    fn unpack(&mut self, member: Member, content: MemberContent<'_, Chunks>) -> Result<(), UnpackError> {
        let Member { name, kind, metadata } = member;
        let written = inside(&name)?;
        if matches!(kind, MemberKind::CharDevice(_) | MemberKind::BlockDevice(_) | MemberKind::Fifo) {
            self.unpacked.left_out += 1;
            self.unpacked.first_left_out.get_or_insert(written);
            return Ok(());
        }
        // The destination itself is the caller's.
        if written.as_path().is_root() {
            return Ok(());
        }
        let path = self.locate(&written, &name)?;
        let (path, metadata) = (path.as_path(), metadata.as_metadata());
        let metadata = match self.options.owner {
            Some((uid, gid)) => Metadata { uid, gid, ..metadata },
            None => metadata,
        };
        self.clear(path, kind == MemberKind::Directory)?;
        match kind {
            MemberKind::Directory => self.writer.make_directory(path, &metadata)?,
            MemberKind::File { size_bytes } => {
                write_file(self.writer, self.pool, path, &metadata, size_bytes, content)?;
            }
            MemberKind::HardLink { target } => {
                let target = self.locate(&inside(&target)?, &target)?;
                self.flush_if_pending(target.as_path())?;
                self.writer.make_hard_link(path, target.as_path())?;
            }
            MemberKind::Symlink { target } => self.writer.make_symlink(path, &target, &metadata)?,
            MemberKind::CharDevice(_) | MemberKind::BlockDevice(_) | MemberKind::Fifo => {
                unreachable!("kind: {kind:?} was left out")
            }
        }
        self.unpacked.entries += 1;
        Ok(())
    }

    /// Returns where a member goes: the directories above it are there afterwards, and links among them have been followed.
    fn locate(&self, written: &EntryPathBuf, name: &[u8]) -> Result<EntryPathBuf, UnpackError> {
        let parent = written.as_path().parent().unwrap_or(EntryPath::ROOT);
        let resolved = self.writer.resolve_within(self.destination, parent.as_bytes(), Follow::All);
        let directory = resolved.map_err(|source| UnpackError::Resolve { name: text(name), source })?;
        let path = child(directory.as_path(), written.as_path().name(), name)?;
        self.writer.make_parents(path.as_path(), &Metadata::IMPLIED_DIRECTORY)?;
        Ok(path)
    }

    /// Removes what is in the way: only a directory stays where a directory is to be.
    fn clear(&mut self, path: EntryPath<'_>, is_directory: bool) -> Result<(), UnpackError> {
        self.flush_if_pending(path)?;
        let existing = self.writer.lookup(path).map(|entry| entry.kind);
        let is_in_the_way = match existing {
            None => false,
            Some(KindBuf::Directory { .. }) => !is_directory,
            Some(_) => is_directory,
        };
        if is_in_the_way {
            self.pool.flush()?;
            self.writer.remove(path)?;
        }
        Ok(())
    }

    /// Makes sure that waiting for a file does not wait for this thread.
    fn flush_if_pending(&mut self, path: EntryPath<'_>) -> Result<(), UnpackError> {
        if self.writer.is_pending(path) {
            self.pool.flush()?;
        }
        Ok(())
    }
}

/// Cleans a name of the archive; one that leads out of the destination is refused.
fn inside(name: &[u8]) -> Result<EntryPathBuf, UnpackError> {
    let mut depth = 0usize;
    for component in name.split(|byte| *byte == b'/') {
        depth = match component {
            b"" | b"." => depth,
            b".." => depth.checked_sub(1).ok_or_else(|| UnpackError::Outside { name: text(name) })?,
            _ => depth + 1,
        };
    }
    clean(name)
}
