//! Writing an index: the second pass, which only writes forward.

use std::io::{self, BufWriter, Write};

use super::directory::{self, Name};
use super::extent::{Extent, ExtentList};
use super::format::{
    CHUNK_BYTES, Chunks, DataLayout, FileType, INODE_ALIGN, INODE_BYTES, Inode, SLOT_BYTES, SUPERBLOCK_OFFSET,
    Superblock, device_number, encode_chunk, encode_device,
};
use super::layout::{Layout, Shape, names};
use super::xattr;
use crate::entries::Entries;
use crate::entry::{Device, Entry, Kind};
use crate::tree::LostXattrs;

/// The most packs that one index points into.
pub const PACKS_MAX: usize = 64;

/// The unit in which an index counts, and to which the bytes of files in its packs are aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockSize {
    /// 512 bytes, which waste little; for kernels from 6.4 on.
    Bytes512,
    /// 4096 bytes, for all kernels and tools.
    Bytes4096,
}

impl BlockSize {
    pub(super) fn bits(self) -> u8 {
        match self {
            Self::Bytes512 => 9,
            Self::Bytes4096 => 12,
        }
    }

    pub(super) fn bytes(self) -> u64 {
        1 << self.bits()
    }

    /// Returns how many blocks hold so many bytes.
    pub(super) fn blocks(self, bytes: u64) -> u64 {
        bytes.div_ceil(self.bytes())
    }
}

/// An index that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenIndex {
    /// How long it is.
    pub size_bytes: u64,
    /// Attributes that the format has no room for: the layer's entries have them, but steps do not see them.
    pub lost_xattrs: LostXattrs,
}

/// Why an index cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// What it is written to failed.
    #[error("cannot write the index of a layer")]
    Output {
        /// Why.
        source: io::Error,
    },
    /// A file is where no pack is, or not at the start of a block.
    #[error("bug: the index of a layer cannot say where `{path}` is")]
    Extent {
        /// The file.
        path: String,
    },
    /// There are more packs than an index can name.
    #[error("bug: a layer lies in {count} packs, it can lie in at most {PACKS_MAX}")]
    Packs {
        /// How many.
        count: usize,
    },
    /// The addresses of the format have 32 bits.
    #[error("a layer is too large: its files, or the list of them, take more than {bytes_max} bytes")]
    TooLarge {
        /// The most that it can take.
        bytes_max: u64,
    },
}

/// Writes the index of `entries`, whose files lie in packs of these lengths at `extents`.
///
/// The lengths of the packs are those that the packs have, or will have, when the index is mounted.
pub fn write_index(
    entries: &Entries,
    extents: &ExtentList,
    packs_bytes: &[u64],
    block: BlockSize,
    out: impl Write,
) -> Result<WrittenIndex, IndexError> {
    if packs_bytes.len() > PACKS_MAX {
        return Err(IndexError::Packs { count: packs_bytes.len() });
    }
    let start = SUPERBLOCK_OFFSET + SLOT_BYTES * (1 + packs_bytes.len() as u64);
    let layout = Layout::plan(entries, start, block);
    let writer = Writer { entries, extents, packs_bytes, block, layout: &layout, out: Positioned::new(out) };
    let size_bytes = writer.write()?;
    Ok(WrittenIndex { size_bytes, lost_xattrs: layout.lost_xattrs })
}

struct Writer<'a, W: Write> {
    entries: &'a Entries,
    extents: &'a ExtentList,
    packs_bytes: &'a [u64],
    block: BlockSize,
    layout: &'a Layout,
    out: Positioned<W>,
}

