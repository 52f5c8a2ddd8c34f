//! The operations of [`TreeWriter`] that create, replace and remove everything but the bytes of files.
//!
//! They run one at a time, under the writer's lock.

use rustix::io::Errno;

use super::error::TreeError;
use super::nodes::{Node, Nodes, State};
use super::source::FileSource;
use super::writer::{Special, TreeWriter};
use crate::entry::{Kind, KindBuf, Metadata, MetadataBuf};
use crate::path::{EntryPath, EntryPathBuf};
use crate::stack::Found;

impl TreeWriter {
    /// Makes a directory. One that is there already gets the new attributes and keeps what is in it; the directories above must exist.
    pub fn make_directory(&self, path: EntryPath<'_>, metadata: &Metadata<'_>) -> Result<(), TreeError> {
        let mut nodes = self.lock();
        if let Some(Node { state: State::Directory { .. }, metadata: old, .. }) = nodes.get_mut(path) {
            *old = metadata.into();
            return Ok(());
        }
        self.bring_up_parent(&mut nodes, path)?;
        let merges = match (nodes.get(path).map(|node| &node.state), self.beneath(&nodes, path)) {
            (Some(state), _) if !state.is_whiteout() => return Err(occupied(path, "directory", state.name())),
            (None, Some(found)) if !found.entry.kind.is_directory() => {
                return Err(occupied(path, "directory", found.entry.kind.name()));
            }
            (Some(_), _) => return self.replace_whiteout(&mut nodes, path, metadata),
            (None, beneath) => beneath.is_some(),
        };
        self.create_directory(&mut nodes, path, metadata.into(), merges)
    }

    /// Makes the directories above a path that are missing, all with the same attributes; those that exist are left as they are.
    pub fn make_parents(&self, path: EntryPath<'_>, metadata: &Metadata<'_>) -> Result<(), TreeError> {
        self.make_parents_with(path, |_| *metadata)
    }

    /// The same, each with the attributes that `metadata` gives it.
    pub fn make_parents_with<'m>(
        &self,
        path: EntryPath<'_>,
        metadata: impl Fn(EntryPath<'_>) -> Metadata<'m>,
    ) -> Result<(), TreeError> {
        for directory in path.ancestors() {
            let missing = {
                let nodes = self.lock();
                match nodes.get(directory) {
                    Some(node) if node.state.is_whiteout() => true,
                    Some(node) if !node.state.is_directory() => return Err(not_a_directory(path, directory)),
                    Some(_) => false,
                    None => self.beneath(&nodes, directory).is_none(),
                }
            };
            if missing {
                self.make_directory(directory, &metadata(directory))?;
            }
        }
        Ok(())
    }

    /// Makes a symbolic link. What is there already is replaced, except for a directory.
    pub fn make_symlink(&self, path: EntryPath<'_>, target: &[u8], metadata: &Metadata<'_>) -> Result<(), TreeError> {
        let mut nodes = self.lock_settled(&[path]);
        self.vacate(&mut nodes, path, "symlink")?;
        self.on_disk(|disk| disk.create_symlink(path, target, metadata))?;
        let kind = KindBuf::Symlink { target: target.to_vec() };
        nodes.insert(path.to_owned(), Node::new(State::Leaf(kind), metadata.into()));
        Ok(())
    }

    /// Makes a hard link to a file of this layer, or to one beneath, which is then brought up first. What is there already is replaced, except
    /// for a directory.
    pub fn make_hard_link(&self, path: EntryPath<'_>, target: EntryPath<'_>) -> Result<(), TreeError> {
        self.bring_up_file(path, target)?;
        if path == target {
            return Ok(());
        }
        let mut nodes = self.lock_settled(&[path, target]);
        let no_target = || TreeError::NoTarget { path: path.to_text(), target: target.to_text() };
        let node = nodes.get(target).ok_or_else(no_target)?;
        let (first, metadata) = match &node.state {
            State::Leaf(KindBuf::HardLink { target }) => (target.clone(), node.metadata.clone()),
            State::Leaf(KindBuf::Whiteout) | State::Directory { .. } | State::Pending => return Err(no_target()),
            State::Leaf(_) => (target.to_owned(), node.metadata.clone()),
        };
        if first.as_path() == path {
            return Ok(());
        }
        self.vacate(&mut nodes, path, "hard link")?;
        self.on_disk(|disk| disk.create_hard_link(path, target))?;
        let state = State::Leaf(KindBuf::HardLink { target: first });
        nodes.insert(path.to_owned(), Node::new(state, metadata));
        Ok(())
    }

