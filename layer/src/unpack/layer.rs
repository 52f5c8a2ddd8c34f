//! Unpacking a layer that was pulled or loaded, in the form that an overlay file system mounts.
//!
//! What the names mean follows the OCI image specification, and containerd where that is silent: a whiteout deletes what is beneath and never what
//! is in the same layer, in whatever order they come; a directory with a whiteout of its own name is opaque; of two entries with one path the later
//! counts, but a directory keeps what is in it; directories that nobody described belong to root with mode 0755; a path that leads through
//! a symbolic link of the same layer is followed inside the root.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use oci::Digest;

use super::error::UnpackError;
use super::pipeline::{child, clean, unpack, write_file};
use super::pool::Pool;
use super::stream::{Chunks, StreamSummary};
use crate::compression::Compression;
use crate::entries::Entries;
use crate::entry::{Device, Metadata};
use crate::pack::{Lender, Pack, Packed, UsedPack};
use crate::path::{EntryPath, EntryPathBuf, text};
use crate::stack::{Follow, Stack};
use crate::tar::{Limits, Member, MemberContent, MemberKind, OPAQUE_MARKER, WHITEOUT_PREFIX};
use crate::tree::{FinishedTree, Here, LostXattrs, Special, TreeError, TreeWriter};

/// A layer that was unpacked.
#[derive(Debug)]
pub struct UnpackedLayer {
    /// What is in it.
    pub entries: Entries,
    /// The digest of its decompressed tar.
    pub diff_id: Digest,
    /// How long that tar is.
    pub size_bytes: u64,
    /// What it was compressed with.
    pub compression: Compression,
    /// What the file system would not take.
    pub lost_xattrs: LostXattrs,
    /// Where the bytes of its files are, if no tree was made.
    pub packed: Option<Packed>,
}

/// Unpacks a layer into an empty directory. On an error the directory is left half filled, for the caller to remove.
///
/// The stream is read to its end, on a thread of its own; after an error elsewhere this waits until the read in progress returns.
pub fn unpack_layer(stream: impl Read + Send, root: OwnedFd, limits: Limits) -> Result<UnpackedLayer, UnpackError> {
    let writer = TreeWriter::new(root, Stack::default())?;
    let StreamSummary { digest, size_bytes, compression } = pour(stream, None, limits, &writer)?;
    let FinishedTree { entries, lost_xattrs, packed } = writer.finish()?;
    Ok(UnpackedLayer { entries, diff_id: digest, size_bytes, compression, lost_xattrs, packed })
}

/// Keeps the decompressed tar of a layer in the empty file of `tar`, and finds out where its files are in it. The few that do not lie there in one piece go to
/// the empty file `scattered`.
pub fn pack_layer(
    stream: impl Read + Send,
    tar: Pack,
    scattered: Arc<File>,
    limits: Limits,
) -> Result<UnpackedLayer, UnpackError> {
    let (file, id) = (Arc::clone(&tar.file), tar.id);
    let writer = TreeWriter::packed(scattered, Lender::tar(tar), Stack::default());
    let StreamSummary { digest, size_bytes, compression } = pour(stream, Some(&file), limits, &writer)?;
    // The last piece may have been one of zeros.
    file.set_len(size_bytes).map_err(|source| TreeError::Root { source })?;
    let FinishedTree { entries, lost_xattrs, mut packed } = writer.finish()?;
    for pack in packed.iter_mut().flat_map(|packed| &mut packed.packs) {
        if let UsedPack::Lent(pack) = pack
            && pack.id == id
        {
            pack.size_bytes = size_bytes;
        }
    }
    Ok(UnpackedLayer { entries, diff_id: digest, size_bytes, compression, lost_xattrs, packed })
}

fn pour(
    stream: impl Read + Send,
    keep: Option<&File>,
    limits: Limits,
    writer: &TreeWriter,
) -> Result<StreamSummary, UnpackError> {
    unpack(stream, keep, limits, |reader, pool| {
        let mut unpacker = Unpacker { writer, pool, deleted: BTreeSet::new(), directory: None };
        while let Some(member) = reader.next()? {
            unpacker.unpack(member, reader.content())?;
        }
        Ok(())
    })
}

struct Unpacker<'p, 'w> {
    writer: &'w TreeWriter,
    pool: &'p mut Pool<'w>,
    /// Paths with a whiteout, whatever else the layer has there.
    deleted: BTreeSet<EntryPathBuf>,
    /// The directory of the last member: as it was written, and where it is. Most members are in the same one.
    directory: Option<(EntryPathBuf, EntryPathBuf)>,
}

