//! What a step saw of a build context, file by file, for those who explain why it ran again.

use std::borrow::Cow;

use layer::{Entry, Kind};
use llb::{Selection, VertexId};
use oci::Digest;

use crate::Executor;
use crate::select::select;

/// A file of a build context, as far as it counts for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenFile<'a> {
    /// Its path in the context, without a slash in front.
    pub path: Cow<'a, str>,
    /// What it is, in a word without blanks.
    pub kind: &'static str,
    /// Its permission bits.
    pub mode: u16,
    /// Stands for its bytes, or for where a link leads, if it has some: the beginning of a hash.
    pub content: Option<u64>,
}

impl Executor<'_> {
    /// Hands the files that a step saw of a local source through `selection` to `take`; tells whether anything looked at it.
    pub fn seen_files(
        &self,
        source: VertexId,
        selection: Option<&Selection>,
        take: &mut dyn FnMut(SeenFile<'_>),
    ) -> bool {
        let Some(stack) = self.seen(source, selection) else { return false };
        let mut add = |entry: &Entry<'_>| {
            if !entry.path.is_root() {
                take(seen_file(entry));
            }
        };
        match selection {
            Some(Selection::Copy(copy)) => {
                let Ok(selected) = select(&stack, copy) else { return false };
                for named in &selected.matches {
                    if named.is_directory {
                        selected.items(named).for_each(|item| add(&item.found.entry));
                    } else if let Some(found) = stack.lookup(named.path.as_path()) {
                        add(&found.entry);
                    }
                }
            }
            Some(Selection::Path(_)) | None => {
                stack.walk(layer::EntryPath::ROOT).for_each(|found| add(&found.entry));
            }
        }
        true
    }
}

fn seen_file<'a>(entry: &Entry<'a>) -> SeenFile<'a> {
    let (kind, content) = match entry.kind {
        Kind::File { content, .. } => ("file", Some(content.0)),
        Kind::HardLink { target } => ("link", Some(*Digest::of(target.as_bytes()).as_bytes())),
        Kind::Symlink { target } => ("symlink", Some(*Digest::of(target).as_bytes())),
        Kind::Directory { .. } => ("directory", None),
        Kind::CharDevice(_) | Kind::BlockDevice(_) => ("device", None),
        Kind::Fifo => ("fifo", None),
        Kind::Whiteout => ("whiteout", None),
    };
    let content = content.and_then(|hash| hash.first_chunk().copied()).map(u64::from_be_bytes);
    SeenFile { path: String::from_utf8_lossy(entry.path.as_bytes()), kind, mode: entry.metadata.mode, content }
}
