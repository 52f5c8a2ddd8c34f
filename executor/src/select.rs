//! What a selection names in a tree: which files, and under which names they are copied and count.
//!
//! The rules are those of `COPY` (specification, section 1.5): a directory stands for what is in it, a symbolic link that is named directly is followed, a wildcard
//! that matches nothing is no error, and a path that does not exist is one.
//!
//! **Invariant:** looks at entries only; what is selected, what is digested and what is copied come from the same iterator.

use std::collections::VecDeque;

use layer::digest::of_selection;
use layer::stack::Walk;
use layer::{EntryPath, EntryPathBuf, Follow, Found, Kind, ResolveError, Stack};
use llb::pattern::{Ignore, go_match, has_wildcards};
use llb::{CopySelection, Selection};
use oci::{Digest, Hasher};

/// The version of what digests of selections are made of.
pub(crate) const VERSION: &[u8] = b"kiln selection 1";

/// Why a selection names nothing.
#[derive(Debug)]
pub(crate) enum SelectError {
    /// A path that is no pattern does not exist.
    NotFound(String),
    /// A path leads nowhere.
    Resolve(ResolveError),
}

/// One thing that a selection names.
#[derive(Clone, Debug)]
pub(crate) struct Match {
    /// Where it is, without symbolic links.
    pub(crate) path: EntryPathBuf,
    /// What it is copied as, where it is not a directory: the last component of the path that named it.
    pub(crate) name: Vec<u8>,
    /// Whether it is a directory, of which only the content is copied.
    pub(crate) is_directory: bool,
}

/// What a selection names in one tree.
pub(crate) struct Selected<'a> {
    stack: &'a Stack,
    /// What is named, sorted.
    pub(crate) matches: Vec<Match>,
    filter: Filter,
}

/// Which files beneath a named directory are meant.
struct Filter {
    /// With `--parents`: the pattern that names them.
    include: Option<Ignore>,
    exclude: Ignore,
}

/// A file beneath a named directory.
#[derive(Clone, Copy)]
pub(crate) struct Item<'a> {
    /// Its path relative to the named directory.
    pub(crate) path: EntryPath<'a>,
    /// What it is.
    pub(crate) found: Found<'a>,
}

/// Returns what one source of a `COPY` names in `stack`.
pub(crate) fn select<'a>(stack: &'a Stack, selection: &CopySelection) -> Result<Selected<'a>, SelectError> {
    let exclude = ignore(selection.exclude.iter().map(String::as_str));
    match selection.parents_pivot {
        Some(pivot) => select_with_parents(stack, selection, pivot, exclude),
        None => {
            let matches = named(stack, &selection.pattern, selection.wildcard)?;
            Ok(Selected { stack, matches, filter: Filter { include: None, exclude } })
        }
    }
}

/// The frontend has checked the patterns, so those that cannot be compiled are of a graph that somebody else made; they match nothing.
fn ignore<'a>(patterns: impl Iterator<Item = &'a str>) -> Ignore {
    Ignore::new(patterns).unwrap_or_default()
}

fn select_with_parents<'a>(
    stack: &'a Stack,
    selection: &CopySelection,
    pivot: usize,
    exclude: Ignore,
) -> Result<Selected<'a>, SelectError> {
    let components: Vec<&str> = selection.pattern.split('/').filter(|part| !part.is_empty()).collect();
    let (base, pattern) = components.split_at(pivot.min(components.len()));
    let (base, pattern) = (base.join("/"), pattern.join("/"));
    let mut bases = named(stack, &base, selection.wildcard)?;
    // What is not a directory has nothing behind a pivot.
    bases.retain(|base| base.is_directory);
    // Nothing behind the pivot is everything beneath it.
    let include = (!pattern.is_empty()).then(|| ignore(std::iter::once(pattern.as_str())));
    let selected = Selected { stack, matches: bases, filter: Filter { include, exclude } };
    let is_literal = !(selection.wildcard && has_wildcards(&selection.pattern));
    if is_literal && selected.matches.iter().all(|base| selected.items(base).next().is_none()) {
        return Err(SelectError::NotFound(format!("/{}", selection.pattern)));
    }
    Ok(selected)
}