impl<W: Write> Writer<'_, W> {
    fn write(mut self) -> Result<u64, IndexError> {
        self.write_superblock()?;
        self.write_inodes()?;
        self.write_data()?;
        self.out.pad_to(self.layout.blocks * self.block.bytes())?;
        self.out.finish()
    }

    fn write_superblock(&mut self) -> Result<(), IndexError> {
        let superblock = Superblock {
            block_bits: self.block.bits(),
            inodes: self.layout.inodes,
            blocks: self.address(self.layout.blocks)?,
            root: self.layout.node(self.entries, 0) as u16,
            devices: self.packs_bytes.len() as u16,
        };
        self.out.pad_to(SUPERBLOCK_OFFSET)?;
        self.out.write(&superblock.encode())?;
        for bytes in self.packs_bytes {
            let blocks = self.address(self.block.blocks(*bytes))?;
            self.out.write(&encode_device(blocks))?;
        }
        Ok(())
    }

    fn write_inodes(&mut self) -> Result<(), IndexError> {
        let (mut next_block, mut number) = (self.layout.first_data_block, 0);
        let (mut xattrs, mut content) = (Vec::new(), Vec::new());
        for index in 0..self.entries.count() {
            let Some(node) = self.layout.own_node(index) else { continue };
            let entry = self.entries.entry(index);
            xattr::encode(&entry, &mut xattrs, |_| {});
            let head_bytes = INODE_BYTES + xattrs.len() as u64;
            let shape = Shape::of(self.entries, index, head_bytes, self.block);
            let start = match entry.kind {
                Kind::CharDevice(device) | Kind::BlockDevice(device) => device_number(device),
                Kind::File { size_bytes, .. } if size_bytes > 0 => Chunks::of(self.block.blocks(size_bytes)).format(),
                _ => self.address(next_block)?,
            };
            number += 1;
            let inode = self.inode(index, &entry, &shape, start, number, xattrs.len() as u64);
            self.out.pad_to(node * INODE_ALIGN)?;
            self.out.write(&inode.encode())?;
            self.out.write(&xattrs)?;
            match shape.layout {
                DataLayout::Plain => {}
                DataLayout::Inline => {
                    self.content(index, &mut content);
                    self.out.write(&content[content.len() - shape.inline_bytes as usize..])?;
                }
                DataLayout::Chunks => self.write_chunks(index, &entry, shape.size_bytes)?,
            }
            next_block += shape.blocks;
        }
        Ok(())
    }

    fn inode(
        &self,
        index: usize,
        entry: &Entry<'_>,
        shape: &Shape,
        start: u32,
        number: u32,
        xattr_bytes: u64,
    ) -> Inode {
        let metadata = entry.metadata;
        let links = match entry.kind {
            Kind::Whiteout => self.layout.whiteouts,
            Kind::Directory { .. } => {
                let is_directory = |child: &usize| self.entries.is_directory(*child);
                2 + self.entries.children(index).filter(is_directory).count() as u32
            }
            _ => self.layout.links.get(&index).copied().unwrap_or(1),
        };
        Inode {
            layout: shape.layout,
            file_type: file_type(entry.kind),
            mode: metadata.mode,
            size_bytes: shape.size_bytes,
            start: if entry.kind == Kind::Whiteout { device_number(WHITEOUT) } else { start },
            number,
            uid: metadata.uid,
            gid: metadata.gid,
            mtime: metadata.mtime,
            links,
            xattr_bytes,
        }
    }

    fn write_chunks(&mut self, index: usize, entry: &Entry<'_>, size_bytes: u64) -> Result<(), IndexError> {
        let unknown = || IndexError::Extent { path: entry.path.to_text() };
        let Extent { pack, offset } = self.extents.get(index).ok_or_else(unknown)?;
        let pack_bytes = *self.packs_bytes.get(usize::from(pack)).ok_or_else(unknown)?;
        let is_inside = offset.checked_add(size_bytes).is_some_and(|end| end <= pack_bytes);
        if !is_inside || !offset.is_multiple_of(self.block.bytes()) {
            return Err(unknown());
        }
        self.out.pad_to(self.out.position.next_multiple_of(CHUNK_BYTES))?;
        let chunks = Chunks::of(self.block.blocks(size_bytes));
        for chunk in 0..chunks.count {
            let block = self.address(offset / self.block.bytes() + chunk * chunks.blocks_each)?;
            self.out.write(&encode_chunk(pack + 1, block))?;
        }
        Ok(())
    }

    /// Writes the data that do not stand behind an inode.
    fn write_data(&mut self) -> Result<(), IndexError> {
        let (mut xattrs, mut content) = (Vec::new(), Vec::new());
        self.out.pad_to(self.layout.first_data_block * self.block.bytes())?;
        for index in 0..self.entries.count() {
            if !matches!(self.entries.kind(index), Kind::Directory { .. } | Kind::Symlink { .. }) {
                continue;
            }
            let entry = self.entries.entry(index);
            xattr::encode(&entry, &mut xattrs, |_| {});
            let shape = Shape::of(self.entries, index, INODE_BYTES + xattrs.len() as u64, self.block);
            if shape.blocks > 0 {
                self.content(index, &mut content);
                content.truncate((shape.blocks * self.block.bytes()) as usize);
                self.out.write(&content)?;
                self.out.pad_to(self.out.position.next_multiple_of(self.block.bytes()))?;
            }
        }
        Ok(())
    }

    /// Puts what a directory or a link holds into `out`.
    fn content(&self, index: usize, out: &mut Vec<u8>) {
        match self.entries.kind(index) {
            Kind::Directory { .. } => {
                let named = |(name, entry)| Name {
                    name,
                    node: self.layout.node(self.entries, entry),
                    file_type: file_type(self.entries.kind(self.entries.target(entry))),
                };
                let names: Vec<Name<'_>> = names(self.entries, index).map(named).collect();
                directory::encode(&names, self.block.bytes() as usize, out);
            }
            Kind::Symlink { target } => {
                out.clear();
                out.extend_from_slice(target);
            }
            _ => out.clear(),
        }
    }

    /// Returns a number of blocks as the format has it.
    fn address(&self, blocks: u64) -> Result<u32, IndexError> {
        // The last number means a hole.
        let address = u32::try_from(blocks).ok().filter(|address| *address != u32::MAX);
        address.ok_or(IndexError::TooLarge { bytes_max: u64::from(u32::MAX) * self.block.bytes() })
    }
}

/// The device whose node stands for a deletion.
const WHITEOUT: Device = Device { major: 0, minor: 0 };

fn file_type(kind: Kind<'_>) -> FileType {
    match kind {
        Kind::Directory { .. } => FileType::Directory,
        Kind::File { .. } | Kind::HardLink { .. } => FileType::Regular,
        Kind::Symlink { .. } => FileType::Symlink,
        Kind::CharDevice(_) | Kind::Whiteout => FileType::CharDevice,
        Kind::BlockDevice(_) => FileType::BlockDevice,
        Kind::Fifo => FileType::Fifo,
    }
}

/// A stream that knows how far it is.
struct Positioned<W: Write> {
    out: BufWriter<W>,
    position: u64,
}

impl<W: Write> Positioned<W> {
    fn new(out: W) -> Self {
        Self { out: BufWriter::with_capacity(256 << 10, out), position: 0 }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), IndexError> {
        self.position += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|source| IndexError::Output { source })
    }

    /// Writes zeros up to `position`, which is not behind.
    fn pad_to(&mut self, position: u64) -> Result<(), IndexError> {
        while self.position < position {
            let count = (position - self.position).min(SLOT_BYTES);
            self.write(&[0; SLOT_BYTES as usize][..count as usize])?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<u64, IndexError> {
        self.out.flush().map_err(|source| IndexError::Output { source })?;
        Ok(self.position)
    }
}
