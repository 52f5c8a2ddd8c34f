//! What steps take of a directory and what its ignore file hides, for those who ask why a context is as big as it is.
//!
//! **Invariant:** looks at names and attributes; no file is read.

use std::sync::Arc;

use layer::{Kind, Mtime};
use llb::Selection;
use llb::pattern::{Ignore, Verdict};

use super::index::Index;
use super::look::{self, Directory};
use super::scan::Scan;
use super::scope::Scope;
use super::seen::Seen;
use super::walk::Walker;
use super::{Context, KindBuf};
use crate::ExecError;
use crate::executor::select_error;
use crate::select::{self, select};

/// A file that a step takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TakenFile {
    /// Its path in the context.
    pub path: String,
    /// What it is, in a word without blanks.
    pub kind: &'static str,
    /// How long it is; 0 for what is no file.
    pub size_bytes: u64,
}

/// Something that an ignore file hides: a file, or a directory with all that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HiddenFile {
    /// Its path in the context.
    pub path: String,
    /// Whether it is a directory of which nothing is let in.
    pub is_directory: bool,
    /// How many files are hidden.
    pub files: u64,
    /// How long they are together.
    pub size_bytes: u64,
    /// The place of the pattern that hides it.
    pub pattern: usize,
}

impl Context {
    /// Returns the files that a step takes through `selection`, sorted.
    pub fn taken(&self, selection: Option<&Selection>) -> Result<Vec<TakenFile>, ExecError> {
        let mut scope = Scope::of(selection);
        let found = self.survey(&self.ignore, &mut scope)?;
        let scan = Scan::new(self.tree.clone(), found, Arc::default(), None);
        let stack = scan.stack()?;
        let mut taken = Vec::new();
        let mut take = |found: layer::Found<'_>| {
            let Kind::File { size_bytes, .. } = stack.target(&found).entry.kind else {
                let kind = found.entry.kind.name();
                return taken.push(TakenFile { path: text(&found), kind, size_bytes: 0 });
            };
            taken.push(TakenFile { path: text(&found), kind: "file", size_bytes });
        };
        match selection {
            Some(Selection::Copy(copy)) => {
                let selected = select(stack, copy).map_err(|error| select_error(error, "build context", Some(self)))?;
                for named in &selected.matches {
                    if named.is_directory {
                        selected.items(named).for_each(|item| take(item.found));
                    } else if !selected.is_excluded(named)
                        && let Some(found) = stack.lookup(named.path.as_path())
                    {
                        take(found);
                    }
                }
            }
            Some(Selection::Path(path)) => {
                let base =
                    select::path(stack, path).map_err(|error| select_error(error, "build context", Some(self)))?;
                stack.walk(base.as_path()).for_each(&mut take);
            }
            None => stack.walk(layer::EntryPath::ROOT).skip(1).for_each(&mut take),
        }
        taken.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(taken)
    }

    /// Returns what the ignore file hides, sorted.
    pub fn hidden(&self) -> Result<Vec<HiddenFile>, ExecError> {
        if self.ignore.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.survey(&Ignore::default(), &mut Scope::of(None))?;
        Ok(self.hidden_of(&look::all(&found, &Index::default())))
    }

    fn hidden_of(&self, all: &[Seen]) -> Vec<HiddenFile> {
        let mut hidden: Vec<HiddenFile> = Vec::new();
        // The directories that the walk is in, with what the ignore file says of each.
        let mut open: Vec<(&Seen, Verdict)> = Vec::new();
        for seen in all.iter().skip(1) {
            while open.pop_if(|(directory, _)| !seen.path.as_path().is_within(directory.path.as_path())).is_some() {}
            let size_bytes = if let KindBuf::File { size_bytes, .. } = seen.kind { size_bytes } else { 0 };
            let path = String::from_utf8_lossy(seen.path.as_path().as_bytes()).into_owned();
            let is_directory = matches!(seen.kind, KindBuf::Directory { .. });
            if let Some(last) = hidden.last_mut()
                && last.is_directory
                && path.strip_prefix(&last.path).is_some_and(|rest| rest.starts_with('/'))
            {
                last.files += u64::from(!is_directory);
                last.size_bytes += size_bytes;
                continue;
            }
            let verdict = self.ignore.below(open.last().map(|(_, verdict)| *verdict).unwrap_or_default(), &path);
            if is_directory && (!verdict.is_ignored() || self.ignore.can_match_below(verdict, &path)) {
                open.push((seen, verdict));
                continue;
            }
            if let Some(pattern) = verdict.pattern().filter(|_| verdict.is_ignored()) {
                hidden.push(HiddenFile { path, is_directory, files: u64::from(!is_directory), size_bytes, pattern });
            }
        }
        hidden
    }

    fn survey(&self, ignore: &Ignore, scope: &mut Scope) -> Result<Vec<Directory>, ExecError> {
        let began = Mtime { seconds: 0, nanoseconds: 0 };
        let walker = Walker { root: &self.root, tree: &self.tree, ignore, index: &Index::default(), began };
        Ok(walker.walk(scope)?.directories)
    }
}

fn text(found: &layer::Found<'_>) -> String {
    String::from_utf8_lossy(found.entry.path.as_bytes()).into_owned()
}