impl<'w> Unpacker<'_, 'w> {
    fn unpack(&mut self, member: Member, content: MemberContent<'_, Chunks>) -> Result<(), UnpackError> {
        let written = clean(&member.name)?;
        let name = written.as_path().name();
        if written.as_path().is_root() {
            return self.unpack_root(&member);
        }
        if is_aufs(&written) {
            return Ok(());
        }
        if name == OPAQUE_MARKER {
            let directory = self.directory_of(&written, &member.name)?;
            return Ok(self.writer.make_opaque(directory.as_path())?);
        }
        match name.strip_prefix(WHITEOUT_PREFIX) {
            Some(rest) => self.delete(&member.name, &written, rest),
            None => {
                let directory = self.directory_of(&written, &member.name)?;
                let path = child(directory.as_path(), name, &member.name)?;
                self.create(path, member, content)
            }
        }
    }

    fn unpack_root(&mut self, member: &Member) -> Result<(), UnpackError> {
        match member.kind {
            MemberKind::Directory => Ok(self.writer.make_directory(EntryPath::ROOT, &member.metadata.as_metadata())?),
            _ => Err(UnpackError::Root { name: text(&member.name) }),
        }
    }

    fn create(
        &mut self,
        path: EntryPathBuf,
        member: Member,
        content: MemberContent<'_, Chunks>,
    ) -> Result<(), UnpackError> {
        let Member { name, kind, metadata } = member;
        let (path, metadata) = (path.as_path(), metadata.as_metadata());
        let here = self.here(path)?;
        let keeps = (kind == MemberKind::Directory) == (here == Some(Here::Directory));
        if here.is_some_and(|here| here != Here::Whiteout) && !keeps {
            self.remove(path)?;
        }
        match kind {
            MemberKind::Directory => self.make_directory(path, &metadata)?,
            MemberKind::File { size_bytes } => {
                write_file(self.writer, self.pool, path, &metadata, size_bytes, content)?;
            }
            MemberKind::HardLink { target } => {
                let resolved = self.writer.resolve(&target, Follow::Parents);
                let target = resolved.map_err(|source| UnpackError::Resolve { name: text(&name), source })?;
                if self.writer.is_pending(target.as_path()) {
                    self.pool.flush()?;
                }
                self.writer.make_hard_link(path, target.as_path())?;
            }
            MemberKind::Symlink { target } => self.writer.make_symlink(path, &target, &metadata)?,
            // An overlay file system cannot tell it from a deletion, and neither can containerd.
            MemberKind::CharDevice(Device { major: 0, minor: 0 }) => self.mark_deleted(path)?,
            MemberKind::CharDevice(device) => {
                self.writer.make_special(path, Special::CharDevice(device), &metadata)?;
            }
            MemberKind::BlockDevice(device) => {
                self.writer.make_special(path, Special::BlockDevice(device), &metadata)?;
            }
            MemberKind::Fifo => self.writer.make_special(path, Special::Fifo, &metadata)?,
        }
        Ok(())
    }

    /// Carries out a whiteout: `rest` is what stands behind `.wh.`.
    fn delete(&mut self, name: &[u8], written: &EntryPathBuf, rest: &[u8]) -> Result<(), UnpackError> {
        let directory = self.directory_of(written, name)?;
        let path = directory.as_path().child(rest).map_err(|_| UnpackError::Whiteout { name: text(name) })?;
        self.mark_deleted(path.as_path())
    }

    fn mark_deleted(&mut self, path: EntryPath<'_>) -> Result<(), UnpackError> {
        self.deleted.insert(path.to_owned());
        match self.here(path)? {
            None => Ok(self.writer.make_whiteout(path)?),
            Some(Here::Directory) => Ok(self.writer.make_opaque(path)?),
            Some(Here::Whiteout | Here::Pending | Here::Other) => Ok(()),
        }
    }

    /// Returns where the directory of a member is, after making what of it is missing.
    fn directory_of(&mut self, written: &EntryPathBuf, name: &[u8]) -> Result<EntryPathBuf, UnpackError> {
        let parent = written.as_path().parent().unwrap_or(EntryPath::ROOT);
        if let Some((last, resolved)) = &self.directory
            && last.as_path() == parent
        {
            return Ok(resolved.clone());
        }
        let resolved = self.writer.resolve(parent.as_bytes(), Follow::All);
        let resolved = resolved.map_err(|source| UnpackError::Resolve { name: text(name), source })?;
        let whole: Vec<EntryPath<'_>> = resolved.as_path().ancestors().chain([resolved.as_path()]).collect();
        for directory in whole {
            match self.writer.here(directory) {
                Some(Here::Directory) => {}
                None | Some(Here::Whiteout) => self.make_directory(directory, &Metadata::IMPLIED_DIRECTORY)?,
                Some(Here::Pending | Here::Other) => {
                    let (path, parent) = (written.to_string(), directory.to_text());
                    return Err(TreeError::ParentNotADirectory { path, parent }.into());
                }
            }
        }
        self.directory = Some((parent.to_owned(), resolved.clone()));
        Ok(resolved)
    }

    fn make_directory(&mut self, path: EntryPath<'_>, metadata: &Metadata<'_>) -> Result<(), UnpackError> {
        self.writer.make_directory(path, metadata)?;
        if self.deleted.contains(&path.to_owned()) {
            self.writer.make_opaque(path)?;
        }
        Ok(())
    }

    /// Says what the layer has at a path. If that is a file that is not written yet, it is being written afterwards.
    fn here(&mut self, path: EntryPath<'_>) -> Result<Option<Here>, UnpackError> {
        let here = self.writer.here(path);
        if here == Some(Here::Pending) {
            self.pool.flush()?;
        }
        Ok(here)
    }

    fn remove(&mut self, path: EntryPath<'_>) -> Result<(), UnpackError> {
        self.pool.flush()?;
        self.directory = None;
        self.writer.remove(path)?;
        Ok(())
    }
}

/// Returns whether a path is what AUFS kept for itself in the root of its layers, before there were other file systems.
fn is_aufs(written: &EntryPathBuf) -> bool {
    let written = written.as_path().as_bytes();
    let rest = written.strip_prefix(WHITEOUT_PREFIX).filter(|_| written != OPAQUE_MARKER);
    rest.is_some_and(|rest| rest.starts_with(WHITEOUT_PREFIX))
}
