//! Which part of a directory tree a selection can name: enough to know where not to look.

use std::collections::VecDeque;

use llb::Selection;
use llb::pattern::{go_match, has_wildcards};

/// How many symbolic links a selection may lead through, so that links to each other end.
const LINKS_MAX: usize = 255;

/// Which paths a selection can name, and all beneath them.
pub(super) struct Scope {
    patterns: Vec<Vec<Component>>,
    links: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Component {
    Name(Vec<u8>),
    Pattern(String),
}

/// Which patterns of a scope still lead on from a directory.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    active: Vec<usize>,
    depth: usize,
    /// Everything beneath is named.
    pub(super) whole: bool,
}

/// What a scope says of a name in a directory.
pub(super) enum Place {
    /// Nothing at or beneath it is named.
    Outside,
    /// Something beneath it may be named, if it is a directory or leads to one.
    Above(Reach),
    /// It is named, and a pattern ends here.
    Named(Reach),
    /// It is beneath something that is named.
    Inside(Reach),
}

impl Scope {
    /// Returns what `selection` can name; no selection is everything.
    pub(super) fn of(selection: Option<&Selection>) -> Self {
        let pattern = match selection {
            None => Vec::new(),
            Some(Selection::Path(path)) => names(path.as_bytes()).map(Component::Name).collect(),
            Some(Selection::Copy(copy)) => {
                let component = |part: &str| match copy.wildcard && has_wildcards(part) {
                    true => Component::Pattern(part.to_owned()),
                    false => Component::Name(part.as_bytes().to_vec()),
                };
                let components = copy.pattern.split('/').filter(|part| !part.is_empty()).map(component);
                match copy.parents_pivot {
                    // With `--parents`, `**` may stand for any number of directories, so everything beneath the part without wildcards counts.
                    Some(_) => components.take_while(|component| matches!(component, Component::Name(_))).collect(),
                    None => components.collect(),
                }
            }
        };
        Self { patterns: vec![pattern], links: 0 }
    }

    /// Returns what leads on from the root.
    pub(super) fn root(&self) -> Reach {
        let whole = self.patterns.iter().any(Vec::is_empty);
        Reach { active: (0..self.patterns.len()).collect(), depth: 0, whole }
    }

    /// Tells whether everything in a directory is named, and nothing in it for itself.
    pub(super) fn has_all(&self, reach: &Reach) -> bool {
        reach.whole && reach.active.iter().all(|pattern| self.patterns[*pattern].len() <= reach.depth)
    }

    /// Returns what the scope says of `name` in a directory.
    pub(super) fn place(&self, reach: &Reach, name: &[u8]) -> Place {
        let depth = reach.depth + 1;
        let leads_on = |pattern: &&usize| match self.patterns[**pattern].get(reach.depth) {
            Some(Component::Name(wanted)) => wanted == name,
            Some(Component::Pattern(wanted)) => go_match(wanted, &String::from_utf8_lossy(name)).unwrap_or(false),
            None => false,
        };
        let active: Vec<usize> = reach.active.iter().filter(leads_on).copied().collect();
        let ends_here = active.iter().any(|pattern| self.patterns[*pattern].len() == depth);
        let place = Reach { active, depth, whole: reach.whole || ends_here };
        match (ends_here, place.whole, place.active.is_empty()) {
            (true, ..) => Place::Named(place),
            (false, true, _) => Place::Inside(place),
            (false, false, true) => Place::Outside,
            (false, false, false) => Place::Above(place),
        }
    }

    /// Adds what a symbolic link leads to, and tells whether that was not in the scope.
    ///
    /// `directory` is the path of the directory that the link is in.
    pub(super) fn follow(&mut self, reach: &Reach, directory: &[u8], target: &[u8]) -> bool {
        let mut added = false;
        for pattern in &reach.active {
            let rest = self.patterns[*pattern].get(reach.depth..).unwrap_or_default().to_vec();
            let mut path: VecDeque<Vec<u8>> =
                if target.starts_with(b"/") { VecDeque::new() } else { names(directory).collect() };
            for name in target.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
                if name == b".." {
                    path.pop_back();
                } else {
                    path.push_back(name.to_vec());
                }
            }
            let followed: Vec<Component> = path.into_iter().map(Component::Name).chain(rest).collect();
            if !self.patterns.contains(&followed) && self.links < LINKS_MAX {
                self.links += 1;
                self.patterns.push(followed);
                added = true;
            }
        }
        added
    }
}

fn names(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").map(<[u8]>::to_vec)
}
