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
///
/// Files mostly come sorted. As long as they do they are put one behind the other, which costs a fraction of finding a place for each.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    by_path: BTreeMap<EntryPathBuf, Node>,
    /// Those behind all that are in `by_path`, sorted.
    tail: Vec<(EntryPathBuf, Node)>,
    /// A directory of this layer in which nothing can be seen of what lies beneath, since the last change to anything that is no file.
    plain: Option<EntryPathBuf>,
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
        // Most that are looked for are behind all there is.
        if self.is_behind_all(path) {
            return None;
        }
        match self.tail.binary_search_by(|(other, _)| other.as_path().cmp(&path)) {
            Ok(place) => Some(&self.tail[place].1),
            Err(0) => self.by_path.get::<dyn Key>(&path),
            Err(_) => None,
        }
    }

    pub(super) fn get_mut(&mut self, path: EntryPath<'_>) -> Option<&mut Node> {
        self.plain = None;
        match self.tail.binary_search_by(|(other, _)| other.as_path().cmp(&path)) {
            Ok(place) => Some(&mut self.tail[place].1),
            Err(0) => self.by_path.get_mut::<dyn Key>(&path),
            Err(_) => None,
        }
    }

    fn is_behind_all(&self, path: EntryPath<'_>) -> bool {
        let last =
            self.tail.last().map(|(last, _)| last).or_else(|| self.by_path.last_key_value().map(|(last, _)| last));
        last.is_none_or(|last| last.as_path() < path)
    }

    /// Tells whether nothing is at a path, neither here nor beneath, and something may be put there at once.
    pub(super) fn has_room(&mut self, path: EntryPath<'_>) -> bool {
        let Some(parent) = path.parent().filter(|_| self.is_behind_all(path)) else { return false };
        if self.plain.as_ref().is_some_and(|plain| plain.as_path() == parent) {
            return true;
        }
        let is_plain = self.get(parent).is_some_and(|it| matches!(it.state, State::Directory { merges: false, .. }));
        if is_plain {
            self.plain = Some(parent.to_owned());
        }
        is_plain
    }

    /// Adds a leaf for which there [is room](Self::has_room).
    pub(super) fn push(&mut self, path: EntryPathBuf, node: Node) {
        debug_assert!(self.is_behind_all(path.as_path()) && matches!(node.state, State::Leaf(_)));
        self.tail.push((path, node));
    }

    /// Takes those that came sorted among the others.
    fn merge_tail(&mut self) {
        self.plain = None;
        self.by_path.extend(self.tail.drain(..));
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
        self.merge_tail();
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
        let start = self.tail.partition_point(|(other, _)| other.as_path() < path);
        let tail = self.tail[start..].iter().map(|(path, node)| (path, node));
        self.by_path.range(path.to_owned()..).chain(tail).take_while(move |(other, _)| other.as_path().is_within(path))
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
        self.iter().map(|(_, node)| match &node.state {
            State::Leaf(KindBuf::HardLink { target }) => self.get(target.as_path()).unwrap_or(node).extent,
            _ => node.extent,
        })
    }

    /// Returns everything, sorted.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&EntryPathBuf, &Node)> {
        self.by_path.iter().chain(self.tail.iter().map(|(path, node)| (path, node)))
    }

    /// Returns how many there are, and how long their paths are together.
    pub(super) fn size(&self) -> (usize, usize) {
        let path_bytes = self.iter().map(|(path, _)| path.as_path().as_bytes().len()).sum();
        (self.by_path.len() + self.tail.len(), path_bytes)
    }

    /// Hands everything out, sorted.
    pub(super) fn into_nodes(self) -> impl Iterator<Item = (EntryPathBuf, Node)> {
        self.by_path.into_iter().chain(self.tail)
    }

    pub(super) fn insert(&mut self, path: EntryPathBuf, node: Node) {
        if let State::Leaf(KindBuf::HardLink { target }) = &node.state {
            self.links.entry(target.clone()).or_default().insert(path.clone());
        }
        if !matches!(node.state, State::Leaf(_) | State::Pending) {
            self.plain = None;
        }
        if self.is_behind_all(path.as_path()) {
            self.tail.push((path, node));
            return;
        }
        if self.tail.first().is_some_and(|(first, _)| *first <= path) {
            self.merge_tail();
        }
        self.plain = None;
        self.by_path.insert(path, node);
    }

    /// Takes a node away; of the hard links to it the first becomes what it was.
    pub(super) fn remove(&mut self, path: EntryPath<'_>) -> Option<Node> {
        self.merge_tail();
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
    fn nodes_are_the_same_in_whatever_order_they_come() {
        let paths = ["", "a", "a/b", "a/b/c", "a/d", "a-", "b", "c/x"];
        let directory = || Node::new(State::Directory { opaque: false, merges: false }, MetadataBuf::default());
        // Sorted, backwards, and some of each: those that come late lie before, among and behind the others.
        let orders: [&[usize]; 4] = [
            &[0, 1, 2, 3, 4, 5, 6, 7],
            &[7, 6, 5, 4, 3, 2, 1, 0],
            &[0, 2, 4, 1, 6, 3, 7, 5],
            &[6, 7, 0, 1, 2, 5, 4, 3],
        ];
        for order in orders {
            let mut nodes = Nodes::default();
            for (count, place) in order.iter().enumerate() {
                nodes.insert(path(paths[*place]), directory());
                let mut expected: Vec<EntryPathBuf> = order[..=count].iter().map(|place| path(paths[*place])).collect();
                expected.sort();
                assert!(nodes.iter().map(|(path, _)| path).eq(expected.iter()), "{order:?}");
                let beneath_a = expected.iter().filter(|it| it.as_path().is_within(path("a").as_path()));
                assert!(nodes.subtree(path("a").as_path()).map(|(path, _)| path).eq(beneath_a), "{order:?}");
                for other in paths {
                    let is_there = expected.contains(&path(other));
                    assert_eq!(nodes.get(path(other).as_path()).is_some(), is_there, "{order:?} {other}");
                    assert_eq!(nodes.get_mut(path(other).as_path()).is_some(), is_there, "{order:?} {other}");
                }
            }
            nodes.remove(path("a/d").as_path());
            assert!(nodes.get(path("a/d").as_path()).is_none());
            assert!(nodes.into_nodes().is_sorted_by(|one, other| one.0 < other.0));
        }
    }

    #[test]
    fn there_is_room_behind_everything_in_a_directory_that_hides_what_lies_beneath() {
        let directory = |merges| Node::new(State::Directory { opaque: false, merges }, MetadataBuf::default());
        let mut nodes = Nodes::default();
        nodes.insert(path(""), directory(true));
        nodes.insert(path("d"), directory(false));
        let has_room = |nodes: &mut Nodes, text: &str| nodes.has_room(path(text).as_path());
        assert!(has_room(&mut nodes, "d/b") && !has_room(&mut nodes, "e") && !has_room(&mut nodes, "no/f"));
        nodes.insert(path("d/b"), leaf(KindBuf::Fifo));
        assert!(has_room(&mut nodes, "d/c") && !has_room(&mut nodes, "d/b") && !has_room(&mut nodes, "d/a"));
        assert!(!has_room(&mut nodes, "d/b/c"), "a file has none");
        nodes.remove(path("d/b").as_path());
        nodes.remove(path("d").as_path());
        nodes.insert(path("d"), leaf(KindBuf::Fifo));
        assert!(!has_room(&mut nodes, "d/c"));
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
