//! Which files of an input a step can see: the difference between depending on a tree and depending on three files in it.

use oci::Digest;
use serde::Serialize;

/// Which files of an input a step can see. No selection is all of them.
///
/// A selection belongs to the edge and not to the operation: the key of a step covers the content that was selected, not the names it was selected by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// The file or directory at this path (`RUN --mount=source=`).
    Path(String),
    /// What one source of a `COPY` or `ADD` names.
    Copy(CopySelection),
}

impl Selection {
    /// Returns the digest of the selection itself, not of what it selects.
    pub fn digest(&self) -> Digest {
        let json = serde_json::to_vec(self).expect("selections have string keys and no floats, so JSON cannot fail");
        Digest::of(&json)
    }
}

/// What one source of a `COPY` or `ADD` names.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct CopySelection {
    /// A path or a pattern of Go's `filepath.Match`, cleaned, relative to the root of the input; empty is the root itself.
    pub pattern: String,
    /// Whether `*`, `?` and `[…]` in `pattern` are wildcards; where they are not, a missing file is an error.
    pub wildcard: bool,
    /// Ignore patterns, relative to the source, of what is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Where `--parents` is set: how many leading components of `pattern` are not kept (those before the pivot `/./`), and `**` is a wildcard too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parents_pivot: Option<usize>,
}

impl CopySelection {
    /// Tells whether nothing is left out of what `pattern` names.
    pub fn takes_all_that_is_named(&self) -> bool {
        self.exclude.is_empty() && self.parents_pivot.is_none()
    }
}
