//! Which files of a build context are left out: the rules of `.dockerignore`, and Go's `filepath.Match` that `COPY` shares with it.
//!
//! The rules, in short: the last pattern that matches a path or one of the directories above it decides; `!` in front of a pattern lets in what those before
//! it left out; `*` and `?` stay within a directory, `**` does not.
//!
//! **Invariant:** looks at names only, never at files.

mod clean;
mod glob;
mod go_match;
mod read;

pub use clean::clean_path;
pub use go_match::{BadPattern, go_match, has_wildcards};
pub use read::{numbered_patterns, read_patterns};

use std::collections::HashMap;

use glob::{Glob, Subject};

/// The most patterns in an ignore file.
pub const IGNORE_PATTERNS_MAX: usize = 10_000;

/// Why patterns cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// A `!` has nothing behind it.
    #[error("illegal exclusion pattern: \"!\"")]
    EmptyNegation,
    /// A pattern is wrong.
    #[error("{source}: `{pattern}`")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: BadPattern,
    },
    /// There are too many patterns.
    #[error("more than {IGNORE_PATTERNS_MAX} ignore patterns")]
    TooMany,
}

/// Patterns, compiled.
///
/// A walker asks [`Self::below`] for each entry with the verdict on its directory, and [`Self::can_match_below`] whether it must go into a directory that is
/// left out.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    /// For each pattern, whether it lets in.
    lets_in: Vec<bool>,
    /// Patterns that are a path, with the last place of each.
    paths: HashMap<String, u32>,
    /// Patterns that are a name anywhere (`**/name`), with the last place of each.
    names: HashMap<String, u32>,
    /// All other patterns, the last first.
    globs: Vec<(u32, Glob)>,
    /// The patterns that let in, the last first.
    negations: Vec<(u32, Glob)>,
    /// The patterns as they are compared, without `!`.
    cleaned: Vec<String>,
}

/// What the patterns say of a path: which of them had the last word on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The place of the pattern behind the one, so that 0 is none.
    last: u32,
    ignored: bool,
}

impl Verdict {
    /// Tells whether the path is left out.
    pub fn is_ignored(self) -> bool {
        self.ignored
    }

    /// Returns the place of the pattern that decided, or `None` where none matches.
    pub fn pattern(self) -> Option<usize> {
        (self.last as usize).checked_sub(1)
    }
}

impl Ignore {
    /// Compiles patterns, in order.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, IgnoreError> {
        let mut ignore = Self::default();
        for pattern in patterns {
            let pattern = pattern.trim();
            if pattern.is_empty() {
                continue;
            }
            let cleaned = clean_path(pattern);
            let (lets_in, cleaned) = match cleaned.strip_prefix('!') {
                Some("") => return Err(IgnoreError::EmptyNegation),
                Some(rest) => (true, rest.to_owned()),
                None => (false, cleaned),
            };
            ignore
                .add(cleaned, lets_in)
                .map_err(|source| IgnoreError::Pattern { pattern: pattern.to_owned(), source })?;
            if ignore.lets_in.len() > IGNORE_PATTERNS_MAX {
                return Err(IgnoreError::TooMany);
            }
        }
        ignore.globs.reverse();
        ignore.negations.reverse();
        Ok(ignore)
    }

    fn add(&mut self, pattern: String, lets_in: bool) -> Result<(), BadPattern> {
        // Go validates every pattern by its own rules before it makes a regular expression of it.
        go_match(&pattern, ".")?;
        let glob = Glob::parse(&pattern)?;
        let place = self.lets_in.len() as u32 + 1;
        if lets_in {
            self.negations.push((place, glob.clone()));
        }
        match (glob.as_path(), glob.as_name_anywhere()) {
            (Some(path), _) => drop(self.paths.insert(path.to_owned(), place)),
            (None, Some(name)) => drop(self.names.insert(name.to_owned(), place)),
            (None, None) => self.globs.push((place, glob)),
        }
        self.lets_in.push(lets_in);
        self.cleaned.push(pattern);
        Ok(())
    }

    /// Tells whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.lets_in.is_empty()
    }

    /// Tells whether any pattern lets in.
    pub fn has_negations(&self) -> bool {
        !self.negations.is_empty()
    }

    /// Returns the patterns that leave out, as they are compared.
    pub fn leaving_out(&self) -> impl Iterator<Item = &str> {
        self.cleaned.iter().zip(&self.lets_in).filter(|(_, lets_in)| !**lets_in).map(|(pattern, _)| pattern.as_str())
    }

    /// Returns the verdict on a path from the verdict on its directory; that of the root is the default.
    ///
    /// The path is relative to the root, without `./` and without a slash at its end.
    pub fn below(&self, parent: Verdict, path: &str) -> Verdict {
        let subject = Subject::new(path);
        let last = parent.last.max(place_of(&self.paths, path)).max(place_of(&self.names, subject.name));
        // Only what stands behind the last word so far can have a later one.
        let decides = |(place, glob): &&(u32, Glob)| *place <= last || glob.matches(&subject);
        let last = last.max(self.globs.iter().find(decides).map_or(0, |(place, _)| *place));
        if last == parent.last {
            return parent;
        }
        Verdict { last, ignored: !self.lets_in[last as usize - 1] }
    }

    /// Returns the verdict on a path alone: the directories above it are looked at too.
    pub fn verdict(&self, path: &str) -> Verdict {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        ends.fold(Verdict::default(), |parent, end| self.below(parent, &path[..end]))
    }

    /// Tells whether a path is left out.
    pub fn is_ignored(&self, path: &str) -> bool {
        self.verdict(path).is_ignored()
    }

    /// Tells whether anything below a directory can be let in although the directory is left out; if not, a walker need not go into it.
    pub fn can_match_below(&self, verdict: Verdict, dir: &str) -> bool {
        self.negations.iter().take_while(|(place, _)| *place > verdict.last).any(|(_, glob)| glob.can_match_below(dir))
    }
}

fn place_of(places: &HashMap<String, u32>, text: &str) -> u32 {
    if places.is_empty() { 0 } else { places.get(text).copied().unwrap_or(0) }
}

#[cfg(test)]
mod tests;