    /// Makes a device node or a fifo. What is there already is replaced, except for a directory.
    pub fn make_special(
        &self,
        path: EntryPath<'_>,
        special: Special,
        metadata: &Metadata<'_>,
    ) -> Result<(), TreeError> {
        let mut nodes = self.lock_settled(&[path]);
        let kind = special.kind();
        self.vacate(&mut nodes, path, kind.name())?;
        self.on_disk(|disk| disk.create_special(path, special, metadata))?;
        nodes.insert(path.to_owned(), Node::new(State::Leaf(kind.into()), metadata.into()));
        Ok(())
    }

    /// Marks what lies beneath at a path as deleted, whether there is anything or not; nothing may be there in this layer.
    ///
    /// In an opaque directory nothing is to be done: all is deleted there, and the kernel would show the name of the mark.
    pub fn make_whiteout(&self, path: EntryPath<'_>) -> Result<(), TreeError> {
        let mut nodes = self.lock_settled(&[path]);
        if let Some(node) = nodes.get(path) {
            return Err(occupied(path, "whiteout", node.state.name()));
        }
        self.bring_up_parent(&mut nodes, path)?;
        if nodes.is_in_opaque(path) {
            return Ok(());
        }
        self.create_whiteout(&mut nodes, path)
    }

    /// Makes a directory of this layer hide all that lies beneath in it.
    pub fn make_opaque(&self, path: EntryPath<'_>) -> Result<(), TreeError> {
        let mut nodes = self.lock();
        match nodes.get_mut(path).map(|node| &mut node.state) {
            Some(state) if state.is_directory() => *state = State::Directory { opaque: true, merges: false },
            _ => return Err(no_parent(path, path)),
        }
        nodes.hide_beneath(path);
        let needless = nodes.subtree(path).filter(|(_, node)| node.state.is_whiteout());
        let needless: Vec<EntryPathBuf> = needless.map(|(path, _)| path.clone()).collect();
        needless.iter().try_for_each(|whiteout| self.remove_nodes(&mut nodes, whiteout.as_path()))
    }

    /// Removes a file, or a directory with all that is in it; what lies beneath is deleted too. Returns whether there was anything.
    pub fn remove(&self, path: EntryPath<'_>) -> Result<bool, TreeError> {
        if path.is_root() {
            return Err(TreeError::Remove { path: path.to_text(), source: Errno::BUSY.into() });
        }
        let mut nodes = self.lock_unless(|nodes| nodes.is_pending_within(path));
        let was_here = nodes.get(path).is_some_and(|node| !node.state.is_whiteout());
        let is_beneath = self.beneath(&nodes, path).is_some();
        if was_here {
            self.remove_nodes(&mut nodes, path)?;
        }
        if is_beneath && nodes.get(path).is_none() {
            self.bring_up_parent(&mut nodes, path)?;
            self.create_whiteout(&mut nodes, path)?;
            return Ok(true);
        }
        Ok(was_here)
    }