/// Returns what a path names, or a pattern with wildcards.
fn named(stack: &Stack, pattern: &str, wildcard: bool) -> Result<Vec<Match>, SelectError> {
    if wildcard && has_wildcards(pattern) {
        return matches(stack, pattern);
    }
    Ok(vec![literal(stack, pattern.as_bytes())?])
}

fn literal(stack: &Stack, pattern: &[u8]) -> Result<Match, SelectError> {
    let resolved = stack.resolve(pattern, Follow::All).map_err(SelectError::Resolve)?;
    let name = pattern.rsplit(|byte| *byte == b'/').find(|name| !name.is_empty()).unwrap_or_default();
    match resolved.found {
        Some(found) => {
            let is_directory = stack.target(&found).entry.kind.is_directory();
            Ok(Match { path: resolved.path, name: name.to_vec(), is_directory })
        }
        // An empty tree has not even a root, and naming the root of it is no mistake.
        None if resolved.path.as_path().is_root() => {
            Ok(Match { path: resolved.path, name: Vec::new(), is_directory: true })
        }
        None => Err(SelectError::NotFound(format!("/{}", String::from_utf8_lossy(pattern)))),
    }
}

/// Returns what a pattern with wildcards names: within the directory that its leading components without wildcards lead to, every path that matches the rest. What
/// is in a directory that matches is not looked at for itself.
fn matches(stack: &Stack, pattern: &str) -> Result<Vec<Match>, SelectError> {
    let components: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    let wild = components.iter().position(|part| has_wildcards(part)).unwrap_or(components.len());
    let base = stack.resolve(components[..wild].join("/").as_bytes(), Follow::All).map_err(SelectError::Resolve)?;
    let mut paths = vec![base.path];
    for (depth, component) in components[wild..].iter().enumerate() {
        let is_last = depth + 1 == components.len() - wild;
        let children = paths.iter().flat_map(|path| stack.read_dir(path.as_path()));
        let matching = children.filter(|found| {
            let name = String::from_utf8_lossy(found.entry.path.name());
            (is_last || found.entry.kind.is_directory()) && go_match(component, &name).unwrap_or(false)
        });
        paths = matching.map(|found| found.entry.path.to_owned()).collect();
    }
    let named = paths.into_iter().map(|path| {
        let name = path.as_path().name().to_vec();
        literal(stack, path.as_path().as_bytes()).map(|found| Match { name, ..found })
    });
    named.collect()
}

impl<'a> Selected<'a> {
    /// Returns the files beneath a named directory, sorted, each directory before what is in it; the directory itself is not among them.
    pub(crate) fn items<'s>(&'s self, named: &'s Match) -> Items<'a, 's> {
        let mut walk = self.stack.walk(named.path.as_path());
        // The directory itself is not beneath it.
        let _ = walk.next();
        let (base, filter) = (named.path.as_path(), &self.filter);
        Items { base, filter, walk, pending: Vec::new(), ready: VecDeque::new() }
    }

    /// Tells whether a file that was named itself is left out.
    pub(crate) fn is_excluded(&self, named: &Match) -> bool {
        !self.filter.exclude.is_empty() && self.filter.exclude.is_ignored(&String::from_utf8_lossy(&named.name))
    }

    /// Returns the digest of what is named, with the names that count: that of a file, and of what is in a directory, but not that of the directory.
    pub(crate) fn digest(&self) -> Digest {
        let mut hasher = Hasher::new();
        hasher.field(VERSION);
        for named in &self.matches {
            let digest = if named.is_directory {
                of_selection(self.stack, self.items(named).map(|item| (item.path, item.found)))
            } else if self.is_excluded(named) {
                continue;
            } else {
                self.file_digest(named)
            };
            hasher.field(if named.is_directory { b"directory" } else { b"file" });
            hasher.field(digest.as_bytes());
        }
        hasher.finish()
    }

    fn file_digest(&self, named: &Match) -> Digest {
        let name = EntryPath::ROOT.child(&named.name).unwrap_or_else(|_| named.path.clone());
        let found = self.stack.lookup(named.path.as_path());
        of_selection(self.stack, found.into_iter().map(|found| (name.as_path(), found)))
    }
}

