//! What a step saw of a build context, file by file, for those who explain why it ran again.

use std::collections::BTreeMap;

use layer::{Entry, Kind};
use llb::{Selection, VertexId};
use oci::Digest;

use crate::Executor;
use crate::select::select;

/// A file of a build context, as far as it counts for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenFile {
    /// What it is, in a word without blanks.
    pub kind: &'static str,
    /// Its permission bits.
    pub mode: u16,
    /// Stands for its bytes, or for where a link leads; 16 hexadecimal digits.
    pub content: String,
}

/// How many hexadecimal digits stand for a file's content.
const CONTENT_DIGITS: usize = 16;

impl Executor<'_> {
    /// Returns the files that a step saw of a local source through `selection`, by their paths; `None` where nothing looked at it.
    pub fn seen_files(&self, source: VertexId, selection: Option<&Selection>) -> Option<BTreeMap<String, SeenFile>> {
        let stack = self.seen(source, selection)?;
        let mut files = BTreeMap::new();
        let mut add = |entry: &Entry<'_>| {
            if !entry.path.is_root() {
                files.insert(String::from_utf8_lossy(entry.path.as_bytes()).into_owned(), seen_file(entry));
            }
        };
        match selection {
            Some(Selection::Copy(copy)) => {
                let selected = select(&stack, copy).ok()?;
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
        Some(files)
    }
}

fn seen_file(entry: &Entry<'_>) -> SeenFile {
    let (kind, content) = match entry.kind {
        Kind::File { content, .. } => ("file", content.to_string()),
        Kind::HardLink { target } => ("link", Digest::of(target.as_bytes()).hex()),
        Kind::Symlink { target } => ("symlink", Digest::of(target).hex()),
        Kind::Directory { .. } => ("directory", String::new()),
        Kind::CharDevice(_) | Kind::BlockDevice(_) => ("device", String::new()),
        Kind::Fifo => ("fifo", String::new()),
        Kind::Whiteout => ("whiteout", String::new()),
    };
    let content = content.get(..CONTENT_DIGITS).unwrap_or("-").to_owned();
    SeenFile { kind, mode: entry.metadata.mode, content }
}