    /// Returns what lies beneath at a path, if this layer hides no directory above it. What this layer has at the path itself plays no part.
    pub(super) fn beneath(&self, nodes: &Nodes, path: EntryPath<'_>) -> Option<Found<'_>> {
        if self.below.layers().is_empty() {
            return None;
        }
        let merges = match path.parent() {
            Some(parent) => {
                nodes.nearest(parent).is_none_or(|node| matches!(node.state, State::Directory { merges: true, .. }))
            }
            None => true,
        };
        if merges { self.below.lookup(path) } else { None }
    }

    /// Makes room for something that is not a directory: its directory is there afterwards, and at the path itself is nothing.
    pub(super) fn vacate(&self, nodes: &mut Nodes, path: EntryPath<'_>, new: &'static str) -> Result<(), TreeError> {
        if path.is_root() {
            return Err(occupied(path, new, "directory"));
        }
        if nodes.has_room(path) {
            return Ok(());
        }
        self.bring_up_parent(nodes, path)?;
        match nodes.get(path).map(|node| &node.state) {
            Some(State::Directory { .. }) => Err(occupied(path, new, "directory")),
            Some(_) => self.remove_nodes(nodes, path),
            None if self.beneath(nodes, path).is_some_and(|found| found.entry.kind.is_directory()) => {
                Err(occupied(path, new, "directory"))
            }
            None => Ok(()),
        }
    }

    /// Makes sure that the directory of a path is in this layer, bringing up what is only beneath.
    fn bring_up_parent(&self, nodes: &mut Nodes, path: EntryPath<'_>) -> Result<(), TreeError> {
        match path.parent().and_then(|parent| nodes.get(parent)) {
            Some(node) if node.state.is_directory() => return Ok(()),
            _ => {}
        }
        for directory in path.ancestors() {
            match nodes.get(directory).map(|node| &node.state) {
                Some(State::Directory { .. }) => continue,
                Some(State::Leaf(KindBuf::Whiteout)) => return Err(no_parent(path, directory)),
                Some(_) => return Err(not_a_directory(path, directory)),
                None => {}
            }
            let found = self.beneath(nodes, directory).ok_or_else(|| no_parent(path, directory))?;
            if !found.entry.kind.is_directory() {
                return Err(not_a_directory(path, directory));
            }
            self.create_directory(nodes, directory, (&found.entry.metadata).into(), true)?;
        }
        Ok(())
    }

    /// Copies a file that is only beneath into this layer, so that `link` can lead to it.
    fn bring_up_file(&self, link: EntryPath<'_>, path: EntryPath<'_>) -> Result<(), TreeError> {
        let found = {
            let nodes = self.lock_settled(&[path]);
            match nodes.get(path) {
                Some(_) => return Ok(()),
                None => self.beneath(&nodes, path).map(|found| self.below.target(&found)),
            }
        };
        let Some(Found { entry, .. }) = found else { return Ok(()) };
        let Kind::File { content, .. } = entry.kind else {
            return Err(TreeError::NoTarget { path: link.to_text(), target: path.to_text() });
        };
        let opened = found.map(|found| self.below.open(&found)).transpose();
        let range =
            opened.map_err(|error| TreeError::Read { path: path.to_text(), source: std::io::Error::other(error) })?;
        if let Some(range) = range {
            self.make_file(path, &entry.metadata, FileSource::Range { range: &range, content: Some(content) })?;
        }
        Ok(())
    }

    /// Puts a directory where something was deleted. What lies beneath in it stays deleted, name by name.
    fn replace_whiteout(
        &self,
        nodes: &mut Nodes,
        path: EntryPath<'_>,
        metadata: &Metadata<'_>,
    ) -> Result<(), TreeError> {
        let beneath = self.beneath(nodes, path).filter(|found| found.entry.kind.is_directory());
        self.remove_nodes(nodes, path)?;
        self.create_directory(nodes, path, metadata.into(), beneath.is_some())?;
        if beneath.is_some() {
            for child in self.below.read_dir(path) {
                self.create_whiteout(nodes, child.entry.path)?;
            }
        }
        Ok(())
    }

    fn create_directory(
        &self,
        nodes: &mut Nodes,
        path: EntryPath<'_>,
        metadata: MetadataBuf,
        merges: bool,
    ) -> Result<(), TreeError> {
        self.on_disk(|disk| disk.create_directory(path))?;
        nodes.insert(path.to_owned(), Node::new(State::Directory { opaque: false, merges }, metadata));
        Ok(())
    }

    fn create_whiteout(&self, nodes: &mut Nodes, path: EntryPath<'_>) -> Result<(), TreeError> {
        self.on_disk(|disk| disk.create_whiteout(path))?;
        nodes.insert(path.to_owned(), Node::new(State::Leaf(KindBuf::Whiteout), MetadataBuf::default()));
        Ok(())
    }

    /// Removes what this layer has at a path and beneath it.
    fn remove_nodes(&self, nodes: &mut Nodes, path: EntryPath<'_>) -> Result<(), TreeError> {
        let subtree: Vec<(EntryPathBuf, bool)> =
            nodes.subtree(path).map(|(path, node)| (path.clone(), node.state.is_directory())).collect();
        for (path, is_directory) in subtree.into_iter().rev() {
            self.on_disk(|disk| disk.remove(path.as_path(), is_directory))?;
            nodes.remove(path.as_path());
        }
        Ok(())
    }
}

impl Special {
    pub(super) fn kind(self) -> Kind<'static> {
        match self {
            Self::CharDevice(device) => Kind::CharDevice(device),
            Self::BlockDevice(device) => Kind::BlockDevice(device),
            Self::Fifo => Kind::Fifo,
        }
    }
}

fn occupied(path: EntryPath<'_>, new: &'static str, existing: &'static str) -> TreeError {
    TreeError::Occupied { path: path.to_text(), new, existing }
}

fn no_parent(path: EntryPath<'_>, parent: EntryPath<'_>) -> TreeError {
    TreeError::NoParent { path: path.to_text(), parent: parent.to_text() }
}

fn not_a_directory(path: EntryPath<'_>, parent: EntryPath<'_>) -> TreeError {
    TreeError::ParentNotADirectory { path: path.to_text(), parent: parent.to_text() }
}
