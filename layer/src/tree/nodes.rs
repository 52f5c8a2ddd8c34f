//! What a tree that is being written holds so far, in memory: about 300 bytes for each file, and its path.
//!
//! **Invariant:** no system call; and a hard link always leads to a node that is there, is no directory, and is no link itself.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::entry::{KindBuf, MetadataBuf};
use crate::erofs::Extent;
use crate::path::{EntryPath, EntryPathBuf};

/// What was put at a path.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) state: State,
    pub(super) metadata: MetadataBuf,
    /// Where the bytes of a file are, if they are in a pack.
    pub(super) extent: Extent,
}

impl Node {
    /// A node without bytes in a pack.
    pub(super) fn new(state: State, metadata: MetadataBuf) -> Self {
        Self { state, metadata, extent: Extent::default() }
    }
}

#[derive(Clone, Debug)]
pub(super) enum State {
    /// A file whose bytes are being written by someone.
    Pending,
    /// A directory; `merges` says whether there is one beneath too, so that what lies beneath in it can be seen.
    Directory { opaque: bool, merges: bool },
    /// Anything else.
    Leaf(KindBuf),
}

impl State {
    pub(super) fn kind(&self) -> Option<KindBuf> {
        match self {
            Self::Pending => None,
            Self::Directory { opaque, .. } => Some(KindBuf::Directory { opaque: *opaque }),
            Self::Leaf(kind) => Some(kind.clone()),
        }
    }

    pub(super) fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }

    pub(super) fn is_whiteout(&self) -> bool {
        matches!(self, Self::Leaf(KindBuf::Whiteout))
    }

    /// Returns what users call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Pending => "file",
            Self::Directory { .. } => "directory",
            Self::Leaf(kind) => kind.as_kind().name(),
        }
    }
}

/// All nodes by path.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    by_path: BTreeMap<EntryPathBuf, Node>,
    /// The paths of the hard links to a path.
    links: BTreeMap<EntryPathBuf, BTreeSet<EntryPathBuf>>,
}

/// What nodes are looked up by: a path, whoever owns it.
trait Key {
    fn path(&self) -> EntryPath<'_>;
}

impl Key for EntryPathBuf {
    fn path(&self) -> EntryPath<'_> {
        self.as_path()
    }
}

impl Key for EntryPath<'_> {
    fn path(&self) -> EntryPath<'_> {
        *self
    }
}

impl<'a> Borrow<dyn Key + 'a> for EntryPathBuf {
    fn borrow(&self) -> &(dyn Key + 'a) {
        self
    }
}

impl Ord for dyn Key + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.path().cmp(&other.path())
    }
}

impl PartialOrd for dyn Key + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Key + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.path() == other.path()
    }
}

impl Eq for dyn Key + '_ {}

impl Nodes {
    pub(super) fn get(&self, path: EntryPath<'_>) -> Option<&Node> {
        // Files come sorted: most that are looked for are behind all there is.
        if self.by_path.last_key_value().is_none_or(|(last, _)| last.as_path() < path) {
            return None;
        }
        self.by_path.get::<dyn Key>(&path)
    }

    pub(super) fn get_mut(&mut self, path: EntryPath<'_>) -> Option<&mut Node> {
        self.by_path.get_mut::<dyn Key>(&path)
    }

    /// Returns the nearest node above a path, or at it.
    pub(super) fn nearest(&self, path: EntryPath<'_>) -> Option<&Node> {
        let mut path = path;
        loop {
            match (self.get(path), path.parent()) {
                (Some(node), _) => return Some(node),
                (None, Some(parent)) => path = parent,
                (None, None) => return None,
            }
        }
    }

    /// Returns whether a directory above a path is opaque.
    pub(super) fn is_in_opaque(&self, path: EntryPath<'_>) -> bool {
        let state = |directory| self.get(directory).map(|node| &node.state);
        path.ancestors().any(|directory| matches!(state(directory), Some(State::Directory { opaque: true, .. })))
    }

