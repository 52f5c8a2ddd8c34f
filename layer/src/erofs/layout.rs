//! Where everything goes: the first of two passes over the entries. It finds a place for each inode and its data, so that the second can write.

use std::collections::BTreeMap;

use super::directory;
use super::format::{CHUNK_BYTES, Chunks, DataLayout, INODE_ALIGN, INODE_BYTES};
use super::write::BlockSize;
use super::xattr;
use crate::entries::Entries;
use crate::entry::{Entry, Kind};
use crate::path::text;
use crate::tree::LostXattrs;

/// Where the inodes are and the blocks of data behind them.
pub(super) struct Layout {
    /// The node id of each entry that has an inode of its own; 0 else.
    nodes: Vec<u64>,
    /// The inode that all deletions share; 0 if there are none.
    pub(super) whiteout: u64,
    /// How many deletions there are.
    pub(super) whiteouts: u32,
    /// How many names files have that have more than one.
    pub(super) links: BTreeMap<usize, u32>,
    /// How many inodes there are.
    pub(super) inodes: u64,
    /// The first block behind the inodes: there are the data that do not stand behind an inode, in the order of the entries.
    pub(super) first_data_block: u64,
    /// How many blocks there are in all.
    pub(super) blocks: u64,
    /// Attributes that there is no room for.
    pub(super) lost_xattrs: LostXattrs,
}

/// How the data of an entry is kept: all that its inode says of it but where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) layout: DataLayout,
    pub(super) size_bytes: u64,
    /// How many bytes stand behind the inode and its attributes.
    pub(super) inline_bytes: u64,
    /// How many blocks stand behind all inodes.
    pub(super) blocks: u64,
}

impl Shape {
    const NOTHING: Self = Self { layout: DataLayout::Plain, size_bytes: 0, inline_bytes: 0, blocks: 0 };

    /// Returns the shape of the data of an entry whose inode and attributes take `head_bytes`.
    pub(super) fn of(entries: &Entries, index: usize, head_bytes: u64, block: BlockSize) -> Self {
        match entries.kind(index) {
            Kind::File { size_bytes: 0, .. } => Self::NOTHING,
            Kind::File { size_bytes, .. } => {
                // Chunks stand at multiples of their own length.
                let padding = head_bytes.next_multiple_of(CHUNK_BYTES) - head_bytes;
                let inline_bytes = padding + Chunks::of(block.blocks(size_bytes)).count * CHUNK_BYTES;
                Self { layout: DataLayout::Chunks, size_bytes, inline_bytes, blocks: 0 }
            }
            Kind::Symlink { target } => Self::flat(target.len() as u64, head_bytes, block),
            Kind::Directory { .. } => {
                let names = names(entries, index).map(|(name, _)| name.len());
                Self::flat(directory::size_bytes(names, block.bytes() as usize), head_bytes, block)
            }
            _ => Self::NOTHING,
        }
    }

    /// Whole blocks stand behind all inodes, the rest behind its own, if there is room in one block for both.
    fn flat(size_bytes: u64, head_bytes: u64, block: BlockSize) -> Self {
        let rest = size_bytes % block.bytes();
        if rest == 0 || head_bytes + rest > block.bytes() {
            return Self { layout: DataLayout::Plain, size_bytes, inline_bytes: 0, blocks: block.blocks(size_bytes) };
        }
        let blocks = size_bytes / block.bytes();
        Self { layout: DataLayout::Inline, size_bytes, inline_bytes: rest, blocks }
    }
}

impl Layout {
    /// Places the inodes of all entries from byte `start` on.
    pub(super) fn plan(entries: &Entries, start: u64, block: BlockSize) -> Self {
        let mut layout = Self {
            nodes: vec![0; entries.count()],
            whiteout: 0,
            whiteouts: 0,
            links: BTreeMap::new(),
            inodes: 0,
            first_data_block: 0,
            blocks: 0,
            lost_xattrs: LostXattrs::default(),
        };
        let (mut at, mut data_blocks, mut xattrs) = (start, 0, Vec::new());
        for index in 0..entries.count() {
            let entry = entries.entry(index);
            match entry.kind {
                Kind::HardLink { .. } => {
                    *layout.links.entry(entries.target(index)).or_insert(1) += 1;
                    continue;
                }
                Kind::Whiteout => {
                    layout.whiteouts += 1;
                    if layout.whiteouts > 1 {
                        continue;
                    }
                }
                _ => {}
            }
            xattr::encode(&entry, &mut xattrs, |name| layout.lose(&entry, name));
            let head_bytes = INODE_BYTES + xattrs.len() as u64;
            let shape = Shape::of(entries, index, head_bytes, block);
            at = place(at, head_bytes, &shape, block);
            layout.nodes[index] = at / INODE_ALIGN;
            if entry.kind == Kind::Whiteout {
                layout.whiteout = at / INODE_ALIGN;
            }
            at += head_bytes + shape.inline_bytes;
            data_blocks += shape.blocks;
            layout.inodes += 1;
        }
        layout.first_data_block = block.blocks(at);
        layout.blocks = layout.first_data_block + data_blocks;
        layout
    }

    fn lose(&mut self, entry: &Entry<'_>, name: &[u8]) {
        self.lost_xattrs.count += 1;
        self.lost_xattrs.first.get_or_insert_with(|| (entry.path.to_text(), text(name)));
    }

    /// Returns the node id of an entry; `None` if it has no inode of its own.
    pub(super) fn own_node(&self, index: usize) -> Option<u64> {
        Some(self.nodes[index]).filter(|node| *node != 0)
    }

    /// Returns the node id that the name of an entry leads to.
    pub(super) fn node(&self, entries: &Entries, index: usize) -> u64 {
        if entries.is_whiteout(index) { self.whiteout } else { self.nodes[entries.target(index)] }
    }
}

/// Returns where an inode goes: data behind it must not reach into another block than it begins in.
fn place(at: u64, head_bytes: u64, shape: &Shape, block: BlockSize) -> u64 {
    let at = at.next_multiple_of(INODE_ALIGN);
    let data = (at + head_bytes) % block.bytes();
    let fits = shape.layout != DataLayout::Inline || (data != 0 && data + shape.inline_bytes <= block.bytes());
    if fits { at } else { at.next_multiple_of(block.bytes()) }
}

/// Returns the names in a directory as the format sorts them, by their bytes, each with the entry that it names.
pub(super) fn names(entries: &Entries, directory: usize) -> impl Iterator<Item = (&[u8], usize)> {
    let mut dots = [(b".".as_slice(), directory), (b"..".as_slice(), entries.parent(directory))].into_iter().peekable();
    let mut children = entries.children(directory).map(|child| (entries.path(child).name(), child)).peekable();
    std::iter::from_fn(move || match (dots.peek(), children.peek()) {
        (Some((dot, _)), Some((name, _))) if name < dot => children.next(),
        (Some(_), _) => dots.next(),
        (None, _) => children.next(),
    })
}