/// What a selection names beneath a directory, sorted by path.
pub(crate) struct Items<'a, 's> {
    base: EntryPath<'s>,
    filter: &'s Filter,
    walk: Walk<'a>,
    /// The directories above that are not meant for themselves.
    pending: Vec<Item<'a>>,
    /// What comes next.
    ready: VecDeque<Item<'a>>,
}

impl<'a> Iterator for Items<'a, '_> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        while self.ready.is_empty() {
            let found = self.walk.next()?;
            let path = found.entry.path.relative_to(self.base).unwrap_or(EntryPath::ROOT);
            self.pending.retain(|above| path.is_within(above.path));
            let item = Item { path, found };
            match self.filter.lets_in(&item) {
                true if self.pending.is_empty() => return Some(item),
                // The directories above that were not meant for themselves are needed now.
                true => self.ready.extend(self.pending.drain(..).chain([item])),
                false if found.entry.kind.is_directory() => self.pending.push(item),
                false => {}
            }
        }
        self.ready.pop_front()
    }
}

impl Filter {
    fn lets_in(&self, item: &Item<'_>) -> bool {
        if self.include.is_none() && self.exclude.is_empty() {
            return true;
        }
        let path = String::from_utf8_lossy(item.path.as_bytes());
        self.include.as_ref().is_none_or(|include| include.is_ignored(&path)) && !self.exclude.is_ignored(&path)
    }
}

/// Returns how long the files are together that a selection names by their directories.
pub(crate) fn bytes_in_directories(stack: &Stack, selection: &CopySelection) -> u64 {
    let Ok(selected) = select(stack, selection) else { return 0 };
    let directories = selected.matches.iter().filter(|named| named.is_directory);
    let files = directories.flat_map(|named| selected.items(named));
    let size_of = |item: Item<'_>| match item.found.entry.kind {
        Kind::File { size_bytes, .. } => size_bytes,
        _ => 0,
    };
    files.map(size_of).sum()
}

/// Returns where the file or directory that `RUN --mount` names is.
pub(crate) fn path(stack: &Stack, path: &str) -> Result<EntryPathBuf, SelectError> {
    Ok(literal(stack, path.as_bytes())?.path)
}

/// Returns what stands for the [`digest`] of `selection` in a stack whose layers have the digest `whole`: equal keys have equal digests.
pub(crate) fn digest_key(whole: &Digest, selection: &Selection) -> Digest {
    let mut hasher = Hasher::new();
    hasher.field(VERSION);
    hasher.field(layer::digest::VERSION);
    hasher.field(whole.as_bytes());
    hasher.field(selection.digest().as_bytes());
    hasher.finish()
}

/// Returns the digest of what a step sees of a stack through `selection`.
pub(crate) fn digest(stack: &Stack, selection: &Selection) -> Result<Digest, SelectError> {
    match selection {
        Selection::Copy(copy) => Ok(select(stack, copy)?.digest()),
        Selection::Path(path) => {
            let base = self::path(stack, path)?;
            let base = base.as_path();
            let relative = stack.walk(base).map(|it| (it.entry.path.relative_to(base).unwrap_or(EntryPath::ROOT), it));
            Ok(of_selection(stack, relative))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_what_is_selected_and_of_what() {
        let copy = |pattern: &str| Selection::Copy(CopySelection { pattern: pattern.to_owned(), ..Default::default() });
        let keys =
            [("one", copy("a")), ("one", copy("b")), ("two", copy("a")), ("one", Selection::Path("a".to_owned()))]
                .map(|(whole, selection)| digest_key(&Digest::of(whole.as_bytes()), &selection));
        assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), keys.len());
        assert_eq!(keys[0], digest_key(&Digest::of(b"one"), &copy("a")));
    }
}
