//! Stages and what they stand on, before anything of them is carried out: which base, which steps, which of them need each other.

use std::borrow::Cow;
use std::collections::BTreeMap;

use oci::Platform;

use crate::ast::{Command, Instruction, Site, Stage};
use crate::source::Span;

use super::error::LowerProblem;

/// The name of the file system without anything.
pub(super) const SCRATCH: &str = "scratch";

/// The place of a node in the list of all.
pub(super) type NodeId = usize;

/// A stage of the file, or an image that an instruction names as if it were one.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    /// The stage; `None` for an image.
    pub(super) stage: Option<&'a Stage>,
    /// Where errors about the node belong.
    pub(super) site: &'a Site,
    /// The base, its variables substituted: an image's name.
    pub(super) base_name: String,
    /// The value of `--platform`.
    pub(super) platform: Option<Platform>,
    /// The stage that is the base.
    pub(super) base: Option<NodeId>,
    /// The name of the named context that stands in for the whole stage.
    pub(super) context: Option<String>,
    /// What users call it: its name, or `stage-1`; empty for an image, and for the only stage of a file.
    pub(super) name: String,
    /// What is done on top of the base.
    pub(super) steps: Vec<Step<'a>>,
    /// The nodes that its steps need, with where they say so first.
    pub(super) needs: BTreeMap<NodeId, Span>,
    /// How many numbers its steps take.
    pub(super) total: usize,
    /// Whether the triggers of its base are among its steps.
    pub(super) triggered: bool,
    /// The arguments of the global scope that its `FROM` names.
    pub(super) used_args: Vec<String>,
    /// Whether earlier results of its steps are not to be used.
    pub(super) ignore_cache: bool,
}

/// An instruction of a stage, with what it copies or mounts from.
#[derive(Clone, Debug)]
pub(super) struct Step<'a> {
    pub(super) instruction: Cow<'a, Instruction>,
    /// Where it stands; that of `FROM` for a trigger of the base.
    pub(super) site: &'a Site,
    /// The node behind `--from`, or behind each mount's `from`.
    pub(super) sources: Vec<Option<NodeId>>,
    /// Whether it is a trigger of the base.
    pub(super) on_build: bool,
}

impl<'a> Node<'a> {
    /// Returns a stage on top of a base.
    pub(super) fn stage(stage: &'a Stage, base_name: String) -> Self {
        let step = |instruction: &'a Instruction| Step {
            instruction: Cow::Borrowed(instruction),
            site: &instruction.site,
            sources: Vec::new(),
            on_build: false,
        };
        let steps = stage.instructions.iter().map(step).collect();
        Self { stage: Some(stage), steps, ..Self::image(&base_name, &stage.site) }
    }

    /// Returns an image that an instruction names.
    pub(super) fn image(name: &str, site: &'a Site) -> Self {
        Self {
            stage: None,
            site,
            base_name: name.to_owned(),
            platform: None,
            base: None,
            context: None,
            name: String::new(),
            steps: Vec::new(),
            needs: BTreeMap::new(),
            total: 0,
            triggered: false,
            used_args: Vec::new(),
            ignore_cache: false,
        }
    }
}

/// All nodes: the stages in the order of the file, then images in the order in which they are named.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes<'a> {
    pub(super) list: Vec<Node<'a>>,
    /// How many of them are stages.
    pub(super) stages: usize,
    /// Whether any command has mounts.
    pub(super) has_mounts: bool,
    by_name: BTreeMap<String, NodeId>,
}

impl<'a> Nodes<'a> {
    /// Adds a stage; one with a name that is there already takes its place for what comes later.
    pub(super) fn add_stage(&mut self, mut node: Node<'a>) -> NodeId {
        let id = self.list.len();
        // The names are in lower case and the base is not changed: `FROM Base` never means the stage `base`.
        node.base = self.by_name.get(&node.base_name).copied();
        if node.context.is_some() {
            node.base = None;
        }
        if let Some(name) = node.stage.and_then(|stage| stage.name.as_deref()) {
            self.by_name.insert(name.to_owned(), id);
        }
        self.list.push(node);
        self.stages = self.list.len();
        id
    }

    /// Tells whether there is one stage and nothing else that could be confused with it. A mount counts as something else even where it is from nowhere.
    pub(super) fn is_single(&self) -> bool {
        self.list.len() == 1 && !self.has_mounts
    }

    /// Finds a stage by its name, whatever the case.
    pub(super) fn find(&self, name: &str) -> Option<NodeId> {
        self.by_name.get(&name.to_lowercase()).copied()
    }

    /// Finds what `--from` names: a stage by number or name, else an image, which is added.
    pub(super) fn find_or_add(&mut self, from: &str, site: &'a Site) -> Result<NodeId, LowerProblem> {
        if let Ok(index) = from.parse::<i64>() {
            let place = usize::try_from(index).ok().filter(|place| *place < self.stages);
            return place.ok_or(LowerProblem::StageIndex { index });
        }
        if let Some(id) = self.find(from) {
            return Ok(id);
        }
        self.list.push(Node::image(from, site));
        Ok(self.list.len() - 1)
    }

    /// Finds what a mount's `from` names: a stage by name, else an image, which is added.
    pub(super) fn find_or_add_named(&mut self, from: &str, site: &'a Site) -> NodeId {
        self.find(from).unwrap_or_else(|| {
            self.list.push(Node::image(from, site));
            self.list.len() - 1
        })
    }

    /// Returns the nodes that `target` needs, itself included, as a set of places.
    pub(super) fn reachable(&self, target: NodeId) -> Vec<bool> {
        let mut reached = vec![false; self.list.len()];
        let mut open = vec![target];
        while let Some(id) = open.pop() {
            if !std::mem::replace(&mut reached[id], true) {
                let node = &self.list[id];
                open.extend(node.base.iter().chain(node.needs.keys()));
            }
        }
        reached
    }

    /// Finds stages that need each other in a circle: the first stage that leads into it, and where each stage of it names the next.
    pub(super) fn circle(&self) -> Option<(NodeId, Vec<Span>)> {
        let mut visited = vec![false; self.list.len()];
        let mut on_path = vec![false; self.list.len()];
        for start in 0..self.list.len() {
            if std::mem::replace(&mut visited[start], true) {
                continue;
            }
            // A depth-first walk with its own stack: each entry is a node, where it was named, and those of its needs that are still to be followed.
            let mut path = vec![(start, self.list[start].site.span, self.list[start].needs.iter())];
            on_path[start] = true;
            while let Some((id, _, rest)) = path.last_mut() {
                let Some((next, span)) = rest.next() else {
                    on_path[*id] = false;
                    path.pop();
                    continue;
                };
                if on_path[*next] {
                    let first = path.iter().position(|(id, ..)| id == next).unwrap_or_default();
                    let spans = path[first + 1..].iter().map(|(_, span, _)| *span);
                    return Some((start, spans.chain([*span]).collect()));
                }
                if !std::mem::replace(&mut visited[*next], true) {
                    on_path[*next] = true;
                    path.push((*next, *span, self.list[*next].needs.iter()));
                }
            }
        }
        None
    }
}

/// Tells whether an instruction takes a number among the steps of its stage.
pub(super) fn takes_number(command: &Command) -> bool {
    matches!(command, Command::Add(_) | Command::Copy(_) | Command::Run(_) | Command::Workdir(_))
}