    /// Notes for a directory, and all beneath it, that nothing of what lies beneath can be seen in them any more.
    pub(super) fn hide_beneath(&mut self, path: EntryPath<'_>) {
        let subtree =
            self.by_path.range_mut(path.to_owned()..).take_while(|(other, _)| other.as_path().is_within(path));
        for (_, node) in subtree {
            if let State::Directory { merges, .. } = &mut node.state {
                *merges = false;
            }
        }
    }

    /// Returns a node and all beneath it, sorted.
    pub(super) fn subtree<'a>(&'a self, path: EntryPath<'a>) -> impl Iterator<Item = (&'a EntryPathBuf, &'a Node)> {
        self.by_path.range(path.to_owned()..).take_while(move |(other, _)| other.as_path().is_within(path))
    }

    /// Returns whether a file at a path is being written.
    pub(super) fn is_pending(&self, path: EntryPath<'_>) -> bool {
        matches!(self.get(path), Some(Node { state: State::Pending, .. }))
    }

    /// Returns whether a file at a path, or beneath it, is being written.
    pub(super) fn is_pending_within(&self, path: EntryPath<'_>) -> bool {
        self.subtree(path).any(|(_, node)| matches!(node.state, State::Pending))
    }

    /// Returns what a node is; for a hard link what it leads to, and nothing for a file that is being written.
    pub(super) fn target_kind(&self, node: &Node) -> Option<KindBuf> {
        match &node.state {
            State::Leaf(KindBuf::HardLink { target }) => self.get(target.as_path())?.state.kind(),
            state => state.kind(),
        }
    }

    /// Returns where the bytes of each node are, sorted; a hard link's are those of what it leads to.
    pub(super) fn extents(&self) -> impl Iterator<Item = Extent> {
        self.by_path.values().map(|node| match &node.state {
            State::Leaf(KindBuf::HardLink { target }) => self.get(target.as_path()).unwrap_or(node).extent,
            _ => node.extent,
        })
    }

    /// Returns everything, sorted.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&EntryPathBuf, &Node)> {
        self.by_path.iter()
    }

    /// Hands everything out, sorted.
    pub(super) fn into_nodes(self) -> impl Iterator<Item = (EntryPathBuf, Node)> {
        self.by_path.into_iter()
    }

    pub(super) fn insert(&mut self, path: EntryPathBuf, node: Node) {
        if let State::Leaf(KindBuf::HardLink { target }) = &node.state {
            self.links.entry(target.clone()).or_default().insert(path.clone());
        }
        self.by_path.insert(path, node);
    }

    /// Takes a node away; of the hard links to it the first becomes what it was.
    pub(super) fn remove(&mut self, path: EntryPath<'_>) -> Option<Node> {
        let path = path.to_owned();
        let removed = self.by_path.remove(&path)?;
        if let State::Leaf(KindBuf::HardLink { target }) = &removed.state
            && let Some(links) = self.links.get_mut(target)
        {
            links.remove(&path);
        }
        let mut others = self.links.remove(&path).unwrap_or_default();
        if let Some(first) = others.pop_first() {
            for other in &others {
                if let Some(node) = self.by_path.get_mut(other) {
                    node.state = State::Leaf(KindBuf::HardLink { target: first.clone() });
                }
            }
            self.by_path.insert(first.clone(), removed.clone());
            self.links.insert(first, others);
        }
        Some(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> EntryPathBuf {
        EntryPathBuf::parse(text.into()).unwrap()
    }

    fn leaf(kind: KindBuf) -> Node {
        Node::new(State::Leaf(kind), MetadataBuf::default())
    }

    #[test]
    fn when_a_linked_file_goes_its_next_path_becomes_the_file() {
        let mut nodes = Nodes::default();
        nodes.insert(path("b"), leaf(KindBuf::Fifo));
        for link in ["d", "a", "c"] {
            nodes.insert(path(link), leaf(KindBuf::HardLink { target: path("b") }));
        }
        nodes.remove(path("c").as_path());
        nodes.remove(path("b").as_path());
        let kinds: Vec<String> = nodes.iter().map(|(path, node)| format!("{path} {:?}", node.state)).collect();
        assert_eq!(kinds, ["/a Leaf(Fifo)", "/d Leaf(HardLink { target: /a })"]);
    }
}
