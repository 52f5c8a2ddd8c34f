//! The upper directory of an overlay, as a `RUN` leaves it, as the entries of a layer.
//!
//! What a layer lists is what changed, and nothing that only looks changed:
//!
//! - a directory that the overlay marked opaque becomes whiteouts of what lies beneath and was not made again, at every depth; so does a socket,
//!   which no layer has, where something lies beneath;
//! - a whiteout of what does not exist beneath is dropped;
//! - a file that was brought up and is what it was, its time included, is dropped (`chmod -R` brings up every file that it need not change);
//! - a directory whose owner, mode and attributes are what they were is dropped, unless something in it changed. Its time does not count: making and
//!   removing a file in `/tmp` is no change. BuildKit decides in the same way.
//!
//! The directory itself is not touched, it can be mounted as it is; both views differ at most in times of directories that are not listed.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use crate::entries::{Entries, EntriesBuilder};
use crate::entry::{EntryBuf, KindBuf, Metadata, MetadataBuf};
use crate::path::EntryPath;
use crate::stack::{Found, Stack};
use crate::tree::{Attributes, ScanError, Scanned, ScannedKind, Tree, TreeError, survey};

/// Gives an empty upper directory the owner, mode, time and attributes of the root beneath, which it would hide otherwise.
pub fn prepare(root: OwnedFd, below: &Stack) -> Result<Tree, TreeError> {
    let tree = Tree::new(root);
    let attributes = Attributes::prepare(&tree).map_err(|source| TreeError::Root { source })?;
    let metadata = below.lookup(EntryPath::ROOT).map_or(Metadata::IMPLIED_DIRECTORY, |root| root.entry.metadata);
    attributes.finish_directory(&tree, EntryPath::ROOT, &metadata, false)?;
    Ok(tree)
}

/// Returns what changed in an upper directory over the layers `below`. Nothing may write to it meanwhile.
pub fn scan(tree: &Tree, below: &Stack) -> Result<Entries, ScanError> {
    let scanned = survey(tree)?;
    let mut changes = Changes::new(below, &scanned);
    scanned.iter().for_each(|file| changes.visit(file));
    changes.close_outside(None);
    let mut builder = EntriesBuilder::new();
    changes.list.iter().try_for_each(|change| builder.push(&change.as_entry()))?;
    Ok(builder.finish()?)
}

/// The decisions so far, on the way through the sorted files.
struct Changes<'a> {
    below: &'a Stack,
    scanned: &'a [Scanned],
    /// Files that have further paths.
    linked: BTreeSet<EntryPath<'a>>,
    /// The directories that the current file is in, the root first.
    open: Vec<Open<'a>>,
    list: Vec<EntryBuf>,
}

/// A directory whose files are being visited.
struct Open<'a> {
    path: EntryPath<'a>,
    metadata: &'a MetadataBuf,
    /// The directory beneath, if there is one.
    below: Option<Found<'a>>,
    /// Whether it, or one above, hides what is in the directory beneath.
    is_opaque: bool,
    /// Whether something in it is a change.
    has_changes: bool,
}

impl<'a> Changes<'a> {
    fn new(below: &'a Stack, scanned: &'a [Scanned]) -> Self {
        let targets = scanned.iter().filter_map(|file| match &file.kind {
            ScannedKind::Entry(KindBuf::HardLink { target }) => Some(target.as_path()),
            _ => None,
        });
        Self { below, scanned, linked: targets.collect(), open: Vec::new(), list: Vec::new() }
    }

    fn visit(&mut self, file: &'a Scanned) {
        let path = file.path.as_path();
        self.close_outside(Some(path));
        let (is_opaque, may_be_below) =
            self.open.last().map_or((false, true), |open| (open.is_opaque, open.below.is_some()));
        let below = if may_be_below { self.below.lookup(path) } else { None };
        match &file.kind {
            ScannedKind::Entry(KindBuf::Directory { opaque }) => self.open.push(Open {
                path,
                metadata: &file.metadata,
                below: below.filter(|found| found.entry.kind.is_directory()),
                is_opaque: is_opaque || *opaque,
                has_changes: false,
            }),
            ScannedKind::Entry(KindBuf::Whiteout) | ScannedKind::Socket => {
                if below.is_some() {
                    self.add(path, KindBuf::Whiteout, MetadataBuf::default());
                }
            }
            ScannedKind::Entry(kind) => {
                if !below.is_some_and(|found| self.is_unchanged(file, kind, &found)) {
                    self.add(path, kind.clone(), file.metadata.clone());
                }
            }
        }
    }

    /// Returns whether a file is what lies beneath, its time included. One with several paths never is: beneath they may be separate files.
    fn is_unchanged(&self, file: &Scanned, kind: &KindBuf, found: &Found<'a>) -> bool {
        let below = self.below.target(found).entry;
        let is_linked = matches!(kind, KindBuf::HardLink { .. }) || self.linked.contains(&file.path.as_path());
        !is_linked && below.kind == kind.as_kind() && below.metadata == file.metadata.as_metadata()
    }

    fn add(&mut self, path: EntryPath<'_>, kind: KindBuf, metadata: MetadataBuf) {
        self.list.push(EntryBuf { path: path.to_owned(), kind, metadata });
        if let Some(open) = self.open.last_mut() {
            open.has_changes = true;
        }
    }

    /// Ends the directories that `path` is not in; `None` ends all.
    fn close_outside(&mut self, path: Option<EntryPath<'_>>) {
        while let Some(open) = self.open.pop_if(|open| path.is_none_or(|path| !path.is_within(open.path))) {
            self.close(open);
        }
    }

    fn close(&mut self, open: Open<'a>) {
        let Open { path, metadata, below, is_opaque, mut has_changes } = open;
        if is_opaque && below.is_some() {
            for child in self.below.read_dir(path) {
                let path = child.entry.path;
                if self.scanned.binary_search_by(|file| file.path.as_path().cmp(&path)).is_err() {
                    let (kind, metadata) = (KindBuf::Whiteout, MetadataBuf::default());
                    self.list.push(EntryBuf { path: path.to_owned(), kind, metadata });
                    has_changes = true;
                }
            }
        }
        let is_same = below.is_some_and(|below| below.entry.metadata.equal_but_for_time(&metadata.as_metadata()));
        if has_changes || !is_same || path.is_root() {
            self.add(path, KindBuf::Directory { opaque: false }, metadata.clone());
        }
    }
}
